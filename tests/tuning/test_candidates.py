"""What is worth measuring for a fused kernel."""

from __future__ import annotations

import numpy as np
import pytest
from tuning.examples import strategy_of

from lossc.compiler import Compiled, compile_module
from lossc.compiler.decisions import Candidate, Decision
from lossc.compiler.strategies import candidates
from lossc.ir.integers import evaluate_integer
from lossc.ir.parser import parse
from lossc.runtime.device import Device
from lossc.runtime.simulate import simulate


def test_candidates_are_few_and_begin_with_the_choice(compiled: Compiled) -> None:
    (fused,) = compiled.lowered.fused.values()
    found = candidates(fused, compiled.device)
    assert found[0] == Candidate(strategy_of(compiled))
    assert 3 <= len(set(found)) == len(found)
    alone = candidates(fused, compiled.device, "row-item")
    assert {candidate.strategy for candidate in alone} == {"row-item"}


def test_a_setting_of_any_strategy(compiled: Compiled) -> None:
    (fused,) = compiled.lowered.fused.values()
    narrow = compiled.decided({fused.name: Decision(Candidate("row-item", (("vector_width", 4),)), "a test")})
    assert any("row_item4" in kernel.name for kernel in narrow.program.kernels)
    assert narrow.lowered.choices[fused.name].why == "a test"


def test_a_strategys_own_setting(device: Device) -> None:
    compiled = compile_module(parse("func @f(%x: f32[N]) -> (f32[N]) { %y = exp %x\n return %y }"), device.info)
    (fused,) = compiled.lowered.fused.values()
    own = [candidate for candidate in candidates(fused, device.info) if dict(candidate.settings).get("chunk")]
    assert str(own[0]) == "pointwise, chunk = 4096"
    smaller = compiled.decided({fused.name: Decision(own[0], "a test")})
    usual, more = (c.program.steps[0].variants[-1].launches[0].global_size for c in (compiled, smaller))
    assert evaluate_integer(more, {"N": 1 << 20}) == 4 * evaluate_integer(usual, {"N": 1 << 20})


@pytest.mark.parametrize(("columns", "unroll"), [(1000, 1), (9000, 2)])
def test_the_loop_of_a_pipeline_unrolled_or_not(columns: int, unroll: int, device: Device) -> None:
    text = f"func @f(%x: f32[N, {columns}]) -> (f32[N, {columns}]) {{ %y = softmax %x\n return %y }}"
    compiled = compile_module(parse(text), device.info, "row-pipeline")
    (fused,) = compiled.lowered.fused.values()
    own = [candidate for candidate in candidates(fused, device.info, "row-pipeline") if "unroll" in str(candidate)]
    assert list(map(str, own)) == [f"row-pipeline, unroll = {unroll}"]
    other = compiled.decided({fused.name: Decision(own[0], "a test")})
    assert other.program.kernels != compiled.program.kernels
    x = np.random.default_rng(0).normal(size=(3, columns)).astype(np.float32)
    found, expected = (simulate(each.program, {"x": x})[0] for each in (other, compiled))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
