"""GPU-shaped kernels below Oclgrind, which sees races, bad addresses, unwritten memory and divergent barriers.

Runs where Debian's `oclgrind` is installed, and fails without it where CI is set. Oclgrind tells on stderr and leaves
the exit status alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from oclgrind_runs import CASES

OCLGRIND = shutil.which("oclgrind")
COMPLAINT = re.compile("Invalid read|Invalid write|data race|[Uu]ninitialized|divergence|OCLGRIND FATAL")

pytestmark = pytest.mark.skipif(OCLGRIND is None and not os.environ.get("CI"), reason="oclgrind is not installed")


# Oclgrind 21.10 crashes where it follows unwritten memory into the components of a vector: there it has scalars.
CHECKS = {1: ("--uninitialized",), 4: ("--data-races", "--uniform-writes")}


def oclgrind(width: int, number: int, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The run of `oclgrind_runs`, and what Oclgrind complains of."""
    command = [OCLGRIND or "", *CHECKS[width], "--max-errors", "20"]
    command += [sys.executable, "-m", "oclgrind_runs", str(width), str(number), *arguments]
    here = str(Path(__file__).parent)
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "LOSSC_DEVICE": "oclgrind"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done, [line for line in done.stderr.splitlines() if COMPLAINT.search(line)]


@pytest.mark.parametrize(("width", "number"), [(4, 0), *((1, number) for number in range(len(CASES)))])
def test_nothing_to_complain_of(width: int, number: int) -> None:
    done, complaints = oclgrind(width, number)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not complaints, "\n".join(complaints)
    said = re.fullmatch(r"(\d+) runs on Oclgrind Simulator .*, 0 wrong", done.stdout.strip().splitlines()[-1])
    assert said is not None, done.stdout
    assert int(said[1]) >= (len(CASES) if width == 4 else 1)


PRODUCT = next(number for number, case in enumerate(CASES) if case[0] == "matmul-group")

MISTAKES = [
    (4, 0, "no barriers", "data race"),
    (4, PRODUCT, "no barriers", "data race"),
    (4, 2, "one row too many", "Invalid read"),
    (1, 0, "nothing stored locally", "ninitialized"),
]


@pytest.mark.parametrize(("width", "number", "mistake", "complaint"), MISTAKES)
def test_a_mistake_is_seen(width: int, number: int, mistake: str, complaint: str) -> None:
    done, complaints = oclgrind(width, number, mistake)
    assert any(complaint in line for line in complaints), done.stdout + done.stderr[-2000:]
