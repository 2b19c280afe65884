"""The cases of the matrix: one operation with its operands, attributes, shape, dtypes, gradient and strategy.

In: nothing (operations and strategies are discovered). Out: `Case`s, each with a text that names it and reads back.
"""

from __future__ import annotations

import ast
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from lossc.compiler.fused import Fused
from lossc.compiler.gradient import request_gradients
from lossc.compiler.lower import buffer_names
from lossc.compiler.outline import outline
from lossc.compiler.pipeline import run_passes
from lossc.compiler.strategies import strategies
from lossc.ir.builder import Builder, Tensor
from lossc.ir.composites import COMPOSITES
from lossc.ir.diagnostics import LosscError
from lossc.ir.function import Function, Module
from lossc.ir.target import CPU_AVX512
from lossc.ir.types import DimLike, Type, is_float, named

from .covering import Row, cover
from .signatures import ABSENT, PROBE, PROBED_FEATURES, attribute_choices, build, composite, operand_choices

CHAINS = ("linear+relu",)

LAYOUTS = ("last", "middle", "first", "row")
COLUMNS = (1, 7, 16, 31, 33, 1000, 4099)
ROWS = (0, 1, 5, 37)
NAMED = ("none", "rows", "columns", "all")
DTYPES = ("f32", "f64", "f16", "bf16")
GRADIENTS = ("none", "all", "upstream", "middle")
FEATURES = (5, 1, 33)
AUTO = "auto"
EXECUTORS = ("intel", "pocl", "gpu")
"""Levels that take turns where not every case runs at every one: two devices, and simulated kernels for a GPU."""
EVERY = "every"


@dataclass(frozen=True)
class Case:
    """`layout`: [N, C], [N, C, H, W], [C, N] or [C]. `named`: which sizes are names. `gradient`: by every float
    operand, of the sum of the result, with an upstream gradient as a further input, or of three times the result and
    a penalty on the first operand. `executor`: where it runs
    besides the passes and the simulated CPU kernels."""

    op: str
    layout: str = "last"
    columns: int = 33
    rows: int = 5
    named: str = "none"
    dtype: str = "f32"
    features: int = 5
    gradient: str = "all"
    strategy: str = AUTO
    executor: str = EVERY
    operands: tuple[tuple[str, str], ...] = ()
    attributes: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        own = [
            f"{f.name}={getattr(self, f.name)}" for f in fields(self) if f.name not in ("op", "operands", "attributes")
        ]
        return " ".join(
            [self.op, *own, *(f"{k}={v}" for k, v in self.operands), *(f"{k}={v!r}" for k, v in self.attributes)]
        )

    @property
    def executors(self) -> tuple[str, ...]:
        """Every level to run at."""
        others = EXECUTORS if self.executor == EVERY else (self.executor,)
        return ("passes", "cpu", *(name for name in others if name != "gpu" or not self._has_f64))

    @property
    def _has_f64(self) -> bool:
        """Whether f64 occurs: the GPU that is simulated has none."""
        return self.dtype == "f64" or (self.dtype == "f32" and any("other" in choice for _, choice in self.operands))

    @property
    def axis(self) -> int:
        return 0 if self.layout in ("first", "row") else 1

    @property
    def pixels(self) -> tuple[int, int]:
        return (3, 7) if self.columns <= 33 else (1, 3)

    @property
    def x(self) -> Type:
        """The type of the first operand."""
        by_rows, by_columns = self.named in ("rows", "all"), self.named in ("columns", "all")
        rows: DimLike = named("N") if by_rows else self._fewer(self.rows)
        columns: DimLike = named("C") if by_columns else self.columns
        pixels: tuple[DimLike, ...] = (named("H"), named("W")) if by_rows else self.pixels
        shapes = {
            "last": (rows, columns),
            "middle": (rows, columns, *pixels),
            "first": (columns, rows),
            "row": (columns,),
        }
        return Type(self.dtype, shapes[self.layout])

    def sizes(self, rows: int) -> Mapping[str, int]:
        height, width = self.pixels
        return {"N": rows, "C": self.columns, "H": height, "W": width}

    @property
    def row_counts(self) -> tuple[int, ...]:
        """All of them where one program serves all."""
        counts = ROWS if self.named in ("rows", "all") else (self.rows,)
        return tuple(map(self._fewer, counts))

    def _fewer(self, rows: int) -> int:
        """Fewer rows where there are long ones at every pixel: the interpreter and the simulator are slow."""
        return min(rows, 7) if self.layout == "middle" and self.columns >= 1000 else rows

    def function(self) -> Function:
        """Raises LirError where the operation refuses."""
        attributes = dict(self.attributes)
        if "axis" in composite(self.op).attributes:
            attributes["axis"] = self.axis
        function = build(self.op, self.x, self.axis, dict(self.operands), attributes, self.features)
        if self.gradient == "none":
            return function
        floats = [value.name for value in function.inputs if is_float(value.type.dtype)]
        if self.gradient == "middle":
            function = with_penalty(function)
        return request_gradients(function, floats, 0, upstream=self.gradient == "upstream")


