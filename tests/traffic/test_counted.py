"""What the certificate says is what the simulator sees: every element of every buffer, in the kernels that run at
realistic sizes, with few rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from lossc.compiler import Compiled
from lossc.compiler.report import assumed_sizes, usual_variant
from lossc.compiler.traffic import HANDED, LATER, READ, WRITTEN, traffic
from lossc.ir.composites import COMPOSITES
from lossc.ir.types import dim_value, is_integer, numpy_dtype
from lossc.runtime.simulate import Counts, simulate

from .catalogue import REALISTIC, Case, cases

CLASSES = {"whole vectors": (64, 4), "ragged rows": (75, 5)}
FEW: Mapping[str, Mapping[str, int]] = {
    "whole vectors": {"N": 16, "H": 2, "W": 16},
    "ragged rows": {"N": 17, "H": 3, "W": 19},
}
ROWS_OF_PRODUCTS = 48
PRODUCTS = ("linear_cross_entropy_loss", "info_nce_loss")


def selected(classes: str) -> dict[str, list[Case]]:
    """By loss: the plain form with labels and with distributions; where rows are ragged also its optional operands, all
    gradients, and f16."""
    found: dict[str, list[Case]] = {}
    for case in cases(*CLASSES[classes]):
        is_plain = case.gradient == "first" and case.dtype == "f32" and not _has_optional(case)
        further = classes == "ragged rows" and (case.gradient == "first" or not _has_optional(case))
        if not case.attributes and (is_plain or further):
            found.setdefault(case.op, []).append(case)
    return found


def _has_optional(case: Case) -> bool:
    return any(f"{name}?" in COMPOSITES[case.op].operands for name, _ in case.operands)


def as_at(compiled: Compiled, chosen_at: Mapping[str, int]) -> Compiled:
    """The program with the variants that some sizes choose whatever sizes it has, on a device without a cache."""
    program = compiled.program
    sizes = assumed_sizes(program, chosen_at)
    chosen = [usual_variant(step, sizes) for step in program.steps]
    steps = tuple(replace(s, variants=(replace(v, guard=None),)) for s, v in zip(program.steps, chosen))
    buffers = {**program.buffers, **{b.name: b for v in chosen for b in v.temporaries}}
    lowered = replace(compiled.lowered, program=replace(program, steps=steps, buffers=buffers, together=()))
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
        counts = simulated(compiled, case, sizes)
        said: dict[str, Counter[str]] = {"read": Counter(), "written": Counter()}
        for move in (move for kernel in traffic(compiled, sizes).kernels for move in kernel.moves):
            if move.why in (READ, LATER):
                said["read"][move.buffer] += move.bytes
            elif move.why == WRITTEN:
                said["written"][move.buffer] += move.bytes
            elif move.why == HANDED:
                said["read"][move.buffer] += move.bytes // 2
                said["written"][move.buffer] += move.bytes // 2
        for what, seen in (("read", counts.bytes_read), ("written", counts.bytes_written)):
            for buffer in said[what].keys() | seen.keys():
                if said[what][buffer] != seen[buffer]:
                    wrong.append(f"{case}: {buffer}: {said[what][buffer]} bytes said to be {what}, {seen[buffer]} are")
    assert not wrong, "\n".join(wrong)
