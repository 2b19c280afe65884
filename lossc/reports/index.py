"""The page that a dump begins with: what is in the folder, what runs in which order, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lossc.compiler import Compiled
from lossc.ir.program import Variant, steps_of
from lossc.reports.explain import explanation
from lossc.reports.kernels import kernel_reports
from lossc.reports.words import readable

MANIFEST = "manifest.json"
FILES = {
    "module.lir": "the program as it was given, with the gradients that were asked for",
    "prepared.lir": "after the passes: primitives, stable and differentiated",
    "fused.lir": "cut into fused kernels, each below its schedule",
    "program.txt": "buffers, launches, and the kernels before they are OpenCL C",
    "kernels/*.cl": "OpenCL C, a kernel a file",
    MANIFEST: "buffers, launches, geometry, arguments and guards, for programs",
}


def index_text(compiled: Compiled, folder: str) -> str:
    """The text of the page for a dump in `folder`."""
    program = compiled.program
    lines = [
        f"The program @{program.name}, compiled for {compiled.device.name} ({compiled.device.platform}).",
        "",
        f"Takes   {', '.join(f'{name}: {type_}' for name, type_ in program.inputs) or 'nothing'}",
        f"Returns {', '.join(f'{name}: {type_}' for name, type_ in program.outputs)}",
        "",
        "What runs, in this order. Of several variants the first whose condition holds is taken.",
        "",
    ]
    for number, (step, report) in enumerate(zip(program.steps, kernel_reports(compiled)), 1):
        lines += [f"{number}. {step.name} computes {', '.join(report.outputs) or 'checks'}", *_launches(step.variants)]
    for several in program.beside:
        names = ", ".join(step.name for step in steps_of(program, several))
        lines += [f"In place of {names}", *_launches(several.variants)]
    if program.together:
        lines += ["In place of all of these", *_launches(program.together)]
    lines += ["", "Why", "", explanation(compiled), "", "Files", ""]
    lines += [f"  {name.ljust(max(map(len, FILES)))}  {what}" for name, what in FILES.items()]
    lines += ["", f"Build options: {compiled.build_options or 'none'}", "",
              "To run the kernels as they stand here, edited or not:", "",
              f"  lossc run {folder} --input NAME=FILE ...", ""]  # fmt: skip
    return "\n".join(lines)


def _launches(variants: Sequence[Variant]) -> Iterator[str]:
    """What runs, and when."""
    for variant in variants:
        condition = "always" if len(variants) == 1 else "otherwise"
        if variant.guard is not None:
            condition = f"if {readable(variant.guard)}"
        yield f"   {condition}, by strategy {variant.strategy}:"
        for launch in variant.launches:
            yield (f"     kernels/{launch.kernel.name}.cl  on {readable(launch.global_size)} items "
                   f"in groups of {launch.kernel.local_size}, with {', '.join(launch.buffers)}")  # fmt: skip
