"""Graphs from LIR text and files, which are read once: the module of a text that was seen before is taken from disk.

In: a text or a path, the name of the entry. Out: a `Graph`, or LirError with all mistakes of the text.
"""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

from lossc.graph import Graph
from lossc.ir.diagnostics import LirError
from lossc.ir.function import Module


def parse(
    text: str, name: str = "<text>", directory: str | PathLike[str] | None = None, function: str | None = None,
    seed: int = 0,
) -> Graph:  # fmt: skip
    """The graph that a LIR text describes. Raises LirError with all of its mistakes.

    `name` is what messages call the text, imports are relative to `directory`; `function` as for `load`.
    """
    from lossc.ready import module_of_text

    if not isinstance(text, str):
        raise LirError(f"a text in LIR is a str, found {type(text).__name__}", "lossc.load(path) reads a file")
    if text.endswith(".lir") and len(text.split()) == 1:
        raise LirError(f"expected a text in LIR, found the name of a file, {text!r}", f"lossc.load({text!r}) reads it")

    def module() -> Module:
        from lossc.ir.parser import parse as parse_module

        return parse_module(text, name, directory)

    return Graph.from_module(_with_entry(module_of_text(text, name, module), function), seed)


def load(path: str | PathLike[str], function: str | None = None, seed: int = 0) -> Graph:
    """The graph in a LIR file; `function` names its entry where several are called by nobody. Raises LirError."""
    from lossc.ready import module_of_text

    def module() -> Module:
        from lossc.ir.parser import load as load_module

        return load_module(path)

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        # The parser says what is wrong with it.
        return Graph.from_module(_with_entry(module(), function), seed)
    return Graph.from_module(_with_entry(module_of_text(text, fspath(path), module), function), seed)


def _with_entry(module: Module, function: str | None) -> Module:
    return module if function is None else Module(module.functions, function)
