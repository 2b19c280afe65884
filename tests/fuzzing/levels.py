"""Run an example at a level and say what disagrees.

`passes` is the function after all passes against the function as it is written, both in the interpreter, and each pass
against the one before; `simulator` is simulated kernels for a device of random figures, by a random choice of
strategies; `intel` and `pocl` are the devices of those names, into fresh memory that holds NaN and into arrays that are
given, and with other sizes than those of the first run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from agreement.agree import AS_WRITTEN, unwritten_memory_is_nan

from lossc.arrays import empty
from lossc.compiler import Compiled, compile_module
from lossc.compiler.decisions import Decision
from lossc.compiler.pipeline import run_passes
from lossc.compiler.strategies import candidates, strategies
from lossc.ir.function import Function, Module
from lossc.ir.interp import interpret
from lossc.ir.target import CPU_AVX512, GPU_GENERIC, KIB, MIB, DeviceInfo
from lossc.ir.types import dim_value
from lossc.runtime.device import select
from lossc.runtime.execute import Executable
from lossc.runtime.simulate import simulate

from .arrays import KINDS, SPECIAL, arrays
from .functions import Example
from .reference import Reference, is_finite_throughout, refer

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]
Run = Callable[[Arrays], list[Array]]

ROUNDING = ("reassociate", "lower-activations", "share-divisors")
EXTENDING = ("stabilize", "fuse-nll")
"""Passes that move roundings, and those that also say something where the original is no number."""
OTHER_SIZES = 2
GRADIENTS_FIRST = ("inline", "expand", "simplify", *AS_WRITTEN)
"""Which of several equal elements a gradient goes to is seen before simplifying or after."""


class Subject:
    """An example with what is computed once for all levels."""

    def __init__(self, example: Example):
        self.example = example
        # Not by the function: what is dropped from it must not change what is left.
        self.choose = random.Random(example.seed)
        self.kinds = (KINDS[0], *self.choose.sample(KINDS[1:], 2))
        self._references: dict[str, Reference | None] = {}

    @cached_property
    def written(self) -> Function:
        return run_passes(self.example.module, AS_WRITTEN).entry

    @cached_property
    def prepared(self) -> Function:
        return run_passes(self.example.module, ("prepare",)).entry

    def reference(self, kind: str) -> Reference | None:
        """Of what kernels are to compute."""
        if kind not in self._references:
            self._references[kind] = refer(self.prepared, arrays(self.example, kind))
        return self._references[kind]

    def check(self, level: str) -> Iterator[str]:
        """What disagrees at a level."""
        match level:
            case "passes":
                yield from self.check_passes()
                yield from self.check_each_pass()
            case "simulator":
                info = random_device(self.choose)
                how, compiled = random_variant(self.example.module, info, self.choose)
                where = f"the simulator ({info.kind}, {info.compute_units} x {info.vector_width}, {how})"
                yield from self.check_run(where, lambda given: simulate(compiled.program, given, self.example.sizes))
            case _:
                device = select(level)
                how, compiled = random_variant(self.example.module, device.info, self.choose)
                run = Executable(compiled.program, device, compiled.sources(), compiled.build_options)

                def into_nan(given: Arrays) -> list[Array]:
                    with unwritten_memory_is_nan():
                        run(given)
                    return run(given, self.poisoned_outputs(compiled))

                yield from self.check_run(f"{level} ({how})", into_nan)
                yield from self.check_sizes(f"{level} ({how})", run)

    def poisoned_outputs(self, compiled: Compiled) -> dict[str, Array]:
        """Arrays to write to, with nonsense in them."""
        found: dict[str, Array] = {}
        for name, type_ in compiled.program.outputs:
            shape = tuple(dim_value(dim, self.example.sizes) for dim in type_.shape)
            found[name] = empty(shape, type_.dtype)
            found[name].fill(1 if type_.dtype == "bool" else -77)
        return found

    def check_run(self, where: str, run: Run) -> Iterator[str]:
        for kind in self.kinds:
            reference = self.reference(kind)
            if reference is not None:
                found = run(arrays(self.example, kind))
                yield from compared(f"{where}, {kind}", self.prepared, reference, found)

    def check_sizes(self, where: str, run: Run) -> Iterator[str]:
        """What was compiled once, with other sizes for what has a name."""
        for _ in range(OTHER_SIZES):
            other = self.example.resized(self.choose)
            if other is None:
                return
            given = arrays(other, self.kinds[0])
            reference = refer(self.prepared, given)
            if reference is not None:
                yield from compared(f"{where}, {dict(other.sizes)}", self.prepared, reference, run(given))

    def check_passes(self) -> Iterator[str]:
        """What the passes made of certain numbers. NaN and infinities are looked at pass by pass."""
        for kind in self.kinds:
            given = arrays(self.example, kind)
            if kind in SPECIAL or not is_finite_throughout(self.written, given):
                continue
            found = interpret(self.prepared, given)
            wrong = list(_differences(self.written, given, found, True))
            if wrong:
                simplified = run_passes(self.example.module, GRADIENTS_FIRST).entry
                also = list(_differences(simplified, given, found, True))
                yield from (f"all passes, {kind}, {each}" for each in (wrong if also else ()))

    def check_each_pass(self) -> Iterator[str]:
        """What each pass made of the values before it: of all where its rules are exact, of NaN too where they round,
        of numbers where they extend."""
        for name, before, after in self.steps():
            rounds, extends = name in ROUNDING, name in EXTENDING
            for kind in KINDS:
                if rounds and kind == "special":
                    continue
                given = arrays(self.example, kind)
                one, other = interpret(before, given), interpret(after, given)
                if not all(map(_same, one, other)) and (not extends or is_finite_throughout(_expanded(before), given)):
                    only_numbers = extends or (rounds and kind not in SPECIAL)
                    for each in _differences(_expanded(before), given, other, only_numbers):
                        yield f"{name}, {kind}, {each}"

    def steps(self) -> Iterator[tuple[str, Function, Function]]:
        """Each pass that changed something, with the function before and after it, without gradients not yet taken."""
        steps: list[tuple[str, Function, Function]] = []

        def note(name: str, before: Module, after: Module, seconds: float) -> None:
            if after is not before and name not in ("inline", "autodiff"):
                steps.append((name, without_gradients(before.entry), without_gradients(after.entry)))

        run_passes(self.example.module, ("prepare",), note)
        yield from steps


def compared(where: str, function: Function, reference: Reference, found: Iterable[Array]) -> Iterator[str]:
    for index, (name, array) in enumerate(zip(function.names_of_outputs, found, strict=True)):
        difference = reference.difference(index, np.asarray(array))
        if difference is not None:
            yield f"{where}: `{name}`{difference}"


def _differences(function: Function, given: Arrays, found: list[Array], only_numbers: bool) -> Iterator[str]:
    reference = refer(function, given)
    if reference is not None:
        for index, name in enumerate(function.names_of_outputs):
            difference = reference.difference(index, found[index], only_numbers)
            if difference is not None:
                yield f"`{name}`{difference}"


def _same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-9, atol=0, equal_nan=one.dtype.kind == "f")


def _expanded(function: Function) -> Function:
    return run_passes(Module({function.name: function}), ("expand", "drop-markers")).entry


def without_gradients(function: Function) -> Function:
    """The function without what hangs on a gradient that is not yet taken: nothing evaluates that."""
    hidden = set()
    for op in function.ops:
        if op.name == "grad" or not hidden.isdisjoint(op.operands):
            hidden.update(op.results)
    if not hidden:
        return function
    kept = [pair for pair in zip(function.outputs, function.names_of_outputs) if pair[0] not in hidden]
    ops = tuple(op for op in function.ops if hidden.isdisjoint(op.results))
    return function.with_(ops=ops, outputs=tuple(v for v, _ in kept), output_names=tuple(n for _, n in kept))


# --- choices --------------------------------------------------------------------------------------------------


def random_device(choose: random.Random) -> DeviceInfo:
    if choose.random() < 0.6:
        return replace(
            CPU_AVX512, compute_units=choose.choice((1, 2, 3, 8)), vector_width=choose.choice((1, 4, 8, 16, 16)),
            cache_per_unit=choose.choice((4 * KIB, 64 * KIB, MIB)), nontemporal_stores=choose.random() < 0.5,
        )  # fmt: skip
    return replace(
        GPU_GENERIC, compute_units=choose.choice((1, 4, 64)), vector_width=choose.choice((1, 2, 4)), has_f64=True,
        lanes=choose.choice((1, 16, 32, 64)), max_work_group_size=choose.choice((256, 1024)),
        register_file=choose.choice((4 * KIB, 128 * KIB)), local_memory=choose.choice((16 * KIB, 48 * KIB)),
    )  # fmt: skip


def random_variant(module: Module, info: DeviceInfo, choose: random.Random) -> tuple[str, Compiled]:
    """The module as it is compiled without being told how, with one strategy wherever that applies, or with what a
    tuner might decide for each kernel."""
    match choose.choice(("chosen", "forced", "forced", "decided", "decided")):
        case "forced":
            strategy = choose.choice(sorted(strategies()))
            return strategy, compile_module(module, info, strategy)
        case "decided":
            compiled = compile_module(module, info)
            chosen = {name: choose.choice(candidates(fused, info)) for name, fused in compiled.lowered.fused.items()}
            decisions = {name: Decision(candidate, "by chance") for name, candidate in chosen.items()}
            return "; ".join(map(str, chosen.values())), compiled.decided(decisions)
    return "as chosen", compile_module(module, info)
