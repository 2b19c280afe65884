"""Every loss with its gradient, in the forms that people use: what the certificate is held for.

In: nothing; losses, and what they take, are discovered. Out: cases: each loss with plain operands, with every other
operand and attribute in turn, by rows and by pixels, in f32 and in f16, with the gradient by its first operand and by
all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from agreement.signatures import attribute_choices, build, operand_choices, plain_operands

from lossc.compiler import Compiled, compile_module
from lossc.compiler.gradient import request_gradients
from lossc.ir.composites import COMPOSITES
from lossc.ir.diagnostics import LosscError
from lossc.ir.function import Function, Module
from lossc.ir.target import CPU_AVX512, DeviceInfo
from lossc.ir.types import DimLike, Type, is_float, named

FEATURES = 128
"""Classes of a loss that multiplies by a matrix itself."""
LABELS = ("i32:rows", "i64:rows")
MATRIX = "x:matrix"
LAYOUTS = ("rows", "pixels")
GRADIENTS = ("first", "all")
REALISTIC: Mapping[str, Mapping[str, int]] = {"rows": {"N": 16384}, "pixels": {"N": 8, "H": 256, "W": 256}}


@dataclass(frozen=True)
class Case:
    """A loss of `[N, columns]` or `[N, columns, H, W]`; the gradient is by its `first` operand or by `all` floats."""

    op: str
    layout: str
    columns: int
    dtype: str
    operands: tuple[tuple[str, str], ...]
    attributes: tuple[tuple[str, Any], ...]
    gradient: str

    def __str__(self) -> str:
        given = [f"{key}={value}" for key, value in (*self.operands, *self.attributes)]
        return " ".join([self.op, self.layout, self.dtype, *given, self.gradient])

    def function(self) -> Function:
        """Raises LirError where the loss refuses."""
        shape: tuple[DimLike, ...] = (named("N"), self.columns)
        shape = shape if self.layout == "rows" else (*shape, named("H"), named("W"))
        attributes = dict(self.attributes) | ({"axis": 1} if "axis" in COMPOSITES[self.op].attributes else {})
        function = build(self.op, Type(self.dtype, shape), 1, dict(self.operands), attributes, FEATURES)
        floats = [value.name for value in function.inputs if is_float(value.type.dtype)]
        wanted = floats[:1] if self.gradient == "first" else floats
        return request_gradients(function, wanted, 0, upstream=function.outputs[0].type.count != 1)

    def compiled(self, device: DeviceInfo = CPU_AVX512) -> Compiled:
        function = self.function()
        return compile_module(Module({function.name: function}), device)


@lru_cache(maxsize=4)
def cases(rows: int = 1000, pixels: int = 21) -> tuple[Case, ...]:
    """All cases, with rows and pixels of that many classes."""
    columns = {"rows": rows, "pixels": pixels}
    losses = [name for name in COMPOSITES if name.endswith("_loss") or name == "l1_regularization"]
    found = [case for op in losses for layout in LAYOUTS for case in _cases_of(op, layout, columns[layout])]
    return tuple(case for case in dict.fromkeys(found) if _is_accepted(case))


def _cases_of(op: str, layout: str, columns: int) -> Iterator[Case]:
    rank = 2 if layout == "rows" else 4
    plainest = plain_operands(op, rank, 1)
    if plainest is None:
        return
    optional = {operand.rstrip("?") for operand in COMPOSITES[op].operands if operand.endswith("?")}
    choices = operand_choices(op, rank, 1)
    plain = {name: MATRIX if MATRIX in choices[name] else choice
             for name, choice in plainest.items() if name not in optional}  # fmt: skip
    labels = [name for name, found in choices.items() if LABELS[0] in found]
    bases = [plain, *({**plain, name: LABELS[0]} for name in labels)]
    for base in dict.fromkeys(tuple(base.items()) for base in bases):
        others = [(*base, (name, choice)) for name in optional for choice in choices.get(name, ())
                  if choice.startswith("x:")]  # fmt: skip
        wide = [tuple({**dict(base), name: LABELS[1]}.items()) for name in labels if (name, LABELS[0]) in base]
        forms = [("f32", operands, (), gradient) for operands in (base, *others, *wide) for gradient in GRADIENTS]
        forms += [("f16", base, (), gradient) for gradient in GRADIENTS]
        forms += [("f32", base, (attribute,), "first") for attribute in _attributes(op, layout)]
        yield from (Case(op, layout, columns, *form) for form in forms)


def _attributes(op: str, layout: str) -> list[tuple[str, Any]]:
    """Other values of each attribute. A reduction of pixels says nothing new where there is no class axis; that to the
    weights is no loss."""
    known = COMPOSITES[op].attributes
    alike = ("reduction",) if layout == "pixels" and "axis" not in known else ()
    return [(name, value) for name, values in attribute_choices(op).items() for value in values
            if name not in alike and value not in (known[name].default, "weights")]  # fmt: skip


def _is_accepted(case: Case) -> bool:
    try:
        function = case.function()
    except LosscError:
        return False
    # With one float operand, the first is all of them.
    return case.gradient == "first" or sum(is_float(value.type.dtype) for value in function.inputs) > 1
