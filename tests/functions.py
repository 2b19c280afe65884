"""Small functions for tests: build them, give them inputs, differentiate them, compare with finite differences."""

from __future__ import annotations

import cProfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lossc.compiler.gradient import request_gradients
from lossc.compiler.pipeline import run_passes
from lossc.ir.builder import Builder
from lossc.ir.composites import make_op
from lossc.ir.function import Function, Module
from lossc.ir.interp import interpret
from lossc.ir.tensor import Tensor
from lossc.ir.types import Type, named

Arrays = Mapping[str, np.ndarray]
PLAIN = ("inline", "expand", "autodiff", "inline", "expand")


def type_of(text: str) -> Type:
    """`f32[N, 3]` as a type."""
    dtype, _, dims = text.rstrip("]").partition("[")
    return Type(dtype, tuple(int(d) if d.strip().isdigit() else named(d.strip()) for d in dims.split(",") if d.strip()))


def build(inputs: Mapping[str, str], body: Callable[..., Any], name: str = "main") -> Function:
    """A function of tensors as a Function; `body` returns one tensor or a tuple of them."""
    builder = Builder()
    tensors = [Tensor(builder.input(key, type_of(text)), builder) for key, text in inputs.items()]
    results = body(*tensors)
    results = results if isinstance(results, tuple) else (results,)
    return builder.function(name, [result.value for result in results])


def calls_of(work: Callable[[], object]) -> int:
    """How many Python functions `work` calls: how long it takes, without the machine's moods."""
    profile = cProfile.Profile(builtins=False)
    profile.runcall(work)
    return sum(entry.callcount for entry in profile.getstats())


def op(name: str, *operands: Tensor, **attributes: Any) -> Tensor:
    """A loss or layer by name, as one operation."""
    builder = operands[0].builder
    return Tensor(builder.append(make_op(name, [operand.value for operand in operands], attributes))[0], builder)


def module_of(*functions: Function) -> Module:
    return Module({function.name: function for function in functions})


def passes(function: Function, names: Sequence[str], *others: Function) -> Function:
    """The entry after some passes."""
    return run_passes(module_of(function, *others), names).entry


def with_gradients(function: Function, wrt: Sequence[str] | None = None, **request: Any) -> Function:
    """The function with its gradients, plainly differentiated and in no other way changed."""
    return passes(request_gradients(function, wrt, **request), PLAIN)


def arrays_for(
    function: Function, sizes: Mapping[str, int], seed: int = 0, low: float = -2, high: float = 2
) -> dict[str, np.ndarray]:
    """Random inputs: floats in [low, high), integers in 0..2, truth values."""
    random = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    for value in function.inputs:
        shape = tuple(
            d if isinstance(d, int) else d.factor * int(np.prod([sizes[n] for n in d.names])) for d in value.type.shape
        )
        if value.type.dtype.startswith(("f", "b")) and value.type.dtype != "bool":
            arrays[value.name] = random.uniform(low, high, shape)
        elif value.type.dtype == "bool":
            arrays[value.name] = random.integers(0, 2, shape).astype(bool)
        else:
            arrays[value.name] = random.integers(0, 3, shape)
    return arrays


def evaluate(function: Function, arrays: Arrays) -> list[np.ndarray]:
    return [np.asarray(result) for result in interpret(function, arrays)]


def assert_gradients(
    function: Function, arrays: Arrays, wrt: Sequence[str], pipeline: Sequence[str] = PLAIN, *,
    step: float = 1e-6, rtol: float = 2e-6, atol: float = 1e-8, seed: int = 7,
) -> None:  # fmt: skip
    """The gradients of the sum of the first output agree with central differences in a random direction."""
    random = np.random.default_rng(seed)
    name = function.names_of_outputs[0]
    found = evaluate(passes(request_gradients(function, wrt, of=name), pipeline), arrays)
    gradients = dict(zip(wrt, found[len(function.outputs) :]))
    plain = passes(function, ("inline", "expand"))
    for key in wrt:
        direction = random.standard_normal(arrays[key].shape)
        above, below = (
            evaluate(plain, {**arrays, key: arrays[key] + sign * step * direction})[0].sum() for sign in (1, -1)
        )
        numeric = (above - below) / (2 * step)
        analytic = float((gradients[key] * direction).sum())
        assert np.isfinite(analytic), f"gradient by {key} is {analytic}"
        np.testing.assert_allclose(analytic, numeric, rtol=rtol, atol=atol + 1e-9 * abs(above) / step * 1e-6,
                                   err_msg=f"gradient by {key}")  # fmt: skip
