"""What a compiler must know of a device, as plain data: no driver object, nothing to close.

In: nothing (a preset) or the figures that the runtime asked a driver for. Out: a `DeviceInfo`: it decides
schedules, kernels are checked against it, `explain` prints it. Compiling needs no driver: take a preset.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Literal

from .diagnostics import LirError, Source, Span, did_you_mean
from .frozen import frozen

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@frozen
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
    nontemporal_stores=False,
    shared_pointers=False,
)


class _Presets(dict[str, DeviceInfo]):
    """By their names, which the command line writes with dashes."""

    def __missing__(self, name: str) -> DeviceInfo:
        known = str(name).replace("-", "_")
        if known in self:
            return self[known]
        raise KeyError(f"no preset {name!r}: there are {', '.join(self)}")


PRESETS = _Presets({"cpu_avx512": CPU_AVX512, "gpu_generic": GPU_GENERIC, "h200": H200, "oclgrind": OCLGRIND})


_AT_LEAST_ONE = ("compute_units", "lanes", "max_work_group_size")
_WANTED = {
    "kind": "cpu or gpu", "vector_width": "1, 2, 4, 8 or 16", **dict.fromkeys(_AT_LEAST_ONE, "a whole number from 1 on")
}  # fmt: skip


def _fits(value: object, name: str, kind: str) -> bool:
    if name == "kind":
        return value in ("cpu", "gpu")
    if kind == "int":
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= (name in _AT_LEAST_ONE)
        return whole and (name != "vector_width" or value in (1, 2, 4, 8, 16))
    return isinstance(value, bool if kind == "bool" else str)


def read_json(source: Source, code: str | None = None) -> object:
    """What a text of JSON says. Raises LirError, at the place where it is none."""
    try:
        return json.loads(source.text)
    except json.JSONDecodeError as error:
        raise LirError(f"{source.name} is no JSON: {error.msg}", span=Span(source, error.pos, error.pos + 1),
                       code=code) from None  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise LirError(f"{source.name} is no JSON: {error}", code=code) from None


def read_device_info(text: str, place: str = "this description") -> DeviceInfo:
    """A device described in JSON: the fields of DeviceInfo, or a preset as `like` and the fields that differ from it.

    What `lossc devices --json` prints of a device is such a description. Raises LirError for a field that there is not,
    that is missing, or that holds the wrong kind of value; `place` names the description then.
    """
    found = read_json(Source(place, text))
    if not isinstance(found, dict):
        raise LirError(f"{place} is no object of JSON")
    given = {name: value for name, value in found.items() if name not in ("like", "number", "driver_version")}
    like = str(found.get("like", "")).replace("-", "_")
    if like and like not in PRESETS:
        raise LirError(f"{place} is like `{like}`, and there is no such preset", *did_you_mean(like, PRESETS))
    known = {field.name: field for field in fields(DeviceInfo)}
    for name, value in given.items():
        if name not in known:
            raise LirError(f"{place} has a field `{name}`, and devices have none", *did_you_mean(name, known))
        if not _fits(value, name, str(known[name].type)):
            raise LirError(f"{place}: `{name}` cannot be {value!r}", f"it is {_WANTED.get(name, known[name].type)}")
    if like:
        given = {**vars(PRESETS[like]), **given}
    missing = [name for name, field in known.items() if name not in given and field.default is MISSING]
    if missing:
        raise LirError(
            f"{place} says nothing of {', '.join(missing)}", 'or say which preset it is like: "like": "h200"'
        )
    return DeviceInfo(**given)