def with_penalty(function: Function) -> Function:
    """3 sum(result) + sum(x^2) / 2 for the first operand x: the result is in the middle of a graph."""
    builder = Builder()
    builder.inputs, builder.ops = list(function.inputs), list(function.ops)
    x, result = (Tensor(value, builder) for value in (function.inputs[0], function.outputs[0]))
    # Sums of 16-bit numbers are beyond their type.
    x, result = (tensor.cast("f64" if tensor.dtype == "f64" else "f32") for tensor in (x, result))
    total = (result.sum() * 3 + (x * x).sum() * 0.5).reshape([1])
    return builder.function(function.name, [total.value], ("out0",))


def parse_case(text: str) -> Case:
    """The case of that text; what is left out is as in `Case`."""
    op, *words = text.split()
    given = dict(word.split("=", 1) for word in words)
    own = {f.name: given.pop(f.name) for f in fields(Case) if f.name in given}
    converted = {key: int(value) if key in ("columns", "rows", "features") else value for key, value in own.items()}
    names = [operand.rstrip("?") for operand in composite(op).operands]
    operands = tuple((key, value) for key, value in given.items() if key in names)
    attributes = tuple((key, ast.literal_eval(value)) for key, value in given.items() if key not in names)
    return Case(op, **converted, operands=operands, attributes=attributes)  # type: ignore[arg-type]


def operations() -> list[str]:
    """Every loss and layer there is, and chains of them."""
    return [*COMPOSITES, *CHAINS]


def factors_of(op: str, executors: Sequence[str] = (EVERY,)) -> Mapping[str, Sequence[Any]]:
    """What varies for one operation."""
    choices = {layout: operand_choices(op, *_rank_and_axis(layout)) for layout in _layouts(op)}
    operands = {operand: tuple(dict.fromkeys(c for found in choices.values() for c in found.get(operand, ())))
                for operand in (o.rstrip("?") for o in composite(op).operands[1:])}  # fmt: skip
    uses_features = any("matrix" in c or "features" in c for found in operands.values() for c in found)
    return {
        "op": (op,), "layout": _layouts(op), "columns": COLUMNS, "rows": ROWS, "named": NAMED, "dtype": DTYPES,
        "gradient": GRADIENTS, "strategy": (AUTO, *strategies()),
        "executor": executors,
        **({"features": FEATURES} if uses_features else {}),
        **{f"operand {name}": found for name, found in operands.items()},
        **{f"attribute {name}": values for name, values in attribute_choices(op).items()},
    }  # fmt: skip


def _layouts(op: str) -> tuple[str, ...]:
    return tuple(layout for layout in LAYOUTS if layout != "first" or "axis" in composite(op).attributes)


def _rank_and_axis(layout: str) -> tuple[int, int]:
    case = Case("", layout=layout)
    return case.x.rank, case.axis


def case_of(row: Row) -> Case:
    own = {key: value for key, value in row.items() if " " not in key}
    split = {kind: tuple((key.split()[1], value) for key, value in row.items() if key.startswith(kind + " "))
             for kind in ("operand", "attribute")}  # fmt: skip
    return Case(**own, operands=split["operand"], attributes=split["attribute"])


