"""The rules of programs: what a runtime relies on when it launches one.

In: a program whose kernels were checked. Out: nothing, or `CompilerBug` with each rule that is broken:
launches fit their kernels, names mean something, sizes and guards can be computed, the last variant of a
step always fits, nothing writes to an input, no kernel sees one piece of memory under two names if it
writes there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...ir.diagnostics import CompilerBug, Diagnostic, LirError
from ...ir.kernel import Apply, Const, Expr, Kernel, Var
from ...ir.kernel_ops import application_type, postorder
from ...ir.program import Buffer, Launch, Program, Step, steps_of

ROLES = ("input", "output", "temporary", "status")


def check_program(program: Program) -> None:
    """Raise CompilerBug with everything that is wrong with `program`."""
    problems = list(program_problems(program))
    if problems:
        raise CompilerBug([Diagnostic("LIR0003", f"program {program.name}: {text}") for text in problems])


def program_problems(program: Program) -> Iterator[str]:
    """The rules that `program` breaks, a sentence each."""
    yield from _interface(program)
    yield from _buffers(program, program.buffers)
    kernels: dict[str, Kernel] = {}
    for step in program.steps:
        yield from _guards(program, step)
    for several in program.beside:
        names = steps_of(program, several)
        if len(names) != several.count or several.count < 2 or any(step.repeat is not None for step in names):
            yield f"steps {several.first} to {several.first + several.count - 1} are no steps to be joined"
        yield from _guards(program, Step(" + ".join(step.name for step in names), several.variants))
    for variant in program.together:
        if variant.guard is not None:
            yield from _expression(program, variant.guard, "bool", "the guard of a launch of all steps")
    for variant in program.variants:
        reachable = {**program.buffers, **{buffer.name: buffer for buffer in variant.temporaries}}
        yield from _buffers(program, {buffer.name: buffer for buffer in variant.temporaries}, reachable)
        for launch in variant.launches:
            if kernels.setdefault(launch.kernel.name, launch.kernel) != launch.kernel:
                yield f"two kernels are called {launch.kernel.name}"
            yield from _launch(program, launch, reachable)
    yield from _checks(program)


def _interface(program: Program) -> Iterator[str]:
    for what, values, buffers in (
        ("input", program.inputs, program.input_buffers), ("output", program.outputs, program.output_buffers)
    ):  # fmt: skip
        if len(buffers) != len(values):
            yield f"{len(values)} {what}s and {len(buffers)} buffers of {what}s"
        for (name, type_), buffer in zip(values, buffers):
            if buffer not in program.buffers or program.buffers[buffer].dtype != type_.dtype:
                yield f"{what} {name}: {type_} has no such buffer: {buffer}"
    for name in program.input_buffers:
        if name in program.buffers and program.buffers[name].role != "input":
            yield f"buffer {name} of an input has role {program.buffers[name].role}"
    unknown = set(program.params) - {name for name, _ in program.inputs}
    if unknown:
        yield f"parameters that are no inputs: {', '.join(sorted(unknown))}"


def _buffers(
    program: Program, buffers: Mapping[str, Buffer], reachable: Mapping[str, Buffer] | None = None
) -> Iterator[str]:
    for name, buffer in buffers.items():
        if name != buffer.name:
            yield f"buffer {buffer.name} is called {name}"
        if buffer.role not in ROLES:
            yield f"buffer {name} has role {buffer.role}, not one of {', '.join(ROLES)}"
        if buffer.alias_of is not None and _root(buffer, reachable or buffers) is None:
            yield f"buffer {name} is the memory of {buffer.alias_of}, which does not exist"
        yield from _expression(program, buffer.size, "i64", f"the size of buffer {name}")


def _root(buffer: Buffer, buffers: Mapping[str, Buffer]) -> Buffer | None:
    """The buffer whose memory this is; None if there is none."""
    seen = set()
    while buffer.alias_of is not None:
        if buffer.alias_of not in buffers or buffer.name in seen:
            return None
        seen.add(buffer.name)
        buffer = buffers[buffer.alias_of]
    return buffer


def _guards(program: Program, step: Step) -> Iterator[str]:
    if not step.variants:
        yield f"step {step.name} has no variant"
    for variant in step.variants[:-1]:
        if variant.guard is None:
            yield f"step {step.name}: what follows variant {variant.strategy} is never taken"
    for variant in step.variants[-1:]:
        if variant.guard is not None:
            yield f"step {step.name}: the last variant, {variant.strategy}, has a guard"
    for variant in step.variants:
        if variant.guard is not None:
            what = f"the guard of {variant.strategy} in step {step.name}"
            yield from _expression(program, variant.guard, "bool", what)


def _launch(program: Program, launch: Launch, buffers: Mapping[str, Buffer]) -> Iterator[str]:
    kernel = launch.kernel
    where = f"the launch of {kernel.name}"
    yield from _expression(program, launch.global_size, "i64", f"the size of {where}")
    if {scalar.name for scalar in kernel.scalars} != set(launch.scalars):
        wanted = sorted(scalar.name for scalar in kernel.scalars)
        yield f"{where} gives scalars {sorted(launch.scalars)}, it takes {wanted}"
    for name, value in launch.scalars.items():
        yield from _expression(program, value, "i64", f"{name} in {where}")
    missing = [name for name in launch.buffers if name not in buffers]
    if missing or len(launch.buffers) != len(kernel.buffers):
        yield f"{where} gives {len(launch.buffers)} of {len(kernel.buffers)} buffers; unknown: {missing}"
        return
    written: set[str] = set()
    touched: set[str] = set()
    for argument, name in zip(kernel.buffers, launch.buffers):
        root = _root(buffers[name], buffers)
        if root is None:
            continue
        if buffers[name].dtype != argument.dtype:
            yield f"{where} gives {name} of {buffers[name].dtype} for {argument.name} of {argument.dtype}"
        if argument.access != "read" and root.role == "input":
            yield f"{where} writes to the input {name}"
        if root.name in written or (argument.access != "read" and root.name in touched):
            yield f"{where} gives {root.name}, which it writes, under two names"
        touched.add(root.name)
        if argument.access != "read":
            written.add(root.name)


def _checks(program: Program) -> Iterator[str]:
    status = [buffer for buffer in program.buffers.values() if buffer.role == "status"]
    if program.checks and (len(status) != 1 or status[0].size != Const(len(program.checks), "i64")):
        yield f"{len(program.checks)} checks need one status buffer of as many words"
    if sorted(check.slot for check in program.checks) != list(range(len(program.checks))):
        yield "two checks share a word, or one has none"
    for check in program.checks:
        if check.value_buffer is not None and check.value_buffer not in program.buffers:
            yield f"check {check.slot} shows {check.value_buffer}, which is no buffer"


def _expression(program: Program, root: Expr, dtype: str, what: str) -> Iterator[str]:
    """Launch-time expressions are made of integers and dimension names."""
    for node in postorder(root):
        match node:
            case Const(dtype="i64", width=1):
                pass
            case Var(name=name, dtype="i64", width=1):
                if name not in program.dimension_names:
                    yield f"{what} depends on {name}, which is no dimension"
            case Apply(op=op, operands=operands) if op in _LAUNCH_TIME:
                try:
                    expected = application_type(op, [(o.dtype, o.width) for o in operands])
                except LirError as error:
                    yield f"{what}: {error.diagnostics[0].message}"
                    continue
                if expected != (node.dtype, node.width):
                    yield f"{what}: `{op}` gives {expected[0]}, not {node.dtype}"
            case _:
                yield f"{what} is not computed from integers and dimensions"
    if root.dtype != dtype:
        yield f"{what} is of type {root.dtype}, not {dtype}"


_LAUNCH_TIME = ("add", "sub", "mul", "div", "mod", "min", "max", "ge", "lt", "and")
