"""What every fused kernel does: its strategy and why, its variants, the memory that it moves.

In: a compiled module. Out: `KernelReport`s, one a fused kernel, and what all of them move together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lossc.compiler import Compiled
from lossc.compiler.reports.report import assumed_sizes, exps_per_element
from lossc.compiler.reports.traffic import AGAIN, HANDED, LATER, KernelTraffic, moves_of, traffic
from lossc.ir.frozen import frozen
from lossc.ir.function import Value
from lossc.ir.program import Step, Variant, choose_variant
from lossc.ir.types import DimLike
from lossc.reports.words import counted, number_of, readable, sum_text


@frozen
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
            f"{counted(self.launches, 'launch')}, {sum_text(self.bytes_moved)} bytes{piece}, "
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
        tuple(variant_lines(step.variants, sizes if given else None)), len(usual.launches),
        tuple(move.formula for move in moves if move.formula is not None), step.repeat is not None,
        KernelTraffic(step.name, moves), tuple(op.result.name for op in schedule.repeated_reductions),
    )  # fmt: skip


def variant_lines(
    variants: Sequence[Variant], sizes: Mapping[str, int] | None = None, taken: Variant | None = None
) -> Iterator[str]:  # fmt: skip
    """The variants with their conditions; with `sizes` the one that is taken then, in numbers."""
    for variant in variants if sizes is None else (taken or choose_variant(variants, sizes),):
        guard = "otherwise" if variant.guard is None else f"if {readable(variant.guard)}"
        guard = guard if sizes is None or len(variants) == 1 else f"{guard} (of {len(variants)} variants)"
        kernels = [
            f"{launch.kernel.name} on {number_of(launch.global_size, sizes)} items"
            + (f" in groups of {launch.kernel.local_size}" if launch.kernel.local_size > 1 else "")
            for launch in variant.launches
        ]
        how = "; ".join(variant.launches[0].kernel.comment).replace(":;", ":")
        yield f"{guard}: {', then '.join(kernels)}{f': {how}' if how else ''}"


def _typed(value: Value) -> str:
    return f"%{value.name}: {value.type}"


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
