"""The samples run as a user runs them, from another folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import lossc
from lossc.runtime.device import Device

SAMPLES = Path(__file__).parents[1] / "samples"
PNG = b"\x89PNG\r\n\x1a\n"


def run_sample(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SAMPLES / "train_digits.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300)


def test_digits_are_learnt(tmp_path: Path, device: Device) -> None:
    number = next(i for i, other in enumerate(lossc.devices()) if other.key == device.key)
    arguments = ["--seeds", "0", "3", "--epochs", "8", "--device", str(number), "--out", "loss.png"]
    done = run_sample(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert f"device: {device}" in done.stdout
    accuracies = [float(text) for text in re.findall(r"seed \d: accuracy ([\d.]+)%", done.stdout)]
    assert len(accuracies) == 2
    assert min(accuracies) > 95
    assert re.search(r"median accuracy [\d.]+% on 360 images", done.stdout)
    assert "16/16" in done.stderr
    assert (tmp_path / "loss.png").read_bytes().startswith(PNG)
    assert [path.name for path in tmp_path.iterdir()] == ["loss.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--device", "quantum"], "no OpenCL device answers to `quantum`"), (["--epochs", "0"], "numbers from 1"),
     (["--out", "missing/loss.png", "--seeds", "0", "--epochs", "1"], "missing"),
     (["--out", "loss.nothing", "--seeds", "0", "--epochs", "1"], "loss.nothing")],
)  # fmt: skip
def test_a_mistake_is_told_without_a_traceback(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run_sample(tmp_path, *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_custom_loss_ignores_outliers(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SAMPLES / "custom_loss.py")], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"(\w+): y = ([\d.]+) x -([\d.]+), \d+ kernels", done.stdout)
    assert [name for name, _, _ in lines] == ["python", "lir"]
    for _, slope, intercept in lines:
        assert float(slope) == pytest.approx(3, abs=0.05)
        assert float(intercept) == pytest.approx(1, abs=0.05)
