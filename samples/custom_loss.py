"""A loss of one's own, twice: as a Python function over values and as a LIR function; both fit a line through outliers.

In: nothing. Out: the line that each loss finds, and how many kernels the loss and its gradient became.

    python samples/custom_loss.py
"""

from __future__ import annotations

import argparse

import numpy as np
from _sample import run

import lossc
from lossc import nn, optim

CHARBONNIER = """
// sqrt((x - t)^2 + epsilon^2): quadratic near 0, linear far away.
func @charbonnier(%x: f32[N], %t: f32[N], %epsilon: f32[]) -> f32[N] {
  %difference = sub %x, %t
  %squared = mul %difference, %difference
  %least = mul %epsilon, %epsilon
  %everywhere = broadcast %least {dims = [], shape = [N]}
  %sum = add %squared, %everywhere
  %loss = sqrt %sum
  return %loss
}
"""


def charbonnier(x: lossc.Tensor, t: lossc.Tensor, epsilon: lossc.Tensor) -> lossc.Tensor:
    """The same in Python."""
    return ((x - t) ** 2 + epsilon**2).sqrt()


def fit(which: str, points: np.ndarray, values: np.ndarray, options: argparse.Namespace) -> tuple[float, float, int]:
    """Slope, intercept, and the number of kernels of the loss and its gradient."""
    graph = lossc.Graph(which)
    x, t = graph.input("x", (None, 1)), graph.input("t", (None,))
    # A run-time input: it can be lowered while training goes on, and nothing is compiled again.
    epsilon = graph.input("epsilon")
    line = nn.Linear(graph, "line", 1, 1)(x).reshape(t.shape)
    if which == "python":
        losses = charbonnier(line, t, epsilon)
    else:
        losses = graph.call(lossc.parse(CHARBONNIER), line, t, epsilon)
    assert isinstance(losses, lossc.Tensor)
    graph.set_outputs({"loss": losses.mean().reshape([1])})
    half = max(1, options.epochs // 2)
    step = graph.compile_step(optim.Adam(optim.schedules.step_decay(0.1, half)), device=options.device)
    for number in range(options.epochs):
        step(x=points[:, None], t=values, epsilon=max(0.05, 1 - number / half))
    slope, intercept = graph.parameters["line.weight"][0, 0], graph.parameters["line.bias"][0]
    return float(slope), float(intercept), len(step.kernels)


def main(options: argparse.Namespace) -> None:
    generator = np.random.default_rng(options.seed)
    points = generator.uniform(-2, 2, 200)
    values = 3 * points - 1 + 0.1 * generator.standard_normal(200)
    values[::7] += 20  # outliers, which a squared error would follow
    for which in ("python", "lir"):
        slope, intercept, kernels = fit(which, points, values, options)
        print(f"{which}: y = {slope:.2f} x {intercept:+.2f}, {kernels} kernels a step")


if __name__ == "__main__":
    run(main, "Fit a line through outliers with a loss of one's own.", epochs=1000)
