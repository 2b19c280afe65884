"""The rules of the kernel IR and the limits of a device, checked before a driver sees anything.

In: a kernel and what is known of the device. Out: nothing, or `CompilerBug` with every rule that is
broken. The rules are those at the top of `ir/kernel.py`. Drivers do not enforce their own limits: these
are here too.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...ir.diagnostics import CompilerBug, Diagnostic, LirError
from ...ir.frozen import frozen
from ...ir.kernel import (
    Apply,
    Assign,
    AtomicMin,
    Barrier,
    Const,
    Declare,
    Expr,
    For,
    If,
    Iota,
    Kernel,
    Let,
    Load,
    Prefetch,
    Reduce,
    Splat,
    Stmt,
    Store,
    Var,
    WorkItem,
    register_dtype,
    walk_expressions,
    walk_statements,
)
from ...ir.kernel_ops import (
    QUERIES,
    REDUCTIONS,
    WIDTHS,
    application_type,
    is_kind,
    spell_type,
)
from ...ir.kernel_printer import Names, memory_names, print_block
from ...ir.target import DeviceInfo
from ...ir.types import DTYPES, is_integer
from ..numbers import integer_limits
from .signature import limit_problems, name_problems, signature_problems
from .uniformity import divergent_barriers


def check_kernel(kernel: Kernel, device: DeviceInfo) -> None:
    """Raise CompilerBug with everything that is wrong with `kernel`."""
    problems = kernel_problems(kernel, device)
    if problems:
        raise CompilerBug([Diagnostic("LIR0003", f"kernel {kernel.name}: {problem}") for problem in problems])


def kernel_problems(kernel: Kernel, device: DeviceInfo) -> list[str]:
    """The rules that `kernel` breaks on `device`, a sentence each."""
    checker = _Checker(kernel, device)
    checker.block(kernel.body, {scalar.name: _Variable(scalar) for scalar in kernel.scalars})
    return [*signature_problems(kernel), *limit_problems(kernel, device), *checker.problems]


@frozen
class _Variable:
    """A variable in scope, and whether it may be assigned."""

    var: Var
    assignable: bool = False


_Scope = dict[str, _Variable]


@frozen
class _Memory:
    """A buffer or array: what is stored there, and what may be done with it."""

    dtype: str
    access: str
    is_global: bool


class _Checker:
    def __init__(self, kernel: Kernel, device: DeviceInfo):
        self.kernel, self.device = kernel, device
        self.problems: list[str] = []
        self.divergent = {id(statement) for statement in divergent_barriers(kernel)}
        self.registers: set[tuple[str, int]] = set()
        """Types of which it is known that the device has them."""
        self.memories = {b.name: _Memory(b.dtype, b.access, True) for b in kernel.buffers} | {
            array.name: _Memory(array.dtype, "readwrite", False)
            for array in (*kernel.local_arrays, *kernel.private_arrays)
        }

    def report(self, problem: str, statement: Stmt, scope: _Scope) -> None:
        names: Names = memory_names(self.kernel) | {
            name: (variable.var.dtype, variable.var.width) for name, variable in scope.items()
        }
        first_line = next(print_block((statement,), names, ""))
        self.problems.append(f"`{first_line}`: {problem}")

    # --- statements -----------------------------------------------------------------------------------------

    def block(self, body: tuple[Stmt, ...], scope: _Scope) -> None:
        """Check statements, and add to `scope`, which is theirs, what they bind."""
        for statement in body:
            for node in walk_expressions(*statement.expressions):
                for problem in self.node(node, scope):
                    self.report(problem, statement, scope)
            for problem in self.statement(statement, scope):
                self.report(problem, statement, scope)
            if id(statement) in self.divergent:
                self.report("a barrier inside, which only a part of a work-group may reach", statement, scope)
            match statement:
                case Let(var=var) | Declare(var=var):
                    scope[var.name] = _Variable(var, isinstance(statement, Declare))
                case For(var=var, body=inner):
                    self.block(inner, {**scope, var.name: _Variable(var)})
                case If(body=inner):
                    self.block(inner, dict(scope))
                case _:
                    pass

    def statement(self, statement: Stmt, scope: _Scope) -> Iterable[str]:
        """What is wrong with the statement itself, its expressions and inner statements apart."""
        match statement:
            case Let(var=var, value=value) | Declare(var=var, value=value):
                yield from self._binds(var, scope)
                yield from _same(var, value, "the value")
            case Assign(var=var, value=value):
                yield from _same(var, value, "the value")
                known = scope.get(var.name)
                if known is None:
                    yield f"{var.name} is assigned and not declared"
                elif not known.assignable:
                    yield f"{var.name} is no `var`: it may not be assigned"
                elif known.var != var:
                    yield f"{var.name} is declared as {_type(known.var)}"
            case Store():
                yield from self._store(statement)
            case For():
                yield from self._binds(statement.var, scope)
                yield from _loop(statement)
            case If(condition=condition):
                if _type(condition) != "bool":
                    yield f"the condition is of type {_type(condition)}, not bool"
            case AtomicMin(buffer=buffer, index=index, value=value):
                memory = self.memories.get(buffer)
                if memory not in (_Memory("i32", "readwrite", True), _Memory("i32", "write", True)):
                    yield f"{buffer} is no i32 buffer that may be written"
                if (_type(index), _type(value)) != ("i64", "i32"):
                    yield f"the index must be i64 and the value i32: {_type(index)}, {_type(value)}"
            case Prefetch(buffer=buffer, index=index, level=level):
                memory = self.memories.get(buffer)
                if memory is None or not memory.is_global:
                    yield f"{buffer} is no buffer"
                if _type(index) != "i64" or level not in (1, 2, 3):
                    yield "a prefetch takes an i64 index and a level from 1 to 3"
            case Barrier():
                pass

    def _binds(self, var: Var, scope: _Scope) -> Iterable[str]:
        if var.name in scope or var.name in self.memories:
            yield f"{var.name} is bound already"
        yield from name_problems(var.name)
        yield from self._register(var)

    def _store(self, store: Store) -> Iterable[str]:
        memory = self.memories.get(store.buffer)
        if memory is None:
            yield f"no buffer {store.buffer}"
            return
        if memory.access == "read":
            yield f"{store.buffer} is only read"
        if register_dtype(memory.dtype) != store.value.dtype:
            yield f"{store.buffer} holds {memory.dtype}, the value is {_type(store.value)}"
        yield from _index(store.index, store.value.width)
        if store.aligned and (store.value.width == 1 or store.index.width > 1):
            yield "only a vector of consecutive elements is aligned"
        if store.nontemporal:
            if store.value.width == 1 or store.index.width > 1 or not memory.is_global:
                yield "only whole vectors go past the cache, and only to a buffer"
            if not self.device.nontemporal_stores:
                yield f"stores past the cache are not known to work on {self.device.name}"

    # --- expressions ----------------------------------------------------------------------------------------

    def node(self, node: Expr, scope: _Scope) -> Iterable[str]:
        """What is wrong with an expression itself, those inside it apart."""
        match node:
            case Var():
                found = self._variable(node, scope)
            case Apply():
                found = _application(node)
            case Load():
                found = self._load(node)
            case Const(value=value, dtype=dtype) if not _fits(value, dtype):
                found = (f"the constant {value} is no {dtype}",)
            case Splat(operand=operand) if operand.width != 1 or node.width == 1:
                found = (f"splat makes a vector of a scalar, not {_type(node)} of {_type(operand)}",)
            case Iota() if not is_integer(node.dtype) or node.width == 1:
                found = (f"iota is a vector of integers, not {_type(node)}",)
            case Reduce():
                found = _reduction(node)
            case WorkItem(query=query) if query not in QUERIES:
                found = (f"no query `{query}`",)
            case _:
                found = ()
        return found if (node.dtype, node.width) in self.registers else (*self._register(node), *found)

    def _variable(self, var: Var, scope: _Scope) -> Iterable[str]:
        known = scope.get(var.name)
        if known is None:
            return (f"{var.name} is not bound here",)
        if known.var is not var and known.var != var:
            return (f"{var.name} is of type {_type(known.var)}, used as {_type(var)}",)
        return ()

    def _load(self, load: Load) -> Iterable[str]:
        memory = self.memories.get(load.buffer)
        if memory is None:
            yield f"no buffer {load.buffer}"
            return
        if memory.access == "write":
            yield f"{load.buffer} is only written"
        if register_dtype(memory.dtype) != load.dtype:
            yield f"{load.buffer} holds {memory.dtype}, it is loaded as {load.dtype}"
        yield from _index(load.index, load.width)
        if load.aligned and (load.width == 1 or load.index.width > 1):
            yield "only a vector of consecutive elements is aligned"

    def _register(self, node: Expr) -> Iterable[str]:
        found = tuple(self._register_problems(node))
        if not found:
            self.registers.add((node.dtype, node.width))
        return found

    def _register_problems(self, node: Expr) -> Iterable[str]:
        if node.dtype not in DTYPES or register_dtype(node.dtype) != node.dtype:
            yield f"{node.dtype} is no type of a register"
        if node.width not in WIDTHS:
            yield f"{node.width} is no width of a vector"
        if node.dtype == "f64" and not self.device.has_f64:
            yield f"{self.device.name} has no f64"


def _application(node: Apply) -> Iterable[str]:
    try:
        expected = application_type(node.op, [(o.dtype, o.width) for o in node.operands], node.dtype)
    except LirError as error:
        return (error.diagnostics[0].message,)
    if expected != (node.dtype, node.width):
        return (f"`{node.op}` gives {spell_type(*expected)} here, not {_type(node)}",)
    return ()


def _reduction(node: Reduce) -> Iterable[str]:
    if node.op not in REDUCTIONS:
        return (f"lanes are not reduced by `{node.op}`",)
    if node.operand.width == 1 or not is_kind(node.operand.dtype, REDUCTIONS[node.op]):
        return (f"`{node.op}` reduces the lanes of a {REDUCTIONS[node.op]} vector, found {_type(node.operand)}",)
    return ()


def _type(expression: Expr) -> str:
    return spell_type(expression.dtype, expression.width)


def _same(var: Var, value: Expr, what: str) -> Iterable[str]:
    if (var.dtype, var.width) != (value.dtype, value.width):
        yield f"{var.name} is of type {_type(var)}, {what} of type {_type(value)}"


def _index(index: Expr, width: int) -> Iterable[str]:
    if index.dtype != "i64":
        yield f"an index is i64, found {_type(index)}"
    if index.width not in (1, width):
        yield f"{index.width} indices for {width} lanes"


def _fits(value: float | int | bool, dtype: str) -> bool:
    if dtype == "bool":
        return value in (0, 1)
    if is_integer(dtype):
        least, largest = integer_limits(dtype)
        return least <= value <= largest and int(value) == value
    return dtype in DTYPES and not isinstance(value, bool)


def _loop(loop: For) -> Iterable[str]:
    """A loop's bounds are read at every turn in C, so that nothing in the body may change them."""
    for expression in (loop.var, loop.start, loop.stop, loop.step):
        if (expression.dtype, expression.width) != ("i64", 1):
            yield f"a loop counts in i64, found {_type(expression)}"
    if isinstance(loop.step, Const) and loop.step.value <= 0:
        yield f"a loop with step {loop.step.value} never ends"
    bounds = walk_expressions(loop.stop, loop.step)
    names = {node.name for node in bounds if isinstance(node, Var)}
    loaded = {node.buffer for node in bounds if isinstance(node, Load)}
    changed = [s for s in walk_statements(loop.body) if isinstance(s, (Assign, Store, AtomicMin))]
    for name in names.intersection(s.var.name for s in changed if isinstance(s, Assign)):
        yield f"the body changes {name}, a bound of the loop"
    for buffer in loaded.intersection(s.buffer for s in changed if not isinstance(s, Assign)):
        yield f"the body stores to {buffer}, a bound of the loop"
