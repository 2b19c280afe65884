"""Losses as objects, for `lossc.nn`: every loss of the IR as a class, with torch's names where torch has the loss.

In: the losses of the IR, and the order of torch's constructors. Out: one class a loss, made from its signature: what is
set once (weights, reduction, margins) is an argument of the constructor, what comes with every batch one of the call.
A new loss has its class by itself. `classes.pyi` is written from the same signatures, for editors and type
checkers: `python -m lossc.losses.classes` prints it, `make docs` writes it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, count
from typing import Any
from weakref import WeakKeyDictionary

from lossc.calls import SAMPLE_WEIGHT, call_operation
from lossc.errors import RefusedCall
from lossc.graph import GraphBuilder
from lossc.ir.builder import Builder
from lossc.ir.composites import COMPOSITES, Composite
from lossc.ir.diagnostics import LirError
from lossc.ir.function import Value
from lossc.ir.losses._reduction import EMPTY, REDUCTIONS
from lossc.ir.other_words import notes_on_argument
from lossc.ir.tensor import Tensor
from lossc.losses.stubs import HEAD, function_lines
from lossc.losses.table import MORE_REDUCTIONS

# Words of operations that are not written like other words in a class's name.
WORDS = {"mse": "MSE", "bce": "BCE", "nll": "NLL", "kl": "KL", "js": "JS", "nce": "NCE", "multilabel": "MultiLabel"}
RENAMED = {"TripletLoss": "TripletMarginLoss"}

# The arguments of torch's constructors in their order, without the two that torch has given up. Others follow by name.
TORCH_ORDER: Mapping[str, tuple[str, ...]] = {
    "CrossEntropyLoss": ("weight", "ignore_index", "reduction", "label_smoothing"),
    "NLLLoss": ("weight", "ignore_index", "reduction"),
    "BCELoss": ("weight", "reduction"),
    "BCEWithLogitsLoss": ("weight", "reduction", "pos_weight"),
    "MSELoss": ("reduction",),
    "L1Loss": ("reduction",),
    "SmoothL1Loss": ("reduction", "beta"),
    "HuberLoss": ("reduction", "delta"),
    "KLDivLoss": ("reduction", "log_target"),
    "PoissonNLLLoss": ("log_input", "full", "eps", "reduction"),
    "GaussianNLLLoss": (),
    "CosineEmbeddingLoss": ("margin", "reduction"),
    "HingeEmbeddingLoss": ("margin", "reduction"),
    "MarginRankingLoss": ("margin", "reduction"),
    "SoftMarginLoss": ("reduction",),
    "MultiMarginLoss": ("p", "margin", "weight", "reduction"),
    "MultiLabelMarginLoss": ("reduction",),
    "MultiLabelSoftMarginLoss": ("weight", "reduction"),
    "TripletMarginLoss": ("margin", "p", "eps", "swap", "reduction"),
}

_TYPES = {"int": "int", "float": "float", "bool": "bool", "str": "str"}
CHOICES: Mapping[str, tuple[str, ...]] = {"reduction": REDUCTIONS, "empty": EMPTY}
WEIGHT_TYPE = "Tensor | ArrayLike | None"


class Loss:
    """A loss with its settings, called on values of a graph.

    A weight may be a value of the graph, or an array or list: that becomes an input `<operation>.<weight>` of the
    graph, whose values the graph keeps with its parameters and which is never trained.
    """

    operation = ""
    call_signature = inspect.Signature()

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        # What the inputs of each graph are that hold weights, as long as there is the graph.
        self._values: WeakKeyDictionary[Builder, dict[str, Value]] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self.settings), ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.settings.items())})"

    def __call__(self, *operands: Any, **keywords: Any) -> Tensor:
        values = _bound(f"{type(self).__name__}(...)", self.call_signature, operands, keywords).arguments
        first = next(iter(values.values()))
        if not isinstance(first, Tensor):
            raise LirError(f"a loss is called on values of a graph, found {type(first).__name__}",
                           "lossc.functional has losses of arrays, lossc.torch of tensors")  # fmt: skip
        names = {operand.rstrip("?") for operand in COMPOSITES[self.operation].operands}
        settings = {
            name: self._buffer(first, name, value)
            if name in names and not isinstance(value, (Tensor, int, float))
            else value
            for name, value in self.settings.items()
            if value is not None
        }
        result = call_operation(first.builder, self.operation, (), {**values, **settings})
        assert isinstance(result, Tensor)
        return result

    def _buffer(self, first: Tensor, name: str, array: Any) -> Tensor:
        """The input of the graph that holds `array`, the same for every call in one graph."""
        builder = first.builder
        known = self._values.setdefault(builder, {})
        if name not in known:
            if not isinstance(builder, GraphBuilder):
                raise LirError(f"{name} of {type(self).__name__} is an array, and the values belong to no lossc.Graph",
                               "make it a value there")  # fmt: skip
            graph, base = builder.graph, f"{self.operation}.{name}"
            names = chain([base], (f"{base}_{number}" for number in count(2)))
            free = next(candidate for candidate in names if candidate not in graph.parameters)
            known[name] = graph.buffer(free, array, "f64" if first.dtype == "f64" else "f32").value
        return Tensor(known[name], builder)


def class_name(operation: str) -> str:
    """`bce_with_logits_loss` is `BCEWithLogitsLoss`."""
    name = "".join(WORDS.get(word, word.capitalize()) for word in operation.split("_"))
    return RENAMED.get(name, name)


def constructor_arguments(composite: Composite) -> dict[str, tuple[str, Any]]:
    """What is set once, with its type and default: attributes and weights, first those of torch in their order."""
    optional = [operand.rstrip("?") for operand in composite.operands if operand.endswith("?")]
    weights = [name for name in optional if name not in composite.attributes and name.endswith("weight")]
    found: dict[str, tuple[str, Any]] = dict.fromkeys(weights, (WEIGHT_TYPE, None))
    for name, attribute in composite.attributes.items():
        if name != "operands":
            kind = _TYPES[attribute.kind] + (" | Tensor" if name in optional else "")
            found[name] = (kind if attribute.default is not None else f"{kind} | None", attribute.default)
    order = TORCH_ORDER.get(class_name(composite.name), tuple(found))
    return {name: found[name] for name in (*order, *(name for name in found if name not in order))}


def call_arguments(composite: Composite) -> dict[str, bool]:
    """What comes with every batch, and whether it may be left out."""
    settings = constructor_arguments(composite)
    operands = {operand.rstrip("?"): operand.endswith("?") for operand in composite.operands}
    return {name: optional for name, optional in operands.items() if name not in settings}


def _signature(composite: Composite) -> inspect.Signature:
    positional = TORCH_ORDER.get(class_name(composite.name), tuple(constructor_arguments(composite)))
    parameters = [
        inspect.Parameter(
            name, inspect.Parameter.POSITIONAL_OR_KEYWORD if name in positional else inspect.Parameter.KEYWORD_ONLY,
            default=default, annotation=kind,
        )
        for name, (kind, default) in constructor_arguments(composite).items()
    ]  # fmt: skip
    return inspect.Signature(parameters)


def _bound(
    name: str, signature: inspect.Signature, arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> inspect.BoundArguments:  # fmt: skip
    """The arguments by their names. Raises RefusedCall."""
    try:
        return signature.bind(*arguments, **keywords)
    except TypeError as error:
        known = list(signature.parameters)
        takes = f"it takes: {', '.join(known)}"
        unknown = next((key for key in keywords if key not in known), None)
        if unknown is None:
            raise RefusedCall(f"{name}: {error}", takes, code="LIR0025") from None
        message = f"{name}: got an unexpected keyword argument {unknown!r}"
        near = ("it stands where the loss is called: loss(x, t, sample_weight=w)",) if unknown == SAMPLE_WEIGHT else \
            notes_on_argument(unknown, known)  # fmt: skip
        raise RefusedCall(message, *near, takes, code="LIR0023") from None


def _call_signature(composite: Composite) -> inspect.Signature:
    parameters = [
        inspect.Parameter(
            name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="Tensor | None" if optional else "Tensor",
            default=None if optional else inspect.Parameter.empty,
        )
        for name, optional in call_arguments(composite).items()
    ]  # fmt: skip
    weight = inspect.Parameter(SAMPLE_WEIGHT, inspect.Parameter.KEYWORD_ONLY, annotation="Tensor | None", default=None)
    return inspect.Signature([*parameters, weight], return_annotation="Tensor")


def _class_of(composite: Composite) -> type[Loss]:
    signature = _signature(composite)
    choices = {name: CHOICES[name] for name in signature.parameters if name in CHOICES}
    if "reduction" in choices:
        choices["reduction"] += MORE_REDUCTIONS.get(composite.name, ())

    def __init__(self: Loss, *arguments: Any, **keywords: Any) -> None:
        bound = _bound(class_name(composite.name), signature, arguments, keywords)
        bound.apply_defaults()
        for name, accepted in choices.items():
            if bound.arguments[name] not in accepted:
                raise LirError(f"{class_name(composite.name)}: unknown {name} {bound.arguments[name]!r}",
                               f"expected one of {', '.join(accepted)}")  # fmt: skip
        Loss.__init__(self, **bound.arguments)

    def __call__(self: Loss, *operands: Any, **keywords: Any) -> Tensor:
        return Loss.__call__(self, *operands, **keywords)

    call = _call_signature(composite)
    # What `help` and tab completion show.
    for function, shown in ((__init__, signature), (__call__, call)):
        function.__signature__ = _of_self(shown)
    body = {
        "__init__": __init__, "__call__": __call__, "__doc__": inspect.getdoc(composite.function),
        "operation": composite.name, "call_signature": call, "__module__": "lossc.nn",
    }  # fmt: skip
    return type(class_name(composite.name), (Loss,), body)


def _of_self(signature: inspect.Signature) -> inspect.Signature:
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return signature.replace(parameters=[this, *signature.parameters.values()])


LOSSES: Mapping[str, type[Loss]] = {
    class_name(composite.name): _class_of(composite) for composite in COMPOSITES.values() if composite.kind == "loss"
}

__all__ = ["Loss", *LOSSES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> type[Loss]:
    if name not in LOSSES:
        raise AttributeError(f"there is no loss {name}")
    return LOSSES[name]


def stub() -> str:
    """The text of `classes.pyi`."""
    return "\n".join(_stub_lines()) + "\n"


def _stub_lines() -> Iterator[str]:
    yield HEAD
    yield "from collections.abc import Mapping"
    yield "from typing import Any\n"
    yield "from numpy.typing import ArrayLike\n"
    yield "from lossc.ir.tensor import Tensor\n"
    names = sorted(["Loss", *LOSSES])
    yield "__all__ = [\n" + "".join(f'    "{name}",\n' for name in names) + "]\n"
    yield "class Loss:"
    yield "    operation: str"
    yield "    settings: dict[str, Any]"
    yield "    def __init__(self, **settings: Any) -> None: ..."
    yield "    def __call__(self, *operands: Any, **keywords: Any) -> Tensor: ...\n"
    for name, cls in sorted(LOSSES.items()):
        composite = COMPOSITES[cls.operation]
        yield f"class {name}(Loss):"
        yield f'    """{composite.help}"""\n'
        yield from function_lines("__init__", _of_self(_signature(composite)), "None", indent="    ")
        yield from function_lines("__call__", _of_self(cls.call_signature), "Tensor", indent="    ",
                                  comment="  # type: ignore[override]")  # fmt: skip
        yield ""
    yield "LOSSES: Mapping[str, type[Loss]]"
    yield "TORCH_ORDER: Mapping[str, tuple[str, ...]]\n"
    yield "def stub() -> str: ..."
    yield "def class_name(operation: str) -> str: ..."


if __name__ == "__main__":
    print(stub(), end="")
