"""Cross-entropy where numbers are at their edge. Expected values are those of the rules, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from device_runs import Arrays, Runner, run

from lossc.ir.diagnostics import LirError
from lossc.ir.parser import parse
from lossc.runtime.device import Device

INF, NAN = math.inf, math.nan
C = 20
E = math.e


def text(
    attributes: str = "", n: str = "N", c: str = str(C), label: str = "i32", target: str = "", weight: bool = False
) -> str:
    """Loss and gradient by the logits of a cross-entropy."""
    target = target or f"{label}[{n}]"
    inputs = [f"%x: f32[{n}, {c}]", f"%t: {target}", *([f"%w: f32[{c}]"] if weight else [])]
    result = f"f32[{n}]" if "none" in attributes else "f32[1]"
    return f"""func @f({", ".join(inputs)}) -> (%loss: {result}, %grad: f32[{n}, {c}]) {{
      %loss = cross_entropy_loss %x, %t{", %w" if weight else ""} {{{attributes}}}
      %grad = grad %loss, %x
      return %loss, %grad
    }}"""


def row(**places: float) -> np.ndarray:
    """A row of zeros but for the places named: row(at0=1e4)."""
    values = np.zeros(C, np.float32)
    for name, value in places.items():
        values[int(name.removeprefix("at"))] = value
    return values


def filled(value: float, **places: float) -> np.ndarray:
    values = np.full(C, value, np.float32)
    for name, place in places.items():
        values[int(name.removeprefix("at"))] = place
    return values


def softmax_row(labels: int, probabilities: dict[int, float]) -> np.ndarray:
    """The gradient: probabilities, minus 1 at the label."""
    gradient = np.zeros(C)
    for place, value in probabilities.items():
        gradient[place] = value
    gradient[labels] -= 1
    return gradient


# name: logits, label, loss, gradient (None: every element is NaN)
ROWS = {
    "all equal": (row(), 3, math.log(C), np.full(C, 1 / C) - (np.arange(C) == 3)),
    "1e4 at the label": (row(at0=1e4, at1=-1e4), 0, 0.0, softmax_row(0, {0: 1})),
    "1e4 elsewhere": (row(at0=1e4, at1=-1e4), 1, 2e4, softmax_row(1, {0: 1})),
    "two of 1e4": (row(at2=1e4, at19=1e4), 19, math.log(2), softmax_row(19, {2: 0.5, 19: 0.5})),
    "3e38 at the label": (row(at0=3e38, at1=-3e38), 0, 0.0, softmax_row(0, {0: 1})),
    "-3e38 at the label": (row(at0=3e38, at1=-3e38), 1, INF, softmax_row(1, {0: 1})),
    "-inf elsewhere": (filled(-INF, at4=1, at17=1), 17, math.log(2), softmax_row(17, {4: 0.5, 17: 0.5})),
    "-inf but for the label": (filled(-INF, at7=-5), 7, 0.0, softmax_row(7, {7: 1})),
    "-inf at the label": (filled(-INF, at4=1), 17, INF, softmax_row(17, {4: 1})),
    "-inf everywhere": (filled(-INF), 5, NAN, None),
    "inf at the label": (row(at5=INF), 5, NAN, None),
    "inf elsewhere": (row(at5=INF), 6, NAN, None),
    "nan elsewhere": (row(at19=NAN), 6, NAN, None),
    "nan at the label": (row(at6=NAN), 6, NAN, None),
    "nan and -inf": (filled(-INF, at6=NAN), 0, NAN, None),
    "denormal": (row(at0=1e-40, at1=-1e-40), 0, math.log(C), np.full(C, 1 / C) - (np.arange(C) == 0)),
    "one step apart": (row(at0=1), 0, math.log(E + C - 1) - 1,
                       np.array([E, *[1] * (C - 1)]) / (E + C - 1) - (np.arange(C) == 0)),
}  # fmt: skip
LOGITS = np.stack([logits for logits, *_ in ROWS.values()])
LABELS = np.array([label for _, label, *_ in ROWS.values()], np.int32)
LOSSES = np.array([loss for *_, loss, _ in ROWS.values()])
GRADIENTS = np.stack([np.full(C, NAN) if g is None else g for *_, g in ROWS.values()])


def assert_rows(found: Arrays, kept: np.ndarray | None = None) -> None:
    """Loss and gradient of every row by name; exact zeros where the rules promise them; ignored rows are 0."""
    kept = np.ones(len(ROWS), bool) if kept is None else kept
    for index, name in enumerate(ROWS):
        loss = LOSSES[index] if kept[index] else 0.0
        gradient = GRADIENTS[index] if kept[index] else np.zeros(C)
        np.testing.assert_allclose(found["loss"][index], loss, rtol=1e-6, atol=1e-7, err_msg=name)
        np.testing.assert_allclose(found["grad"][index], gradient, rtol=2e-6, atol=1e-7, err_msg=name)
        exact = (LOGITS[index] == -INF) & np.isfinite(gradient) & (np.arange(C) != LABELS[index])
        assert (found["grad"][index][exact] == 0).all(), name


STRATEGIES = ["row-item", "row-lanes", "row-group", "row-pipeline", "lane-pipeline", "short-rows"]


@pytest.mark.parametrize("columns", [str(C), "C"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows_simulated(strategy: str, columns: str) -> None:
    assert_rows(run(text('reduction = "none"', c=columns), None, strategy, x=LOGITS, t=LABELS))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows(device: Device, strategy: str) -> None:
    assert_rows(run(text('reduction = "none"'), device, strategy, x=LOGITS, t=LABELS))


def test_rows_of_named_length(device: Device) -> None:
    assert_rows(run(text('reduction = "none"', c="C"), device, x=LOGITS, t=LABELS))


def test_long_rows(device: Device) -> None:
    """Rows of 100: long enough for the pipelined kernel. The further columns are -inf, which changes nothing."""
    x = np.concatenate([LOGITS, np.full((len(ROWS), 100 - C), -INF, np.float32)], axis=1)
    found = run(text('reduction = "none"', c="100"), device, x=x, t=LABELS)
    np.testing.assert_array_equal(found["grad"][:, C:][np.isfinite(LOSSES)], 0)
    assert_rows({"loss": found["loss"], "grad": found["grad"][:, :C]})


def test_the_class_axis_in_front(device: Device) -> None:
    """The same rows along the middle axis, where each lane of a vector has one."""
    source = f"""func @f(%x: f32[1, {C}, N], %t: i32[1, N]) -> (%loss: f32[1, N], %grad: f32[1, {C}, N]) {{
      %loss = cross_entropy_loss %x, %t {{reduction = "none"}}
      %grad = grad %loss, %x
      return %loss, %grad
    }}"""
    found = run(source, device, x=np.ascontiguousarray(LOGITS.T)[None], t=LABELS[None])
    assert_rows({"loss": found["loss"][0], "grad": found["grad"][0].T})


def test_an_ignored_row_gives_nothing_whatever_it_holds(device: Device) -> None:
    """Also where it holds NaN or infinities: loss 0, gradient exactly 0, and the others as if it were not there."""
    ignored = np.isnan(LOSSES) | np.isinf(LOSSES)
    labels = np.where(ignored, -100, LABELS).astype(np.int32)
    found = run(text('reduction = "none", ignore_index = -100'), device, x=LOGITS, t=labels)
    assert_rows(found, ~ignored)
    assert (found["grad"][ignored] == 0).all()
    mean = run(text("ignore_index = -100"), device, x=LOGITS, t=labels)
    np.testing.assert_allclose(mean["loss"], [LOSSES[~ignored].mean()], rtol=1e-6)
    expected = np.where(ignored[:, None], 0, GRADIENTS) / (~ignored).sum()
    np.testing.assert_allclose(mean["grad"], expected, rtol=2e-6, atol=1e-8)


def test_ignoring_a_valid_class(device: Device) -> None:
    """Rows of that label are masked; the class stays in the softmax of the others."""
    x = np.tile(row(at1=1.0), (3, 1))
    found = run(text("ignore_index = 1"), device, x=x, t=np.array([1, 0, 1], np.int32))
    np.testing.assert_allclose(found["loss"], [math.log(E + C - 1)], rtol=1e-6)
    assert (found["grad"][[0, 2]] == 0).all()
    np.testing.assert_allclose(found["grad"][1, 1], E / (E + C - 1), rtol=1e-6)


class TestNothingLeft:
    """Every row ignored, or no row at all."""

    X = LOGITS[:3]
    T = np.full(3, -100, np.int32)

    @pytest.mark.parametrize(("empty", "expected"), [("nan", NAN), ("zero", 0.0)])
    def test_mean_of_ignored_rows(self, device: Device, empty: str, expected: float) -> None:
        found = run(text(f'ignore_index = -100, empty = "{empty}"'), device, x=self.X, t=self.T)
        np.testing.assert_array_equal(found["loss"], [expected])
        np.testing.assert_array_equal(found["grad"], np.zeros((3, C)))

    def test_mean_of_ignored_rows_refused(self, device: Device) -> None:
        with pytest.raises(LirError, match=r"at least one row that is not ignored\n"):
            run(text('ignore_index = -100, empty = "error"'), device, x=self.X, t=self.T)

    def test_sum_and_none_of_ignored_rows(self, device: Device) -> None:
        found = run(text('ignore_index = -100, reduction = "sum"'), device, x=self.X, t=self.T)
        np.testing.assert_array_equal(found["loss"], [0])
        found = run(text('ignore_index = -100, reduction = "none"'), device, x=self.X, t=self.T)
        np.testing.assert_array_equal(found["loss"], [0, 0, 0])
        np.testing.assert_array_equal(found["grad"], np.zeros((3, C)))

    @pytest.mark.parametrize("rows", ["N", "0"])
    @pytest.mark.parametrize(("reduction", "expected"), [("mean", [NAN]), ("sum", [0]), ("none", [])])
    def test_empty_batch(self, device: Device, reduction: str, expected: list[float], rows: str) -> None:
        x, t = np.zeros((0, C), np.float32), np.zeros(0, np.int32)
        found = run(text(f'reduction = "{reduction}"', n=rows), device, x=x, t=t)
        np.testing.assert_array_equal(found["loss"], expected)
        assert found["grad"].shape == (0, C)

    def test_weights_that_sum_to_zero(self, device: Device) -> None:
        """0/0, as the formula has it."""
        x, t, w = LOGITS[:2], np.array([2, 3], np.int32), np.ones(C, np.float32)
        w[[2, 3]] = 0
        found = run(text(weight=True), device, x=x, t=t, w=w)
        assert np.isnan(found["loss"]).all()
        assert np.isnan(found["grad"]).all()


@pytest.mark.parametrize("columns", ["1", "C"])
def test_one_class(device: Device, columns: str) -> None:
    x = np.array([[5.0], [-1e4], [3e38]], np.float32)
    found = run(text('reduction = "none"', c=columns), device, x=x, t=np.zeros(3, np.int32))
    np.testing.assert_array_equal(found["loss"], np.zeros(3))
    np.testing.assert_array_equal(found["grad"], np.zeros((3, 1)))


# label type, label: none of them lies in [0, 20)
WRONG_LABELS = [
    ("i32", C), ("i32", -1), ("i32", 2**31 - 1), ("i32", -(2**31)), ("i64", C), ("i64", 2**32 + 1), ("i64", -(2**63)),
    ("i64", 2**63 - 1), ("i64", 2**32), ("u8", 255), ("u8", C), ("i8", -128), ("i8", 127), ("i16", -32768),
    ("i16", 32767),
]  # fmt: skip


@pytest.fixture(scope="module")
def runners() -> dict[tuple[Device, str], Runner]:
    """Compiled once for each device and label type."""
    return {}


@pytest.mark.parametrize(("label", "wrong"), WRONG_LABELS)
def test_a_label_out_of_range_is_refused(
    device: Device, label: str, wrong: int, runners: dict[tuple[Device, str], Runner]
) -> None:
    """By name of the row, the label and the range; and the same program goes on working."""
    if (device, label) not in runners:
        runners[device, label] = Runner(text(label=label), device)
    runner = runners[device, label]
    dtype = {"u8": "uint8"}.get(label, f"int{label[1:]}")
    x = np.zeros((7, C), np.float32)
    good = np.arange(7).astype(dtype)
    bad = good.copy()
    bad[4:6] = wrong
    with pytest.raises(LirError) as caught:
        runner(x=x, t=bad)
    message = str(caught.value)
    assert f"found {wrong} " in message
    assert "row 4" in message
    assert f"[0, {C})" in message
    after = runner(x=x, t=good)
    np.testing.assert_allclose(after["loss"], [math.log(C)], rtol=1e-6)


def test_a_wrong_label_is_refused_beside_ignored_ones(device: Device) -> None:
    x = np.zeros((4, C), np.float32)
    with pytest.raises(LirError, match=r"or be ignore_index = -100: found -7 at row 2"):
        run(text("ignore_index = -100"), device, x=x, t=np.array([0, -100, -7, 1], np.int32))


def test_small_label_types_reach_their_last_value(device: Device) -> None:
    """Label 127 as i8 and 255 as u8 are classes where there are so many, static or named."""
    for label, last, columns in (("i8", 127, "300"), ("u8", 255, "300"), ("u8", 255, "C"), ("i8", 127, "C")):
        x = np.zeros((3, 300), np.float32)
        x[1, last] = 1e4
        t = np.full(3, last, {"i8": np.int8, "u8": np.uint8}[label])
        found = run(text('reduction = "none"', c=columns, label=label), device, x=x, t=t)
        np.testing.assert_allclose(found["loss"], [math.log(300), 0, math.log(300)], rtol=1e-6)
        np.testing.assert_allclose(found["grad"][0, last], 1 / 300 - 1, rtol=1e-6)


class TestDistributions:
    """Targets that are distributions, and smoothing, beside masks of -inf."""

    SOURCE = f"""func @f(%x: f32[N, {C}], %t: f32[N, {C}]) -> (%loss: f32[N], %grad: f32[N, {C}], %by_t: f32[N, {C}]) {{
      %loss = cross_entropy_loss %x, %t {{reduction = "none"}}
      %grad = grad %loss, %x
      %by_t = grad %loss, %t
      return %loss, %grad, %by_t
    }}"""

    def test_no_mass_on_a_mask(self, device: Device) -> None:
        """0 * log 0 = 0: the loss is finite and the gradient at the mask exactly 0."""
        x = np.stack([filled(-INF, at3=2, at9=2), filled(-INF, at3=2, at9=2), row(), row(at0=NAN)])
        t = np.stack([row(at3=0.25, at9=0.75), row(at3=0.5), row(at1=2.0), row(at1=1.0)])
        found = run(self.SOURCE, device, x=x, t=t)
        expected = [math.log(2), 0.5 * math.log(2), 2 * math.log(C), NAN]
        np.testing.assert_allclose(found["loss"], expected, rtol=1e-6)
        gradients = [row(at3=0.25, at9=-0.25), row(at3=-0.25, at9=0.25), np.full(C, 2 / C) - row(at1=2.0)]
        np.testing.assert_allclose(found["grad"][:3], gradients, rtol=2e-6, atol=1e-7)
        assert (found["grad"][:2][x[:2] == -INF] == 0).all()
        np.testing.assert_allclose(found["by_t"][0, [3, 9]], [math.log(2)] * 2, rtol=1e-6)

    def test_mass_on_a_mask(self, device: Device) -> None:
        x = np.stack([filled(-INF, at3=2, at9=2)])
        found = run(self.SOURCE, device, x=x, t=np.stack([row(at3=0.5, at0=0.5)]))
        np.testing.assert_array_equal(found["loss"], [INF])
        np.testing.assert_allclose(found["grad"][0, [0, 3, 9]], [-0.5, 0, 0.5], atol=1e-7)

    def test_smoothing_puts_mass_everywhere(self, device: Device) -> None:
        x = np.stack([filled(-INF, at3=2, at9=2), row()])
        t = np.array([3, 3], np.int32)
        found = run(text('reduction = "none", label_smoothing = 0.5'), device, x=x, t=t)
        np.testing.assert_allclose(found["loss"], [INF, math.log(C)], rtol=1e-6)
        np.testing.assert_allclose(found["grad"][0, [0, 3, 9]], [-0.5 / C, -0.5 / C, 0.5 - 0.5 / C], atol=1e-7)

    @pytest.mark.parametrize("smoothing", ["nan", "1.5", "-0.1"])
    def test_smoothing_out_of_range_is_refused(self, smoothing: str) -> None:
        with pytest.raises(LirError, match="label_smoothing"):
            parse(text(f"label_smoothing = {smoothing}"))

    def test_ignore_index_with_a_distribution_is_refused(self) -> None:
        with pytest.raises(LirError, match="needs integer labels"):
            parse(text("ignore_index = 3", target=f"f32[N, {C}]"))

    def test_one_hot_integers_are_refused(self) -> None:
        with pytest.raises(LirError, match="one-hot"):
            parse(text(target=f"i32[N, {C}]"))
