"""Writing a compiled module to a folder, so that a person can read what runs, and another program can run it.

    index.txt       what runs in which order, and why; the files beside it
    module.lir      what was compiled
    prepared.lir    after the passes
    fused.lir       cut into kernels, each below its schedule
    program.txt     buffers, launches and the kernels before they are C
    kernels/*.cl    OpenCL C of every variant
    manifest.json   buffers, launches, geometry, arguments and guards: all that is needed to launch the kernels

Sizes, guards and geometry in the manifest are expressions over the program's dimension names, as in program.txt.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from lossc.compiler import Compiled
from lossc.ir.diagnostics import LirError
from lossc.ir.kernel import Expr
from lossc.ir.kernel_printer import print_expression
from lossc.ir.printer import HEADER, print_function, print_module
from lossc.ir.program import Buffer, Launch, Variant, steps_of
from lossc.ir.program_text import print_program
from lossc.reports.index import MANIFEST, index_text
from lossc.reports.kernels import kernel_reports
from lossc.reports.schedules import schedule_lines
from lossc.reports.words import readable

FORMAT = 1
_KERNEL_FILE = re.compile(r"kernels/[A-Za-z0-9_]+\.cl")


def dump(compiled: Compiled, folder: str | PathLike[str]) -> list[Path]:
    """Write everything about a compiled module below `folder` and return the paths. Kernels of an earlier dump there
    go. Raises LirError."""
    files = dumped_files(compiled, folder)
    root = Path(folder)
    refuse_foreign_files(root, files)
    earlier = kernels_of(root)
    try:
        (root / "kernels").mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (root / name).write_text(text, encoding="utf-8")
        remove_kernels(root, earlier - set(files))
    except OSError as error:
        raise LirError(f"cannot write to {root}: {error.strerror or error}") from None
    return [root / name for name in files]


def kernels_of(folder: Path) -> set[str]:
    """The kernel files that a manifest of ours in the folder names."""
    try:
        return set(_KERNEL_FILE.findall((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        return set()


def remove_kernels(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(OSError):
            (folder / name).unlink()


def _is_ours(path: Path) -> bool:
    """Whether a file is the manifest of a dump."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"format", "program", "build_options", "steps"} <= found.keys()


def refuse_foreign_files(folder: Path, files: Iterable[str]) -> None:
    """Raise LirError if a dump into `folder` would write over files that no dump put there."""
    there = [name for name in files if (folder / name).exists()]
    if there and not _is_ours(folder / MANIFEST):
        raise LirError(f"{folder} has a file {there[0]} that is no dump's", "name a folder for the dump alone")


def dumped_files(compiled: Compiled, folder: str | PathLike[str]) -> dict[str, str]:
    """The text of every file of a dump, by its path in the folder."""
    return {
        "index.txt": index_text(compiled, fspath(folder)),
        "prepared.lir": print_module(compiled.prepared),
        "fused.lir": fused_text(compiled),
        "program.txt": print_program(compiled.program),
        **program_files(compiled),
    }


def program_files(compiled: Compiled) -> dict[str, str]:
    """Those that a program in another language needs to launch the kernels."""
    return {
        "module.lir": print_module(compiled.module),
        **{f"kernels/{name}.cl": text for name, text in kernel_files(compiled).items()},
        MANIFEST: json.dumps(manifest(compiled), indent=2) + "\n",
    }


def fused_text(compiled: Compiled) -> str:
    """The outlined module; above each kernel its schedule, as comments."""
    parts = [HEADER + "\n"]
    for function in compiled.outlined.module.functions.values():
        schedule = compiled.outlined.schedules.get(function.name)
        lines = [] if schedule is None else [f"// {line}" for line in schedule_lines(schedule)]
        parts.append("\n".join([*lines, print_function(function), ""]))
    return "\n".join(parts)


