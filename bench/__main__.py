"""`python -m bench`: every table, on one device. `--save PATH` keeps them as PATH.json and PATH.md.

Each section runs in a process of its own and saves after each row: what was measured before an abort is kept. Systems
that are not installed are left out and named. Every answer is compared with float64 before anything is timed: a system
whose answer is off stands there as `incorrect`. `--cpu-time` measures the calling thread's own time on one core
(lossc's kernels run in it, torch has one thread): repeatable on a busy machine. `--keep-pages` measures the losses with
an allocator that keeps its pages; a full run has both.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from importlib import import_module
from pathlib import Path

from . import store
from .losses import Options
from .systems import SYSTEMS

SECTIONS = ("losses", "pages_kept", "latency", "linear", "training", "startup")
"""Each is a module with `rows(options)`; the losses are measured twice."""
KEEP_PAGES = {
    "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_ARENA_MAX": "1",
    "THP_MEM_ALLOC_ENABLE": "1",
}  # fmt: skip
"""glibc takes everything from one heap and never gives any of it back; torch asks for huge pages."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--device", default="intel", help="a device as LOSSC_DEVICE names it (default: intel)")
    parser.add_argument("--repetitions", type=int, default=31)
    parser.add_argument("--limit", type=float, default=2, help="seconds of timing a row, about (default: 2)")
    parser.add_argument("--only", default="", help="rows whose names contain this")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="which to measure, by comma")
    parser.add_argument("--section", choices=SECTIONS, action="append", help="only this one; several times: these")
    parser.add_argument("--keep-pages", action="store_true", help="the losses as in the section pages_kept")
    parser.add_argument("--cpu-time", action="store_true", help="the calling thread's time, on one core")
    parser.add_argument("--save", type=Path, help="write all figures as PATH.json and the tables as PATH.md")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    chosen = given.section or (["losses"] if given.only or given.cpu_time else list(SECTIONS))
    if given.keep_pages:
        chosen = ["pages_kept" if section == "losses" else section for section in chosen]
    systems = [name for name in SYSTEMS if name in given.systems.split(",")]
    options = Options(given.device, given.repetitions, given.limit, given.only, systems, given.cpu_time)
    if given.child:
        _measure(given.section[-1], options, given.save)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = (given.save or Path(folder, "bench")).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        store.begin(path, chosen)
        failed = []
        for section in chosen:
            environment = {**os.environ, "LOSSC_DEVICE": given.device}
            # Cold compile times: nothing from earlier runs.
            environment["LOSSC_CACHE_DIR"] = os.path.join(folder, section)
            environment |= KEEP_PAGES if section == "pages_kept" else {}
            child = [*sys.argv[1:], "--child", "--section", section, "--save", str(path)]
            if subprocess.run([sys.executable, "-m", "bench", *child], env=environment).returncode:
                failed.append(section)
        text = store.text(path)
        if given.save:
            path.with_suffix(".md").write_text(text)
        print("\n" + text)
    if failed:
        raise SystemExit(f"ended early: {', '.join(failed)}; what was measured before is there")


def _measure(section: str, options: Options, path: Path) -> None:
    rows = import_module(f".{'losses' if section == 'pages_kept' else section}", __package__).rows
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # drivers that report every build they have done
        for row in rows(options):
            store.add(path, section, row)
            print(f"{time.perf_counter() - started:6.1f} s  {section}  {store.line(row)}", flush=True)


if __name__ == "__main__":
    main()
