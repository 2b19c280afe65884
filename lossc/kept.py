"""What is kept so that it need not be made again: up to a number, then the oldest goes."""

from __future__ import annotations

from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def keep(kept: dict[Key, Value], key: Key, value: Value, most: int) -> Value:
    """Put a value below its key, where there are never more than `most`."""
    # A copy: another thread, or a signal handler, may do the same meanwhile.
    for oldest in list(kept)[: max(0, len(kept) + 1 - most)]:
        kept.pop(oldest, None)
    kept[key] = value
    return value
