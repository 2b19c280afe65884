"""Tests that are .lir files: a comment at the top says what to do with the file and how the result is judged.

    // test: print                  load and print: the text in NAME.expect, which reads back as the same module
    // test: format                 lay out: the text in NAME.expect
    // test: opt --passes a,b       load, run the passes, print: the text in NAME.expect, read back as well
    // test: error                  every mistake in the file, and no other, is announced on its own line by
                                    `// error: CODE words`, words being a part of the message; where NAME.expect is
                                    there, all that is printed must be the same too
    // test: warning                so with warnings, announced by `// warning: CODE words`, of a file that is right
    // test: counts [--grad]        compile (with gradients): `// fused-kernels: 1`, `// stages: 3` (passes over a row),
                                    `// exps-per-element: 2` and other counts of `reports.report`, over all kernels,
                                    and `// traffic-ratio: 1.00` of `reports.traffic`, where every name is 1024

`pytest --bless` runs these tests alone, writes the .expect files anew and says which; what stands in comments of a file
is promised by hand. A new kind of test is one function and one row of COMMANDS.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lossc.compiler.lints import find_lints
from lossc.ir.diagnostics import Diagnostic, LirError, LosscError, Source
from lossc.ir.format import format_text
from lossc.ir.function import Module
from lossc.ir.parser import load, parse
from lossc.ir.printer import equal_modules, print_module
from lossc.ir.verify import verify

ROOT = Path(__file__).parent
_HEADER = re.compile(r"// test: *(\S+) *(.*)")
_ANNOUNCED = {
    severity: re.compile(rf"// {severity}: (LIR\d{{4}}) *((?:(?!// {severity}:).)*)")
    for severity in ("error", "warning")
}
_COUNT = re.compile(r"// ([a-z-]+): ([0-9.]+)$", re.MULTILINE)


class Mismatch(AssertionError):
    """The test did not give what it promises; the message is for people."""


@dataclass(frozen=True)
class LirTest:
    path: Path
    command: str
    arguments: str
    bless: bool = False

    @property
    def expectation(self) -> Path:
        return self.path.with_suffix(".expect")


def find(path: Path, bless: bool = False) -> LirTest | None:
    """The test in a file, or None for a file whose name begins with `_`: others import that. Raises Mismatch."""
    if path.name.startswith("_"):
        return None
    # Bytes that are no UTF-8 may be what a test is about.
    first = path.read_bytes().decode("utf-8", "replace").splitlines()[:5]
    header = next((match for line in first if (match := _HEADER.match(line.strip()))), None)
    if header is None:
        raise Mismatch(f"{path}: none of the first five lines says `// test: COMMAND`; known: {', '.join(COMMANDS)}")
    if header[1] not in COMMANDS:
        raise Mismatch(f"{path}: there is no test command `{header[1]}`; known: {', '.join(COMMANDS)}")
    return LirTest(path, header[1], header[2].strip(), bless)


def run(test: LirTest) -> None:
    """Raises Mismatch where the file does not do what it says."""
    COMMANDS[test.command](test)


def compare(test: LirTest, found: str) -> None:
    """Compare with the .expect file, or write that. Raises Mismatch with the difference."""
    expected = test.expectation.read_text(encoding="utf-8") if test.expectation.exists() else None
    if found == expected:
        return
    if test.bless:
        test.expectation.write_text(found, encoding="utf-8")
        return
    way = f"if this is right: pytest --bless {os.path.relpath(test.path)}"
    if expected is None:
        raise Mismatch(f"there is no {test.expectation.name}; found\n\n{found}\n{way}")
    difference = difflib.unified_diff(expected.splitlines(), found.splitlines(), test.expectation.name, "found",
                                      lineterm="")  # fmt: skip
    raise Mismatch("\n".join([*difference, "", way]))


def read_or_refuse(text: str) -> Module | LirError:
    """The module of a text, or the refusal. Raises Mismatch for a refusal that does not name a place."""
    try:
        return parse(text, "text")
    except LirError as error:
        if not all(diagnostic.span for diagnostic in error.diagnostics):
            raise Mismatch(f"a refusal without a place: {error}\n{text!r}") from None
        return error


def check_round_trip(module: Module) -> str:
    """The printed module, after reading it back and comparing. Raises Mismatch."""
    text = print_module(module)
    again = parse(text, "<printed>")
    if not equal_modules(module, again):
        raise Mismatch(f"what was printed reads back as another module:\n{text}\n{print_module(again)}")
    if print_module(again) != text:
        raise Mismatch(f"printing twice gives two texts:\n{text}\n{print_module(again)}")
    if format_text(text) != text:
        raise Mismatch(f"the printer and the formatter disagree on the layout:\n{text}\n{format_text(text)}")
    return text


def compare_counts(test: LirTest, count: Callable[[Module], Mapping[str, float]]) -> None:
    """Compare the lines `// name: number` with what `count` says about the module. Raises Mismatch."""
    text = test.path.read_text(encoding="utf-8")
    promised = [(text.count("\n", 0, match.start()) + 1, match[1], float(match[2])) for match in _COUNT.finditer(text)]
    if not promised:
        raise Mismatch("no line says `// fused-kernels: 1` or the like")
    found = count(load(test.path))
    wrong = [
        f"{os.path.relpath(test.path)}:{line}: {name}: expected {number:g}, found {found.get(name, 'no such count')}"
        for line, name, number in promised
        if found.get(name) != number
    ]
    if wrong:
        raise Mismatch("\n".join([*wrong, "all counts: " + ", ".join(f"{name} {n:g}" for name, n in found.items())]))


def _run_print(test: LirTest) -> None:
    compare(test, check_round_trip(load(test.path)))


def _run_format(test: LirTest) -> None:
    found = format_text(test.path.read_text(encoding="utf-8"), test.path.name)
    if format_text(found) != found:
        raise Mismatch(f"formatting twice gives two texts:\n{found}\n{format_text(found)}")
    compare(test, found)


def _run_passes(test: LirTest) -> None:
    from lossc.compiler.pipeline import run_passes

    passes = re.fullmatch(r"--passes (\S+)", test.arguments)
    if passes is None:
        raise Mismatch(f"expected `// test: opt --passes a,b`, found `{test.arguments}`")
    module = run_passes(load(test.path), passes[1].split(","))
    if verify(module):
        raise LirError(verify(module))
    compare(test, check_round_trip(module))


def _run_error(test: LirTest) -> None:
    """Every diagnostic has its announcement on its line, every announcement in this file its diagnostic."""
    try:
        load(test.path)
    except LosscError as error:
        _compare_diagnostics(test, error.diagnostics, "error")
        found = error
    else:
        raise Mismatch("expected an error, found none")
    if test.expectation.exists():
        compare(test, str(found).replace(str(test.path.parent) + "/", "") + "\n")


def _run_warning(test: LirTest) -> None:
    found = find_lints(load(test.path))
    _compare_diagnostics(test, found, "warning")
    if test.expectation.exists():
        shown = "\n".join(diagnostic.render() for diagnostic in found)
        compare(test, shown.replace(str(test.path.parent) + "/", "") + "\n")


def _compare_diagnostics(test: LirTest, found: Sequence[Diagnostic], severity: str) -> None:
    """Raises Mismatch with what is found and not announced, and with what is announced and not found."""
    announced = {str(test.path): _announcements(test.path.read_bytes().decode("utf-8", "replace"), severity)}
    wrong = []
    for diagnostic in found:
        source = diagnostic.span.source if diagnostic.span else Source(str(test.path), "")
        place = source.line_column(diagnostic.span.start)[0] if diagnostic.span else 0
        # An error in an imported file is announced there.
        there = announced.setdefault(source.name, _announcements(source.text, severity))
        match = next((a for a in there if a[:2] == (place, diagnostic.code) and a[2] in diagnostic.message), None)
        if match is None:
            wrong.append(f"not announced on line {place}:\n{diagnostic.render()}")
        else:
            there.remove(match)
    for name, rest in announced.items():
        wrong += [
            f"announced on line {number} of {name}, but not found: {code} {words}" for number, code, words in rest
        ]
    if wrong:
        raise Mismatch("\n\n".join(wrong))


def _run_counts(test: LirTest) -> None:
    if test.arguments not in ("", "--grad"):
        raise Mismatch(f"expected `// test: counts` or `// test: counts --grad`, found `{test.arguments}`")
    compare_counts(test, lambda module: count_fused(module, bool(test.arguments)))


def count_fused(module: Module, gradients: bool) -> Mapping[str, float]:
    """What a preset CPU runs: `compiler.reports.report` and `compiler.reports.traffic` say what is counted."""
    from lossc.compiler import compile_module
    from lossc.compiler.gradient import request_module_gradients
    from lossc.compiler.reports.report import total_counts
    from lossc.compiler.reports.traffic import traffic
    from lossc.ir.target import CPU_AVX512

    asked = request_module_gradients(module) if gradients else module
    compiled = compile_module(asked, CPU_AVX512)
    return {**total_counts(compiled), "traffic-ratio": round(traffic(compiled).ratio, 2)}


def _announcements(text: str, severity: str) -> list[tuple[int, str, str]]:
    """Line, code and words of each `// error:` (or `// warning:`)."""
    return [
        (number, code, words.strip())
        for number, line in enumerate(text.split("\n"), 1)
        for code, words in _ANNOUNCED[severity].findall(line)
    ]


COMMANDS: dict[str, Callable[[LirTest], None]] = {
    "print": _run_print,
    "format": _run_format,
    "opt": _run_passes,
    "error": _run_error,
    "warning": _run_warning,
    "counts": _run_counts,
}
