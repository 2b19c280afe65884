"""A training with everything that has a state: dropout, a schedule, momentum, clipping, accumulation, a weighted loss.

python resumed_training.py DEVICE KIND FIRST LAST SOURCE TARGET     prints the losses of steps FIRST to LAST
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

import lossc
from lossc import nn, optim
from lossc.optim import schedules

RATE = schedules.warmup(schedules.cosine(0.05, 30), 5)
OPTIMIZERS = {"adamw": optim.AdamW(RATE), "nesterov": optim.SGD(RATE, momentum=0.9, nesterov=True)}


def make_step(kind: str, device: Any, seed: int) -> lossc.Step:
    g = lossc.Graph("network", seed)
    x, labels = g.input("x", (None, 6)), g.input("labels", (None,), dtype="i32")
    hidden = nn.Dropout(g, 0.3)(g.silu(nn.Linear(g, "fc1", 6, 32)(x)))
    logits = nn.Linear(g, "fc2", 32, 3)(nn.Dropout(g, 0.1)(hidden))
    g.set_outputs([nn.CrossEntropyLoss(weight=[1.0, 2.0, 0.5], label_smoothing=0.1)(logits, labels)])
    return g.compile_step(OPTIMIZERS[kind], clip_norm=0.5, device=device)


def train(step: lossc.Step, first: int, last: int) -> list[float]:
    losses = []
    for number in range(first, last):
        generator = np.random.default_rng(number)
        batch, labels = generator.standard_normal((16, 6)).astype("f4"), generator.integers(0, 3, 16)
        if number % 3 == 0:
            step.accumulate(x=batch[:5], labels=labels[:5])
        losses.append(float(step(x=batch, labels=labels)[0]))
    return losses


if __name__ == "__main__":
    device, kind, first, last, source, target = sys.argv[1:]
    # Another seed than the first process has: that of the checkpoint counts.
    step = make_step(kind, device, seed=5)
    step.load(source)
    losses = train(step, int(first), int(last))
    step.save(target)
    print(json.dumps(losses))
