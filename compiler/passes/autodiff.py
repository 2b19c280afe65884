"""Reverse-mode differentiation: every `grad` operation becomes the primitives that compute it.

Before:  %y = mul %x, %x ; %g = grad %y, %x
After:   %y = mul %x, %x ; %g = add (mul 1, %x), (mul 1, %x)

`grad %of, %x, ...` is the gradient of the sum of %of; with upstream = true the second operand is the incoming
gradient. Gradients are taken in the order of the text and are ordinary operations afterwards, so that a later
`grad` differentiates an earlier one. Cotangents flow only along active values: those that `of` depends on and that
depend on something asked for. What `of` does not depend on has gradient 0.

The derivative of each primitive is one row of VJP. At a kink the row takes the subgradient that is written there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ...ir.composites import COMPOSITES
from ...ir.diagnostics import CompilerBug, LirError
from ...ir.function import Function, Module, Op, Value
from ...ir.ops import PRIMITIVES
from ...ir.tensor import Tensor
from ...ir.types import DimLike, add_dims, is_float, subtract_dims
from ...ir.windows import offsets
from ..functions import map_functions, with_operands, with_values
from ..rewrite import Rebuild
from ._match import kept_axes
from .inline import splice

Vjp = Callable[[Tensor, Any], Tensor]

# --- derivatives with a shape to mind -----------------------------------------------------------------------


def _repeat(g: Tensor, o: Any) -> Tensor:
    """Along the axes that were reduced."""
    return g.apply("broadcast", dims=kept_axes(o.x.rank, o.attributes["axes"]), shape=o.x.shape)


def _unbroadcast(g: Tensor, o: Any) -> Tensor:
    """The sum over the axes along which x was repeated."""
    dims = o.attributes["dims"]
    once = [dim for axis, dim in enumerate(dims) if o.x.shape[axis] == g.shape[dim]]
    return g.sum([axis for axis in range(g.rank) if axis not in once]).reshape(o.x.shape)


def _extreme(g: Tensor, o: Any) -> Tensor:
    """Elements equal to the largest (smallest) share the gradient equally, as torch's amax and amin do."""
    hit = (o.x == _repeat(o.y, o)).cast(g.dtype)
    return hit * _repeat(g / hit.sum(o.attributes["axes"]), o)


def _scatter(g: Tensor, o: Any) -> Tensor:
    """select(class == index, g, 0): the gradient of a one-per-row gather needs no scatter."""
    axis, shape = o.attributes["axis"], o.x.shape
    hit = o.x.iota(axis, "i32") == _as_i32(o.indices).insert_axis(axis, shape[axis])
    return hit.select(g.insert_axis(axis, shape[axis]), 0)


def _as_i32(indices: Tensor) -> Tensor:
    """Indices in 32 bits; what does not fit becomes -1, which is no index either."""
    if indices.dtype != "i64":
        return indices.cast("i32")
    outside = (indices < 0) | (indices > 2**31 - 1)
    return outside.select(-1, indices).cast("i32")


def _back_in_place(g: Tensor, o: Any) -> Tensor:
    """0 outside of the slice."""
    axis, start, stop = (o.attributes[name] for name in ("axis", "start", "stop"))
    return g.apply("pad", axis=axis, before=start, after=subtract_dims(o.x.shape[axis], stop))


def _window(g: Tensor, o: Any, start: DimLike, x: Tensor) -> Tensor:
    """The part of g where x lies in the result."""
    axis = o.attributes["axis"]
    return g.apply("slice", axis=axis, start=start, stop=add_dims(start, x.shape[axis]))


def _inverse(permutation: Sequence[int]) -> list[int]:
    return sorted(range(len(permutation)), key=lambda axis: permutation[axis])


def _matmul(a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool) -> Tensor:
    return a.apply("matmul", b, transpose_left=transpose_a, transpose_right=transpose_b)


def _by_left(g: Tensor, o: Any) -> Tensor:
    left, right = o.attributes["transpose_left"], o.attributes["transpose_right"]
    return _matmul(o.right, g, right, True) if left else _matmul(g, o.right, False, not right)


def _by_right(g: Tensor, o: Any) -> Tensor:
    left, right = o.attributes["transpose_left"], o.attributes["transpose_right"]
    return _matmul(g, o.left, True, left) if right else _matmul(o.left, g, not left, False)


def _power_by_base(g: Tensor, o: Any) -> Tensor:
    """b a^(b-1); 0 where b is 0, also at a = 0."""
    return g * (o.b * ((o.b == 0).select(1, o.a)).binary("pow", o.b - 1))


def _power_by_exponent(g: Tensor, o: Any) -> Tensor:
    """a^b log a; 0 where a is 0 and b is not negative."""
    return g * (o.y * ((o.a == 0) & (o.b >= 0)).select(1, o.a).log())


