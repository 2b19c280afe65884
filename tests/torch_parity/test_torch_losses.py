"""`lossc.torch` and `lossc.functional` beside torch: values, gradients and second derivatives, in float64."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from torch_parity.loss_cases import AXES, CASES, OWN, Arrays, Case

import lossc.functional as arrays_of

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'lossc[torch]'")
ours = pytest.importorskip("lossc.torch")
theirs = torch.nn.functional

REDUCTIONS = ("mean", "sum", "none")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def drawn(case: Case) -> Arrays:
    return case.make(np.random.default_rng(zlib.crc32(case.id.encode())))


def tensors_of(arrays: Arrays, by: str = "", dtype: Any = None) -> dict[str, Any]:
    found = {}
    for name, array in arrays.items():
        tensor = torch.tensor(array)
        tensor = tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
        found[name] = tensor.requires_grad_(name in by.split())
    return found


def settings_of(case: Case, reduction: str) -> dict[str, Any]:
    return {**case.settings, "reduction": reduction}


def reductions_of(case: Case) -> tuple[str, ...]:
    return (*REDUCTIONS, "batchmean") if case.loss == "kl_div" else REDUCTIONS


WITH_REDUCTION = [
    pytest.param(case, reduction, id=f"{case.id}-{reduction}") for case in CASES for reduction in reductions_of(case)
]


@pytest.mark.parametrize(("case", "reduction"), WITH_REDUCTION)
def test_values_and_gradients(case: Case, reduction: str) -> None:
    arrays, settings = drawn(case), settings_of(case, reduction)
    found, expected = tensors_of(arrays, case.by), tensors_of(arrays, case.by)
    loss, reference = getattr(ours, case.loss)(**found, **settings), getattr(theirs, case.loss)(**expected, **settings)
    assert loss.shape == reference.shape
    assert loss.dtype == reference.dtype
    torch.testing.assert_close(loss, reference, rtol=1e-10, atol=1e-12)
    upstream = torch.randn(reference.shape, dtype=reference.dtype, generator=torch.Generator().manual_seed(1))
    names = case.by.split()
    gradients = torch.autograd.grad(loss, [found[name] for name in names], upstream)
    wanted = torch.autograd.grad(reference, [expected[name] for name in names], upstream)
    for name, one, other in zip(names, gradients, wanted):
        # torch rounds a few constants of its kernels to f32.
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"by {name}: {text}")


FIRST = [case for index, case in enumerate(CASES) if case.loss not in {before.loss for before in CASES[:index]}]
"""One case of each loss: for what goes the same way whatever the tensors are."""

IN_TURN = [
    pytest.param(case, reduction, id=f"{case.id}-{reduction}")
    for index, case in enumerate(CASES)
    for reduction in (("none", *reductions_of(case)[3:]) if case in FIRST else ())
    + (("mean", "sum")[index % 2],)
]  # fmt: skip


@pytest.mark.parametrize(("case", "reduction"), IN_TURN)
def test_arrays(case: Case, reduction: str) -> None:
    arrays, settings = drawn(case), settings_of(case, reduction)
    expected = tensors_of(arrays, case.by)
    reference = getattr(theirs, case.loss)(**expected, **settings)
    value = getattr(arrays_of, case.loss)(**arrays, **settings)
    assert isinstance(value, np.ndarray)
    assert value.shape == reference.shape
    assert value.dtype == np.float64
    np.testing.assert_allclose(value, reference.detach(), rtol=1e-10, atol=1e-12)
    if reduction == "none":
        return
    names = case.by.split()
    function = getattr(arrays_of, case.loss)
    positions = tuple(list(function.__signature__.parameters).index(name) for name in names)
    value, gradients = arrays_of.value_and_grad(function, positions)(**arrays, **settings)
    np.testing.assert_allclose(value, reference.detach(), rtol=1e-10, atol=1e-12)
    for name, one, other in zip(names, gradients, torch.autograd.grad(reference, [expected[name] for name in names])):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9, err_msg=f"by {name}")


@pytest.mark.parametrize("case", AXES, ids=lambda case: case.id)
def test_along_an_axis(case: Case) -> None:
    arrays = drawn(case)
    found, expected = tensors_of(arrays, "input"), tensors_of(arrays, "input")
    one, other = (getattr(functions, case.loss)(**tensors, **case.settings)
                  for functions, tensors in ((ours, found), (theirs, expected)))  # fmt: skip
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    upstream = torch.randn(other.shape, dtype=other.dtype, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        torch.autograd.grad(one, found["input"], upstream), torch.autograd.grad(other, expected["input"], upstream)
    )
    np.testing.assert_allclose(getattr(arrays_of, case.loss)(**arrays, **case.settings), other.detach(), rtol=1e-12)


def differentiable(case: Case, arrays: Arrays) -> tuple[Any, list[Any]]:
    """The unreduced loss as a function of every float tensor, also of those that torch does not differentiate by."""
    tensors = tensors_of(arrays)
    names = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
    if case.loss in SIGNS_ARE_FIXED:
        names.remove("target")

    def loss(*values: Any) -> Any:
        return getattr(ours, case.loss)(**{**tensors, **dict(zip(names, values))}, **settings_of(case, "none"))

    return loss, [tensors[name].clone().requires_grad_() for name in names]


# Their targets are compared with 1 and -1.
SIGNS_ARE_FIXED = ("cosine_embedding_loss", "hinge_embedding_loss")


@pytest.mark.parametrize("case", [*CASES, *OWN], ids=lambda case: case.id)
def test_every_float_tensor_against_differences(case: Case) -> None:
    loss, values = differentiable(case, drawn(case))
    assert torch.autograd.gradcheck(loss, values, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", [*CASES, *OWN, *AXES], ids=lambda case: case.id)
def test_second_derivatives_against_differences(case: Case) -> None:
    if case in AXES:
        (value,) = tensors_of(drawn(case), "input").values()
        assert torch.autograd.gradgradcheck(lambda x: getattr(ours, case.loss)(x, **case.settings), (value,))
        return
    loss, values = differentiable(case, drawn(case))
    assert torch.autograd.gradgradcheck(lambda *values: loss(*values).mean(), values, eps=1e-6, atol=1e-6)


# torch has no second derivatives of these.
ONCE = ("multi_margin_loss", "multilabel_margin_loss")


@pytest.mark.parametrize("case", [case for case in FIRST if case.loss not in ONCE], ids=lambda case: case.id)
def test_second_derivatives_of_the_mean(case: Case) -> None:
    """A Hessian-vector product of the reduced loss is torch's."""
    arrays, settings = drawn(case), settings_of(case, "mean")
    name = case.by.split()[0]
    products = []
    for functions in (ours, theirs):
        tensors = tensors_of(arrays, name)
        loss = getattr(functions, case.loss)(**tensors, **settings) * 3
        (gradient,) = torch.autograd.grad(loss, tensors[name], create_graph=True)
        direction = torch.randn(gradient.shape, dtype=gradient.dtype, generator=torch.Generator().manual_seed(3))
        if gradient.requires_grad:
            (product,) = torch.autograd.grad((gradient * direction).sum(), tensors[name], allow_unused=True)
        else:
            product = None
        products.append(torch.zeros_like(tensors[name]) if product is None else product)
    torch.testing.assert_close(products[0], products[1], rtol=1e-6, atol=1e-9)


