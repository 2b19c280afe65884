"""A loss beside torch's in float64: the value, and gradients by every float operand under a random incoming gradient.

In: the name of a loss, arrays, and a function of torch tensors that gives what is expected. The programs run in f64, in
the interpreter and on devices, after all passes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from functions import PLAIN, build, evaluate, module_of, op, passes

from lossc.compiler import compile_module
from lossc.compiler.gradient import request_gradients
from lossc.ir.composites import COMPOSITES
from lossc.ir.diagnostics import DeviceError
from lossc.ir.function import Function
from lossc.ir.tensor import Tensor
from lossc.ir.types import is_float, numpy_dtype
from lossc.runtime.device import Device, select
from lossc.runtime.execute import Executable

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'lossc[torch]'")

Arrays = Mapping[str, np.ndarray]
Reference = Callable[..., Any]
Level = str

INTERPRETER: Sequence[Level] = ("plain", "prepared")
"""The function as differentiated, and after all passes."""
LEVELS: Sequence[Level] = (*INTERPRETER, "intel", "pocl")

REDUCTIONS = ("mean", "sum", "none")
RUNS = [
    *((level, reduction) for level in INTERPRETER for reduction in REDUCTIONS),
    *(("intel", "mean"), ("intel", "none"), ("pocl", "sum")),
]
"""Where every reduction is to be seen: each on some device. Kernels take longer to build than to check."""


def execute(function: Function, arrays: Arrays, level: Level | Device) -> list[np.ndarray]:
    if isinstance(level, str) and level in INTERPRETER:
        return evaluate(passes(function, PLAIN if level == "plain" else ("prepare",)), arrays)
    device = _device(level) if isinstance(level, str) else level
    compiled = compile_module(module_of(function), device.info)
    run = Executable(compiled.program, device, compiled.sources(), compiled.build_options)
    return [np.asarray(found) for found in run(arrays)]


def _device(name: str) -> Device:
    try:
        return select(name)
    except DeviceError as error:
        if os.environ.get("CI"):
            pytest.fail(f"this test needs the OpenCL implementation {name}: {error}")
        pytest.skip(f"the OpenCL implementation {name} is not installed here: {error}")


def loss_function(name: str, inputs: Mapping[str, str], **attributes: Any) -> Function:
    """One loss of operands that are called as the inputs are."""
    return build(inputs, lambda *operands: _loss(name, dict(zip(inputs, operands)), attributes))


def _loss(name: str, operands: Mapping[str, Tensor], attributes: Mapping[str, Any]) -> Tensor:
    named = {"operands": tuple(operands)} if "operands" in COMPOSITES[name].attributes else {}
    return op(name, *operands.values(), **named, **attributes)


def gradients_of(function: Function) -> tuple[Function, list[str], str]:
    """With the gradient by every float input: the function, those inputs, the name of the incoming gradient."""
    floats = [value.name for value in function.inputs if is_float(value.type.dtype)]
    asked = request_gradients(function, floats, upstream=True)
    return asked, floats, asked.inputs[-1].name


def agree(
    name: str, inputs: Mapping[str, str], arrays: Arrays, reference: Reference, level: Level, *,
    rtol: float = 1e-9, atol: float = 1e-12, **attributes: Any,
) -> None:  # fmt: skip
    """`reference` takes tensors by keyword, under the names of the operands."""
    function = loss_function(name, inputs, **attributes)
    _assert_alike(function, arrays, lambda tensors: reference(**tensors), level, rtol, atol,
                  attributes.get("reduction") == "none")  # fmt: skip


def agree_in_order(
    name: str, inputs: Mapping[str, str], arrays: Arrays, reference: Reference, level: Level | Device, *,
    rtol: float = 1e-9, atol: float = 1e-12, **attributes: Any,
) -> None:  # fmt: skip
    """The same for inputs that are in the order of the operands, whatever they are called."""
    function = build(inputs, lambda *operands: op(name, *operands, **attributes))
    _assert_alike(function, arrays, lambda tensors: reference(*tensors.values()), level, rtol, atol,
                  attributes.get("reduction") == "none")  # fmt: skip


def _assert_alike(
    function: Function, arrays: Arrays, reference: Callable[[dict[str, Any]], Any], level: Level | Device,
    rtol: float, atol: float, unreduced: bool,
) -> None:  # fmt: skip
    asked, floats, seed = gradients_of(function)
    tensors = {key: torch.tensor(array, requires_grad=key in floats) for key, array in arrays.items()}
    expected = reference(tensors)
    upstream = np.random.default_rng(5).standard_normal(expected.shape)
    wanted = torch.autograd.grad(expected, [tensors[key] for key in floats], torch.tensor(upstream), allow_unused=True)
    types = {value.name: numpy_dtype(value.type.dtype) for value in function.inputs}
    given = {key: array.astype(types[key]) for key, array in arrays.items()}
    given[seed] = np.asarray(upstream).reshape(expected.shape if unreduced else (1,))
    found = execute(asked, given, level)
    np.testing.assert_allclose(found[0].reshape(expected.shape), expected.detach(), rtol=rtol, atol=atol)
    for key, gradient, tensor in zip(floats, found[1:], wanted):
        zero = np.zeros_like(arrays[key])
        np.testing.assert_allclose(gradient, zero if tensor is None else tensor.numpy(), rtol=rtol, atol=atol,
                                   err_msg=f"gradient by {key}")  # fmt: skip


def agree_twice(
    name: str, inputs: Mapping[str, str], arrays: Arrays, reference: Reference, by: Sequence[str], *,
    rtol: float = 1e-8, atol: float = 1e-10, **attributes: Any,
) -> None:  # fmt: skip
    """The gradient of <gradient, direction>, for a random direction: the product of the second derivatives with it."""
    names = {f"along_{key}": inputs[key] for key in by}

    def body(*operands: Any) -> Any:
        given = dict(zip((*inputs, *names), operands))
        loss = _loss(name, {key: given[key] for key in inputs}, attributes)
        gradients = loss.builder.emit_many("grad", [loss.value, *(given[key].value for key in by)], {})
        products = [
            (Tensor(gradient, loss.builder) * given[f"along_{key}"]).sum() for gradient, key in zip(gradients, by)
        ]
        return sum(products[1:], products[0])

    function = build({**inputs, **names}, body)
    random = np.random.default_rng(11)
    directions = {f"along_{key}": random.standard_normal(arrays[key].shape) for key in by}
    found = evaluate(passes(request_gradients(function, by), PLAIN), {**arrays, **directions})
    tensors = {key: torch.tensor(array, requires_grad=key in by) for key, array in arrays.items()}
    loss = reference(**tensors).sum()
    first = torch.autograd.grad(loss, [tensors[key] for key in by], create_graph=True)
    product = sum((g * torch.tensor(directions[f"along_{key}"])).sum() for g, key in zip(first, by))
    wanted = torch.autograd.grad(product, [tensors[key] for key in by], allow_unused=True)
    for key, gradient, tensor in zip(by, found[1:], wanted):
        zero = np.zeros_like(arrays[key])
        np.testing.assert_allclose(gradient, zero if tensor is None else tensor.numpy(), rtol=rtol, atol=atol,
                                   err_msg=f"second gradient by {key}")  # fmt: skip


def reduced(values: Any, reduction: str) -> Any:
    return {"none": values, "sum": values.sum(), "mean": values.mean()}[reduction]


def labels_by_hand(log_probs: Any, t: Any, w: Any, ignore: int, smoothing: float, reduction: str) -> Any:
    """Cross-entropy of labels, torch's own formula in operations that torch differentiates by the weights, too."""
    axis = min(1, log_probs.ndim - 1)
    classes = log_probs.shape[axis]
    w = torch.ones(classes, dtype=log_probs.dtype) if w is None else w
    kept = t != ignore
    safe = torch.where(kept, t, 0)
    row_weight = torch.where(kept, w[safe], 0.0)
    nll = -row_weight * log_probs.gather(axis, safe.unsqueeze(axis)).squeeze(axis)
    shape = [classes if a == axis else 1 for a in range(log_probs.ndim)]
    smooth = torch.where(kept, -(w.reshape(shape) * log_probs).sum(axis), 0.0)
    rows = nll * (1 - smoothing) + smooth * (smoothing / classes)
    return {"none": rows, "sum": rows.sum(), "mean": rows.sum() / row_weight.sum()}[reduction]
