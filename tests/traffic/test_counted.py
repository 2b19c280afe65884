"""What the certificate says is what the simulator sees: every element of every buffer, in the kernels that run at
realistic sizes, with few rows; and no more loads and stores than the loops have uses of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest

from lossc.compiler import Compiled, compile_module
from lossc.compiler.reports.report import assumed_sizes
from lossc.compiler.reports.traffic import AGAIN, HANDED, LATER, READ, WRITTEN, Traffic, traffic
from lossc.ir.composites import COMPOSITES
from lossc.ir.parser import parse
from lossc.ir.program import choose_variant
from lossc.ir.target import CPU_AVX512, H200, KIB, DeviceInfo
from lossc.ir.types import dim_value, is_integer, numpy_dtype
from lossc.runtime.simulate import Counts, simulate

from .catalogue import REALISTIC, Case, cases

CLASSES = {"whole vectors": (64, 4), "ragged rows": (75, 5)}
FEW: Mapping[str, Mapping[str, int]] = {
    "whole vectors": {"N": 16, "H": 1, "W": 32},
    "ragged rows": {"N": 16, "H": 1, "W": 57},
}
ROWS_OF_PRODUCTS = 48
WIDTH = 16
MOST_PASSES, SCALARS = 4, 8
PAIRS = ("multilabel_margin_loss",)
"""Losses whose kernels pick from pairs of columns: how often depends on the labels."""
PRODUCTS = ("linear_cross_entropy_loss", "info_nce_loss")


def selected(classes: str) -> dict[str, list[Case]]:
    """By loss: the plain form with labels and with distributions; where rows are ragged also its optional operands, all
    gradients, and f16."""
    found: dict[str, list[Case]] = {}
    for case in cases(*CLASSES[classes]):
        is_plain = case.gradient == "first" and case.dtype == "f32" and not _has_optional(case)
        further = (
            classes == "ragged rows"
            and case.op not in PRODUCTS
            and (case.gradient == "first" or not _has_optional(case))
        )
        if not case.attributes and (is_plain or further):
            found.setdefault(case.op, []).append(case)
    return found


def _has_optional(case: Case) -> bool:
    return any(f"{name}?" in COMPOSITES[case.op].operands for name, _ in case.operands)


def as_at(compiled: Compiled, chosen_at: Mapping[str, int]) -> Compiled:
    """The program with the variants that some sizes choose whatever sizes it has, on a device without a cache."""
    program = compiled.program
    sizes = assumed_sizes(program, chosen_at)
    chosen = [choose_variant(step.variants, sizes) for step in program.steps]
    steps = tuple(replace(s, variants=(replace(v, guard=None),)) for s, v in zip(program.steps, chosen))
    buffers = {**program.buffers, **{b.name: b for v in chosen for b in v.temporaries}}
    chosen_program = replace(program.step_by_step, steps=steps, buffers=buffers)
    lowered = replace(compiled.lowered, program=chosen_program)
    return replace(compiled, lowered=lowered, device=replace(compiled.device, cache_per_unit=0))


def simulated(compiled: Compiled, case: Case, sizes: Mapping[str, int]) -> Counts:
    generator, arrays = np.random.default_rng(0), {}
    sizes = {name: sizes[name] for name in compiled.program.dims}
    for name, type_ in compiled.program.inputs:
        shape = tuple(dim_value(dim, sizes) for dim in type_.shape)
        if not is_integer(type_.dtype):
            values = generator.random(shape)
        elif len(shape) == 1 and shape[0] <= case.columns:
            values = generator.permutation(case.columns)[: shape[0]]  # so that each picks another class
        else:
            values = generator.integers(0, case.columns, shape)
        arrays[name] = values.astype(numpy_dtype(type_.dtype))
    counts = Counts()
    simulate(compiled.program, arrays, sizes, counts=counts)
    return counts


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("loss", sorted(selected("ragged rows")))
def test_elements_read_and_written(loss: str, classes: str) -> None:
    wrong = []
    for case in selected(classes)[loss]:
        # Tiles of a product need rows enough, which are chosen as they are.
        sizes = {**FEW[classes], "N": ROWS_OF_PRODUCTS} if loss in PRODUCTS else FEW[classes]
        compiled = as_at(case.compiled(), sizes if loss in PRODUCTS else REALISTIC[case.layout])
        counts, said = simulated(compiled, case, sizes), traffic(compiled, sizes)
        wrong += [f"{case}: {line}" for line in _unlike(said, counts)]
        # Weights that repeat and numbers are looked at again by every work-item, or row.
        if loss not in (*PRODUCTS, *PAIRS) and not _has_optional(case):
            wrong += [f"{case}: {line}" for line in _beyond(said, counts, _overlap(case, sizes), case)]
    assert not wrong, "\n".join(wrong)


def _unlike(said: Traffic, counts: Counts) -> Iterator[str]:
    """Buffers of which other elements are touched than the certificate says."""
    read: Counter[str] = Counter()
    written: Counter[str] = Counter()
    for move in (move for kernel in said.kernels for move in kernel.moves):
        share = move.bytes // 2 if move.why == HANDED else move.bytes
        read[move.buffer] += share if move.why in (READ, LATER, HANDED) else 0
        written[move.buffer] += share if move.why in (WRITTEN, HANDED) else 0
    for what, told, seen in (("read", read, counts.bytes_read), ("written", written, counts.bytes_written)):
        for buffer in told.keys() | seen.keys():
            if told[buffer] != seen[buffer]:
                yield f"{buffer}: {told[buffer]} bytes said to be {what}, {seen[buffer]} are"


def _overlap(case: Case, sizes: Mapping[str, int]) -> float:
    """How many elements whole vectors have for each of a line: the last vector of a line overlaps the one before."""
    line = case.columns if case.layout == "rows" else sizes["H"] * sizes["W"]
    return math.ceil(line / WIDTH) * WIDTH / line


def _beyond(said: Traffic, counts: Counts, overlap: float, case: Case) -> Iterator[str]:
    """Loads and stores beyond one for each use that the loops have of an element, but for the overlap of vectors and
    for what a row has one of (a label), which every pass may look at again."""
    temporaries = {move.buffer for kernel in said.kernels for move in kernel.moves if move.why == HANDED}
    loaded = sum(count for name, count in counts.bytes_loaded.items() if name not in temporaries)
    stored = sum(count for name, count in counts.bytes_stored.items() if name not in temporaries)
    loads, stores = said.because(READ) + said.because(AGAIN) + said.because(LATER), said.because(WRITTEN)
    of_rows = sum(move.bytes for kernel in said.kernels for move in kernel.moves
                  if move.why == READ and move.bytes <= stores / case.columns * 2)  # fmt: skip
    if not loads <= loaded <= overlap * (loads + MOST_PASSES * of_rows):
        yield f"{loaded} bytes loaded for {loads} uses"
    if not stores <= stored <= overlap * stores + SCALARS:
        yield f"{stored} bytes stored for {stores} results"


LONG_ROW = """func @f(%x: f32[1, 65541], %labels: i32[1]) -> (%loss: f32[1], %g: f32[1, 65541]) {
  %loss = cross_entropy_loss %x, %labels
  %g = grad %loss, %x
  return %loss, %g
}"""


def test_a_long_row_is_read_by_every_phase() -> None:
    """Of a single row there are parts: one launch for maximum and sum of each, and one for the gradient."""
    compiled = compile_module(parse(LONG_ROW), replace(CPU_AVX512, cache_per_unit=0))
    (step,) = compiled.program.steps
    variant = choose_variant(step.variants, {})
    assert variant.strategy == "row-parts"
    said, counts = traffic(compiled), Counts()
    x = np.random.default_rng(0).normal(size=(1, 65541)).astype(np.float32)
    simulate(compiled.program, {"x": x, "labels": np.array([7], np.int32)}, counts=counts)
    assert not list(_unlike(said, counts))
    assert {move.buffer: move.bytes for move in said.kernels[0].moves if move.why == LATER}["x"] == x.nbytes
    # What is larger than the caches of all comes from memory twice, what fits one only once.
    fits = replace(compiled, device=replace(compiled.device, cache_per_unit=2 * x.nbytes + 4096))
    assert traffic(fits).because(LATER) == 0


ROWS_FOR_GPUS = {
    "joined": ("cross_entropy_loss", "f32", 50176, H200, 2),
    "two inputs, joined": ("js_div_loss", "f32", 65536, H200, 3),
    "two inputs of 16 bits, not joined": ("js_div_loss", "f16", 65536, H200, 4),
    "few registers, not joined": ("cross_entropy_loss", "f32", 50176, replace(H200, register_file=24 * KIB), 3),
}


@pytest.mark.parametrize(("loss", "dtype", "columns", "device", "times"), ROWS_FOR_GPUS.values(), ids=ROWS_FOR_GPUS)
def test_a_row_that_does_not_fit_the_chip(loss: str, dtype: str, columns: int, device: DeviceInfo, times: int) -> None:
    """It is read again for every pass, but once for two passes that are joined, where the registers have room."""
    row, takes_labels = f"{dtype}[4, {columns}]", loss == "cross_entropy_loss"
    text = f"""func @f(%x: {row}, %t: {"i32[4]" if takes_labels else row}) -> (f32[1], {row}) {{
      %l = {loss} %x, %t
      %g = grad %l, %x
      return %l, %g
    }}"""
    compiled = compile_module(parse(text), replace(device, cache_per_unit=0), "row-group")
    generator = np.random.default_rng(0)
    x = generator.normal(size=(4, columns)).astype(numpy_dtype(dtype))
    t = generator.integers(0, columns, 4).astype(np.int32) if takes_labels else x[::-1].copy()
    said, counts = traffic(compiled), Counts()
    simulate(compiled.program, {"x": x, "t": t}, counts=counts)
    assert not list(_unlike(said, counts))
    told = sum(move.bytes for kernel in said.kernels for move in kernel.moves if move.buffer == "x")
    assert told == times * x.nbytes
    picked = 4 * x.itemsize if takes_labels else 0
    assert counts.bytes_loaded["x"] == told + picked
