"""Write docs/losses.md: every loss from its docstring, with its names elsewhere in lossc. `make docs` runs this.

In: the losses of the IR. Out: Markdown; a test compares the file with what this makes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path

from lossc.ir.composites import COMPOSITES, Composite
from lossc.ir.ops import REQUIRED
from lossc.losses.classes import class_name
from lossc.losses.table import LOSSES

PAGE = Path(__file__).with_name("losses.md")
FIELDS = ("Formula", "Shapes", "Rules", "Gradient", "Kink", "Source")
"""What every docstring of a loss has after its first line."""

_HEAD = """\
# Losses

This page is written by `make docs` from the docstrings in `ir/losses/`. Each loss is an operation of LIR, a method of
`Graph`, a class of `lossc.nn` and a function of `lossc.functional` and `lossc.torch` (`F.`), under the names given.

For all of them:

- `reduction` is `"mean"`, `"sum"` or `"none"`. A reduced loss has shape `[1]` in LIR and in graphs, and `[]` in `F.`.
- Every float operand has a gradient on request, by default only parameters do. An upstream gradient is honoured,
  element by element where the loss is unreduced. Gradients can be differentiated again.
- Operands may be f64, f32, f16 or bf16. 16-bit floats are storage: arithmetic is in f32, a gradient has the type of
  its operand, a reduced loss of 16-bit input is f32 (`lossc.torch`: torch's type). Labels are i8, u8, i16, i32 or i64;
  an elementwise target may be an integer, truth value or float of any type.
- Operands have one shape in LIR; graphs and `F.` broadcast them as NumPy does. `weight` and `pos_weight` broadcast,
  also in LIR; in `F.` the `weight` of `mse_loss`, `l1_loss` and `huber_loss` has the input's shape, as in torch.
- In graphs every loss takes `sample_weight`, of the shape of the unreduced loss or its first axes: the mean is
  sum(sample_weight * loss) / sum(sample_weight * d), where d is what the mean divides by element by element.
- A parameter written *number or value* is an attribute, and may also be a value of shape `[]` or `[1]` that comes with
  every run: changing it compiles nothing.
- NaN in means NaN out, in that row; empty batches give sum 0 and mean NaN. Results are the same bits from run to run.
- Kernels in f32 have exponentials and logarithms of their own where the range of the operand is known, and a tanh for
  all numbers: exp of what is not positive is within 2.2 ulp down to -40 and 3.3 below, expm1 within 1.1, log within
  0.7, log1p within 1.25 and tanh within 2 (one ulp is 2^-23 of the result). Tests hold this for all numbers to which
  operands are reduced and for a sample of the others. Elsewhere they are the driver's. log1p and tanh divide, and are
  that exact where division is rounded correctly, as it is on CPUs; OpenCL allows it 2.5 ulp, as some GPUs may have it:
  then log1p between -1/2 and 1 is within 2.7 and tanh within 4.6.
"""


def page() -> str:
    """The text of docs/losses.md."""
    parts = [_HEAD, *(f"## {title}\n\n{_contents(losses)}" for title, losses in _by_module().items())]
    return "\n".join(parts)


def fields_of(composite: Composite) -> Mapping[str, str]:
    """The fields of a loss's docstring by name, each on one line; the first line is `Summary`."""
    head, *rest = re.split(r"^([A-Z][a-z]+): ", inspect.getdoc(composite.function) or "", flags=re.MULTILINE)
    names, texts = ["Summary", *rest[::2]], [head, *rest[1::2]]
    return {name: re.sub(r"\s*\n\s*", " ", text).strip() for name, text in zip(names, texts)}


def _by_module() -> dict[str, list[Composite]]:
    """The losses in the order of their files, under the first sentence of each file."""
    found: dict[str, list[Composite]] = {}
    for composite in COMPOSITES.values():
        if composite.kind == "loss":
            module = inspect.getmodule(composite.function)
            title = (inspect.getdoc(module) or "").split("\n")[0].split(". ")[0].rstrip(".")
            found.setdefault(title, []).append(composite)
    return found


def _contents(losses: list[Composite]) -> str:
    return "\n".join(_entry(composite) for composite in losses)


def _entry(composite: Composite) -> str:
    fields = fields_of(composite)
    lines = [
        f"### {composite.name}",
        "",
        fields["Summary"],
        "",
        f"    {_signature(composite)}",
        "",
        _names(composite),
        "",
    ]
    lines += [f"- **{name}.** {_plain(fields[name])}" for name in FIELDS]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text in which Markdown finds nothing to format, except what stands in backticks."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_|<])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def _signature(composite: Composite) -> str:
    operands = [name for name in composite.operands if name.rstrip("?") not in composite.attributes]
    attributes = [_attribute(composite, name) for name in composite.attributes if name != "operands"]
    return f"{composite.name}({', '.join([*operands, *attributes])})"


def _attribute(composite: Composite, name: str) -> str:
    default = composite.attributes[name].default
    value = "" if default is REQUIRED else f" = {default!r}"
    return f"{name}{value}{' (number or value)' if name + '?' in composite.operands else ''}"


def _names(composite: Composite) -> str:
    functions = [f"`F.{row.name}`" for row in LOSSES.values() if row.documented == composite.name]
    return f"Also {', '.join([*functions, f'`nn.{class_name(composite.name)}`'])}."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
