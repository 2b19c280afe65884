"""Several labels at once: what holds of a handwritten digit? (scikit-learn's digits, 1,797 images.)

Each image has four answers, independent of each other: is the digit odd, is it prime, is it at least 5, does it enclose
an area? One loss averages over all of them.

    python samples/multilabel.py
"""

from __future__ import annotations

import argparse

import numpy as np
from _sample import batches, run, split
from sklearn.datasets import load_digits

import lossc
from lossc import nn, optim

QUESTIONS = {"odd": (1, 3, 5, 7, 9), "prime": (2, 3, 5, 7), "large": (5, 6, 7, 8, 9), "closed": (0, 6, 8, 9)}


def main(options: argparse.Namespace) -> None:
    images, digits = load_digits(return_X_y=True)
    answers = np.stack([np.isin(digits, members) for members in QUESTIONS.values()], axis=1)
    data = split(images / 16, answers)

    graph = lossc.Graph("questions", seed=options.seed)
    x, truth = graph.input("x", (None, 64)), graph.input("truth", (None, len(QUESTIONS)), dtype="bool")
    logits = nn.Mlp(graph, "net", 64, 64, len(QUESTIONS), "gelu")(x)
    right = ((logits > 0).cast("f32") == truth.cast("f32")).cast("f32").mean().reshape([1])
    graph.set_outputs({"loss": nn.MultiLabelSoftMarginLoss()(logits, truth), "right": right})
    step = graph.compile_step(optim.Adam(5e-3), device=options.device)

    generator = np.random.default_rng(options.seed)
    loss, share = np.zeros(1), np.zeros(1)
    for _ in range(options.epochs):
        for rows in batches(len(data.train_x), 64, generator):
            loss, share = step(x=data.train_x[rows], truth=data.train_y[rows])
    print(f"last batch: loss {loss[0]:.4f}, {share[0]:.1%} of the answers right")
    (found,) = graph.compile(outputs=[logits], device=options.device)(x=data.test_x)
    for question, guessed, true in zip(QUESTIONS, (found > 0).T, data.test_y.T):
        print(f"{question}: {np.mean(guessed == true):.2%}")
    print(f"all four right: {np.mean(((found > 0) == data.test_y).all(1)):.2%}")


if __name__ == "__main__":
    run(main, "Answer four questions about each digit.", epochs=20)
