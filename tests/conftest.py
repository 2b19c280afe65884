"""What all tests share: .lir files as tests, `--bless`, and the OpenCL devices."""

from __future__ import annotations

import dataclasses
import os
import random
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import lirtest
import numpy as np
import pytest

from lossc.ir.diagnostics import DeviceError, LosscError

if TYPE_CHECKING:
    from lossc.runtime.build import BuiltProgram
    from lossc.runtime.device import Device


# Every run tries the same, on any machine, at any speed.
hypothesis.settings.register_profile("same", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("same")

WRITTEN = "written"
"""What the reports of a test call the .expect file that it wrote."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bless", action="store_true", help="run the .lir tests alone, and write their .expect files anew"
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    whole = config.args_source == pytest.Config.ArgsSource.TESTPATHS
    return "collecting thousands of tests takes half a minute, then each is a dot" if whole else None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # Other tests have nothing to write.
    return True if collection_path.suffix == ".py" and config.getoption("--bless") else None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".lir" and not file_path.name.startswith("_"):
        return LirFile.from_parent(parent, path=file_path)
    return None


class LirFile(pytest.File):
    """One .lir file, which is one test."""

    def collect(self) -> Iterator[LirItem]:
        try:
            test = lirtest.find(self.path, bool(self.config.getoption("--bless")))
        except lirtest.Mismatch as error:
            raise self.CollectError(str(error)) from None
        if test is not None:
            yield LirItem.from_parent(self, name=test.command, test=test)


class LirItem(pytest.Item):
    def __init__(self, *, test: lirtest.LirTest, **arguments: object) -> None:
        super().__init__(**arguments)  # type: ignore[arg-type]
        self.test = test

    def runtest(self) -> None:
        before = self._expectation()
        lirtest.run(self.test)
        if self._expectation() != before:
            self.user_properties.append((WRITTEN, os.path.relpath(self.test.expectation)))

    def _expectation(self) -> bytes | None:
        return self.test.expectation.read_bytes() if self.test.expectation.exists() else None

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: str | None = None) -> str:
        if isinstance(excinfo.value, (lirtest.Mismatch, LosscError)):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.name} [{self.test.command}]"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.getoption("--bless"):
        reports = [report for several in terminalreporter.stats.values() for report in several]
        pairs = [pair for report in reports for pair in getattr(report, "user_properties", ())]
        files = sorted({path for name, path in pairs if name == WRITTEN})
        terminalreporter.write_line("\n".join([f"{len(files)} .expect files are new or changed", *files]))


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """What is drawn without a generator of its own does not depend on the tests before, nor on the run."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def built_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what drivers have built: caches that are empty in all else may link theirs to it."""
    return tmp_path_factory.mktemp("programs")


LATEST: deque[BuiltProgram] = deque(maxlen=100)
"""Programs that PoCL has built. To put one on disk it compiles all of it a second time, which is half of what it does
in these tests: here the next tests find the latest in memory instead. tests/runtime puts them on disk."""


@pytest.fixture(params=["intel", "pocl"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Device:
    """Each OpenCL implementation that the project is tested on. Where CI is set, a missing one is a failure."""
    from lossc.runtime.build import BuiltProgram
    from lossc.runtime.device import select

    try:
        found = select(request.param)
    except DeviceError as error:
        if os.environ.get("CI"):
            pytest.fail(f"this test needs the OpenCL implementation {request.param}: {error}")
        pytest.skip(f"the OpenCL implementation {request.param} is not installed here")
    if found.compiles_at_launch:
        monkeypatch.setattr(BuiltProgram, "store", lambda program: LATEST.append(program))
    return found


@pytest.fixture(params=["shared", "apart"])
def any_device(request: pytest.FixtureRequest, device: Device) -> Device:
    """Devices that use the host's memory, and the same as if they had memory of their own."""
    from lossc.runtime.device import Device

    if request.param == "shared":
        return device
    apart = Device(device.handle, context=device.context)
    apart.info = dataclasses.replace(device.info, shared_pointers=False)
    return apart
