"""One launch of a kernel in NumPy: the meaning of the kernel IR.

In: a kernel, its arguments, the number of work-items. Out: the arrays changed as a device would change them,
up to rounding, and what it took (`Counts`).

All work-items of the launch run in lock-step: a value is an array with one row a work-item (one row in all
where it is the same for every item) and, where it is a vector, one column a lane. Statements under a
condition, and loops whose bounds differ from item to item, run under a mask of the items that take part. So
a barrier is always satisfied; one that only a part of a group reaches is an error. Operations are those of
`arithmetic`, lanes are reduced in the order of `arithmetic.reduce_lanes`, and `simulated_memory` checks
every index and looks for races.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..ir.diagnostics import CompilerBug
from ..ir.kernel import (
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
    LocalArray,
    Prefetch,
    Reduce,
    Splat,
    Stmt,
    Store,
    Var,
    WorkItem,
    walk_statements,
)
from ..ir.kernel_ops import postorder
from ..ir.types import numpy_dtype
from .arithmetic import memory_type, pointwise, reduce_lanes
from .simulated_memory import Counts, History, Items, Mask, Memory

Array = np.ndarray[Any, Any]
Number = int | float | bool
Evaluate = Callable[[Mask], Array]
Execute = Callable[[Mask], None]


def simulate_kernel(
    kernel: Kernel, buffers: Mapping[str, Array], scalars: Mapping[str, Number], global_size: int
) -> Counts:
    """Launch `kernel` on flat arrays by argument name. Those for bool buffers are bool, or u8 with 0 and 1.

    Raises CompilerBug for an index out of bounds, a race, a divergent barrier, a missing argument.
    """
    if global_size % kernel.local_size:
        raise CompilerBug(f"kernel {kernel.name}: {global_size} work-items do not make whole groups of "
                          f"{kernel.local_size}")  # fmt: skip
    counts = Counts(launches=1)
    if global_size:
        launch = _Launch(kernel, buffers, scalars, global_size, counts)
        with np.errstate(all="ignore"):
            launch.block(kernel.body)(Mask(None, global_size))
        for memory in launch.memories.values():
            memory.count_once()
    return counts


class _Launch:
    """One launch: the memory, the variables, and the kernel's statements as functions of a mask."""

    def __init__(self, kernel: Kernel, buffers: Mapping[str, Array], scalars: Mapping[str, Number],
                 global_size: int, counts: Counts):  # fmt: skip
        self.kernel, self.counts = kernel, counts
        self.items = Items.of_launch(global_size, kernel.local_size)
        self.variables = {
            scalar.name: np.full(1, _argument(kernel, scalars, scalar.name), numpy_dtype(scalar.dtype))
            for scalar in kernel.scalars
        }
        self.memories = self._buffers(buffers)
        for array in (*kernel.local_arrays, *kernel.private_arrays):
            local = isinstance(array, LocalArray)
            self.memories[array.name] = Memory.array(
                kernel.name, array.name, array.dtype, array.size, self.items, local
            )

    def _buffers(self, buffers: Mapping[str, Array]) -> dict[str, Memory]:
        arrays = {argument.name: _argument(self.kernel, buffers, argument.name) for argument in self.kernel.buffers}
        stored = {s.buffer for s in walk_statements(self.kernel.body) if isinstance(s, Store)}
        # Two arguments may be the same memory: a gradient written over its input.
        histories = {_address(array): History(array.size) for name, array in arrays.items() if name in stored}
        memories: dict[str, Memory] = {}
        for argument in self.kernel.buffers:
            name, array = argument.name, arrays[argument.name]
            data = array.view(np.uint8) if array.dtype == np.bool_ else array
            if data.ndim != 1 or data.dtype != memory_type(argument.dtype):
                raise CompilerBug(
                    f"kernel {self.kernel.name}: buffer {name} takes a flat array of {argument.dtype}, "
                    f"found {array.dtype} of shape {list(array.shape)}"
                )
            history = histories.get(_address(array))
            memories[name] = Memory.buffer(
                self.kernel.name, name, argument.dtype, data, self.items, history, self.counts
            )
        return memories

    # --- statements -----------------------------------------------------------------------------------------

    def block(self, body: tuple[Stmt, ...]) -> Execute:
        statements = [self.statement(statement) for statement in body]

        def run(mask: Mask) -> None:
            for execute in statements:
                execute(mask)

        return run

    def statement(self, statement: Stmt) -> Execute:
        match statement:
            case Let(var=var, value=value) | Declare(var=var, value=value):
                return self._bind(var, value)
            case Assign(var=var, value=value):
                return self._assign(var, value)
            case Store(buffer=buffer, index=index, value=value):
                aligned = statement.nontemporal or statement.aligned
                memory, at, what = self.memory(buffer), self.expression(index), self.expression(value)
                width = value.width
                return lambda mask: memory.store(at(mask), what(mask), width, mask, aligned)
            case AtomicMin(buffer=buffer, index=index, value=value):
                memory, at, what = self.memory(buffer), self.expression(index), self.expression(value)
                return lambda mask: memory.atomic_min(at(mask), what(mask), mask)
            case For():
                return self._loop(statement)
            case If(condition=condition, body=body):
                return self._conditional(self.expression(condition), self.block(body))
            case Barrier():
                return self._meet
            case Prefetch():
                return lambda mask: None

    def _bind(self, var: Var, value: Expr) -> Execute:
        variables, name, evaluate = self.variables, var.name, self.expression(value)

        def run(mask: Mask) -> None:
            variables[name] = evaluate(mask)

        return run

    def _assign(self, var: Var, value: Expr) -> Execute:
        variables, name, evaluate = self.variables, var.name, self.expression(value)

        def run(mask: Mask) -> None:
            new = evaluate(mask)
            if mask.active is not None:
                active = mask.active if new.ndim == 1 else mask.active[:, None]
                new = np.where(active, new, variables[name])
            variables[name] = new

        return run

    def _conditional(self, condition: Evaluate, body: Execute) -> Execute:
        def run(mask: Mask) -> None:
            inner = self.narrow(mask, condition(mask))
            if inner is not None:
                body(inner)

        return run

    def _loop(self, loop: For) -> Execute:
        variables, name = self.variables, loop.var.name
        bounds = [self.expression(bound) for bound in (loop.start, loop.stop, loop.step)]
        body = self.block(loop.body)

        def run(mask: Mask) -> None:
            start, stop, step = (bound(mask) for bound in bounds)
            if mask.of(step).min() <= 0:
                raise CompilerBug(f"kernel {self.kernel.name}: loop over {name} has step {mask.of(step).min()}")
            counter = start
            inner = self.narrow(mask, counter < stop)
            while inner is not None:
                variables[name] = counter
                body(inner)
                counter = counter + step
                inner = self.narrow(mask, counter < stop)

        return run

    def narrow(self, mask: Mask, condition: Array) -> Mask | None:
        """The items of `mask` for which the condition holds, or None where there is none."""
        if condition.shape[0] == 1:
            return mask if condition[0] else None
        active = condition if mask.active is None else condition & mask.active
        count = int(np.count_nonzero(active))
        if count == self.items.size:
            return Mask(None, count)
        return Mask(active, count) if count else None

    def _meet(self, mask: Mask) -> None:
        if mask.active is None:
            self.items.epoch[:] += 1
            return
        present = mask.active.reshape(-1, self.items.local_size)
        if (present.any(1) & ~present.all(1)).any():
            raise CompilerBug(f"kernel {self.kernel.name}: a barrier is reached by a part of a work-group only")
        self.items.epoch[present.any(1)] += 1

    # --- expressions ----------------------------------------------------------------------------------------

    def expression(self, expression: Expr) -> Evaluate:
        """The expression as a function of the mask: a program for a stack, so that depth is no matter."""
        program = [(len(node.operands), self._instruction(node)) for node in postorder(expression)]

        def evaluate(mask: Mask) -> Array:
            stack: list[Array] = []
            for arity, instruction in program:
                if arity == 0:
                    stack.append(instruction(mask))
                elif arity == 1:
                    stack.append(instruction(mask, stack.pop()))
                else:
                    stack[-arity:] = [instruction(mask, *stack[-arity:])]
            return stack.pop()

        return evaluate

    def _instruction(self, node: Expr) -> Callable[..., Array]:
        match node:
            case Const(value=value, dtype=dtype, width=width):
                constant = np.full((1,) if width == 1 else (1, width), value, numpy_dtype(dtype))
                return lambda mask: constant
            case Var(name=name):
                return lambda mask: self.variable(name)
            case Load(buffer=buffer, width=width, aligned=aligned):
                memory = self.memory(buffer)
                return lambda mask, index: memory.load(index, width, mask, aligned)
            case Apply():
                return self._application(node)
            case Splat(width=width):
                return lambda mask, scalar: np.broadcast_to(scalar[:, None], (scalar.shape[0], width))
            case Iota(dtype=dtype, width=width):
                lanes = np.arange(width, dtype=numpy_dtype(dtype))[None, :]
                return lambda mask: lanes
            case Reduce(op=op):
                return lambda mask, vector: reduce_lanes(op, vector)
            case WorkItem(query=query):
                answer = self._query(query)
                return lambda mask: answer

    def _application(self, node: Apply) -> Callable[..., Array]:
        op, width, operations = node.op, node.width, self.counts.operations
        function = pointwise(op, node.dtype, width)

        def run(mask: Mask, *operands: Array) -> Array:
            operations[op] += mask.count * width
            return function(*operands)

        return run

    def _query(self, query: str) -> Array:
        items = self.items
        answers = {
            "global_id": items.ids, "local_id": items.ids % items.local_size, "group_id": items.groups,
            "global_size": np.array([items.size]), "group_count": np.array([items.epoch.size]),
        }  # fmt: skip
        if query not in answers:
            raise CompilerBug(f"kernel {self.kernel.name}: no work-item query `{query}`")
        return answers[query].astype(np.int64)

    def variable(self, name: str) -> Array:
        if name not in self.variables:
            raise CompilerBug(f"kernel {self.kernel.name}: variable {name} is read before it is bound")
        return self.variables[name]

    def memory(self, name: str) -> Memory:
        if name not in self.memories:
            raise CompilerBug(f"kernel {self.kernel.name}: no buffer {name}")
        return self.memories[name]


def _argument(kernel: Kernel, arguments: Mapping[str, Any], name: str) -> Any:
    if name not in arguments:
        raise CompilerBug(f"kernel {kernel.name}: argument {name} is missing")
    return arguments[name]


def _address(array: Array) -> int:
    return array.__array_interface__["data"][0]
