"""Which devices are found, which one is chosen, and what is left alone."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from pathlib import Path

import pyopencl as cl
import pytest

from lossc.ir.diagnostics import DeviceError
from lossc.ir.target import PRESETS, DeviceInfo
from lossc.runtime import device as device_module
from lossc.runtime import drivers
from lossc.runtime.device import (
    Device,
    device_error,
    devices,
    driver_errors,
    from_context,
    from_queue,
    select,
)
from lossc.runtime.drivers import SYSTEM_VENDORS, embedded_driver

LIST_PLATFORMS = """
import json
from lossc.runtime.device import devices
print(json.dumps([device.info.platform for device in devices()]))
"""


def fake(name: str, platform: str, kind: str = "cpu") -> Device:
    """A device of this machine that says it is another."""
    device = Device(devices()[0].handle)
    device.info = dataclasses.replace(device.info, name=name, platform=platform, kind=kind)
    return device


@pytest.fixture
def four_devices(monkeypatch: pytest.MonkeyPatch) -> list[Device]:
    monkeypatch.delenv("LOSSC_DEVICE", raising=False)
    found = [
        fake("pthread-znver4", "Portable Computing Language"),
        fake("Xeon", "Intel(R) OpenCL"),
        fake("Some Core", "A Vendor"),
        fake("Radeon Pro", "AMD Accelerated Parallel Processing", "gpu"),
    ]
    found.sort(key=device_module._rank)
    monkeypatch.setattr(device_module, "_listed", found)
    return found


def test_importing_the_runtime_loads_no_driver(child) -> None:
    code = """
import json, os, sys
before = dict(os.environ)
import lossc, lossc.ir, lossc.compiler, lossc.runtime
import lossc.runtime.device, lossc.runtime.build, lossc.runtime.memory
print(json.dumps(["pyopencl" in sys.modules, os.environ == before]))
"""
    assert child(code) == [False, True]


def test_every_installed_driver_is_listed(child) -> None:
    """The embedded runtime and the drivers of the system side by side."""
    platforms = child(LIST_PLATFORMS)
    if sys.platform == "linux" and os.uname().machine == "x86_64":
        assert embedded_driver() is not None, "the test extra brings the embedded runtime"
        assert platforms.count("Intel(R) OpenCL") == 1
    assert ("Portable Computing Language" in platforms) == (SYSTEM_VENDORS / "pocl.icd").exists()


def test_the_environment_is_as_before(child) -> None:
    code = """
import json, os
before = dict(os.environ)
from lossc.runtime.device import devices
devices()[0].queue
print(json.dumps(dict(os.environ) == before))
"""
    assert child(code) is True


def test_vendors_that_the_user_chose_are_respected(child, tmp_path: Path) -> None:
    vendors = tmp_path / "vendors"
    vendors.mkdir()
    code = """
import json
from lossc.ir.diagnostics import DeviceError
from lossc.runtime.device import select
try:
    print(json.dumps(select().info.platform))
except DeviceError as error:
    print(json.dumps(str(error)))
"""
    message = child(code, OCL_ICD_VENDORS=str(vendors))
    assert "no OpenCL device was found" in message
    assert "OCL_ICD_VENDORS" in message
    (vendors / "mine.icd").write_text(str(embedded_driver()))
    assert child(LIST_PLATFORMS, OCL_ICD_VENDORS=str(vendors)) == ["Intel(R) OpenCL"]


def drivers_written(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in folder.iterdir()}


@pytest.mark.parametrize("embedded", [True, False])
def test_the_systems_intel_runtime_gives_way_to_the_embedded_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: bool
) -> None:
    system, folder, prefix = tmp_path / "system", tmp_path / "folder", tmp_path / "prefix"
    for made in (system, folder, prefix / "etc" / "OpenCL" / "vendors", tmp_path / "opt"):
        made.mkdir(parents=True)
    for path in (tmp_path / "opt" / "libintelocl.so", prefix / "libintelocl.so"):
        path.write_bytes(b"")
    (system / "intel.icd").write_text(str(tmp_path / "opt" / "libintelocl.so"))
    (system / "gone.icd").write_text(str(tmp_path / "opt" / "libgone.so"))
    (system / "nvidia.icd").write_text("libnvidia-opencl.so.1\n")
    (system / "broken.icd").write_bytes(b"\xff\xfe")
    (prefix / "etc" / "OpenCL" / "vendors" / "own.icd").write_text("libown.so")
    driver = prefix / "libintelocl.so" if embedded else None
    monkeypatch.setattr(drivers, "SYSTEM_VENDORS", system)
    monkeypatch.setattr(drivers, "embedded_driver", lambda: driver)
    monkeypatch.setattr(sys, "prefix", str(prefix))
    assert drivers._write_vendors(folder) is embedded
    intel = {"lossc-intel.icd": str(driver)} if embedded else {"intel.icd": f"{tmp_path}/opt/libintelocl.so"}
    assert drivers_written(folder) == {"nvidia.icd": "libnvidia-opencl.so.1", "own.icd": "libown.so"} | intel


def test_nvidias_library_without_an_icd_file_is_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "SYSTEM_VENDORS", tmp_path / "none")
    monkeypatch.setattr(drivers, "embedded_driver", lambda: None)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(drivers, "_loads", lambda library: library == "libnvidia-opencl.so.1")
    folder = tmp_path / "folder"
    folder.mkdir()
    assert drivers._write_vendors(folder) is True
    assert drivers_written(folder) == {"lossc-nvidia.icd": "libnvidia-opencl.so.1"}


def test_pyopencl_imported_before_still_finds_the_embedded_device(child) -> None:
    assert "Intel(R) OpenCL" in child("import pyopencl\n" + LIST_PLATFORMS)


def test_platforms_listed_before_are_lived_with(child) -> None:
    code = """
