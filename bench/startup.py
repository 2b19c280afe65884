"""Start-up, each in a process of its own: importing lossc, and the time from LIR text to the first result.

Cold: every cache empty. Warm: the caches that the cold process left. The first result is that of a cross-entropy with
its gradient. The driver's part is opening the device, and building the kernels: those are told apart.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .losses import Options
from .tables import Row, markdown

TURNS = 7
IMPORT = "import time; t = time.perf_counter(); import lossc; print('{\"ms\":', 1e3 * (time.perf_counter() - t), '}')"
FIRST_RESULT = '''
import json, sys, time
import numpy as np
import lossc

LIR = """
func @loss(%x: f32[B, 1024], %t: i32[B]) -> f32[1] {
  %loss = cross_entropy_loss %x, %t
  return %loss
}
"""
clock = time.perf_counter
started = clock()
from lossc.runtime.device import select
device = select(sys.argv[1])
device.queue
opened = clock()

import pyopencl
building = [0.0]
build = pyopencl.Program.build
def timed(*arguments, **keywords):
    began = clock()
    try:
        return build(*arguments, **keywords)
    finally:
        building[0] += clock() - began
pyopencl.Program.build = timed

x, t = np.zeros((64, 1024), np.float32), np.zeros(64, np.int32)
begun = clock()
compiled = lossc.parse(LIR).compile(grad=["x"], device=device)
(loss,), gradients = compiled(x=x, t=t)
done = clock()
assert abs(loss[0] - np.log(1024)) < 1e-5 and abs(gradients["x"][0, 1] * 64 * 1024 - 1) < 1e-5
print(json.dumps({"open": 1e3 * (opened - started), "build": 1e3 * building[0],
                  "ms": 1e3 * (done - begun - building[0])}))
'''
PARTS = {"ms": "lossc, ms", "build": "driver's build, ms", "open": "opening the device, ms"}


def rows(options: Options) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as bytecode:
        # As an installed package has it: Python's own compilation of our files is not measured.
        python = {"PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
        _run(IMPORT, python)
        yield _row("import lossc", [_run(IMPORT, python) for _ in range(TURNS)])
        cold, warm = [], []
        for _ in range(TURNS + 1):
            with tempfile.TemporaryDirectory() as folder:
                caches = {**python, "LOSSC_CACHE_DIR": folder, "XDG_CACHE_HOME": folder, "PYOPENCL_NO_CACHE": "1"}
                cold.append(_run(FIRST_RESULT, caches, options.device))
                warm.append(_run(FIRST_RESULT, caches, options.device))
        yield _row("text to first result, cold", cold[1:])
        yield _row("text to first result, warm from disk", warm[1:])


def _run(program: str, variables: Mapping[str, str], *arguments: str) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    return json.loads(subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True,
                                     check=True).stdout)  # fmt: skip


def _row(name: str, turns: Sequence[Mapping[str, float]]) -> Row:
    figures = {part: float(np.median([turn[part] for turn in turns])) for part in turns[0]}
    figures |= {"p10": float(np.percentile([turn["ms"] for turn in turns], 10)),
                "p90": float(np.percentile([turn["ms"] for turn in turns], 90))}  # fmt: skip
    return {"name": name, "systems": {"lossc": figures}}


def table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        figures = row["systems"]["lossc"]
        lines.append([row["name"], *(f"{figures[part]:.0f}" if part in figures else "" for part in PARTS)])
    note = f"Medians of {TURNS} processes each. What is under *lossc* is without the other two."
    return markdown(["start-up", *PARTS.values()], lines) + "\n\n" + note
