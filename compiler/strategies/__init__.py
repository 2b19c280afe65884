"""Strategies: who owns a row, who owns an element, how partial results meet. One file each.

A strategy is a module with three functions; its file name is its name on the command line (`--strategy row-item`):

    applies(fused, device) -> None, or the reason why not
    cost(fused, device) -> work an element of the domain, in no unit: only to compare strategies
    lower(fused, device) -> variants, the last one without a guard

Adding a file adds a strategy: it is found by its name, joins the choice and the agreement tests.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType

from ...ir.diagnostics import CompilerBug, LirError, did_you_mean
from ...ir.program import Variant
from ...ir.target import DeviceInfo
from ..fused import Fused


def strategies() -> Mapping[str, ModuleType]:
    """Every strategy by its command-line name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name.replace("_", "-"): importlib.import_module(f"{__name__}.{name}") for name in names}


def choose(fused: Fused, device: DeviceInfo, forced: str | None = None) -> tuple[str, dict[str, str]]:
    """The cheapest strategy that applies (by name where costs are equal), and why the others were not taken.

    `forced` is taken where it applies. Raises LirError for a name that no strategy has.
    """
    known = strategies()
    if forced is not None and forced not in known:
        raise LirError(f"no strategy `{forced}`", *did_you_mean(forced, known), f"there are {', '.join(known)}")
    refused = {name: reason for name, module in known.items() if (reason := module.applies(fused, device))}
    costs = {name: module.cost(fused, device) for name, module in known.items() if name not in refused}
    if not costs:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise CompilerBug(f"no strategy applies to {fused.name}: {reasons}")
    best = forced if forced in costs else min(costs, key=lambda name: (costs[name], name))
    reasons = {name: f"costs {cost:.2f} against {costs[best]:.2f}" for name, cost in costs.items() if name != best}
    return best, {**refused, **reasons}


def lower_with(name: str, fused: Fused, device: DeviceInfo) -> tuple[Variant, ...]:
    return tuple(strategies()[name].lower(fused, device))
