"""Losses by labels, all alike: ignored rows, weights, labels out of range, one class, no rows, 16 bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from device_runs import Runner, run
from numerics.edges import INF, NAN, C, by_rows, f32, row, text

from lossc.ir.diagnostics import LirError
from lossc.ir.parser import parse
from lossc.runtime.device import Device

LABELLED = ("focal_cross_entropy_loss", "poly_cross_entropy_loss", "multi_margin_loss")


@pytest.mark.parametrize("loss", ["focal_cross_entropy_loss", "poly_cross_entropy_loss"])
class TestIgnoredRows:
    X = np.stack([row(at3=NAN), row(-INF), row(at0=INF), row(at2=1.0)])

    def test_give_nothing_whatever_they_hold(self, device: Device, loss: str) -> None:
        t = np.array([-100, -100, -100, 2], np.int32)
        each = run(by_rows(loss, 'reduction = "none", ignore_index = -100'), device, x=self.X, t=t)
        np.testing.assert_array_equal(each["loss"][:3], 0)
        np.testing.assert_array_equal(each["gx"][:3], np.zeros((3, C)))
        alone = run(by_rows(loss), device, x=self.X[3:], t=t[3:])
        np.testing.assert_allclose(each["loss"][3:], alone["loss"], rtol=1e-6)
        mean = run(by_rows(loss, "ignore_index = -100"), device, x=self.X, t=t)
        np.testing.assert_allclose(mean["loss"], alone["loss"], rtol=1e-6)
        np.testing.assert_allclose(mean["gx"][3:], alone["gx"], rtol=1e-6)

    @pytest.mark.parametrize(("empty", "expected"), [("nan", NAN), ("zero", 0.0)])
    def test_and_no_other_row(self, device: Device, loss: str, empty: str, expected: float) -> None:
        t = np.full(4, -100, np.int32)
        found = run(by_rows(loss, f'ignore_index = -100, empty = "{empty}"'), device, x=self.X, t=t)
        np.testing.assert_array_equal(found["loss"], [expected])
        np.testing.assert_array_equal(found["gx"], np.zeros((4, C)))
        with pytest.raises(LirError, match="at least one row that is not ignored"):
            run(by_rows(loss, 'ignore_index = -100, empty = "error"'), device, x=self.X, t=t)


@pytest.mark.parametrize("loss", ["focal_cross_entropy_loss", "poly_cross_entropy_loss"])
def test_a_weighted_mean_divides_by_the_number_of_rows(device: Device, loss: str) -> None:
    source = text(loss, "f32[N, 4]", "i32[N]", "ignore_index = 3", "f32[1]", "w: f32[4]")
    x, t, w = np.zeros((4, 4), np.float32), np.array([0, 1, 3, 1], np.int32), f32(2, 0.5, 1, 1)
    value = {"focal": 0.75**2 * math.log(4), "poly_": math.log(4) + 1.5}[loss[:5]]
    found = run(source, device, x=x, t=t, w=w)
    np.testing.assert_allclose(found["loss"], [(2 + 0.5 + 0.5) * value / 3], rtol=1e-6)
    np.testing.assert_allclose(found["gw"], f32(1, 2, 0, 0) * value / 3, rtol=1e-6)


@pytest.mark.parametrize("loss", LABELLED)
@pytest.mark.parametrize(("label", "numbers"), [("i64", (2**32 + 1, -(2**63), C)), ("u8", (255,)), ("i8", (-128,))])
def test_a_label_out_of_range_is_refused(device: Device, loss: str, label: str, numbers: tuple[int, ...]) -> None:
    """By the number and the row; and the program goes on working."""
    runner = Runner(by_rows(loss, label=label), device)
    x = np.zeros((7, C), np.float32)
    t = np.arange(7).astype({"u8": "uint8"}.get(label, f"int{label[1:]}"))
    for wrong in numbers:
        bad = t.copy()
        bad[4:6] = wrong
        with pytest.raises(LirError, match=rf"\[0, {C}\).*found {wrong} at row 4"):
            runner(x=x, t=bad)
        assert np.isfinite(runner(x=x, t=t)["loss"]).all()


@pytest.mark.parametrize("loss", LABELLED)
def test_labels_as_u8(device: Device, loss: str) -> None:
    """Beyond 127 they are no negative numbers."""
    x = np.random.default_rng(0).normal(size=(3, 300)).astype(np.float32)
    wide = run(by_rows(loss, c="300"), device, x=x, t=np.array([0, 200, 255], np.int32))
    narrow = run(by_rows(loss, c="300", label="u8"), device, x=x, t=np.array([0, 200, 255], np.uint8))
    for name in ("loss", "gx"):
        np.testing.assert_allclose(narrow[name], wide[name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("loss", LABELLED)
@pytest.mark.parametrize("columns", ["1", "C"])
def test_one_class(device: Device, loss: str, columns: str) -> None:
    x = np.array([[5.0], [-1e4], [3e38]], np.float32)
    found = run(by_rows(loss, c=columns), device, x=x, t=np.zeros(3, np.int32))
    np.testing.assert_array_equal(found["loss"], np.zeros(3))
    np.testing.assert_array_equal(found["gx"], np.zeros((3, 1)))


@pytest.mark.parametrize("loss", LABELLED)
@pytest.mark.parametrize(("reduction", "expected"), [("mean", [NAN]), ("sum", [0]), ("none", [])])
def test_no_rows(device: Device, loss: str, reduction: str, expected: list[float]) -> None:
    x, t = np.zeros((0, C), np.float32), np.zeros(0, np.int32)
    found = run(by_rows(loss, f'reduction = "{reduction}"'), device, x=x, t=t)
    np.testing.assert_array_equal(found["loss"], expected)
    assert found["gx"].shape == (0, C)


@pytest.mark.parametrize("loss", LABELLED)
def test_one_hot_integers_are_refused(loss: str) -> None:
    with pytest.raises(LirError, match="one-hot"):
        parse(text(loss, "f32[N, 4]", "i32[N, 4]"))


@pytest.mark.parametrize("loss", ["focal_cross_entropy_loss", "multi_margin_loss"])
def test_distributions_are_refused_where_labels_are_meant(loss: str) -> None:
    with pytest.raises(LirError, match="integer class labels"):
        parse(text(loss, "f32[N, 4]", "f32[N, 4]"))


# --- storage ----------------------------------------------------------------------------------------------------

# The target, and the shape of what is not reduced.
SIXTEEN = {
    **dict.fromkeys(("hinge_loss", "squared_hinge_loss", "soft_margin_loss", "sigmoid_focal_loss", "dice_loss"),
                    ("f32[N, 5]", "[N, 5]")),
    **dict.fromkeys(LABELLED, ("i32[N]", "[N]")),
    "multilabel_soft_margin_loss": ("f32[N, 5]", "[N]"),
    "multilabel_margin_loss": ("i32[N, 5]", "[N]"),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("loss", SIXTEEN)
def test_16_bit_storage(device: Device, loss: str, dtype: str) -> None:
    """Arithmetic is in f32: every result is that of f32, rounded once to the nearest."""
    import ml_dtypes

    kind = np.float16 if dtype == "f16" else ml_dtypes.bfloat16
    target, shape = SIXTEEN[loss]
    generator = np.random.default_rng(0)
    values = generator.uniform(size=(6, 5)) if loss == "dice_loss" else generator.normal(size=(6, 5)) * 3
    x = values.astype(np.float32).astype(kind)
    if target.startswith("f32"):
        t: np.ndarray = generator.integers(0, 2, (6, 5)).astype(np.float32)
    else:
        t = generator.integers(0, 5, (6,) if target == "i32[N]" else (6, 5)).astype(np.int32)

    def source(dtype: str) -> str:
        return f"""func @f(%x: {dtype}[N, 5], %t: {target})
            -> (%loss: f32[1], %each: {dtype}{shape}, %gx: {dtype}[N, 5]) {{
          %loss = {loss} %x, %t
          %each = {loss} %x, %t {{reduction = "none"}}
          %gx = grad %each, %x
          return %loss, %each, %gx
        }}"""

    short = run(source(dtype), device, x=x, t=t)
    wide = run(source("f32"), device, x=x.astype(np.float32), t=t)
    np.testing.assert_allclose(short["loss"], wide["loss"], rtol=1e-6)
    for name in ("each", "gx"):
        assert short[name].dtype == kind
        unit = {"f16": 2.0**-11, "bf16": 2.0**-8}[dtype]
        np.testing.assert_allclose(short[name].astype(np.float32), wide[name], rtol=1.001 * unit, atol=2.0**-25)
