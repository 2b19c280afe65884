"""Margin losses where it matters: kinks, extreme scores, lists of labels that end."""

from __future__ import annotations

import math

import numpy as np
import pytest
from device_runs import Runner, run
from numerics.edges import INF, NAN, C, Row, assert_rows, by_rows, elementwise, f32, row, sigmoid, softplus, text

from lossc.ir.diagnostics import LirError
from lossc.ir.parser import parse
from lossc.runtime.device import Device


def test_hinge_at_its_kink_and_far_out(device: Device) -> None:
    """At x t = 1 the derivative is that of the linear side, as torch.clamp has it."""
    rows: list[Row] = [
        (1, 1, 0, -1), (-1, -1, 0, 1), (1.5, 1, 0, 0), (0, 1, 1, -1), (-0.0, -1, 1, 1), (3e38, -1, 3e38, 1),
        (3e38, 1, 0, 0), (INF, 1, 0, 0), (-INF, 1, INF, -1), (NAN, 1, NAN, NAN),
    ]  # fmt: skip
    assert_rows(device, elementwise("hinge_loss"), rows)
    squares: list[Row] = [
        (1, 1, 0, 0), (0, 1, 1, -2), (-1, 1, 4, -4), (2, 1, 0, 0), (1e19, -1, 1e38, 2e19), (-INF, 1, INF, -INF),
    ]  # fmt: skip
    assert_rows(device, elementwise("squared_hinge_loss"), squares)


def test_soft_margin_does_not_overflow(device: Device) -> None:
    """exp(200) is beyond f32: torch's formula gives infinity, and NaN as its derivative."""
    rows: list[Row] = [
        (-200, 1, 200, -1), (200, -1, 200, 1), (200, 1, 0, 0), (-1e4, 1, 1e4, -1), (3e38, -1, 3e38, 1),
        (0, 1, math.log(2), -0.5), (0, -1, math.log(2), 0.5), (2, 1, softplus(-2), -sigmoid(-2)), (-INF, 1, INF, -1),
        (INF, 1, 0, 0), (NAN, 1, NAN, NAN),
    ]  # fmt: skip
    assert_rows(device, elementwise("soft_margin_loss"), rows)


def test_multi_margin_of_extreme_scores(device: Device) -> None:
    """A pair exactly at the margin passes nothing; what is masked by -inf is beyond every margin."""
    x = np.stack(
        [row(), row(at2=1), row(at2=1e4, at3=-1e4), row(at2=-1e4), row(-INF, at2=1), row(at2=3e38), row(at5=NAN)]
    )
    t = np.full(len(x), 2, np.int32)
    for p in (1, 2):
        found = run(by_rows("multi_margin_loss", f'reduction = "none", p = {p}'), device, x=x, t=t)
        far = (1e4 + 1) ** p * (C - 1) / C
        np.testing.assert_allclose(found["loss"], [(C - 1) / C, 0, 0, far, 0, 0, NAN], rtol=1e-6)
        gradient = np.zeros((7, C))
        gradient[0] = p / C
        gradient[0, 2] = -p * (C - 1) / C
        slope = p * (1e4 + 1) ** (p - 1) / C
        gradient[3] = slope
        gradient[3, 2] = -slope * (C - 1)
        np.testing.assert_allclose(found["gx"][:6], gradient[:6], rtol=1e-6)


@pytest.mark.parametrize("p", ["0", "3"])
def test_multi_margin_takes_the_first_or_second_power(p: str) -> None:
    with pytest.raises(LirError, match="p must be 1 or 2"):
        parse(by_rows("multi_margin_loss", f"p = {p}"))