NARROW = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}


@pytest.mark.parametrize(("dtype", "reduction"), [("f16", "mean"), ("bf16", "none"), ("f32", "mean")])
@pytest.mark.parametrize("case", [c for c in CASES if not c.label], ids=lambda case: case.id)
def test_other_float_types(case: Case, reduction: str, dtype: str) -> None:
    """Result and gradient have torch's element types; they are those of float64 to the rounding of the type."""
    arrays, settings = drawn(case), settings_of(case, reduction)
    name = case.by.split()[0]
    tensors = tensors_of(arrays, name, NARROW[dtype])
    rounded = {key: value.detach().double() if value.is_floating_point() else value for key, value in tensors.items()}
    rounded[name] = rounded[name].requires_grad_()
    loss, reference = getattr(ours, case.loss)(**tensors, **settings), getattr(theirs, case.loss)(**rounded, **settings)
    assert loss.dtype == NARROW[dtype]
    (gradient,) = torch.autograd.grad(loss.sum(), tensors[name])
    (expected,) = torch.autograd.grad(reference.sum(), rounded[name])
    assert gradient.dtype == NARROW[dtype]
    step = torch.finfo(NARROW[dtype]).eps
    torch.testing.assert_close(loss.double(), reference, rtol=4 * step, atol=4 * step)
    torch.testing.assert_close(gradient.double(), expected, rtol=4 * step, atol=4 * step)
