"""Who calls whom: an order in which callees come first, and the rule that nobody calls itself.

In: a `Module`. Out: its functions callees first, or the diagnostics of recursion and of calls that would
unfold to too many operations. No step recurses, however long a chain of calls is.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

from .diagnostics import LirError
from .function import Function, Module

Node = TypeVar("Node", bound=Hashable)

MOST_OPERATIONS = 1_000_000


def callees_first(module: Module) -> list[Function]:
    """The functions of a module, after those that each calls or launches. Raises LirError for recursion."""
    order, cycle = depth_first(_calls(module))
    if cycle:
        raise _recursion(module, cycle)
    return [module.functions[name] for name in order]


def call_errors(module: Module) -> Iterator[LirError]:
    """Recursion, or a function that would be too large once its calls are inlined."""
    order, cycle = depth_first(_calls(module))
    if cycle:
        yield _recursion(module, cycle)
        return
    sizes: dict[str, int] = {}
    for name in order:
        function = module.functions[name]
        inlined = (str(op.attributes.get("callee")) for op in function.ops if op.name == "call")
        # Doubling calls double the size: it is cut off before it becomes a number of many digits.
        size = len(function.ops) + sum(sizes.get(callee, 0) for callee in inlined)
        sizes[name] = min(size, MOST_OPERATIONS + 1)
        if size > MOST_OPERATIONS:
            yield LirError(
                f"@{name} has more than {MOST_OPERATIONS:,} operations, those of its calls included",
                span=function.span,
                code="LIR0013",
            )
            return


def depth_first(successors: Mapping[Node, Sequence[Node]]) -> tuple[list[Node], list[Node] | None]:
    """The nodes with successors first, and the nodes of a cycle if there is one (the order is then partial).

    Successors that are not nodes are passed over.
    """
    order: list[Node] = []
    finished: set[Node] = set()
    for root in successors:
        path: dict[Node, Iterator[Node]] = {} if root in finished else {root: iter(successors[root])}
        while path:
            node = next(reversed(path))
            following = next((s for s in path[node] if s in successors and s not in finished), None)
            if following is None:
                path.popitem()
                finished.add(node)
                order.append(node)
            elif following in path:
                nodes = list(path)
                return order, nodes[nodes.index(following) :]
            else:
                path[following] = iter(successors[following])
    return order, None


def _calls(module: Module) -> dict[str, list[str]]:
    return {
        name: list(dict.fromkeys(str(op.attributes["callee"]) for op in function.ops if "callee" in op.attributes))
        for name, function in module.functions.items()
    }


def _recursion(module: Module, cycle: Sequence[str]) -> LirError:
    name, callee = cycle[-1], cycle[0]
    span = next(op.span for op in module.functions[name].ops if op.attributes.get("callee") == callee)
    way = " calls ".join(f"@{step}" for step in [*cycle, callee])
    return LirError(f"recursion: {way}", "calls are inlined, so a function cannot call itself", span=span,
                    code="LIR0042")  # fmt: skip
