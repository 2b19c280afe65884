"""Why a program runs as it does: what was rewritten and fused, what was not, what every kernel does and moves.

In: a compiled module. Out: `KernelReport`s, one a fused kernel, and text for people.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lossc.compiler import Compiled
from lossc.compiler.pipeline import run_passes
from lossc.compiler.reports.report import (
    ASSUMED_SIZE,
    assumed_sizes,
    exps_per_element,
    launches_saved,
    variant_together,
)
from lossc.compiler.reports.traffic import AGAIN, HANDED, LATER, KernelTraffic, Traffic, bytes_needed, moves_of, traffic
from lossc.compiler.rewrite import Log
from lossc.ir import arithmetic
from lossc.ir.diagnostics import CompilerBug
from lossc.ir.function import Value
from lossc.ir.integers import evaluate_integer
from lossc.ir.kernel import Apply, Const, Expr, Var
from lossc.ir.program import Program, Step, Variant, choose_variant, steps_of
from lossc.ir.schedule import Schedule
from lossc.ir.types import Dim, DimLike, dim_names


@dataclass(frozen=True)
class KernelReport:
    """One fused kernel: what it is, how it is lowered, and why not otherwise. Figures are those of the variant that
    is taken at the sizes that are given, every other dimension name being 1024, and of one piece where the kernel is
    `repeated`, piece by piece."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    stages: int
    exps_per_element: int
    strategy: str
    why: str
    against: Mapping[str, str]
    variants: tuple[str, ...]
    launches: int
    bytes_moved: tuple[DimLike, ...]
    """What is read and written once, as formulas."""
    repeated: bool
    traffic: KernelTraffic
    same_in_every_row: tuple[str, ...] = ()
    """Sums that each row takes for itself though all give the same."""

    def __str__(self) -> str:
        piece = " a piece" if self.repeated else ""
        lines = [
            f"{self.name}: ({', '.join(self.inputs)}) -> ({', '.join(self.outputs) or 'checks only'})",
            f"  {counted(self.stages, 'stage')}, {counted(self.exps_per_element, 'exponential')} an element, "
            f"{counted(self.launches, 'launch')}, {_sum_text(self.bytes_moved)} bytes{piece}, "
            f"traffic ratio {self.traffic.ratio:.2f}",
            f"  strategy {self.strategy}: {self.why}",
        ]
        for name in self.same_in_every_row:
            lines.append(f"  %{name} is the same in every row: each takes it from what it reads anyway, "
                         "which saves a launch")  # fmt: skip
        for why, words in _BESIDE.items():
            moves = [move for move in self.traffic.moves if move.why == why]
            if moves:
                names = ", ".join(f"%{move.buffer}" if why != HANDED else move.buffer for move in moves)
                lines.append(f"  {self.traffic.because(why)} bytes{piece} {words}: {names}")
        lines += [f"    not {', '.join(names)}: {reason}" for reason, names in self._by_reason().items()]
        return "\n".join([*lines, *(f"  {variant}" for variant in self.variants)])

    def _by_reason(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for name, reason in self.against.items():
            names.setdefault(reason, []).append(name)
        return names


_BESIDE = {
    AGAIN: "read again, since what lies between two uses does not fit the cache",
    LATER: "read once more by a later launch",
    HANDED: "handed from launch to launch",
}


def kernel_reports(compiled: Compiled, given: Mapping[str, int] | None = None) -> tuple[KernelReport, ...]:
    """A report on every fused kernel, in the order of their launches. With sizes that are `given`, what runs then."""
    return tuple(_report(compiled, step, given) for step in compiled.program.steps)


def _report(compiled: Compiled, step: Step, given: Mapping[str, int] | None) -> KernelReport:
    schedule = compiled.outlined.schedules[step.name]
    function, choice = schedule.written, compiled.lowered.choices[step.name]
    sizes = assumed_sizes(compiled.program, given)
    usual, moves = choose_variant(step.variants, sizes), moves_of(compiled, step, sizes)
    return KernelReport(
        step.name, tuple(map(_typed, function.inputs)), tuple(map(_typed, function.outputs)),
        schedule.stages, exps_per_element(schedule, usual), choice.strategy, choice.why, choice.against,
        tuple(_variants(step.variants, sizes if given else None)), len(usual.launches),
        tuple(move.formula for move in moves if move.formula is not None), step.repeat is not None,
        KernelTraffic(step.name, moves), tuple(op.result.name for op in schedule.repeated_reductions),
    )  # fmt: skip


def _variants(
    variants: Sequence[Variant], sizes: Mapping[str, int] | None = None, taken: Variant | None = None
) -> Iterator[str]:  # fmt: skip
    """The variants with their conditions; with `sizes` the one that is taken then, in numbers."""
    for variant in variants if sizes is None else (taken or choose_variant(variants, sizes),):
        guard = "otherwise" if variant.guard is None else f"if {readable(variant.guard)}"
        guard = guard if sizes is None or len(variants) == 1 else f"{guard} (of {len(variants)} variants)"
        kernels = [
            f"{launch.kernel.name} on {_number_of(launch.global_size, sizes)} items"
            + (f" in groups of {launch.kernel.local_size}" if launch.kernel.local_size > 1 else "")
            for launch in variant.launches
        ]
        how = "; ".join(variant.launches[0].kernel.comment).replace(":;", ":")
        yield f"{guard}: {', then '.join(kernels)}{f': {how}' if how else ''}"


def _number_of(size: Expr, sizes: Mapping[str, int] | None) -> str:
    return readable(folded(size)) if sizes is None else str(evaluate_integer(size, sizes))


_FOLDED: Mapping[str, Callable[[Expr, Expr], Expr]] = {
    "add": arithmetic.add, "sub": arithmetic.sub, "mul": arithmetic.mul, "div": arithmetic.div, "mod": arithmetic.mod,
    "min": arithmetic.minimum, "max": arithmetic.maximum,
}  # fmt: skip


def folded(size: Expr) -> Expr:
    """A size with its constants folded, and max(a, min(b, x)) = a for b <= a: for people, who want it short."""
    match size:
        case Apply(op=op, operands=(left, right)) if op in _FOLDED:
            a, b = folded(left), folded(right)
            match op, a, b:
                case "max", Const(value=least), Apply(op="min", operands=(Const(value=most), _)) if most <= least:
                    return a
            return _FOLDED[op](a, b)
        case _:
            return size


_INFIX = {"add": ("+", 3), "sub": ("-", 3), "mul": ("*", 4), "div": ("/", 4), "mod": ("%", 4), "ge": (">=", 2),
          "lt": ("<", 2), "and": ("and", 1)}  # fmt: skip


def readable(expression: Expr, outer: int = 0) -> str:
    """A size or guard as people write it; `/` rounds down. `outer` is how tightly the place around it binds."""
    match expression:
        case Const(value=value):
            return str(value)
        case Var(name=name):
            return name
        case Apply(op=op, operands=(a, b)) if op in _INFIX:
            symbol, binds = _INFIX[op]
            text = f"{readable(a, binds)} {symbol} {readable(b, binds + 1)}"
            return f"({text})" if binds < outer else text
        case Apply(op=op, operands=operands):
            return f"{op}({', '.join(map(readable, operands))})"
        case _:
            raise CompilerBug(f"not a launch-time expression: {expression}")


def _typed(value: Value) -> str:
    return f"%{value.name}: {value.type}"


# --- memory -------------------------------------------------------------------------------------------------


def bytes_moved(compiled: Compiled) -> list[DimLike]:
    """What the kernels read and write: every operand and result of each once, for one piece where they are repeated."""
    return [size for report in kernel_reports(compiled) for size in report.bytes_moved]


def total_moved(compiled: Compiled, sizes: Mapping[str, int] | None = None) -> int:
    """What the kernels read and write, in all pieces; named dimensions without a size count as 1024."""
    found = traffic(compiled, sizes)
    return found.bytes - found.because(HANDED)


def traffic_ratio(compiled: Compiled, sizes: Mapping[str, int] | None = None) -> float:
    """Bytes moved, temporaries included, over the fewest possible; named dimensions without a size count as 1024."""
    return traffic(compiled, sizes).ratio


def _sum_text(terms: Iterable[DimLike]) -> str:
    """`4 + 44*B` for sizes with names in them."""
    factors: dict[tuple[str, ...], int] = {}
    for term in terms:
        names, factor = ((), term) if isinstance(term, int) else (term.names, term.factor)
        factors[names] = factors.get(names, 0) + factor
    parts = [str(Dim(factor, names)) if names else str(factor) for names, factor in sorted(factors.items()) if factor]
    return " + ".join(parts) or "0"


# --- text ---------------------------------------------------------------------------------------------------


def explanation(
    compiled: Compiled, conversions: Mapping[str, str] | None = None, given: Mapping[str, int] | None = None
) -> str:  # fmt: skip
    """Everything there is to say about a compiled module, as text; with sizes that are `given`, what runs then."""
    log = Log()
    run_passes(compiled.module, ("prepare",), log=log)
    reports, found = kernel_reports(compiled, given), traffic(compiled, given)
    launches = sum(report.launches for report in reports) - launches_saved(compiled.program, given)
    dims = sorted({name for term in bytes_needed(compiled) for name in dim_names(term)})
    sizes = {**dict.fromkeys(dims, ASSUMED_SIZE), **(given or {})}
    where = f" at {', '.join(f'{name} = {sizes[name]}' for name in dims)}" if dims else ""
    numbers = assumed_sizes(compiled.program, given) if given else None
    parts = [
        f"@{compiled.program.name} for {compiled.device.name} ({compiled.device.platform}): "
        f"{counted(len(reports), 'fused kernel')}, {counted(launches, 'launch')}",
        f"moves {_moved(compiled, reports, where, given)}{_beside(found, where)}, "
        f"no program can move fewer than {_sum_text(bytes_needed(compiled))}: "
        f"traffic ratio {found.ratio:.2f}{where}",
        *_section("rewritten", map(str, log.fired)),
        *_section("not rewritten", map(str, log.missed)),
        *_section("fused kernels", (line for report in reports for line in str(report).split("\n"))),
        *_section("all of them in one launch", _together(compiled.program, numbers)),
        *_section("side by side in one launch", _beside_one_another(compiled.program, numbers)),
        *_section("kept apart", _by_reason(compiled.outlined.refused)),
        *_section("converted inputs", (f"{name}: {what}" for name, what in (conversions or {}).items())),
    ]
    return "\n".join(parts)


def _together(program: Program, sizes: Mapping[str, int] | None) -> Iterator[str]:
    """What does all steps in one launch; with `sizes` only if it is taken then."""
    taken = None if sizes is None else variant_together(program, sizes)
    return iter(()) if sizes is not None and taken is None else _variants(program.together, sizes, taken)


def _beside_one_another(program: Program, sizes: Mapping[str, int] | None) -> Iterator[str]:
    """The steps that are joined, and for which sizes."""
    if sizes is not None and variant_together(program, sizes) is not None:
        return
    for several in program.beside:
        yield f"{', '.join(step.name for step in steps_of(program, several))}:"
        for variant in several.variants if sizes is None else (choose_variant(several.variants, sizes),):
            guard = "otherwise" if variant.guard is None else f"if {readable(variant.guard)}"
            is_one = len(variant.launches) == 1
            yield f"  {guard}: {variant.launches[0].kernel.name if is_one else 'launches of their own'}"


def _moved(
    compiled: Compiled, reports: Iterable[KernelReport], where: str, given: Mapping[str, int] | None
) -> str:  # fmt: skip
    terms: dict[bool, list[DimLike]] = {False: [], True: []}
    for report in reports:
        terms[report.repeated] += report.bytes_moved
    if not terms[True]:
        return f"{_sum_text(terms[False])} bytes"
    return (f"{_sum_text(terms[False])} bytes and {_sum_text(terms[True])} a piece, "
            f"{total_moved(compiled, given)} in all{where}")  # fmt: skip


def _beside(found: Traffic, where: str) -> str:
    """What is moved beside every input and output once."""
    again, handed = found.because(AGAIN) + found.because(LATER), found.because(HANDED)
    words = [f"{again} once more"] * (again > 0) + [f"{handed} from launch to launch"] * (handed > 0)
    return f" and {' and '.join(words)}{where}" if words else ""


ALIKE = 3
"""Reasons that differ only in names: from so many on, the first stands for all."""


def _by_reason(refused: Iterable[str]) -> Iterator[str]:
    """Reasons with those that say the same of other values counted."""
    alike: dict[str, list[str]] = {}
    for line in refused:
        alike.setdefault(re.sub(r"%[\w.]+|`\w+`", "", line.partition(" stay apart: ")[2]), []).append(line)
    for lines in alike.values():
        if len(lines) < ALIKE:
            yield from lines
        else:
            yield f"{lines[0]} (and {len(lines) - 1} others for such a reason)"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    lines = list(lines)
    return ["", f"{title}:", *(f"  {line}" for line in lines)] if lines else []


def counted(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def schedule_lines(schedule: Schedule) -> list[str]:
    """A schedule in words: the domain, what is reduced, and the grain and stage of every value."""
    axes = ", ".join(
        f"{_axis(axis)}: {size}{'' if axis in schedule.looped else ' (indexed only)'}"
        for axis, size in enumerate(schedule.axes)
    )
    lines = [f"domain {axes or 'one point'}"]
    if schedule.reduced:
        lines.append(f"rows along {_axes(schedule.rows)}, reduced along {_axes(schedule.columns)}, "
                     f"{counted(schedule.stages, 'stage')}")  # fmt: skip
    if schedule.matmul is not None:
        lines.append(f"matrix product %{schedule.matmul.result.name}")
    values = [*schedule.function.inputs, *(result for op in schedule.function.ops for result in op.results)]
    for value in values:
        lines.append(f"%{value.name}: {_grain(schedule, value)}")
    lines += [f"%{op.result.name}: %{value.name} with margins" for value, op in schedule.margins.items()]
    return lines


def _grain(schedule: Schedule, value: Value) -> str:
    if value in schedule.finished:
        return "whole, after all rows"
    along = schedule.varies.get(value, frozenset())
    stage = f", stage {schedule.stage[value]}" if schedule.row_reductions and value in schedule.stage else ""
    if along == schedule.looped and along:
        return f"element{stage}"
    if not along:
        return f"whole{stage}"
    if along == frozenset(schedule.rows):
        return f"row{stage}"
    if along == schedule.reduced:
        return f"column{stage}"
    return f"along {_axes(sorted(along))}{stage}"


def _axis(axis: int) -> str:
    return f"axis {axis}"


def _axes(axes: Iterable[int]) -> str:
    return ", ".join(map(_axis, axes)) or "none"
