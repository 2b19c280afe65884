"""`lossc opt`: passes by name, and what each does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lossc.compiler.pipeline import PIPELINES, help_of, pass_names
from lossc.ir.parser import load, parse

Command = Callable[..., Any]


def test_passes_leave_lir(lossc: Command) -> None:
    done = lossc("opt", "f.lir", "--passes", "expand,dce")
    assert done.status == 0
    assert done.err == ""
    names = {op.name for op in parse(done.out).entry.ops}
    assert "cross_entropy_loss" not in names
    assert {"gather", "check"} <= names


def test_a_pipeline_is_the_default(lossc: Command) -> None:
    done = lossc("opt", "f.lir", "--grad")
    assert done.out == lossc("opt", "f.lir", "--grad", "--passes", "prepare").out
    assert parse(done.out).entry.names_of_outputs == ("loss", "grad_x")
    assert not any(op.name == "grad" for op in parse(done.out).entry.ops)


def test_print_after_all_shows_every_pass_on_stderr(lossc: Command) -> None:
    done = lossc("opt", "f.lir", "--passes", "expand,expand,dce", "--print-after-all")
    assert done.out == lossc("opt", "f.lir", "--passes", "expand,dce").out
    assert [line for line in done.err.splitlines() if "after " in line] == [
        "// 1. after expand: // lir 1",
        "// 2. after expand: nothing changed",
        "// 3. after dce: nothing changed",
    ]


def test_dump_dir_has_a_file_for_every_change(lossc: Command, folder: Path) -> None:
    done = lossc("opt", "f.lir", "--passes", "fuse-nll,expand,cse", "--dump-dir", "passes")
    names = sorted(path.name for path in (folder / "passes").iterdir())
    assert names[:2] == ["00-input.lir", "02-expand.lir"]
    assert all(load(folder / "passes" / name).entry.name == "f" for name in names)
    last = (folder / "passes" / names[-1]).read_text()
    assert last.split("\n", 1)[1] == done.out


def test_time_passes(lossc: Command) -> None:
    done = lossc("opt", "f.lir", "--passes", "expand,dce", "--time-passes")
    assert [line.split()[0] for line in done.err.splitlines()] == ["pass", "expand", "dce", "total"]
    assert parse(done.out)


def test_the_result_goes_to_a_file(lossc: Command, folder: Path) -> None:
    (folder / "out.lir").write_text("before")
    assert lossc("opt", "f.lir", "--passes", "no-such-pass", "-o", "out.lir").status == 1
    assert (folder / "out.lir").read_text() == "before"
    done = lossc("opt", "f.lir", "--passes", "expand", "-o", "out.lir")
    assert done.out == ""
    assert (folder / "out.lir").read_text() == lossc("opt", "f.lir", "--passes", "expand").out


def test_every_pass_and_pipeline_is_listed(lossc: Command) -> None:
    done = lossc("opt", "--list")
    for name in pass_names():
        assert f"\n{name} " in done.out
        assert help_of(name) in done.out
    listed = json.loads(lossc("opt", "--list", "--json").out)
    assert tuple(listed["passes"]) == pass_names()
    assert list(listed["pipelines"]) == list(PIPELINES)


def test_an_unknown_pass(lossc: Command) -> None:
    done = lossc("opt", "f.lir", "--passes", "expnd")
    assert done.status == 1
    assert "did you mean `expand`?" in done.err


@pytest.mark.parametrize("words", [("f.lir", "--json"), ("--passes", "dce")])
def test_wrong_usage(lossc: Command, words: tuple[str, ...]) -> None:
    assert lossc("opt", *words).status == 2
