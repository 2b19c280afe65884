"""Which sums can be taken below a part's maximum: by text, and by the equation itself."""

from __future__ import annotations

import pytest

from lossc.compiler.fusion.outline import outline
from lossc.compiler.fusion.schedule import schedule_of
from lossc.compiler.rows.phases import phases_of
from lossc.compiler.rows.rescalable import rescalable
from lossc.compiler.rows.stages import stages_of
from lossc.ir.parser import parse
from lossc.ir.schedule import Schedule

HEAD = """func @f(%x: f32[N, 40], %y: f32[N, 40]) -> (%s: f32[N], %l: f32[N]) {
  %m = reduce_max %x {axes = [1]}
  %n = reduce_max %y {axes = [1]}
  %wm = broadcast %m {dims = [0], shape = [N, 40]}
  %wn = broadcast %n {dims = [0], shape = [N, 40]}
  %d = sub %x, %wm
  %e = exp %d
  %c = sub %y, %wn
  %h = exp %c
  %two = constant {value = 2.0, dtype = f32, shape = [N, 40]}
  %zero = constant {value = 0.0, dtype = f32, shape = [N, 40]}
  %both = add %x, %y
  %l = reduce_sum %both {axes = [1]}
"""

# What is added up; for each maximum by how much the exponent changes, and what is added; None: not to be rescaled.
SUMS = {
    "%v = mul %e, %y": ({"m": -1.0}, {}),
    "%v = mul %e, %h": ({"m": -1.0, "n": -1.0}, {}),
    "%v = mul %e, %e": ({"m": -2.0}, {}),
    "%v = neg %e": ({"m": -1.0}, {}),
    "%t = mul %d, %two\n  %v = exp %t": ({"m": -2.0}, {}),
    "%t = div %d, %two\n  %v = exp %t": ({"m": -0.5}, {}),
    "%t = add %d, %c\n  %v = exp %t": ({"m": -1.0, "n": -1.0}, {}),
    "%p = gt %x, %y\n  %v = select %p, %e, %zero": ({"m": -1.0}, {}),
    "%v = add %e, %e": ({"m": -1.0}, {}),
    "%t = mul %d, %two\n  %v = sub %t, %c": ({}, {"m": -2.0, "n": 1.0}),
    # It grows with the maximum, or changes in no way that is known.
    "%t = neg %d\n  %v = exp %t": None,
    "%v = div %y, %e": None,
    "%v = add %e, %h": None,
    "%v = add %e, %y": None,
    "%v = mul %d, %y": None,
    "%v = mul %d, %e": None,
    "%p = gt %d, %two\n  %v = select %p, %e, %zero": None,
    "%v = sqrt %e": None,
}


def schedule(text: str) -> Schedule:
    found = schedule_of(parse(f"{HEAD}  {text}\n  %s = reduce_sum %v {{axes = [1]}}\n  return %s, %l\n}}").entry)
    assert isinstance(found, Schedule)
    return found


@pytest.mark.parametrize("text", SUMS)
def test_laws(text: str) -> None:
    found = schedule(text)
    laws = {
        op.result.name: tuple({m.result.name: slope for m, slope in part.items()} for part in (law.scaled, law.added))
        for op, law in rescalable(found).items()
        if not law.is_fixed
    }
    expected = SUMS[text]
    assert laws == ({} if expected is None else {"s": expected})
    phases = phases_of(stages_of(found), rescalable(found))
    assert len([phase for phase in phases if phase.stages]) == (2 if expected is None else 1)


def test_what_depends_on_a_sum_waits() -> None:
    """A sum of exponentials below a log-sum-exp is not one below a maximum."""
    text = """%z = reduce_sum %e {axes = [1]}
  %wz = broadcast %z {dims = [0], shape = [N, 40]}
  %q = div %e, %wz
  %v = mul %q, %y"""
    found = schedule(text)
    assert {op.result.name for op, law in rescalable(found).items() if not law.is_fixed} == {"z"}
    assert {op.result.name for op, law in rescalable(found).items() if law.is_fixed} == {"m", "n", "l"}
    numbers = [[stage.number for stage in phase.stages] for phase in phases_of(stages_of(found), rescalable(found))]
    assert numbers == [[0, 1], [2], []]


def test_of_a_loss() -> None:
    text = """func @f(%x: f32[N, 40], %t: i32[N]) -> (%loss: f32[1], %g: f32[N, 40]) {
      %loss = cross_entropy_loss %x, %t {label_smoothing = 0.1}
      %g = grad %loss, %x
      return %loss, %g
    }"""
    from lossc.compiler.pipeline import run_passes

    (found,) = outline(run_passes(parse(text), ("prepare",))).schedules.values()
    numbers = [[stage.number for stage in phase.stages] for phase in phases_of(stages_of(found), rescalable(found))]
    assert numbers == [[0, 1], [2]]
