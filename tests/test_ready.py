"""Compiled programs on disk: found again, made again where they are damaged, never wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import lossc
from lossc import ready
from lossc.ir.parser import parse
from lossc.ir.program import Entry
from lossc.runtime.device import Device

TEXT = """
func @f(%x: f32[N, 3], %t: i32[N]) -> f32[1] {
  %loss = cross_entropy_loss %x, %t
  return %loss
}
"""
X, LABELS = np.eye(4, 3, dtype=np.float32), np.array([0, 1, 2, 0], np.int32)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOSSC_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("LOSSC_CACHE", raising=False)
    return tmp_path


def entries(folder: Path, kind: str) -> list[Path]:
    return [path for path in (folder / kind).glob("??/*") if path.is_file()]


def test_what_was_compiled_is_found(device: Device, folder: Path) -> None:
    first = ready.ready_program(parse(TEXT), device)
    again = ready.ready_program(parse(TEXT), device)
    assert first.compiled is not None
    assert again.compiled is None
    assert again.program == ready.as_run(first.program)
    assert (again.sources, again.options) == (first.sources, first.options)
    assert len(entries(folder, "compiled")) == 1


def test_what_was_found_has_no_bodies_of_kernels(device: Device) -> None:
    ready.ready_program(parse(TEXT), device)
    found = ready.ready_program(parse(TEXT), device)
    launch = next(found.program.variants).launches[0]
    assert isinstance(launch.entry, Entry)
    with pytest.raises(lossc.CompilerBug, match=f"the body of {launch.entry.name} is asked for"):
        print(launch.kernel)


def test_another_text_strategy_place_or_device_is_another_entry(device: Device, folder: Path) -> None:
    ready.ready_program(parse(TEXT), device)
    assert ready.ready_program(parse(TEXT.replace("N, 3", "N, 5")), device).compiled is not None
    assert ready.ready_program(parse(TEXT), device, "row-item").compiled is not None
    # The same module at another place: errors of a run name the place.
    assert ready.ready_program(parse("\n\n" + TEXT), device).compiled is not None
    assert len(entries(folder, "compiled")) == 4


@pytest.mark.parametrize("damage", [b"", b"lossc cache 1\n", b"x" * 5000])
def test_a_damaged_entry_is_made_again(device: Device, folder: Path, damage: bytes) -> None:
    ready.ready_program(parse(TEXT), device)
    (entry,) = entries(folder, "compiled")
    whole = entry.read_bytes()
    entry.write_bytes(damage)
    assert ready.ready_program(parse(TEXT), device).compiled is not None
    assert entry.read_bytes() == whole


def test_an_entry_of_something_else_is_made_again(
    device: Device, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready.Cache, "get", lambda self, key: b"\x80\x05K\x01.")  # the number 1
    assert ready.ready_program(parse(TEXT), device).compiled is not None
    monkeypatch.setattr(ready.Cache, "get", lambda self, key: b"no pickle")
    assert ready.ready_program(parse(TEXT), device).compiled is not None


def test_a_folder_that_cannot_be_written_does_no_harm(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOSSC_CACHE_DIR", str(tmp_path / "file"))
    assert ready.ready_program(parse(TEXT), device).compiled is not None


def test_without_a_cache_nothing_is_written(device: Device, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSSC_CACHE", "0")
    ready.ready_program(parse(TEXT), device)
    lossc.parse(TEXT)
    assert not list(folder.glob("compiled/*"))
    assert not list(folder.glob("modules/*"))


def test_a_function_that_was_found_runs_explains_and_names_the_place_of_an_error(device: Device) -> None:
    functions = [lossc.parse(TEXT, "my.lir").compile(grad=["x"], device=device) for _ in range(2)]
    (value,), gradients = functions[0](x=X, t=LABELS)
    (same,), equal = functions[1](x=X, t=LABELS)
    np.testing.assert_array_equal(value, same)
    np.testing.assert_array_equal(gradients["x"], equal["x"])
    assert functions[0].sources == functions[1].sources
    assert functions[0].explain() == functions[1].explain()
    messages = []
    for function in functions:
        with pytest.raises(lossc.CheckFailed) as caught:
            function(x=X, t=LABELS + 7)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "my.lir:3" in messages[0]


def test_a_text_is_read_once_and_its_mistakes_each_time(folder: Path) -> None:
    assert lossc.parse(TEXT).to_lir() == lossc.parse(TEXT).to_lir()
    assert len(entries(folder, "modules")) == 1
    for _ in range(2):
        with pytest.raises(lossc.LirError, match="unknown"):
            lossc.parse(TEXT.replace("cross_entropy_loss", "cross_entropi_los"))
    assert len(entries(folder, "modules")) == 1


def test_a_text_that_imports_is_read_each_time(folder: Path) -> None:
    (folder / "part.lir").write_text("func @double(%x: f32[N]) -> f32[N] {\n  %y = mul %x, 2.0\n  return %y\n}\n")
    whole = 'import "part.lir"\nfunc @f(%x: f32[N]) -> f32[N] {\n  %y = call @double(%x)\n  return %y\n}\n'
    (folder / "whole.lir").write_text(whole)
    before = lossc.load(folder / "whole.lir", "f").to_lir()
    (folder / "part.lir").write_text("func @double(%x: f32[N]) -> f32[N] {\n  %y = mul %x, 3.0\n  return %y\n}\n")
    assert lossc.load(folder / "whole.lir", "f").to_lir() != before


def test_another_compiler_is_told_where_times_of_files_are_fixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state(contents: str, time: float) -> list[str]:
        (tmp_path / "sources" / "below").mkdir(parents=True, exist_ok=True)
        file = tmp_path / "sources" / "below" / "a.py"
        file.write_text(contents)
        os.utime(file, (time, time))
        return list(ready._files_in(str(tmp_path / "sources"), ""))

    now = 1_800_000_000.0
    assert state("x = 0.5", now) != state("x = 0.1", now)
    with monkeypatch.context() as patch:
        # An image of a file system, in which nothing ever changes: all its times are one.
        patch.setattr(ready, "_state", lambda name, path, status: _STATE(name, path, without_change(status)))
        assert state("x = 0.5", 1.0) != state("x = 0.1", 1.0)
        assert state("x = 0.5", 1.0) == state("x = 0.5", 1.0)


_STATE = ready._state


def without_change(status: os.stat_result) -> Any:
    return SimpleNamespace(st_size=status.st_size, st_mtime=status.st_mtime, st_mtime_ns=status.st_mtime_ns,
                           st_ctime_ns=1)  # fmt: skip


def test_a_warm_start_loads_nothing_of_the_compiler(folder: Path) -> None:
    program = (
        "import sys, numpy, lossc\n"
        f"fn = lossc.parse({TEXT!r}).compile(grad=['x'])\n"
        "fn(x=numpy.eye(4, 3, dtype='f4'), t=numpy.zeros(4, 'i4'))\n"
        "unwanted = ('lark', 'lossc.ir.parser', 'lossc.ir.kernel', 'numpy.random')\n"
        "print(sorted(m for m in sys.modules if m.startswith('lossc.compiler') or m in unwanted))\n"
    )

    def run() -> str:
        done: Any = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert "lossc.compiler.lower" in run()
    assert run() == "['lossc.compiler', 'lossc.compiler.gradient', 'lossc.compiler.lints']"