def kernel_files(compiled: Compiled) -> dict[str, str]:
    """OpenCL C by kernel name, under a comment that says which fused kernel it is and how it is launched."""
    sources, texts = compiled.sources(), {}
    of_steps = [
        (variant, f"fused kernel {step.name}", [f"computes {', '.join(report.outputs) or 'checks'}",
                                                f"from {', '.join(report.inputs) or 'nothing'}"])
        for report, step in zip(kernel_reports(compiled), compiled.program.steps)
        for variant in step.variants
    ]  # fmt: skip
    of_all = [(variant, "all fused kernels", []) for variant in compiled.program.together]
    for several in compiled.program.beside:
        names = ", ".join(step.name for step in steps_of(compiled.program, several))
        of_all += [(variant, f"fused kernels {names}", []) for variant in several.variants]
    # Where they are launched one after the other, the kernels are those of the steps.
    for variant, what, about in (*of_all, *of_steps):
        for launch in variant.launches:
            taken = "otherwise" if variant.guard is None else f"if {readable(variant.guard)}"
            head = [
                f"{launch.kernel.name}: {what}, strategy {variant.strategy}", *about, f"taken {taken}",
                f"items {readable(launch.global_size)}, groups of {launch.kernel.local_size}",
            ]  # fmt: skip
            comment = "".join(f"// {line}\n" for line in head)
            texts[launch.kernel.name] = comment + sources[launch.kernel.name]
    return texts


def manifest(compiled: Compiled) -> dict[str, Any]:
    """All that is needed to launch the kernels, as plain data for JSON."""
    program = compiled.program
    return {
        "format": FORMAT,
        "program": program.name,
        "device": dataclasses.asdict(compiled.device),
        "build_options": compiled.build_options,
        "dims": list(program.dims),
        "inputs": [
            {"name": name, "type": str(type_), "buffer": buffer, "param": name in program.params}
            for (name, type_), buffer in zip(program.inputs, program.input_buffers)
        ],
        "outputs": [
            {"name": name, "type": str(type_), "buffer": buffer}
            for (name, type_), buffer in zip(program.outputs, program.output_buffers)
        ],
        "buffers": [_buffer(compiled, buffer) for buffer in program.buffers.values()],
        "steps": [
            {
                "name": step.name,
                "strategy": compiled.lowered.choices[step.name].strategy,
                "not_taken": dict(compiled.lowered.choices[step.name].against),
                "variants": [_variant(compiled, variant) for variant in step.variants],
            }
            for step in program.steps
        ],
        "together": [_variant(compiled, variant) for variant in program.together],
        "beside": [
            {
                "steps": [step.name for step in steps_of(program, several)],
                "variants": [_variant(compiled, variant) for variant in several.variants],
            }
            for several in program.beside
        ],
        "checks": [
            {
                "slot": check.slot, **check.attributes, "shape": list(map(str, check.shape)),
                "value_buffer": check.value_buffer,
            }
            for check in program.checks
        ],
    }  # fmt: skip


def _text(compiled: Compiled, expression: Expr) -> str:
    return print_expression(expression, dict.fromkeys(compiled.program.dims, ("i64", 1)))


def _buffer(compiled: Compiled, buffer: Buffer) -> Mapping[str, Any]:
    return {
        "name": buffer.name, "dtype": buffer.dtype, "size": _text(compiled, buffer.size), "role": buffer.role,
        "shape": None if buffer.shape is None else list(map(str, buffer.shape)), "alias_of": buffer.alias_of,
    }  # fmt: skip


def _variant(compiled: Compiled, variant: Variant) -> Mapping[str, Any]:
    return {
        "strategy": variant.strategy,
        "guard": None if variant.guard is None else _text(compiled, variant.guard),
        "temporaries": [_buffer(compiled, buffer) for buffer in variant.temporaries],
        "launches": [_launch(compiled, launch) for launch in variant.launches],
    }


def _launch(compiled: Compiled, launch: Launch) -> Mapping[str, Any]:
    """Arguments in the order of the kernel: buffers, then scalars."""
    buffers = [
        {"kind": "buffer", "name": argument.name, "dtype": argument.dtype, "access": argument.access, "buffer": name}
        for argument, name in zip(launch.kernel.buffers, launch.buffers)
    ]
    scalars = [
        {"kind": "scalar", "name": name, "dtype": dtype, "value": _text(compiled, launch.scalars[name])}
        for name, dtype in ((scalar.name, scalar.dtype) for scalar in launch.kernel.scalars)
    ]
    return {
        "kernel": launch.kernel.name,
        "file": f"kernels/{launch.kernel.name}.cl",
        "global_size": _text(compiled, launch.global_size),
        "local_size": launch.kernel.local_size,
        "arguments": [*buffers, *scalars],
    }
