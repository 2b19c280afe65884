"""`lossc devices`, `lossc ops`, `--version`, `--help`."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest

from lossc.cli.app import COMMANDS
from lossc.ir.composites import COMPOSITES
from lossc.ir.ops import PRIMITIVES
from lossc.runtime.device import devices, select

Command = Callable[..., Any]


def test_devices_are_listed_with_the_default(lossc: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    found = devices()
    for number, device in enumerate(found):
        monkeypatch.setenv("LOSSC_DEVICE", str(number))
        done = lossc("devices")
        assert done.status == 0
        rows = done.out.splitlines()[1:]
        assert len(rows) == len(found)
        assert device.info.name in rows[number]
        assert [row.split()[0].endswith("*") for row in rows] == [other == number for other in range(len(found))]


def test_devices_as_json(lossc: Command) -> None:
    listed = json.loads(lossc("devices", "--json").out)
    assert [(entry["number"], entry["name"]) for entry in listed] == [
        (number, device.info.name) for number, device in enumerate(devices())
    ]
    assert listed[0]["vector_width"] == devices()[0].info.vector_width
    assert select() in devices()


def test_every_operation_is_listed(lossc: Command) -> None:
    done = lossc("ops")
    assert done.status == 0
    words = {line.split()[0] for line in done.out.splitlines()[1:]}
    assert words == {*PRIMITIVES, *COMPOSITES}
    listed = json.loads(lossc("ops", "--json").out)
    assert {entry["name"] for entry in listed} == words
    assert all(entry["help"] for entry in listed)


@pytest.mark.parametrize("name", [*COMPOSITES, *PRIMITIVES])
def test_every_operation_is_described(lossc: Command, name: str) -> None:
    definition = PRIMITIVES.get(name) or COMPOSITES[name]
    done = lossc("ops", name)
    assert done.status == 0
    assert definition.help in done.out
    facts = json.loads(lossc("ops", name, "--json").out)
    assert facts["primitive"] == (name in PRIMITIVES)
    for attribute in definition.attributes:
        if attribute != "operands":
            assert f"  {attribute}: " in done.out
            assert attribute in [entry["name"] for entry in facts["attributes"]]


def test_a_loss_is_described_in_full(lossc: Command) -> None:
    found = lossc("ops", "cross_entropy_loss").out
    for field in ("Formula", "Shapes", "Rules", "Gradient", "Kink", "Source"):
        assert f"\n{field}: " in found
    assert "A label out of range refuses the run" in found


def test_the_operands_of_an_operation(lossc: Command) -> None:
    facts = json.loads(lossc("ops", "cross_entropy_loss", "--json").out)
    assert [(entry["name"], entry["optional"]) for entry in facts["operands"]] == [
        ("logits", False),
        ("target", False),
        ("weight", True),
    ]
    smoothing = next(entry for entry in facts["attributes"] if entry["name"] == "label_smoothing")
    assert smoothing == {"name": "label_smoothing", "kind": "float", "required": False, "default": 0.0}


def test_a_device_that_is_not_there_hides_none_of_those_that_are(
    lossc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("LOSSC_DEVICE", "nonsense")
    done = lossc("devices")
    assert done.status == 0
    assert devices()[0].info.name in done.out
    assert "*" not in done.out
    assert "no OpenCL device answers to LOSSC_DEVICE=nonsense: unset LOSSC_DEVICE" in done.err
    assert len(json.loads(lossc("devices", "--json").out)) == len(devices())


@pytest.mark.parametrize("name", ["mean", "reduce_mean"])
def test_a_mean_is_explained(lossc: Command, name: str) -> None:
    done = lossc("ops", name)
    assert done.status == 1
    assert "a mean is reduce_sum, then div by the size" in done.err
    assert "reduce_min" not in done.err


def test_an_unknown_operation(lossc: Command) -> None:
    done = lossc("ops", "mse_los")
    assert done.status == 1
    assert "did you mean `mse_loss`?" in done.err


def test_the_version(lossc: Command) -> None:
    assert lossc("--version").out == f"lossc {metadata.version('lossc')}\n"


def test_help_has_an_example_for_every_command(lossc: Command) -> None:
    overview = lossc("--help")
    assert overview.status == 0
    for command, example in COMMANDS:
        name = command.__name__
        assert f"  {name} " in overview.out
        done = lossc(name, "--help")
        assert done.status == 0
        assert f"Example: {example}" in " ".join(done.out.split())
        assert example.startswith(f"lossc {name} ")
