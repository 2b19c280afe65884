"""Small inputs, 64 x 10: what a call costs beside the arithmetic. Microseconds for loss and gradient by the logits.

Each system takes and gives what its users have: lossc NumPy arrays, new ones for every result; torch and lossc.torch
tensors; jax its own arrays. *driver* is the launch of an empty kernel, arguments preset, on the queue that lossc uses
for small work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .cases import TINY, Case, case_of
from .data import Arrays, Data, make_data
from .losses import Options, prepare
from .measure import interleaved
from .systems import Call, Setting, jax_jit, lossc_fresh, lossc_reused, torch_call, torch_compile, torch_eager
from .tables import Row, markdown

FUNCTIONS = {"cross_entropy": "cross_entropy", "mse": "mse_loss", "bce": "binary_cross_entropy"}
CACHE_BYTES, BATCH = 1 << 15, 100


def lossc_functional(case: Case, data: Data, setting: Setting) -> Call:
    """lossc.functional on NumPy arrays, on the device that LOSSC_DEVICE names."""
    import lossc.functional

    run = lossc.functional.value_and_grad(getattr(lossc.functional, FUNCTIONS[case.loss.name]))

    def call(number: int) -> tuple[Any, Arrays]:
        loss, gradient = run(*data.sets[number].values())
        return loss, {"x": gradient}

    return call


def lossc_torch(case: Case, data: Data, setting: Setting) -> Call:
    """lossc.torch in place of torch.nn.functional, with autograd, on the device that LOSSC_DEVICE names."""
    import lossc.torch

    return torch_call(case, data, setting, lossc.torch)


SYSTEMS: Mapping[str, Callable[[Case, Data, Setting], Call]] = {
    "lossc": lossc_fresh,
    "lossc, out=": lossc_reused,
    "lossc.functional": lossc_functional,
    "lossc.torch": lossc_torch,
    "torch eager": torch_eager,
    "torch.compile": torch_compile,
    "jax.jit": jax_jit,
}


def rows(options: Options) -> Iterator[Row]:
    setting = options.setting()
    for name in FUNCTIONS:
        case = case_of(name, TINY)
        if options.only in case.name:
            data = make_data(case, CACHE_BYTES)
            calls, figures = prepare(case, data, dict(SYSTEMS), setting)
            timed = {"driver": _launch(setting.device), **calls}
            figures["driver"] = {}
            found = interleaved(timed, len(data.sets), options.repetitions, options.clock, options.limit, BATCH)
            for system, timing in found.items():
                figures[system] |= timing.figures()
            yield {"name": case.name, "systems": figures}


def _launch(device: Any) -> Callable[[int], None]:
    import pyopencl as cl

    program = cl.Program(device.context, "__kernel void nothing(__global float *x) {}").build()
    kernel = cl.Kernel(program, "nothing")
    memory = cl.Buffer(device.context, cl.mem_flags.READ_WRITE, 64)
    kernel.set_arg(0, memory)
    shape = (1,)

    quick = device.local_thread_queue
    queue = quick or device.queue

    def launch(_: int, keep: object = memory) -> None:
        cl.enqueue_nd_range_kernel(queue, kernel, shape, shape)
        if quick is None:
            queue.finish()

    return launch


def table(rows: Sequence[Row]) -> str:
    systems = ["driver", *SYSTEMS]
    lines = [[row["name"], *(_microseconds(row["systems"].get(name, {})) for name in systems)] for row in rows]
    note = (
        "Microseconds a call, loss and gradient: medians of batches of "
        f"{BATCH}. *driver*: an empty kernel, launched and done. *lossc*: a compiled graph, NumPy arrays in, new "
        "NumPy arrays out; *out=*: into arrays that are there. torch and lossc.torch: tensors, with autograd."
    )
    return markdown(["loss + gradient, us", *systems], lines) + "\n\n" + note


def _microseconds(figures: Mapping[str, Any]) -> str:
    return f"{figures['ms'] * 1e3:.1f}" if "ms" in figures else str(figures.get("fault", "")).split(":")[0]