import contextlib, json
import pyopencl
with contextlib.suppress(pyopencl.Error):
    pyopencl.get_platforms()
from lossc.ir.diagnostics import DeviceError
from lossc.runtime.device import devices, select
try:
    answer = select("no such device")
except DeviceError as error:
    print(json.dumps(str(error)))
"""
    assert "pyopencl was imported before lossc" in child(code)


@pytest.mark.parametrize("name", ["intel", "INTEL", " cpu ", "Intel(R) OpenCL"])
def test_names_of_the_embedded_device(child, name: str) -> None:
    code = """
import json
from lossc.runtime.device import select
print(json.dumps(select().info.platform))
"""
    assert child(code, LOSSC_DEVICE=name) == "Intel(R) OpenCL"


def test_order_and_default(four_devices: list[Device]) -> None:
    assert [device.info.name for device in devices()] == ["Radeon Pro", "Xeon", "pthread-znver4", "Some Core"]
    assert select() is four_devices[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpu", "Radeon Pro"),
        ("cpu", "Xeon"),
        ("intel", "Xeon"),
        ("pocl", "pthread-znver4"),
        ("Pocl", "pthread-znver4"),
        ("0", "Radeon Pro"),
        ("znver4", "pthread-znver4"),
        ("3", "Some Core"),
        ("radeon", "Radeon Pro"),
        ("a vendor", "Some Core"),
        ("accelerated", "Radeon Pro"),
        ("", "Radeon Pro"),
    ],
)
def test_choice_by_argument_and_by_environment(
    four_devices: list[Device], monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    assert select(name).info.name == expected
    monkeypatch.setenv("LOSSC_DEVICE", name)
    assert select().info.name == expected


def test_the_argument_goes_before_the_environment(four_devices: list[Device], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSSC_DEVICE", "pocl")
    assert select("gpu").info.name == "Radeon Pro"


@pytest.mark.parametrize("name", ["voodoo", "4", "-1", "99999999999999999999"])
def test_an_unknown_name_lists_what_there_is(four_devices: list[Device], name: str) -> None:
    with pytest.raises(DeviceError, match="no OpenCL device answers to") as caught:
        select(name)
    for number, device in enumerate(four_devices):
        assert f"{number}: {device.info.name} ({device.info.platform})" in str(caught.value)


def test_an_unknown_name_says_where_it_came_from_and_what_is_near(
    four_devices: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOSSC_DEVICE", "intle")
    with pytest.raises(DeviceError, match="LOSSC_DEVICE=intle") as caught:
        select()
    assert "did you mean `intel`?" in str(caught.value)


def test_no_device_at_all_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "_find", lambda: iter(()))
    monkeypatch.setattr(device_module, "_listed", [])
    monkeypatch.setattr(device_module, "imported_before", lambda: False)
    monkeypatch.setattr(device_module, "embedded_driver", lambda: None)
    monkeypatch.setattr(device_module.host, "machine", lambda: "x86_64")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("OCL_ICD_VENDORS", raising=False)
    with pytest.raises(DeviceError) as caught:
        select()
    assert "pip install 'lossc[cpu]'" in str(caught.value)


def test_what_drivers_say_makes_sense(device: Device) -> None:
    info = device.info
    assert info.vector_width in (4, 8, 16)
    assert info.max_work_group_size >= 1
    assert info.local_memory >= 16 * 1024
    assert info.max_argument_bytes >= 1024
    assert info.global_memory >= info.max_allocation // 4 > 0
    assert info.cache_line in (32, 64, 128, 256)
    assert info.name in device.key
    assert info.platform in device.key
    assert device.driver_version in device.key


def test_the_cpu_runtimes_keep_the_promises_of_their_flags(device: Device) -> None:
    """Non-temporal stores and the queue that runs in the calling thread are used where we say that they
    work.
    """
    import numpy as np

    from lossc.runtime.build import build
    from lossc.runtime.memory import POOL, argument_for

    info = device.info
    assert (device.local_thread_queue is not None) == ("cl_intel_exec_by_local_thread" in device.handle.extensions)
    if info.kind == "gpu":
        return
    assert info.shared_pointers
    assert info.nontemporal_stores
    width = info.vector_width
    source = f"""
