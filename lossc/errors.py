"""Errors that are torch's or Python's kinds of exception as well.

torch raises IndexError, RuntimeError, NotImplementedError or TypeError where lossc raises LirError, a ValueError, and
Python raises TypeError for a wrong call. Code that was written for these catches ours as it catches theirs;
`except lossc.LirError` catches all of them.
"""

from __future__ import annotations

from lossc.ir.diagnostics import CheckFailed, Limitation, LirError


class RefusedArgument(LirError, RuntimeError):
    """Shapes or settings that do not go together, where torch raises RuntimeError."""


class RefusedElementType(LirError, NotImplementedError):
    """An element type that a loss has no arithmetic for. NotImplementedError is what torch raises there."""


class RefusedKind(LirError, TypeError):
    """Something that is no tensor."""


class RefusedCall(LirError, TypeError):
    """Arguments that a function does not have, or lacks."""


class OutOfRange(CheckFailed, IndexError):
    """A class label out of range, seen while the loss ran."""


class RefusedValue(CheckFailed, RuntimeError):
    """A value that a loss does not take, such as a probability above 1, seen while the loss ran."""


class Unsupported(Limitation, RuntimeError):
    """What torch does and lossc does not; the message names the way round."""


class NothingThere(LirError, IndexError):
    """An axis or a class that a tensor does not have."""
