"""Dice and Tversky where it matters: probabilities of 0 and 1, nothing over nothing, one class."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import Runner, run
from numerics.edges import INF, NAN, text

from lossc.ir.diagnostics import LirError
from lossc.runtime.device import Device


class TestOverlap:
    def source(self, loss: str = "dice_loss", target: str = "f32[N, 2, 6]", attributes: str = "") -> str:
        none = 'reduction = "none"'
        return text(loss, "f32[N, 2, 6]", target, f"{none}, {attributes}" if attributes else none, "f32[N, 2]")

    def test_probabilities_of_exactly_0_and_1(self, device: Device) -> None:
        """Right everywhere is 0, wrong everywhere 1 - s / (6 + s), and each has a finite gradient."""
        x = np.zeros((2, 2, 6), np.float32)
        x[0] = 1
        t = np.ones((2, 2, 6), np.float32)
        found = run(self.source(), device, x=x, t=t)
        np.testing.assert_allclose(found["loss"], [[0, 0], [1 - 1 / 4, 1 - 1 / 4]], atol=1e-7)
        np.testing.assert_allclose(found["gx"][0], np.full((2, 6), -(1 - 0.5) / 7), rtol=1e-6)
        np.testing.assert_allclose(found["gx"][1], np.full((2, 6), -(1 - 0.5 / 4) / 4), rtol=1e-6)

    def test_without_smoothing_nothing_over_nothing_is_no_number(self, device: Device) -> None:
        x, t = np.zeros((1, 2, 6), np.float32), np.zeros((1, 2, 6), np.float32)
        t[0, 1] = 1
        found = run(self.source(attributes="smooth = 0.0"), device, x=x, t=t)
        np.testing.assert_array_equal(found["loss"], [[NAN, 1]])

    def test_labels_are_one_hot_masks(self, device: Device) -> None:
        generator = np.random.default_rng(0)
        x = generator.uniform(size=(3, 2, 6)).astype(np.float32)
        labels = generator.integers(0, 2, (3, 6)).astype(np.uint8)
        masks = np.ascontiguousarray(np.moveaxis(np.eye(2, dtype=np.float32)[labels], -1, 1))
        a = run(self.source(target="u8[N, 6]"), device, x=x, t=labels)
        b = run(self.source(), device, x=x, t=masks)
        for name in ("loss", "gx"):
            np.testing.assert_allclose(a[name], b[name], rtol=1e-6)
        bits = run(self.source(target="bool[N, 2, 6]"), device, x=x, t=masks > 0)
        np.testing.assert_allclose(bits["loss"], b["loss"], rtol=1e-6)

    def test_a_label_out_of_range_is_refused(self, device: Device) -> None:
        runner = Runner(self.source(target="i64[N, 6]"), device)
        for wrong in (2, -1, 2**32 + 1, -(2**63)):
            labels = np.zeros((2, 6), np.int64)
            labels[1, 2] = wrong
            with pytest.raises(LirError, match=rf"\[0, 2\).*found {wrong} at"):
                runner(x=np.zeros((2, 2, 6), np.float32), t=labels)

    def test_logits_far_out(self, device: Device) -> None:
        """Softmax over the classes, a mask of -inf and logits of 1e4."""
        x = np.zeros((2, 2, 6), np.float32)
        x[0, 0], x[1, 1] = 1e4, -INF
        t = np.zeros((2, 2, 6), np.float32)
        t[:, 0] = 1
        found = run(self.source(attributes="from_logits = true"), device, x=x, t=t)
        np.testing.assert_allclose(found["loss"], np.zeros((2, 2)), atol=1e-7)
        np.testing.assert_array_equal(found["gx"], np.zeros((2, 2, 6)))

    @pytest.mark.parametrize("columns", ["1", "C"])
    def test_one_class_of_logits_is_a_sigmoid(self, device: Device, columns: str) -> None:
        shape = f"f32[N, {columns}, 6]"
        source = text("dice_loss", shape, shape, 'reduction = "none", from_logits = true', f"f32[N, {columns}]")
        x, t = np.array([[[1e4, -1e4, 0, 0, 0, 0]]], np.float32), np.array([[[1, 0, 1, 0, 1, 0]]], np.float32)
        found = run(source, device, x=x, t=t)
        np.testing.assert_allclose(found["loss"], [[1 - (2 + 1) / (3 + 1)]], rtol=1e-6)
        lower, upper = 0.375 / 4, -(1 - 0.375) / 4
        slope = 0.25 * np.array([0, 0, upper, lower, upper, lower])
        np.testing.assert_allclose(found["gx"], slope[None, None], rtol=1e-5, atol=1e-9)

    @pytest.mark.parametrize("loss", ["dice_loss", "tversky_loss"])
    @pytest.mark.parametrize(("reduction", "shape"), [("mean", (1,)), ("sum", (1,)), ("none", (0, 2))])
    def test_no_samples(self, device: Device, loss: str, reduction: str, shape: tuple[int, ...]) -> None:
        result = "f32[N, 2]" if reduction == "none" else "f32[1]"
        source = text(loss, "f32[N, 2, 6]", "f32[N, 2, 6]", f'reduction = "{reduction}"', result)
        found = run(source, device, x=np.zeros((0, 2, 6), np.float32), t=np.zeros((0, 2, 6), np.float32))
        expected = {"mean": [NAN], "sum": [0.0], "none": np.zeros((0, 2))}[reduction]
        np.testing.assert_array_equal(found["loss"], expected)
        assert found["loss"].shape == shape
        assert found["gx"].shape == (0, 2, 6)
