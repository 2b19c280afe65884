"""Pipelines of passes, and how they are run.

A pass is the function of its own name in the module of that name in `compiler/passes/`: `fuse-nll` on the command
line is `passes.fuse_nll.fuse_nll`. It takes a module and gives a module; some take a `Log` beside it. There is
nothing to register.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache

from ..ir.diagnostics import CompilerBug, LirError, LosscError, did_you_mean
from ..ir.frozen import frozen
from ..ir.function import Module
from ..ir.verify import check_module
from . import passes
from .rewrite import Log

Pass = Callable[..., Module]
Hook = Callable[[str, Module, Module, float], None]


@frozen
class UntilStable:
    """Passes to repeat until a whole turn changes nothing, at most `turns` times."""

    passes: tuple[str, ...]
    turns: int = 8


Step = str | UntilStable

PIPELINES: Mapping[str, tuple[Step, ...]] = {
    # One normal form: what is written differently and means the same, looks the same.
    "simplify": (UntilStable(("canonicalize", "cse", "dce")),),
    # On composites, where the rewrites are plainest: log_softmax then nll_loss is one word, cross_entropy_loss.
    "fuse-composites": ("stabilize", "fuse-nll"),
    # On primitives, for what a user spelled out. Stable forms first: fuse-nll then meets one form of log-softmax, not
    # several. Picking one class of it may bring log and exp together, which is stabilize's again.
    "fuse-primitives": (UntilStable(("canonicalize", "cse", "stabilize", "fuse-nll", "dce")),),
    # After autodiff. lower-activations before the loop, so that cse finds the exponential that loss and gradient
    # share; reassociate and propagate-conditions use each other's results, and cse decides what counts as equal.
    "finish": (
        "drop-markers",
        "lower-activations",
        UntilStable(("canonicalize", "fuse-nll", "cse", "propagate-conditions", "reassociate", "cse", "dce")),
        # Last: the others look for quotients.
        "share-divisors",
    ),
    # Everything before outlining. Stabilizing comes before differentiating: the derivative of a stable form is stable,
    # the stable form of a derivative is hard to find.
    "prepare": (
        "inline",
        "fuse-composites",
        "expand",
        "fuse-primitives",
        "autodiff",
        # Functions with a gradient of their own stayed calls until autodiff had read that.
        "inline",
        "expand",
        "finish",
    ),
}


@cache
def pass_names() -> tuple[str, ...]:
    """The names of all passes, as on the command line. The folder is read once."""
    names = [module.name for module in pkgutil.iter_modules(passes.__path__)]
    return tuple(sorted(name.replace("_", "-") for name in names if not name.startswith("_")))


def find_pass(name: str) -> Pass:
    """The pass of that name. Raises LirError for an unknown one."""
    if name not in pass_names():
        known = [*pass_names(), *PIPELINES]
        raise LirError(f"unknown pass `{name}`", *did_you_mean(name, known), f"passes: {', '.join(pass_names())}",
                       f"pipelines: {', '.join(PIPELINES)}")  # fmt: skip
    identifier = name.replace("-", "_")
    return getattr(importlib.import_module(f"{passes.__name__}.{identifier}"), identifier)


def help_of(name: str) -> str:
    """One line on a pass."""
    return (inspect.getdoc(find_pass(name)) or "").split("\n")[0]


def run_passes(module: Module, names: Iterable[Step], hook: Hook | None = None, log: Log | None = None) -> Module:
    """Run passes and pipelines by name. `module` is sound, and what a pass changes is verified after it;
    `hook(name, before, after, seconds)` sees each; `log` collects what the rewrites did.

    Raises CompilerBug, with the pass and the module that it left, if a pass breaks an invariant.
    """
    steps = list(_flattened(names))
    for step in steps:
        if isinstance(step, UntilStable):
            for _ in range(step.turns):
                before = module
                module = run_passes(module, step.passes, hook, log)
                if module is before:
                    break
        else:
            module = _run_pass(step, module, hook, log)
    return module


def _flattened(steps: Iterable[Step]) -> Iterator[Step]:
    pending = list(steps)[::-1]
    while pending:
        step = pending.pop()
        if isinstance(step, str) and step in PIPELINES:
            pending += PIPELINES[step][::-1]
        else:
            if isinstance(step, str):
                find_pass(step)
            yield step


def _run_pass(name: str, module: Module, hook: Hook | None, log: Log | None) -> Module:
    function = find_pass(name)
    if log is not None:
        log.pass_name = name
    started = time.perf_counter()
    takes_log = "log" in inspect.signature(function).parameters
    after = function(module, log=log) if takes_log else function(module)
    seconds = time.perf_counter() - started
    if after is not module:
        try:
            check_module(after, {op for function in module.functions.values() for op in function.ops})
        except LosscError as error:
            raise CompilerBug(_broken(name, after, error)) from error
    if hook is not None:
        hook(name, module, after, seconds)
    return after


def _broken(name: str, after: Module, error: LosscError) -> str:
    from ..ir.printer import print_module

    return f"the pass {name} broke the module: {error}\nIt left:\n{print_module(after)}"
