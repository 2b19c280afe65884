"""The simulator: what kernels compute, and which mistakes in them it finds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from kernel_texts import GROUP_SUM, PRIVATE_ROW, ROW_CROSS_ENTROPY, changed, kernel

from lossc.ir.diagnostics import CompilerBug, LirError
from lossc.ir.kernel import (
    Apply,
    BufferArgument,
    Const,
    Expr,
    Kernel,
    Store,
    add,
    at_least,
    index_var,
    integer,
    mul,
)
from lossc.ir.program import CHECK_HOLDS, Buffer, Check, Launch, Program, Step, Variant
from lossc.ir.types import Type, named
from lossc.runtime.arithmetic import pointwise, reduce_lanes
from lossc.runtime.simulate import Counts, simulate, simulate_kernel

B, C = named("B"), named("C")


def rows(count: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, columns)).astype(np.float32)


def run_cross_entropy(
    made: Kernel, x: np.ndarray, labels: np.ndarray, items: int | None = None
) -> dict[str, Any]:
    count, columns = x.shape
    buffers = {
        "x": x.reshape(-1).copy(), "labels": labels.astype(np.int32), "loss": np.full(count, np.nan, np.float32),
        "g": np.full(x.size, np.nan, np.float32), "status": np.full(1, CHECK_HOLDS, np.int32),
    }  # fmt: skip
    counts = simulate_kernel(made, buffers, {"C": columns}, count if items is None else items)
    return {**buffers, "g": buffers["g"].reshape(x.shape), "counts": counts}


def cross_entropy(x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The loss of each row and its gradient, in float64."""
    wide = x.astype(np.float64)
    shifted = np.exp(wide - wide.max(1, keepdims=True))
    p = shifted / shifted.sum(1, keepdims=True)
    picked = np.arange(len(x)), labels
    return -np.log(p[picked]), p - np.eye(x.shape[1])[labels]


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
        assert counts.operations["exp_nonpositive"] == 4 * 48
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


class TestArithmetic:
    def apply(self, op: str, dtype: str, *operands: Any) -> np.ndarray:
        with np.errstate(all="ignore"):
            return pointwise(op, dtype, 1)(*operands)

    def test_floats_round_to_their_type(self) -> None:
        a, b = np.float32([1.0]), np.float32([2.0**-25])
        assert self.apply("add", "f32", a, b).dtype == np.float32
        assert self.apply("add", "f32", a, b)[0] == 1
        for op in ("exp", "erf", "softplus", "sigmoid", "tanh", "log1p", "sqrt"):
            assert self.apply(op, "f32", a).dtype == np.float32

    def test_integers_wrap(self) -> None:
        a = np.int32([2**31 - 1])
        assert self.apply("add", "i32", a, a)[0] == -2
        assert self.apply("mul", "i64", np.int64([2**62]), np.int64([4]))[0] == 0

    @pytest.mark.parametrize(("a", "b"), [(7, 2), (-7, 2), (7, -2), (-7, -2), (2**62 + 1, 1), (0, 5), (5, 0)])
    def test_integer_division_truncates(self, a: int, b: int) -> None:
        quotient = self.apply("div", "i64", np.int64([a]), np.int64([b]))[0]
        remainder = self.apply("mod", "i64", np.int64([a]), np.int64([b]))[0]
        exact = 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        assert quotient == exact
        assert remainder == (0 if b == 0 else a - exact * b)

    def test_nan_stays_in_maximum_and_minimum(self) -> None:
        a, b = np.float32([np.nan, 1]), np.float32([1, np.nan])
        assert np.isnan(self.apply("max", "f32", a, b)).all()
        assert np.isnan(self.apply("min", "f32", a, b)).all()
        assert np.isnan(reduce_lanes("max", np.float32([[1, np.nan, 3, 4]])))[0]

    def test_fused_multiply_add_rounds_once(self) -> None:
        a = np.float32([1 + 2**-12])
        assert self.apply("fma", "f32", a, a, np.float32([-1]))[0] == np.float32(2**-11 + 2**-24)
        assert (a * a - 1)[0] != np.float32(2**-11 + 2**-24)

    def test_broken_promises_become_nan(self) -> None:
        x = np.float32([-1, 0.5, 2])
        np.testing.assert_array_equal(np.isnan(self.apply("exp_nonpositive", "f32", x)), [False, True, True])
        np.testing.assert_array_equal(np.isnan(self.apply("log1p_unit", "f32", x)), [True, False, True])

    def test_lanes_are_reduced_as_a_tree_of_halves(self) -> None:
        values = np.float32([[1e8, 1.0, -1e8, 1.0]])
        # (1e8 + -1e8) + (1 + 1); in order of the lanes it would be 1.
        assert reduce_lanes("add", values)[0] == 2

    def test_unknown_operation(self) -> None:
        with pytest.raises(CompilerBug, match="no pointwise operation"):
            pointwise("reduce_sum", "f32", 1)


