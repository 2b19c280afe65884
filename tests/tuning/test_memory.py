"""What was measured, on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from lossc.compiler.decisions import Candidate, Decision
from lossc.ir.parser import parse
from lossc.ready import Asked
from lossc.runtime.device import Device
from lossc.tuning import memory
from lossc.tuning.memory import (
    copy_key,
    kernel_key,
    program_key,
    recall,
    recall_decisions,
    remember,
    remember_decisions,
    remembered,
    share_key,
    write,
)
from lossc.tuning.search import Outcome

CANDIDATES = (Candidate("row-item"), Candidate("row-item", (("vector_width", 8),)), Candidate("row-lanes"))
OUTCOME = Outcome(0.002, ((CANDIDATES[0], 1.0), (CANDIDATES[1], 0.5), (CANDIDATES[2], None)))
KEY = "0" * 64
EXP, LOG = (parse(f"func @f(%x: f32[N]) -> (f32[N]) {{ %y = {op} %x\n return %y }}").entry for op in ("exp", "log"))


def entry(cache: Path) -> Path:
    (path,) = cache.glob("??/*")
    return path


def test_what_is_remembered_is_recalled() -> None:
    assert recall(KEY, CANDIDATES) is None
    remember(KEY, OUTCOME)
    assert recall(KEY, CANDIDATES) == OUTCOME


def test_what_was_cut_off_is_remembered_as_such() -> None:
    begun = Outcome(0.002, OUTCOME.tried[:2], complete=False)
    remember(KEY, begun)
    assert recall(KEY, CANDIDATES) == begun


def test_what_is_no_candidate_any_more_is_forgotten() -> None:
    remember(KEY, OUTCOME)
    assert recall(KEY, CANDIDATES[:1]) is None
    assert recall(KEY, CANDIDATES[::-1]) is None


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "a bit": lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
    "text": lambda data: b'{"strategy": "row-item"}',
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_none_and_is_written_anew(cache: Path, damage: Callable[[bytes], bytes]) -> None:
    remember(KEY, OUTCOME)
    path = entry(cache)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert recall(KEY, CANDIDATES) is None
    remember(KEY, OUTCOME)
    assert path.read_bytes() == whole


FACTS = {"usual_seconds": 0.002, "complete": True, "tried": [["row-item", {}, 1.0]]}


@pytest.mark.parametrize("facts", [
    {}, {"strategy": "row-item"}, {**FACTS, "tried": []}, {**FACTS, "tried": [["row-item", {}]]},
    {**FACTS, "tried": [["row-item", {}, 0.5]]}, {**FACTS, "complete": "yes"},
    {**FACTS, "tried": [*FACTS["tried"], ["row-item", {"vector_width": 8}, "fast"]]},
], ids=range(7))  # fmt: skip
def test_an_entry_that_says_something_else_is_none(facts: dict[str, object]) -> None:
    write(KEY, facts)
    assert remembered(KEY) == facts
    assert recall(KEY, CANDIDATES) is None


def test_nothing_is_kept_where_caches_are_off(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSSC_CACHE", "0")
    remember(KEY, OUTCOME)
    assert not cache.exists()
    assert recall(KEY, CANDIDATES) is None


def test_keys(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes from one power of two to the next are one class; anything else makes another key."""
    key = kernel_key(device, EXP, {"N": 1024}, CANDIDATES)
    assert key == kernel_key(device, EXP, {"N": 2047}, CANDIDATES)
    others = [
        kernel_key(device, EXP, {"N": 2048}, CANDIDATES), kernel_key(device, LOG, {"N": 1024}, CANDIDATES),
        kernel_key(device, EXP, {"N": 1024}, CANDIDATES[:2]), copy_key(device, 1024), copy_key(device, 2048),
        share_key(device, key, [key]), share_key(device, key, [key, "another"]),
    ]  # fmt: skip
    other = Device(device.handle)
    other.info = dataclasses.replace(device.info, shared_pointers=not device.info.shared_pointers)
    others.append(kernel_key(other, EXP, {"N": 1024}, CANDIDATES))
    monkeypatch.setattr(memory, "own_files", lambda: "another compiler")
    others.append(kernel_key(device, EXP, {"N": 1024}, CANDIDATES))
    assert len({key, *others}) == 10


def test_decisions_are_recalled_as_they_were() -> None:
    assert recall_decisions(KEY) is None
    for decisions in ({}, {"f_0": Decision(CANDIDATES[1], "measurement"), "f_1": Decision(CANDIDATES[2], "so")}):
        remember_decisions(KEY, decisions)
        assert recall_decisions(KEY) == decisions


@pytest.mark.parametrize("facts", [
    {}, FACTS, {"decisions": None}, {"decisions": {"f_0": None}}, {"decisions": {"f_0": ["row-item", {}]}},
    {"decisions": {"f_0": ["row-item", {}, "why"], "f_1": ["row-item", 1, "why"]}},
])  # fmt: skip
def test_decisions_of_another_form_count_as_none(facts: dict[str, object]) -> None:
    write(KEY, facts)
    assert recall_decisions(KEY) is None


def test_a_program_is_told_from_others_and_from_itself_elsewhere(device: Device) -> None:
    asked = [Asked(parse(f"func @f(%x: f32[N]) -> (f32[N]) {{ %y = {op} %x\n return %y }}"), device.info)
             for op in ("exp", "log")]  # fmt: skip
    keys = [program_key(device, one, {"N": size}, kernels)
            for one in (*asked, dataclasses.replace(asked[0], strategy="row-item"))
            for size in (70, 200) for kernels in (["f_0"], ["f_0", "f_1"])]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert program_key(device, asked[0], {"N": 100}, ["f_0"]) == keys[0]
