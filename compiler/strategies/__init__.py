"""Strategies: who owns a row, who owns an element, how partial results meet. One file each.

A strategy is a module with three functions; its file name is its name on the command line (`--strategy row-item`):

    applies(fused, device) -> None, or the reason why not
    cost(fused, device) -> work an element of the domain, in no unit: only to compare strategies
    lower(fused, device) -> variants, the last one without a guard

`STORES_ONCE = True` beside them says: each element of a result is stored once, by the work-item that has read the
elements of elementwise operands at that place before, and nobody reads those elsewhere. So it may take their memory.

`MULTIPLIES = True` says: it is for kernels with a matrix product, and for no others.

`SUMS_ACROSS = ("cpu",)` says: on devices of these kinds it can do sums across the rows (`Schedule.across`), as
`fusion/across.py` lets them be.

Adding a file adds a strategy: it is found by its name, joins the choice, the tuner's candidates and the agreement
tests. One that reads figures of its own by `fused.setting(name, figure)` may say which others are worth measuring:

    candidates(fused, device) -> settings, each a mapping of names to integers
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from types import ModuleType

from ...ir.diagnostics import CompilerBug, Limitation, LirError, did_you_mean
from ...ir.program import Variant
from ...ir.target import DeviceInfo
from ..decisions import Candidate
from ..fused import Fused
from ..guards import taken

HOPELESS = 8.0
"""A strategy whose cost is so many times that of the cheapest is not worth measuring."""


@cache
def strategies() -> Mapping[str, ModuleType]:
    """Every strategy by its command-line name. The folder is read once."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name.replace("_", "-"): importlib.import_module(f"{__name__}.{name}") for name in names}


def costs(fused: Fused, device: DeviceInfo) -> tuple[dict[str, float], dict[str, str]]:
    """What each strategy that applies costs, and why the others do not apply."""
    known = strategies()
    refused = {name: reason for name, module in known.items() if (reason := _refusal(module, fused, device))}
    return {name: module.cost(fused, device) for name, module in known.items() if name not in refused}, refused


def _refusal(strategy: ModuleType, fused: Fused, device: DeviceInfo) -> str | None:
    multiplies = fused.schedule.matmul is not None
    if multiplies != getattr(strategy, "MULTIPLIES", False):
        return "it has a matrix product" if multiplies else "it has no matrix product"
    if fused.schedule.across and device.kind not in getattr(strategy, "SUMS_ACROSS", ()):
        return "it sums across rows"
    return strategy.applies(fused, device)


def sums_across(device: DeviceInfo) -> bool:
    """Whether the device has a strategy for kernels that sum across their rows."""
    return any(device.kind in getattr(strategy, "SUMS_ACROSS", ()) for strategy in strategies().values())


def choose(fused: Fused, device: DeviceInfo, forced: str | None = None) -> tuple[str, dict[str, str]]:
    """The cheapest strategy that applies (by name where costs are equal), and why the others were not taken.

    `forced` is taken where it applies. Raises LirError for a name that no strategy has, Limitation for a device too
    small for all of them: on a CPU there always is one.
    """
    known = strategies()
    if forced is not None and forced not in known:
        raise LirError(f"no strategy `{forced}`", *did_you_mean(str(forced), known), f"there are {', '.join(known)}")
    found, refused = costs(fused, device)
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        if device.kind != "cpu":
            raise Limitation(f"no strategy for {fused.name} applies on this device: {reasons}",
                             "compile for another device, such as a CPU: --device cpu")  # fmt: skip
        raise CompilerBug(f"no strategy applies to {fused.name}: {reasons}")
    best = forced if forced in found else _cheapest(found)[0]
    reasons = {name: f"costs {cost:.2f} against {found[best]:.2f}" for name, cost in found.items() if name != best}
    return best, {**refused, **reasons}


def _cheapest(found: Mapping[str, float]) -> list[str]:
    return sorted(found, key=lambda name: (found[name], name))


def candidates(fused: Fused, device: DeviceInfo, forced: str | None = None) -> tuple[Candidate, ...]:
    """What is worth measuring for a fused kernel: first what `choose` takes, then the other strategies as they are, the
    cheapest first, then other settings of each, in turn. Some may come out as the same program."""
    best, _ = choose(fused, device, forced)
    found, _ = costs(fused, device)
    limit = HOPELESS * min(found.values())
    others = [] if best == forced else [name for name in _cheapest(found) if name != best and found[name] <= limit]
    names = [best, *others]
    turns = [_settings(name, fused, device) for name in names]
    # Differences between strategies are the large ones.
    in_turn = [
        Candidate(name, tuple(sorted(settings[place].items())))
        for place in range(max(map(len, turns)))
        for name, settings in zip(names, turns)
        if place < len(settings)
    ]
    return tuple(dict.fromkeys([*map(Candidate, names), *in_turn]))


def _settings(name: str, fused: Fused, device: DeviceInfo) -> list[Mapping[str, int]]:
    """A strategy's own, and what any strategy may be told of the device."""
    own = getattr(strategies()[name], "candidates", None)
    told: list[Mapping[str, int]] = [*(own(fused, device) if own is not None else ())]
    if device.nontemporal_stores:
        told.append({"nontemporal_stores": 0})
    if device.kind == "cpu":
        told += [{"compute_units": 4 * device.compute_units}, {"vector_width": max(1, device.vector_width // 2)}]
    return told


def stores_once(name: str) -> bool:
    return getattr(strategies()[name], "STORES_ONCE", False)


def lower_with(candidate: Candidate, fused: Fused, device: DeviceInfo) -> tuple[Variant, ...]:
    """The variants of a fused kernel by a strategy with its settings, but those that no sizes take."""
    facts = {field.name for field in fields(DeviceInfo)}
    own = {name: value for name, value in candidate.settings if name not in facts}
    told = {name: type(getattr(device, name))(value) for name, value in candidate.settings if name in facts}
    # What is known of a kernel hangs on its settings nowhere, but the object that remembers it.
    fused = replace(fused, settings=own) if own else fused
    return taken(strategies()[candidate.strategy].lower(fused, replace(device, **told)))
