"""Options that several commands share, each with its one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Program = Annotated[str, typer.Argument(metavar="FILE", help="A .lir file; - reads stdin.", show_default=False)]
FunctionName = Annotated[
    str | None, typer.Option("--func", metavar="NAME", help="The function to take; else the one nobody calls.")
]
Grad = Annotated[bool, typer.Option("--grad", help="Also the gradients of the first output by every float input.")]
Wrt = Annotated[
    str | None, typer.Option("--wrt", metavar="A,B", help="Also the gradients by these inputs.", show_default=False)
]
Of = Annotated[
    str | None, typer.Option("--of", metavar="OUTPUT", help="What is differentiated; else the first output.",
                             show_default=False),
]  # fmt: skip
Target = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="D", show_default=False,
        help="The device (`lossc devices`), preset or .json file to compile for.",
    ),
]  # fmt: skip
RunDevice = Annotated[
    str | None, typer.Option("--device", metavar="D", help="The device: a number or name of `lossc devices`.",
                             show_default=False),
]  # fmt: skip
Strategy = Annotated[
    str | None,
    typer.Option(
        "--strategy", metavar="S", help="Use this strategy for every kernel it applies to.", show_default=False
    ),
]
Tune = Annotated[
    bool | None,
    typer.Option(
        "--tune/--no-tune", show_default=False,
        help="Measure which strategies are the fastest at these sizes, and remember it.",
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Folder = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="DIR", help="The folder to write.", show_default=False)
]
Inputs = Annotated[
    list[str],
    typer.Option("--input", "-i", metavar="X=FILE",
                 help="x=x.npy, x=all.npz:key, x=x.csv, x=0.5, or all.npz for several. May be repeated.",
                 show_default=False, default_factory=list),
]  # fmt: skip
Params = Annotated[
    Path | None, typer.Option("--params", metavar="FILE", help="The params, from a .safetensors or .npz file.",
                              show_default=False),
]  # fmt: skip
Bind = Annotated[
    list[str],
    typer.Option("--bind", metavar="B=32",
                 help="The size of a dimension that no input gives. May be repeated.", show_default=False,
                 default_factory=list),
]  # fmt: skip
BindToTune = Annotated[
    list[str],
    typer.Option("--bind", metavar="B=32", help="The size of a dimension, for --tune. May be repeated.",
                 show_default=False, default_factory=list),
]  # fmt: skip
BindToSee = Annotated[
    list[str],
    typer.Option("--bind", metavar="B=32", help="The size of a dimension, to see what runs then. May be repeated.",
                 show_default=False, default_factory=list),
]  # fmt: skip
Random = Annotated[
    int | None, typer.Option("--random", metavar="SEED", min=0, help="Fill the inputs that are not given.",
                             show_default=False),
]  # fmt: skip


def names(text: str | None) -> list[str]:
    """`a,b` as a list."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]
