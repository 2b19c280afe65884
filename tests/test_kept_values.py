"""What waits between the passes over a row: what makes the later ones cheapest, all of them together."""

from __future__ import annotations

import numpy as np
import pytest

from lossc.compiler import compile_module
from lossc.compiler.fused import Fused
from lossc.compiler.rows import keeping
from lossc.compiler.rows.keeping import kept_between
from lossc.compiler.rows.stages import NO_LIMIT, inputs_read, stages_of, waiting_values
from lossc.compiler.strategies import row_item, row_lanes
from lossc.ir.function import Module, Value
from lossc.ir.parser import parse
from lossc.ir.schedule import Schedule
from lossc.ir.target import CPU_AVX512
from lossc.runtime.simulate import simulate

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


def chain_of_softmaxes(count: int, columns: int) -> str:
    lines = [f"  %s{number + 1} = softmax %s{number}" for number in range(count)]
    head = f"func @f(%s0: f32[N, {columns}]) -> (%s{count}: f32[N, {columns}]) {{"
    return "\n".join([head, *lines, f"  return %s{count}", "}"])


@pytest.mark.parametrize(
    ("strategy", "columns", "limit"),
    [("row-item", 2000, row_item.PRIVATE_BYTES), ("row-lanes", 300, row_lanes.PRIVATE_BYTES)],
)
def test_what_waits_in_turn_takes_the_same_place(strategy: str, columns: int, limit: int) -> None:
    """Of a chain of softmaxes a pass needs what the one before it has kept: all fit into what is there for rows, and no
    pass begins with the first of them."""
    short, long = (
        compile_module(parse(chain_of_softmaxes(count, columns)), CPU_AVX512, strategy) for count in (20, 40)
    )
    lengths = [sum(map(len, compiled.sources().values())) for compiled in (short, long)]
    assert lengths[1] < 2.2 * lengths[0]
    for variant in (variant for step in long.program.steps for variant in step.variants):
        for kernel in (launch.kernel for launch in variant.launches):
            assert sum(4 * array.size for array in kernel.private_arrays) <= limit
            assert any(len(array.holds) > 10 for array in kernel.private_arrays)
    x = np.random.default_rng(0).normal(size=(17, columns)).astype(np.float32)
    wanted = x.astype(np.float64)
    for _ in range(40):
        power = np.exp(wanted - wanted.max(1, keepdims=True))
        wanted = power / power.sum(1, keepdims=True)
    (found,) = simulate(long.program, {"s0": x})
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def chain(softmaxes: int) -> Module:
    lines = [f"  %p{n + 1} = softmax %p{n}" for n in range(softmaxes)]
    return parse(
        "\n".join(
            [
                "func @f(%p0: f32[N, 64]) -> (%loss: f32[1], %g: f32[N, 64]) {",
                *lines,
                f"  %loss = l2_loss %p{softmaxes}",
                "  %g = grad %loss, %p0",
                "  return %loss, %g",
                "}",
            ]
        )
    )


def test_a_chain_of_twice_as_many_passes_is_twice_the_text() -> None:
    """What does not fit the first-level cache would be computed anew in each pass: the square of that."""
    short, long = (sum(map(len, compile_module(chain(length), CPU_AVX512).sources().values())) for length in (16, 32))
    assert long < 2.5 * short


def test_what_lies_far_behind_a_pass_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    schedules = [compile_module(chain(length), CPU_AVX512).outlined.schedules["f_0"] for length in (8, 16)]
    counts: list[int] = []
    operands = keeping._Rows.operands

    def counted(self: keeping._Rows, value: Value) -> list[Value]:
        counts[-1] += 1
        return operands(self, value)

    monkeypatch.setattr(keeping._Rows, "operands", counted)
    for schedule in schedules:
        counts.append(0)
        kept_between(schedule, [stage.targets for stage in stages_of(schedule)])
    assert counts[1] < 2.5 * counts[0]
