"""Which cases to run: every operation with its operands and attributes, shapes, dtypes, gradients and strategies.

In: nothing (operations and strategies are discovered). Out: cases, in one of three amounts:

    few_cases       every operation meets every choice, and what all operations have in common is met in pairs
    covering_cases  every operation has every pair of choices
    all_cases       every operation x strategy x layout x row length x number of rows
"""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from lossc.compiler.fused import Fused
from lossc.compiler.fusion.outline import outline
from lossc.compiler.lower import buffer_names
from lossc.compiler.pipeline import run_passes
from lossc.compiler.strategies import costs, strategies
from lossc.ir.composites import COMPOSITES
from lossc.ir.diagnostics import LosscError
from lossc.ir.function import Module
from lossc.ir.target import CPU_AVX512
from lossc.ir.types import Type, is_float

from .cases import ANY, AUTO, COLUMNS, EVERY, ROWS, Case, Size
from .covering import Combination, Row, cover
from .signatures import (
    ABSENT,
    PROBE,
    PROBED_FEATURES,
    attribute_choices,
    build,
    composite,
    operand_choices,
    plain_operands,
)

CHAINS = ("linear+relu",)

LAYOUTS = ("last", "middle", "first", "row")
DTYPES = ("f32", "f64", "f16", "bf16")
GRADIENTS = ("none", "all", "upstream", "middle")
FEATURES = (5, 1, 33)


def operations() -> list[str]:
    """Every loss and layer there is, and chains of them."""
    return [*COMPOSITES, *CHAINS]


def factors_of(op: str, executors: Sequence[str] = (EVERY,)) -> Mapping[str, Sequence[Any]]:
    """What varies for one operation."""
    layouts = _layouts(op)
    choices = [operand_choices(op, *_rank_and_axis(layout)) for layout in layouts]
    operands = {operand: tuple(dict.fromkeys(c for found in choices for c in found.get(operand, ())))
                for operand in (o.rstrip("?") for o in composite(op).operands[1:])}  # fmt: skip
    uses_features = any("matrix" in c or "features" in c for found in operands.values() for c in found)
    attributes = {name: tuple(value for value in values if any(_takes(op, layout, name, value) for layout in layouts))
                  for name, values in attribute_choices(op).items()}  # fmt: skip
    return {
        "op": (op,), "layout": layouts, "columns": (*COLUMNS, ANY), "rows": (*ROWS, ANY), "dtype": DTYPES,
        "gradient": GRADIENTS, "strategy": (AUTO, *_useful_strategies(op, layouts)), "executor": executors,
        **({"features": FEATURES} if uses_features else {}),
        **{f"operand {name}": found for name, found in operands.items()},
        **{f"attribute {name}": values for name, values in attributes.items()},
    }  # fmt: skip


def _useful_strategies(op: str, layouts: Sequence[str]) -> list[str]:
    """Those that apply in some case. A search for cases would look long for what no case has."""
    useful = {strategy for layout in layouts for kind in LENGTH_KINDS for strategy in applicable(op, layout, kind)}
    return [strategy for strategy in strategies() if strategy in useful]


@lru_cache(maxsize=1024)
def _layouts(op: str) -> tuple[str, ...]:
    """The layouts that the operation takes."""
    layouts = (layout for layout in LAYOUTS if layout != "first" or "axis" in composite(op).attributes)
    return tuple(layout for layout in layouts if plain_operands(op, *_rank_and_axis(layout)) is not None)


def _takes(op: str, layout: str, attribute: str, value: Any) -> bool:
    """Whether the operation, with its plainest operands, takes that value of an attribute."""
    rank, axis = _rank_and_axis(layout)
    operands = tuple((plain_operands(op, rank, axis) or {}).items())
    return _is_accepted(op, Type("f32", PROBE.shape[:rank]), axis, operands, ((attribute, value),), "none")


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
    if case.layout == "row" and case.rows != 1:
        return False
    if ("reduction", "weights") in case.attributes and (case.strategy != AUTO or case.gradient != "none"):
        # Mostly a constant: it says nothing of a strategy.
        return False
    if isinstance(case.columns, int) and case.columns not in case.lengths:
        return False
    if case.strategy != AUTO and not _has_use(case):
        return False
    # Sizes that are all different: what fits only because two sizes are equal is left out.
    different = Type(case.dtype, PROBE.shape[: case.x.rank])
    choices = case.axis, case.operands, case.attributes, case.gradient
    return _is_accepted(case.op, different, *choices) and (case.rows != 0 or _is_accepted(case.op, case.x, *choices))


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
        function = build(op, x, axis, dict(operands), given, PROBED_FEATURES)
    except LosscError:
        return False
    return gradient == "none" or is_float(function.outputs[0].type.dtype)


def _has_use(case: Case) -> bool:
    """Whether the strategy of a case applies to something in cases like it."""
    return case.strategy in applicable(case.op, case.layout, length_kind(case.columns))


LENGTH_KINDS = (1, 33, 1000)
"""Row lengths that stand for all of their kind: one element, a few vectors, many."""


