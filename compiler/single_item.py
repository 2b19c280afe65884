"""Launches of one work-item that does everything, for sizes so small that a second launch costs more than all the rest.

In: the variants of a fused kernel. Out: the same, and before each that leaves partial results for a finish launch one
that is taken for small sizes: its only work-item has the totals in registers, and finishes what depends on them itself.
And, of all steps of a program, the one launch that does them one after the other.

A kernel qualifies that divides its work by the number of work-items it finds (`get_global_size`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ..ir.arithmetic import at_least, both, index_var, integer, less
from ..ir.kernel import Const, Expr, Store
from ..ir.program import Buffer, Launch, Step, Variant
from ..ir.target import DeviceInfo
from .emission.emit import Scope
from .emission.vectors import elements_of
from .fused import Fused, finish_whole, kernel_and_launch, partial_name
from .guards import NOTHING
from .joining import one_kernel, variables_of, views_are_written

MOST_ELEMENTS = 16384
"""Elements of a domain up to which one work-item does it all: as many as an item has elsewhere, so that f32 sums are as
exact, and so few that they take about as long as a launch (cross-entropy 0.3 ns an element, a launch 2 to 17 us)."""
MOST_STEPS = 4
"""Steps that one launch does together: a loss has one or two, and a kernel of many takes long to build."""


def with_single_item(fused: Fused, variants: Iterable[Variant], device: DeviceInfo) -> tuple[Variant, ...]:
    """The variants, each after one for small sizes where there is one."""
    found: list[Variant] = []
    for variant in variants:
        single = _single(fused, variant) if device.kind == "cpu" and fused.schedule.whole_reductions else None
        if single is not None:
            found.append(single)
        if single is None or single.guard is not None:
            found.append(variant)
        else:
            break
    return tuple(found)


def _few(elements: Expr) -> Expr | None:
    """The guard of what is for few elements; None where it is known that there are few."""
    return None if isinstance(elements, Const) else less(elements, integer(MOST_ELEMENTS + 1))


def _single(fused: Fused, variant: Variant) -> Variant | None:
    """The variant for small sizes; None where it has no such form, or is not for small sizes itself."""
    elements = elements_of(fused.schedule)
    if isinstance(elements, Const) and elements.value > MOST_ELEMENTS:
        return None
    if len(variant.launches) != 2 or not _divides_its_work(variant.launches[0]):
        return None
    if _is_for_many(variant, elements):
        return None
    main = variant.launches[0].kernel
    partials = {partial_name(fused, op): op for op in fused.schedule.whole_reductions}
    stores = {s.buffer: s for s in main.body if isinstance(s, Store) and s.buffer in partials}
    if stores.keys() != partials.keys():
        return None
    emitter, scope = fused.emitter(), Scope()
    emitter.taken |= {v.name for v in variables_of(main.body)} | {array.name for array in main.private_arrays}
    scope.statements += [s for s in main.body if s not in stores.values()]
    for name, op in partials.items():
        scope.known[op.result] = emitter.let(scope, op.result.name, stores[name].value)
    finish_whole(emitter, scope)
    launch = kernel_and_launch(
        fused, emitter, main.name.removeprefix(fused.name) + "_alone", scope.statements, integer(1),
        private_arrays=main.private_arrays, comment=(*main.comment, "one work-item, which finishes the totals, too"),
    )  # fmt: skip
    return Variant(variant.strategy, (launch,), both(variant.guard, _few(elements)))


def _is_for_many(variant: Variant, elements: Expr) -> bool:
    """Whether a variant is guarded to be for more elements than a single work-item does."""
    return NOTHING.and_where(variant.guard).implies(NOTHING.and_where(at_least(elements, MOST_ELEMENTS + 1)))


def _divides_its_work(launch: Launch) -> bool:
    """Whether one work-item of a kernel does everything if it is the only one."""
    if launch.kernel.local_size != 1 or launch.kernel.local_arrays:
        return False
    return launch.global_size == integer(1) or "global_size" in launch.kernel.asked


# --- all steps in one launch --------------------------------------------------------------------------------


def joined(
    name: str, steps: Sequence[Step], fused: Mapping[str, Fused], buffers: Mapping[str, Buffer], device: DeviceInfo
) -> tuple[Variant, ...]:
    """The launches that do all steps of the program `name` one after the other, with their guards; none where there is
    one step, or one that a single work-item cannot do."""
    if device.kind != "cpu" or not 1 < len(steps) <= MOST_STEPS or any(step.repeat is not None for step in steps):
        return ()
    forms = [list(_single_forms(step, fused[step.name])) for step in steps]
    launches = [launch for form in forms for variant in form for launch in variant.launches]
    if not all(forms) or views_are_written(launches, buffers):
        return ()
    # First the forms for many rows, then those for few.
    chosen = [[form[min(place, len(form) - 1)] for form in forms] for place in range(max(map(len, forms)))]
    return tuple(_one_after_the_other(f"{name}_together{place}", each) for place, each in enumerate(chosen))


def _single_forms(step: Step, fused: Fused) -> Iterator[Variant]:
    """The variants of a step that are one launch of one work-item, or can be launched so, guarded to be for small
    sizes."""
    elements = elements_of(fused.schedule)
    if isinstance(elements, Const) and elements.value > MOST_ELEMENTS:
        return
    for variant in step.variants:
        if len(variant.launches) != 1 or variant.temporaries or _is_for_many(variant, elements):
            continue
        (launch,) = variant.launches
        if launch.global_size != integer(1) and _divides_its_work(launch):
            variant = replace(variant, launches=(replace(launch, global_size=integer(1)),),
                              guard=both(variant.guard, _few(elements)))  # fmt: skip
            (launch,) = variant.launches
        if launch.global_size == integer(1) and _divides_its_work(launch):
            yield variant


def _one_after_the_other(name: str, variants: Sequence[Variant]) -> Variant:
    kernels = [launch.kernel for variant in variants for launch in variant.launches]
    guard: Expr | None = None
    for variant in variants:
        guard = both(guard, variant.guard)
    comment = ("one work-item does every step:", *(line for kernel in kernels for line in kernel.comment))
    kernel = one_kernel(name, kernels, comment, share=False)
    scalars = {scalar.name: index_var(scalar.name) for scalar in kernel.scalars}
    launch = Launch(kernel, tuple(argument.name for argument in kernel.buffers), scalars, integer(1))
    strategies = dict.fromkeys(variant.strategy for variant in variants)
    return Variant(" + ".join(strategies), (launch,), guard)