# Each mistake in a kernel, and the words of the simulator about it.
MISTAKES = {
    "loop one vector too long": (
        ROW_CROSS_ENTROPY, "[0, %whole)", "[0, add(%whole, 16))", "x: work-item 2 loads index 99 of 99"),
    "tail one element too far": (
        ROW_CROSS_ENTROPY, "sub(%C, 16)", "sub(%C, 15)", "x: work-item 2 loads index 99 of 99"),
    "negative index": (ROW_CROSS_ENTROPY, "sub(%C, 16)", "sub(0, 16)", "work-item 0 loads index -16"),
    "wrong stride": (ROW_CROSS_ENTROPY, "mul(%row, %C)", "mul(%row, 16)", "race"),
    "a label is used unchecked": (
        ROW_CROSS_ENTROPY, "select(%valid, cast(%label):i64, 0)", "cast(%label):i64", "loads index 1033"),
    "stores past the cache where they are not aligned": (
        ROW_CROSS_ENTROPY, "store %g[%tail]", "store nontemporal %g[%tail]", "no multiple of 16"),
    "every row stores one loss": (ROW_CROSS_ENTROPY, "store %loss[%row]", "store %loss[0]", "different values"),
    "loop that never ends": (ROW_CROSS_ENTROPY, "[0, %whole) step 16", "[0, %whole) step 0", "step 0"),
    "unknown variable": (ROW_CROSS_ENTROPY, "mul(%row, %C)", "mul(%roe:i64, %C)", "roe is read before"),
    "first barrier dropped": (GROUP_SUM, "barrier", "", "parts: race"),
    "second barrier dropped": (GROUP_SUM, "  barrier\n  if lt(%me, 2)", "  if lt(%me, 2)", "parts: race"),
    "last barrier dropped": (GROUP_SUM, "  barrier\n  if eq(%me, 0)", "  if eq(%me, 0)", "parts: race"),
    "barrier for some": (GROUP_SUM, "if lt(%me, 4) {", "if lt(%me, 4) {\n    barrier", "part of a work-group"),
    "barrier in a loop of different length": (
        GROUP_SUM, "%sum := add(", "barrier\n %sum := add(", "part of a work-group"),
    "local array too small": (GROUP_SUM, "f32[8]", "f32[7]", "parts: work-item 7 stores index 7 of 7"),
    "local memory never written": (GROUP_SUM, "store %parts[%me] = %sum", "", "never written"),
    "two items store the sum": (
        GROUP_SUM, "if eq(%me, 0) {\n    store %y[%row] = add(%parts[0]",
        "if lt(%me, 2) {\n    store %y[%row] = add(%parts[%me]", "different values"),
    "all groups store one sum": (GROUP_SUM, "store %y[%row]", "store %y[0]", "different values"),
    "private memory never written": (PRIVATE_ROW, "store %kept[%j] = %v", "", "never written"),
    "private index out of bounds": (PRIVATE_ROW, "sub(7, %j)", "sub(8, %j)", "kept: work-item 0 loads index 8"),
}  # fmt: skip


