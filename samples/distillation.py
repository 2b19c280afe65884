"""Distillation: a small network learns from a large one what digits look like (scikit-learn's digits).

The teacher has 128 hidden units and knows all labels; the student has 8 and is told the labels of one image in ten.
On the others it learns from the teacher's softened answers. `sample_weight` says which images have a label, the
temperature is a run-time value.

    python samples/distillation.py
"""

from __future__ import annotations

import argparse

import numpy as np
from _sample import Data, batches, run, split
from sklearn.datasets import load_digits

import lossc
from lossc import nn, optim


def accuracy(graph: lossc.Graph, data: Data, device: str | None) -> float:
    (logits,) = graph.compile(outputs=["logits"], device=device)(x=data.test_x)
    return float(np.mean(logits.argmax(1) == data.test_y))


def train_teacher(data: Data, options: argparse.Namespace) -> lossc.Graph:
    graph = lossc.Graph("teacher", seed=options.seed)
    x, labels = graph.input("x", (None, 64)), graph.input("labels", (None,), dtype="i32")
    logits = nn.Mlp(graph, "net", 64, 128, 10, "relu")(x)
    graph.set_outputs({"loss": graph.cross_entropy_loss(logits, labels), "logits": logits})
    step = graph.compile_step(optim.Adam(3e-3), device=options.device)
    generator = np.random.default_rng(options.seed)
    for _ in range(options.epochs):
        for rows in batches(len(data.train_x), 32, generator):
            step(x=data.train_x[rows], labels=data.train_y[rows])
    return graph


def train_student(data: Data, answers: np.ndarray, share: float, options: argparse.Namespace) -> lossc.Graph:
    """`share` of the loss is the teacher's; with 0 the student sees the few labels alone."""
    graph = lossc.Graph("student", seed=options.seed)
    x, labels = graph.input("x", (None, 64)), graph.input("labels", (None,), dtype="i32")
    teacher, temperature = graph.input("teacher", (None, 10)), graph.input("temperature")
    labelled = graph.input("labelled", (None,))
    logits = nn.Mlp(graph, "net", 64, 8, 10, "relu")(x)
    told = graph.cross_entropy_loss(logits, labels, sample_weight=labelled, empty="zero")
    shown = graph.distillation_loss(logits, teacher, temperature=temperature)
    graph.set_outputs({"loss": told * (1 - share) + shown * share, "logits": logits})
    step = graph.compile_step(optim.Adam(5e-3), device=options.device)
    generator = np.random.default_rng(options.seed)
    known = np.arange(len(data.train_x)) % 10 == 0
    for epoch in range(2 * options.epochs):
        for rows in batches(len(data.train_x), 32, generator):
            step(x=data.train_x[rows], labels=data.train_y[rows], labelled=known[rows].astype(np.float32),
                 teacher=answers[rows], temperature=max(1.0, 4 - epoch / 10))  # fmt: skip
    return graph


def main(options: argparse.Namespace) -> None:
    images, digits = load_digits(return_X_y=True)
    data = split(images / 16, digits)
    teacher = train_teacher(data, options)
    (answers,) = teacher.compile(outputs=["logits"], device=options.device)(x=data.train_x)
    print(f"teacher: {accuracy(teacher, data, options.device):.2%}")
    for name, share in (("student alone", 0.0), ("student with the teacher", 0.9)):
        student = train_student(data, answers, share, options)
        print(f"{name}: {accuracy(student, data, options.device):.2%}")


if __name__ == "__main__":
    run(main, "Teach a small network what a large one knows.", epochs=20)
