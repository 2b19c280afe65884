"""Programs to be compiled for a GPU, their arrays, and what is right."""

from __future__ import annotations

import numpy as np

from lossc.compiler import Compiled
from lossc.ir.kernel import (
    Kernel,
)


def cross_entropy(columns: int | str, rows: int | str = "N", dtype: str = "f32") -> str:
    x = f"{dtype}[{rows}, {columns}]"
    return f"""func @f(%x: {x}, %t: i32[{rows}]) -> (%loss: f32[1], %g: {x}) {{
      %loss = cross_entropy_loss %x, %t {{label_smoothing = 0.1}}
      %g = grad %loss, %x
      return %loss, %g
    }}"""


PIXELS = """func @f(%x: f32[N, {c}, H, W], %t: u8[N, H, W]) -> (%loss: f32[1], %g: f32[N, {c}, H, W]) {{
  %loss = cross_entropy_loss %x, %t
  %g = grad %loss, %x
  return %loss, %g
}}"""

BCE = """func @f(%x: {d}[N, {c}], %t: {d}[N, {c}]) -> (%loss: f32[1], %g: {d}[N, {c}]) {{
  %wide = cast %x {{dtype = f32}}
  %target = cast %t {{dtype = f32}}
  %loss = bce_with_logits_loss %wide, %target
  %g = grad %loss, %x
  return %loss, %g
}}"""


def arrays_for(compiled: Compiled, rows: int, columns: int, classes: int = 0, pixels: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng([rows, columns])
    found = {}
    for name, type_ in compiled.program.inputs:
        sizes = {"N": rows, "C": columns, "H": pixels, "W": pixels}
        shape = tuple(dim if isinstance(dim, int) else sizes[str(dim)] for dim in type_.shape)
        if type_.dtype in ("i32", "u8"):
            found[name] = generator.integers(0, classes or columns, shape).astype(
                {"u8": np.uint8}.get(type_.dtype, np.int32)
            )
        else:
            found[name] = (3 * generator.normal(size=shape)).astype(np.float16 if type_.dtype == "f16" else np.float32)
    return found


def main_kernels(compiled: Compiled) -> list[Kernel]:
    """The first launch of each variant of the last step."""
    return [variant.launches[0].kernel for variant in compiled.program.steps[-1].variants]


def expected_of(columns: int, x: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    """Loss and gradient of `cross_entropy` in float64."""
    x = x.astype(np.float64)
    largest = x.max(1, keepdims=True)
    e = np.exp(x - largest)
    q = np.full(x.shape, 0.1 / columns)
    q[np.arange(len(t)), t] += 0.9
    sums = e.sum(1, keepdims=True)
    loss = (np.log(sums)[:, 0] + largest[:, 0] - (q * x).sum(1)).mean()
    return loss, (e / sums - q) / len(t)


def assert_right(found: list[np.ndarray], given: dict[str, np.ndarray]) -> None:
    loss, gradient = expected_of(given["x"].shape[1], given["x"], given["t"])
    np.testing.assert_allclose(found[0], [loss], rtol=2e-6)
    np.testing.assert_allclose(found[1].astype(np.float64), gradient, rtol=1e-5, atol=1e-6 * np.abs(gradient).max())
