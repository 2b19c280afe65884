"""Tensors of torch as arrays and back, without copying on the CPU, and the tensors that lossc.torch does not take.

In: tensors. Out: NumPy arrays over the same memory; results as tensors over the memory of arrays. Whatever lossc cannot
read, or would give a wrong gradient for, is refused by name with the way round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import has_torch_function

from lossc.arrays import to_dtype
from lossc.errors import RefusedElementType, RefusedKind, Unsupported
from lossc.ir.tensor import Tensor as GraphTensor

try:
    # torch has no public way to ask for these; its `jit.is_tracing` takes twice as long.
    from torch._C import _are_functorch_transforms_active
    from torch._C import _is_tracing as is_tracing
    from torch._C._dynamo import eval_frame, guards
    from torch._C._functorch import is_functorch_wrapped_tensor
    from torch.autograd import forward_ad

    _SKIP = eval_frame._FrameExecStrategy(eval_frame._FrameAction.SKIP, eval_frame._FrameAction.SKIP)
    _set_strategy, _ = eval_frame.set_code_exec_strategy, forward_ad._current_level
    _guards: Any = guards.TensorGuards
    storage_uses = torch._C._storage_Use_Count
except (ImportError, AttributeError) as error:
    raise Unsupported(f"lossc.torch does not run with torch {torch.__version__}: {error}",
                      "torch 2.13 is tested; lossc.functional takes NumPy arrays") from error  # fmt: skip

DTYPES = {
    torch.float32: "f32", torch.float64: "f64", torch.float16: "f16", torch.bfloat16: "bf16",
    torch.int64: "i64", torch.int32: "i32", torch.int16: "i16", torch.int8: "i8", torch.uint8: "u8",
    torch.bool: "bool",
}  # fmt: skip

DTYPE_OF = {name: dtype for dtype, name in DTYPES.items()}

PLAIN = (Tensor, torch.nn.Parameter)
# What a class of tensors has that does not say how its operations are done.
_NOTHING = vars(Tensor)["__torch_dispatch__"]


def as_array(tensor: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor's elements, in its own memory where they lie one after another."""
    if tensor.dtype is torch.bfloat16:
        # NumPy has no bfloat16 of its own.
        tensor = tensor.detach().resolve_neg().contiguous().view(torch.int16)
        return tensor.numpy().view(to_dtype("bf16")).reshape(shape)
    array = tensor.numpy(force=True)
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    return array if array.shape == shape else array.reshape(shape)


def as_tensor(array: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """A tensor over the array's memory. It is no view of another: a view that a function of autograd has made could
    not be changed in place."""
    # bfloat16 is an extension type to NumPy.
    if array.dtype.kind == "V":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).view(shape).data
    tensor = torch.from_numpy(array)
    return tensor if array.shape == shape else tensor.view(shape).data


def dtype_name(function: str, name: str, tensor: Tensor) -> str:
    """The LIR element type. Raises RefusedElementType."""
    found = DTYPES.get(tensor.dtype)
    if found is None:
        raise RefusedElementType(f"{function}: {name} has element type {tensor.dtype}, which lossc does not have",
                                 f"convert it, or {_in_torch(function)}")  # fmt: skip
    return found


def _in_torch(function: str) -> str:
    """The way round that torch itself is."""
    known = hasattr(torch.nn.functional, function)
    return f"call torch.nn.functional.{function}" if known else "compute it with torch"


def overridden(values: Sequence[Any]) -> bool:
    """Whether one of these is of a class that has torch's functions its own way. Values of a graph have some, but no
    functions of `lossc.torch`, whose refusal says what to write."""
    return has_torch_function(values) and not any(isinstance(value, GraphTensor) for value in values)


