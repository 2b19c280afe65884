"""`lossc graph`: a picture of a program, its fused kernels as clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lossc.ir.diagnostics import LirError
from lossc.reports.picture import dot_text

from . import options
from .files import check_target, write_file
from .programs import load_module, target_of, with_gradients
from .tuned import compiled_for

TEXTS = (".dot", ".gv")
PICTURES = (".svg", ".png", ".pdf")


def graph(
    file: options.Program,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="The picture: .svg, .png, .pdf, or .dot for its text."),
    ],
    grad: options.Grad = False,
    wrt: options.Wrt = None,
    of: options.Of = None,
    function: options.FunctionName = None,
    device: options.Target = None,
    strategy: options.Strategy = None,
) -> None:
    """Draw a program, its fused kernels as clusters.

    Nodes are inputs, operations and results, edges are values with their types. Pictures are laid out by Graphviz
    (pip install 'lossc[graph]', and its program dot); a .dot file needs neither.
    """
    check_target(output, (*TEXTS, *PICTURES))
    module = with_gradients(load_module(file, function), grad, wrt, of)
    text = dot_text(compiled_for(module, target_of(device), strategy))
    suffix = output.suffix.lower()
    write_file(output, text if suffix in TEXTS else drawn(text, suffix.removeprefix(".")))


def drawn(text: str, form: str) -> bytes:
    """The picture that Graphviz makes of a DOT text. Raises LirError where Graphviz is missing or fails."""
    way_round = "or write the text of the picture: -o FILE.dot"
    try:
        import graphviz
    except ImportError:
        raise LirError(f"a .{form} picture needs the Python package graphviz", "pip install 'lossc[graph]'",
                       way_round) from None  # fmt: skip
    try:
        return graphviz.Source(text).pipe(format=form)
    except graphviz.ExecutableNotFound:
        raise LirError(f"a .{form} picture needs Graphviz's program `dot`, which is not on the PATH",
                       "apt install graphviz, brew install graphviz, or https://graphviz.org/download",
                       way_round) from None  # fmt: skip
    except graphviz.CalledProcessError as error:
        reason = str(getattr(error, "stderr", b"") or error).strip()
        raise LirError(f"Graphviz's program `dot` failed: {reason}", way_round) from None
