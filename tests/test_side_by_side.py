"""Neighbouring steps that do not wait for one another are one launch: the same numbers, bit for bit, with fewer of
them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import lossc
from lossc import nn, optim
from lossc.cli.bundle import read_dump
from lossc.compiler import Compiled, compile_module
from lossc.compiler.checks.program import program_problems
from lossc.compiler.overwriting import overwrites
from lossc.compiler.reports.report import total_counts
from lossc.ir.interp import interpret
from lossc.ir.parser import parse
from lossc.ir.program import Beside, Program, choose_variant, holds, steps_of, turns
from lossc.ir.program_text import parse_program, print_program
from lossc.ir.target import CPU_AVX512, GPU_GENERIC
from lossc.reports.dump import dump
from lossc.reports.explain import explanation
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable
from lossc.runtime.simulate import Counts, simulate

MLP = """
func @mlp(%x: f32[B, 37], %labels: i32[B], param %w1: f32[19, 37], param %b1: f32[19],
          param %w2: f32[5, 19], param %b2: f32[5])
    -> (%loss: f32[1], %d1: f32[19, 37], %e1: f32[19], %d2: f32[5, 19], %e2: f32[5]) {
  %h = linear %x, %w1, %b1
  %a = tanh %h
  %logits = linear %a, %w2, %b2
  %loss = cross_entropy_loss %logits, %labels
  %d1, %e1, %d2, %e2 = grad %loss, %w1, %b1, %w2, %b2
  return %loss, %d1, %e1, %d2, %e2
}
"""
# `%y` may lie where `%x` lies, if the product has read that before.
OVER = """
func @over(%x: f32[48, 16], %w: f32[16, 16]) -> (%p: f32[48, 16], %y: {dtype}[48, 16]) {{
  %p = matmul %x, %w
  %e = exp %x
  %y = cast %e {{dtype = {dtype}}}
  return %p, %y
}}
"""
# Three products that wait for nobody, all of B rows.
SIAMESE = """
func @siamese(%x: f32[B, 40], %y: f32[B, 40], %z: f32[B, 40], param %w: f32[40, 24]) -> (f32[1], f32[40, 24]) {
  %a = matmul %x, %w
  %b = matmul %y, %w
  %c = matmul %z, %w
  %loss = triplet_loss %a, %b, %c
  %dw = grad %loss, %w
  return %loss, %dw
}
"""


def mlp_inputs(rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows)
    shapes = {"x": (rows, 37), "w1": (19, 37), "b1": (19,), "w2": (5, 19), "b2": (5,)}
    arrays = {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    return {**arrays, "labels": random.integers(0, 5, rows).astype(np.int32)}


def launches(program: Program, sizes: Mapping[str, int]) -> int:
    return sum(len(choose_variant(turn.step.variants, turn.sizes).launches) for turn in turns(program, sizes))


@pytest.mark.parametrize("rows", [1, 5, 16, 40, 2048])
def test_joined_launches_give_the_same_bits(rows: int, device: Device) -> None:
    compiled = compile_module(parse(MLP), device.info)
    program, given = compiled.program, mlp_inputs(rows)
    assert program.beside
    if rows < 2048:
        assert launches(program, {"B": rows}) == 5 < launches(program.step_by_step, {"B": rows})
    joined, apart = (
        Executable(each, device, compiled.sources(), compiled.build_options)(given)
        for each in (program, program.step_by_step)
    )
    for one, other in zip(joined, apart, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rows", [1, 5, 16, 40])
def test_simulated_they_are_what_the_graph_means(rows: int) -> None:
    compiled, given, counts = compile_module(parse(MLP), CPU_AVX512), mlp_inputs(rows), Counts()
    found = simulate(compiled.program, given, counts=counts)
    assert counts.launches == 5
    for one, other in zip(found, interpret(compiled.prepared.entry, given), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_every_work_item_does_its_share_of_each() -> None:
    """Whatever the number of items is that a launch has."""
    compiled = compile_module(parse(MLP), CPU_AVX512)
    program, given = compiled.program, mlp_inputs(40)
    expected = simulate(program, given)
    for items in (1, 3, 7):
        steps = tuple(
            replace(several, variants=tuple(
                replace(variant, launches=tuple(
                    replace(launch, global_size=replace(program.buffers["labels"].size, name="items"))
                    if len(variant.launches) == 1 else launch for launch in variant.launches
                )) for variant in several.variants
            )) for several in program.beside
        )  # fmt: skip
        found = simulate(replace(program, beside=steps), given, {"items": items})
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("text", [MLP, SIAMESE], ids=["mlp", "siamese"])
@pytest.mark.parametrize("rows", [1, 7, 8, 11, 16, 399, 400, 5000])
def test_the_variant_is_what_each_step_would_take(rows: int, text: str) -> None:
    program = compile_module(parse(text), CPU_AVX512).program
    sizes = {"B": rows}
    assert program.beside
    for several in program.beside:
        own = [choose_variant(step.variants, sizes) for step in steps_of(program, several)]
        taken = choose_variant(several.variants, sizes)
        assert taken.strategy == " + ".join(dict.fromkeys(variant.strategy for variant in own))
        assert all(holds(variant.guard, sizes) for variant in own)
        assert len(taken.launches) in (1, sum(len(variant.launches) for variant in own))


@pytest.mark.parametrize("text", [MLP, SIAMESE], ids=["mlp", "siamese"])
def test_there_are_no_variants_but_those_that_some_sizes_take(text: str) -> None:
    """Of steps of as many rows most choices contradict one another, or come after one that always holds where they do:
    there are no more kernels than the step with the most variants has."""
    program = compile_module(parse(text), CPU_AVX512).program
    for several in program.beside:
        taken = {id(choose_variant(several.variants, {"B": rows})) for rows in range(1, 2500)}
        assert taken == {id(variant) for variant in several.variants}
        joined = [variant for variant in several.variants if len(variant.launches) == 1]
        assert len(joined) <= max(len(step.variants) for step in steps_of(program, several))
    assert program.beside[0].count == 3


def joined_steps(compiled: Compiled) -> list[int]:
    return [several.count for several in compiled.program.beside]


def test_what_may_be_written_over_an_input_waits_for_who_reads_that() -> None:
    over = compile_module(parse(OVER.format(dtype="f32")), CPU_AVX512)
    assert ("x", "y") in overwrites(over.outlined)
    assert joined_steps(over) == []
    beside = compile_module(parse(OVER.format(dtype="f64")), CPU_AVX512)
    assert not overwrites(beside.outlined)
    assert joined_steps(beside) == [2]


def test_what_needs_another_is_not_joined_with_it() -> None:
    program = compile_module(parse(MLP), CPU_AVX512).program
    for several in program.beside:
        written: set[str] = set()
        for step in steps_of(program, several):
            arguments = {a for variant in step.variants for launch in variant.launches for a in launch.kernel.buffers}
            assert not {a.name for a in arguments} & written
            written |= {a.name for a in arguments if a.access != "read"}


def test_a_gpu_launches_each() -> None:
    assert not compile_module(parse(MLP), GPU_GENERIC).program.beside


def test_they_print_and_parse_and_are_dumped(tmp_path: Path) -> None:
    compiled = compile_module(parse(MLP), CPU_AVX512)
    text = print_program(compiled.program)
    assert parse_program(text).beside == compiled.program.beside
    assert print_program(parse_program(text)) == text
    dump(compiled, tmp_path / "mlp")
    found = read_dump(tmp_path / "mlp")
    assert found.program.beside == compiled.program.beside
    assert dict(found.sources).keys() == dict(compiled.sources()).keys()
    assert "side by side in one launch:" in explanation(compiled)
    assert total_counts(compiled)["launches"] == launches(compiled.program, {"B": 1024}) == 5


def test_what_is_no_neighbour_is_not_joined() -> None:
    program = compile_module(parse(MLP), CPU_AVX512).program
    (first, *_) = program.beside
    wrong = replace(program, beside=(Beside(len(program.steps) - 1, 2, first.variants),))
    assert any("no steps to be joined" in problem for problem in program_problems(wrong))


@pytest.mark.parametrize(("widths", "most"), [((784, 128, 10), 5), ((32, 32, 32, 32, 32), 9)])
def test_launches_of_a_training_step(widths: tuple[int, ...], most: int) -> None:
    """A product a layer forward, and the loss; backward one for each layer, in which the gradients of its weight, bias
    and input are. The update is one launch more."""
    g = lossc.Graph()
    x, labels = g.input("x", (None, widths[0])), g.input("labels", (None,), dtype="i32")
    net = nn.Mlp(g, "mlp", widths[0], widths[1:-1], widths[-1])
    g.set_outputs([g.cross_entropy_loss(net(x), labels)])
    step = g.compile_step(optim.Adam())
    found = launches(step.compiled.program, dict.fromkeys(step.compiled.program.dims, 256))
    layers = len([*pairwise(widths)])
    assert found <= most == layers + 1 + layers
