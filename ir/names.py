"""Names that are not yet taken.

In: the name that something would have, and those that others have. Out: that name, or it with a number behind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable


def fresh(base: str, taken: Collection[str]) -> str:
    """`base`, or `base_2`, `base_3`, ... where that is taken."""
    name, number = base, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    return name


def distinct(names: Iterable[str], taken: Iterable[str] = ()) -> tuple[str, ...]:
    """Every name, in order, each other than those before it and than those that are `taken`."""
    others, found = set(taken), list[str]()
    for name in names:
        found.append(fresh(name, others))
        others.add(found[-1])
    return tuple(found)