# --- the table: for each operand the product of the incoming gradient g with the derivative by that operand -----
# o.y is the result, o.x, o.a, o.b, ... are the operands by their names in ir/ops.py. None: no gradient flows there.
# An operation with an empty row passes no gradient: its result is not a float, is piecewise constant, or says so.

VJP: dict[str, tuple[Vjp | None, ...]] = {
    "neg": (lambda g, o: -g,),
    "abs": (lambda g, o: g * o.x.sign(),),  # 0 at 0
    "exp": (lambda g, o: g * o.y,),
    "expm1": (lambda g, o: g * (o.y + 1),),
    "log": (lambda g, o: g / o.x,),
    "log1p": (lambda g, o: g / (o.x + 1),),
    "sqrt": (lambda g, o: g * (0.5 / o.y),),  # infinite at 0
    "erf": (lambda g, o: g * ((-(o.x * o.x)).exp() * (2 / math.sqrt(math.pi))),),
    "tanh": (lambda g, o: g * (1 - o.y * o.y),),
    "sigmoid": (lambda g, o: g * (o.y * (1 - o.y)),),
    "softplus": (lambda g, o: g * o.x.sigmoid(),),
    "add": (lambda g, o: g, lambda g, o: g),
    "sub": (lambda g, o: g, lambda g, o: -g),
    "mul": (lambda g, o: g * o.b, lambda g, o: g * o.a),
    "div": (lambda g, o: g / o.b, lambda g, o: -(g / o.b * o.y)),
    "pow": (_power_by_base, _power_by_exponent),
    "max": (  # equal operands take half each, as in torch.maximum
        lambda g, o: (o.a < o.b).select(0, (o.a == o.b).select(g * 0.5, g)),
        lambda g, o: (o.a > o.b).select(0, (o.a == o.b).select(g * 0.5, g)),
    ),
    "min": (  # equal operands take half each, as in torch.minimum
        lambda g, o: (o.a > o.b).select(0, (o.a == o.b).select(g * 0.5, g)),
        lambda g, o: (o.a < o.b).select(0, (o.a == o.b).select(g * 0.5, g)),
    ),
    "select": (None, lambda g, o: o.condition.select(g, 0), lambda g, o: o.condition.select(0, g)),
    "cast": (lambda g, o: g.cast(o.x.dtype),),
    "broadcast": (_unbroadcast,),
    "reshape": (lambda g, o: g.reshape(o.x.shape),),
    "transpose": (lambda g, o: g.transpose(_inverse(o.attributes["permutation"])),),
    "reduce_sum": (_repeat,),
    "reduce_max": (_extreme,),
    "reduce_min": (_extreme,),
    "gather": (_scatter, None),
    "slice": (_back_in_place,),
    # Each operand of several receives its slice. See `_rule_of`.
    "concat": (None,),
    "pad": (lambda g, o: _window(g, o, o.attributes["before"], o.x),),
    "matmul": (_by_left, _by_right),
    # The operands are value, x1, d1, x2, d2, ...: x_i receives g * d_i. See `_rule_of`.
    "with_gradient": (None,),
    "stop_gradient": (),
    **dict.fromkeys(("sign", "floor"), ()),  # 0 everywhere, also at the jumps
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "isnan", "check"), ()),
    **dict.fromkeys(("constant", "iota", "dim", "size", "random_bits"), ()),
}


def _rule_of(op: Op, index: int) -> Vjp | None:
    """How a gradient passes operand `index` of `op`, None where none does."""
    if op.name == "with_gradient":
        if index % 2 == 0:
            return None
        return lambda g, o: g * o.operands[index + 1]
    if op.name == "concat":
        start = offsets(tuple(operand.type for operand in op.operands), op.attributes["axis"])[index]
        return lambda g, o: _window(g, o, start, o.operands[index])
    row = VJP.get(op.name)
    if row is None:
        raise CompilerBug(f"autodiff has no rule for `{op.name}`", span=op.span)
    return row[index] if index < len(row) else None


# --- the walk -----------------------------------------------------------------------------------------------


def autodiff(module: Module) -> Module:
    """Replace `grad` operations by the operations that compute them, in reverse mode.

    grad(f(x), x) = g df/dx, row by row of VJP  exact
    """
    return map_functions(module, lambda function: _differentiate(function, module))


def _differentiate(function: Function, module: Module) -> Function:
    if not any(op.name == "grad" for op in function.ops):
        return function
    build = Rebuild(function)
    for op in function.ops:
        op = with_operands(op, tuple(map(build.now, op.operands)))
        if op.name == "grad":
            build.replaced.update(zip(op.results, _Backward(build, module, op).gradients()))
        else:
            build.append(op)
    changed = function.with_(ops=tuple(build.ops), outputs=tuple(map(build.now, function.outputs)))
    return _with_names(changed, build.replaced)


