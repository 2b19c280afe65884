"""What there is to know of a device: its driver is asked.

In: pyopencl's object for it. Out: the `DeviceInfo` that a compiler sees, and a key that changes whenever binaries that
were built for it could stop being valid.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform as host
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ir.target import GIB, KIB, MIB, DeviceInfo
from .drivers import load_pyopencl

if TYPE_CHECKING:
    import pyopencl as cl

FINE_GRAIN_SYSTEM_SVM = 1 << 3


def describe(handle: cl.Device) -> DeviceInfo:
    """Asks the driver for everything in a DeviceInfo; what it does not know is set to a safe figure."""
    cl = load_pyopencl()
    platform_name: str = handle.platform.name.strip()
    extensions = ask(handle, "extensions", "").split()
    simulated = platform_name == "Oclgrind"
    is_gpu = bool(handle.type & cl.device_type.GPU) and not simulated
    pocl_cpu = platform_name == "Portable Computing Language" and not is_gpu
    intel_cpu = platform_name.startswith("Intel") and not is_gpu
    native_width = ask(handle, "native_vector_width_float", 4)
    system_svm = bool(ask(handle, "svm_capabilities", 0) & FINE_GRAIN_SYSTEM_SVM)
    return DeviceInfo(
        name=handle.name.strip(),
        platform=platform_name,
        kind="gpu" if is_gpu else "cpu",
        compute_units=max(1, ask(handle, "max_compute_units", 1)),
        vector_width=4 if is_gpu else min(16, max(4, native_width)),
        lanes=_lanes(handle) if is_gpu else 1,
        max_work_group_size=ask(handle, "max_work_group_size", 1),
        local_memory=ask(handle, "local_mem_size", 32 * KIB),
        max_argument_bytes=ask(handle, "max_parameter_size", 1024),
        max_allocation=ask(handle, "max_mem_alloc_size", 128 * MIB),
        global_memory=ask(handle, "global_mem_size", 1 * GIB),
        cache_line=ask(handle, "global_mem_cacheline_size", 0) or 64,
        cache_per_unit=_cache_per_unit(handle, is_gpu),
        has_f64="cl_khr_fp64" in extensions or bool(ask(handle, "double_fp_config", 0)),
        has_f16="cl_khr_fp16" in extensions,
        nontemporal_stores=(intel_cpu or pocl_cpu) and host.machine() in ("x86_64", "AMD64"),
        # PoCL's CPU devices use the host's memory as it is, though they do not report system SVM.
        shared_pointers=system_svm or pocl_cpu,
        # Only NVIDIA's driver tells; other GPUs have at least so many.
        register_file=(4 * ask(handle, "registers_per_block_nv", 0) or 128 * KIB) if is_gpu else 0,
    )


def ask(handle: cl.Device | cl.Platform, question: str, otherwise: Any) -> Any:
    """One property of a device; `otherwise` where the driver does not know it."""
    try:
        return getattr(handle, question)
    except (load_pyopencl().Error, AttributeError):
        return otherwise


def _lanes(handle: cl.Device) -> int:
    return ask(handle, "warp_size_nv", 0) or ask(handle, "wavefront_width_amd", 0) or 32


def _cache_per_unit(handle: cl.Device, is_gpu: bool) -> int:
    if is_gpu:
        return 64 * KIB
    with contextlib.suppress(OSError, ValueError):
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text().strip()
        return int(text.removesuffix("K")) * KIB
    # Some drivers report the shared cache here: a core cannot count on more than 1 MiB of it.
    return min(ask(handle, "global_mem_cache_size", 256 * KIB) or 256 * KIB, MIB)


def device_key(handle: cl.Device, info: DeviceInfo, driver_version: str) -> str:
    versions = [ask(handle.platform, "version", ""), ask(handle, "version", ""), driver_version]
    parts = [info.platform, info.name, *versions]
    if info.kind == "cpu":
        # A driver's name for two CPUs can be the same though one lacks instructions that the other has.
        parts.append(_cpu_features())
    return "\n".join(parts)


def _cpu_features() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return hashlib.sha256(line.encode()).hexdigest()
    return host.processor()