class TestMistakes:
    @pytest.mark.parametrize("name", MISTAKES)
    def test_mistake_is_found(self, name: str) -> None:
        text, old, new, words = MISTAKES[name]
        self.run(text, changed(text, old, new), words)

    @pytest.mark.parametrize("text", [ROW_CROSS_ENTROPY, GROUP_SUM, PRIVATE_ROW])
    def test_the_kernel_without_the_mistake_runs(self, text: str) -> None:
        self.run(text, kernel(text), None)

    def run(self, text: str, made: Kernel, words: str | None) -> None:
        x = rows(3, 33)
        labels = np.array([0, 1000, 2])
        y = np.zeros(48, np.float32)

        def act() -> None:
            if text is ROW_CROSS_ENTROPY:
                run_cross_entropy(made, x, labels)
            elif text is GROUP_SUM:
                simulate_kernel(made, {"x": x.reshape(-1), "y": y[:3]}, {"C": 33}, 24)
            else:
                simulate_kernel(made, {"x": x.reshape(-1)[:48], "y": y}, {}, 6)

        if words is None:
            act()
        else:
            with pytest.raises(CompilerBug, match=words):
                act()

    def test_more_items_than_rows(self) -> None:
        with pytest.raises(CompilerBug, match="work-item 3 loads index"):
            run_cross_entropy(kernel(ROW_CROSS_ENTROPY), rows(3, 33), np.zeros(3, np.int32), items=4)

    def test_items_do_not_fill_groups(self) -> None:
        with pytest.raises(CompilerBug, match="whole groups of 8"):
            simulate_kernel(kernel(GROUP_SUM), {}, {}, 9)

    def test_missing_and_ill_typed_arguments(self) -> None:
        good = {"x": np.zeros(3, np.float32), "y": np.zeros(1, np.float32)}
        with pytest.raises(CompilerBug, match="argument y is missing"):
            simulate_kernel(kernel(GROUP_SUM), {"x": good["x"]}, {"C": 3}, 8)
        with pytest.raises(CompilerBug, match="argument C is missing"):
            simulate_kernel(kernel(GROUP_SUM), good, {}, 8)
        with pytest.raises(CompilerBug, match="takes a flat array of f32, found float64"):
            simulate_kernel(kernel(GROUP_SUM), {**good, "x": np.zeros(3)}, {"C": 3}, 8)

    def test_one_item_reads_what_another_changes(self) -> None:
        made = kernel("""
            kernel @shift(readwrite %x: f32) {
              let %i: i64 = global_id()
              store %x[%i] = %x[mod(add(%i, 1), 8)]
            }""")
        with pytest.raises(CompilerBug, match="race: work-item . changes element"):
            simulate_kernel(made, {"x": np.arange(8, dtype=np.float32)}, {}, 8)

    def test_a_barrier_orders_nothing_in_global_memory(self) -> None:
        made = kernel("""
            kernel @neighbour(readwrite %x: f32, write %y: f32) local_size 4 {
              let %i: i64 = local_id()
              store %x[%i] = cast(%i):f32
              barrier
              store %y[%i] = %x[sub(3, %i)]
            }""")
        with pytest.raises(CompilerBug, match="race: work-item . reads element"):
            simulate_kernel(made, {name: np.zeros(4, np.float32) for name in "xy"}, {}, 4)

    def test_race_through_two_names_of_one_memory(self) -> None:
        made = kernel("""
            kernel @shift(read %x: f32, write %y: f32) {
              let %i: i64 = global_id()
              store %y[%i] = %x[mod(add(%i, 1), 8)]
            }""")
        memory = np.arange(8, dtype=np.float32)
        with pytest.raises(CompilerBug, match="race"):
            simulate_kernel(made, {"x": memory, "y": memory}, {}, 8)

    def test_stores_of_one_value_are_no_race(self) -> None:
        made = kernel("kernel @flag(write %y: i32) {\n store %y[0] = 1:i32\n}")
        y = np.zeros(1, np.int32)
        simulate_kernel(made, {"y": y}, {}, 8)
        assert y[0] == 1

    def test_masked_items_may_have_any_index(self) -> None:
        made = kernel("""
            kernel @first(read %x: f32, write %y: f32) {
              let %i: i64 = global_id()
              if lt(%i, 2) {
                store %y[%i] = %x[%i]
              }
            }""")
        y = np.zeros(2, np.float32)
        simulate_kernel(made, {"x": np.float32([3, 4]), "y": y}, {}, 5)
        np.testing.assert_array_equal(y, [3, 4])