def _with_names(function: Function, gradients: Mapping[Value, Value]) -> Function:
    """Gradients that have no name of their own take that of the result of their `grad`."""
    named: dict[Value, Value] = {}
    for asked, found in gradients.items():
        if found.name in PRIMITIVES and found not in function.inputs:
            named.setdefault(found, Value(asked.name, found.type, found.span))
    return with_values(function, named)


class _Backward:
    """One `grad` operation: the operations before it, walked backwards."""

    def __init__(self, build: Rebuild, module: Module, grad: Op):
        self.build, self.module, self.grad = build, module, grad
        upstream = grad.attributes["upstream"]
        self.of = grad.operands[0]
        self.upstream = grad.operands[1] if upstream else None
        self.wanted = grad.operands[2 if upstream else 1 :]
        self.cotangents: dict[Value, Tensor] = {}

    def gradients(self) -> tuple[Value, ...]:
        """One value of its own type for everything asked for."""
        tape = self._active_ops()
        self.build.span = self.grad.span
        seed = self.upstream or self.build.constant(1, self.of.type.dtype, self.of.type.shape)
        self.cotangents[self.of] = Tensor(seed, self.build)
        for op in reversed(tape):
            if any(result in self.cotangents for result in op.results):
                self.build.span = op.span or self.grad.span
                self._pass_back(op)
        self.build.span = self.grad.span
        return tuple(map(self._gradient, self.wanted))

    def _active_ops(self) -> list[Op]:
        """The operations on a path from something asked for to `of`, in order."""
        self.varied = set(self.wanted)
        forward = []
        for op in self.build.ops:
            if any(operand in self.varied and self._passes(op, i) for i, operand in enumerate(op.operands)):
                forward.append(op)
                self.varied.update(result for result in op.results if is_float(result.type.dtype))
        needed = {self.of}
        active = []
        for op in reversed(forward):
            if any(result in needed for result in op.results):
                active.append(op)
                needed.update(operand for operand in op.operands if operand in self.varied)
        return active[::-1]

    def _passes(self, op: Op, index: int) -> bool:
        """Whether a gradient passes from the results of `op` to operand `index`."""
        if not is_float(op.operands[index].type.dtype):
            return False
        if op.name == "call":
            self._gradient_function(op)
            return True
        if op.name in COMPOSITES or op.name not in PRIMITIVES:
            raise LirError(f"`{op.name}` is not differentiated as it stands",
                           "run `inline` and `expand` before `autodiff`", span=op.span)  # fmt: skip
        return _rule_of(op, index) is not None

    def _pass_back(self, op: Op) -> None:
        if op.name == "call":
            self._pass_back_call(op)
            return
        operands = self.build.tensors(*op.operands)
        named = dict(zip((name.rstrip("?") for name in PRIMITIVES[op.name].operands), operands))
        view = SimpleNamespace(y=Tensor(op.result, self.build), operands=operands, attributes=op.attributes, **named)
        g = self.cotangents[op.result]
        for index, operand in enumerate(op.operands):
            rule = _rule_of(op, index) if operand in self.varied else None
            if rule is not None:
                self._accumulate(operand, rule(g, view))

    def _pass_back_call(self, op: Op) -> None:
        """A call of a function with its own gradient: that takes the inputs and one gradient an output."""
        upstream = [
            self.cotangents[result].value
            if result in self.cotangents
            else self.build.constant(0, result.type.dtype, result.type.shape)
            for result in op.results
            if is_float(result.type.dtype)
        ]
        gradients = splice(self.build, self.module, self._gradient_function(op), [*op.operands, *upstream], op.span)
        floats = [operand for operand in op.operands if is_float(operand.type.dtype)]
        for operand, gradient in zip(floats, gradients):
            if operand in self.varied:
                self._accumulate(operand, Tensor(gradient, self.build))

    def _gradient_function(self, op: Op) -> Function:
        callee = self.module.functions[op.attributes["callee"]]
        if callee.gradient is None:
            raise LirError(f"a call of @{callee.name} is not differentiated as it stands",
                           "run `inline` before `autodiff`", span=op.span)  # fmt: skip
        return self.module.functions[callee.gradient]

    def _accumulate(self, value: Value, cotangent: Tensor) -> None:
        if cotangent.type != value.type:
            raise CompilerBug(f"the gradient of %{value.name}: {value.type} came out as {cotangent.type}")
        known = self.cotangents.get(value)
        self.cotangents[value] = cotangent if known is None else known + cotangent

    def _gradient(self, value: Value) -> Value:
        found = self.cotangents.get(value)
        if found is None:
            return self.build.constant(0, value.type.dtype, value.type.shape)
        return found.value
