"""Tuning without what earlier tests found, on one device."""

from __future__ import annotations

from pathlib import Path

import pytest
from tuning.examples import CROSS_ENTROPY

from lossc.compiler import Compiled, compile_module
from lossc.ir.parser import parse
from lossc.runtime.device import Device, select
from lossc.tuning import tuner
from lossc.tuning.memory import FOLDER


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, built_programs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "programs").symlink_to(built_programs)
    monkeypatch.setenv("LOSSC_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("LOSSC_CACHE", raising=False)
    monkeypatch.delenv("LOSSC_TUNE", raising=False)
    return tmp_path / FOLDER


@pytest.fixture
def endless_copy_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is as fast as a copy: all candidates are tried."""
    monkeypatch.setattr(tuner, "copy_seconds", lambda *arguments: 0.0)


@pytest.fixture
def device() -> Device:
    """One is enough: what runs on which device is tested elsewhere, and here a program is built ten times."""
    return select()


@pytest.fixture
def compiled(device: Device) -> Compiled:
    return compile_module(parse(CROSS_ENTROPY), device.info)
