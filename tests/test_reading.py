"""Graphs as LIR text: written, saved, and read back."""

from __future__ import annotations

from pathlib import Path

import pytest
from graph_examples import HALF, classifier

import lossc
from lossc.ir.types import Type, named


def test_a_graph_prints_as_lir_that_reads_back_as_the_same_text() -> None:
    text = str(classifier())
    assert "param %fc.weight: f32[3, 4]" in text
    assert "cross_entropy_loss %linear, %labels {label_smoothing = 0.1}" in text
    assert lossc.parse(text).to_lir() == text


def test_an_optional_operand_that_is_left_out_between_others_prints_by_name() -> None:
    g = lossc.Graph()
    x, t, p = g.input("x", (3,)), g.input("t", (3,)), g.input("p", (3,))
    g.set_outputs([g.bce_with_logits_loss(x, t, pos_weight=p)])
    text = str(g)
    assert "pos_weight = %p" in text
    assert lossc.parse(text).to_lir() == text


def test_an_unfinished_graph_prints_too() -> None:
    g = lossc.Graph()
    g.input("x", (2,))
    assert "func @graph(%x: f32[2])" in str(g)


def test_saving_writes_the_text(tmp_path: Path) -> None:
    path = tmp_path / "f.lir"
    g = classifier()
    g.save(path)
    assert lossc.load(path).to_lir() == str(g)
    with pytest.raises(lossc.LirError, match=r"cannot write .*: there is no folder '.*missing'$"):
        g.save(tmp_path / "missing" / "f.lir")


def test_load_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(lossc.LirError):
        lossc.load(tmp_path / "missing.lir")
    (tmp_path / "bad.lir").write_text("func @f(%x: f32[2]) -> f32[2] {\n  %y = expp %x\n  return %y\n}\n")
    with pytest.raises(lossc.LirError, match=r"bad.lir:2:8") as caught:
        lossc.load(tmp_path / "bad.lir")
    assert "did you mean `exp`?" in str(caught.value)
    for no_text in (b"func", tmp_path, None):
        with pytest.raises(lossc.LirError, match=r"a text in LIR is a str.*\n.*lossc\.load\(path\)"):
            lossc.parse(no_text)  # type: ignore[arg-type]


def test_a_number_is_no_path() -> None:
    with pytest.raises(TypeError, match=r"os\.PathLike object, not int"):
        classifier().save(1)  # type: ignore[arg-type]


def test_load_takes_the_function_that_is_named() -> None:
    text = "func @a(%x: f32[2]) -> f32[2] {\n  return %x\n}\nfunc @b(%y: f32[3]) -> f32[3] {\n  return %y\n}\n"
    with pytest.raises(lossc.LirError, match="one function that nobody calls"):
        lossc.parse(text)
    assert lossc.parse(text, function="b").inputs == {"y": Type("f32", (3,))}


def test_a_loaded_module_keeps_its_functions() -> None:
    g = lossc.parse(HALF)
    assert g.name == "main"
    assert lossc.parse(str(g)).to_lir() == str(g)
    extra = g.call("half_squares", g.value("y"))
    assert extra.shape == (named("B"),)  # type: ignore[union-attr]
    with pytest.raises(lossc.LirError, match="did you mean `half_squares`"):
        g.call("half_square", g.value("y"))
