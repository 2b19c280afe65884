"""Local rewrites: walk a function once, offer every operation to the rules of its name, build the new function.

In: a function and a table from operation name to rules. Out: the rewritten function, the very same object where no
rule fired. A rule is a plain function of the operation (operands already rewritten) and the `Rebuild`; it returns
the values that replace the results, `NoMatch("reason")` for a near miss, or None where it has nothing to say. Its
docstring is its equation and its numeric status:

    exact     the same value, up to the sign of a zero
    rounding  the same real number, rounded differently: where nothing overflows or underflows on the way, the error is
              in the last bits of the largest term. NaN stays NaN, infinity infinite
    extends   rounded differently, and another value where the original was not finite or was clamped; or, where it says
              (overflows), where the new one is not finite, as of numbers near the largest of their type
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ..ir.builder import Builder
from ..ir.composites import make_op
from ..ir.diagnostics import CompilerBug, Span
from ..ir.frozen import frozen
from ..ir.function import Function, Module, Op, Value
from ..ir.ops import PRIMITIVES
from ..ir.tensor import Tensor
from .demanded_bits import Demanded, demanded_in
from .functions import count_readers, has_grad, map_functions, rounds_gradient, with_operands, without_dead

ROUNDS = 16  # new operations are offered to the rules in the next round; real chains of rules take two to five


@frozen
class NoMatch:
    """A rule that nearly fired, and why it did not."""

    reason: str


@frozen
class Event:
    """One rule at one value. `reason` is None where it fired."""

    pass_name: str
    rule: str
    equation: str
    function: str
    value: str
    span: Span | None
    reason: str | None

    def __str__(self) -> str:
        place = f"{self.span}: " if self.span else ""
        outcome = self.equation if self.reason is None else f"no: {self.reason}"
        return f"{place}{self.pass_name}: {self.rule} at %{self.value} of @{self.function}: {outcome}"


@dataclass
class Log:
    """What fired and what nearly did, in order and without repetition: the material of `lossc explain`.

    `pass_name` is set by whoever runs the passes.
    """

    events: dict[Event, None] = field(default_factory=dict)
    pass_name: str = ""

    def add(self, event: Event) -> None:
        self.events[event] = None

    @property
    def fired(self) -> list[Event]:
        return [event for event in self.events if event.reason is None]

    @property
    def missed(self) -> list[Event]:
        """Near misses that no later attempt at the same value mended."""
        done = {(event.rule, event.function, event.value) for event in self.fired}
        return [e for e in self.events if e.reason is not None and (e.rule, e.function, e.value) not in done]


class Rebuild(Builder):
    """The function under construction, as a rule sees it: emit into it, ask it who makes and who reads a value."""

    def __init__(self, function: Function):
        super().__init__()
        self.original = function
        self.inputs = list(function.inputs)
        self.replaced: dict[Value, Value] = {}
        self._producers: dict[Value, Op] = {}

    def append(self, op: Op) -> tuple[Value, ...]:
        self.ops.append(op)
        for result in op.results:
            self._producers[result] = op
        return op.results

    def composite(self, name: str, operands: Sequence[Value], attributes: Mapping[str, Any]) -> tuple[Value, ...]:
        """Emit a composite operation."""
        return self.append(make_op(name, operands, attributes, span=self.span))

    def now(self, value: Value) -> Value:
        """What `value` of the original function is in the new one."""
        return self.replaced.get(value, value)

    def producer(self, value: Value) -> Op | None:
        """The operation of the new function that makes `value`; None for inputs."""
        return self._producers.get(value)

    def match(self, value: Value, *names: str) -> Op | None:
        """The operation that makes `value`, if its name is one of `names`."""
        op = self._producers.get(value)
        return op if op is not None and op.name in names else None

    def chain(self, value: Value, *names: str) -> list[Op] | None:
        """The operations of these names that make `value`, each the first operand of the one before it: those of
        log(sum(exp(x))) are "log", "reduce_sum", "exp". None if one of them is another."""
        found: list[Op] = []
        for name in names:
            op = self._producers.get(found[-1].operands[0] if found else value)
            if op is None or op.name != name:
                return None
            found.append(op)
        return found

    def used_once(self, value: Value) -> bool:
        """Whether one place reads `value`, in the original function or instead of a value that it replaces. False
        for what else was made in this round."""
        return self._counts.get(value) == 1

    def rounds_gradient(self, op: Op) -> bool:
        """Whether a gradient that is still to be taken will be rounded where it passes `op`."""
        return rounds_gradient(op) and self._is_differentiated

    def replace(self, old: Value, new: Value, made_now: bool) -> None:
        """Read `new` wherever the original function reads `old`."""
        self.replaced[old] = new
        if made_now:
            self._counts[new] = self._counts.get(old, 0)

    def readers(self, value: Value) -> list[Op]:
        """The operations of the original function that read `value`, as they were there."""
        return self._readers.get(value, [])

    def shows_rounding(self, value: Value) -> bool:
        """Whether a last bit of `value`, of the original function, decides what is computed of it."""
        return value in self._demanded.rounding

    def shows_sign(self, value: Value) -> bool:
        """The same of a sum or difference, whose sign a rounding may change."""
        return value in self._demanded.sign

    # What few rules ask is found out when one does.

    @cached_property
    def _is_differentiated(self) -> bool:
        return has_grad(self.original)

    @cached_property
    def _counts(self) -> dict[Value, int]:
        return count_readers(self.original)

    @cached_property
    def _readers(self) -> Mapping[Value, list[Op]]:
        return self.original.users()

    @cached_property
    def _demanded(self) -> Demanded:
        return demanded_in(self.original)

    def tensors(self, *values: Value) -> tuple[Tensor, ...]:
        return tuple(Tensor(value, self) for value in values)

    def take_back(self, length: int) -> None:
        """Forget what was emitted after the first `length` operations."""
        for op in self.ops[length:]:
            for result in op.results:
                del self._producers[result]
        del self.ops[length:]


Replacement = Value | Tensor | tuple[Value, ...]
Rule = Callable[[Op, Rebuild], "Replacement | NoMatch | None"]
Rules = Mapping[str, Sequence[Rule]]


def rewrite(function: Function, rules: Rules, log: Log | None = None) -> Function:
    """Apply `rules` until none fires, at most ROUNDS times; dead operations go."""
    for _ in range(ROUNDS):
        rewritten = _round(function, rules, log)
        if rewritten is function:
            break
        function = without_dead(rewritten)
    return function


def rewrite_module(module: Module, rules: Rules, log: Log | None = None) -> Module:
    return map_functions(module, lambda function: rewrite(function, rules, log))


def _round(function: Function, rules: Rules, log: Log | None) -> Function:
    build = Rebuild(function)
    replaced = build.replaced
    fired = False
    for op in function.ops:
        if replaced:
            op = with_operands(op, tuple([replaced.get(operand, operand) for operand in op.operands]))
        if op.name in rules:
            length = len(build.ops)
            replacement = _first_match(op, rules[op.name], build, log)
            if replacement is not None:
                fired = True
                made = set(build.ops[length:])
                for old, new in zip(op.results, replacement):
                    build.replace(old, new, made_now=build.producer(new) in made)
                continue
        build.append(op)
    if not fired:
        return function
    return function.with_(ops=tuple(build.ops), outputs=tuple(map(build.now, function.outputs)))


def _first_match(op: Op, rules: Iterable[Rule], build: Rebuild, log: Log | None) -> tuple[Value, ...] | None:
    length = len(build.ops)
    build.span = op.span
    for rule in rules:
        answer = rule(op, build)
        if answer is None or isinstance(answer, NoMatch):
            if len(build.ops) > length:
                build.take_back(length)
            if answer is not None and log is not None:
                log.add(_event(log, rule, op, build.original, answer.reason))
            continue
        values = _values(answer)
        if [value.type for value in values] != [result.type for result in op.results]:
            found = ", ".join(str(value.type) for value in values)
            expected = ", ".join(str(result.type) for result in op.results)
            raise CompilerBug(f"the rule {_name(rule)} makes {found} of a `{op.name}` of {expected}", span=op.span)
        if log is not None:
            log.add(_event(log, rule, op, build.original, None))
        # What a rule finds instead of making it may have other readers by now, and keeps its name.
        return tuple([
            named_like(value, result, build) if len(build.ops) > length else value
            for value, result in zip(values, op.results)
        ])  # fmt: skip
    return None


def _values(answer: Replacement) -> tuple[Value, ...]:
    if isinstance(answer, Tensor):
        return (answer.value,)
    return (answer,) if isinstance(answer, Value) else answer


def named_like(value: Value, replaced: Value, build: Rebuild) -> Value:
    """`value` under the name that it replaces, if it was made just now and only the replaced one has a given name."""
    op = build.ops[-1] if build.ops else None
    if op is None or len(op.results) != 1 or op.result is not value or value.name != op.name:
        return value
    if replaced.name in PRIMITIVES:
        return value
    named = Value(replaced.name, value.type, value.span)
    build.take_back(len(build.ops) - 1)
    build.append(replace(op, results=(named,)))
    return named


def _name(rule: Rule) -> str:
    return getattr(rule, "__name__", str(rule)).lstrip("_")


def _event(log: Log, rule: Rule, op: Op, function: Function, reason: str | None) -> Event:
    equation = (inspect.getdoc(rule) or "").split("\n")[0]
    value = op.results[0].name if op.results else op.name
    return Event(log.pass_name, _name(rule).replace("_", " "), equation, function.name, value, op.span, reason)
