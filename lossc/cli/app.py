"""The commands, put together."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import bench, check, compile, format, graph, info, opt, run
from .exits import statuses, version


class _Group(TyperGroup):
    """All commands; whatever one raises becomes an exit status."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # "$OUT" of a script that never set it: no file has that name, and Path makes it the present folder.
        if any(word == "" or (word.startswith("--") and word.endswith("=")) for word in args):
            raise typer.BadParameter("an empty word names nothing", ctx=ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with statuses():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Group, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lossc {version()}")
        raise typer.Exit


@app.callback()
def lossc(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Compile loss graphs to OpenCL kernels and run them.

    Exit status: 0 fine, 1 something is wrong with the input, 2 with the command line, 3 with the device or its driver,
    70 with lossc itself.
    """


COMMANDS = (
    (compile.compile, "lossc compile f.lir --grad --emit cl"),
    (run.run, "lossc run f.lir --input x=x.npy --input labels=labels.npy --grad -o out.npz"),
    (check.check, "lossc check f.lir --bind B=1000"),
    (opt.opt, "lossc opt f.lir --grad --passes prepare --print-after-all"),
    (compile.dump, "lossc dump f.lir --grad -o out/"),
    (compile.explain, "lossc explain f.lir --grad"),
    (bench.bench, "lossc bench f.lir --grad --bind B=8192"),
    (graph.graph, "lossc graph f.lir --grad -o g.svg"),
    (format.fmt, "lossc fmt --diff f.lir"),
    (info.ops, "lossc ops cross_entropy_loss"),
    (info.devices, "lossc devices --json"),
)
for command, example in COMMANDS:
    app.command(epilog=f"Example: {example}")(command)
