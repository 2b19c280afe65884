"""A cache of bytes on disk that can lose anything at any time and never gives a wrong answer.

In: a key made from everything that the bytes depend on. Out: the bytes, or None: then the caller makes them
again. One file an entry, with a checksum over key and bytes inside; written under another name, flushed and
renamed, so that a reader sees a whole entry or none. No error of the file system leaves this module: a
damaged, unreadable or foreign entry is a miss, and an entry that cannot be written is not written.

`LOSSC_CACHE_DIR` names another folder, `LOSSC_CACHE=0` switches the cache off.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

MAGIC = b"lossc cache 1\n"
CHECKSUM_BYTES = 32
DEFAULT_LIMIT = 256 * 1024 * 1024
HOUR = 3600.0


def cache_folder(name: str) -> Path:
    """The folder `name` of lossc's cache; it need not exist yet."""
    chosen = os.environ.get("LOSSC_CACHE_DIR")
    if chosen:
        # Path.expanduser raises where there is no such user.
        return Path(os.path.expanduser(chosen)) / name
    import platformdirs

    return Path(platformdirs.user_cache_dir("lossc", appauthor=False)) / name


def cache_enabled() -> bool:
    """False where the user set `LOSSC_CACHE` to 0, off, no or false."""
    return os.environ.get("LOSSC_CACHE", "1").strip().lower() not in ("0", "off", "no", "false")


def cache_key(parts: Iterable[str]) -> str:
    """A name for the entry that depends on `parts`: their lengths count, so no two lists run together."""
    digest = hashlib.sha256(MAGIC)
    for part in parts:
        data = part.encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


@dataclass
class Cache:
    """Entries in `folder`, together at most `limit` bytes: the ones used longest ago go first."""

    folder: Path
    limit: int = DEFAULT_LIMIT
    _unchecked: int = field(default=-1, repr=False)
    """Bytes written since the folder was last measured; -1 before the first time."""

    def get(self, key: str) -> bytes | None:
        """The bytes stored under `key`, or None."""
        path = self._path(key)
        try:
            entry = _read_regular_file(path, self.limit)
        except OSError:
            return None
        if entry is None or not entry.startswith(MAGIC):
            return None
        start = len(MAGIC) + CHECKSUM_BYTES
        payload = entry[start:]
        if entry[len(MAGIC) : start] != _checksum(key, payload):
            return None
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > HOUR:
                os.utime(path)
        return payload

    def put(self, key: str, payload: bytes) -> None:
        """Stores `payload` under `key` if that is possible."""
        size = len(MAGIC) + CHECKSUM_BYTES + len(payload)
        if size > self.limit:
            return
        path = self._path(key)
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_whole(path, MAGIC + _checksum(key, payload) + payload)
            self._note_written(size)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _note_written(self, size: int) -> None:
        if self._unchecked < 0 or self._unchecked + size > self.limit // 8:
            self._unchecked = 0
            self._shrink()
        else:
            self._unchecked += size

    def _shrink(self) -> None:
        """Removes what interrupted writers left, then the oldest entries until 7/8 of the limit is kept."""
        entries = []
        for path in self.folder.glob("??/*"):
            with contextlib.suppress(OSError):
                status = path.lstat()
                if path.name.startswith(".") and time.time() - status.st_mtime > HOUR:
                    path.unlink()
                elif stat.S_ISREG(status.st_mode):
                    entries.append((status.st_mtime, status.st_size, path))
        excess = sum(size for _, size, _ in entries) - self.limit * 7 // 8
        for _, size, path in sorted(entries):
            if excess <= 0:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            excess -= size


def _checksum(key: str, payload: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\n" + payload).digest()


def _read_regular_file(path: Path, limit: int) -> bytes | None:
    """The file's bytes; None for a link, a pipe or a folder in its place, for one that is too large, and for one of
    another user (entries are code)."""
    # Without O_NONBLOCK the open of a pipe without a writer would wait for ever.
    flags = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    with os.fdopen(os.open(path, os.O_RDONLY | flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return None
        if hasattr(os, "getuid") and status.st_uid not in (os.getuid(), 0):
            return None
        return file.read()


def _write_whole(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
