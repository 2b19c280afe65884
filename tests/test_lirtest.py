"""The runner of .lir tests refuses what it should: a test that cannot fail is none."""

from __future__ import annotations

from pathlib import Path

import lirtest
import pytest

from lossc.ir.function import Module

TEXT = "func @f(%x: f32[B]) -> (f32[B]) {\n  %y = exp %x\n  return %y\n}\n"


def write(folder: Path, text: str, expectation: str | None = None) -> lirtest.LirTest:
    (folder / "case.lir").write_text(text)
    if expectation is not None:
        (folder / "case.expect").write_text(expectation)
    test = lirtest.find(folder / "case.lir")
    assert test is not None
    return test


def refused(test: lirtest.LirTest, words: str) -> None:
    with pytest.raises(lirtest.Mismatch, match=words):
        lirtest.run(test)


@pytest.mark.parametrize("command", ["print", "format", "opt --passes dce"])
def test_an_expectation_is_missing_then_blessed_then_wrong(tmp_path: Path, command: str) -> None:
    test = write(tmp_path, f"// test: {command}\n{TEXT}")
    refused(test, "there is no case.expect")
    lirtest.run(lirtest.LirTest(test.path, test.command, test.arguments, bless=True))
    lirtest.run(test)
    assert "exp %x" in test.expectation.read_text()
    test.expectation.write_text(test.expectation.read_text().replace("exp", "log"))
    refused(test, r"-.*log %x(.|\n)*\+.*exp %x")


def test_errors_are_announced_exactly(tmp_path: Path) -> None:
    wrong = f"// test: error\n{TEXT.replace('return %y', 'return %z  // error: LIR0020 %z is not defined')}"
    lirtest.run(write(tmp_path, wrong))
    refused(write(tmp_path, f"// test: error\n{TEXT}"), "expected an error, found none")
    refused(write(tmp_path, wrong.replace("LIR0020", "LIR0021")), "not announced on line 4")
    refused(write(tmp_path, wrong.replace("%z is not", "%q is not")), "not announced on line 4")
    refused(write(tmp_path, wrong.replace("  // error", "\n  // error")), "not announced on line 4")
    refused(write(tmp_path, wrong.replace("exp %x", "exp %x  // error: LIR0022 more")), "announced on line 3")
    refused(write(tmp_path, wrong.split("  // error")[0] + "\n}"), "not announced")
    refused(write(tmp_path, wrong, "other words"), "other words")


def test_a_file_without_a_command_is_refused(tmp_path: Path) -> None:
    for text in (TEXT, f"// test: prnt\n{TEXT}", "\n" * 5 + f"// test: print\n{TEXT}"):
        with pytest.raises(lirtest.Mismatch):
            write(tmp_path, text)
    (tmp_path / "_shared.lir").write_text(TEXT)
    assert lirtest.find(tmp_path / "_shared.lir") is None


def test_passes_are_named(tmp_path: Path) -> None:
    refused(write(tmp_path, f"// test: opt dce\n{TEXT}"), "expected `// test: opt --passes a,b`")


def test_counts_are_compared(tmp_path: Path) -> None:
    def count(module: Module) -> dict[str, float]:
        return {"operations": len(module.entry.ops), "functions": len(module.functions)}

    path = tmp_path / "case.lir"

    def check(lines: str) -> None:
        path.write_text(lines + TEXT)
        lirtest.compare_counts(lirtest.LirTest(path, "counts", ""), count)

    check("// operations: 1\n// functions: 1\n")
    refused(write(tmp_path, f"// test: counts --fast\n{TEXT}"), "expected `// test: counts`")
    refused(write(tmp_path, f"// test: counts\n// fused-kernels: 2\n{TEXT}"), "fused-kernels: expected 2, found 1")
    for lines, words in {
        "": "no line says", "// operations: 2\n": "case.lir:1: operations: expected 2, found 1",
        "// kernels: 1\n": "kernels: expected 1, found no such count",
    }.items():  # fmt: skip
        with pytest.raises(lirtest.Mismatch, match=words):
            check(lines)
