"""Functions seen from a call: the dimension names of the callee take the sizes of the operands.

In: a function (its inputs and outputs are enough) and the types of the operands. Out: what each dimension
name of the callee stands for at this call, and the operation itself. The parser and the verifier make calls
with it, the inliner renames dimensions with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from .diagnostics import LirError, Span
from .function import Function, Op, Value
from .types import Dim, DimLike, Type, bind_dim, dim_names, multiply_dims

CALLED_BY = {"func": "call", "kernel": "launch"}


def unify(function: Function, operand_types: Sequence[Type]) -> dict[str, DimLike]:
    """What each dimension name of the inputs stands for, in terms of the caller's dimensions.

    A name is first taken from where it stands alone, `[B]`, then from products in which all else is known, in
    the order of the inputs. Raises LirError where an operand does not fit.
    """
    check_input_count(function, len(operand_types))
    pairs: list[tuple[DimLike, DimLike]] = []
    for value, found in zip(function.inputs, operand_types):
        if found.dtype != value.type.dtype or found.rank != value.type.rank:
            raise _misfit(function, value, found)
        pairs += zip(value.type.shape, found.shape)
    sizes = _solve(pairs)
    for value, found in zip(function.inputs, operand_types):
        if substitute(value.type, sizes) != found or not names_of_dimensions([value]) <= sizes.keys():
            names = sorted(names_of_dimensions([value]))
            notes = [f"here {name} is {sizes[name]}" for name in names if name in sizes]
            notes += [f"no operand gives the size of {name} alone" for name in names if name not in sizes]
            raise _misfit(function, value, found, *notes)
    return sizes


def check_input_count(function: Function, found: int) -> None:
    """Raise LirError unless a function has that many inputs."""
    if found != len(function.inputs):
        expected = ", ".join(f"%{value.name}: {value.type}" for value in function.inputs) or "none"
        raise LirError(f"@{function.name} takes the operands ({expected}), found {found}", code="LIR0047")


def substitute(type_: Type, sizes: Mapping[str, DimLike]) -> Type:
    """`type_` with its dimension names replaced, all at once."""
    return type_.with_shape(bind_dim(dim, sizes) for dim in type_.shape)


def make_call(
    name: str,
    function: Function,
    operands: Sequence[Value],
    hints: Sequence[str] = (),
    span: Span | None = None,
) -> Op:
    """A checked `call` or `launch`. Raises LirError placed at `span`."""
    try:
        if name != CALLED_BY.get(function.kind):
            raise LirError(f"`{name}` of @{function.name}, which is a {function.kind}",
                           "`call` takes functions, `launch` takes kernels", code="LIR0043")  # fmt: skip
        sizes = unify(function, [operand.type for operand in operands])
        unknown = sorted(names_of_dimensions(function.outputs) - set(sizes))
        if unknown:
            raise LirError(f"no operand gives the size of {unknown[0]} in a result of @{function.name}",
                           code="LIR0049")  # fmt: skip
    except LirError as error:
        raise error.at(span) from None
    names = [*hints, *[""] * (len(function.outputs) - len(hints))]
    results = tuple(
        Value(hint or output_name, substitute(output.type, sizes), span)
        for hint, output_name, output in zip(names, function.names_of_outputs, function.outputs)
    )
    return Op(name, tuple(operands), {"callee": function.name}, results, span)


def unbound_names(function: Function) -> list[str]:
    """The dimension names in results, of the function and of its operations, that the inputs do not give."""
    given = _solve([(dim, dim) for value in function.inputs for dim in value.type.shape])
    results = (result for op in function.ops for result in op.results)
    return sorted((names_of_dimensions(results) | names_of_dimensions(function.outputs)) - set(given))


def names_of_dimensions(values: Iterable[Value]) -> set[str]:
    return {name for value in values for dim in value.type.shape for name in dim_names(dim)}


def _solve(pairs: Sequence[tuple[DimLike, DimLike]]) -> dict[str, DimLike]:
    sizes: dict[str, DimLike] = {}
    products: list[tuple[Dim, DimLike]] = []
    for expected, found in pairs:
        if isinstance(expected, Dim):
            if expected.factor == 1 and len(expected.names) == 1:
                sizes.setdefault(expected.names[0], found)
            else:
                products.append((expected, found))
    for expected, found in products:
        unknown = [name for name in expected.names if name not in sizes]
        if len(unknown) == 1:
            known = multiply_dims([expected.factor, *(sizes[name] for name in expected.names if name in sizes)])
            quotient = _divide(found, known)
            if quotient is not None:
                sizes[unknown[0]] = quotient
    return sizes


def _divide(dim: DimLike, by: DimLike) -> DimLike | None:
    """The dimension that times `by` is `dim`, where there is exactly one."""
    factor, names = (dim, ()) if isinstance(dim, int) else (dim.factor, dim.names)
    by_factor, by_names = (by, ()) if isinstance(by, int) else (by.factor, by.names)
    rest = Counter(names)
    rest.subtract(by_names)
    if by_factor == 0 or factor % by_factor or any(count < 0 for count in rest.values()):
        return None
    return multiply_dims([factor // by_factor, *(Dim(1, (name,)) for name in rest.elements())])


def _misfit(function: Function, value: Value, found: Type, *notes: str) -> LirError:
    labels = ((value.span, f"%{value.name} is declared here"),) if value.span else ()
    return LirError(f"%{value.name} of @{function.name} has type {value.type}, found {found}", *notes,
                    code="LIR0047", labels=labels, about=value.name)  # fmt: skip