class TestMultilabelMargin:
    def source(self, label: str = "i64", n: str = "N", c: str = "4", attributes: str = 'reduction = "none"') -> str:
        result = f"f32[{n}]" if "none" in attributes else "f32[1]"
        return text("multilabel_margin_loss", f"f32[{n}, {c}]", f"{label}[{n}, {c}]", attributes, result)

    def test_lists_and_where_they_end(self, device: Device) -> None:
        x = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0.1, 0.2, 0.4, 0.8], [1, 0, 1, 0], [0, NAN, 0, 0]], np.float32)
        # Nothing; twice the same; what follows -1 counts for nothing; every class; NaN in a class that is no target.
        t = np.array([[-1, 0, 1, 2], [2, 2, -1, -1], [3, 0, -1, 1], [0, 1, 2, 3], [0, -1, -1, -1]])
        found = run(self.source(), device, x=x, t=t)
        pairs = (1 - (0.1 - 0.2)) + (1 - (0.1 - 0.4)) + (1 - (0.8 - 0.2)) + (1 - (0.8 - 0.4))
        np.testing.assert_allclose(found["loss"], [0, 6 / 4, pairs / 4, 0, NAN], rtol=1e-6)
        gradient = np.array([[0, 0, 0, 0], [2, 2, -6, 2], [-2, 2, 2, -2], [0, 0, 0, 0]]) / 4
        np.testing.assert_allclose(found["gx"][:4], gradient, rtol=1e-6)

    def test_a_pair_at_the_margin_passes_nothing(self, device: Device) -> None:
        found = run(self.source(), device, x=f32(1, 0, 0.5, -1)[None], t=np.array([[0, -1, -1, -1]]))
        np.testing.assert_allclose(found["loss"], [0.5 / 4])
        np.testing.assert_array_equal(found["gx"], [[-0.25, 0, 0.25, 0]])

    def test_far_out(self, device: Device) -> None:
        x = np.array([[1e4, -1e4, 0, 0], [-1e4, 1e4, 0, 0], [1, -INF, -INF, -INF]], np.float32)
        found = run(self.source(), device, x=x, t=np.array([[0, -1, -1, -1]] * 3))
        np.testing.assert_allclose(found["loss"], [0, (20001 + 2 * 10001) / 4, 0], rtol=1e-6)
        np.testing.assert_array_equal(found["gx"], np.array([[0, 0, 0, 0], [-3, 1, 1, 1], [0, 0, 0, 0]]) / 4)

    def test_an_index_out_of_range_is_refused(self, device: Device) -> None:
        """Also behind the end of the list, as in torch."""
        runner = Runner(self.source(), device)
        for wrong in (4, -2, 2**32 + 1, -(2**63)):
            t = np.array([[0, -1, -1, -1], [0, -1, wrong, -1]])
            with pytest.raises(LirError, match=rf"\[0, 4\).*found {wrong} at"):
                runner(x=np.zeros((2, 4), np.float32), t=t)

    def test_u8_lists_never_end(self, device: Device) -> None:
        found = run(self.source("u8"), device, x=np.zeros((1, 4), np.float32), t=np.array([[1, 1, 1, 0]], np.uint8))
        np.testing.assert_allclose(found["loss"], [4 * 2 / 4])

    @pytest.mark.parametrize(("reduction", "expected"), [("mean", [NAN]), ("sum", [0]), ("none", [])])
    def test_no_rows(self, device: Device, reduction: str, expected: list[float]) -> None:
        source = self.source(attributes=f'reduction = "{reduction}"')
        found = run(source, device, x=np.zeros((0, 4), np.float32), t=np.zeros((0, 4), np.int64))
        np.testing.assert_array_equal(found["loss"], expected)
        assert found["gx"].shape == (0, 4)

    @pytest.mark.parametrize("columns", ["1", "C"])
    def test_one_class(self, device: Device, columns: str) -> None:
        x, t = np.array([[2.0], [3.0]], np.float32), np.array([[0], [-1]])
        found = run(self.source(c=columns), device, x=x, t=t)
        np.testing.assert_array_equal(found["loss"], [0, 0])
        np.testing.assert_array_equal(found["gx"], np.zeros((2, 1)))


def test_multilabel_soft_margin_far_out(device: Device) -> None:
    source = text("multilabel_soft_margin_loss", "f32[N, 2]", "f32[N, 2]", 'reduction = "none"', "f32[N]", "w: f32[2]")
    x = np.array([[1e4, -1e4], [0, 3e38], [-200, 200]], np.float32)
    t = np.array([[0, 0], [1, 1], [1, 0]], np.float32)
    found = run(source, device, x=x, t=t, w=f32(1, 3))
    np.testing.assert_allclose(found["loss"], [1e4 / 2, math.log(2) / 2, (200 + 600) / 2], rtol=1e-6)
    np.testing.assert_allclose(found["gx"], np.array([[1, 0], [-0.5, 0], [-1, 3]]) / 2, rtol=1e-6, atol=1e-30)
