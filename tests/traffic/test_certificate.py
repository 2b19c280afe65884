"""Every loss with its gradient moves as few bytes as any program could, or has its reason in `exceptions`."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from lossc.compiler.reports.traffic import HANDED, traffic
from lossc.ir.composites import COMPOSITES

from .catalogue import REALISTIC, Case, cases
from .exceptions import EXCEPTIONS, Exempt

ONE = 1.005
"""What prints as 1.00."""
PARTIALS = 0.0025
"""What partial sums may add, of the fewest bytes; with the gradients of small operands."""

LOSSES = sorted({case.op for case in cases()})


def exempt(case: Case) -> Exempt | None:
    return next((e for e in EXCEPTIONS if any(fnmatchcase(str(case), p) for p in e.patterns)), None)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_and_its_gradient_move_as_little_as_any_program_could(loss: str) -> None:
    wrong = []
    for case in (case for case in cases() if case.op == loss):
        found, reason = traffic(case.compiled(), REALISTIC[case.layout]), exempt(case)
        partials = found.because(HANDED) / found.fewest
        if reason is None and not (0.9999 < found.ratio < ONE and partials < PARTIALS):
            wrong.append(f"{case}: {found.ratio:.4f} and no reason is known, {partials:.4f} of it partial sums")
        elif reason is not None and found.ratio < ONE:
            wrong.append(f"{case}: {found.ratio:.4f} is no exception any more")
        elif reason is not None and found.ratio > reason.most:
            wrong.append(f"{case}: {found.ratio:.4f}, more than {reason.most} for {reason.reason}")
    assert not wrong, "\n".join(wrong)


def test_every_exception_names_cases() -> None:
    texts = [str(case) for case in cases()]
    patterns = [pattern for each in EXCEPTIONS for pattern in each.patterns]
    assert not [pattern for pattern in patterns if not any(fnmatchcase(text, pattern) for text in texts)]
    several = [text for text in texts if sum(any(fnmatchcase(text, p) for p in e.patterns) for e in EXCEPTIONS) > 1]
    assert not several


def test_every_loss_is_there() -> None:
    assert set(LOSSES) == {name for name in COMPOSITES if name.endswith("_loss") or name == "l1_regularization"}
    assert {case.layout for case in cases()} == {"rows", "pixels"}
    assert {case.dtype for case in cases()} == {"f32", "f16"}
