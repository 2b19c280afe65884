"""Whether programs are to choose by measurement. Nothing of the tuner is loaded to know."""

from __future__ import annotations

import os

VARIABLE = "LOSSC_TUNE"


def tuning_wanted(tune: bool | None = None) -> bool:
    """`tune`, else what the environment says: `LOSSC_TUNE=1`."""
    if tune is not None:
        return tune
    return os.environ.get(VARIABLE, "0").strip().lower() in ("1", "on", "yes", "true")
