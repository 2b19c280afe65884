"""Run random functions at every level: python -m tests.fuzzing --help

Each seed is one function; what disagrees is printed, shrunk, as LIR with a sentence. Exit status 1 if anything does.
"""

from __future__ import annotations

import argparse
import sys

from .functions import make_example
from .networks import make_network
from .search import LEVELS, described, disagreement, smallest


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--seeds", type=int, default=1000, help="how many functions")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--at", action="append", choices=LEVELS, help="only there")
    parser.add_argument("--networks", action="store_true", help="functions of matrix products")
    parser.add_argument("--whole", action="store_true", help="do not shrink")
    options = parser.parse_args()
    failed = 0
    for seed in range(options.start, options.start + options.seeds):
        example = (make_network if options.networks else make_example)(seed)
        for level in options.at or LEVELS:
            found = disagreement(example, level)
            if found is not None:
                failed += 1
                small = example if options.whole else smallest(example, level)
                print(f"\nseed {seed} at {level}: {disagreement(small, level) or found}", described(small), sep="\n",
                      flush=True)  # fmt: skip
                break
        if sys.stderr.isatty():
            print(f"\r{seed + 1 - options.start} of {options.seeds}, {failed} disagree", end="", file=sys.stderr)
        elif seed % 100 == 99:
            print(f"up to seed {seed}: {failed} disagree", file=sys.stderr, flush=True)
    print(f"\n{options.seeds} functions, {failed} disagree")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
