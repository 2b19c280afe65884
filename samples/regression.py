"""Regression: how far diabetes goes in a year, from ten measurements of 442 patients (scikit-learn's diabetes).

The Huber loss follows far-off patients less than squares would. Its delta is a run-time value: it is lowered while
training goes on, and nothing is compiled again.

    python samples/regression.py
"""

from __future__ import annotations

import argparse

import numpy as np
from _sample import batches, run, split
from sklearn.datasets import load_diabetes

import lossc
from lossc import nn, optim
from lossc.optim import schedules


def main(options: argparse.Namespace) -> None:
    x_all, y_all = map(np.asarray, load_diabetes(return_X_y=True))
    centre, scale = y_all.mean(), y_all.std()
    data = split(x_all, ((y_all - centre) / scale).astype(np.float32), standardise=True)

    graph = lossc.Graph("regression", seed=options.seed)
    x, y, delta = graph.input("x", (None, 10)), graph.input("y", (None,)), graph.input("delta")
    predicted = nn.Mlp(graph, "net", 10, 16, 1, "silu")(x).reshape(y.shape)
    graph.set_outputs({"loss": graph.huber_loss(predicted, y, delta=delta), "predicted": predicted})
    rate = schedules.cosine(5e-3, options.epochs * -(-len(data.train_x) // 32))
    step = graph.compile_step(optim.AdamW(rate, weight_decay=0.1), device=options.device)

    generator = np.random.default_rng(options.seed)
    for epoch in range(options.epochs):
        for rows in batches(len(data.train_x), 32, generator):
            step(x=data.train_x[rows], y=data.train_y[rows], delta=max(0.5, 2 - epoch / 20))
    (found,) = graph.compile(outputs=[predicted], device=options.device)(x=data.test_x)
    error = np.abs(found - data.test_y).mean() * scale
    explained = 1 - ((found - data.test_y) ** 2).sum() / ((data.test_y - data.test_y.mean()) ** 2).sum()
    print(f"mean absolute error {error:.1f} of {y_all.min():.0f} to {y_all.max():.0f}, R^2 {explained:.3f}")


if __name__ == "__main__":
    run(main, "Predict the progress of diabetes.", epochs=60)
