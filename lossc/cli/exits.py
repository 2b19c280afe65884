"""Exceptions to exit statuses and words on stderr: the one place where that happens.

In: whatever a command raises. Out: a status that a shell script can rely on; the user never sees a traceback.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Iterator
from importlib import metadata

from lossc.ir.diagnostics import CompilerBug, DeviceError, LosscError

from .console import show_diagnostic, warn
from .interrupted import INTERRUPTED

WRONG_INPUT = 1
DEVICE = 3
BUG = 70
CLOSED_PIPE = 141
"""What a shell gives for a command that SIGPIPE ended, as `lossc ops | head` may."""


class Failed(Exception):
    """Ends a command that has already said what is wrong. Its status says which kind of trouble it was."""

    def __init__(self, status: int = WRONG_INPUT):
        super().__init__(status)
        self.status = status


@contextlib.contextmanager
def statuses() -> Iterator[None]:
    """Every exception inside becomes `SystemExit` with its status, after a message on stderr.

    The exceptions by which the command-line library ends a command carry a status already and pass.
    """
    try:
        yield
    except BrokenPipeError:
        _write_nowhere()
        raise SystemExit(CLOSED_PIPE) from None
    except Exception as error:
        if hasattr(error, "exit_code"):
            raise
        raise SystemExit(status_of(error)) from None
    except KeyboardInterrupt:
        warn("interrupted")
        raise SystemExit(INTERRUPTED) from None


def _write_nowhere() -> None:
    """Nobody reads on: what is left in buffers goes to no pipe when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())


def status_of(error: Exception) -> int:
    """Say what went wrong, and return the exit status for it."""
    if isinstance(error, Failed):
        return error.status
    if isinstance(error, LosscError) and not isinstance(error, CompilerBug):
        for diagnostic in error.diagnostics:
            show_diagnostic(diagnostic)
        return DEVICE if isinstance(error, DeviceError) else WRONG_INPUT
    if isinstance(error, MemoryError):
        warn(f"error: not enough memory: {error}" if str(error) else "error: not enough memory")
        return WRONG_INPUT
    if isinstance(error, OSError):
        # Reading and writing files has errors of its own: this is stdout or stderr, or the machine.
        warn(f"error: {error}")
        return WRONG_INPUT
    _report_bug(error)
    return BUG


def _report_bug(error: Exception) -> None:
    if isinstance(error, LosscError):
        for diagnostic in error.diagnostics:
            show_diagnostic(diagnostic)
    else:
        warn(f"error[{CompilerBug.code}]: {type(error).__name__}: {error}")
    warn("This is a bug in lossc, not in your program. Please report it, with the program and the command.")
    path = _write_report(error)
    if path is not None:
        warn(f"The versions and the traceback are in {path}: add that file.")


def _write_report(error: Exception) -> str | None:
    """The path of a new file with what a report of a bug needs; None where no file can be written."""
    lines = [
        f"command: {' '.join(sys.argv)}",
        f"lossc {version()}, Python {platform.python_version()}, {platform.platform()}",
        *(f"{name} {metadata.version(name)}" for name in ("numpy", "pyopencl", "lark") if _is_installed(name)),
        "",
        *traceback.format_exception(type(error), error, error.__traceback__),
    ]
    try:
        handle, path = tempfile.mkstemp(prefix="lossc-bug-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("\n".join(lines))
    except OSError:
        return None
    return path


def version() -> str:
    return metadata.version("lossc") if _is_installed("lossc") else "(not installed)"


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
