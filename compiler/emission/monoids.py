"""How partial results of a reduction meet, apart from who computes them. One row a reduction."""

from __future__ import annotations

from dataclasses import replace

from ...ir.frozen import frozen
from ...ir.function import Op
from ...ir.kernel import Apply, Const, Expr, register_dtype
from ...ir.target import DeviceInfo
from ..numbers import identity
from .facts import Facts


@frozen
class Monoid:
    """`combine` is the pointwise operation of two partial results, `identity` changes nothing."""

    combine: str
    identity: float | int
    dtype: str

    @property
    def is_idempotent(self) -> bool:
        """Whether joining a value twice is joining it once."""
        return self.combine != "add"

    def neutral(self, width: int) -> Const:
        return Const(self.identity, self.dtype, width)

    def join(self, a: Expr, b: Expr) -> Expr:
        return Apply(self.combine, (a, b), self.dtype, a.width)


def for_many_parts(monoid: Monoid, device: DeviceInfo) -> Monoid:
    """The monoid in which partial results of many work-items are joined: f32 ones in f64 where the device has it."""
    return replace(monoid, dtype="f64") if monoid.dtype == "f32" and device.has_f64 else monoid


def partial_dtype(op: Op) -> str:
    """The type of a reduction's partial results: what registers hold."""
    return register_dtype(op.result.type.dtype)


def monoid_of(op: Op, facts: Facts) -> Monoid:
    """The monoid of a reduction."""
    dtype = partial_dtype(op)
    combine = {"reduce_sum": "add", "reduce_max": "max", "reduce_min": "min"}[op.name]
    return Monoid(facts.spelling.get(op) or combine, identity(op.name, dtype), dtype)
