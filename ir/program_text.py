"""Programs as text: `print_program` writes buffers, steps, checks, kernels; `parse_program` reads them back.

In: a program, or its text. Out: the other. Sizes, guards and launch geometry are expressions over dimension
names, spelled as in kernels; the kernels themselves follow the program.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .diagnostics import CompilerBug, Source, did_you_mean
from .kernel import Expr, Kernel
from .kernel_parser import KernelReader, Node, parse_tree
from .kernel_printer import Names, print_expression, print_kernel, symbol_name, value_name
from .program import Beside, Buffer, Check, Launch, Program, Repeat, Step, Variant
from .types import DimLike, Type, multiply_dims, named

# --- printing -----------------------------------------------------------------------------------------------


def print_program(program: Program) -> str:
    """The program and its kernels as text, ending in a line break."""
    _check_names(program)
    names: Names = dict.fromkeys(program.dimension_names, ("i64", 1))
    lines = [f"program {symbol_name(program.name)} {{"]
    lines += [f"  dims {_values(program.dims)}"] * bool(program.dims)
    lines += [f"  params {_values(program.params)}"] * bool(program.params)
    lines += [f"  input {value_name(name)}: {type_}" for name, type_ in program.inputs]
    lines += [f"  given {_values(program.input_buffers)}"] * bool(program.input_buffers)
    lines += [f"  {_buffer(buffer, names)}" for buffer in program.buffers.values()]
    lines += [f"  {_repeat(repeat, names)}" for repeat in program.repeats]
    for step in program.steps:
        again = "" if step.repeat is None else f" repeat {step.repeat}"
        lines += [f"  step {symbol_name(step.name)}{again} {{"]
        lines += [f"    {line}" for variant in step.variants for line in _variant(variant, names)]
        lines += ["  }"]
    together = (f"    {line}" for variant in program.together for line in _variant(variant, names))
    lines += ["  together {", *together, "  }"] * bool(program.together)
    for several in program.beside:
        lines.append(f"  beside {several.first} {several.count} {{")
        lines += [f"    {line}" for variant in several.variants for line in _variant(variant, names)]
        lines += ["  }"]
    lines += [f"  {_check(check)}" for check in program.checks]
    lines += [f"  output {value_name(name)}: {type_}" for name, type_ in program.outputs]
    lines += [f"  return {_values(program.output_buffers)}"] * bool(program.output_buffers)
    return "\n".join([*lines, "}\n", *map(print_kernel, program.kernels)])


def _check_names(program: Program) -> None:
    """A text names kernels and buffers: two of one name would become one."""
    kernels = {kernel.name: kernel for kernel in program.kernels}
    launches = (launch for variant in program.variants for launch in variant.launches)
    for launch in launches:
        if launch.kernel != kernels[launch.kernel.name]:
            raise CompilerBug(f"program {program.name} has two kernels called {launch.kernel.name}")
    for name, buffer in program.buffers.items():
        if name != buffer.name:
            raise CompilerBug(f"program {program.name} calls buffer {buffer.name} {name}")


def _values(names: Sequence[str]) -> str:
    return ", ".join(map(value_name, names))


def _shape(shape: Sequence[DimLike]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _buffer(buffer: Buffer, names: Names) -> str:
    text = f"buffer {value_name(buffer.name)}: {buffer.dtype} size {print_expression(buffer.size, names)}"
    text += f" role {buffer.role}"
    text += "" if buffer.shape is None else f" shape {_shape(buffer.shape)}"
    return text + ("" if buffer.alias_of is None else f" alias {value_name(buffer.alias_of)}")


def _variant(variant: Variant, names: Names) -> Iterator[str]:
    guard = "" if variant.guard is None else f" if {print_expression(variant.guard, names)}"
    yield f"variant {json.dumps(variant.strategy)}{guard} {{"
    for buffer in variant.temporaries:
        yield f"  {_buffer(buffer, names)}"
    for launch in variant.launches:
        pairs = launch.scalars.items()
        scalars = ", ".join(f"{value_name(name)} = {print_expression(e, names)}" for name, e in pairs)
        items = print_expression(launch.global_size, names)
        kernel = symbol_name(launch.kernel.name)
        yield f"  launch {kernel}({_values(launch.buffers)}) with ({scalars}) items {items}"
    yield "}"


def _repeat(repeat: Repeat, names: Names) -> str:
    carried = ", ".join(f"{value_name(old)} -> {value_name(new)}" for old, new in repeat.carried)
    text = f"repeat rows {print_expression(repeat.rows, names)} most {print_expression(repeat.most, names)}"
    return f"{text} step {value_name(repeat.step)} start {value_name(repeat.start)} carried ({carried})"


def _check(check: Check) -> str:
    attributes = ", ".join(f"{name} = {_attribute(value)}" for name, value in check.attributes.items())
    text = f"check {check.slot} {{{attributes}}} shape {_shape(check.shape)}"
    return text + ("" if check.value_buffer is None else f" value {value_name(check.value_buffer)}")


def _attribute(value: Any) -> str:
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_attribute, value))}]"
    raise CompilerBug(f"an attribute of a check has no text: {value!r}")


# --- parsing ------------------------------------------------------------------------------------------------


def parse_program(text: str, name: str = "<program>") -> Program:
    """The program that `text` is the print of. Raises LirError at the first place that makes no sense."""
    source = Source(name, text)
    return _ProgramReader(source).program(parse_tree(source, "program"))


class _ProgramReader(KernelReader):
    """The tree of a program to the program; a launch refers to one of the kernels that follow."""

    def program(self, tree: Node) -> Program:
        symbol, dims, params, inputs, given, buffers, repeats, steps, *rest = tree.children
        together, beside, checks, outputs, results, kernels = rest
        pieces = [self.name(token) for repeat in repeats.children for token in repeat.children[2:4]]
        names: Names = dict.fromkeys([*self.names(dims), *pieces], ("i64", 1))
        known = {kernel.name: kernel for kernel in map(self.kernel, kernels.children)}
        return Program(
            self.name(symbol),
            self.typed_names(inputs),
            self.typed_names(outputs),
            {buffer.name: buffer for buffer in self.buffers(buffers, names)},
            tuple(self.step(step, names, known) for step in steps.children),
            tuple(self.check(check) for check in checks.children),
            self.names(results),
            self.names(dims),
            self.names(params),
            tuple(self.repeat(repeat, names) for repeat in repeats.children),
            self.names(given),
            tuple(self.variant(variant, names, known) for variant in together.children),
            tuple(self.beside(several, names, known) for several in beside.children),
        )

    def names(self, tree: Node) -> tuple[str, ...]:
        return tuple(self.name(token) for token in tree.children)

    def typed_names(self, tree: Node) -> tuple[tuple[str, Type], ...]:
        pairs = (item.children for item in tree.children)
        return tuple((self.name(value), self.type(type_)) for value, type_ in pairs)

    def type(self, tree: Node) -> Type:
        dtype, shape = tree.children
        return Type(self.register_type(dtype)[0], self.shape(shape))

    def shape(self, tree: Node) -> tuple[DimLike, ...]:
        return tuple(self.dim(dim) for dim in tree.children)

    def dim(self, tree: Node) -> DimLike:
        return multiply_dims(
            self.integer(token) if token.type == "INT" else named(str(token)) for token in tree.children
        )

    def buffers(self, tree: Node, names: Names) -> tuple[Buffer, ...]:
        return tuple(self.buffer(buffer, names) for buffer in tree.children)

    def buffer(self, tree: Node, names: Names) -> Buffer:
        value, dtype, size, role, shape, alias = tree.children
        return Buffer(
            self.name(value),
            str(dtype),
            self.expression(size, names),
            str(role),
            None if shape is None else self.shape(shape),
            None if alias is None else self.name(alias),
        )

    def repeat(self, tree: Node, names: Names) -> Repeat:
        rows, most, step, start, *carried = tree.children
        pairs = (pair.children for pair in carried)
        return Repeat(
            self.expression(rows, names),
            self.expression(most, names),
            self.name(step),
            self.name(start),
            tuple((self.name(old), self.name(new)) for old, new in pairs),
        )

    def step(self, tree: Node, names: Names, kernels: Mapping[str, Kernel]) -> Step:
        symbol, again, *variants = tree.children
        number = None if again is None else self.integer(again)
        return Step(self.name(symbol), tuple(self.variant(variant, names, kernels) for variant in variants), number)

    def beside(self, tree: Node, names: Names, kernels: Mapping[str, Kernel]) -> Beside:
        first, count, *variants = tree.children
        found = tuple(self.variant(variant, names, kernels) for variant in variants)
        return Beside(self.integer(first), self.integer(count), found)

    def variant(self, tree: Node, names: Names, kernels: Mapping[str, Kernel]) -> Variant:
        strategy, guard, temporaries, launches = tree.children
        return Variant(
            self.string(strategy, strategy),
            tuple(self.launch(launch, names, kernels) for launch in launches.children),
            None if guard is None else self.expression(guard, names),
            self.buffers(temporaries, names),
        )

    def launch(self, tree: Node, names: Names, kernels: Mapping[str, Kernel]) -> Launch:
        symbol, buffers, *scalars, items = tree.children
        kernel = kernels.get(self.name(symbol))
        if kernel is None:
            raise self.error(f"no kernel {symbol}", symbol, *did_you_mean(self.name(symbol), kernels))
        pairs = (scalar.children for scalar in scalars)
        values: dict[str, Expr] = {self.name(value): self.expression(e, names) for value, e in pairs}
        return Launch(kernel, self.names(buffers), values, self.expression(items, names))

    def check(self, tree: Node) -> Check:
        slot, attributes, shape, value = tree.children
        pairs = (attribute.children for attribute in attributes.children)
        return Check(
            self.integer(slot),
            {str(name): self.attribute(given) for name, given in pairs},
            self.shape(shape),
            None if value is None else self.name(value),
        )

    def attribute(self, tree: Node) -> Any:
        if tree.data == "list":
            return tuple(self.attribute(item) for item in tree.children)
        (token,) = tree.children
        match token.type:
            case "STRING":
                return self.string(token, token)
            case "NULL":
                return None
            case _:
                return self.constant(token, None).value
