"""What a compiler must know of a device, as plain data: no driver object, nothing to close.

In: nothing (a preset) or the figures that the runtime asked a driver for. Out: a `DeviceInfo`: it decides
schedules, kernels are checked against it, `explain` prints it. Compiling needs no driver: take a preset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True)
class DeviceInfo:
    """Facts about one device. Sizes are in bytes. Drivers do not enforce their own limits: checks use
    these.
    """

    name: str
    platform: str
    kind: Literal["cpu", "gpu"]
    compute_units: int
    """Cores of a CPU, multiprocessors of a GPU."""
    vector_width: int
    """f32 elements of an explicit vector: 16 with AVX-512, 8 or 4 on other CPUs, 4 (16 bytes) on GPUs."""
    lanes: int
    """Work-items that run in lockstep: 1 on CPUs, the warp or wavefront on GPUs."""
    max_work_group_size: int
    local_memory: int
    max_argument_bytes: int
    max_allocation: int
    global_memory: int
    cache_line: int
    cache_per_unit: int
    """Cache that a compute unit can count on for itself: a core's L2."""
    has_f64: bool
    has_f16: bool
    """f16 arithmetic; without it f16 data goes through vload_half and vstore_half."""
    device_atomics: bool
    """Acquire-release atomics at device scope: the last work-group can finish a reduction."""
    nontemporal_stores: bool
    """`__builtin_nontemporal_store` of vectors is known to work (at 64-byte aligned addresses: others
    fault).
    """
    shared_pointers: bool
    """Kernels can use a NumPy array's own memory: zero copy."""
    register_file: int = 0
    """Registers of a compute unit, which its work-items share; 0 on CPUs, whose work-items take turns."""


CPU_AVX512 = DeviceInfo(
    name="x86-64 CPU with AVX-512",
    platform="preset",
    kind="cpu",
    compute_units=2,
    vector_width=16,
    lanes=1,
    max_work_group_size=4096,
    local_memory=256 * KIB,
    max_argument_bytes=1024,
    max_allocation=2 * GIB,
    global_memory=8 * GIB,
    cache_line=64,
    cache_per_unit=1 * MIB,
    has_f64=True,
    has_f16=False,
    device_atomics=False,
    nontemporal_stores=True,
    shared_pointers=True,
)

GPU_GENERIC = DeviceInfo(
    name="GPU",
    platform="preset",
    kind="gpu",
    compute_units=64,
    vector_width=4,
    lanes=32,
    max_work_group_size=1024,
    local_memory=32 * KIB,
    max_argument_bytes=1024,
    max_allocation=2 * GIB,
    global_memory=8 * GIB,
    cache_line=128,
    cache_per_unit=64 * KIB,
    has_f64=False,
    has_f16=False,
    device_atomics=False,
    nontemporal_stores=False,
    shared_pointers=False,
    register_file=128 * KIB,
)

H200 = DeviceInfo(
    name="NVIDIA H200",
    platform="preset",
    kind="gpu",
    compute_units=132,
    vector_width=4,
    lanes=32,
    max_work_group_size=1024,
    local_memory=48 * KIB,
    max_argument_bytes=4352,
    max_allocation=35 * GIB,
    global_memory=140 * GIB,
    cache_line=128,
    cache_per_unit=256 * KIB,
    has_f64=True,
    has_f16=False,
    device_atomics=False,
    nontemporal_stores=False,
    shared_pointers=False,
    register_file=256 * KIB,
)

OCLGRIND = DeviceInfo(
    name="Oclgrind Simulator",
    platform="Oclgrind",
    kind="cpu",
    compute_units=1,
    vector_width=4,
    lanes=1,
    max_work_group_size=1024,
    local_memory=32 * KIB,
    max_argument_bytes=1024,
    max_allocation=128 * MIB,
    global_memory=128 * MIB,
    cache_line=64,
    cache_per_unit=64 * KIB,
    has_f64=True,
    has_f16=False,
    device_atomics=False,
    nontemporal_stores=False,
    shared_pointers=False,
)

PRESETS = {"cpu_avx512": CPU_AVX512, "gpu_generic": GPU_GENERIC, "h200": H200, "oclgrind": OCLGRIND}
