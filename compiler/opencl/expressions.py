"""Pointwise operations and numbers as C expressions.

In: an operation's name, its operands as text, their types. Out: text; what it calls beyond OpenCL's own functions is
in `helpers.py`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...ir.diagnostics import CompilerBug
from ...ir.types import is_float, is_integer

C_TYPE = {"f32": "float", "f64": "double", "i8": "char", "u8": "uchar", "i16": "short", "i32": "int", "i64": "long",
          "bool": "int"}  # fmt: skip
MEMORY_TYPE = {**C_TYPE, "bool": "uchar", "f16": "half", "bf16": "ushort"}
# The integer type whose lanes are as wide as the dtype's: what `select` wants as its mask.
MASK_TYPE = {"f32": "int", "i32": "int", "bool": "int", "f64": "long", "i64": "long", "i16": "short", "i8": "char",
             "u8": "char"}  # fmt: skip

# One row an operation: {0}, {1}, ... are operands, {w} is the width of a vector, empty for scalars.
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "mod": "%"}
_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
# The bits of n in 2^n m, m from sqrt(1/2) on, whose bits those of x are compared with.
_EXPONENT = "((as_uint{w}({0}) - 0x3f3504f3u) & 0xff800000u)"
_CALLS = {
    "exp": "exp({0})", "expm1": "expm1({0})", "log": "log({0})", "log1p": "log1p({0})", "sqrt": "sqrt({0})",
    "erf": "erf({0})", "floor": "floor({0})", "tanh": "tanh({0})", "pow": "pow({0}, {1})", "fma": "fma({0}, {1}, {2})",
    "neg": "-{0}", "round_f16": "lossc_round_f16{w}({0})", "round_bf16": "lossc_round_bf16{w}({0})",
    "exponent_of": f"convert_float{{w}}(as_int{{w}}({_EXPONENT}))",
    "significand_of": f"as_float{{w}}(as_uint{{w}}({{0}}) - {_EXPONENT})",
    "reciprocal_power": f"as_float{{w}}(0x3f800000u - {_EXPONENT})",
    "copysign": "as_float{w}((as_int{w}({0}) & 0x7fffffff) | (as_int{w}({1}) & (int)0x80000000))",
    "power_of_two": "as_float{w}(as_int{w}({0}) << 23)", "random_bits": "lossc_random_bits{w}({0}, {1})",
}  # fmt: skip


def spell(op: str, operands: list[str], types: list[tuple[str, int]], dtype: str, width: int) -> str:
    """The C expression for a pointwise operation; `types` are the operands' dtypes and widths."""
    first = types[0][0] if types else dtype
    vector = width > 1
    if op in _INFIX:
        return f"{operands[0]} {_INFIX[op]} {operands[1]}"
    if op in _COMPARE:
        compared = f"{operands[0]} {_COMPARE[op]} {operands[1]}"
        return f"convert_int{width}({compared})" if vector and MASK_TYPE[first] != "int" else compared
    if op in _CALLS:
        return _CALLS[op].format(*operands, w="" if width == 1 else width)
    if op in ("and", "or"):
        symbol = {"and": "&", "or": "|"}[op] * (1 if vector else 2)
        return f"{operands[0]} {symbol} {operands[1]}"
    if op == "not":
        return f"{'~' if vector else '!'}{operands[0]}"
    if op == "isnan":
        return spell("ne", [operands[0]] * 2, types * 2, "bool", width)
    if op == "abs":
        return f"fabs({operands[0]})" if is_float(first) else f"convert_{type_of(dtype, width)}(abs({operands[0]}))"
    if op == "sign":
        return _sign(operands[0], first, width)
    if op in ("max", "min"):
        return _extreme(op, operands, first, width)
    if op == "max_number":
        # One instruction on x86: the second operand wins over a NaN.
        return _select(f"({operands[1]} > {operands[0]})", operands[1], operands[0], dtype, width)
    if op in ("zip_low", "zip_high"):
        # A literal of its lanes would be twice as slow: the driver moves them one by one.
        half = range(width // 2) if op == "zip_low" else range(width // 2, width)
        lanes = ", ".join(f"{lane}, {lane + width}" for lane in half)
        return f"__builtin_shufflevector({operands[0]}, {operands[1]}, {lanes})"
    if op == "select":
        return _select(operands[0], operands[1], operands[2], dtype, width)
    if op == "cast":
        return _cast(operands[0], first, dtype, width)
    raise CompilerBug(f"no C spelling for `{op}`")


def type_of(dtype: str, width: int) -> str:
    return C_TYPE[dtype] + (str(width) if width > 1 else "")


def _select(condition: str, a: str, b: str, dtype: str, width: int) -> str:
    if width == 1:
        return f"{condition} ? {a} : {b}"
    mask = MASK_TYPE[dtype]
    return f"select({b}, {a}, {condition if mask == 'int' else f'convert_{mask}{width}({condition})'})"


def _extreme(op: str, operands: list[str], dtype: str, width: int) -> str:
    # b where it is beyond a or NaN, else a: a NaN on either side stays. fmax would drop it.
    a, b = operands
    beyond = f"({b} {'>' if op == 'max' else '<'} {a})"
    if width == 1 and dtype in ("i8", "u8", "i16"):
        # Literals and results of arithmetic are ints in C: a call would be ambiguous.
        return f"{beyond} ? {b} : {a}"
    if not is_float(dtype):
        return f"{op}({a}, {b})"
    if width == 1:
        return f"({beyond} || ({b} != {b})) ? {b} : {a}"
    return f"select({a}, {b}, {beyond} | ({b} != {b}))"


def _sign(x: str, dtype: str, width: int) -> str:
    if is_float(dtype):
        return f"select(sign({x}), {x}, {x} != {x})" if width > 1 else f"({x} != {x}) ? {x} : sign({x})"
    kind = type_of(dtype, width)
    least = "0" if dtype == "u8" else "-1"
    return f"clamp({x}, ({kind})({least}), ({kind})(1))"


def _cast(x: str, source: str, target: str, width: int) -> str:
    if target == source:
        return x
    if target == "bool":
        return spell("ne", [x, f"({type_of(source, width)})(0)"], [(source, width)] * 2, "bool", width)
    if width == 1:
        return f"({C_TYPE[target]})({x})"
    if converts_by_halves(source, target, width):
        return f"lossc_f32_of_i64{width}({x})"
    return f"convert_{type_of(target, width)}({x}{' & 1' if source == 'bool' else ''})"


def converts_by_halves(source: str, target: str, width: int) -> bool:
    """Whether a conversion is done by a function of ours, on the wide vectors of CPUs."""
    return (source, target) == ("i64", "f32") and width >= 8


def literal(value: float | int | bool, dtype: str) -> str:
    """An exact C literal."""
    if dtype == "bool":
        return "1" if value else "0"
    if is_integer(dtype):
        number = int(value)
        if dtype == "i64":
            return "(-9223372036854775807L - 1L)" if number == -(2**63) else f"{number}L"
        return f"({number})" if number < 0 else str(number)
    return _float_literal(float(value).hex(), dtype)


@lru_cache(maxsize=1024)
def _float_literal(value: str, dtype: str) -> str:
    """The same of a float, given by its bits: a kernel has few of them, many times, and -0 is not 0."""
    kind, suffix = (np.float64, "") if dtype == "f64" else (np.float32, "f")
    with np.errstate(over="ignore"):
        # What f32 has no number for is infinite there, as an input is.
        number = kind(float.fromhex(value))
    if np.isnan(number):
        return "(float)NAN" if suffix else "(double)NAN"
    if np.isinf(number):
        # INFINITY is a float: beside doubles a call of fma or max would be ambiguous.
        return ("-" if number < 0 else "") + ("INFINITY" if suffix else "(double)INFINITY")
    text = np.format_float_scientific(number, unique=True, trim="0")
    short = np.format_float_positional(number, unique=True, trim="0")
    return f"{short if len(short) <= 12 else text}{suffix}"
