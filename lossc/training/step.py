"""Training steps: loss, gradients and update in one call, on memory that stays where it is.

In: a module whose first output is minimised, the parameters, an optimizer. Out: `Step`. Parameters, gradients and each
part of the optimizer's state are one arena an element type: the backward kernels write gradients straight into theirs,
then one launch a group of parameters updates what is of one type. All of it is launched before anything is waited for:
an error in a batch is seen by the update on the device, which then changes no parameter (`guard.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from lossc.compiled import as_device, warn_of_strategy
from lossc.dropout import DROPOUT_KEY, has_key, key_at
from lossc.errors import RefusedKind
from lossc.gradients import differentiate
from lossc.inputs import Inputs, refuse_positions
from lossc.ir.diagnostics import LirError
from lossc.ir.function import Module
from lossc.ir.program import Program
from lossc.ir.types import Type
from lossc.optim import Optimizer
from lossc.other_words import missing
from lossc.parameters import Parameters
from lossc.ready import ready_program
from lossc.runtime.chain import BrokenOff
from lossc.runtime.execute import Executable
from lossc.runtime.memory import Argument
from lossc.tensor_files import parameters_in, read_tensors, write_tensors
from lossc.training.accumulate import Accumulator, checked_share
from lossc.training.checkpoint import Done, Progress, progress_in, state_in, state_key
from lossc.training.clip import Clip, check_limits
from lossc.training.guard import status_words
from lossc.training.trained import Trained, check_groups, make_arenas

if TYPE_CHECKING:
    from lossc.compiler import Compiled
    from lossc.reports.kernels import KernelReport


class Step:
    """One step of training. `step(x=..., labels=...)` gives the loss as it was before the update (shape [1]), or a
    list where the graph has several outputs.

    `step.accumulate(...)` adds the gradients of a batch and updates nothing; the next call of the step averages them
    with its own. Parameters are read and set through the graph at any time; `save` and `load` keep them with the
    optimizer's state and what dropout is drawn from, so that training goes on bit for bit. `count` is the number of
    updates done. The input `dropout_key` of `nn.Dropout` is fed by the step itself.
    """

    def __init__(
        self, module: Module, parameters: Parameters, optimizer: Optimizer, *, clip_norm: float | None = None,
        clip_value: float | None = None, accepted: Mapping[str, Type] | None = None, device: Any = None,
        strategy: str | None = None,
    ) -> None:  # fmt: skip
        self.device = as_device(device)
        self.optimizer, self._done = optimizer, Done()
        check_limits(clip_norm, clip_value)
        self._store = parameters
        check_groups(optimizer, parameters)
        if not any(value in module.entry.params for value in module.entry.inputs):
            raise LirError("a training step needs parameters, and none reaches the outputs",
                           "make them with g.param or lossc.nn, and mark them `param` in LIR text")  # fmt: skip
        found = differentiate(module, parameters, True, None, False)
        self.names = found.names
        ready = ready_program(found.module, self.device, strategy)
        self._ready = ready
        program = ready.program
        warn_of_strategy(program, strategy, lambda: self.compiled)
        entries = [parameters.entry(name) for name in self.names]
        shapes = {name: parameters.live(name).shape for name in self.names}
        self._status = status_words(program, self.device)
        self._trained = make_arenas(self.device, optimizer, entries, shapes, clip_value, self._status)
        self._gradients = {dtype: trained.gradients for dtype, trained in self._trained.items()}
        self._homes = [(trained, [parameters.entry(name) for name in trained.parameters.segments])
                       for trained in self._trained.values()]  # fmt: skip
        self._live: dict[str, Argument] = {}
        self._written: dict[str, Argument] = {}
        gradient_outputs = [name for name, _ in program.outputs[found.outputs :]]
        for name, output in zip(self.names, gradient_outputs):
            trained = self._of(name)
            self._live[name], self._written[output] = trained.parameters.part(name), trained.gradients.part(name)
        self._kept = [name for name, _ in program.inputs if name in parameters and name not in self.names]
        self._inputs = Inputs([pair for pair in program.inputs if pair[0] not in parameters], accepted, self.device)
        self._executable = self._executable_of(program, ready.sources, ready.options)
        self._draws = has_key(self._inputs.types)
        self._seed = parameters.seed % 2**32
        self._accumulators: dict[str, Accumulator] = {}
        scales = {dtype: trained.update.gradient_scale for dtype, trained in self._trained.items()}
        self._clip = None if clip_norm is None else Clip(self.device, clip_norm, scales)
        self._is_broken_off = False
        with parameters.lock:
            parameters.check_at_rest()
            parameters.trained_by(self)
            self._take_parameters()

    def __repr__(self) -> str:
        inputs = ", ".join(f"{name}: {type_}" for name, type_ in self.inputs.items())
        return f"<Step {self.count} of {type(self.optimizer).__name__}({inputs}) on {self.device}>"

    def __reduce__(self) -> NoReturn:
        """A copy would train parameters that no graph has. Raises RefusedKind."""
        raise RefusedKind("a step is not copied: it trains the parameters of its graph where they lie",
                          "step.save(path) writes all that a step of the same graph goes on from with load(path)",
                          "a copy of the graph, copy.deepcopy(graph), compiles a step of its own")  # fmt: skip

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise missing(type(self), name)

    @property
    def count(self) -> int:
        """Updates done."""
        return self._done.updates

    @property
    def inputs(self) -> dict[str, Type]:
        """What a call must be given."""
        return {name: type_ for name, type_ in self._inputs.types.items() if not (self._draws and name == DROPOUT_KEY)}

    def __call__(self, *unnamed: Any, share: Any = 1.0, **inputs: Any) -> Any:
        """Compute loss and gradients of a batch and update the parameters. `share` is what the batch counts beside
        those that were accumulated.

        Raises LirError for inputs that are missing, unknown or do not fit, and where a check fails, as for a label
        out of range: then no parameter and no state has changed. An interrupt is raised before the step, or when all of
        it is done and counted.
        """
        if unnamed:
            refuse_positions("step", unnamed, self.inputs)
        share = self._share(share, inputs)
        return self._alone(lambda: self._update(share, inputs))

    def _update(self, share: float, inputs: Mapping[str, Any]) -> list[np.ndarray]:
        self._take_parameters()
        done = self._done
        then = self._accumulating(share) if done.waiting else []
        sources, scale = self._gradients, 1.0
        if done.waiting:
            sources = {dtype: accumulator.total for dtype, accumulator in self._accumulators.items()}
            scale = 1.0 / (done.shares + share)
        if self._clip is not None:
            then.append(self._clip.clipping(sources, scale))
        for dtype, trained in self._trained.items():
            trained.update.prepare(done.updates, None if self._clip else scale)
            then += trained.update.executables(sources[dtype])
        return self._run(inputs, then, Done(done.updates + 1, 0, 0.0, done.drawn + 1))

    def accumulate(self, *, share: Any = 1.0, **inputs: Any) -> Any:
        """Compute loss and gradients of a batch; the next call of the step averages over all batches since the last
        one. Returns what a call returns, and raises the same.

        The average of batches of different sizes is that of one large batch where `share` is what each mean divides
        by: the number of rows.
        """
        share = self._share(share, inputs)
        return self._alone(lambda: self._add(share, inputs))

    def _add(self, share: float, inputs: Mapping[str, Any]) -> list[np.ndarray]:
        self._take_parameters()
        updates, waiting, shares, drawn = self._done
        return self._run(inputs, self._accumulating(share), Done(updates, waiting + 1, shares + share, drawn + 1))

    def gradient(self, name: str) -> np.ndarray:
        """The gradient of a parameter by the last batch, also by one that was refused: a copy. Raises LirError for an
        unknown name."""
        if name not in self.names:
            self._store.entry(name)
            raise LirError(f"parameter `{name}` is not trained by this step")
        arena = self._of(name).gradients
        with self._store.lock:
            arena.receive()
            return arena.view(name).copy()

    def state(self, name: str) -> dict[str, np.ndarray]:
        """The optimizer's state for a parameter: copies, by the names that the optimizer gives them."""
        if name not in self.names:
            self._store.entry(name)
            raise LirError(f"parameter `{name}` is not trained by this step")
        arenas = self._of(name).state
        with self._store.lock:
            for arena in arenas.values():
                arena.receive()
            return {state: arena.view(name).copy() for state, arena in arenas.items()}

    # --- checkpoints ---

    def save(self, path: str | PathLike[str]) -> None:
        """Write parameters, optimizer state and counts to a safetensors file. Raises LirError, also where gradients
        are accumulated that no step has used, and in a signal handler while a step runs."""
        with self._store.lock:
            self._store.check_at_rest()
            self._check_whole()
            if self._done.waiting:
                raise LirError(f"gradients of {self._done.waiting} batches are accumulated, which no checkpoint holds",
                               "save after the step that uses them")  # fmt: skip
            tensors = {name: self._store.live(name) for name in self._store}
            for name in self.names:
                for state, arena in self._of(name).state.items():
                    arena.receive()
                    tensors[state_key(state, name)] = arena.view(name)
            progress = Progress(self.count, self._done.drawn, self._seed)
            write_tensors(path, tensors, progress.about(type(self.optimizer).__name__))

    def load(self, path: str | PathLike[str]) -> None:
        """Go on from a file that `save` wrote. Raises LirError where it does not fit; then nothing has changed. After
        an interrupt in the middle the step refuses to go on until a file is loaded."""
        tensors, about = read_tensors(path)
        progress = progress_in(about, type(self.optimizer).__name__, path)
        states = {
            (state, name): state_in(tensors, state_key(state, name), arena.segments[name].shape, arena.dtype, path)
            for name in self.names
            for state, arena in self._of(name).state.items()
        }
        with self._store.lock:
            self._store.check_at_rest()
            was_broken_off, self._is_broken_off = self._is_broken_off, True
            try:
                self._store.replace_all(parameters_in(tensors), path)
            except LirError:
                self._is_broken_off = was_broken_off
                raise
            self._take_parameters()
            for (state, name), values in states.items():
                self._of(name).state[state].write(name, values)
            for trained in self._trained.values():
                for arena in trained.state.values():
                    arena.send()
            self._done, self._seed = Done(progress.step, drawn=progress.batches), progress.seed
            self._is_broken_off = False

    # --- looking inside ---

    @property
    def compiled(self) -> Compiled:
        """Loss and gradients at every level below their module; a program that was found on disk is compiled for
        this."""
        return self._ready.levels

    @property
    def kernels(self) -> tuple[KernelReport, ...]:
        """The fused kernels of loss and gradients, then those of clipping and of the update."""
        from lossc.reports.kernels import kernel_reports

        return tuple(report for compiled in self._programs().values() for report in kernel_reports(compiled))

    @property
    def source(self) -> str:
        """OpenCL C of all kernels."""
        return "\n".join(text for compiled in self._programs().values() for text in compiled.sources().values())

    def explain(self) -> str:
        """What was rewritten and fused, what was not and why, for loss and gradients and for the update."""
        from lossc.reports.explain import explanation

        where = "in place" if all(t.update.in_place for t in self._trained.values()) else "beside, then copied"
        texts = [explanation(compiled) for compiled in self._programs().values()]
        texts[0] = explanation(self.compiled, self._inputs.conversions)
        return "\n\n".join([*texts, f"the update writes parameters and state {where}"])

    def dump(self, folder: str | PathLike[str]) -> None:
        """Write every level of loss and gradients to `folder/gradients` and of the update to `folder/update`."""
        from lossc.reports.dump import dump

        for name, compiled in self._programs().items():
            dump(compiled, Path(folder) / name)

    # --- inside ---

    def _programs(self) -> dict[str, Compiled]:
        several = len(self._trained) > 1
        updates = {f"update_{dtype}" if several else "update": trained.update.compiled
                   for dtype, trained in self._trained.items()}  # fmt: skip
        clip = {} if self._clip is None else {"clip": self._clip.compiled}
        return {"gradients": self.compiled, **clip, **updates}

    def _of(self, name: str) -> Trained:
        return self._trained[self._store.entry(name).type.dtype]

    def _take_parameters(self) -> None:
        """Have the parameters live in the arenas of this step: another step may have taken them since."""
        for trained, entries in self._homes:
            home = trained.parameters
            moved = [entry for entry in entries if entry.arena is not home]
            for entry in moved:
                home.write(entry.name, self._store.live(entry.name))
            home.to_device()
            # Last: where an interrupt came before, the values are still where they were.
            for entry in moved:
                entry.array, entry.arena = home.view(entry.name), home

    def _alone(self, work: Callable[[], list[np.ndarray]]) -> Any:
        """The results of a batch, with nobody else at the parameters."""
        store = self._store
        with store.lock:
            self._check_whole()
            store.check_at_rest()
            try:
                store.is_under_way = True
                results = work()
            except BrokenOff:
                self._is_broken_off = True
                raise
            finally:
                store.is_under_way = False
            return results[0] if len(results) == 1 else results

    def _check_whole(self) -> None:
        if self._is_broken_off:
            raise LirError("a step was broken off by an error of the device in the middle of its update, or `load` by "
                           "an interrupt", "load a checkpoint: parameters and state may be half new")  # fmt: skip

    def _run(
        self, inputs: Mapping[str, Any], then: Sequence[Executable], after: Done
    ) -> list[np.ndarray]:  # fmt: skip
        """Run loss and gradients on a batch, `then` what reads the gradients in their arenas. `after` is what is done
        then, whatever interrupts it."""
        arrays: dict[str, np.ndarray | Argument] = self._inputs(inputs)
        if self._draws:
            arrays.setdefault(DROPOUT_KEY, key_at(self._seed, self._done.drawn))
        for name in self._kept:
            arrays[name] = self._store.argument(name, self.device)
        executable = self._executable_for(arrays)
        is_update = after.updates > self._done.updates
        if not self.device.info.shared_pointers:
            for trained in self._trained.values():
                for arena in trained.arenas if is_update else (trained.gradients,):
                    arena.to_kernels()
            for accumulator in self._accumulators.values():
                accumulator.total.to_kernels()

        def done() -> None:
            if is_update:
                for trained in self._trained.values():
                    trained.update.finish()
            self._done = after

        given = self._inputs.in_order(arrays, executable.free_inputs)
        return executable.run(given, then=then, done=done)

    def _executable_for(self, arrays: Mapping[str, np.ndarray | Argument]) -> Executable:
        """What runs loss and gradients on such a batch."""
        return self._executable

    def _share(self, share: Any, inputs: dict[str, Any]) -> float:
        """What a batch counts. An input of the graph may have that name: then every batch counts 1."""
        if "share" in self._inputs.types:
            inputs["share"], share = share, 1.0
        return checked_share(share)

    def _accumulating(self, share: float) -> list[Executable]:
        """What adds the gradients of a batch to those of the batches before."""
        for dtype, trained in self._trained.items():
            if dtype not in self._accumulators:
                self._accumulators[dtype] = Accumulator(trained.gradients, self._status)
        return [accumulator.adding(share, first=self._done.waiting == 0) for accumulator in self._accumulators.values()]

    def _executable_of(self, program: Program, sources: Mapping[str, str], options: str) -> Executable:
        """A program of loss and gradients, ready to run on the memory of this step."""
        return Executable(program, self.device, sources, options, self._live, self._written, self._status)
