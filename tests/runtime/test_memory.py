"""Arrays that kernels write: aligned, used again, and never under a user's hands."""

from __future__ import annotations

import gc
import threading

import ml_dtypes
import numpy as np
import pyopencl as cl
import pytest

from lossc.ir.diagnostics import CompilerBug, DeviceError, LirError
from lossc.runtime import memory
from lossc.runtime.build import build
from lossc.runtime.device import Device
from lossc.runtime.memory import OutputPool, argument_for, device_memory, fetch

F32 = np.dtype(np.float32)
LARGE = 100_000

DOUBLE = """
kernel void twice(global const uchar *x, global uchar *y) {
  size_t i = get_global_id(0);
  y[i] = (uchar)(2 * x[i]);
}
"""


@pytest.fixture
def pool() -> OutputPool:
    return OutputPool(limit=64 * 1024 * 1024)


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 5), (7, 11), (LARGE,), (3, LARGE)])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.int64, np.bool_])
def test_arrays_are_what_was_asked_for(pool: OutputPool, shape: tuple[int, ...], dtype: type) -> None:
    array = pool.empty(shape, np.dtype(dtype))
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.size == 0 or address(array) % 64 == 0
    array[...] = 1
    assert (array == 1).all()


def test_memory_is_used_again_when_the_array_is_gone(pool: OutputPool) -> None:
    array = pool.empty((LARGE,), F32)
    place = address(array)
    assert pool.idle_bytes == 0
    del array
    assert pool.idle_bytes >= 4 * LARGE
    assert address(pool.empty((LARGE // 100, 100), F32)) == place


VIEWS = {
    "slice": lambda array: array[5:9],
    "slice of a slice": lambda array: array[5:][::2][:3],
    "reshape": lambda array: array.reshape(10, -1)[3],
    "transpose": lambda array: array.reshape(10, -1).T,
    "other dtype": lambda array: array.view(np.int32)[::7],
    "broadcast": lambda array: np.broadcast_to(array[:1], (5, 1)),
    "strided": lambda array: np.lib.stride_tricks.as_strided(array, (3,), (8,)),
    "frombuffer": lambda array: np.frombuffer(array.data, np.float32, 10),
    "memoryview": lambda array: np.asarray(memoryview(array)),
    "subclass": lambda array: array.view(np.ma.MaskedArray).data,
    "dlpack": np.from_dlpack,
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_keeps_the_memory_from_being_used_again(pool: OutputPool, name: str) -> None:
    array = pool.empty((LARGE,), F32)
    array[:] = np.arange(LARGE)
    place = address(array)
    view = VIEWS[name](array)
    expected = view.copy()
    del array
    gc.collect()
    others = [pool.empty((LARGE,), F32) for _ in range(3)]
    for other in others:
        other[:] = -1
    assert place not in [address(other) for other in others]
    assert np.array_equal(view, expected)
    del view
    gc.collect()
    assert address(pool.empty((LARGE,), F32)) == place


def test_arrays_alive_never_overlap(pool: OutputPool) -> None:
    random = np.random.default_rng(0)
    alive: list[tuple[np.ndarray, int]] = []
    for stamp in range(300):
        if alive and random.random() < 0.5:
            array, expected = alive.pop(int(random.integers(len(alive))))
            assert (array == expected).all()
        array = pool.empty((int(random.integers(1, 200_000)),), np.dtype(np.int32))
        array[:] = stamp
        alive.append((array, stamp))
    assert all((array == stamp).all() for array, stamp in alive)


def test_idle_memory_is_bounded_and_the_oldest_goes_first() -> None:
    pool = OutputPool(limit=1_000_000)
    first, second, third = (pool.empty((LARGE,), F32) for _ in range(3))
    places = [address(array) for array in (first, second, third)]
    del first, second, third
    assert pool.idle_bytes <= 1_000_000
    assert {address(pool.empty((LARGE,), F32)) for _ in range(1)} <= set(places[1:])
    kept = [pool.empty((LARGE,), F32) for _ in range(2)]
    assert {address(array) for array in kept} & set(places[1:])
    assert pool.idle_bytes == 0


def test_what_exceeds_the_limit_is_not_kept() -> None:
    pool = OutputPool(limit=1000)
    array = pool.empty((LARGE,), F32)
    del array
    assert pool.idle_bytes == 0


def test_clearing_lets_go_of_idle_memory_only(pool: OutputPool) -> None:
    kept, gone = pool.empty((LARGE,), F32), pool.empty((LARGE,), F32)
    kept[:] = 7
    del gone
    pool.clear()
    assert pool.idle_bytes == 0
    assert (kept == 7).all()
    del kept
    assert pool.idle_bytes > 0


def test_an_array_may_outlive_its_pool() -> None:
    pool = OutputPool(limit=10_000_000)
    array = pool.empty((LARGE,), F32)
    array[:] = 3
    del pool
    gc.collect()
    assert (array == 3).all()


def test_little_memory_is_lost_by_rounding() -> None:
    for nbytes in [65_536, 65_537, 1_000_003, 64_000_000, 2**31 + 1]:
        assert nbytes <= memory._block_size(nbytes) <= nbytes * 1.125 + 4096


def test_memory_that_the_machine_lacks_is_a_device_error(pool: OutputPool) -> None:
    with pytest.raises(DeviceError, match="no memory for an array"):
        pool.empty((2**59,), F32)


def test_a_collection_inside_the_pool_does_not_lock_up(pool: OutputPool) -> None:
    """Arrays that die in a cycle come back whenever Python collects, in the pool's own code too."""

    class Holder:
        def __init__(self) -> None:
            self.me = self
            self.array = pool.empty((LARGE,), F32)

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(200):
            Holder()
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert pool.idle_bytes <= pool.limit


def test_threads_get_arrays_of_their_own(pool: OutputPool) -> None:
    wrong: list[int] = []

    def work(stamp: int) -> None:
        for step in range(300):
            array = pool.empty((20_000 + 100 * (step % 5),), np.dtype(np.int64))
            array[:] = stamp
            view = array[100:200]
            if not (array == stamp).all():
                wrong.append(stamp)
            del array
            other = pool.empty((20_000,), np.dtype(np.int64))
            other[:] = -stamp
            if not (view == stamp).all():
                wrong.append(stamp)

    threads = [threading.Thread(target=work, args=(stamp,)) for stamp in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def run_twice(device: Device, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    source, target = argument_for(device, x), argument_for(device, y, "write")
    kernel = build(device, DOUBLE).new_kernel("twice")
    kernel.set_args(source.value, target.value)
    cl.enqueue_nd_range_kernel(device.queue, kernel, (max(1, x.nbytes),), None)
    return fetch(device, target)


@pytest.fixture(params=[True, False], ids=["as it is", "copying"])
def either_device(device: Device, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Device:
    """The device, and the same one told that it cannot use the host's memory."""
    if not request.param:
        import dataclasses

        monkeypatch.setattr(device, "info", dataclasses.replace(device.info, shared_pointers=False))
    return device


def test_kernels_read_and_write_arrays(either_device: Device) -> None:
    x = np.arange(100, dtype=np.uint8)
    y = np.zeros_like(x)
    assert run_twice(either_device, x, y) is y
    assert np.array_equal(y, 2 * x)


def test_unaligned_and_read_only_inputs(either_device: Device) -> None:
    x = np.arange(100, dtype=np.uint8)[3:]
    x.flags.writeable = False
    assert np.array_equal(run_twice(either_device, x, np.zeros_like(x)), 2 * x)
    assert not x.flags.writeable


def test_dtypes_without_a_buffer_protocol(either_device: Device) -> None:
    x = np.arange(50).astype(ml_dtypes.bfloat16)
    y = np.zeros_like(x)
    run_twice(either_device, x, y)
    assert np.array_equal(y.view(np.uint8), 2 * x.view(np.uint8))


def test_empty_arrays_become_something_that_drivers_take(either_device: Device) -> None:
    x = np.empty((0, 5), np.uint8)
    assert run_twice(either_device, x, np.empty_like(x)).shape == (0, 5)


def test_values_already_in_an_array_reach_a_kernel_that_updates_it(either_device: Device) -> None:
    x = np.arange(100, dtype=np.uint8)
    argument = argument_for(either_device, x, "readwrite")
    kernel = build(either_device, DOUBLE).new_kernel("twice")
    kernel.set_args(argument.value, argument.value)
    cl.enqueue_nd_range_kernel(either_device.queue, kernel, (100,), None)
    assert np.array_equal(fetch(either_device, argument), 2 * np.arange(100))


def test_shared_pointers_mean_no_copy(device: Device) -> None:
    argument = argument_for(device, np.zeros(100, np.uint8))
    assert argument.copied == (not device.info.shared_pointers)


def test_what_a_kernel_uses_stays_alive_with_its_argument(device: Device) -> None:
    x = np.full(LARGE, 3, np.uint8)
    source = argument_for(device, x)
    del x
    gc.collect()
    noise = [np.full(LARGE, 9, np.uint8) for _ in range(4)]
    y = np.zeros(LARGE, np.uint8)
    target = argument_for(device, y, "write")
    kernel = build(device, DOUBLE).new_kernel("twice")
    kernel.set_args(source.value, target.value)
    cl.enqueue_nd_range_kernel(device.queue, kernel, (LARGE,), None)
    assert (fetch(device, target) == 6).all()
    assert noise


def test_memory_that_stays_on_the_device(either_device: Device) -> None:
    x, y = np.arange(100, dtype=np.uint8), np.zeros(100, np.uint8)
    source, target = argument_for(either_device, x), argument_for(either_device, y, "write")
    between = device_memory(either_device, 100)
    kernel = build(either_device, DOUBLE).new_kernel("twice")
    for arguments in ((source, between), (between, target)):
        kernel.set_args(arguments[0].value, arguments[1].value)
        cl.enqueue_nd_range_kernel(either_device.queue, kernel, (100,), None)
    assert np.array_equal(fetch(either_device, target), (4 * x.astype(int)) % 256)
    assert device_memory(either_device, 0).value is not None


def test_strided_arrays_must_not_get_here(device: Device) -> None:
    with pytest.raises(CompilerBug, match="strides"):
        argument_for(device, np.zeros((4, 4), np.float32).T)


def test_a_read_only_array_takes_no_result(device: Device) -> None:
    x = np.zeros(8, np.float32)
    x.flags.writeable = False
    for access in ("write", "readwrite"):
        with pytest.raises(LirError, match="read-only"):
            argument_for(device, x, access)


def test_one_piece_larger_than_the_device_allows(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    small = dataclasses.replace(device.info, shared_pointers=False, max_allocation=1000)
    monkeypatch.setattr(device, "info", small)
    argument_for(device, np.zeros(1000, np.uint8))
    with pytest.raises(DeviceError, match="1001 bytes are more than"):
        argument_for(device, np.zeros(1001, np.uint8))


def test_a_large_array_lies_half_a_page_from_another(pool: OutputPool) -> None:
    for place in (4096 * 17 + 16, 4096 * 17 + 2048, 4096 * 17 + 4032):
        found = address(pool.empty((LARGE,), F32, place))
        assert found % 64 == 0
        assert min((found - place) % 4096, (place - found) % 4096) >= 2048 - 64
