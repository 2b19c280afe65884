"""What NumPy, torch and JAX call the things that are here under another name, or written in another way.

In: a name that is not known here. Out: a note that says what to write, in a text or in Python; and arguments of
reductions by the names that they have here.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

from .diagnostics import did_you_mean
from .types import DTYPES

_MEAN = "a mean is reduce_sum, then div by the size: `dim` or `size`, cast to the element type"
_CLIP = "between two bounds is max %x, 0.0, then min %y, 1.0"
_WHERE = "one or the other by a condition is select %condition, %a, %b"
_IN_TEXT: Mapping[str, str] = {
    **dict.fromkeys(("mean", "reduce_mean", "average", "avg"), _MEAN),
    **dict.fromkeys(("sum", "reduce_add"), "reduce_sum adds up along axes"),
    **dict.fromkeys(("square", "sqr"), "a square is mul %x, %x"),
    **dict.fromkeys(("clamp", "clip"), _CLIP),
    **dict.fromkeys(("where", "cond", "ifelse", "if"), _WHERE),
    **dict.fromkeys(("norm", "length"), "a norm is the sqrt of the reduce_sum of mul %x, %x"),
    **dict.fromkeys(("for", "while", "loop", "scan"), "there are no loops: operations take whole arrays"),
    **dict.fromkeys(("ret", "yield", "output"), "a function ends with return %value"),
    **dict.fromkeys(("print", "debug", "assert"), "what `return` names is what can be looked at; `check` refuses data"),
    **dict.fromkeys(("dot", "mm", "bmm", "einsum"), "the product of two matrices is matmul %a, %b"),
}
"""Operations that other languages have. Of the names that there are the nearest would compute something else."""

_OPERATIONS: Mapping[str, str] = {
    "binary_cross_entropy": "bce_loss", "binary_cross_entropy_with_logits": "bce_with_logits_loss",
    "triplet_margin_loss": "triplet_loss", "maximum": "max", "minimum": "min", "subtract": "sub", "multiply": "mul",
    "divide": "div", "negative": "neg", "power": "pow", "absolute": "abs", "greater": "gt", "less": "lt", "equal": "eq",
    "concatenate": "concat", "cat": "concat", "detach": "stop_gradient", "amax": "reduce_max", "amin": "reduce_min",
    "swish": "silu", "permute": "transpose", "view": "reshape",
    "softmax_cross_entropy": "cross_entropy_loss",
}  # fmt: skip

_NOTHING_LIKE_IT = frozenset({
    "sin", "cos", "tan", "sinh", "cosh", "arcsin", "arctan", "arctan2", "arctanh", "round", "trunc", "sort", "argsort",
    "topk", "median", "cumsum", "cumprod", "prod", "unique", "one_hot", "einsum", "roll", "flip", "diff", "conjugate",
    "divmod", "fmax", "fmin", "frexp", "ldexp", "isnat", "rad2deg", "radians", "copysign", "signbit", "vecmat",
})  # fmt: skip
"""What NumPy and torch have and nothing here is like. Of the names that there are the nearest mean something else."""

NO_ELEMENTS = "g.compile(outputs=[x]) makes a function of arrays"
_NO_ELEMENTS = f"while a graph is built its values have no elements; {NO_ELEMENTS}"
_BY_COMPILE = "gradients come from g.compile(grad=True), g.compile_step(...) or lossc.functional.value_and_grad(...)"
_ABOUT_VALUES: Mapping[str, str] = {
    **dict.fromkeys(("item", "numpy", "tolist", "data", "cpu", "cuda", "device", "to"), _NO_ELEMENTS),
    **dict.fromkeys(("backward", "grad", "requires_grad", "requires_grad_"), _BY_COMPILE),
    **dict.fromkeys(("clone", "copy", "contiguous"), "values never change: x itself serves"),
    **dict.fromkeys(("values", "indices"), "the values of torch's pair are x.amax(axis), the indices x.argmax(axis)"),
}
_EXPRESSIONS: Mapping[str, str] = {
    "float": 'x.cast("f32")', "double": 'x.cast("f64")', "half": 'x.cast("f16")', "int": 'x.cast("i32")',
    "long": 'x.cast("i64")', "square": "x ** 2", "where": "condition.select(a, b)", "unsqueeze": "x[:, None]",
    "expand_dims": "x[:, None]", "squeeze": "x[:, 0]", "flatten": "x.reshape(-1)", "ravel": "x.reshape(-1)",
    "swapaxes": "x.transpose([1, 0])", "expand": "x.broadcast_to(shape)", "repeat": "x.broadcast_to(shape)",
    "tile": "x.broadcast_to(shape)", "numel": "x.count()", "dot": "x @ w", "mm": "x @ w", "rsqrt": "1 / x.sqrt()",
    "stack": "x[None].concat(y[None], axis=0)", "norm": "(x * x).sum(axis).sqrt()",
    "var": "((x - x.mean(axis, keepdims=True)) ** 2).mean(axis)",
    "std": "((x - x.mean(axis, keepdims=True)) ** 2).mean(axis).sqrt()", "log2": "x.log() / math.log(2)",
    "log10": "x.log() / math.log(10)", "exp2": "2 ** x", "logaddexp": "y + (x - y).softplus()",
    "hypot": "(x * x + y * y).sqrt()", "ceil": "-(-x).floor()", "isinf": "x.abs() == math.inf",
    "isfinite": "x.abs() < math.inf", "reciprocal": "1 / x", "remainder": "x - y * (x / y).floor()",
    "floor_divide": "(x / y).floor()", "outer": "x[:, None] * y", "zeros_like": "x.constant(0.0)",
    "ones_like": "x.constant(1.0)", "all": 'x.cast("f32").min() > 0', "any": 'x.cast("f32").max() > 0',
}  # fmt: skip
"""What to write in Python for methods of arrays and tensors elsewhere."""


def operation_called(name: str, known: Container[str]) -> str | None:
    """The operation of `known` that has `name` elsewhere: by the table, or a loss without its last word."""
    candidates = (_OPERATIONS.get(name, ""), f"{name}_loss", f"reduce_{name}")
    return next((candidate for candidate in candidates if candidate in known), None)


def notes_in_text(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """What to write for an operation that a text calls `name`."""
    known = list(known)
    if name in _IN_TEXT:
        return (_IN_TEXT[name],)
    if name in _NOTHING_LIKE_IT:
        return ()
    found = operation_called(name, known)
    return did_you_mean(name, known) if found is None else (f"did you mean `{found}`?",)


def notes_in_python(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """What to write for a method of a value or a graph that somebody calls `name`."""
    known = list(known)
    if name in _NOTHING_LIKE_IT:
        return ()
    if name in _ABOUT_VALUES:
        return (_ABOUT_VALUES[name],)
    if name in _EXPRESSIONS:
        return (f"write `{_EXPRESSIONS[name]}`",)
    found = operation_called(name, known)
    return did_you_mean(name, known) if found is None else (f"did you mean `{found}`?",)


_ELEMENT_TYPES: Mapping[str, str] = {
    **{f"float{bits}": f"f{bits}" for bits in (16, 32, 64)}, **{f"int{bits}": f"i{bits}" for bits in (8, 16, 32, 64)},
    "uint8": "u8", "bfloat16": "bf16", "half": "f16", "double": "f64", "float": "f32", "int": "i32", "long": "i64",
    "pred": "bool", "i1": "bool",
}  # fmt: skip
"""Element types as they are called elsewhere."""


def element_type_called(name: str) -> str | None:
    """The element type that has this name elsewhere."""
    return _ELEMENT_TYPES.get(name, name if name in DTYPES else None)


_KEYWORDS: Mapping[str, str] = {"dim": "axis", "keepdim": "keepdims"}

_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("logits", "pred", "preds", "prediction", "predictions", "y_pred", "output", "outputs", "scores"),
                    ("input", "logits", "x", "probs", "log_probs")),
    **dict.fromkeys(("label", "labels", "targets", "truth", "y", "y_true"), ("target", "t", "y")),
    "target": ("t", "y"), "input": ("logits", "x", "probs", "log_probs"), "dim": ("axis", "axes"),
    "axis": ("dim", "axes"), "dims": ("axes", "permutation"), "perm": ("permutation",), "axes": ("axis", "permutation"),
    "end": ("stop",), "type": ("dtype",), "size": ("shape",), "sizes": ("shape",),
    "learning_rate": ("lr",), "weights": ("weight",), "class_weight": ("weight",), "smoothing": ("label_smoothing",),
}  # fmt: skip
"""Arguments of losses elsewhere, and what they may be called here."""


def notes_on_argument(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """What is probably meant by an argument that there is not."""
    known = list(known)
    if name == "sample_weight":
        # The nearest name is the weight of classes.
        return ("weigh what reduction='none' gives, or build a graph, whose losses take it",)
    if name in ("keepdims", "keepdim"):
        return ("what is reduced has no axis left: reshape gives it one of size 1",)
    meant = next((other for other in _ARGUMENTS.get(name, ()) if other in known), None)
    return did_you_mean(name, known) if meant is None else (f"did you mean `{meant}`?",)


def renamed_keywords(keywords: Mapping[str, Any], known: Container[str]) -> dict[str, Any]:
    """torch's names of arguments as NumPy's, where these are the ones that are known; without the `out=None` and
    `dtype=None` with which NumPy's functions call methods of their names."""
    found = {}
    for name, value in keywords.items():
        if name not in known and name in ("out", "dtype") and value is None:
            continue
        other = _KEYWORDS.get(name, name)
        found[other if name not in known and other in known else name] = value
    return found
