"""A folder on disk for one process, which a later one removes.

A driver may use its folder until the very end of its process, past every exit handler, and a process can be
killed: so nobody clears up after himself. Each process locks its folder, and the next one to start removes
those that nobody locks any more.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

LOCK = "in-use"
GRACE = 3600.0
"""Seconds that a folder without a lock file is left alone: its process may be just starting."""

_held: list[int] = []


def process_folder(parent: Path) -> Path:
    """A new folder below `parent`, locked while this process lives; below the system's folder for temporary
    files where `parent` cannot be written.
    """
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_abandoned(parent)
        folder = Path(tempfile.mkdtemp(prefix="process-", dir=parent))
    except OSError:
        return Path(tempfile.mkdtemp(prefix="lossc-"))
    lock = _lock(folder, create=True)
    if lock is not None:
        _held.append(lock)
    return folder


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob("process-*"):
        with contextlib.suppress(OSError):
            if (folder / LOCK).exists():
                lock = _lock(folder, create=False)
                if lock is not None:
                    shutil.rmtree(folder, ignore_errors=True)
                    os.close(lock)
            elif folder.stat().st_mtime < time.time() - GRACE:
                shutil.rmtree(folder, ignore_errors=True)


def _lock(folder: Path, create: bool) -> int | None:
    """The open lock file of `folder`, or None where another process holds it or the system has no such
    locks.
    """
    try:
        import fcntl
    except ImportError:
        return None
    handle = None
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if handle is not None:
            os.close(handle)
        return None
    return handle
