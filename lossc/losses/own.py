"""Losses of one's own in `lossc.functional` and `lossc.torch`: a graph, LIR text, or a Python function over values.

In: the definition, then the arguments of a call and the types of those that are arrays. Out: `OwnLoss`, whose programs
are differentiated and kept as those of the table of losses are. The inputs of a graph or a text have types, whose
dimension names stand for any size; a Python function is compiled for the sizes that it is called with.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lossc.errors import RefusedCall, RefusedKind
from lossc.graph import Graph
from lossc.ir.diagnostics import CheckFailed, Limitation, LirError, did_you_mean
from lossc.ir.tensor import Tensor
from lossc.ir.types import Type, is_float
from lossc.kept import keep
from lossc.losses.programs import MOST_PROGRAMS, LossProgram
from lossc.reading import parse
from lossc.warnings import warn_once

Definition = Graph | str | Callable[..., Any]

SETTING = (bool, int, float, str, type(None))
"""What an argument of a Python function may be that is no array: what is compiled in cannot change later."""

_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class OwnLoss:
    """One loss. `inputs` has the types of its arguments where the definition says them."""

    def __init__(self, definition: Definition) -> None:
        self.definition = parse(definition) if isinstance(definition, str) else definition
        self.inputs: dict[str, Type] = {}
        self.module = __name__
        self.signature: inspect.Signature | None = None
        self._programs: dict[Any, LossProgram] = {}
        self._told: set[str] = set()
        if isinstance(self.definition, Graph):
            # As it stands now: who has the graph may build on.
            module = self.definition.to_module()
            self.definition, entry = Graph.from_module(module), module.entry
            self.name, self.inputs = entry.name, {value.name: value.type for value in entry.inputs}
            return
        if not callable(definition):
            raise LirError(f"a loss is a graph, LIR text or a Python function, found {type(definition).__name__}")
        self.module = getattr(definition, "__module__", "")
        name = getattr(definition, "__name__", "")
        self.name = name if name.isidentifier() else "loss"
        self.signature = inspect.signature(definition)
        if any(parameter.kind not in _NAMED for parameter in self.signature.parameters.values()):
            raise LirError(f"{self.name}{self.signature}: every argument of a loss has a name of its own")

    @property
    def help(self) -> str | None:
        """The docstring of the Python function, or what the graph takes."""
        if self.signature is not None:
            return self.definition.__doc__
        return f"{self.name}({', '.join(f'{name}: {type_}' for name, type_ in self.inputs.items())})"

    def read(self, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name, those with a default among them. Raises RefusedCall."""
        if self.signature is not None:
            try:
                bound = self.signature.bind(*arguments, **keywords)
            except TypeError as error:
                raise RefusedCall(f"{self.name}() {error}", code="LIR0025") from None
            bound.apply_defaults()
            return bound.arguments
        names = list(self.inputs)
        values = {**dict(zip(names, arguments)), **keywords}
        unknown = [name for name in keywords if name not in self.inputs]
        missing = [f"{name}: {type_}" for name, type_ in self.inputs.items() if name not in values]
        twice = [name for name in names[: len(arguments)] if name in keywords]
        if unknown or missing or twice or len(arguments) > len(names):
            takes = ", ".join(f"{name}: {type_}" for name, type_ in self.inputs.items())
            what = f"has no input `{unknown[0]}`" if unknown else f"is given `{twice[0]}` twice" if twice else \
                f"needs {missing[0]}" if missing else f"is given {len(arguments)} arguments"  # fmt: skip
            raise RefusedCall(f"{self.name} {what}", *(did_you_mean(unknown[0], names) if unknown else ()),
                              f"it takes: {takes}", code="LIR0025")  # fmt: skip
        return {name: values[name] for name in names}

    def program(self, types: Mapping[str, Type], settings: Mapping[str, Any]) -> LossProgram:
        """The program for arrays of these types, which are sizes where the definition does not say more."""
        for name, value in settings.items():
            if not isinstance(value, SETTING):
                found = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
                raise RefusedKind(f"{self.name}: {name} is a {found}",
                                  "arguments are arrays in lossc.functional, tensors in lossc.torch, "
                                  "or numbers, strings, truth values or None")  # fmt: skip
        inputs = {**types, **self.inputs}
        # Python finds True equal to 1, 0.0 to -0.0, and nan to nothing.
        key = (*inputs.items(), *[(name, type(value), repr(value)) for name, value in settings.items()])
        program = self._programs.get(key)
        if program is None:
            program = keep(self._programs, key, self._program(inputs, settings), MOST_PROGRAMS)
        return program

    def _program(self, inputs: Mapping[str, Type], settings: Mapping[str, Any]) -> LossProgram:
        graph = Graph(f"call_{self.name}")
        values = {name: graph.input(name, [str(dim) for dim in type_.shape], type_.dtype)
                  for name, type_ in inputs.items()}  # fmt: skip
        outputs: Any
        if isinstance(self.definition, Graph):
            outputs = graph.call(self.definition, *values.values())
        else:
            assert self.signature is not None
            bound = inspect.BoundArguments(self.signature, {})  # type: ignore[arg-type]
            given = {**settings, **values}
            bound.arguments.update({name: given[name] for name in self.signature.parameters})
            outputs = self.definition(*bound.args, **bound.kwargs)  # type: ignore[operator]
        several = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        if not several or not all(isinstance(output, Tensor) for output in several):
            raise LirError(f"{self.name} returned {outputs!r}", "it is called with values of a graph, and returns one "
                           "or several: use their operators and methods")  # fmt: skip
        graph.set_outputs(several)
        for name, type_ in graph.outputs.items():
            if not is_float(type_.dtype):
                raise Limitation(f"{self.name}: the result `{name}` is {type_}: only floats are results here",
                                 "lossc.Graph().compile() gives others")  # fmt: skip
        module = graph.to_module()
        warn_once(module, self._told)
        return LossProgram(module.entry, [f for f in module.functions.values() if f is not module.entry])

    def failed(self, error: CheckFailed, names: Any = (), views: Any = (), given: Any = ()) -> CheckFailed:
        """The exception for a check that failed: arrays are what the program says they are."""
        return error


def is_one_number(program: LossProgram) -> bool:
    """Whether a program gives one loss, of one element."""
    outputs = program.function.outputs
    return len(outputs) == 1 and outputs[0].type.shape in ((), (1,))
