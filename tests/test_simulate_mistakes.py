"""Mistakes in kernels that the simulator finds: bounds, races, barriers, memory that nobody wrote."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_runs import cross_entropy, f32, rows, run_cross_entropy
from kernel_texts import GROUP_SUM, PRIVATE_ROW, ROW_CROSS_ENTROPY, changed, kernel

from lossc.ir.diagnostics import CompilerBug
from lossc.ir.kernel import Kernel
from lossc.runtime.simulate import simulate_kernel

ROWS = ROW_CROSS_ENTROPY

# Each mistake in a kernel, and the words of the simulator about it.
MISTAKES = {
    "loop one vector too long": (
        ROWS, "[0, %whole)", "[0, add(%whole, 16))", "x: work-item 2 loads index 99 of 99"),
    "tail one element too far": (
        ROWS, "sub(%C, 16)", "sub(%C, 15)", "x: work-item 2 loads index 99 of 99"),
    "negative index": (ROWS, "sub(%C, 16)", "sub(0, 16)", "work-item 0 loads index -16"),
    "wrong stride": (ROWS, "mul(%row, %C)", "mul(%row, 16)", "race"),
    "a label is used unchecked": (
        ROWS, "select(%valid, cast(%label):i64, 0)", "cast(%label):i64", "loads index 1033"),
    "stores past the cache where they are not aligned": (
        ROWS, "store %g[%tail]", "store nontemporal %g[%tail]", "no multiple of 16"),
    "every row stores one loss": (ROWS, "%loss[%row]", "%loss[0]", "different values"),
    "loop that never ends": (ROWS, ") step 16", ") step 0", "step 0"),
    "unknown variable": (ROWS, "mul(%row, %C)", "mul(%roe:i64, %C)", "roe is read before"),
    "first barrier dropped": (GROUP_SUM, "barrier", "", "parts: race"),
    "second barrier dropped": (GROUP_SUM, "  barrier\n  if lt(%me, 2)", "  if lt(%me, 2)", "parts: race"),
    "last barrier dropped": (GROUP_SUM, "barrier\n  if eq(%me, 0)", "if eq(%me, 0)", "parts: race"),
    "barrier for some": (GROUP_SUM, "if lt(%me, 4) {", "if lt(%me, 4) {\n    barrier", "a part of a"),
    "barrier in a loop of different length": (
        GROUP_SUM, "%sum := add(", "barrier\n %sum := add(", "part of a work-group"),
    "local array too small": (GROUP_SUM, "f32[8]", "f32[7]", "parts: work-item 7 stores index 7 of 7"),
    "local memory never written": (GROUP_SUM, "store %parts[%me] = %sum", "", "never written"),
    "two items store the sum": (
        GROUP_SUM, "if eq(%me, 0) {\n    store %y[%row] = add(%parts[0]",
        "if lt(%me, 2) {\n    store %y[%row] = add(%parts[%me]", "different values"),
    "all groups store one sum": (GROUP_SUM, "store %y[%row]", "store %y[0]", "different values"),
    "private memory never written": (PRIVATE_ROW, "store %kept[%j] = %v", "", "never written"),
    "private index out of bounds": (PRIVATE_ROW, "sub(7, %j)", "sub(8, %j)", "kept: .* loads index 8"),
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
        with pytest.raises(CompilerBug, match=r"race: work-item . changes element"):
            simulate_kernel(made, {"x": np.arange(8, dtype=np.float32)}, {}, 8)

    def test_a_barrier_orders_nothing_in_global_memory(self) -> None:
        made = kernel("""
            kernel @neighbour(readwrite %x: f32, write %y: f32) local_size 4 {
              let %i: i64 = local_id()
              store %x[%i] = cast(%i):f32
              barrier
              store %y[%i] = %x[sub(3, %i)]
            }""")
        with pytest.raises(CompilerBug, match=r"race: work-item . reads element"):
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
        simulate_kernel(made, {"x": f32(3, 4), "y": y}, {}, 5)
        np.testing.assert_array_equal(y, [3, 4])

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("var %sums: f32x16 = 0.0:f32x16", "var %sums: f32x16 = 1.0:f32x16"),
            ("%fresh: boolx16 = ge(", "%fresh: boolx16 = lt("),
            ("sub(16, %rest)", "sub(15, %rest)"),
            ("select(%fresh, %e, 0.0:f32x16)", "%e"),
            ("%j in [0, %whole) step 16 {\n    %sums", "%j in [16, %whole) step 16 {\n    %sums"),
        ],
    )
    def test_what_is_within_bounds_and_wrong_shows_in_the_numbers(self, old: str, new: str) -> None:
        x = rows(3, 39) * 4
        labels = np.array([0, 38, 2])
        loss, gradient = cross_entropy(x, labels)
        found = run_cross_entropy(changed(ROW_CROSS_ENTROPY, old, new), x, labels)
        assert not np.allclose(found["g"], gradient, atol=1e-6)
        assert not np.allclose(found["loss"], loss, rtol=1e-5)
