"""What was measured, on disk beside the cache of built programs: a file a fused kernel, and one a program that nothing
is left to measure of. Damaged ones count as none.

In: a key of everything that a time depends on. Out: what was found under it. `LOSSC_CACHE=0` switches this off, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

from lossc.compiler.decisions import Candidate, Decision
from lossc.ir.function import Function
from lossc.ir.printer import print_function
from lossc.ready import Asked, own_files
from lossc.runtime.cache import Cache, cache_enabled, cache_folder, cache_key
from lossc.runtime.device import Device

from .search import Outcome

FOLDER = "tuning"
LIMIT = 16 * 1024 * 1024


def kernel_key(
    device: Device, kernel: Function, sizes: Mapping[str, int], candidates: Sequence[Candidate]
) -> str:  # fmt: skip
    """The name of what is known of a fused kernel at sizes of a class."""
    return _key(device, ["kernel", print_function(kernel), *class_of(sizes), "candidates", *map(str, candidates)])


def class_of(sizes: Mapping[str, int]) -> tuple[str, ...]:
    """The class of some sizes: each between two powers of two."""
    return tuple(f"{name} {size.bit_length()}" for name, size in sorted(sizes.items()))


def share_key(device: Device, kernel: str, others: Iterable[str]) -> str:
    """The name of what part a kernel has in the time of a program with these others, each by its `kernel_key`."""
    return _key(device, ["share", kernel, *others])


def program_key(device: Device, untuned: Asked, sizes: Mapping[str, int], kernels: Iterable[str]) -> str:
    """The name of what was decided for a program at sizes of a class where these kernels run one by one."""
    return _key(device, ["program", *untuned.in_words(), "sizes", *class_of(sizes), "kernels", *kernels])


def copy_key(device: Device, nbytes: int) -> str:
    """The name of a copy's time. Another compiler makes the same of so small a kernel."""
    return cache_key(["copy", metadata.version("lossc"), device.key, repr(device.info), str(nbytes)])


def _key(device: Device, parts: Iterable[str]) -> str:
    return cache_key([metadata.version("lossc"), own_files(), device.key, repr(device.info), *parts])


def recall(key: str, candidates: Sequence[Candidate]) -> Outcome | None:
    """What was found under a key, if it is of these candidates."""
    match remembered(key):
        case {"usual_seconds": float(usual), "complete": bool(complete), "tried": [_, *_] as entries}:
            tried = [_tried(entry) for entry in entries]
            known = [pair for pair in tried if pair is not None]
            if [candidate for candidate, _ in known] == list(candidates[: len(tried)]) and known[0][1] == 1.0:
                return Outcome(usual, tuple(known), complete)
    return None


def _tried(entry: Any) -> tuple[Candidate, float | None] | None:
    match entry:
        case [str(strategy), dict(settings), float() | None as ratio]:
            return Candidate(strategy, tuple(sorted(settings.items()))), ratio
    return None


def remember(key: str, outcome: Outcome) -> None:
    """Write what a search found. One that was cut off goes on from there in the next process."""
    tried = [[candidate.strategy, dict(candidate.settings), ratio] for candidate, ratio in outcome.tried]
    write(key, {"usual_seconds": outcome.usual_seconds, "complete": outcome.complete, "tried": tried})


def recall_decisions(key: str) -> dict[str, Decision] | None:
    """What was decided for the kernels of a program, by their names."""
    match remembered(key):
        case {"decisions": dict(entries)}:
            decisions = {name: decision for name, entry in entries.items() if (decision := _decision(entry))}
            return decisions if len(decisions) == len(entries) else None
    return None


def _decision(entry: Any) -> Decision | None:
    match entry:
        case [str(strategy), dict(settings), str(why)]:
            return Decision(Candidate(strategy, tuple(sorted(settings.items()))), why)
    return None


def remember_decisions(key: str, decisions: Mapping[str, Decision]) -> None:
    entries = {name: [d.candidate.strategy, dict(d.candidate.settings), d.why] for name, d in decisions.items()}
    write(key, {"decisions": entries})


def remembered(key: str) -> Any:
    """The JSON under a key, None where there is none that can be read."""
    found = Cache(cache_folder(FOLDER), LIMIT).get(key) if cache_enabled() else None
    try:
        return None if found is None else json.loads(found)
    except ValueError:
        return None


def write(key: str, facts: Mapping[str, Any]) -> None:
    if cache_enabled():
        Cache(cache_folder(FOLDER), LIMIT).put(key, json.dumps(facts).encode())
