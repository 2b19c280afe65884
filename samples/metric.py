"""Metric learning: digits as points in 8 dimensions, near each other where the digit is the same (scikit-learn's).

The triplet loss asks that an image is closer to another of its digit than to one of any other. Distances then classify:
the test images take the digit of their nearest neighbour.

    python samples/metric.py
"""

from __future__ import annotations

import argparse

import numpy as np
from _sample import batches, run, split
from sklearn.datasets import load_digits

import lossc
from lossc import nn, optim


def main(options: argparse.Namespace) -> None:
    images, digits = load_digits(return_X_y=True)
    data = split(images / 16, digits)

    graph = lossc.Graph("metric", seed=options.seed)
    # One network for all three: its parameters get the sum of three gradients.
    embed = nn.Mlp(graph, "net", 64, 64, 8, "relu")
    roles = ("anchor", "positive", "negative")
    points = {role: embed(graph.input(role, (None, 64))) for role in roles}
    graph.set_outputs({"loss": nn.TripletMarginLoss(margin=1.0, swap=True)(**points), **points})
    step = graph.compile_step(optim.Adam(3e-3), device=options.device)

    generator = np.random.default_rng(options.seed)
    same = {digit: np.flatnonzero(data.train_y == digit) for digit in range(10)}
    other = {digit: np.flatnonzero(data.train_y != digit) for digit in range(10)}
    for _ in range(options.epochs):
        for rows in batches(len(data.train_x), 64, generator):
            chosen = {
                "anchor": rows,
                "positive": [generator.choice(same[digit]) for digit in data.train_y[rows]],
                "negative": [generator.choice(other[digit]) for digit in data.train_y[rows]],
            }
            step(**{role: data.train_x[which] for role, which in chosen.items()})
    place = graph.compile(outputs=["anchor"], device=options.device)
    known, asked = (place(anchor=part)[0] for part in (data.train_x, data.test_x))
    nearest = ((asked[:, None] - known[None]) ** 2).sum(-1).argmin(1)
    print(f"nearest neighbour in 8 dimensions: {np.mean(data.train_y[nearest] == data.test_y):.2%}")


if __name__ == "__main__":
    run(main, "Learn distances between digits.", epochs=15)
