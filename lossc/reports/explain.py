"""Why a program runs as it does: what was rewritten and fused, what was not, what every kernel does and moves.

In: a compiled module. Out: text for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from lossc.compiler import Compiled
from lossc.compiler.pipeline import run_passes
from lossc.compiler.reports.report import ASSUMED_SIZE, assumed_sizes, launches_saved, variant_together
from lossc.compiler.reports.traffic import AGAIN, HANDED, LATER, Traffic, bytes_needed, traffic
from lossc.compiler.rewrite import Log
from lossc.ir.program import Program, choose_variant, steps_of
from lossc.ir.types import DimLike, dim_names
from lossc.reports.kernels import KernelReport, kernel_reports, total_moved, variant_lines
from lossc.reports.words import counted, readable, sum_text


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
        f"no program can move fewer than {sum_text(bytes_needed(compiled))}: "
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
    return iter(()) if sizes is not None and taken is None else variant_lines(program.together, sizes, taken)


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
        return f"{sum_text(terms[False])} bytes"
    return (f"{sum_text(terms[False])} bytes and {sum_text(terms[True])} a piece, "
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
