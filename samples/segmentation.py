"""Segmentation: which pixels of a photograph are the flower? (scikit-learn's flower.jpg, halved to 213 x 320.)

The truth is where red exceeds green in the colours; the network sees only grey, a patch of 9 x 9 pixels around each
pixel. It learns from the left half of the picture and is tested on the right one. Logits are [N, 2, H, W]; the loss is
cross-entropy over pixels plus the Dice loss over regions, which share their softmax.

    python samples/segmentation.py
"""

from __future__ import annotations

import argparse

import numpy as np
from _sample import run
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_sample_image

import lossc
from lossc import nn, optim
from lossc.optim import schedules

PATCH, ROWS = 9, 71


def load() -> tuple[np.ndarray, np.ndarray]:
    """Patches [H, W, 81] of the grey picture and the mask [H, W]."""
    colours = load_sample_image("flower.jpg")[:426, :640].astype(np.float32) / 255
    colours = colours.reshape(213, 2, 320, 2, 3).mean((1, 3))
    mask = (colours[..., 0] > colours[..., 1] + 0.05).astype(np.int32)
    grey = np.pad(colours.mean(-1) - colours.mean(), PATCH // 2, mode="reflect")
    return sliding_window_view(grey, (PATCH, PATCH)).reshape(*mask.shape, PATCH * PATCH), mask


def main(options: argparse.Namespace) -> None:
    patches, mask = load()
    half = mask.shape[1] // 2

    graph = lossc.Graph("flower", seed=options.seed)
    x = graph.input("x", (None, ROWS, half, PATCH * PATCH))
    truth = graph.input("truth", (None, ROWS, half), dtype="i32")
    # Linear layers on the last axis are the same for every pixel: a convolution, whose patches are cut out already.
    logits = nn.Mlp(graph, "net", PATCH * PATCH, (64, 32), 2, "relu")(x).transpose((0, 3, 1, 2))
    flower = graph.softmax(logits, axis=1)
    loss = nn.CrossEntropyLoss()(logits, truth) + nn.DiceLoss()(flower, one_hot(flower, truth))
    graph.set_outputs({"loss": loss, "logits": logits})
    rate = schedules.one_cycle(1e-2, max(10, options.epochs * 3))
    step = graph.compile_step(optim.Adam(rate), device=options.device)

    for _ in range(options.epochs):
        for top in range(0, mask.shape[0], ROWS):
            window = np.s_[None, top : top + ROWS, :half]
            step(x=patches[window], truth=mask[window])
    predict = graph.compile(outputs=[logits], device=options.device)
    strips = [predict(x=patches[None, top : top + ROWS, half:])[0] for top in range(0, mask.shape[0], ROWS)]
    found = np.concatenate([strip[0].argmax(0) for strip in strips]) == 1
    right = mask[:, half:] == 1
    overlap = (found & right).sum() / (found | right).sum()
    print(f"pixels {np.mean(found == right):.2%}, intersection over union {overlap:.3f}")


def one_hot(like: lossc.Tensor, labels: lossc.Tensor) -> lossc.Tensor:
    """Labels [N, H, W] as truth values [N, C, H, W], as floats: an operation of its own needs no more than this."""
    return (like.iota(1, "i32") == labels.insert_axis(1, like.shape[1])).cast("f32")


if __name__ == "__main__":
    run(main, "Find a flower in a grey photograph.", epochs=20)