def length_kind(columns: Size) -> int:
    """The row length that stands for all of its kind."""
    return next((kind for kind in LENGTH_KINDS if not isinstance(columns, str) and columns <= kind), LENGTH_KINDS[-1])


@lru_cache(maxsize=1024)
def applicable(op: str, layout: str, columns: int) -> frozenset[str]:
    """The strategies that some fused kernel of an operation, in its plainest form, can be lowered with."""
    operands = tuple((plain_operands(op, *_rank_and_axis(layout)) or {}).items())
    case = Case(op, layout, columns, 1 if layout == "row" else 5, operands=operands)
    if not is_differentiable(op, layout):
        case = replace(case, gradient="none")
    function = case.function()
    return frozenset(applicable_to(Module({function.name: function})))


def is_differentiable(op: str, layout: str = "last") -> bool:
    rank, axis = _rank_and_axis(layout)
    operands = plain_operands(op, rank, axis) or {}
    function = build(op, Type("f32", PROBE.shape[:rank]), axis, operands, {"axis": axis}, PROBED_FEATURES)
    return is_float(function.outputs[0].type.dtype)


def applicable_to(module: Module) -> set[str]:
    """The strategies that apply to a fused kernel of a module."""
    outlined = outline(run_passes(module, ("prepare",)))
    entry = outlined.module.entry
    names = buffer_names(entry)
    launches = [op for op in entry.ops if op.name == "launch"]
    fused = [Fused(op.attributes["callee"], outlined.schedules[op.attributes["callee"]],
                   {v: names[v] for v in (*op.operands, *op.results)}, {}) for op in launches]  # fmt: skip
    return {name for each in fused for name in costs(each, CPU_AVX512)[0]}


@lru_cache(maxsize=8)
def covering_cases(strength: int = 2, only: tuple[str, ...] = ()) -> tuple[Case, ...]:
    """Cases that have every pair (or more) of choices, at every level."""
    rows, _ = cover([factors_of(op) for op in only or operations()], is_allowed, strength)
    return tuple(map(case_of, rows))


# --- few cases ------------------------------------------------------------------------------------------------

IN_COMMON = {"layout", "columns", "rows", "dtype", "gradient", "strategy", "executor", "attribute reduction"}
"""Factors whose choices mean the same for every operation."""

TURNS = ("intel", "intel", "intel", "intel", "pocl", "gpu")
"""PoCL's compiler is slow: it has every pair of choices too, but is not chosen where another device would do."""

MOST_SHAPES = 4
"""Kinds of one operand that an operation is tried with."""


@lru_cache(maxsize=1)
def few_cases() -> tuple[Case, ...]:
    """Few cases an operation, however many operations there are. Levels take turns (`EXECUTORS`)."""
    spaces = [{factor: _thinned(op, factor, choices) for factor, choices in factors_of(op, TURNS).items()}
              for op in operations()]  # fmt: skip
    rows, _ = cover(spaces, is_allowed, wanted=_is_worth_a_case)
    return tuple(map(case_of, rows))


def _is_worth_a_case(combination: Combination) -> bool:
    """Every choice for every operation, every pair of choices that all operations have in common. A named number of
    columns stands for all row lengths."""
    factors = {factor for factor, _ in combination}
    if "op" in factors:
        return not factors & {"columns", "rows"} or ("columns", ANY) in combination
    return factors <= IN_COMMON


def _thinned(op: str, factor: str, choices: Sequence[Any]) -> Sequence[Any]:
    """One dtype of each kind for each shape of an operand, a few shapes: others for the next operation."""
    if not factor.startswith("operand "):
        return choices
    kinds: dict[tuple[str, str], list[str]] = {}
    for choice in choices:
        dtype, _, shape = choice.partition(":")
        kinds.setdefault((shape, dtype if dtype in ("x", "other", ABSENT) else "integer"), []).append(choice)
    turn = zlib.crc32(f"{op} {factor}".encode())
    found = [same[turn % len(same)] for same in kinds.values()]
    start = turn % max(1, len(found) - 1)
    # The first is the plainest.
    return [found[0], *(found[1:] * 2)[start : start + min(MOST_SHAPES, len(found)) - 1]]


# --- everything -----------------------------------------------------------------------------------------------


def all_cases(only: Sequence[str] = (), seed: int = 0) -> Iterator[Case]:
    """Every operation x strategy x layout x row length x number of rows; the other choices at random."""
    generator = random.Random(seed)
    fixed = ("layout", "columns", "rows", "strategy")
    for op in only or operations():
        space = factors_of(op)
        rest = [factor for factor in space if factor not in ("op", "executor", *fixed)]
        for values in itertools.product(*(space[factor] for factor in fixed)):
            row = {"op": op, "executor": EVERY, **dict(zip(fixed, values))}
            for _ in range(40):
                candidate = row | {factor: generator.choice(list(space[factor])) for factor in rest}
                if is_allowed(candidate):
                    yield case_of(candidate)
                    break
