"""Margin, focal, poly and overlap losses where numbers are at their edge. Expected values are worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from device_runs import Runner, run

from lossc.ir.diagnostics import LirError
from lossc.ir.parser import parse
from lossc.runtime.device import Device

INF, NAN = math.inf, math.nan
Row = tuple[float, float, float, float]


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def text(loss: str, x: str, target: str, attributes: str = "", result: str = "f32[1]", *operands: str) -> str:
    """The loss, and its gradient by x and by further float operands, such as `w: f32[4]`."""
    inputs = [f"x: {x}", f"t: {target}", *operands]
    names = [f"%{item.split(':')[0]}" for item in inputs]
    asked = [item for item in inputs if item.split(": ")[1].startswith("f") and not item.startswith("t:")]
    grads = [f"%g{item}" for item in asked]
    found = ", ".join(item.split(":")[0] for item in grads)
    return f"""func @f({", ".join("%" + item for item in inputs)}) -> (%loss: {result}, {", ".join(grads)}) {{
      %loss = {loss} {", ".join(names)} {{{attributes}}}
      {found} = grad %loss, {", ".join("%" + item.split(":")[0] for item in asked)}
      return %loss, {found}
    }}"""


def elementwise(loss: str, attributes: str = "") -> str:
    none = 'reduction = "none"'
    return text(loss, "f32[N]", "f32[N]", f"{none}, {attributes}" if attributes else none, "f32[N]")


def assert_rows(device: Device, source: str, rows: list[Row], atol: float = 1e-37) -> None:
    """Rows of x, t, value, derivative by x."""
    x, t, value, derivative = (np.array(column) for column in zip(*rows))
    found = run(source, device, x=x.astype(np.float32), t=t.astype(np.float32))
    # A power of a small number has the relative error of its logarithm, some tens of units.
    np.testing.assert_allclose(found["loss"], value, rtol=5e-6, atol=atol)
    np.testing.assert_allclose(found["gx"], derivative, rtol=5e-6, atol=atol)


# --- elementwise ------------------------------------------------------------------------------------------------


def test_hinge_at_its_kink_and_far_out(device: Device) -> None:
    """At x t = 1 the derivative is that of the linear side, as torch.clamp has it."""
    rows: list[Row] = [
        (1, 1, 0, -1), (-1, -1, 0, 1), (1.5, 1, 0, 0), (0, 1, 1, -1), (-0.0, -1, 1, 1), (3e38, -1, 3e38, 1),
        (3e38, 1, 0, 0), (INF, 1, 0, 0), (-INF, 1, INF, -1), (NAN, 1, NAN, -1),
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


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 2.5])
def test_sigmoid_focal_is_finite_far_out(device: Device, gamma: float) -> None:
    """Where the prediction is right beyond doubt, 1 - p_t is 0: the value and its derivative are 0 for every gamma."""
    rows: list[Row] = [
        (1e4, 1, 0, 0), (-1e4, 0, 0, 0), (1e4, 0, 1e4, 1), (-1e4, 1, 1e4, -1), (3e38, 1, 0, 0), (3e38, 0, 3e38, 1),
        (-3e38, 1, 3e38, -1), (-3e38, 0, 0, 0), (NAN, 1, NAN, NAN),
        (0, 1, 0.5**gamma * math.log(2), 0.5**gamma * (-0.5 - gamma * 0.5 * math.log(2))),
        (0, 0, 0.5**gamma * math.log(2), 0.5**gamma * (0.5 + gamma * 0.5 * math.log(2))),
        # d/dx of (1 - p)^gamma softplus(-x) is -(1 - p)^gamma (1 - p + gamma p softplus(-x)).
        *[(x, 1, sigmoid(-x) ** gamma * softplus(-x),
           -sigmoid(-x) ** gamma * (sigmoid(-x) + gamma * sigmoid(x) * softplus(-x))) for x in (3.0, -3.0, 12.0, 20.0)],
    ]  # fmt: skip
    assert_rows(device, elementwise("sigmoid_focal_loss", f"gamma = {gamma}"), rows)


def test_sigmoid_focal_without_focus_is_binary_cross_entropy(device: Device) -> None:
    x = np.linspace(-20, 20, 41).astype(np.float32)
    t = np.linspace(0, 1, 41).astype(np.float32)
    focal = run(elementwise("sigmoid_focal_loss", "gamma = 0.0"), device, x=x, t=t)
    plain = run(elementwise("bce_with_logits_loss"), device, x=x, t=t)
    for name in ("loss", "gx"):
        np.testing.assert_allclose(focal[name], plain[name], rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("gamma", ["-1.0", "nan", "inf"])
@pytest.mark.parametrize(
    ("loss", "target"), [("sigmoid_focal_loss", "f32[N, 4]"), ("focal_cross_entropy_loss", "i32[N]")]
)
def test_a_gamma_that_is_no_exponent_is_refused(loss: str, target: str, gamma: str) -> None:
    with pytest.raises(LirError, match="gamma must be a number from 0"):
        parse(text(loss, "f32[N, 4]", target, f"gamma = {gamma}"))


# --- by rows ----------------------------------------------------------------------------------------------------

C = 20
LABELLED = ("focal_cross_entropy_loss", "poly_cross_entropy_loss", "multi_margin_loss")


def by_rows(
    loss: str, attributes: str = 'reduction = "none"', label: str = "i32", c: str = str(C), n: str = "N"
) -> str:
    return text(loss, f"f32[{n}, {c}]", f"{label}[{n}]", attributes, f"f32[{n}]" if "none" in attributes else "f32[1]")


def row(fill: float = 0, **places: float) -> np.ndarray:
    """A row of one number but for the places named: row(at0=1e4)."""
    values = np.full(C, fill, np.float32)
    for name, value in places.items():
        values[int(name.removeprefix("at"))] = value
    return values


def test_focal_cross_entropy_of_extreme_logits(device: Device) -> None:
    x = np.stack([row(at0=1e4, at1=-1e4), row(at0=1e4, at1=-1e4), row(at0=3e38, at1=-3e38), row(at0=3e38, at1=-3e38),
                  row(-INF, at4=1, at17=1), row(-INF, at4=1), row(at6=NAN), row()])  # fmt: skip
    t = np.array([0, 1, 0, 1, 17, 3, 0, 3], np.int32)
    for gamma in (0.5, 2.0):
        found = run(by_rows("focal_cross_entropy_loss", f'reduction = "none", gamma = {gamma}'), device, x=x, t=t)
        half, missed = 0.5**gamma * math.log(2), 1 - 1 / C
        expected = [0, 2e4, 0, INF, half, INF, NAN, missed**gamma * math.log(C)]
        np.testing.assert_allclose(found["loss"], expected, rtol=2e-6)
        gradient = np.zeros((8, C))
        gradient[[1, 3], 0], gradient[[1, 3], 1] = 1, -1
        slope = 0.5**gamma * (1 + gamma * math.log(2))
        gradient[4, 4], gradient[4, 17] = slope / 2, -slope / 2
        gradient[5, 4], gradient[5, 3] = 1, -1
        gradient[6] = NAN
        slope = missed**gamma + gamma * missed ** (gamma - 1) / C * math.log(C)
        gradient[7] = slope / C
        gradient[7, 3] -= slope
        np.testing.assert_allclose(found["gx"], gradient, rtol=3e-6, atol=1e-18)


def test_poly_cross_entropy_of_extreme_logits(device: Device) -> None:
    x = np.stack([row(at0=1e4, at1=-1e4), row(at0=1e4, at1=-1e4), row(at0=3e38, at1=-3e38), row(-INF, at4=1, at17=1),
                  row(-INF, at4=1), row(at6=NAN), row()])  # fmt: skip
    t = np.array([0, 1, 1, 17, 3, 0, 3], np.int32)
    found = run(by_rows("poly_cross_entropy_loss"), device, x=x, t=t)
    expected = [0, 2e4 + 2, INF, math.log(2) + 1, INF, NAN, math.log(C) + 2 * (1 - 1 / C)]
    np.testing.assert_allclose(found["loss"], expected, rtol=2e-6)
    gradient = np.zeros((7, C))
    gradient[[1, 2], 0], gradient[[1, 2], 1] = 1, -1
    gradient[3, 4], gradient[3, 17] = 1, -1
    gradient[4, 4], gradient[4, 3] = 1, -1
    gradient[5] = NAN
    gradient[6] = (1 + 2 / C) * (1 / C - (np.arange(C) == 3))
    np.testing.assert_allclose(found["gx"], gradient, rtol=2e-6, atol=1e-7)


def test_poly_cross_entropy_without_mass_on_a_mask(device: Device) -> None:
    """0 * log 0 = 0 for soft targets: finite, and exactly 0 at the mask."""
    source = text("poly_cross_entropy_loss", f"f32[N, {C}]", f"f32[N, {C}]", 'reduction = "none"', "f32[N]")
    x, t = np.stack([row(-INF, at3=2, at9=2)]), np.stack([row(at3=0.25, at9=0.75)])
    found = run(source, device, x=x, t=t)
    np.testing.assert_allclose(found["loss"], [math.log(2) + 2 * 0.5], rtol=1e-6)
    np.testing.assert_allclose(found["gx"][0, [3, 9]], [0.5 - 0.25 + 0.25, 0.5 - 0.75 - 0.25], rtol=1e-6)
    assert (found["gx"][x == -INF] == 0).all()


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


# --- several labels a row ---------------------------------------------------------------------------------------


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


# --- regions ----------------------------------------------------------------------------------------------------


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
