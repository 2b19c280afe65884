"""Whatever can be compiled can be run and looked into: every report, picture, text and dump, for every kind of
program."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawings import check_drawing
from kinds_of_programs import KINDS
from typer.testing import CliRunner

import lossc
from lossc.cli.app import app
from lossc.compiler import Compiled, compile_module
from lossc.compiler.pipeline import run_passes
from lossc.compiler.reports.report import count_kernels, total_counts, variant_together
from lossc.ir.interp import interpret
from lossc.ir.parser import parse
from lossc.ir.printer import print_module
from lossc.ir.program_text import parse_program, print_program
from lossc.ir.target import CPU_AVX512, GPU_GENERIC, DeviceInfo
from lossc.ir.types import is_float, numpy_dtype
from lossc.reports.dot import dot_text
from lossc.reports.explain import explanation
from lossc.reports.kernels import kernel_reports
from lossc.reports.picture import picture_of
from lossc.reports.svg import svg_text
from lossc.runtime.device import Device
from lossc.runtime.simulate import simulate

ROWS = 40
AS_WRITTEN = ("inline", "expand", "autodiff", "inline", "expand", "drop-markers")

every_kind = pytest.mark.parametrize("kind", KINDS)
both_targets = pytest.mark.parametrize("target", [CPU_AVX512, GPU_GENERIC], ids=lambda info: info.name)


@lru_cache(maxsize=32)
def compiled(kind: str, target: DeviceInfo = CPU_AVX512) -> Compiled:
    return compile_module(parse(KINDS[kind]), target)


def arrays(kind: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    found: dict[str, np.ndarray] = {}
    for value in parse(KINDS[kind]).entry.inputs:
        shape = tuple(dim if isinstance(dim, int) else ROWS for dim in value.type.shape)
        # Labels, or probabilities: `bce_loss` takes nothing else.
        drawn = random.uniform(0, 1, shape) if is_float(value.type.dtype) else random.integers(0, 6, shape)
        found[value.name] = np.asarray(drawn).astype(numpy_dtype(value.type.dtype))
    return found


def expected(kind: str) -> list[np.ndarray]:
    given = arrays(kind)
    if kind == "repeat by hand":
        x = given["x"]
        return [np.full((2, 3), x.sum()), x.sum(1)]
    if kind == "kernels by hand":
        x = given["x"]
        powers = np.exp(x - x.max(1, keepdims=True))
        return [powers / powers.sum(1, keepdims=True), x.max(1)]
    return interpret(run_passes(parse(KINDS[kind]), AS_WRITTEN).entry, given)


def check_results(kind: str, found: list[Any]) -> None:
    for array, right in zip(found, expected(kind), strict=True):
        np.testing.assert_allclose(array.astype(np.float64), right, rtol=2e-3, atol=1e-5)


def test_kinds_are_what_they_are_called() -> None:
    assert len(compiled("split").program.repeats) == 1
    assert len(compiled("split twice").program.repeats) == 2
    assert compiled("no kernels").program.steps == ()
    assert compiled("several outputs").program.checks
    program = compiled("repeat by hand").program
    carried = {name for repeat in program.repeats for pair in repeat.carried for name in pair}
    assert carried & {buffer.alias_of for buffer in program.buffers.values()}


@every_kind
@both_targets
def test_simulated(kind: str, target: DeviceInfo) -> None:
    check_results(kind, simulate(compiled(kind, target).program, arrays(kind)))


@every_kind
def test_run_and_looked_into(kind: str, device: Device, tmp_path: Path) -> None:
    fn = lossc.parse(KINDS[kind]).compile(device=device, training=True)
    check_results(kind, fn(**arrays(kind)))
    names = [report.name for report in fn.kernels]
    text = fn.explain()
    assert all(name in text for name in names)
    assert all(f"kernel void {name}" in fn.source for name in fn.sources)
    assert repr(fn).startswith("<CompiledFunction @f(")
    fn.dump(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [step["name"] for step in manifest["steps"]] == [step.name for step in fn.compiled.program.steps]
    assert (tmp_path / "module.lir").read_text().count("func @f") == 1


@every_kind
@both_targets
def test_reports(kind: str, target: DeviceInfo) -> None:
    result = compiled(kind, target)
    steps = [step.name for step in result.program.steps]
    fused = [name for name in steps if name in result.outlined.schedules]
    assert [kernel.name for kernel in count_kernels(result)] == fused
    assert [report.name for report in kernel_reports(result)] == steps
    joined = sum(beside.count - 1 for beside in result.program.beside)
    together = variant_together(result.program, {"N": ROWS})
    least = len(steps) - joined if together is None else len(together.launches)
    assert total_counts(result, {"N": ROWS})["launches"] >= least
    assert explanation(result)


@every_kind
@both_targets
def test_texts_read_back(kind: str, target: DeviceInfo) -> None:
    result = compiled(kind, target)
    text = print_program(result.program)
    assert print_program(parse_program(text)) == text
    check_results(kind, simulate(parse_program(text), arrays(kind)))
    for module in (parse(KINDS[kind]), result.outlined.module):
        assert print_module(parse(print_module(module))) == print_module(module)


@every_kind
@both_targets
def test_pictures(kind: str, target: DeviceInfo) -> None:
    picture = picture_of(compiled(kind, target))
    text = dot_text(picture)
    unquoted = re.sub(r'"(\\.|[^"\\])*"', '""', text)
    assert unquoted.count("{") == unquoted.count("}")
    nodes = re.findall(r"^ *(n\d+) \[", text, re.MULTILINE)
    edges = re.findall(r"^ *(n\d+) -> (n\d+) \[", text, re.MULTILINE)
    assert len(set(nodes)) == len(nodes)
    assert edges
    assert {end for edge in edges for end in edge} <= set(nodes)
    check_drawing(svg_text(picture), text)


@every_kind
def test_commands(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.lir").write_text(KINDS[kind])
    np.savez("in.npz", **arrays(kind))  # type: ignore[arg-type]
    target = ("--device", "cpu-avx512")
    for words in (
        ("explain", "f.lir", *target), ("explain", "f.lir", "--json", *target),
        ("graph", "f.lir", *target, "-o", "f.dot"), ("dump", "f.lir", *target, "-o", "folder"),
        ("compile", "f.lir", *target), ("opt", "f.lir"), ("fmt", "f.lir"), ("fmt", "--check", "f.lir"),
        ("run", "f.lir", "-i", "in.npz"),
    ):  # fmt: skip
        done = CliRunner().invoke(app, list(words), prog_name="lossc")
        assert done.exit_code == 0, (words, done.output)
        assert "Traceback" not in done.output