def is_allowed(row: Row) -> bool:
    """Whether the operation accepts it and the strategy has something to do."""
    case = case_of(row)
    if case.executor not in (EVERY, *case.executors):
        return False
    if case.layout == "row" and (case.rows != 1 or case.named in ("rows", "all")):
        return False
    if case.strategy != AUTO and not _has_use(case):
        return False
    return _is_accepted(case.op, case.x, case.axis, case.operands, case.attributes, case.gradient)


@lru_cache(maxsize=65536)
def _is_accepted(
    op: str,
    x: Type,
    axis: int,
    operands: tuple[tuple[str, str], ...],
    attributes: tuple[tuple[str, Any], ...],
    gradient: str,
) -> bool:
    given = dict(attributes) | ({"axis": axis} if "axis" in composite(op).attributes else {})
    try:
        # With sizes that are all different first: what fits only because two sizes are equal is left out.
        build(op, Type(x.dtype, PROBE.shape[: x.rank]), axis, dict(operands), given, PROBED_FEATURES)
        function = build(op, x, axis, dict(operands), given, PROBED_FEATURES)
    except LosscError:
        return False
    return gradient == "none" or is_float(function.outputs[0].type.dtype)


def _has_use(case: Case) -> bool:
    """Whether the strategy of a case applies to something in cases like it."""
    gradient = "none" if case.gradient == "none" else "all"
    return case.strategy in applicable(case.op, case.layout, _length(case.columns), gradient)


def _length(columns: int) -> int:
    """A row length that stands for all of its kind: one element, a few vectors, many."""
    return 1 if columns == 1 else 33 if columns <= 33 else 1000


@lru_cache(maxsize=1024)
def applicable(op: str, layout: str, columns: int, gradient: str = "all") -> frozenset[str]:
    """The strategies that some fused kernel of an operation, in its plainest form, can be lowered with."""
    choices = operand_choices(op, *_rank_and_axis(layout))
    operands = tuple((name, next((c for c in found if c != ABSENT), ABSENT)) for name, found in choices.items())
    case = Case(op, layout, columns, 1 if layout == "row" else 5, gradient=gradient, operands=operands)
    try:
        function = case.function()
    except LosscError:
        return frozenset()
    return frozenset(applicable_to(Module({function.name: function})))


def applicable_to(module: Module) -> set[str]:
    """The strategies that apply to a fused kernel of a module."""
    outlined = outline(run_passes(module, ("prepare",)))
    entry = outlined.module.entry
    names = buffer_names(entry)
    launches = [op for op in entry.ops if op.name == "launch"]
    fused = [Fused(op.attributes["callee"], outlined.schedules[op.attributes["callee"]],
                   {v: names[v] for v in (*op.operands, *op.results)}, {}) for op in launches]  # fmt: skip
    return {
        name for name, strategy in strategies().items() for each in fused if strategy.applies(each, CPU_AVX512) is None
    }


@lru_cache(maxsize=8)
def covering_cases(
    strength: int = 2, only: tuple[str, ...] = (), executors: tuple[str, ...] = (EVERY,)
) -> tuple[Case, ...]:
    """Cases that have every pair (or more) of choices."""
    rows, _ = cover([factors_of(op, executors) for op in only or operations()], is_allowed, strength)
    return tuple(case_of(row) for row in rows)


def all_cases(only: Sequence[str] = (), seed: int = 0) -> Iterator[Case]:
    """Every operation x strategy x layout x row length x number of rows x names; the other choices at random."""
    generator = random.Random(seed)
    for op in only or operations():
        space = factors_of(op)
        fixed = [space[factor] for factor in ("layout", "columns", "named", "rows", "strategy")]
        rest = [
            factor
            for factor in space
            if factor not in ("op", "layout", "columns", "named", "rows", "strategy", "executor")
        ]
        for layout, columns, naming, rows, strategy in itertools.product(*fixed):
            if naming in ("rows", "all") and rows != ROWS[0]:
                continue  # One program is run with every number of rows.
            row = {"op": op, "layout": layout, "columns": columns, "named": naming, "rows": rows,
                   "strategy": strategy, "executor": EVERY}  # fmt: skip
            for _ in range(40):
                candidate = row | {factor: generator.choice(list(space[factor])) for factor in rest}
                if is_allowed(candidate):
                    yield case_of(candidate)
                    break
