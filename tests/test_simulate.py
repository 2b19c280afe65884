"""The simulator: what kernels compute, and what each operation does."""

from __future__ import annotations

from contextlib import suppress
from itertools import product
from typing import Any

import numpy as np
import pytest
from kernel_runs import cross_entropy, f32, integers, rows, run_cross_entropy
from kernel_texts import GROUP_SUM, PRIVATE_ROW, ROW_CROSS_ENTROPY, kernel

from lossc.ir.arithmetic import integer
from lossc.ir.diagnostics import CompilerBug, LirError
from lossc.ir.kernel import Apply, BufferArgument, Expr, Kernel, Store
from lossc.ir.kernel_ops import KERNEL_OPERATIONS, application_type
from lossc.ir.ops import PRIMITIVES
from lossc.ir.program import CHECK_HOLDS
from lossc.ir.types import numpy_dtype
from lossc.runtime.arithmetic import pointwise, reduce_lanes
from lossc.runtime.simulate import simulate_kernel


class TestKernels:
    @pytest.mark.parametrize("columns", [16, 31, 33, 1000, 4099])
    @pytest.mark.parametrize("count", [1, 5])
    def test_row_cross_entropy(self, count: int, columns: int) -> None:
        x = rows(count, columns)
        labels = np.arange(count) * 7 % columns
        found = run_cross_entropy(kernel(ROW_CROSS_ENTROPY), x, labels)
        loss, gradient = cross_entropy(x, labels)
        np.testing.assert_allclose(found["loss"], loss, rtol=3e-6)
        np.testing.assert_allclose(found["g"], gradient, atol=1e-6)
        assert found["status"][0] == CHECK_HOLDS

    def test_no_items(self) -> None:
        counts = simulate_kernel(kernel(ROW_CROSS_ENTROPY), _empty_arguments(), {"C": 20}, 0)
        assert counts.bytes == 0

    def test_nan_and_infinities_go_through(self) -> None:
        x = rows(3, 20)
        x[0, 3], x[1, 19], x[2, 5] = np.nan, np.nan, -np.inf
        found = run_cross_entropy(kernel(ROW_CROSS_ENTROPY), x, np.array([1, 1, 1]))
        assert np.isnan(found["loss"][:2]).all()
        assert np.isfinite(found["loss"][2])
        assert found["g"][2, 5] == 0

    def test_counts(self) -> None:
        found = run_cross_entropy(kernel(ROW_CROSS_ENTROPY), rows(4, 40), np.zeros(4, np.int32))
        counts = found["counts"]
        # Three passes of three vectors over x, the last of them overlapping; the target's entry twice.
        assert counts.loaded["x"] == 4 * (3 * 48 + 2)
        assert counts.bytes_loaded == {"x": 4 * 4 * 146, "labels": 16}
        assert counts.stored == {"g": 4 * 49, "loss": 4}
        assert counts.exponentials == 4 * (2 * 48 + 1)

    def test_group_sum(self) -> None:
        x = rows(3, 21)
        y = np.zeros(3, np.float32)
        simulate_kernel(kernel(GROUP_SUM), {"x": x.reshape(-1), "y": y}, {"C": 21}, 24)
        np.testing.assert_allclose(y, x.astype(np.float64).sum(1), rtol=1e-5)

    def test_private_rows_and_gathered_lanes(self) -> None:
        x = rows(5, 8)
        y = np.zeros(40, np.float32)
        simulate_kernel(kernel(PRIVATE_ROW), {"x": x.reshape(-1), "y": y}, {}, 5)
        np.testing.assert_array_equal(y.reshape(5, 8), (x / np.abs(x).max(1, keepdims=True))[:, ::-1])

    def test_loops_of_different_length_and_assignments_under_a_mask(self) -> None:
        made = kernel("""
            kernel @triangle(write %y: i64) {
              let %n: i64 = global_id()
              var %sum: i64 = 0
              for %i in [0, add(%n, 1)) step 1 {
                if eq(mod(%i, 2), 1) {
                  %sum := add(%sum, %i)
                }
              }
              store %y[%n] = %sum
            }""")
        y = np.zeros(9, np.int64)
        simulate_kernel(made, {"y": y}, {}, 9)
        np.testing.assert_array_equal(y, [sum(range(1, n + 1, 2)) for n in range(9)])

    def test_small_floats_are_rounded_in_memory_only(self) -> None:
        made = kernel("""
            kernel @scale(read %x: f16, write %y: bf16, write %positive: bool, read %keep: bool) {
              let %i: i64 = mul(global_id(), 4)
              let %v: f32x4 = mul(%x[%i]:f32x4, 1.001:f32x4)
              store %y[%i] = %v
              store %positive[%i] = and(gt(%v, 0.0:f32x4), %keep[%i]:boolx4)
            }""")
        import ml_dtypes

        x = np.array([1, -3.3, 0.1, 1000, 5, 6, -7, 8], np.float16)
        keep = np.array([1, 1, 1, 0, 1, 1, 1, 1], np.uint8)
        y, positive = np.zeros(8, ml_dtypes.bfloat16), np.zeros(8, np.bool_)
        simulate_kernel(made, {"x": x, "y": y, "positive": positive, "keep": keep}, {}, 2)
        expected = x.astype(np.float32) * np.float32(1.001)
        np.testing.assert_array_equal(y, expected.astype(ml_dtypes.bfloat16))
        np.testing.assert_array_equal(positive, (expected > 0) & (keep == 1))

    def test_deep_expressions(self) -> None:
        deep: Expr = integer(0)
        for _ in range(20_000):
            deep = Apply("add", (deep, integer(1)), "i64")
        made = Kernel("deep", (BufferArgument("y", "i64", "write"),), (), (Store("y", integer(0), deep),))
        y = np.zeros(1, np.int64)
        simulate_kernel(made, {"y": y}, {}, 1)
        assert y[0] == 20_000


