"""Run the agreement matrix: python -m tests.agreement --help

Without options: cases that have every pair of choices, at every level. `--full` runs every operation x strategy x
layout x row length x number of rows; `--strength 3` cases that have every triple of choices. A failing case prints its
own text, which `--case` runs again. Exit status 1 if anything disagrees.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterable

from lossc.ir.diagnostics import LosscError

from .agree import Problem
from .cases import Case, parse_case
from .selection import all_cases, covering_cases, few_cases


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.agreement", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--full", action="store_true", help="everything; hours")
    parser.add_argument("--few", action="store_true", help="the cases that pytest runs")
    parser.add_argument("--strength", type=int, default=2, help="choices that are combined: 2 for pairs")
    parser.add_argument("--op", action="append", default=[], help="only this operation")
    parser.add_argument("--case", action="append", default=[], help="run one case, as it was printed")
    parser.add_argument("--at", action="append", help="only there: passes, cpu, gpu (both simulated), intel, pocl")
    parser.add_argument("--shard", default="1/1", help="2/8 runs the second eighth")
    parser.add_argument("--list", action="store_true", help="print the cases, run nothing")
    options = parser.parse_args()
    part, parts = map(int, options.shard.split("/"))
    cases = [case for index, case in enumerate(_cases(options)) if index % parts == part - 1]
    if options.list:
        print(*cases, f"{len(cases)} cases", sep="\n")
        return 0
    return _run(cases, options.at)


def _cases(options: argparse.Namespace) -> Iterable[Case]:
    if options.case:
        return [parse_case(text) for text in options.case]
    if options.few:
        return [case for case in few_cases() if not options.op or case.op in options.op]
    if options.full:
        return all_cases(options.op)
    return covering_cases(options.strength, tuple(options.op))


def _run(cases: list[Case], only: list[str] | None) -> int:
    failed = 0
    seconds: dict[str, float] = defaultdict(float)
    for number, case in enumerate(cases, 1):
        wrong = _disagreements(case, only, seconds)
        if wrong:
            failed += 1
            print(f"\n{case}", *(f"    {line}" for line in wrong), sep="\n", flush=True)
        elif sys.stderr.isatty():
            print(f"\r{number} of {len(cases)}, {failed} disagree", end="", file=sys.stderr)
    spent = ", ".join(f"{where} {time:.0f} s" for where, time in seconds.items())
    print(f"\n{len(cases)} cases, {failed} disagree; {spent}")
    return 1 if failed else 0


def _disagreements(case: Case, only: list[str] | None, seconds: dict[str, float]) -> list[str]:
    problem = Problem(case)
    wrong: list[str] = []
    for where in case.executors:
        if only is not None and where not in only:
            continue
        started = time.perf_counter()
        try:
            wrong += problem.check(where)
        except LosscError as error:
            wrong.append(f"{where}: {error}")
        except Exception:
            wrong.append(f"{where}: {traceback.format_exc()}")
        seconds[where] += time.perf_counter() - started
    return wrong


if __name__ == "__main__":
    sys.exit(main())
