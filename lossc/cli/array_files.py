"""Arrays as files: NumPy's .npy and .npz, .safetensors, and tables of numbers as .csv.

In: a path. Out: arrays, by name where the file has names. Nothing but numbers is read: a file that would run code when
it is loaded is refused. Raises LirError, with the place in the text for a .csv, for whatever is wrong with a file.
"""

from __future__ import annotations

import io
import os
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lossc.ir.diagnostics import LirError, Source, Span, did_you_mean
from lossc.tensor_files import read_tensors

ARCHIVES = (".npz", ".safetensors")
TABLES = (".csv", ".txt")
READABLE = ".npy, .npz, .safetensors or .csv"

Number = int | float


def read_array(source: str, wanted: str) -> np.ndarray | list[list[Number]]:
    """The array in a file, `x.npy`, or in a file of several, `all.npz:key`. Without a key it is the one called
    `wanted`, or the only one. A table comes as a list: its numbers have no element type yet."""
    path, key = _path_and_key(source, wanted)
    match path.suffix.lower():
        case ".npy":
            return _read_npy(path)
        case suffix if suffix in ARCHIVES:
            found = read_archive(path)
            if len(found) == 1 and key == wanted:
                return next(iter(found.values()))
            if key not in found:
                raise LirError(f"{str(path)!r} has no array `{key}`", *did_you_mean(key, found),
                               f"it has {', '.join(found) or 'none'}", f"choose one: {path}:name")  # fmt: skip
            return found[key]
        case suffix if suffix in TABLES:
            return _read_table(path)
        case _:
            check_readable(path)
            raise LirError(f"cannot read {str(path)!r}: lossc does not know this kind of file",
                           f"it reads {READABLE}", code="LIR0015")  # fmt: skip


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz or .safetensors file, by name."""
    check_readable(path)
    suffix = path.suffix.lower()
    if suffix not in ARCHIVES:
        raise LirError(f"cannot read {str(path)!r}: named arrays come from a {' or '.join(ARCHIVES)} file, found "
                       f"{suffix or 'a name without an ending'}", code="LIR0015")  # fmt: skip
    if suffix == ".safetensors":
        return read_tensors(path)[0]
    try:
        with np.load(path, allow_pickle=False) as archive:
            if isinstance(archive, np.ndarray):
                raise LirError(f"cannot read {str(path)!r}: it holds one array without a name", "name it .npy",
                               code="LIR0015")  # fmt: skip
            return {name: np.asarray(archive[name]) for name in archive.files}
    except LirError:
        raise
    except _NUMPY_TROUBLE as error:
        raise _unreadable(path, "NumPy's .npz format", error) from None


def archive_bytes(path: Path, arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of an .npz, .safetensors or, for one array, .npy file."""
    buffer = io.BytesIO()
    match path.suffix.lower():
        case ".npz":
            np.savez(buffer, allow_pickle=False, **arrays)
        case ".safetensors":
            from safetensors.numpy import save

            return save({name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()})
        case _:
            np.save(buffer, next(iter(arrays.values())), allow_pickle=False)
    return buffer.getvalue()


def check_readable(path: Path) -> None:
    """Raise LirError unless this is a file that can be opened."""
    if os.path.isdir(path):
        raise LirError(f"cannot read {str(path)!r}: it is a folder", f"name a file in it: {READABLE}", code="LIR0015")
    try:
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LirError(f"cannot read {str(path)!r}: {reason}", code="LIR0015") from None


def _path_and_key(source: str, wanted: str) -> tuple[Path, str]:
    path = Path(source)
    head, colon, tail = source.rpartition(":")
    if colon and head.lower().endswith(ARCHIVES) and not os.path.exists(source):
        return Path(head), tail
    return path, wanted


# What NumPy raises for files that are damaged or something else than their name says.
_NUMPY_TROUBLE = (
    OSError, ValueError, EOFError, SyntaxError, TypeError, AttributeError, KeyError, IndexError, OverflowError,
    RuntimeError, MemoryError, struct.error, tokenize.TokenError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


def _read_npy(path: Path) -> np.ndarray:
    check_readable(path)
    try:
        array = np.load(path, allow_pickle=False)
    except _NUMPY_TROUBLE as error:
        raise _unreadable(path, "NumPy's .npy format", error) from None
    if isinstance(array, np.ndarray):
        return array
    array.close()
    raise LirError(f"cannot read {str(path)!r}: it holds several arrays", "name it .npz", code="LIR0015")


def _unreadable(path: Path, form: str, error: Exception) -> LirError:
    if "pickle" in str(error):
        return LirError(f"cannot read {str(path)!r}: it holds Python objects or is no array at all",
                        "save numbers: np.save(path, np.asarray(values, dtype='float32'))", code="LIR0015")  # fmt: skip
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return LirError(f"cannot read {str(path)!r} as {form}: {reason}", code="LIR0015")


def _read_table(path: Path) -> list[list[Number]]:
    """Numbers apart by commas, a row a line. A first line without any number is a heading and passed over."""
    check_readable(path)
    try:
        source = Source(str(path), path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise LirError(f"cannot read {str(path)!r}: byte {error.start} is not UTF-8 text", code="LIR0015") from None
    rows: list[list[Number]] = []
    first = True
    for line in re.finditer(r"[^\r\n]*\S[^\r\n]*", source.text):
        fields = re.split(",", line[0])
        heading, first = first and not any(map(_is_number, fields)), False
        if heading:
            continue
        rows.append(_row(source, line.start(), fields))
        if len(rows[-1]) != len(rows[0]):
            raise LirError(f"a row of {len(rows[-1])} numbers after rows of {len(rows[0])}",
                           span=Span(source, line.start(), line.end()))  # fmt: skip
    if not rows:
        raise LirError(f"cannot read {str(path)!r}: there is no row of numbers in it", code="LIR0015")
    return rows


def _row(source: Source, start: int, fields: list[str]) -> list[Number]:
    row: list[Number] = []
    for field in fields:
        try:
            row.append(read_number(field))
        except ValueError:
            raise LirError(f"expected a number, found {field.strip()!r}",
                           span=Span(source, start, start + max(1, len(field)))) from None  # fmt: skip
        start += len(field) + 1
    return row


def read_number(text: str) -> Number:
    """An integer where it is written as one, else a float. Raises ValueError."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
