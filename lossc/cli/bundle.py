"""Compiled programs as folders: what `lossc compile -o` and `lossc dump` write, and what `lossc run DIR` reads.

A folder that was written holds what the present program needs, and no kernels of an earlier one. In a dump the kernels
may be edited: running the folder runs them as they stand there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lossc.ir.diagnostics import LirError
from lossc.ir.drafts import file_source
from lossc.ir.frozen import frozen
from lossc.ir.function import Module
from lossc.ir.parser import load
from lossc.ir.program import Program
from lossc.ir.program_text import parse_program
from lossc.ir.target import read_json
from lossc.reports.dump import MANIFEST, kernels_of, refuse_foreign_files, remove_kernels

from .files import write_files


@frozen
class Dumped:
    """A program read from a dump, with the source of each kernel by its name."""

    module: Module
    prepared: Module
    program: Program
    sources: Mapping[str, str]
    build_options: str


def write_bundle(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files; kernels that an earlier manifest there names and the new one does not are removed."""
    refuse_foreign_files(folder, files)
    earlier = kernels_of(folder)
    write_files(folder, files)
    remove_kernels(folder, earlier - set(files))


def read_dump(folder: Path) -> Dumped:
    """The program in a folder that `lossc dump` wrote. Raises LirError for what is missing or damaged there."""
    program_file = folder / "program.txt"
    if not program_file.is_file():
        raise LirError(f"cannot read {str(folder)!r}: it is a folder without a program.txt",
                       "run a .lir file, or a folder that `lossc dump` wrote", code="LIR0015")  # fmt: skip
    source = file_source(program_file)
    program = parse_program(source.text, source.name)
    sources = {kernel.name: file_source(folder / "kernels" / f"{kernel.name}.cl").text for kernel in program.kernels}
    manifest = read_json(file_source(folder / MANIFEST), "LIR0015")
    if not isinstance(manifest, dict) or "build_options" not in manifest:
        raise LirError(f"cannot read {str(folder / MANIFEST)!r}: it does not say the build_options", code="LIR0015")
    options = str(manifest["build_options"])
    return Dumped(load(folder / "module.lir"), load(folder / "prepared.lir"), program, sources, options)
