"""Graphs in Python: the same functions as in LIR text, built by calls.

In: inputs, parameters, and calls of operations. Out: LIR text, compiled functions and training steps. Every layer,
activation and loss of the IR is a method of `Graph` by itself, with the operands and attributes that it has there;
what it returns is a `Tensor`, a value with NumPy's operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

import numpy as np

from lossc.arrays import check_parameter, element_type
from lossc.calls import Result, call_method, call_operation, help_text, operation_names
from lossc.cut import part_of
from lossc.initialize import declared_type, initialize_layers
from lossc.initializers import Initializer
from lossc.ir.arguments import as_python
from lossc.ir.builder import Builder
from lossc.ir.diagnostics import LirError, did_you_mean
from lossc.ir.function import Function, Module, Value
from lossc.ir.other_words import notes_in_python
from lossc.ir.printer import print_function, print_module
from lossc.ir.signature import make_call
from lossc.ir.tensor import Tensor
from lossc.ir.types import Type, is_float
from lossc.ir.verify import check_module, check_type
from lossc.naming import Dimension, as_shape, check_name
from lossc.other_words import notes_on_training
from lossc.parameters import Parameter, Parameters
from lossc.warnings import warn_once
from lossc.writing import cannot_write

if TYPE_CHECKING:
    from lossc.compiled import CompiledFunction
    from lossc.optim import Optimizer
    from lossc.training.step import Step

Outputs = Tensor | str | Sequence[Tensor | str] | Mapping[str, Tensor]


NO_METHODS_OF_VALUES = frozenset({"grad", "dim"})
"""Operations whose names mean something else as methods of torch's tensors."""


