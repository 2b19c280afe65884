"""The hand-written kernels behind one interface: what generated kernels are measured against.

In: a pyopencl context and queue on a CPU device with shared virtual memory. Out: objects whose
`run(logits, targets, out_loss, out_grad)` computes the mean loss and its gradient into the arrays given.
The arrays are C-contiguous, start on 64-byte boundaries (`aligned_empty`), and are used where they lie.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from pathlib import Path

import numpy as np
import pyopencl as cl

HERE = Path(__file__).parent
ALIGNMENT = 64
BUILD_OPTIONS = ["-cl-std=CL3.0"]


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype | type = np.float32) -> np.ndarray:
    """An uninitialised array that starts on a 64-byte boundary, as non-temporal stores demand."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    block = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + nbytes].view(dtype).reshape(shape)


def build_kernel(context: cl.Context, file: str, name: str, **macros: int) -> cl.Kernel:
    """Build one kernel of a .cl file beside this module. Keep it: looking a kernel up makes a new object."""
    options = BUILD_OPTIONS + [f"-D{macro}={value}" for macro, value in macros.items()]
    program = cl.Program(context, (HERE / file).read_text()).build(options)
    return cl.Kernel(program, name)


class LossKernel:
    """A loss kernel and the one-item kernel that adds its partial sums, with their arguments preset."""

    def __init__(self, queue: cl.CommandQueue, kernel: cl.Kernel, finish: cl.Kernel, items: int, scale: float) -> None:
        self._queue = queue
        self._kernel = kernel
        self._finish = finish
        self._items = (items,)
        self._partial = aligned_empty((items,))
        self._bound: tuple[np.ndarray, ...] = ()
        kernel.set_arg(2, cl.SVM(self._partial))
        kernel.set_arg(4, np.float32(scale))
        finish.set_arg(0, cl.SVM(self._partial))
        finish.set_arg(2, np.int32(items))
        finish.set_arg(3, np.float32(scale))

    def _bind(self, *arrays: np.ndarray) -> None:
        for array in arrays:
            if not array.flags.c_contiguous or array.ctypes.data % ALIGNMENT:
                raise ValueError("arrays must be C-contiguous and start on a 64-byte boundary: use aligned_empty")
        logits, targets, out_loss, out_grad = arrays
        self._kernel.set_arg(0, cl.SVM(logits))
        self._kernel.set_arg(1, cl.SVM(targets))
        self._kernel.set_arg(3, cl.SVM(out_grad))
        self._finish.set_arg(1, cl.SVM(out_loss))
        self._bound = arrays

    def run(self, logits: np.ndarray, targets: np.ndarray, out_loss: np.ndarray, out_grad: np.ndarray) -> None:
        """Compute into `out_loss` (one element) and `out_grad`, and wait."""
        arrays = (logits, targets, out_loss, out_grad)
        if len(self._bound) != 4 or any(old is not new for old, new in zip(self._bound, arrays, strict=True)):
            self._bind(*arrays)
        cl.enqueue_nd_range_kernel(self._queue, self._kernel, self._items, None)
        cl.enqueue_nd_range_kernel(self._queue, self._finish, (1,), (1,))
        self._queue.finish()


def cross_entropy(context: cl.Context, queue: cl.CommandQueue, rows: int, classes: int) -> LossKernel:
    """Cross-entropy with int32 labels, logits f32[rows, classes]. See cross_entropy_row_item.cl."""
    group = 16 // gcd(classes, 16)
    rows_per_item = 32 if classes <= 8192 else 16
    if classes < 16 or rows % rows_per_item:
        raise ValueError(f"needs 16 classes or more and rows in multiples of {rows_per_item}, got {rows} x {classes}")
    macros = {"C": classes, "ROWS": rows_per_item, "GROUP": group}
    kernel = build_kernel(context, "cross_entropy_row_item.cl", "cross_entropy", **macros)
    finish = build_kernel(context, "cross_entropy_row_item.cl", "finish", **macros)
    return LossKernel(queue, kernel, finish, rows // rows_per_item, 1.0 / rows)


def bce_with_logits(context: cl.Context, queue: cl.CommandQueue, elements: int) -> LossKernel:
    """Binary cross-entropy with logits and f32 targets over `elements` numbers. See bce_with_logits.cl."""
    vectors = 1024
    if elements % (16 * vectors):
        raise ValueError(f"needs a multiple of {16 * vectors} elements, got {elements}")
    kernel = build_kernel(context, "bce_with_logits.cl", "bce_with_logits", VECTORS=vectors)
    finish = build_kernel(context, "bce_with_logits.cl", "finish", VECTORS=vectors)
    return LossKernel(queue, kernel, finish, elements // (16 * vectors), 1.0 / elements)


def device_copy(context: cl.Context, queue: cl.CommandQueue, reads: int, nontemporal: bool) -> Callable[..., None]:
    """A copy that reads one or two arrays and writes one: `copy(read, ..., written)`; waits."""
    vectors = 64
    name = {1: "copy_two", 2: "copy_three"}[reads]
    kernel = build_kernel(context, "copy.cl", name, VECTORS=vectors, NONTEMPORAL=int(nontemporal))

    def copy(*arrays: np.ndarray) -> None:
        items = arrays[0].size // (16 * vectors)
        kernel.set_args(*(cl.SVM(array) for array in arrays))
        cl.enqueue_nd_range_kernel(queue, kernel, (items,), None)
        queue.finish()

    return copy