def _empty_arguments() -> dict[str, np.ndarray]:
    floats = {name: np.zeros(0, np.float32) for name in ("x", "loss", "g")}
    return {**floats, "labels": np.zeros(0, np.int32), "status": np.zeros(1, np.int32)}


def _applications() -> list[tuple[str, list[tuple[str, int]], str]]:
    """Every operation on every type of operands that it takes, with the type of the result."""
    found: list[tuple[str, list[tuple[str, int]], str]] = []
    pointwise_primitives = [name for name, row in PRIMITIVES.items() if row.kind == "pointwise"]
    for op, dtype in product([*KERNEL_OPERATIONS, *pointwise_primitives], ["f32", "f64", "i32", "i64", "u8", "bool"]):
        arity = KERNEL_OPERATIONS[op][0] if op in KERNEL_OPERATIONS else len(PRIMITIVES[op].operands)
        types = [("bool" if op == "select" and place == 0 else dtype, 4) for place in range(arity)]
        with suppress(LirError):
            found.append((op, types, application_type(op, types, "i64")[0]))
    return found


class TestArithmetic:
    def apply(self, op: str, dtype: str, *operands: Any) -> np.ndarray:
        with np.errstate(all="ignore"):
            return pointwise(op, dtype, 1)(*operands)

    def test_floats_round_to_their_type(self) -> None:
        a, b = f32(1.0), f32(2.0**-25)
        assert self.apply("add", "f32", a, b).dtype == np.float32
        assert self.apply("add", "f32", a, b)[0] == 1
        for op in ("exp", "erf", "softplus", "sigmoid", "tanh", "log1p", "sqrt"):
            assert self.apply(op, "f32", a).dtype == np.float32

    def test_integers_wrap(self) -> None:
        a = integers("i4", 2**31 - 1)
        assert self.apply("add", "i32", a, a)[0] == -2
        assert self.apply("mul", "i64", integers("i8", 2**62), integers("i8", 4))[0] == 0

    @pytest.mark.parametrize(("a", "b"), [(7, 2), (-7, 2), (7, -2), (-7, -2), (2**62 + 1, 1), (0, 5), (5, 0)])
    def test_integer_division_truncates(self, a: int, b: int) -> None:
        quotient = self.apply("div", "i64", integers("i8", a), integers("i8", b))[0]
        remainder = self.apply("mod", "i64", integers("i8", a), integers("i8", b))[0]
        exact = 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        assert quotient == exact
        assert remainder == (0 if b == 0 else a - exact * b)

    def test_nan_stays_in_maximum_and_minimum(self) -> None:
        a, b = f32(np.nan, 1), f32(1, np.nan)
        assert np.isnan(self.apply("max", "f32", a, b)).all()
        assert np.isnan(self.apply("min", "f32", a, b)).all()
        assert np.isnan(reduce_lanes("max", np.array([[1, np.nan, 3, 4]], np.float32)))[0]

    def test_fused_multiply_add_rounds_once(self) -> None:
        a = f32(1 + 2**-12)
        assert self.apply("fma", "f32", a, a, f32(-1))[0] == np.float32(2**-11 + 2**-24)
        assert (a * a - 1)[0] != np.float32(2**-11 + 2**-24)

    def test_lanes_are_reduced_as_a_tree_of_halves(self) -> None:
        values = np.array([[1e8, 1.0, -1e8, 1.0]], np.float32)
        # (1e8 + -1e8) + (1 + 1); in order of the lanes it would be 1.
        assert reduce_lanes("add", values)[0] == 2

    def test_powers_of_two_from_biased_exponents(self) -> None:
        n = np.arange(-127, 128)
        z = (n + 127 + 1.5 * 2**23).astype(np.float32)
        expected = np.where(n == -127, 0, 2.0**n)
        np.testing.assert_array_equal(self.apply("power_of_two", "f32", z), expected)

    @pytest.mark.parametrize(("op", "types", "result"), _applications())
    def test_every_operation_gives_its_type(self, op: str, types: list[tuple[str, int]], result: str) -> None:
        operands = [np.ones((3, 4), numpy_dtype(operand)) for operand, _ in types]
        found = self.apply(op, result, *operands)
        assert found.shape == (3, 4)
        assert found.dtype == numpy_dtype(result)

    def test_every_operation_is_tried(self) -> None:
        pointwise_primitives = {name for name, row in PRIMITIVES.items() if row.kind == "pointwise"}
        assert {op for op, _, _ in _applications()} == {*KERNEL_OPERATIONS, *pointwise_primitives}

    def test_unknown_operation(self) -> None:
        with pytest.raises(CompilerBug, match="no pointwise operation"):
            pointwise("reduce_sum", "f32", 1)
