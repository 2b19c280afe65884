"""Whatever is wrong with the input: the place and the way out on stderr, the right status, nothing overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Command = Callable[..., Any]

GIVEN = ("--input", "x=x.npy", "--input", "labels=labels.npy")


def place_is_marked(text: str) -> bool:
    """Whether a message shows a line with carets below."""
    return any(line.strip(" |").startswith("^") for line in text.splitlines())


# What stands in f.lir, what stands there instead, where the mistake is, what is said about it.
BROKEN = {
    "syntax": ("[B]) ->", "[B] ->", "f.lir:4:41", "expected `)`"),
    "unknown operation": ("cross_entropy_loss", "cross_entropy_los", "f.lir:5:11", "`cross_entropy_loss`?"),
    "mean": ("cross_entropy_loss %x, %labels", "reduce_mean %x {axes = [0]}", "f.lir:5:11", "a mean is reduce_sum"),
    "internal attribute": ("%labels\n", "%labels {reductio = 3}\n", "f.lir:5:", "axis, reduction, empty\n"),
    "forgotten letter": ("return %loss", "return %los", "f.lir:6:10", "did you mean `%loss`?"),
    "unknown attribute": ("%labels\n", "%labels {ignore_indx = 3}\n", "f.lir:5:", "did you mean `ignore_index`?"),
    "wrong attribute": ("%labels\n", "%labels {label_smoothing = 2.0}\n", "f.lir:5:", "must lie in [0, 1]"),
    "wrong shape": ("i32[B]", "i32[B, 3]", "f.lir:5:", "i32[B]"),
    "undefined value": ("%x, %labels\n", "%y, %labels\n", "f.lir:5:", "%y"),
    "wrong result": ("(f32[1])", "(f32[B])", "f.lir:", "f32[1]"),
}
COMMANDS = {
    "compile": ("compile", "f.lir"),
    "run": ("run", "f.lir", *GIVEN, "-o", "out.npz"),
    "opt": ("opt", "f.lir", "--passes", "expand", "-o", "out.npz"),
    "dump": ("dump", "f.lir", "-o", "out"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("mistake", BROKEN.values(), ids=BROKEN)
def test_a_wrong_program_is_shown_where_it_is_wrong(
    lossc: Command, folder: Path, command: tuple[str, ...], mistake: tuple[str, str, str, str]
) -> None:
    right, wrong, place, words = mistake
    text = (folder / "f.lir").read_text()
    assert right in text
    (folder / "f.lir").write_text(text.replace(right, wrong))
    (folder / "out.npz").write_text("before")
    done = lossc(*command)
    assert done.status == 1
    assert place in done.err
    assert words in done.err
    assert place_is_marked(done.err)
    assert done.out == ""
    assert (folder / "out.npz").read_text() == "before"
    assert not (folder / "out").exists()


def test_all_mistakes_of_a_file_are_shown_at_once(lossc: Command, folder: Path) -> None:
    text = (folder / "f.lir").read_text()
    wrong = "  %a = no_such_op %x\n  %b = add %x, %labels\n"
    (folder / "f.lir").write_text(text.replace("  return", f"{wrong}  return"))
    done = lossc("compile", "f.lir")
    assert done.status == 1
    assert "f.lir:6:8" in done.err
    assert "f.lir:7:" in done.err


UNREADABLE = {
    "missing": ("nowhere.lir", "there is no such file"),
    "folder": ("folder.lir", "cannot read 'folder.lir'"),
    "binary": ("binary.lir", "byte 0 is not UTF-8 text"),
    "below a file": ("f.lir/g.lir", "cannot read"),
    "zero character": ("a\0b.lir", "cannot read"),
    "very long": ("a" * 5000 + ".lir", "cannot read"),
}


@pytest.mark.parametrize("command", ["compile", "run", "opt", "dump", "fmt"])
@pytest.mark.parametrize("case", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_program(lossc: Command, folder: Path, command: str, case: tuple[str, str]) -> None:
    (folder / "folder.lir").mkdir()
    (folder / "binary.lir").write_bytes(b"\xff\xfe\x00\x01\x80")
    path, words = case
    extra = ("-o", "out") if command == "dump" else ()
    done = lossc(command, path, *extra)
    assert done.status == 1
    assert "cannot read" in done.err
    assert words in done.err


def test_an_unreadable_text_on_stdin(lossc: Command) -> None:
    done = lossc("compile", "-", stdin=b"\xff\xfe")
    assert done.status == 1
    assert "stdin" in done.err


# --- arrays -------------------------------------------------------------------------------------------------

ARRAYS = {
    "missing": ((), "f.lir:4:9", "missing input `x`: f32[B, 10]", "--input x="),
    "one missing": (("--input", "x=x.npy"), "f.lir:4:25", "missing input `labels`", "--random"),
    "misnamed": ((*GIVEN, "--input", "label=labels.npy"), "f.lir:4:1", "no input `label`", "did you mean `labels`?"),
    "wrong rank": (("--input", "x=float.npy", "--input", "labels=labels.npy"), "f.lir:4:9", "f32[B, 10]", "[4]"),
    "wrong size": (("--input", "x=nine.npy", "--input", "labels=labels.npy"), "f.lir:4:9", "[4, 9]", "nine.npy"),
    "sizes disagree": (("--input", "x=x.npy", "--input", "labels=1,2"), "f.lir:4:25", "[2]", "B is 4"),
    "bound otherwise": ((*GIVEN, "--bind", "B=5"), "f.lir:4:9", "[4, 10]", "B is 5"),
    "complex": (("--input", "x=complex.npy", "--input", "labels=labels.npy"), "f.lir:4:9", "complex128", ".imag"),
    "float labels": (("--input", "x=x.npy", "--input", "labels=float.npy"), "f.lir:4:25", "float64", "astype"),
    "too large": (("--input", "x=x.npy", "--input", "labels=large.npy"), "f.lir:4:25", str(2**40), "i32"),
    "label out of range": (
        ("--input", "x=x.npy", "--input", "labels=1,2,12,4"),
        "f.lir:5:3",
        "found 12 at row 2",
        "[0, 10)",
    ),
    "no number": (("--input", "x=table.csv", "--input", "labels=labels.npy"), "table.csv:2:3", "'two'", "a number"),
    "ragged table": (("--input", "x=ragged.csv", "--input", "labels=labels.npy"), "ragged.csv:2:1", "3 numbers", "2"),
    "size unknown": (("--random", "1"), "f.lir:4:9", "size of B", "--bind B=32"),
    "gradient of integers": ((*GIVEN, "--wrt", "labels"), "f.lir:4:25", "i32[B]", "floats"),
    "gradient of nothing": ((*GIVEN, "--wrt", "z"), "f.lir:4:1", "no input `z`", "x, labels"),
}


@pytest.fixture
def arrays(folder: Path) -> None:
    np.save("nine.npy", np.zeros((4, 9)))
    np.save("complex.npy", np.zeros((4, 10), complex))
    np.save("float.npy", np.zeros(4))
    np.save("large.npy", np.full(4, 2**40))
    (folder / "table.csv").write_text("1,2\n3,two\n")
    (folder / "ragged.csv").write_text("1,2\n3,4,5\n")


@pytest.mark.usefixtures("arrays")
@pytest.mark.parametrize("case", ARRAYS.values(), ids=ARRAYS)
def test_wrong_arrays_are_reported_where_the_input_is_declared(
    lossc: Command, folder: Path, case: tuple[tuple[str, ...], str, str, str]
) -> None:
    words, place, first, second = case
    (folder / "out.npz").write_bytes(b"before")
    done = lossc("run", "f.lir", *words, "-o", "out.npz")
    assert done.status == 1
    assert place in done.err
    assert first in done.err
    assert second in done.err
    assert place_is_marked(done.err)
    assert done.out == ""
    assert (folder / "out.npz").read_bytes() == b"before"


FILES = {
    "missing": ("x=nowhere.npy", "nowhere.npy"),
    "folder": ("x=folder.npy", "it is a folder"),
    "text": ("x=text.npy", "text.npy"),
    "empty": ("x=empty.npy", "empty.npy"),
    "cut off": ("x=short.npy", "short.npy"),
    "objects": ("x=objects.npy", "Python objects"),
    "open bracket": ("x=bracket.npy", "bracket.npy"),
    "no compressed data": ("x=data.npz", "data.npz"),
    "unknown compression": ("x=method.npz", "method.npz"),
    "no zip": ("x=text.npz", "text.npz"),
    "no safetensors": ("text.safetensors", "text.safetensors"),
    "no such array": ("x=all.npz:xx", "did you mean `x`?"),
    "unknown kind": ("x=f.lir", "does not know this kind of file"),
    "no name": ("x.npy", "--input x=x.npy"),
    "no file": ("x=abc", "neither a number nor a file"),
    "no row": ("x=empty.csv", "there is no row of numbers in it"),
    "twice": ("all.npz", "given twice"),
}


@pytest.mark.parametrize("case", FILES.values(), ids=FILES)
def test_unreadable_arrays(lossc: Command, folder: Path, case: tuple[str, str]) -> None:
    (folder / "folder.npy").mkdir()
    for suffix in ("npy", "npz", "safetensors"):
        (folder / f"text.{suffix}").write_text("this is no array")
    (folder / "empty.npy").write_bytes(b"")
    (folder / "empty.csv").write_bytes(b"\n")
    (folder / "short.npy").write_bytes((folder / "x.npy").read_bytes()[:200])
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (folder / "bracket.npy").write_bytes((folder / "x.npy").read_bytes().replace(b")", b" ", 1))
    np.savez_compressed("data.npz", x=np.ones(1000))
    packed = (folder / "data.npz").read_bytes()
    place = packed.index(b"x.npy") + len(b"x.npy") + 24
    (folder / "data.npz").write_bytes(packed[:place] + b"\xff" * 8 + packed[place + 8 :])
    # The method stands behind the signature, two versions and the flags, in the folder of the archive at its end.
    place = packed.index(b"PK\1\2") + 10
    (folder / "method.npz").write_bytes(packed[:place] + b"\x63" + packed[place + 1 :])
    word, words = case
    extra = ("--input", "x=x.npy") if word == "all.npz" else ()
    done = lossc("run", "f.lir", "--input", word, *extra)
    assert done.status == 1
    assert words in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--bind", "B"), "--bind 'B' is not a size"),
        (("--bind", "B=-1"), "is not a size"),
        (("--bind", "C=3"), "no input of @f has a dimension `C`"),
        (("--bind", "B=3", "--bind", "B=4"), "two sizes"),
        (("--bind", f"B={10**20}"), "2^63"),
        (("--bind", f"B={10**17}"), "f.lir:4:9: error[LIR0001]: not enough memory for random values of `x`"),
        (("--bind", "B=4", "--input", "labels="), "--input 'labels=' gives no value"),
        (("--bind", "B=4", "--strategy", "no-such"), "no strategy `no-such`"),
        (("--bind", "B=4", "--func", "g"), "no function @g"),
        (("--bind", "B=4", "--params", "nowhere.npz"), "nowhere.npz"),
        (("--bind", "B=4", "--params", "x.npy"), "named arrays come from a .npz or .safetensors file, found .npy"),
    ],
)
def test_wrong_options(lossc: Command, words: tuple[str, ...], message: str) -> None:
    done = lossc("run", "f.lir", "--random", "0", *words)
    assert done.status == 1
    assert message in done.err


# --- outputs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["nowhere/out.npz", "f.lir/out.npz", "folder.npz", "out.xyz"])
def test_an_output_that_cannot_be_written(lossc: Command, folder: Path, path: str) -> None:
    (folder / "folder.npz").mkdir()
    done = lossc("run", "f.lir", *GIVEN, "-o", path)
    assert done.status == 1
    assert f"cannot write '{path}'" in done.err
    assert done.out == ""


@pytest.mark.parametrize("command", ["compile", "dump"])
@pytest.mark.parametrize("path", ["f.lir", "f.lir/out", "/proc/nowhere"])
def test_a_folder_that_cannot_be_written(lossc: Command, folder: Path, command: str, path: str) -> None:
    before = (folder / "f.lir").read_text()
    done = lossc(command, "f.lir", "-o", path)
    assert done.status == 1
    assert "cannot write" in done.err
    assert (folder / "f.lir").read_text() == before


def test_a_level_that_there_is_not(lossc: Command) -> None:
    assert "'--emit': expected one of lir, grad," in lossc("compile", "f.lir", "--emit", "ptx").err


def test_numbers_beyond_the_element_type_are_noted(lossc: Command, folder: Path) -> None:
    x = np.load("x.npy").astype(np.float64)
    x[0] = 1e300
    x[1, 0] = np.inf
    np.save("x.npy", x)
    done = lossc("run", "f.lir", *GIVEN)
    assert f"`x`: 1e+300 from x.npy is beyond f32 and becomes infinite (numbers like that: {x.shape[1]})" in done.err
    np.save("x.npy", np.where(np.isinf(x), x, 1.0))
    assert "beyond" not in lossc("run", "f.lir", *GIVEN).err


# --- usage and devices --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("frobnicate",),
        ("run",),
        ("run", "f.lir", "--no-such-option"),
        ("run", "f.lir", "--random", "x"),
        ("compile", "f.lir", "--emit", "no-such-level"),
        ("compile", "f.lir", "--emit", "cl", "-o", "out"),
        ("opt",),
        ("dump", "f.lir"),
        ("fmt",),
    ],
)
def test_wrong_usage(lossc: Command, words: tuple[str, ...]) -> None:
    done = lossc(*words)
    assert done.status == 2
    assert "Usage: lossc" in done.err


@pytest.mark.parametrize("words", [("compile", "f.lir", "-o", ""), ("run", "f.lir", "--output="), ("check", "")])
def test_an_empty_word_is_not_the_present_folder(lossc: Command, folder: Path, words: tuple[str, ...]) -> None:
    before = {*folder.iterdir()}
    done = lossc(*words)
    assert done.status == 2
    assert "an empty word names nothing" in done.err
    assert {*folder.iterdir()} == before


def test_a_program_without_a_function_is_named(lossc: Command, folder: Path) -> None:
    (folder / "empty.lir").write_text("// soon\n")
    done = lossc("compile", "empty.lir")
    assert done.status == 1
    assert "'empty.lir' has no function\n  = a program is func @f(" in done.err


def test_an_unknown_device(lossc: Command) -> None:
    for words in (("run", "f.lir", *GIVEN), ("compile", "f.lir")):
        done = lossc(*words, "--device", "no-such-device")
        assert done.status == 3
        assert "`no-such-device`" in done.err
        assert "0: " in done.err


def test_a_preset_does_not_run(lossc: Command) -> None:
    done = lossc("run", "f.lir", *GIVEN, "--device", "gpu-generic")
    assert done.status == 3
    assert "lossc devices" in done.err


def test_without_any_device(process: Command, folder: Path) -> None:
    (folder / "vendors").mkdir()
    (folder / "out.npz").write_bytes(b"before")
    nothing = {"OCL_ICD_VENDORS": str(folder / "vendors"), "LOSSC_DEVICE": ""}
    for words in (("run", "f.lir", *GIVEN, "-o", "out.npz"), ("devices",)):
        done = process(*words, **nothing)
        assert done.status == 3
        assert "no OpenCL device was found" in done.err
        assert "OCL_ICD_VENDORS" in done.err
    assert (folder / "out.npz").read_bytes() == b"before"
    done = process("devices", "--json", **nothing)
    assert (done.status, json.loads(done.out)) == (3, [])
    done = process("compile", "f.lir", **nothing)
    assert done.status == 0
    assert "kernel void" in done.out
    assert "no OpenCL device was found: compiling for the preset cpu-avx512" in done.err


def test_a_bug_is_called_a_bug(lossc: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr("lossc.cli.info.found_devices", broken)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    done = lossc("devices")
    assert done.status == 70
    assert "ZeroDivisionError: a mistake of ours" in done.err
    assert "This is a bug in lossc" in done.err
    (report,) = folder.glob("lossc-bug-*.txt")
    assert report.name in done.err
    assert "Traceback" in report.read_text()


def test_an_interrupt_is_quiet(lossc: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lossc.cli.info.found_devices", interrupted)
    done = lossc("devices")
    assert (done.status, done.err.strip()) == (130, "interrupted")


@pytest.mark.parametrize("name", [".", "folder.npy", "folder.npz"])
def test_a_folder_is_no_array(lossc: Command, folder: Path, name: str) -> None:
    (folder / name).mkdir(exist_ok=True)
    done = lossc("run", "f.lir", "--input", f"x={name}")
    assert done.status == 1
    assert done.err.count("it is a folder") == done.err.count("error[") == 1
