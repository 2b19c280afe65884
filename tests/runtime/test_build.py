"""Programs are built once, found on disk later, and never wrong, whatever lies on the disk."""

from __future__ import annotations

import linecache
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pyopencl as cl
import pytest

import lossc
from lossc.ir.diagnostics import CompilerBug
from lossc.runtime import build as build_module
from lossc.runtime.build import BuiltProgram, build
from lossc.runtime.cache import Cache, cache_folder
from lossc.runtime.device import Device, from_context
from lossc.runtime.memory import argument_for, fetch
from lossc.runtime.prepared import MOST_PLANS

ADD = """
kernel void add(global const float *x, global float *y, float a) {
  size_t i = get_global_id(0);
  y[i] = x[i] + a;
}
"""


@pytest.fixture(autouse=True)
def own_cache(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is left from another test: neither on disk nor in the process."""
    monkeypatch.setattr(build_module, "_in_use", type(build_module._in_use)())
    return cache_dir


def stored(device: Device, source: str, options: str = "") -> BuiltProgram:
    """What the first run of a plan leaves: on disk, too, where the driver compiles at a launch."""
    program = build(device, source, options)
    program.store()
    return program


def run_add(device: Device, program: BuiltProgram, amount: float, size: int = 32) -> np.ndarray:
    x = np.arange(size, dtype=np.float32)
    y = np.empty_like(x)
    source, target = argument_for(device, x), argument_for(device, y, "write")
    kernel = program.new_kernel("add")
    kernel.set_args(source.value, target.value, np.float32(amount))
    cl.enqueue_nd_range_kernel(device.queue, kernel, (size,), None)
    return fetch(device, target) - x


def entries(folder: Path) -> list[Path]:
    return [path for path in folder.glob("programs/*/*") if path.is_file()]


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "_in_use", type(build_module._in_use)())


def count_source_builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    built: list[str] = []
    original = build_module._from_source

    def counting(device: Device, source: str, options: str) -> cl.Program:
        built.append(source)
        return original(device, source, options)

    monkeypatch.setattr(build_module, "_from_source", counting)
    return built


def test_a_second_process_takes_the_binary(device: Device, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = count_source_builds(monkeypatch)
    assert (run_add(device, stored(device, ADD), 2) == 2).all()
    assert len(entries(own_cache)) == 1
    forget(monkeypatch)
    assert (run_add(device, stored(device, ADD), 3) == 3).all()
    assert built == [ADD]


def test_the_binary_is_fetched_once(device: Device, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And stored as it was, not as the driver gives it back once it has loaded it."""
    fetched: list[bytes] = []
    binary = build_module._binary

    def counting(program: cl.Program) -> bytes:
        fetched.append(binary(program))
        return fetched[-1]

    monkeypatch.setattr(build_module, "_binary", counting)
    program = build(device, ADD)
    if device.compiles_at_launch:
        assert not fetched
        return
    assert len(fetched) == 1
    assert build(device, ADD) is program
    assert len(fetched) == 1
    (entry,) = entries(own_cache)
    assert Cache(cache_folder("programs")).get(entry.name) == fetched[0]


def test_within_a_process_a_program_is_built_once(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSSC_CACHE", "0")
    built = count_source_builds(monkeypatch)
    first = stored(device, ADD)
    assert stored(device, ADD) is first
    assert built == [ADD]


def test_another_context_is_another_program(device: Device) -> None:
    other = from_context(cl.Context([device.handle]))
    first, second = stored(device, ADD), build(other, ADD)
    assert first is not second
    assert (run_add(device, first, 1) == 1).all()
    assert (run_add(other, second, 2) == 2).all()


def test_options_and_source_are_part_of_the_key(device: Device, own_cache: Path) -> None:
    programs = [stored(device, ADD), stored(device, ADD, "-D X=1"), stored(device, ADD + "\n")]
    assert len({id(program) for program in programs}) == 3
    assert len(entries(own_cache)) == 3


def test_switched_off_it_leaves_nothing(device: Device, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSSC_CACHE", "0")
    assert (run_add(device, stored(device, ADD), 2) == 2).all()
    assert not entries(own_cache)


@pytest.mark.parametrize("binary", [b"", b"no binary", b"\x7fELF" + bytes(200), b"poclbin" + b"\xff" * 500])
def test_a_binary_that_the_driver_refuses_is_built_again(
    device: Device, monkeypatch: pytest.MonkeyPatch, binary: bytes
) -> None:
    """The entry is whole, so its checksum fits, but the driver cannot use it."""
    program = stored(device, ADD)
    cache = Cache(cache_folder("programs"))
    (entry,) = entries(cache_folder(""))
    cache.put(entry.name, binary)
    del program
    forget(monkeypatch)
    built = count_source_builds(monkeypatch)
    assert (run_add(device, stored(device, ADD), 2) == 2).all()
    assert built == [ADD]
    assert cache.get(entry.name) != binary


def test_a_damaged_entry_is_built_again(device: Device, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(device, ADD)
    (entry,) = entries(own_cache)
    whole = entry.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        entry.write_bytes(damaged)
        forget(monkeypatch)
        assert (run_add(device, stored(device, ADD), 2) == 2).all()
        assert len(entry.read_bytes()) > len(whole) // 2


def test_a_folder_that_cannot_be_written(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("LOSSC_CACHE_DIR", str(tmp_path / "file"))
    assert (run_add(device, stored(device, ADD), 2) == 2).all()


def test_source_that_the_driver_refuses_is_our_bug(device: Device) -> None:
    broken = ADD + "\nkernel void broken(global float *x) {\n  x[0] = undeclared_thing;\n}\n"
    with pytest.raises(CompilerBug) as caught:
        build(device, broken, "-D SOMETHING=1")
    text = str(caught.value)
    assert "refuses the kernel broken" in text
    assert "    8 |   x[0] = undeclared_thing;" in text
    assert "-D SOMETHING=1" in text
    assert "undeclared" in text.split("the compiler's log:")[1]


def test_options_that_the_driver_refuses_are_our_bug(device: Device) -> None:
    with pytest.raises(CompilerBug, match="-no-such-option"):
        build(device, ADD, "-no-such-option")


def test_an_unknown_kernel_is_our_bug(device: Device) -> None:
    with pytest.raises(CompilerBug, match="no kernel subtract"):
        build(device, ADD).new_kernel("subtract")


def test_threads_that_share_a_program_get_their_own_results(device: Device) -> None:
    program = build(device, ADD)
    wrong: list[float] = []

    def work(amount: float) -> None:
        x = np.zeros(16, np.float32)
        y = np.empty_like(x)
        source, target = argument_for(device, x), argument_for(device, y, "write")
        kernel = program.new_kernel("add")
        for step in range(500):
            kernel.set_args(source.value, target.value, np.float32(amount + step))
            cl.enqueue_nd_range_kernel(device.queue, kernel, (16,), None)
            if not (fetch(device, target) == amount + step).all():
                wrong.append(amount + step)

    threads = [threading.Thread(target=work, args=(1000.0 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_may_build_at_once(device: Device) -> None:
    sources = [ADD + f"// {number % 3}\n" for number in range(6)]
    programs: dict[int, BuiltProgram] = {}
    threads = [
        threading.Thread(target=lambda at=at: programs.__setitem__(at, build(device, sources[at])))
        for at in range(len(sources))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(program) for program in programs.values()}) == 3
    assert all((run_add(device, program, 5) == 5).all() for program in programs.values())


@pytest.mark.skipif(os.name != "posix", reason="this system has no such signals")
def test_a_handler_in_the_middle_of_a_build_may_wait_for_a_thread_that_builds(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for one in the middle of a step: the handler's own step waits for that."""
    held, signalled, built, acquired = threading.Event(), [], [], []
    from_source = build_module._from_source

    def interrupted(device: Device, source: str, options: str) -> cl.Program:
        if not signalled:
            thread.start()
            signalled.append(held.wait(60))
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
        return from_source(device, source, options)

    lock = threading.Lock()

    def build_holding() -> None:
        with lock:
            held.set()
            built.append(build(device, ADD + "// another\n"))

    def handler(*_: object) -> None:
        acquired.append(lock.acquire(timeout=60))

    monkeypatch.setattr(build_module, "_from_source", interrupted)
    previous = signal.signal(signal.SIGALRM, handler)
    thread = threading.Thread(target=build_holding)
    try:
        program = build(device, ADD)
    finally:
        signal.signal(signal.SIGALRM, previous)
    thread.join()
    assert signalled == acquired == [True]
    assert len(built) == 1
    assert (run_add(device, program, 5) == 5).all()


def test_kernels_of_plans_that_are_gone_are_used_again(device: Device) -> None:
    """pyopencl generates Python for each new one, and keeps it."""
    g = lossc.Graph()
    g.set_outputs([g.input("x", (None,)) * 2])
    fn = g.compile(device=device)
    fn(x=np.ones(100, "f4"))
    before = len(linecache.cache)
    for size in range(100, 400):
        assert (fn(x=np.full(size, 3, "f4"))[0] == 6).all()
    assert len(linecache.cache) - before <= MOST_PLANS + 10


def test_the_kernels_of_a_plan_are_made_by_one_thread(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the main one, where handlers come."""
    g = lossc.Graph()
    x = g.input("x", (None, 33))
    g.set_outputs([x.sum(1), x.sum(0), x * 2])
    fn, new_kernel, makers = g.compile(device=device), BuiltProgram.new_kernel, []

    def noted(program: BuiltProgram, name: str) -> cl.Kernel:
        makers.append(threading.current_thread())
        return new_kernel(program, name)

    monkeypatch.setattr(BuiltProgram, "new_kernel", noted)
    fn(x=np.ones((5000, 33), "f4"))
    assert len(makers) > 1
    assert len({*makers}) == 1
    assert makers[0] is not threading.main_thread()


BUILD_AND_RUN = """
import json
import numpy as np
from lossc.runtime.build import build
from lossc.runtime.device import devices
from lossc.runtime.memory import argument_for, fetch
devices()
import pyopencl as cl
right = 0
for device in devices():
    x = np.arange(64, dtype=np.float32)
    y = np.zeros_like(x)
    source, target = argument_for(device, x), argument_for(device, y, "write")
    kernel = build(device, SOURCE).new_kernel("add")
    kernel.set_args(source.value, target.value, np.float32(1))
    cl.enqueue_nd_range_kernel(device.queue, kernel, (64,), (8,))
    right += bool((fetch(device, target) == x + 1).all())
print(json.dumps(right == len(devices())))
""".replace("SOURCE", repr(ADD))


def test_damage_in_the_caches_of_pyopencl_and_pocl_does_no_harm(child, tmp_path: Path) -> None:
    """Both keep files below these folders when nobody stops them, and die of the damage."""
    assert child(BUILD_AND_RUN, LOSSC_CACHE="0") is True
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in left if path.suffix in (".so", ".bc", ".sqlite") and path.stat().st_size]
    for path in left:
        path.write_bytes(b"damage" * 100)
    assert child(BUILD_AND_RUN, LOSSC_CACHE="0") is True


def test_pyopencl_imported_before_keeps_no_sources(child, tmp_path: Path) -> None:
    """Its source cache is on then, where a lock that a killed process left would stop us for a minute."""
    assert child("import pyopencl\n" + BUILD_AND_RUN) is True
    left = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if "compiler-cache" in str(path)]
    assert not left


def test_pyopencl_imported_before_names_the_kernel_too(child) -> None:
    code = """
import pyopencl
import json
from lossc.ir.diagnostics import CompilerBug
from lossc.runtime.build import build
from lossc.runtime.device import select
try:
    build(select(), "kernel void broken(global float *x) { x[0] = undeclared_thing; }")
except CompilerBug as error:
    print(json.dumps(str(error)))
"""
    assert "refuses the kernel broken" in child(code)


def test_pyopencls_own_damaged_cache_is_an_error_of_ours(child, tmp_path: Path) -> None:
    """Imported first, pyopencl has its cache on."""
    code = f"""
import pyopencl
from lossc.ir.diagnostics import DeviceError
try:
    exec({BUILD_AND_RUN!r})
except DeviceError as error:
    print(json.dumps(str(error)))
"""
    assert child(code) is True
    databases = [path for path in tmp_path.rglob("*") if path.is_file() and "invoker" in path.name]
    assert databases, "pyopencl keeps its cache elsewhere now"
    for path in databases:
        path.write_bytes(b"damage" * 1000)
    assert "pyopencl's own cache is damaged" in child(code)
