"""Files as commands write them: all of what a command writes appears, or nothing changes.

In: finished contents. Out: files, replaced in one step each, after all of them lie on the disk under other names.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lossc.ir.diagnostics import LirError
from lossc.writing import cannot_write


def write_file(path: Path, content: str | bytes) -> None:
    """Replace one file. Raises LirError, with the file as it was, where that does not work."""
    _write({path: content})


def write_files(folder: Path, contents: Mapping[str, str | bytes]) -> None:
    """Put files into a folder, which is made where it is missing. Other files there stay."""
    if folder.exists() and not folder.is_dir():
        raise LirError(f"cannot write to {str(folder)!r}: it is a file", "name a folder: it is made if missing")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    _write({folder / name: content for name, content in contents.items()})


def check_target(path: Path, suffixes: Sequence[str] = ()) -> None:
    """Raise LirError now where `write_file` would later: before the work, not after it."""
    if suffixes and path.suffix.lower() not in suffixes:
        raise LirError(f"cannot write {str(path)!r}: lossc does not know this kind of file",
                       f"it writes {', '.join(suffixes)}")  # fmt: skip
    if os.path.isdir(path):
        raise LirError(f"cannot write {str(path)!r}: it is a folder", "name a file in it")
    if _is_read_only(path):
        raise LirError(f"cannot write {str(path)!r}: it is read-only")
    if not os.path.isdir(path.parent):
        raise LirError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}")


def _write(contents: Mapping[Path, str | bytes]) -> None:
    """Write everything beside its target first, then rename: what may fail has failed before anything changes."""
    waiting: dict[Path, Path] = {}
    path = Path()
    try:
        for path, content in contents.items():
            data = content.encode("utf-8") if isinstance(content, str) else content
            target = Path(os.path.realpath(path))
            if target.exists() and not target.is_file():
                if target.is_dir():
                    raise IsADirectoryError(None, "it is a folder")
                target.write_bytes(data)  # a device such as /dev/stdout: nothing to replace
            elif _is_read_only(target):
                # A new file in its place would need no permission of its own.
                raise PermissionError(None, "it is read-only")
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                waiting[target] = _beside(target, data)
        for path, temporary in waiting.items():
            os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        for temporary in waiting.values():
            with contextlib.suppress(OSError):
                temporary.unlink()


def _is_read_only(path: Path) -> bool:
    """Whether nobody may write to a file."""
    return path.is_file() and not path.stat().st_mode & 0o222


def _beside(target: Path, data: bytes) -> Path:
    """A new file with `data` in the folder of `target`, with the permissions that `target` has or would get."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        if target.exists():
            os.chmod(name, stat.S_IMODE(target.stat().st_mode))
        else:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)
    except OSError:
        os.unlink(name)
        raise
    return Path(name)
