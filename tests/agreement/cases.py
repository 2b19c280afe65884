"""One case of the matrix: an operation with its operands, attributes, shape, dtypes, gradient and strategy.

In: choices (`selection`) or a text. Out: a `Case` with the function it stands for; its text names it and reads back.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from lossc.compiler.gradient import request_gradients
from lossc.ir.builder import Builder
from lossc.ir.function import Function
from lossc.ir.tensor import Tensor
from lossc.ir.types import DimLike, Type, is_float, named

from .signatures import ABSENT, build, composite, pairs_columns

ANY = "any"
"""A size that has a name: one program, run with all of them."""

COLUMNS = (1, 7, 16, 31, 33, 1000, 4099)
ROWS = (0, 1, 5, 37)
AUTO = "auto"
EXECUTORS = ("intel", "pocl", "gpu")
"""Levels that take turns where not every case runs at every one: two devices, and simulated kernels for a GPU."""
EVERY = "every"

MOST_ELEMENTS = 160_000
"""Of the first operand: with more, fewer rows are taken. The interpreter and the simulator are slow."""

Size = int | str
Sizing = tuple[int, int]
"""Rows and columns of one run."""


@dataclass(frozen=True)
class Case:
    """`layout`: [N, C], [N, C, H, W], [C, N] or [C]. `gradient`: by every float operand, of the sum of the result,
    with an upstream gradient as a further input, or of three times the result and a penalty on the first operand.
    `executor`: where it runs besides the passes and the simulated CPU kernels."""

    op: str
    layout: str = "last"
    columns: Size = 33
    rows: Size = 5
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
        return (3, 7) if isinstance(self.columns, int) and self.columns <= 33 else (1, 3)

    @property
    def x(self) -> Type:
        """The type of the first operand."""
        rows: DimLike = named("N") if isinstance(self.rows, str) else self._fewer(self.rows, self.columns)
        columns: DimLike = named("C") if isinstance(self.columns, str) else self.columns
        pixels: tuple[DimLike, ...] = (named("H"), named("W")) if isinstance(self.rows, str) else self.pixels
        shapes = {
            "last": (rows, columns),
            "middle": (rows, columns, *pixels),
            "first": (columns, rows),
            "row": (columns,),
        }
        return Type(self.dtype, shapes[self.layout])

    def sizes(self, sizing: Sizing) -> Mapping[str, int]:
        height, width = self.pixels
        return {"N": sizing[0], "C": sizing[1], "H": height, "W": width}

    @property
    def lengths(self) -> tuple[int, ...]:
        """The row lengths that the operation is run with."""
        pairs = pairs_columns(self.op, 4 if self.layout == "middle" else 2 - (self.layout == "row"), self.axis)
        return COLUMNS[:-2] if pairs else COLUMNS

    @property
    def sizings(self) -> tuple[Sizing, ...]:
        """Every number of rows and columns that one program is run with."""
        rows = ROWS if isinstance(self.rows, str) else (self.rows,)
        columns = self.lengths if isinstance(self.columns, str) else (self.columns,)
        runs = max(len(rows), len(columns))
        # Where both have names, each of one goes with some of the other.
        pairs = ((rows[-1 - index % len(rows)], columns[index % len(columns)]) for index in range(runs))
        static = self._fewer(self.rows, self.columns) if isinstance(self.rows, int) else None
        return tuple((self._fewer(r, c) if static is None else static, c) for r, c in pairs)

    def _fewer(self, rows: int, columns: Size) -> int:
        longest = columns if isinstance(columns, int) else COLUMNS[-1]
        height, width = self.pixels if self.layout == "middle" else (1, 1)
        features = self.features if any("features" in c or "matrix" in c for _, c in self.operands) else 1
        return min(rows, max(2, MOST_ELEMENTS // (longest * height * width * features)))

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
    pairs = [tuple(word.split("=", 1)) for word in words]
    # An attribute may have the name of an operand: it is known by its value, a literal.
    operands = tuple((key, value) for key, value in pairs if value == ABSENT or ":" in value)
    given = {key: value for key, value in pairs if (key, value) not in operands}
    own = {f.name: given.pop(f.name) for f in fields(Case) if f.name in given}
    sizes = ("columns", "rows", "features")
    converted = {key: int(value) if key in sizes and value != ANY else value for key, value in own.items()}
    attributes = tuple((key, ast.literal_eval(value)) for key, value in given.items())
    return Case(op, **converted, operands=operands, attributes=attributes)  # type: ignore[arg-type]
