"""What waits between the passes over a row: what makes the later ones cheapest, all of them together."""

from __future__ import annotations

import pytest

from lossc.compiler import compile_module
from lossc.compiler.fused import Fused
from lossc.compiler.rows.stages import NO_LIMIT, inputs_read, stages_of, waiting_values
from lossc.ir.parser import parse
from lossc.ir.schedule import Schedule
from lossc.ir.target import CPU_AVX512

JENSEN_SHANNON = "js_div_loss %x, %y"
DISTILLATION = "distillation_loss %x, %y {temperature = 2.0}"
CAPPED = """tanh %x
  %loss = cross_entropy_loss %capped, %y {label_smoothing = 0.1}"""


def schedule_of(loss: str, second: str = "f32[N, 1000]") -> Schedule:
    head = "%capped" if "\n" in loss else "%loss"
    text = f"""func @f(%x: f32[N, 1000], %y: {second}) -> (%loss: f32[1], %g: f32[N, 1000]) {{
  {head} = {loss}
  %g = grad %loss, %x
  return %loss, %g
}}"""
    (schedule,) = compile_module(parse(text), CPU_AVX512).outlined.schedules.values()
    return schedule


def operations_kept(schedule: Schedule, limit: int = NO_LIMIT) -> list[str]:
    producer = schedule.function.producers()
    kept = waiting_values(Fused("f", schedule, {}, {}).emitter(), stages_of(schedule), 1000, limit)
    return [producer[value].name for value in kept]


def test_the_end_of_a_chain_waits_where_nothing_else_of_it_is_needed() -> None:
    """Of Jensen-Shannon's logarithm the last pass needs the logarithm of a ratio, and of the logits nothing."""
    schedule = schedule_of(JENSEN_SHANNON)
    assert operations_kept(schedule) == ["exp", "exp", "sub"]
    *_, last = stages_of(schedule)
    kept = waiting_values(Fused("f", schedule, {}, {}).emitter(), stages_of(schedule), 1000)
    assert not inputs_read(schedule, last, kept)
    (student, _, ratio) = kept
    assert {value for value, each in kept.items() if last.number in each.read} == {student, ratio}
    # Of four rows in flight the target's exponential waits for one, and not for the pass that stores.
    assert [each.copies(range(4)) for each in kept.values()] == [3, 2, 2]


@pytest.mark.parametrize("loss", [JENSEN_SHANNON, DISTILLATION])
def test_the_pass_that_stores_reads_no_logits(loss: str) -> None:
    text = f"func @f(%x: f32[N, 1024], %y: f32[N, 1024]) -> f32[1] {{\n  %loss = {loss}\n  return %loss\n}}"
    module = parse(text.replace("-> f32[1] {", "-> (f32[1], f32[N, 1024]) {").replace(
        "  return %loss\n", "  %g = grad %loss, %x\n  return %loss, %g\n"))  # fmt: skip
    source = compile_module(module, CPU_AVX512).sources()
    (kernel,) = (text for name, text in source.items() if name.endswith("_row_pipeline16_stream"))
    loop, _ = kernel.split("if (!v_full)")
    # Two vectors abreast, read for the maximum and for the exponential; Jensen-Shannon once more, for the logarithms.
    passes = 3 if loss == JENSEN_SHANNON else 2
    assert loop.count("vload16(0, v_x + ") == loop.count("vload16(0, v_y + ") == 2 * passes


def test_an_early_pass_takes_what_a_later_one_keeps() -> None:
    """The sums need capped logits, the gradient their tanh too: the logits are one multiplication from that."""
    text = schedule_of("tanh %x\n  %c = mul %capped, 30.0\n  %loss = cross_entropy_loss %c, %y {label_smoothing = 0.1}",
                       "i32[N]")  # fmt: skip
    assert operations_kept(text) == ["tanh", "exp"]


def test_what_is_dear_to_compute_again_waits_where_there_is_room_for_one() -> None:
    row = 4 * 1000
    assert operations_kept(schedule_of(JENSEN_SHANNON), 2 * row) == ["exp", "exp"]
    assert operations_kept(schedule_of(CAPPED, "i32[N]"), row) == ["tanh"]
    assert operations_kept(schedule_of(CAPPED, "i32[N]"), row - 1) == []


def test_what_costs_a_load_and_an_operation_is_computed_again() -> None:
    assert operations_kept(schedule_of("multi_margin_loss %x, %y", "i32[N]")) == []
    assert operations_kept(schedule_of("cross_entropy_loss %x, %y", "i32[N]")) == ["exp"]
