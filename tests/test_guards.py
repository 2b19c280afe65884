"""What guards say of sizes is true of all sizes: nothing is called impossible that some sizes fulfil, nothing implied
that fails."""

from __future__ import annotations

import random

import pytest

from lossc.compiler.guards import NOTHING, Known, taken
from lossc.ir.arithmetic import at_least, both, divides, index_var, integer, less, mul
from lossc.ir.kernel import Expr
from lossc.ir.program import Variant, holds

SIZES = [{"B": b, "C": c} for b in range(40) for c in (0, 1, 3, 8, 11)]


def some_guard(source: random.Random) -> Expr | None:
    guard: Expr | None = None
    for _ in range(source.randrange(4)):
        size, number = index_var(source.choice("BBC")), source.randrange(1, 30)
        condition = source.choice([
            at_least(size, number), less(size, integer(number)), divides(source.choice([2, 8]), size),
            less(mul(size, integer(source.randrange(1, 6))), integer(number)),
            at_least(mul(size, integer(source.randrange(1, 6))), number),
            less(index_var("C"), index_var("B")),
        ])  # fmt: skip
        guard = both(guard, condition)
    return guard


def where(known: Known, *guards: Expr | None) -> Known:
    for guard in guards:
        known = known.and_where(guard)
    return known


@pytest.mark.parametrize("seed", range(300))
def test_what_is_known_is_true(seed: int) -> None:
    source = random.Random(seed)
    first, second, other = (some_guard(source) for _ in range(3))
    known, further = where(NOTHING, first, second), where(NOTHING, other)
    if not known.is_possible:
        assert not any(holds(first, sizes) and holds(second, sizes) for sizes in SIZES)
    if known.implies(further):
        assert all(holds(other, sizes) for sizes in SIZES if holds(first, sizes) and holds(second, sizes))


@pytest.mark.parametrize("seed", range(100))
def test_without_late_variants_every_size_takes_what_it_took(seed: int) -> None:
    source = random.Random(seed)
    variants = [*(Variant(str(number), (), some_guard(source)) for number in range(4)), Variant("last", ())]
    fewer = taken(variants)
    for sizes in SIZES:
        first, found = (next(v for v in some if holds(v.guard, sizes)) for some in (variants, fewer))
        assert found.strategy == first.strategy
    assert fewer[-1].guard is None


def test_late_variants_are_found() -> None:
    rows = index_var("B")
    large, small = at_least(rows, 16), less(rows, integer(100))
    variants = [Variant(name, (), guard) for name, guard in (
        ("small", small), ("both", both(large, small)), ("large", large), ("again", large), ("last", None)
    )]  # fmt: skip
    assert [variant.strategy for variant in taken(variants)] == ["small", "large", "last"]


def test_a_guard_that_always_holds_is_none() -> None:
    always = at_least(mul(index_var("B"), integer(16)), 0)
    assert taken([Variant("first", (), always), Variant("last", ())]) == (Variant("first", ()),)


def test_bounds_are_found() -> None:
    rows = index_var("B")
    many = where(NOTHING, at_least(rows, 2048))
    assert not where(many, less(mul(rows, integer(5)), integer(10240))).is_possible
    assert where(many, less(mul(rows, integer(5)), integer(10241))).is_possible
    assert many.implies(where(NOTHING, at_least(rows, 12)))
    assert not where(NOTHING, at_least(rows, 12)).implies(many)
    assert where(many, divides(8, rows)).implies(many)
    assert not many.implies(where(many, divides(8, rows)))
    assert NOTHING.implies(where(NOTHING, at_least(rows, 0)))
