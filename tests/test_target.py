"""Descriptions of devices in JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lossc.cli.programs import target_of
from lossc.ir.diagnostics import LirError
from lossc.ir.target import GPU_GENERIC, H200, PRESETS, read_device_info


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_reads_back(name: str) -> None:
    device = PRESETS[name]
    assert read_device_info(json.dumps(asdict(device))) == device
    assert read_device_info(json.dumps({"number": 0, **asdict(device), "driver_version": "1"})) == device


def test_like_a_preset() -> None:
    device = read_device_info('{"like": "gpu-generic", "compute_units": 7, "has_f64": true}')
    assert (device.compute_units, device.has_f64, device.lanes) == (7, True, GPU_GENERIC.lanes)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is no JSON"),
        ("[]", "is no object"),
        ('{"like": "h20"}', "no such preset"),
        ('{"like": "h200", "units": 3}', "a field `units`"),
        ('{"like": "h200", "has_f64": 1}', "`has_f64` cannot be 1"),
        ('{"like": "h200", "compute_units": 0}', "`compute_units` cannot be 0"),
        ('{"like": "h200", "vector_width": 3}', "`vector_width` cannot be 3"),
        ('{"like": "h200", "lanes": true}', "`lanes` cannot be True"),
        ('{"like": "h200", "kind": "tpu"}', "`kind` cannot be 'tpu'"),
        ('{"compute_units": 2}', "says nothing of name, platform"),
    ],
)
def test_what_is_no_device(text: str, complaint: str) -> None:
    with pytest.raises(LirError, match=complaint):
        read_device_info(text, "gpu.json")


def test_on_the_command_line(tmp_path: Path) -> None:
    from lossc.cli.app import app

    described, program = tmp_path / "gpu.json", tmp_path / "f.lir"
    described.write_text('{"like": "h200", "compute_units": 3}')
    program.write_text("func @f(%x: f32[N, 100]) -> (f32[N, 100]) {\n  %y = softmax %x {axis = 1}\n  return %y\n}\n")
    assert target_of(str(described)).compute_units == 3
    assert target_of("h200") == H200
    done = CliRunner().invoke(app, ["explain", str(program), "--device", str(described)])
    assert done.exit_code == 0
    assert "strategy row-group" in done.stdout
    assert "kept in registers between the passes" in done.stdout
