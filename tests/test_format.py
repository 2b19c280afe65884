"""`lossc fmt`: the layout changes, the program does not, and a second time nothing does."""

from __future__ import annotations

from pathlib import Path

import lirtest
import pytest

from lossc.ir.diagnostics import LirError
from lossc.ir.format import format_text
from lossc.ir.parser import load, parse
from lossc.ir.printer import equal_modules

FILES = sorted([*lirtest.ROOT.glob("syntax/**/*.lir"), *lirtest.ROOT.parent.glob("samples/*.lir")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_formatting_keeps_the_program_and_the_comments(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    formatted = format_text(text)
    assert format_text(formatted) == formatted
    assert equal_modules(parse(formatted, directory=path.parent), load(path))
    comments = [line.split("//", 1)[1].rstrip() for line in text.splitlines() if "//" in line.split('"')[0]]
    assert [comment for comment in comments if f"//{comment}" not in formatted] == []


def test_the_sample_is_formatted() -> None:
    text = (lirtest.ROOT.parent / "samples" / "digits.lir").read_text(encoding="utf-8")
    assert format_text(text) == text


def test_blank_lines_are_at_most_one_in_a_row() -> None:
    text = "\n\n\n// lir 1\n\n\n\nfunc @f() -> () {\n\n\n  return\n\n\n}\n\n\n\nfunc @g() -> () {\n  return\n}\n\n\n"
    assert format_text(text) == "// lir 1\n\nfunc @f() -> () {\n  return\n}\n\nfunc @g() -> () {\n  return\n}\n"


def test_a_head_is_split_where_it_is_longer_than_a_hundred_columns() -> None:
    fits = f"func @f(%{'x' * 60}: f32[B, 10]) -> (f32[B, 10]) {{"
    assert len(fits) == 100
    text = fits + "\n  return\n}\n"
    assert format_text(text) == text
    assert format_text(text.replace("%x", "%xx")).startswith("func @f(\n    %xx")
    # A comment behind the head does not count: formatting twice would move it.
    commented = text.replace("{\n", "{  // a comment that is rather long\n", 1)
    assert format_text(commented) == commented


@pytest.mark.parametrize("text", ["", "\n\n", "// only a comment\n", "func @f() -> () {}\n", 'import "a.lir"\n'])
def test_little_texts(text: str) -> None:
    assert format_text(format_text(text)) == format_text(text)


def test_lines_that_are_not_well_formed_are_refused_all_at_once() -> None:
    with pytest.raises(LirError) as caught:
        format_text("func @f() -> () {\n  %a = = b\n  exp $\n}\n", "f.lir")
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == ["LIR0010", "LIR0011"]
    assert "f.lir:2:8" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [("func @f(%x: f32[N]) -> f32[N] {\n  %y = exp %x\n  return %y\n", "LIR0010", "f.lir:1:1"),
     ("func @f(%x: f32[N]) -> f32[N] {\n  %y = exp %x\n", "LIR0010", "f.lir:1:1"),
     ("func @f() -> () {\n  return\n\nfunc @g() -> () {\n  return\n}\n", "LIR0010", "f.lir:4:1"),
     ("}\n", "LIR0010", "f.lir:1:1"), ("func @f() -> () {\n  return\n}\n}\n", "LIR0010", "f.lir:4:1"),
     ("// lir 2\nfunc @f()->() {\nreturn\n}\n", "LIR0014", "f.lir:1:8")],
)  # fmt: skip
def test_functions_that_do_not_end_and_braces_that_end_nothing_are_refused(text: str, code: str, place: str) -> None:
    with pytest.raises(LirError) as caught:
        format_text(text, "f.lir")
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == [code]
    assert str(caught.value.diagnostics[0].span) == place


def test_what_the_lines_say_is_not_looked_at() -> None:
    assert format_text("func @f()->() {\n%a=no_such_op %b {x=[ 1,2 ]}\nreturn %c }") == (
        "func @f() -> () {\n  %a = no_such_op %b {x = [1, 2]}\n  return %c\n}\n"
    )
