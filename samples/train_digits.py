"""Train the classifier of digits.lir on scikit-learn's digits: 1,797 images of 8 x 8 pixels.

In: nothing; the data comes with scikit-learn. Out: the accuracy on a fixed stratified fifth of the images for each
seed, their median, and a picture of the loss.

    python samples/train_digits.py --out digits_loss.png
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import lossc
from lossc import optim
from lossc.compiled import as_device

SEEDS = (0, 1, 2, 3, 4)
SPLIT_SEED = 0
PICTURES = (".png", ".svg", ".pdf")
GRAPH = Path(__file__).with_name("digits.lir")


@dataclass(frozen=True)
class Data:
    """Pixels as f32 in [0, 1], shape [N, 64], and labels as i32, shape [N]."""

    train_x: np.ndarray
    train_labels: np.ndarray
    test_x: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True)
class Trained:
    accuracy: float
    losses: np.ndarray


def load_data() -> Data:
    """The same stratified fifth for testing, whatever the seed of the training."""
    images, labels = load_digits(return_X_y=True)
    pixels, labels = (images / 16).astype(np.float32), labels.astype(np.int32)
    parts = train_test_split(pixels, labels, test_size=0.2, stratify=labels, random_state=SPLIT_SEED)
    train_x, test_x, train_labels, test_labels = map(np.asarray, parts)
    return Data(train_x, train_labels, test_x, test_labels)


def train(data: Data, seed: int, epochs: int, batch: int, rate: float, device: str | None, bar: tqdm) -> Trained:
    """One training from new parameters. The loss is kept for each step."""
    graph = lossc.load(GRAPH, seed=seed)
    graph.initialize()
    count = len(data.train_x)
    total = epochs * -(-count // batch)

    def falling(number: int) -> float:
        # From `rate` to nearly 0 along half a cosine; a run-time scalar, so nothing is compiled again.
        return rate * 0.5 * (1 + float(np.cos(np.pi * number / total)))

    step = graph.compile_step(optim.Adam(lr=falling, weight_decay=1e-3), device=device)
    predict = graph.compile(outputs=["logits"], device=device)
    generator = np.random.default_rng(seed)
    losses = []
    for _ in range(epochs):
        order = generator.permutation(count)
        for start in range(0, count, batch):
            rows = order[start : start + batch]
            loss, _ = step(x=data.train_x[rows], labels=data.train_labels[rows])
            losses.append(float(loss[0]))
        bar.set_postfix(seed=seed, loss=f"{losses[-1]:.4f}", refresh=False)
        bar.update()
    (logits,) = predict(x=data.test_x)
    return Trained(float(np.mean(logits.argmax(axis=1) == data.test_labels)), np.array(losses))


def beside(path: Path) -> Path:
    """Where the picture grows, so that it is there whole or not at all."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def draw(results: dict[int, Trained], epochs: int, path: Path) -> None:
    """The mean loss of each epoch for each seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4))
    for seed, trained in results.items():
        means = [part.mean() for part in np.array_split(trained.losses, epochs)]
        axes.plot(range(1, epochs + 1), means, label=f"seed {seed}: {trained.accuracy:.1%}")
    axes.set(xlabel="epoch", ylabel="cross-entropy", yscale="log", title="Digits, 64-128-10, Adam")
    axes.legend(frameon=False)
    figure.tight_layout()
    partial = beside(path)
    try:
        figure.savefig(partial, format=path.suffix[1:], dpi=120)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
        plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the classifier of digits.lir on scikit-learn's digits.")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="one training for each")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=5e-3, help="the first learning rate")
    parser.add_argument("--device", help="an OpenCL device: a number, cpu, gpu, intel, pocl or a part of its name")
    parser.add_argument("--out", type=Path, default=Path("digits_loss.png"), help="the picture of the loss")
    options = parser.parse_args()
    if min(options.epochs, options.batch) < 1:
        parser.error("--epochs and --batch are numbers from 1")
    if not 0 < options.rate < math.inf:
        parser.error(f"--rate {options.rate}: a learning rate is a positive number")
    if options.out.suffix not in PICTURES or options.out.is_dir() or not options.out.absolute().parent.is_dir():
        parser.error(f"--out {options.out}: a picture is a {' or '.join(PICTURES)} file in a folder that exists")
    try:
        # Before the training, not after it.
        beside(options.out).touch()
        beside(options.out).unlink()
    except OSError as error:
        parser.error(f"--out {options.out} cannot be written: {error.strerror}")

    print(f"device: {as_device(options.device)}")
    data = load_data()
    results: dict[int, Trained] = {}
    started = time.perf_counter()
    with tqdm(total=len(options.seeds) * options.epochs, unit="epoch", file=sys.stderr) as bar:
        for seed in options.seeds:
            results[seed] = train(data, seed, options.epochs, options.batch, options.rate, options.device, bar)
    seconds = time.perf_counter() - started
    for seed, trained in results.items():
        print(f"seed {seed}: accuracy {trained.accuracy:.2%}")
    median = statistics.median(trained.accuracy for trained in results.values())
    print(f"median accuracy {median:.2%} on {len(data.test_x)} images, {seconds:.1f} s")
    draw(results, options.epochs, options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    try:
        main()
    except lossc.LosscError as error:
        print(error, file=sys.stderr)
        sys.exit(3 if isinstance(error, lossc.DeviceError) else 1)
    except OSError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
