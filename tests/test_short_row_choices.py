"""Which strategy short rows take: the one that was the fastest where all of them were measured."""

from __future__ import annotations

import pytest

from lossc.compiler import compile_module
from lossc.ir.parser import parse
from lossc.ir.target import CPU_AVX512

ROWS = "f32[N, {C}]"
BESIDE = {"js_div_loss": {"y": ROWS}}
"""What a loss takes beside x, where that is not a label a row."""
MEASURED = [
    ("multi_margin_loss", 2, "row-lanes"),  # 0.85 of row-item's time
    ("multi_margin_loss", 16, "row-item"),  # 0.75 of short-rows'
    ("multi_margin_loss", 32, "row-item"),
    ("multi_margin_loss", 8, "row-item"),  # 0.76 of short-rows'
    ("nll_loss", 3, "row-item"),  # 0.44 of row-lanes'
    ("cross_entropy_loss", 3, "row-lanes"),
    ("cross_entropy_loss", 16, "short-rows"),
    ("cross_entropy_loss", 21, "short-rows"),  # 0.8 of row-item's
    ("cross_entropy_loss", 32, "row-item"),
    ("focal_cross_entropy_loss", 28, "short-rows"),  # 0.67 of row-item's
    ("js_div_loss", 21, "short-rows"),  # 0.53 of row-item's, 0.73 of row-lanes'
    ("js_div_loss", 33, "row-lanes"),  # 0.84 of row-item's
]


@pytest.mark.parametrize(("loss", "columns", "fastest"), MEASURED)
def test_the_fastest_is_taken(loss: str, columns: int, fastest: str) -> None:
    beside = BESIDE.get(loss, {"t": "i32[N]"})
    inputs = ", ".join(f"%{name}: {type_}" for name, type_ in {"x": ROWS, **beside}.items()).format(C=columns)
    text = f"""func @f({inputs}) -> (%loss: f32[1], %g: f32[N, {columns}]) {{
      %loss = {loss} {", ".join(f"%{name}" for name in ("x", *beside))}
      %g = grad %loss, %x
      return %loss, %g
    }}"""
    (choice,) = compile_module(parse(text), CPU_AVX512).lowered.choices.values()
    assert choice.strategy == fastest


def test_pairs_in_rows_of_any_length_are_reduced_side_by_side() -> None:
    """For each label of a row a sum over its scores: 0.05 of the time of vectors along the scores, at 1000."""
    text = """func @f(%x: f32[64, 1000], %t: i32[64, 1000]) -> (%loss: f32[1], %g: f32[64, 1000]) {
      %loss = multilabel_margin_loss %x, %t
      %g = grad %loss, %x
      return %loss, %g
    }"""
    choices = compile_module(parse(text), CPU_AVX512).lowered.choices.values()
    assert [choice.strategy for choice in choices].count("row-lanes") == 3
