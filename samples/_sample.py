"""What the samples share: their arguments, shuffled batches, a fixed fifth for testing, and exit statuses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split

import lossc
from lossc.compiled import as_device


@dataclass(frozen=True)
class Data:
    """Inputs as f32 and targets, one row a sample, in two parts."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def split(x: np.ndarray, y: np.ndarray, standardise: bool = False) -> Data:
    """The same fifth for testing whatever the seed. Columns get mean 0 and deviation 1 where that is asked for."""
    train_x, test_x, train_y, test_y = map(np.asarray, train_test_split(x, y, test_size=0.2, random_state=0))
    if standardise:
        mean, deviation = train_x.mean(0), train_x.std(0)
        train_x, test_x = (train_x - mean) / deviation, (test_x - mean) / deviation
    return Data(train_x.astype(np.float32), train_y, test_x.astype(np.float32), test_y)


def batches(count: int, size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """The rows 0 to count in a new order, `size` at a time."""
    order = generator.permutation(count)
    for start in range(0, count, size):
        yield order[start : start + size]


def run(main: Callable[[argparse.Namespace], None], description: str, epochs: int) -> None:
    """Call `main` with the options of the command line. Exit status: 0, 1 what the user gave, 2 usage, 3 the device,
    130 Ctrl-C."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", help="an OpenCL device: a number, cpu, gpu, intel, pocl or a part of its name")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.epochs < 1 or options.seed < 0:
        parser.error("--epochs is a number from 1, --seed one from 0")
    try:
        print(f"device: {as_device(options.device)}")
        main(options)
    except lossc.LosscError as error:
        print(error, file=sys.stderr)
        sys.exit(3 if isinstance(error, lossc.DeviceError) else 1)
    except OSError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
