"""Thousands of damaged texts: each is read, or refused by a LirError that names a place. Nothing else happens.

What is accepted is printed, read back and compared. LOSSC_FUZZ=100000 runs that many texts, LOSSC_FUZZ_SEED=7 others.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import lirtest
import pytest
from functions import calls_of

from lossc.ir.composites import COMPOSITES, definition_of
from lossc.ir.diagnostics import LirError
from lossc.ir.format import format_text
from lossc.ir.ops import PRIMITIVES, REQUIRED
from lossc.ir.parser import parse
from lossc.ir.printer import equal_modules

COUNT = int(os.environ.get("LOSSC_FUZZ", "4000"))
SEED = int(os.environ.get("LOSSC_FUZZ_SEED", "1"))
MOST_CALLS = 2_000_000
"""Of Python functions while a text is read, printed and read back."""

FRAGMENTS = [
    "%", "@", "%x", "%y = ", "@f", "(", ")", "[", "]", "{", "}", ",", "=", ":", "*", "->", '"', "\\", "//", "\n", "\r",
    "\t", "\0", "\u202e", "é", "\ud800", "-", "inf", "-inf", "nan", "1e999", "0x10", "9223372036854775808", "-1", "0",
    "9" * 5000, "2*B", "B*B*B", "f32", "f32[]", "bool[B]", "param ", "func ", "kernel ", "return", "import ", "call ",
    "launch ", "gradient ", "true", "{axis = 0}", "{axes = [0]}", "{shape = [B]}", "exp ", "reduce_sum ", "check ",
    "linear ", "softmax ", "cross_entropy_loss ", "grad ", "with_gradient ", "gather ", "reshape ", "// lir 1\n",
]  # fmt: skip


def corpus() -> list[str]:
    root = Path(__file__).parent
    files = sorted([*root.glob("syntax/**/*.lir"), *root.glob("errors/*.lir"), *root.parent.glob("samples/*.lir")])
    return [file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file()]


def mutate(text: str, texts: list[str], choose: random.Random) -> str:
    """One to four random damages."""
    for _ in range(choose.randint(1, 4)):
        start = choose.randint(0, len(text))
        end = min(len(text), start + choose.choice([1, 1, 3, 10, 100]))
        match choose.randint(0, 6):
            case 0:
                text = text[:start] + text[end:]
            case 1:
                text = text[:start] + choose.choice(FRAGMENTS) + text[start:]
            case 2:
                text = text[:start] + choose.choice(FRAGMENTS) + text[end:]
            case 3:
                text = text[:start] + text[start:end] * choose.choice([2, 3, 50]) + text[end:]
            case 4:
                words = text.split(" ")
                one, two = choose.randrange(len(words)), choose.randrange(len(words))
                words[one], words[two] = words[two], words[one]
                text = " ".join(words)
            case 5:
                lines, others = text.split("\n"), choose.choice(texts).split("\n")
                lines[choose.randrange(len(lines))] = choose.choice(others)
                text = "\n".join(lines)
            case _:
                text = (
                    text[: max(start, 1)]
                    if choose.random() < 0.3
                    else text[:start] + chr(choose.randint(0, 0x2FFF)) + text[start:]
                )
    return text


@pytest.mark.parametrize("part", range(4))
def test_damaged_texts_are_read_or_refused(part: int) -> None:
    texts = corpus()
    accepted: list[str] = []

    def read_or_refuse(text: str) -> None:
        read = lirtest.read_or_refuse(text)
        if not isinstance(read, LirError):
            accepted.append(text)
            lirtest.check_round_trip(read)
            assert equal_modules(read, parse(format_text(text), "formatted")), text

    for number in range(part, COUNT, 4):
        text = mutate(
            random.Random(number * 7919 + SEED).choice(texts), texts, random.Random(number + SEED * 1_000_003)
        )
        assert calls_of(lambda text=text: read_or_refuse(text)) < MOST_CALLS, f"too slow: {text!r}"
    assert len(accepted) > COUNT // 400, "hardly any damaged text is accepted: the damage is too great to test much"


VALUES = {
    "int": ["0", "1", "-1", "2", "7", "-100", "9223372036854775807"],
    "float": ["0.0", "0.5", "-1", "inf", "nan", "1e308"],
    "number": ["0", "1", "-0.0", "inf", "true", "300"],
    "bool": ["true", "false"],
    "str": ['"mean"', '"sum"', '"none"', '""', '"nan"', '"error"', '"zero"'],
    "dtype": ["f16", "bf16", "f32", "f64", "i8", "u8", "i64", "bool"],
    "ints": ["[]", "[0]", "[1]", "[0, 1]", "[1, 0]", "[2, 0, 1]", "[-1]", "[0, 0]", "[5]"],
    "dim": ["0", "1", "2", "-1", "B", "2*B", "B*B"],
    "dims": [
        "[]",
        "[B]",
        "[B, 3]",
        "[3, B]",
        "[3*B]",
        "[0]",
        "[B, 3, 1]",
        "[1, B, B]",
        "[9223372036854775807]",
    ],
    "strs": ['["x"]', "[]"],
}
INPUTS = [
    "%x: f32[B, 3]", "%y: f32[B, 3]", "%row: f32[3]", "%column: f32[B]", "%s: f32[]", "%cube: f32[B, 3, 1]",
    "%h: f16[B, 3]", "%d: f64[B, 3]", "%labels: i32[B]", "%bytes: u8[B, 3]", "%ok: bool[B, 3]", "%yes: bool[]",
    "%none: f32[0, 3]", "%huge: f32[4294967296, 2147483647]", "%power: f32[B*B, 3*B]", "%one: f32[1]",
]  # fmt: skip


def random_statements(choose: random.Random) -> str:
    """A function of random operations on random operands, right now and then."""
    names = [text.split(":")[0] for text in INPUTS] + ["0", "1.5", "true"]
    lines = [f"func @f({', '.join(INPUTS)}) -> () {{"]
    for number in range(40):
        definition = definition_of(choose.choice([*PRIMITIVES, *COMPOSITES]))
        operands = [
            choose.choice(names) for operand in definition.operands if choose.random() < 0.95 or operand[-1] != "?"
        ]
        attributes = [
            f"{name} = {choose.choice(VALUES[attribute.kind])}"
            for name, attribute in definition.attributes.items()
            if (attribute.default is REQUIRED or choose.random() < 0.3) and name != "operands"
        ]
        targets = "" if definition.name == "check" else f"%v{number} = "
        lines.append(f"  {targets}{definition.name} {', '.join(operands)} {{{', '.join(attributes)}}}")
        names.append(f"%v{number}")
    return "\n".join([*lines, "  return", "}"])


def test_random_operations_are_inferred_or_refused() -> None:
    made = 0
    for number in range(COUNT // 10):
        lines = random_statements(random.Random(number + SEED * 1_000_003)).split("\n")
        # Statements that are refused go, one by one the rest remains.
        while True:
            text = "\n".join(lines)
            read = lirtest.read_or_refuse(text)
            if not isinstance(read, LirError):
                break
            wrong = {d.span.source.line_column(d.span.start)[0] - 1 for d in read.diagnostics if d.span}
            lines = [line for position, line in enumerate(lines) if position not in wrong]
        made += len(read.functions["f"].ops)
        lirtest.check_round_trip(read)
    assert made > COUNT // 10, "hardly any random operation is right: the choice is too wild to test much"