class GraphBuilder(Builder):
    """The builder of a graph, which knows the graph: what is made from values alone may need its parameters."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def method(self, tensor: Tensor, name: str, known: Iterable[str] = ()) -> Callable[..., Any]:
        """Every operation is a method of values, too: `x.softmax(axis=-1)` is `g.softmax(x, axis=-1)`."""
        known = {*operation_names()} - NO_METHODS_OF_VALUES
        if name not in known:
            return super().method(tensor, name, sorted(known))

        def operation(*operands: Any, **keywords: Any) -> Result:
            return call_method(tensor, name, operands, keywords)

        return _named(operation, name)


class Graph:
    """A function under construction, with the parameters that it reads.

    `name` is the function's name in the text, `seed` decides the initial values of parameters.
    """

    def __init__(self, name: str = "graph", seed: int = 0) -> None:
        check_name(name)
        self.name = name
        self.parameters = Parameters(seed)
        self._builder = GraphBuilder(self)
        self._functions: dict[str, Function] = {}
        self._outputs: dict[str, Value] = {}
        self._told: set[str] = set()
        self._template = Function(name, (), (), ())

    @classmethod
    def from_module(cls, module: Module, seed: int = 0) -> Graph:
        """A graph over the entry of a module. Its params have no values yet: `initialize`, assign or load them."""
        if not isinstance(module, Module):
            raise LirError(
                f"expected a Module, found {type(module).__name__}",
                "a text is read by lossc.parse(text), a file by lossc.load(path); a Graph is one already",
            )
        entry = module.entry
        graph = cls(entry.name, seed)
        graph._template = entry
        graph._functions = {name: f for name, f in module.functions.items() if name != entry.name}
        graph._builder.inputs, graph._builder.ops = list(entry.inputs), list(entry.ops)
        graph._builder.params = set(entry.params)
        graph._outputs = dict(zip(entry.names_of_outputs, entry.outputs))
        for value in entry.inputs:
            if value in entry.params:
                graph.parameters.add(Parameter(value.name, value.type))
        return graph

    # --- building ---

    def input(self, name: str, shape: Sequence[Dimension] | Dimension = (), dtype: Any = "f32") -> Tensor:
        """An input. A size is a number, a name ("B", "2*T": bound at run time) or None.

        None is a name by place: `B` on the first axis, `D1`, `D2`, ... on later ones. So all inputs with None first
        have one batch size.
        """
        type_ = Type(element_type(dtype), as_shape(shape))
        return self._tensor(self._input(name, type_, False))

    def param(
        self, name: str, value: Any, init: str | float | Initializer | None = None, *,
        dtype: Any = None, frozen: bool = False, group: str = "default",
    ) -> Tensor:  # fmt: skip
        """A parameter: `value` is an array of its first values, or a shape (a tuple of sizes) filled by `init`. It is
        f32 where `dtype` does not say f64; 16-bit arrays keep their type.

        `init` is zeros, ones, normal, kaiming_uniform, xavier_uniform, a bound for U(-bound, bound) or a function of
        generator and shape; without it the values are given later. `frozen` ones are not trained. Members of a
        `group` may have an optimizer's settings of their own.
        """
        type_, is_shape = declared_type(name, value, init is not None, dtype)
        check_name(name)
        check_type(type_)
        entry = Parameter(name, type_, frozen=frozen, group=group)
        # Values first: a parameter that is refused leaves nothing behind.
        if not is_shape or init is not None:
            values = value if init is None else self.parameters.drawn(entry, init)
            entry.array = check_parameter(name, values, type_)
        known = self._input(name, type_, True)
        self.parameters.add(entry)
        return self._tensor(known)

    def buffer(self, name: str, values: Any, dtype: Any = "f32") -> Tensor:
        """A constant array: an input whose values the graph keeps and saves with its parameters, and never trains."""
        check_name(name)
        try:
            array = np.asarray(values)
        except ValueError:
            raise LirError(f"buffer `{name}`: the rows have different lengths") from None
        type_ = Type(element_type(dtype), array.shape)
        values = array.astype(np.float64) if array.dtype.kind in "iu" and is_float(type_.dtype) else array
        check_type(type_)
        entry = Parameter(name, type_, check_parameter(name, values, type_), frozen=True)
        known = self._input(name, type_, False)
        self.parameters.add(entry)
        return self._tensor(known)

    def constant(self, value: float | np.generic, dtype: Any = "f32", shape: Sequence[Dimension] = ()) -> Tensor:
        """One number in every element."""
        value = as_python(value)
        if not isinstance(value, (bool, int, float)):
            raise LirError(f"a constant is one number, found {type(value).__name__}",
                           "an array is g.buffer(name, array) or an input")  # fmt: skip
        return self._tensor(self._builder.constant(value, element_type(dtype), as_shape(shape)))

    def call(self, function: str | Graph | Function, *operands: Tensor) -> Result:
        """Call a LIR function: the name of one in this graph's module, another graph, or a Function.

        The operands are its inputs in order. Returns its result, or all of them.
        """
        callee = self._callee(function)
        for operand in operands:
            self._own(operand)
        op = make_call("call", callee, [operand.value for operand in operands], callee.names_of_outputs)
        results = tuple(self._tensor(value) for value in self._builder.append(op))
        return results[0] if len(results) == 1 else results

    def set_outputs(self, outputs: Outputs) -> None:
        """What the function returns: values in a list, or in a dictionary with their names."""
        self._outputs = self._resolve_outputs(outputs)

    def initialize(self) -> None:
        """Give parameters without values some: weights and biases of `linear` as torch's Linear has them.

        Raises LirError for one that no `linear` reads.
        """
        initialize_layers(self._builder.ops, self._builder.params, self.parameters)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        known = operation_names()
        if name not in known:
            notes = notes_on_training(name) or notes_in_python(name, [n for n in dir(self) if n[0] != "_"])
            raise AttributeError("; ".join([f"a graph has no method or operation `{name}`", *notes]))

        def operation(*operands: Any, **keywords: Any) -> Result:
            return call_operation(self._builder, name, operands, keywords)

        return _named(operation, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *operation_names()})

    # --- reading ---

    @property
    def inputs(self) -> dict[str, Type]:
        """The types of the inputs that are not parameters."""
        return {value.name: value.type for value in self._builder.inputs if value.name not in self.parameters}

    @property
    def outputs(self) -> dict[str, Type]:
        """The types of the outputs."""
        return {name: value.type for name, value in self._outputs.items()}

    def value(self, name: str) -> Tensor:
        """The input, output or intermediate value of that name. Raises LirError."""
        if name in self._outputs:
            return self._tensor(self._outputs[name])
        values = [*self._builder.inputs, *(result for op in self._builder.ops for result in op.results)]
        found = [value for value in values if value.name == name]
        if len(found) != 1:
            count = f"{len(found)} values are" if found else "no value is"
            raise LirError(f"{count} called `{name}` in this graph", *did_you_mean(name, {v.name for v in values}))
        return self._tensor(found[0])

    def to_module(self) -> Module:
        """The module as it stands. Raises LirError where it breaks a rule."""
        entry = self._entry()
        order = {**self._functions, entry.name: entry}
        return check_module(Module(order, entry.name))

    def to_lir(self) -> str:
        """LIR text, which `lossc.parse` reads back."""
        return print_module(self.to_module())

    def save(self, path: str | PathLike[str]) -> None:
        """Write the LIR text to a file. Parameters are saved by `graph.parameters.save`."""
        try:
            with open(fspath(path), "w", encoding="utf-8") as file:
                file.write(self.to_lir())
        except OSError as error:
            raise cannot_write(path, error) from None

    __str__ = to_lir

    def __repr__(self) -> str:
        return f"<Graph @{self.name}: {', '.join(self.inputs)} -> {', '.join(self._outputs)}>"

    # --- compiling ---

    def compile(
        self, outputs: Outputs | None = None, *, grad: bool | str | Sequence[str | Tensor] = False,
        of: Tensor | str | None = None, upstream: bool = False, inplace: str | Sequence[str] = (),
        training: bool = False, device: Any = None, strategy: str | None = None, tune: bool | None = None,
    ) -> CompiledFunction:  # fmt: skip
        """A function of arrays by name: `fn(x=...)` returns a list of arrays, one for each output.

        `outputs` (default: those of the graph) may be any values; only the inputs that reach them are needed.
        With `grad` the function returns (outputs, {name: gradient}): True means all parameters that are not frozen
        (all float inputs where there are none), names pick. What is differentiated is `of`, the sum of its elements;
        the default is the first output, which must have one element. `upstream=True` takes the incoming gradient as
        one more input, `grad_<output>`, of the shape of `of`. `inplace` names inputs whose arrays are written over by
        their gradients.
        Layers of `nn.Dropout` drop nothing; with `training` they do, by the input `dropout_key`.
        `device` is a name, a number, a Device, or a pyopencl context or queue; `strategy` is taken where it applies.
        With `tune` (default: what LOSSC_TUNE says) the first call with sizes of a class measures what is the fastest.

        Raises LirError where a name or a setting is wrong, Limitation for what is not differentiated or does not fit
        the device, and DeviceError where no device is found. The arrays of a call are checked in that call.
        """
        from lossc.compiling import function_of

        # What is differentiated need not be among what the outputs need.
        module, target = self._part(outputs, None if of is None else self._own(self._find(of)), training)
        warn_once(module, self._told)
        return function_of(module, self.parameters, grad, target, upstream, inplace, tune, accepted=self.inputs,
                           device=device, strategy=strategy)  # fmt: skip

    def compile_step(
        self, optimizer: Optimizer, *, clip_norm: float | None = None, clip_value: float | None = None,
        device: Any = None, strategy: str | None = None, tune: bool | None = None,
    ) -> Step:  # fmt: skip
        """A training step: `step(x=..., labels=...)` returns the first output, a list where there are several.

        The first output is what is minimised. Parameters, gradients and the optimizer's state stay on the device.
        With `clip_norm` gradients are scaled down where their norm over all parameters is larger; with `clip_value`
        each element is kept between -clip_value and clip_value. `tune` as for `compile`. Raises what `compile` raises.
        """
        from lossc.compiling import step_of

        if isinstance(optimizer, type) or not hasattr(optimizer, "update"):
            found = optimizer.__name__ if isinstance(optimizer, type) else repr(optimizer)
            raise LirError(f"compile_step takes an optimizer, found {found}", "write g.compile_step(optim.SGD(lr))")
        module, _ = self._part(None, training=True)
        warn_once(module, self._told)
        return step_of(module, self.parameters, optimizer, tune, clip_norm=clip_norm, clip_value=clip_value,
                       accepted=self.inputs, device=device, strategy=strategy)  # fmt: skip

    # --- inside ---

    def _tensor(self, value: Value) -> Tensor:
        return Tensor(value, self._builder)

    def _input(self, name: str, type_: Type, param: bool) -> Value:
        check_name(name)
        check_type(type_)
        if any(value.name == name for value in self._builder.inputs):
            raise LirError(f"there is an input `{name}` already", code="LIR0048")
        return self._builder.input(name, type_, param)

    def _own(self, tensor: Any) -> Value:
        if not isinstance(tensor, Tensor):
            raise LirError(f"expected a value of the graph, found {type(tensor).__name__}")
        if tensor.builder is not self._builder:
            raise LirError(f"%{tensor.value.name} belongs to another graph")
        return tensor.value

    def _find(self, item: Tensor | str) -> Tensor:
        return self.value(item) if isinstance(item, str) else item

    def _callee(self, function: str | Graph | Function) -> Function:
        if isinstance(function, str):
            if function not in self._functions:
                raise LirError(f"there is no function @{function}", *did_you_mean(function, self._functions),
                               code="LIR0040")  # fmt: skip
            return self._functions[function]
        if not isinstance(function, (Graph, Function)):
            raise LirError(f"a graph calls a function by name, another graph or a Function, found "
                           f"{type(function).__name__}", code="LIR0040")  # fmt: skip
        module = function.to_module() if isinstance(function, Graph) else Module({function.name: function})
        for new in module.functions.values():
            known = self._functions.setdefault(new.name, new)
            if new.name == self.name or (known is not new and print_function(known) != print_function(new)):
                raise LirError(f"there is a function @{new.name} already", "give one of them another name",
                               code="LIR0041")  # fmt: skip
        return self._functions[function.name]

    def _resolve_outputs(self, outputs: Outputs) -> dict[str, Value]:
        if isinstance(outputs, Mapping):
            for name in outputs:
                check_name(name)
            return {name: self._own(tensor) for name, tensor in outputs.items()}
        if not isinstance(outputs, Iterable):
            raise LirError(f"outputs are values of the graph, found {type(outputs).__name__}")
        items = [outputs] if isinstance(outputs, (Tensor, str)) else list(outputs)
        if not items:
            raise LirError("a function needs at least one output")
        values = [self._own(self._find(item)) for item in items]
        wanted = [item if isinstance(item, str) else value.name for item, value in zip(items, values)]
        names = Function("", (), (), tuple(Value(n, v.type) for n, v in zip(wanted, values))).names_of_outputs
        return dict(zip(names, values))

    def _entry(self) -> Function:
        outputs = tuple(self._outputs.values())
        return self._template.with_(
            inputs=tuple(self._builder.inputs), ops=tuple(self._builder.ops), outputs=outputs,
            params=frozenset(self._builder.params), output_names=tuple(self._outputs),
        )  # fmt: skip

    def _part(
        self, outputs: Outputs | None, also: Value | None = None, training: bool = False
    ) -> tuple[Module, Value | None]:  # fmt: skip
        """The module with the outputs that are asked for and what they, and `also`, need; and what `also` is in it."""
        chosen = self._outputs if outputs is None else self._resolve_outputs(outputs)
        if not chosen:
            raise LirError("the graph has no outputs", "say g.set_outputs([...]) or g.compile(outputs=[...])")
        module, also = part_of(self._entry(), self._functions, chosen, also, training, every_check=outputs is None)
        return check_module(module), also


def _named(operation: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The method that calls the operation `name`, with its help."""
    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = help_text(name)
    return operation
