"""Signatures that modules make from tables, written down for editors and type checkers: the `.pyi` files beside them.

In: `functional` or `torch`. Out: the text of the stub, from the rows of the table of losses. `make docs` writes it;
`python -m lossc.losses.stubs functional` prints it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

from lossc.ir.frozen import frozen
from lossc.losses.functions import ctc_loss, triplets_by_distance
from lossc.losses.row import RETIRED, Row
from lossc.losses.table import LOSSES

HEAD = '# ruff: noqa\n"""Written by `make docs`; a test compares."""\n'


@frozen
class Text:
    """What a module of functions takes and gives, and the text of its stub before and after the functions."""

    operand: str
    result: str
    imports: str
    rest: str


TEXTS = {
    "functional": Text(
        "ArrayLike", "np.ndarray",
        "from collections.abc import Callable, Sequence\nfrom typing import Any, NoReturn\n\n"
        "import numpy as np\nfrom numpy.typing import ArrayLike\n\n"
        "from lossc import Graph\nfrom lossc.losses.own_arrays import OwnFunction\n\n"
        "Loss = Callable[..., np.ndarray]\n",
        "def function(loss: Graph | str | Callable[..., Any]) -> OwnFunction: ...\n"
        "def value_and_grad(\n    function: Loss,\n    argnums: int | Sequence[int] = 0,\n"
        ") -> Callable[..., tuple[np.ndarray, Any]]: ...",
    ),
    "torch": Text(
        "Tensor", "Tensor",
        "from collections.abc import Callable\nfrom typing import Any, NoReturn\n\n"
        "from torch import Tensor\n\nfrom lossc import Graph\n\nLoss = Callable[..., Tensor]\n",
        "def function(loss: Graph | str | Callable[..., Any]) -> Callable[..., Any]: ...\n"
        "def __getattr__(name: str) -> Any: ...",
    ),
}  # fmt: skip

CTC = f'''def ctc_loss(*arguments: Any, **keywords: Any) -> NoReturn:
    """{ctc_loss.__doc__}"""
'''


def stub(module: str) -> str:
    """The text of `<module>.pyi`."""
    text = TEXTS[module]
    lines = [HEAD, text.imports]
    for row in LOSSES.values():
        lines += [*function_lines(row.name, _signature(row, text.operand), text.result, row.help), ""]
    of_distances = triplets_by_distance({}, min)
    signature = _with_operands(inspect.signature(of_distances), text.operand)
    help = inspect.getdoc(of_distances) or ""
    lines += [*function_lines(of_distances.__name__, signature, text.result, help), "", CTC]
    return "\n".join([*lines, text.rest]) + "\n"


def function_lines(
    name: str, signature: inspect.Signature, result: str, help: str = "", indent: str = "", comment: str = ""
) -> Iterator[str]:
    """A function, or a method where `self` is its first parameter; `comment` stands behind its name."""
    yield f"{indent}def {name}({comment}"
    named = False
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not named:
            named = True
            yield f"{indent}    *,"
        type_ = "" if parameter.annotation is inspect.Parameter.empty else f": {parameter.annotation}"
        default = "" if parameter.default is inspect.Parameter.empty else f" = {_literal(parameter.default)}"
        yield f"{indent}    {parameter.name}{type_}{default},"
    if help:
        yield f"{indent}) -> {result}:"
        lines = f'"""{help.rstrip()}\n"""'.split("\n")
        yield from (f"{indent}    {line}".rstrip() for line in lines)
    else:
        yield f"{indent}) -> {result}: ..."


def _signature(row: Row, operand: str) -> inspect.Signature:
    parameters = row.signature.parameters.values()
    return row.signature.replace(parameters=[p.replace(annotation=_type(row, p.name, operand)) for p in parameters])


def _type(row: Row, name: str, operand: str) -> str:
    if name in row.tensors:
        return operand if name in row.required else f"{operand} | None"
    if name in RETIRED:
        return "bool | None"
    attribute = row.attributes.get(name)
    if attribute is None:
        return "str" if name == "reduction" else "Any"
    return f"{attribute.kind} | None" if attribute.optional or attribute.default is None else attribute.kind


def _with_operands(signature: inspect.Signature, operand: str) -> inspect.Signature:
    """`signature`, whose annotations are texts, with what the module takes in place of Any."""
    parameters = signature.parameters.values()
    return signature.replace(
        parameters=[p.replace(annotation=operand) if p.annotation == "Any" else p for p in parameters]
    )


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


if __name__ == "__main__":
    print(stub(sys.argv[1]), end="")
