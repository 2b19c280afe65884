"""Two classes: malignant or benign, from thirty measurements of 569 tumours (scikit-learn's breast cancer).

`pos_weight` lets a malignant tumour count twice, dropout keeps a small network from learning by heart: a step draws a
new mask for every batch, a prediction drops nothing.

    python samples/binary.py
"""

from __future__ import annotations

import argparse

import numpy as np
from _sample import batches, run, split
from sklearn.datasets import load_breast_cancer

import lossc
from lossc import nn, optim


def main(options: argparse.Namespace) -> None:
    x_all, benign = load_breast_cancer(return_X_y=True)
    data = split(x_all, 1 - benign, standardise=True)

    graph = lossc.Graph("tumours", seed=options.seed)
    x, malignant = graph.input("x", (None, 30)), graph.input("malignant", (None,), dtype="i32")
    hidden = nn.Sequential(nn.Linear(graph, "fc1", 30, 32), graph.relu, nn.Dropout(graph, 0.3))(x)
    logits = nn.Linear(graph, "fc2", 32, 1)(hidden).reshape(malignant.shape)
    loss = nn.BCEWithLogitsLoss(pos_weight=2.0)(logits, malignant)
    graph.set_outputs({"loss": loss, "logits": logits})
    step = graph.compile_step(optim.AdamW(3e-3), clip_norm=1.0, device=options.device)

    generator = np.random.default_rng(options.seed)
    for _ in range(options.epochs):
        for rows in batches(len(data.train_x), 32, generator):
            step(x=data.train_x[rows], malignant=data.train_y[rows])
    (found,) = graph.compile(outputs=[logits], device=options.device)(x=data.test_x)
    sick = data.test_y == 1
    print(f"accuracy {np.mean((found > 0) == sick):.2%}, found {np.mean(found[sick] > 0):.2%} of the malignant ones")


if __name__ == "__main__":
    run(main, "Tell malignant tumours from benign ones.", epochs=30)
