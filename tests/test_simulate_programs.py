"""The simulator runs programs: buffers, guards, checks, errors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from kernel_runs import rows
from kernel_texts import kernel, sum_program

from lossc.ir.arithmetic import add, index_var, integer
from lossc.ir.diagnostics import CompilerBug, LirError
from lossc.ir.program import Buffer, Launch, Program, Step, Variant
from lossc.ir.types import Type, named
from lossc.runtime.simulate import Counts, simulate

B = named("B")


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
        total, _ = simulate(Program(**{**vars(program), "steps": (Step("sum", (rows_only,)),)}), {"x": np.ones((3, 2))})
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
            {"n": Buffer("n", "i32", index_var("B"), "input", (B,))}, (), (), ("n",), ("B",), input_buffers=("n",),
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
        program = replace(program, steps=(Step("sum", (broken,)),))
        with pytest.raises(CompilerBug, match="buffers that do not exist: part"):
            simulate(program, {"x": np.ones((2, 2))})
