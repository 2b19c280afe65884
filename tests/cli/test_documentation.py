"""Every example of the documentation of the command line runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from lossc.cli.app import COMMANDS, app

Command = Callable[..., Any]

TEXT = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[block.split("\n")[0] for block in BLOCKS])
def test_the_examples_run(lossc: Command, block: str) -> None:
    for line in block.splitlines():
        name, *arguments = shlex.split(line)
        assert name == "lossc"
        done = lossc(*arguments)
        assert done.status == 0, f"{line}\n{done.err}"


def test_the_program_of_the_examples_is_that_of_the_tests(folder: Path) -> None:
    shown = re.search(r"^    // lir 1\n(?:    .*\n|\n)*    }\n", TEXT, re.MULTILINE)
    assert shown is not None
    assert re.sub("^    ", "", shown[0], flags=re.MULTILINE) == (folder / "f.lir").read_text()


def test_every_option_is_described() -> None:
    group: Any = get_command(app)
    options = {option for command in (group, *group.commands.values()) for parameter in command.params
               for option in (*parameter.opts, *parameter.secondary_opts) if option.startswith("-")}  # fmt: skip
    assert {"--no-tune", "--version", "-o"} <= options
    assert not [option for option in sorted(options) if not re.search(rf"(?<![-\w]){option}\b", TEXT)]


def test_every_command_is_described() -> None:
    titles = {word for title in re.findall("^## (.*)$", TEXT, re.MULTILINE) for word in title.split(", ")}
    assert {command.__name__ for command, _ in COMMANDS} <= titles
