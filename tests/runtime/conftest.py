"""Every OpenCL device of this machine, and children with an environment of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lossc.runtime.device import Device, devices

# What decides which drivers are found and where caches lie; children start without it.
STEERING = (
    "OCL_ICD_VENDORS",
    "LOSSC_DEVICE",
    "LOSSC_CACHE",
    "LOSSC_CACHE_DIR",
    "POCL_CACHE_DIR",
    "POCL_KERNEL_CACHE",
)

Child = Callable[..., Any]

# Test modules import pyopencl: this comes first, so that it is loaded as lossc loads it.
FOUND = devices()
assert FOUND, "the tests need an OpenCL device: pip install 'lossc[cpu]'"


@pytest.fixture(params=FOUND, ids=[found.info.platform for found in FOUND])
def device(request: pytest.FixtureRequest) -> Device:
    """Here every device there is, and not only those that the other tests run on."""
    return request.param


@pytest.fixture
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, empty at first."""
    monkeypatch.setenv("LOSSC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("LOSSC_CACHE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def child(tmp_path: Path) -> Child:
    """Runs code in a fresh Python; what its last line prints as JSON is the result."""

    def run(code: str, **environment: str) -> Any:
        plain = {name: value for name, value in os.environ.items() if name not in STEERING}
        plain |= {"LOSSC_CACHE_DIR": str(tmp_path / "child-cache"), "XDG_CACHE_HOME": str(tmp_path / "xdg")}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=plain | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout.splitlines()[-1])

    return run
