"""Kernel IR to OpenCL C. The only file that knows C.

In: a checked kernel. Out: source text, the same for the same kernel. Names reach the source only as identifiers
with a prefix of ours, numbers only as literals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from ..ir.diagnostics import CompilerBug
from ..ir.kernel import (
    Apply,
    Assign,
    AtomicMin,
    Barrier,
    Const,
    Declare,
    Expr,
    For,
    If,
    Iota,
    Kernel,
    Let,
    Load,
    Prefetch,
    PrivateArray,
    Reduce,
    Splat,
    Stmt,
    Store,
    Var,
    WorkItem,
    expressions_of,
    walk_expressions,
    walk_statements,
)  # fmt: skip
from ..ir.random_bits import PARITY, ROTATIONS, ROUNDS
from ..ir.types import ITEM_SIZE, is_float, is_integer

C_TYPE = {"f32": "float", "f64": "double", "i8": "char", "u8": "uchar", "i16": "short", "i32": "int", "i64": "long",
          "bool": "int"}  # fmt: skip
MEMORY_TYPE = {**C_TYPE, "bool": "uchar", "f16": "half", "bf16": "ushort"}
# The integer type whose lanes are as wide as the dtype's: what `select` wants as its mask.
MASK_TYPE = {"f32": "int", "i32": "int", "bool": "int", "f64": "long", "i64": "long", "i16": "short", "i8": "char",
             "u8": "char"}  # fmt: skip

BUILD_OPTIONS = "-cl-std=CL1.2"


def kernel_source(kernel: Kernel) -> str:
    """One kernel as a complete OpenCL C translation unit."""
    return _Printer(kernel).source()


# --- spellings ----------------------------------------------------------------------------------------------
# One row an operation: {0}, {1}, ... are operands, {T} is the result type, {M} the mask type of the first operand.

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "mod": "%"}
_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_CALLS = {
    "exp": "exp({0})", "expm1": "expm1({0})", "log": "log({0})", "log1p": "log1p({0})", "sqrt": "sqrt({0})",
    "erf": "erf({0})", "floor": "floor({0})", "tanh": "tanh({0})", "pow": "pow({0}, {1})", "fma": "fma({0}, {1}, {2})",
    "neg": "-{0}", "round_f16": "lossc_round_f16{w}({0})", "round_bf16": "lossc_round_bf16{w}({0})",
    "exp_nonpositive": "exp({0})", "log1p_unit": "log1p({0})", "log_from_one": "log({0})",
    "exponent_of": "convert_float{w}((as_int{w}({0}) >> 23) - 127)",
    "significand_of": "as_float{w}((as_int{w}({0}) & 0x7fffff) | 0x3f800000)",
    "power_of_two": "as_float{w}(as_int{w}({0}) << 23)", "random_bits": "lossc_random_bits{w}({0}, {1})",
    "raise_exponent": "as_float{w}(max(as_int{w}({0}) + (as_int{w}({1}) << 23), 0))",
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
        return f"fabs({operands[0]})" if is_float(first) else f"convert_{_type(dtype, width)}(abs({operands[0]}))"
    if op == "sign":
        return _sign(operands[0], first, width)
    if op in ("max", "min"):
        return _extreme(op, operands, first, width)
    if op in ("max_number", "min_number"):
        # One instruction on x86: the second operand wins over a NaN.
        return _select(f"({operands[1]} {'>' if op == 'max_number' else '<'} {operands[0]})", operands[1], operands[0],
                       dtype, width)  # fmt: skip
    if op == "select":
        return _select(operands[0], operands[1], operands[2], dtype, width)
    if op == "cast":
        return _cast(operands[0], first, dtype, width)
    raise CompilerBug(f"no C spelling for `{op}`")


def _type(dtype: str, width: int) -> str:
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
    if not is_float(dtype):
        return f"{op}({a}, {b})"
    if width == 1:
        return f"({beyond} || ({b} != {b})) ? {b} : {a}"
    return f"select({a}, {b}, {beyond} | ({b} != {b}))"


def _sign(x: str, dtype: str, width: int) -> str:
    if is_float(dtype):
        return f"select(sign({x}), {x}, {x} != {x})" if width > 1 else f"({x} != {x}) ? {x} : sign({x})"
    kind = _type(dtype, width)
    least = "0" if dtype == "u8" else "-1"
    return f"clamp({x}, ({kind})({least}), ({kind})(1))"


def _cast(x: str, source: str, target: str, width: int) -> str:
    if target == source:
        return x
    if target == "bool":
        return spell("ne", [x, f"({_type(source, width)})(0)"], [(source, width)] * 2, "bool", width)
    if width == 1:
        return f"({C_TYPE[target]})({x})"
    return f"convert_{_type(target, width)}({x}{' & 1' if source == 'bool' else ''})"


def literal(value: float | int | bool, dtype: str) -> str:
    """An exact C literal."""
    if dtype == "bool":
        return "1" if value else "0"
    if is_integer(dtype):
        number = int(value)
        if dtype == "i64":
            return "(-9223372036854775807L - 1L)" if number == -(2**63) else f"{number}L"
        return f"({number})" if number < 0 else str(number)
    kind, suffix = (np.float64, "") if dtype == "f64" else (np.float32, "f")
    number = kind(value)
    if np.isnan(number):
        return "(float)NAN" if suffix else "(double)NAN"
    if np.isinf(number):
        # INFINITY is a float: beside doubles a call of fma or max would be ambiguous.
        return ("-" if number < 0 else "") + ("INFINITY" if suffix else "(double)INFINITY")
    text = np.format_float_scientific(number, unique=True, trim="0")
    short = np.format_float_positional(number, unique=True, trim="0")
    return f"{short if len(short) <= 12 else text}{suffix}"


# --- horizontal reductions and storage formats: helper functions, written where a kernel uses them ------------


def _reduce_helper(op: str, dtype: str, width: int) -> str:
    """Halve until a scalar is left: a fixed order. For masks there is a function that is one instruction."""
    head = f"static {C_TYPE[dtype]} lossc_reduce_{op}_{C_TYPE[dtype]}{width}({_type(dtype, width)} x) {{"
    if op in _OF_MASKS:
        return f"{head} return {_OF_MASKS[op]}(x); }}"
    lines = [head]
    name, lanes = "x", width
    while lanes > 1:
        half = lanes // 2
        combined = spell(op, [f"{name}.lo", f"{name}.hi"], [(dtype, half)] * 2, dtype, half)
        lines.append(f"  const {_type(dtype, half)} x{half} = {combined};")
        name, lanes = f"x{half}", half
    lines.append(f"  return {name};\n}}")
    return "\n".join(lines)


_OF_MASKS = {"or": "any", "and": "all"}


def _f16_helper(width: int) -> str:
    # Through bits of our own: PoCL's vstore_half16 takes its address for a multiple of 16 bytes.
    suffix = "" if width == 1 else str(width)
    f, s = f"float{suffix}", f"ushort{suffix}"
    bits = (
        f"  ushort bits[{width}] __attribute__((aligned({2 * width})));\n  vstore_half{suffix}(x, 0, (half *)bits);\n"
    )
    packed = f"vload{width}(0, bits)" if width > 1 else "bits[0]"
    return (
        f"static {s} lossc_pack_f16{suffix}({f} x) {{\n{bits}  return {packed};\n}}\n"
        f"static {f} lossc_round_f16{suffix}({f} x) {{\n{bits}  return vload_half{suffix}(0, (const half *)bits);\n}}"
    )


def _bf16_helper(width: int) -> str:
    suffix = "" if width == 1 else str(width)
    u, f, s = f"uint{suffix}", f"float{suffix}", f"ushort{suffix}"
    nan = f"select(r, ({u})(0x7fc0), x != x)" if width > 1 else "(x != x) ? 0x7fc0u : r"
    # Round to nearest, ties to even, on the upper half of the bits.
    return (
        f"static {s} lossc_pack_bf16{suffix}({f} x) {{\n  const {u} u = as_{u}(x);\n"
        f"  const {u} r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;\n  return convert_{s}({nan});\n}}\n"
        f"static {f} lossc_unpack_bf16{suffix}({s} x) {{ return as_{f}(convert_{u}(x) << 16); }}\n"
        f"static {f} lossc_round_bf16{suffix}({f} x) {{\n"
        f"  return lossc_unpack_bf16{suffix}(lossc_pack_bf16{suffix}(x));\n}}"
    )


def _random_bits_helper(width: int) -> str:
    """Threefry-2x32: the words of the key and their parity are added after every fourth round."""
    suffix = "" if width == 1 else str(width)
    u, wide = f"uint{suffix}", f"long{suffix}"
    words = [f"convert_{u}({name})" for name in ("key", "key >> 32", "counter", "counter >> 32")]
    keys = ("k0", "k1", "k2")
    lines = [
        f"static int{suffix} lossc_random_bits{suffix}({wide} key, {wide} counter) {{",
        f"  const {u} k0 = {words[0]}, k1 = {words[1]}, k2 = k0 ^ k1 ^ {PARITY:#x}u;",
        f"  {u} x = {words[2]} + k0, y = {words[3]} + k1;",
    ]
    for number in range(ROUNDS):
        rotation = ROTATIONS[number % len(ROTATIONS)]
        lines.append(f"  x += y; y = rotate(y, ({u})({rotation})) ^ x;")
        if number % 4 == 3:
            added = number // 4 + 1
            lines.append(f"  x += {keys[added % 3]}; y += {keys[(added + 1) % 3]} + {added}u;")
    return "\n".join([*lines, f"  return as_int{suffix}(x);\n}}"])


_HELPERS = {"round_f16": _f16_helper, "round_bf16": _bf16_helper, "random_bits": _random_bits_helper}


# --- the printer --------------------------------------------------------------------------------------------

_RESERVED = re.compile(r"[^A-Za-z0-9_]")
_QUERY = {"global_id": "get_global_id(0)", "local_id": "get_local_id(0)", "group_id": "get_group_id(0)",
          "global_size": "get_global_size(0)", "group_count": "get_num_groups(0)"}  # fmt: skip


class _Printer:
    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.names: dict[str, str] = {}
        self.taken: set[str] = set()
        self.storage: Mapping[str, str] = {
            **{buffer.name: buffer.dtype for buffer in kernel.buffers},
            **{array.name: array.dtype for array in (*kernel.local_arrays, *kernel.private_arrays)},
        }

    def name(self, name: str) -> str:
        """A C identifier for a name of the kernel: its letters, made unique, with a prefix no keyword has."""
        if name not in self.names:
            base = "v_" + _RESERVED.sub("_", name)[:40]
            candidate, number = base, 2
            while candidate in self.taken:
                candidate, number = f"{base}_{number}", number + 1
            self.taken.add(candidate)
            self.names[name] = candidate
        return self.names[name]

    def source(self) -> str:
        kernel = self.kernel
        arguments = [
            f"__global {'const ' if b.access == 'read' else ''}{MEMORY_TYPE[b.dtype]} *restrict {self.name(b.name)}"
            for b in kernel.buffers
        ] + [f"const {C_TYPE[s.dtype]} {self.name(s.name)}" for s in kernel.scalars]
        comment = "".join(f"// {_comment(line)}\n" for line in kernel.comment)
        local = "".join(
            f"  __local {MEMORY_TYPE[array.dtype]} {self.name(array.name)}[{array.size}];\n"
            for array in kernel.local_arrays
        ) + "".join(
            f"  {MEMORY_TYPE[array.dtype]} {self.name(array.name)}[{array.size}] "
            f"__attribute__((aligned({_alignment(array)})));\n"
            for array in kernel.private_arrays
        )
        body = "\n".join(self.block(kernel.body, 1))
        helpers = "\n".join(self.helpers())
        joined = ",\n    ".join(arguments)
        return (
            f"{helpers}{chr(10) * bool(helpers)}{comment}"
            f"{self.attributes()}"
            f"__kernel void {kernel.name}(\n    {joined}) {{\n{local}{body}\n}}\n"
        )

    def attributes(self) -> str:
        """Work-items that work together name their number; code in vectors of its own asks not to be vectorized."""
        widths = {s.var.width for s in walk_statements(self.kernel.body) if isinstance(s, (Let, Declare))}
        hint = f"__attribute__((vec_type_hint(float{max(widths)})))\n" if max(widths, default=1) > 1 else ""
        if self.kernel.local_size == 1:
            return hint
        return f"{hint}__attribute__((reqd_work_group_size({self.kernel.local_size}, 1, 1)))\n"

    def helpers(self) -> list[str]:
        expressions = [
            inner
            for statement in walk_statements(self.kernel.body)
            for expression in expressions_of(statement)
            for inner in walk_expressions(expression)
        ]
        found: dict[str, str] = {}
        if any(e.dtype == "f64" for e in expressions) or any(b.dtype == "f64" for b in self.kernel.buffers):
            found[""] = "#pragma OPENCL EXTENSION cl_khr_fp64 : enable"
        for e in expressions:
            if isinstance(e, Reduce):
                key = f"{e.op} {e.dtype} {e.operand.width}"
                found.setdefault(key, _reduce_helper(e.op, e.dtype, e.operand.width))
            if isinstance(e, Apply) and e.op in _HELPERS and e.width > 0:
                found.setdefault(f"{e.op} {e.width}", _HELPERS[e.op](e.width))
            if isinstance(e, Load) and self.storage[e.buffer] == "bf16":
                found.setdefault(f"round_bf16 {e.width}", _bf16_helper(e.width))
        for statement in walk_statements(self.kernel.body):
            if isinstance(statement, Store) and self.storage[statement.buffer] in ("f16", "bf16"):
                dtype, width = self.storage[statement.buffer], statement.value.width
                found.setdefault(f"round_{dtype} {width}", _HELPERS[f"round_{dtype}"](width))
        return list(found.values())

    def block(self, body: tuple[Stmt, ...], depth: int) -> list[str]:
        indent = "  " * depth
        lines: list[str] = []
        for statement in body:
            match statement:
                case Let(var=var, value=value):
                    kind = f"const {_type(var.dtype, var.width)}"
                    lines.append(f"{indent}{kind} {self.name(var.name)} = {self.top(value)};")
                case Declare(var=var, value=value):
                    lines.append(f"{indent}{_type(var.dtype, var.width)} {self.name(var.name)} = {self.top(value)};")
                case Assign(var=var, value=value):
                    lines.append(f"{indent}{self.name(var.name)} = {self.top(value)};")
                case Store():
                    lines += [indent + line for line in self.store(statement)]
                case For(var=var, start=start, stop=stop, step=step, body=inner):
                    name = self.name(var.name)
                    lines.append(f"{indent}for (long {name} = {self.top(start)}; {name} < {self.expression(stop)}; "
                                 f"{name} += {self.expression(step)}) {{")  # fmt: skip
                    lines += [*self.block(inner, depth + 1), f"{indent}}}"]
                case If(condition=condition, body=inner):
                    lines += [f"{indent}if ({self.top(condition)}) {{", *self.block(inner, depth + 1), f"{indent}}}"]
                case Barrier():
                    lines.append(f"{indent}barrier(CLK_LOCAL_MEM_FENCE);")
                case Prefetch(buffer=buffer, index=index, level=level, for_write=for_write):
                    address = f"{self.name(buffer)} + {self.expression(index)}"
                    lines.append(f"{indent}__builtin_prefetch({address}, {int(for_write)}, {level});")
                case AtomicMin(buffer=buffer, index=index, value=value):
                    lines.append(f"{indent}atomic_min(&{self.name(buffer)}[{self.top(index)}], {self.top(value)});")
        return lines

    def store(self, store: Store) -> list[str]:
        name, value, width = self.name(store.buffer), store.value, store.value.width
        dtype = self.storage[store.buffer]
        address, suffix = f"{name} + {self.expression(store.index)}", "" if width == 1 else str(width)
        text = self.top(value)
        if dtype == "f16" and store.index.width > 1:
            index = self.expression(store.index)
            return [f"vstore_half(({text}).s{lane:x}, {index}.s{lane:x}, {name});" for lane in range(width)]
        if dtype == "f16":
            if width == 1:
                return [f"vstore_half({text}, 0, {address});"]
            return [f"vstore{width}(lossc_pack_f16{width}({text}), 0, (__global ushort *)({address}));"]
        if dtype == "bf16":
            text = f"lossc_pack_bf16{suffix}({text})"
        elif dtype == "bool":
            text = f"convert_uchar{width}(({text}) & 1)" if width > 1 else f"(uchar)({text})"
        if store.index.width > 1:
            index = self.expression(store.index)
            return [f"{name}[{index}.s{lane:x}] = ({text}).s{lane:x};" for lane in range(width)]
        if store.nontemporal:
            return [f"__builtin_nontemporal_store({text}, (__global {MEMORY_TYPE[dtype]}{width} *)({address}));"]
        if width == 1:
            return [f"{name}[{self.top(store.index)}] = {text};"]
        return [f"vstore{width}({text}, 0, {address});"]

    def load(self, load: Load) -> str:
        name, width, dtype = self.name(load.buffer), load.width, self.storage[load.buffer]
        suffix = "" if width == 1 else str(width)
        if width > 1 and load.index.width > 1:
            index = self.expression(load.index)
            lanes = [f"{index}.s{lane:x}" for lane in range(width)]
            if dtype == "f16":
                return f"(float{width})({', '.join(f'vload_half({lane}, {name})' for lane in lanes)})"
            loaded = f"({MEMORY_TYPE[dtype]}{width})({', '.join(f'{name}[{lane}]' for lane in lanes)})"
        else:
            address = f"{name} + {self.expression(load.index)}"
            if dtype == "f16":
                return f"vload_half{suffix}(0, {address})"
            loaded = f"{name}[{self.top(load.index)}]" if width == 1 else f"vload{width}(0, {address})"
        if dtype == "bf16":
            return f"lossc_unpack_bf16{suffix}({loaded})"
        if dtype == "bool":
            return f"({loaded} != 0)" if width == 1 else f"(convert_int{width}({loaded}) != 0)"
        return loaded

    def expression(self, expression: Expr) -> str:
        """An expression that may stand as an operand."""
        text = self.top(expression)
        return text if isinstance(expression, (Var, Const, WorkItem, Reduce)) or _is_call(text) else f"({text})"

    def top(self, expression: Expr) -> str:
        match expression:
            case Const(value=value, dtype=dtype, width=width):
                text = literal(value, dtype)
                if width > 1 and dtype == "bool":
                    return f"(int{width})({'-1' if value else '0'})"
                return text if width == 1 else f"({_type(dtype, width)})({text})"
            case Var(name=name):
                return self.name(name)
            case Load():
                return self.load(expression)
            case Splat(operand=operand, width=width):
                text = self.top(operand)
                kind = _type(operand.dtype, width)
                return f"({kind})(-({text}))" if operand.dtype == "bool" else f"({kind})({text})"
            case Iota(dtype=dtype, width=width):
                return f"({_type(dtype, width)})({', '.join(map(str, range(width)))})"
            case Reduce(op=op, operand=operand):
                return f"lossc_reduce_{op}_{C_TYPE[operand.dtype]}{operand.width}({self.top(operand)})"
            case WorkItem(query=query):
                return f"(long){_QUERY[query]}"
            case Apply(op=op, operands=operands, dtype=dtype, width=width):
                types = [(operand.dtype, operand.width) for operand in operands]
                return spell(op, [self.expression(operand) for operand in operands], types, dtype, width)
        raise CompilerBug(f"not a kernel expression: {expression}")


def _alignment(array: PrivateArray) -> int:
    """A cache line; a page for long arrays: where in a page they lie decides which loads wait for which stores, and
    would change from run to run."""
    return 4096 if array.size * ITEM_SIZE[array.dtype] >= 4096 else 64


def _is_call(text: str) -> bool:
    """Whether `text` is one call or one parenthesis, so that it needs no parentheses around it."""
    if not re.match(r"[A-Za-z_0-9]*\(", text):
        return False
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0 and character == ")":
            return position == len(text) - 1
    return False


def _comment(line: str) -> str:
    """A line that is safe after `//`: printable, no backslash (it would join lines), no trigraph."""
    return "".join(c if 32 <= ord(c) < 127 and c not in "\\?" else "." for c in line)
