"""Tuned programs, ready to run: where the search is over, with the choices that an earlier process left on disk and
without a pass of the compiler; else by the tuner.

In: an untuned program, a device, inputs and sizes. Out: the same program, tuned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lossc.ready import Ready, found_or_made
from lossc.runtime.device import Device
from lossc.runtime.execute import Given

from .kernels import kernels_in_turn
from .memory import program_key, recall_decisions, remember_decisions


def tuned_program(untuned: Ready, device: Device, given: Sequence[Given], sizes: Mapping[str, int]) -> Ready:
    """The same program with measured choices. `given` are its inputs in order, `sizes` those of its dimension names.

    Raises CheckFailed where the inputs break a rule of the program and nothing is remembered of it.
    """
    names = kernels_in_turn(untuned.program, sizes)
    if not names:
        return untuned
    asked = replace(untuned.asked, decisions={})
    key = program_key(device, asked, sizes, names)
    decisions = recall_decisions(key)
    if decisions is not None:
        asked = replace(asked, decisions=decisions)
        return found_or_made(asked, asked.compiled)
    from .tuner import tune

    tuned = tune(untuned.levels, device, given, sizes)
    asked = replace(asked, decisions=tuned.decisions)
    if not tuned.final:
        # The next process goes on, perhaps to other decisions.
        return Ready.of(tuned.compiled, asked)
    remember_decisions(key, tuned.decisions)
    return found_or_made(asked, lambda: tuned.compiled)
