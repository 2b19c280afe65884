"""Losses in LIR text with a few rows of operands, and what their rows should be."""

from __future__ import annotations

import math

import numpy as np
from device_runs import run

from lossc.runtime.device import Device

INF, NAN = math.inf, math.nan

Row = tuple[float, float, float, float]


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def text(loss: str, x: str, target: str, attributes: str = "", result: str = "f32[1]", *operands: str) -> str:
    """The loss, and its gradient by x and by further float operands, such as `w: f32[4]`."""
    inputs = [f"x: {x}", f"t: {target}", *operands]
    names = [f"%{item.split(':')[0]}" for item in inputs]
    asked = [item for item in inputs if item.split(": ")[1].startswith("f") and not item.startswith("t:")]
    grads = [f"%g{item}" for item in asked]
    found = ", ".join(item.split(":")[0] for item in grads)
    return f"""func @f({", ".join("%" + item for item in inputs)}) -> (%loss: {result}, {", ".join(grads)}) {{
      %loss = {loss} {", ".join(names)} {{{attributes}}}
      {found} = grad %loss, {", ".join("%" + item.split(":")[0] for item in asked)}
      return %loss, {found}
    }}"""


def elementwise(loss: str, attributes: str = "") -> str:
    none = 'reduction = "none"'
    return text(loss, "f32[N]", "f32[N]", f"{none}, {attributes}" if attributes else none, "f32[N]")


def assert_rows(device: Device, source: str, rows: list[Row], atol: float = 1e-37) -> None:
    """Rows of x, t, value, derivative by x."""
    x, t, value, derivative = (np.array(column) for column in zip(*rows))
    found = run(source, device, x=x.astype(np.float32), t=t.astype(np.float32))
    # A power of a small number has the relative error of its logarithm, some tens of units.
    np.testing.assert_allclose(found["loss"], value, rtol=5e-6, atol=atol)
    np.testing.assert_allclose(found["gx"], derivative, rtol=5e-6, atol=atol)


C = 20


def by_rows(
    loss: str, attributes: str = 'reduction = "none"', label: str = "i32", c: str = str(C), n: str = "N"
) -> str:
    return text(loss, f"f32[{n}, {c}]", f"{label}[{n}]", attributes, f"f32[{n}]" if "none" in attributes else "f32[1]")


def row(fill: float = 0, **places: float) -> np.ndarray:
    """A row of one number but for the places named: row(at0=1e4)."""
    values = np.full(C, fill, np.float32)
    for name, value in places.items():
        values[int(name.removeprefix("at"))] = value
    return values