def check_tensor(function: str, name: str, tensor: object) -> None:
    """Refuse what is no plain tensor in the host's memory."""
    if isinstance(tensor, GraphTensor):
        raise RefusedKind(f"{function}: {name} must be a torch.Tensor, found a value of a graph",
                          "values have every loss as a method, and lossc.nn has it as a class")  # fmt: skip
    if not isinstance(tensor, Tensor):
        raise RefusedKind(f"{function}: {name} must be a torch.Tensor, found {type(tensor).__name__}",
                          f"torch.as_tensor({name}) makes one; lossc.functional takes NumPy arrays")  # fmt: skip
    if not tensor.is_cpu:
        raise Unsupported(f"{function}: {name} is on {tensor.device}: lossc.torch takes tensors on the CPU",
                          f"move it there with .cpu(), or {_in_torch(function)}")  # fmt: skip
    if tensor.layout is not torch.strided:
        raise Unsupported(f"{function}: {name} is stored as {tensor.layout}",
                          "make it dense with .to_dense()")  # fmt: skip
    if type(tensor) not in PLAIN and getattr(type(tensor), "__torch_dispatch__", _NOTHING) is not _NOTHING:
        raise Unsupported(f"{function}: {name} is a {type(tensor).__name__}, which has no memory that lossc can read",
                          f"{_in_torch(function)} there")  # fmt: skip


def likeness(tensors: Sequence[Tensor]) -> Callable[..., bool]:
    """A function of as many tensors that says whether they are like these, which lie plainly in the host's memory: of
    their classes, element types, shapes and strides, on their device, with gradients and `torch.autocast` as here."""
    sizes, strides = [list(tensor.shape) for tensor in tensors], [list(tensor.stride()) for tensor in tensors]
    # What torch.compile asks of the arguments of each call: a sixth of the time of asking them one by one.
    return _guards(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides).check


def lie_plainly(tensors: Iterable[Tensor]) -> bool:
    """Whether the elements of each lie one after another, as they are."""
    return all(map(Tensor.is_contiguous, tensors)) and not any(map(Tensor.is_neg, tensors))


def check_modes(function: str, tensors: Iterable[Tensor]) -> None:
    """Refuse the ways of running in which a result of lossc would silently have no derivative."""
    instead = f"{_in_torch(function)} there"
    if _are_functorch_transforms_active() and any(is_functorch_wrapped_tensor(tensor) for tensor in tensors):
        raise Unsupported(f"{function}: lossc.torch does not run inside torch.func.vmap, grad and their like",
                          "use .backward() or torch.autograd.grad, with create_graph=True for second derivatives; "
                          f"or {instead}")  # fmt: skip
    _check_tangents(function, tensors, instead)
    if is_tracing():
        raise Unsupported(f"{function}: lossc.torch cannot be traced into TorchScript", instead)


def check_upstreams(function: str, upstreams: Iterable[Tensor]) -> None:
    """Refuse the ways of differentiating in which a gradient of lossc would lack something."""
    instead = f"{_in_torch(function)} there"
    if not all(map(_has_storage, upstreams)):
        raise Unsupported(f"{function}: lossc.torch takes one incoming gradient at a time, found a batch of them",
                          f"leave out is_grads_batched=True and vectorize=True, or {instead}")  # fmt: skip
    _check_tangents(function, upstreams, instead)


def _has_storage(tensor: Tensor) -> bool:
    try:
        tensor.untyped_storage()
    except NotImplementedError:
        return False
    return True


def _check_tangents(function: str, tensors: Iterable[Tensor], instead: str) -> None:
    if forward_ad._current_level >= 0 and any(forward_ad.unpack_dual(t).tangent is not None for t in tensors):
        raise Unsupported(f"{function}: lossc.torch has no forward-mode derivatives", instead)


def keep_out_of_graphs(function: Callable[..., Any]) -> None:
    """Have torch.compile call a Python function as it is, with all that it calls, between two of its graphs."""
    _set_strategy(function.__code__, _SKIP)
    function._torchdynamo_disable = True  # type: ignore[attr-defined]