# --- programs -----------------------------------------------------------------------------------------------

SCALE = kernel("""
    kernel @scale(read %x: f32, write %part: f32, readwrite %status: i32, scalar %C: i64) {
      let %row: i64 = global_id()
      var %sum: f32 = 0.0
      for %j in [0, %C) step 1 {
        let %v: f32 = %x[add(mul(%row, %C), %j)]
        if lt(%v, 0.0) {
          atomic_min %status[0] = cast(add(mul(%row, %C), %j)):i32
        }
        %sum := add(%sum, %v)
      }
      store %part[%row] = %sum
    }""")
FINISH = kernel("""
    kernel @finish(read %part: f32, write %total: f32, scalar %B: i64) {
      var %sum: f32 = 0.0
      for %row in [0, %B) step 1 {
        %sum := add(%sum, %part[%row])
      }
      store %total[0] = %sum
    }""")


def sum_program() -> Program:
    """The sum of a matrix of non-negative numbers; rows of one element take another variant."""
    b, c = index_var("B"), index_var("C")
    finish = Launch(FINISH, ("part", "total"), {"B": b}, integer(1))
    part = Buffer("part", "f32", b, "temporary")
    scale = Launch(SCALE, ("x", "part", "status"), {"C": c}, b)
    direct = Launch(FINISH, ("x", "total"), {"B": b}, integer(1))
    variants = (
        Variant("rows", (scale, finish), at_least(c, 2), (part,)),
        Variant("direct", (direct,)),
    )
    buffers = {
        "x": Buffer("x", "f32", mul(b, c), "input", (B, C)),
        "total": Buffer("total", "f32", integer(1), "output", (1,)),
        "seen": Buffer("seen", "f32", integer(1), "output", (), alias_of="total"),
        "status": Buffer("status", "i32", integer(1), "status"),
    }
    check = Check(0, {"code": "sign", "message": "no number may be negative"}, (B, C), "x")
    return Program(
        "sum", (("x", Type("f32", (B, C))),), (("total", Type("f32", (1,))), ("seen", Type("f32"))), buffers,
        (Step("sum", variants),), (check,), ("total", "seen"), ("B", "C"),
    )  # fmt: skip