kernel void copy(global const float *x, global float *y) {{
  size_t i = get_global_id(0);
  __builtin_nontemporal_store(vload{width}(i, x), (global float{width} *)y + i);
}}
"""
    x = np.arange(width * 64, dtype=np.float32)
    kernel = build(device, source).new_kernel("copy")
    for queue in (device.queue, device.local_thread_queue or device.queue):
        y = POOL.empty(x.shape, x.dtype)
        y[:] = -1
        kernel.set_args(argument_for(device, x).value, argument_for(device, y, "write").value)
        cl.enqueue_nd_range_kernel(queue, kernel, (64,), None)
        queue.finish()
        assert np.array_equal(x, y)


def test_a_users_own_queue_and_context_are_used(device: Device) -> None:
    context = cl.Context([device.handle])
    queue = cl.CommandQueue(context)
    mine = from_queue(queue)
    assert mine.queue is queue
    assert mine.context == context
    assert mine.info == device.info
    assert from_context(context).context is context
    assert from_context(context).queue.context == context
    assert device.context != context


def test_a_device_opened_before_a_fork_refuses_in_the_child(child) -> None:
    code = """
import json, os
from lossc.ir.diagnostics import DeviceError
from lossc.runtime.device import select
device = select()
device.queue, device.local_thread_queue
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    said = []
    for use in ("context", "queue", "local_thread_queue"):
        try:
            getattr(device, use)
        except DeviceError as error:
            said.append(str(error))
    os.write(writer, json.dumps(said).encode())
    os._exit(0)
os.waitpid(child, 0)
print(os.read(reader, 10000).decode())
"""
    said = child(code)
    assert len(said) == 3
    assert all("before this process was forked" in message for message in said)


@pytest.mark.parametrize("status", ["MEM_OBJECT_ALLOCATION_FAILURE", "OUT_OF_RESOURCES", "DEVICE_NOT_AVAILABLE"])
def test_driver_errors_become_ours(status: str) -> None:
    class Injected(cl.RuntimeError):
        code = getattr(cl.status_code, status)
        routine = "clEnqueueNDRangeKernel"

    with pytest.raises(DeviceError) as caught, driver_errors("cannot run k"):
        raise Injected
    text = str(caught.value)
    assert "cannot run k" in text
    assert status in text
    assert "clEnqueueNDRangeKernel" in text
    assert len(caught.value.diagnostics[0].notes) == 1


def test_a_real_driver_error_is_named(device: Device) -> None:
    with pytest.raises(DeviceError, match="INVALID_BUFFER_SIZE"), driver_errors("cannot allocate"):
        cl.Buffer(device.context, cl.mem_flags.READ_WRITE, 0)
    with contextlib.suppress(cl.Error):
        cl.Buffer(device.context, cl.mem_flags.READ_WRITE, 64)
    assert "plain text" in str(device_error(cl.Error("plain text"), "cannot"))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_whole_and_within_reason(name: str) -> None:
    preset = PRESETS[name]
    assert isinstance(preset, DeviceInfo)
    assert preset.max_allocation <= preset.global_memory
    assert preset.lanes <= preset.max_work_group_size
    assert preset.vector_width in (4, 8, 16)
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset.name = "other"  # type: ignore[misc]
