"""The table of error codes is complete, and each code of the text is provoked by a test."""

from __future__ import annotations

import re

import lirtest

from lossc.ir.codes import CODES

ROOT = lirtest.ROOT.parent
SOURCES = [path for folder in ("ir", "compiler", "runtime", "lossc") for path in (ROOT / folder).rglob("*.py")]


def codes_in(*texts: str) -> set[str]:
    return {code for text in texts for code in re.findall(r"LIR\d{4}", text)}


def test_every_code_in_the_sources_is_explained_and_every_explained_one_is_used() -> None:
    used = codes_in(*(path.read_text(encoding="utf-8") for path in SOURCES if path.name != "codes.py"))
    # LIR0000 is the code of the base class, which nobody raises.
    assert used - {"LIR0000"} == set(CODES)


def test_titles_and_explanations_are_sentences_of_their_own() -> None:
    titles = [title for title, _ in CODES.values()]
    assert len(set(titles)) == len(titles)
    for code, (title, explanation) in CODES.items():
        assert title[0].isupper(), code
        assert not title.endswith("."), code
        assert explanation.endswith("."), code


def test_every_mistake_in_a_text_has_a_test_that_makes_it() -> None:
    tests = [*lirtest.ROOT.rglob("*.lir"), *lirtest.ROOT.rglob("test_*.py")]
    provoked = codes_in(*(path.read_bytes().decode("utf-8", "replace") for path in tests if path.is_file()))
    assert {code for code in CODES if "LIR0010" <= code < "LIR0100"} <= provoked
