"""Finds the OpenCL drivers: the embedded Intel CPU runtime and whatever the system has.

In: the environment. Out: `load_pyopencl()`, the pyopencl module after its loader has seen every driver. This
happens at the first use of a device, never at import. A pyopencl that was imported before is lived with: its
loader still finds our drivers unless somebody has listed the platforms already.

Environment variables that only the loader and the drivers read are set while they load and put back
afterwards, so that no child process inherits them. What the user set is left alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from ..ir.diagnostics import DeviceError
from ..ir.frozen import frozen
from .cache import cache_folder
from .scratch import process_folder

SYSTEM_VENDORS = Path("/etc/OpenCL/vendors")
INTEL_DRIVER = "libintelocl.so"
# What libintelocl.so needs, in the order in which they need each other.
INTEL_DEPENDENCIES = ("libintlc.so.5", "libirng.so", "libimf.so", "libsvml.so", "libtbb.so.12")
NVIDIA_DRIVER = "libnvidia-opencl.so.1"


@frozen
class _Loaded:
    pyopencl: ModuleType
    imported_before: bool


# A signal handler may ask for a device while they load.
_loading = threading.RLock()
_loaded: list[_Loaded] = []


def load_pyopencl() -> ModuleType:
    """pyopencl, with the embedded Intel runtime and the system's drivers registered. Safe to call often."""
    # The lock costs half a microsecond, which is much beside a small launch.
    if not _loaded:
        with _loading:
            if not _loaded:
                found = _load()
                if not _loaded:
                    _loaded.append(found)
    return _loaded[0].pyopencl


def imported_before() -> bool:
    """Whether pyopencl was imported first: then drivers may be missing and its own caches may be on."""
    return bool(_loaded) and _loaded[0].imported_before


def embedded_driver() -> Path | None:
    """The path of the Intel CPU runtime that `pip install 'lossc[cpu]'` brought, if it did."""
    if sys.platform != "linux":
        return None
    places = [Path(sys.prefix, "lib", INTEL_DRIVER)]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        files = importlib.metadata.files("intel-opencl-rt") or ()
        places += [Path(str(file.locate())).resolve() for file in files if file.name == INTEL_DRIVER]
    return next((place for place in places if place.is_file()), None)


def _load() -> _Loaded:
    before = "pyopencl" in sys.modules
    folder = Path(tempfile.mkdtemp(prefix="lossc-icd-"))
    try:
        with _environment(_settings(folder)):
            try:
                import pyopencl
            except ImportError as error:
                note = "install it again with: pip install --force-reinstall pyopencl"
                raise DeviceError(f"pyopencl does not load: {error}", note) from error
            # Listing platforms and devices makes the loader and the drivers read the settings.
            with contextlib.suppress(pyopencl.Error):
                for platform in pyopencl.get_platforms():
                    with contextlib.suppress(pyopencl.Error):
                        platform.get_devices()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _Loaded(pyopencl, before)


def _settings(folder: Path) -> dict[str, str]:
    """The environment for loading, without the variables that the user has set."""
    # On a damaged file pyopencl's cache raises and PoCL's ends the process: runtime/cache.py takes their
    # place.
    wanted = {"PYOPENCL_NO_CACHE": "1", "POCL_KERNEL_CACHE": "0"}
    if not {"POCL_KERNEL_CACHE", "POCL_CACHE_DIR"} & os.environ.keys():
        wanted["POCL_CACHE_DIR"] = str(process_folder(cache_folder("pocl")))
    if "OCL_ICD_VENDORS" not in os.environ and sys.platform == "linux" and _write_vendors(folder):
        wanted["OCL_ICD_VENDORS"] = str(folder)
    return {name: value for name, value in wanted.items() if name not in os.environ}


def _write_vendors(folder: Path) -> bool:
    """Fills `folder` with an .icd file for each driver; False where the loader finds them all without us."""
    intel = embedded_driver()
    vendors = _system_vendors(besides=intel)
    # Containers often get NVIDIA's library without its .icd file.
    nvidia = not any("nvidia" in vendor.name for vendor in vendors) and _loads(NVIDIA_DRIVER)
    if intel is not None:
        for name in INTEL_DEPENDENCIES:
            with contextlib.suppress(OSError):
                ctypes.CDLL(str(intel.parent / name), mode=ctypes.RTLD_GLOBAL)
        (folder / "lossc-intel.icd").write_text(f"{intel}\n")
    if nvidia:
        (folder / "lossc-nvidia.icd").write_text(f"{NVIDIA_DRIVER}\n")
    for vendor in vendors:
        (folder / vendor.name).symlink_to(vendor.resolve())
    return intel is not None or nvidia


def _system_vendors(besides: Path | None) -> list[Path]:
    """The .icd files of the system and of this Python environment whose driver is there. The system's Intel
    CPU runtime gives way to the embedded one, so that no device is listed twice.
    """
    found: dict[str, Path] = {}
    for place in (SYSTEM_VENDORS, Path(sys.prefix, "etc", "OpenCL", "vendors")):
        for vendor in sorted(place.glob("*.icd")) if place.is_dir() else ():
            try:
                driver = vendor.read_text().strip()
            except (OSError, UnicodeDecodeError):
                continue
            missing = os.path.isabs(driver) and not os.path.exists(driver)
            doubled = besides is not None and os.path.basename(driver) == besides.name
            if driver and not missing and not doubled:
                found.setdefault(vendor.name, vendor)
    return list(found.values())


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    os.environ.update(settings)
    try:
        yield
    finally:
        for name in settings:
            os.environ.pop(name, None)
