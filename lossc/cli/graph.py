"""`lossc graph`: a picture of a program, its fused kernels as clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lossc.ir.diagnostics import LirError
from lossc.reports.dot import dot_text
from lossc.reports.picture import picture_of
from lossc.reports.svg import svg_text

from . import options
from .files import check_target, write_file
from .programs import load_module, target_of, with_gradients
from .tuned import compiled_for

TEXTS = {".svg": svg_text, ".dot": dot_text, ".gv": dot_text}
OTHERS = (".png", ".pdf", ".jpg", ".eps", ".ps")


def graph(
    file: options.Program,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="The picture: .svg, or .dot for Graphviz."),
    ],
    grad: options.Grad = False,
    wrt: options.Wrt = None,
    of: options.Of = None,
    function: options.FunctionName = None,
    device: options.Target = None,
    strategy: options.Strategy = None,
) -> None:
    """Draw a program, its fused kernels as clusters.

    Nodes are inputs, operations and results, edges are values.
    """
    suffix = output.suffix.lower()
    if suffix in OTHERS:
        raise LirError(f"lossc draws no {suffix}", "write -o FILE.dot, and have Graphviz draw that: "
                       f"dot -T{suffix[1:]} FILE.dot -o {output}")  # fmt: skip
    check_target(output, tuple(TEXTS))
    module = with_gradients(load_module(file, function), grad, wrt, of)
    picture = picture_of(compiled_for(module, target_of(device), strategy))
    write_file(output, TEXTS[suffix](picture))
