"""Whether an example disagrees anywhere, and the smallest one that disagrees in the same way.

In: an example and a level. Out: a sentence with what disagrees first, or what the compiler broke down with; LIR text.
"""

from __future__ import annotations

import re
import traceback

from lossc.ir.diagnostics import CheckFailed, Limitation
from lossc.ir.printer import print_module

from .functions import Example
from .levels import Subject
from .shrink import SECONDS, shrink

LEVELS = ("passes", "simulator", "intel", "pocl")


def disagreement(example: Example, level: str) -> str | None:
    try:
        return next(Subject(example).check(level), None)
    except (CheckFailed, Limitation):
        return None  # an answer, too
    except Exception:
        return traceback.format_exc(limit=-3)


def kind_of(found: str) -> str:
    """What two disagreements have in common if they have one cause: the pass or the last line, NaN or not."""
    if found.startswith("Traceback"):
        (error, *_) = [line for line in found.splitlines() if re.match(r"[\w.]+(Error|Bug)\b", line)] or [found]
        return re.sub(r"%\w+|\w*\d\w*", "#", error)[:120]
    where, _, what = found.partition(", ")
    number = "NaN" if "expected nan" in what else "no NaN" if "is nan" in what else "a number"
    return f"{where.split(' ')[0]}: {number}"


def smallest(example: Example, level: str, seconds: float = SECONDS) -> Example:
    """An example that disagrees at a level as the given one does, with the fewest operations that were found."""
    found = disagreement(example, level)
    assert found is not None
    wanted = kind_of(found)

    def fails(smaller: Example) -> bool:
        again = disagreement(smaller, level)
        return again is not None and kind_of(again) == wanted

    return shrink(example, fails, seconds)


def described(example: Example) -> str:
    """The example as text that can be run."""
    sizes = ", ".join(f"{name}={size}" for name, size in example.sizes.items())
    return f"// sizes {sizes}, {example.classes} classes\n{print_module(example.module)}"
