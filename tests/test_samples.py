"""The samples run as a user runs them, from another folder."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import lossc
from lossc.runtime.device import Device

SAMPLES = Path(__file__).parents[1] / "samples"
PNG = b"\x89PNG\r\n\x1a\n"


def run_sample(folder: Path, *arguments: str, sample: str = "train_digits") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SAMPLES / f"{sample}.py"), *arguments]
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
     (["--out", "loss.nothing", "--seeds", "0", "--epochs", "1"], "loss.nothing"),
     (["--out", "/proc/loss.png", "--seeds", "0", "--epochs", "1"], "/proc/loss.png"),
     (["--rate", "nan"], "a positive number"), (["--rate", "0"], "a positive number")],
)  # fmt: skip
def test_a_mistake_is_told_without_a_traceback(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run_sample(tmp_path, *arguments)
    # As for the command line: 2 for how it was called, 3 for the device.
    assert done.returncode == (3 if "--device" in arguments else 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sample", "arguments"),
    [("train_digits", ["--epochs", "9999", "--out", "loss.png"]), ("binary", ["--epochs", "999999"])],
)
def test_ctrl_c(tmp_path: Path, sample: str, arguments: list[str]) -> None:
    child = subprocess.Popen(
        [sys.executable, "-u", str(SAMPLES / f"{sample}.py"), *arguments], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline().startswith("device: ")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 130
    assert err.endswith("interrupted\n")
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_custom_loss_ignores_outliers(tmp_path: Path) -> None:
    done = run_sample(tmp_path, sample="custom_loss")
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"(\w+): y = ([\d.]+) x -([\d.]+), \d+ kernels", done.stdout)
    assert [name for name, _, _ in lines] == ["python", "lir"]
    for _, slope, intercept in lines:
        assert float(slope) == pytest.approx(3, abs=0.05)
        assert float(intercept) == pytest.approx(1, abs=0.05)


# What each sample says at its end, as a pattern with numbers, and what they are at least. Each was seen to do better.
ENDS: dict[str, tuple[str, tuple[float, ...]]] = {
    "regression": (r"R\^2 (\S+)", (0.28,)),
    "binary": (r"accuracy (\S+)%, found (\S+)% of the malignant", (94, 90)),
    "multilabel": (r"all four right: (\S+)%", (85,)),
    "segmentation": (r"pixels (\S+)%, intersection over union (\S+)", (95, 0.8)),
    "metric": (r"nearest neighbour in 8 dimensions: (\S+)%", (93,)),
    "distillation": (r"teacher: (\S+)%\nstudent alone: (?:\S+)%\nstudent with the teacher: (\S+)%", (94, 92)),
    "quantiles": (r"inside the bounds: (\S+)% of 89 patients, 0.(\S+) times as wide", (70, 0)),
}


def test_every_sample_is_tested() -> None:
    names = {path.stem for path in SAMPLES.glob("*.py") if not path.name.startswith("_")}
    assert names == {*ENDS, "custom_loss", "train_digits"}


@pytest.mark.parametrize("sample", ENDS)
def test_a_sample_learns(tmp_path: Path, sample: str) -> None:
    done = run_sample(tmp_path, sample=sample)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"device: {lossc.devices()[0]}")
    pattern, least = ENDS[sample]
    found = re.search(pattern, done.stdout)
    assert found is not None, done.stdout
    assert all(float(number) >= limit for number, limit in zip(found.groups(), least)), done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sample", "arguments", "status", "message"),
    [*((name, ["--device", "quantum"], 3, "no OpenCL device answers to `quantum`") for name in (*ENDS, "custom_loss")),
     ("binary", ["--epochs", "0"], 2, "number from 1"), ("binary", ["--seed", "one"], 2, "invalid int value"),
     ("binary", ["--seed", "-1"], 2, "one from 0"), ("binary", ["--sed", "1", "2"], 2, "unrecognized arguments")],
)  # fmt: skip
def test_wrong_arguments_of_samples(
    tmp_path: Path, sample: str, arguments: list[str], status: int, message: str
) -> None:
    done = run_sample(tmp_path, *arguments, sample=sample)
    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
