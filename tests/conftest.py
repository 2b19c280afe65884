"""What all tests share: .lir files as tests, `--bless`, and the OpenCL devices."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import lirtest
import pytest

from lossc.ir.diagnostics import DeviceError, LosscError

if TYPE_CHECKING:
    from lossc.runtime.device import Device


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="write the .expect files of .lir tests anew")


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
        lirtest.run(self.test)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: str | None = None) -> str:
        if isinstance(excinfo.value, (lirtest.Mismatch, LosscError)):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.name} [{self.test.command}]"


@pytest.fixture(params=["intel", "pocl"])
def device(request: pytest.FixtureRequest) -> Device:
    """Each OpenCL implementation that the project is tested on. Where CI is set, a missing one is a failure."""
    from lossc.runtime.device import select

    try:
        return select(request.param)
    except DeviceError as error:
        if os.environ.get("CI"):
            pytest.fail(f"this test needs the OpenCL implementation {request.param}: {error}")
        pytest.skip(f"the OpenCL implementation {request.param} is not installed here")


@pytest.fixture(params=["shared", "apart"])
def any_device(request: pytest.FixtureRequest, device: Device) -> Device:
    """Devices that use the host's memory, and the same as if they had memory of their own."""
    from lossc.runtime.device import Device

    if request.param == "shared":
        return device
    apart = Device(device.handle, context=device.context)
    apart.info = dataclasses.replace(device.info, shared_pointers=False)
    return apart
