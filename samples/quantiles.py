"""A loss in LIR text: between which bounds will diabetes go in a year, for four patients of five?

`pinball.lir` holds the loss as a function with a gradient of its own; the graph calls it as any other operation, and
it is fused with the rest. Two networks learn the 10 % and the 90 % quantile.

    python samples/quantiles.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from _sample import batches, run, split
from sklearn.datasets import load_diabetes

import lossc
from lossc import nn, optim

PINBALL = Path(__file__).with_name("pinball.lir")


def main(options: argparse.Namespace) -> None:
    x_all, y_all = map(np.asarray, load_diabetes(return_X_y=True))
    data = split(x_all, ((y_all - y_all.mean()) / y_all.std()).astype(np.float32), standardise=True)

    graph = lossc.Graph("quantiles", seed=options.seed)
    x, y = graph.input("x", (None, 10)), graph.input("y", (None,))
    bounds = {name: nn.Mlp(graph, name, 10, 8, 1, "tanh")(x).reshape(y.shape) for name in ("low", "high")}
    pinball = lossc.load(PINBALL, function="pinball")
    low_loss, high_loss = (
        graph.call(pinball, bounds[name], y, y.constant(q)) for name, q in (("low", 0.1), ("high", 0.9))
    )
    graph.set_outputs({"loss": graph.add(low_loss, high_loss).mean().reshape([1]), **bounds})
    step = graph.compile_step(optim.AdamW(5e-3, weight_decay=0.1), device=options.device)

    generator = np.random.default_rng(options.seed)
    for _ in range(options.epochs):
        for rows in batches(len(data.train_x), 32, generator):
            step(x=data.train_x[rows], y=data.train_y[rows])
    low, high = graph.compile(outputs=["low", "high"], device=options.device)(x=data.test_x)
    inside = np.mean((low <= data.test_y) & (data.test_y <= high))
    width = np.mean(high - low) / (np.quantile(data.test_y, 0.9) - np.quantile(data.test_y, 0.1))
    print(f"inside the bounds: {inside:.1%} of {len(low)} patients, {width:.2f} times as wide as without the network")


if __name__ == "__main__":
    run(main, "Predict bounds with a loss in LIR text.", epochs=60)
