"""What is said where a file cannot be written. A folder that is missing is made where what is written is a folder."""

from __future__ import annotations

import os
from os import PathLike

from lossc.ir.diagnostics import LirError


def cannot_write(path: str | PathLike[str], error: OSError) -> LirError:
    """The error for a path that the system refused."""
    name = os.fspath(path)
    folder = os.path.dirname(name)
    missing = isinstance(error, FileNotFoundError) and folder and not os.path.isdir(folder)
    reason = f"there is no folder {folder!r}" if missing else error.strerror or error
    return LirError(f"cannot write {name!r}: {reason}")