class TestPrograms:
    @pytest.mark.parametrize("shape", [(1, 1), (4, 1), (3, 5), (0, 3)])
    def test_sum(self, shape: tuple[int, int]) -> None:
        x = np.abs(rows(*shape))
        total, seen = simulate(sum_program(), {"x": x})
        assert total.shape == (1,)
        assert seen.shape == ()
        np.testing.assert_allclose([total[0], seen[()]], x.astype(np.float64).sum(), rtol=1e-6)

    def test_counts_have_the_names_of_the_program(self) -> None:
        counts = Counts()
        simulate(sum_program(), {"x": np.ones((3, 5))}, counts=counts)
        assert counts.launches == 2
        assert counts.loaded == {"x": 15, "part": 3}
        assert counts.stored == {"part": 3, "total": 1}
        assert counts.bytes == 4 * 22

    def test_variant_is_chosen_by_guard_or_by_name(self) -> None:
        counts = Counts()
        simulate(sum_program(), {"x": np.ones((4, 1))}, counts=counts)
        assert counts.launches == 1
        simulate(sum_program(), {"x": np.ones((4, 1))}, strategies={"sum": "rows"}, counts=counts)
        assert counts.launches == 3
        with pytest.raises(CompilerBug, match="no variant by strategy columns"):
            simulate(sum_program(), {"x": np.ones((4, 1))}, strategies={"sum": "columns"})

    def test_failed_check(self) -> None:
        x = np.ones((3, 5))
        x[1, 2], x[2, 0] = -4, -5
        with pytest.raises(LirError, match=r"no number may be negative.*-4.*\[1, 2\]"):
            simulate(sum_program(), {"x": x})

    def test_the_callers_array_stays(self) -> None:
        x = np.ones((2, 2), np.float32)
        total, _ = simulate(sum_program(), {"x": x})
        total[0] = 99
        np.testing.assert_array_equal(x, 1)

    def test_memory_that_nobody_wrote_shows(self) -> None:
        program = sum_program()
        (step,) = program.steps
        rows_only = Variant("rows", step.variants[0].launches[1:], None, step.variants[0].temporaries)
        total, _ = simulate(
            Program(**{**vars(program), "steps": (Step("sum", (rows_only,)),)}), {"x": np.ones((3, 2))}
        )
        assert math.isnan(total[0])

    @pytest.mark.parametrize(
        ("inputs", "words"),
        [
            ({}, "missing input `x`: f32\\[B, C\\]"),
            ({"x": np.ones(3)}, "found an array of shape \\[3\\]"),
            ({"x": np.ones((2, 2)), "y": np.ones(1)}, "no input `y`"),
            ({"x": np.ones((2, 2), np.int32)}, "found an array of int32"),
        ],
    )
    def test_wrong_inputs(self, inputs: dict[str, np.ndarray], words: str) -> None:
        with pytest.raises(LirError, match=words):
            simulate(sum_program(), inputs)

    def test_integers_must_fit(self) -> None:
        program = Program(
            "keep", (("n", Type("i32", (B,))),), (("n", Type("i32", (B,))),),
            {"n": Buffer("n", "i32", index_var("B"), "input", (B,))}, (), (), ("n",), ("B",),
        )  # fmt: skip
        np.testing.assert_array_equal(simulate(program, {"n": np.array([2**31 - 1, -5])})[0], [2**31 - 1, -5])
        with pytest.raises(LirError, match="out of range for i32"):
            simulate(program, {"n": np.array([2**31])})

    def test_sizes_that_no_input_gives(self) -> None:
        size = add(index_var("N"), integer(0))
        fill = kernel("kernel @fill(write %y: f32) {\n store %y[global_id()] = 2.0\n}")
        program = Program(
            "fill", (), (("y", Type("f32", (named("N"),))),), {"y": Buffer("y", "f32", size, "output")},
            (Step("fill", (Variant("only", (Launch(fill, ("y",), {}, size),)),)),), (), ("y",), ("N",),
        )  # fmt: skip
        np.testing.assert_array_equal(simulate(program, {}, {"N": 3})[0], [2, 2, 2])

    def test_buffers_that_do_not_exist(self) -> None:
        program = sum_program()
        broken = Variant("rows", program.steps[0].variants[0].launches)
        program = Program(**{**vars(program), "steps": (Step("sum", (broken,)),)})
        with pytest.raises(CompilerBug, match="buffers that do not exist: part"):
            simulate(program, {"x": np.ones((2, 2))})

    def test_a_guard_is_an_expression_of_dimensions(self) -> None:
        assert at_least(index_var("C"), 2) == Apply("ge", (index_var("C"), Const(2, "i64")), "bool")
