"""How errors look: the place, the line, the marked part, what to try."""

from __future__ import annotations

import pytest

from lossc.ir.diagnostics import Diagnostic, LirError, Source, Span, did_you_mean


def rendered(text: str, start: int, end: int) -> list[str]:
    return Diagnostic("LIR0001", "wrong", Span(Source("f.lir", text), start, end)).render().splitlines()


def test_a_diagnostic_shows_place_line_and_carets() -> None:
    assert rendered("one\ntwo three\n", 8, 13) == [
        "f.lir:2:5: error[LIR0001]: wrong",
        "2 | two three",
        "  |     ^^^^^",
    ]


@pytest.mark.parametrize(
    ("text", "start", "end", "line", "carets"),
    [
        ("a", 1, 2, "1 | a", "  |  ^"),  # behind the end of the text
        ("ab\ncd", 0, 5, "1 | ab", "  | ^^"),  # over several lines: the first
        ("\ta b", 1, 2, "1 | \ta b", "  | \t^"),  # tabs stay tabs
        ("漢字 x", 3, 4, "1 | 漢字 x", "  |      ^"),  # two columns a character
        ("漢字 x", 0, 2, "1 | 漢字 x", "  | ^^^^"),
        ("e\u0301 x", 3, 4, "1 | e\u0301 x", "  |   ^"),  # a combining accent takes none
        ("a\u202eb\x1b[31mc", 9, 10, "1 | a\ufffdb\ufffd[31mc", None),  # nothing steers the terminal
        ("a\r\nb\r\n", 3, 4, "2 | b", "  | ^"),
        ("a\x0cb\u2028c\nd", 6, 7, "2 | d", "  | ^"),  # only newlines end lines
    ],
)
def test_excerpts(text: str, start: int, end: int, line: str, carets: str | None) -> None:
    _, *excerpt = rendered(text, start, end)
    assert excerpt[0] == line
    assert carets is None or excerpt[1] == carets


def test_a_very_long_line_is_not_shown() -> None:
    assert len(rendered("x" * 1000, 500, 501)) == 1


def test_labels_and_notes_follow() -> None:
    source = Source("f.lir", "first\nsecond")
    diagnostic = Diagnostic("LIR0021", "twice", Span(source, 6, 12), ((Span(source, 0, 5), "here"),), ("try this",))
    assert diagnostic.render().splitlines()[3:] == [
        "  f.lir:1:1: here",
        "1 | first",
        "  | ^^^^^",
        "  = try this",
    ]


def test_an_error_is_placed_once() -> None:
    source = Source("f.lir", "abc")
    error = LirError("wrong", "note", code="LIR0030", about="axis").at(Span(source, 1, 2))
    assert error.at(Span(source, 0, 1)).diagnostics[0].span == Span(source, 1, 2)
    assert isinstance(error, LirError)
    assert (error.diagnostics[0].code, error.diagnostics[0].about, error.diagnostics[0].notes) == (
        "LIR0030", "axis", ("note",))  # fmt: skip
    assert str(error) == "f.lir:1:2: error[LIR0030]: wrong\n1 | abc\n  |  ^\n  = note"


def test_the_nearest_word_is_suggested_or_none() -> None:
    assert did_you_mean("sofmax", ["softmax", "log_softmax", "relu"]) == ("did you mean `softmax`?",)
    assert did_you_mean("xyz", ["softmax"]) == ()
