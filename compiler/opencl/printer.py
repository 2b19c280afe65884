"""Kernel IR to OpenCL C. Beside its expressions and helper functions the only file that knows C.

In: a checked kernel. Out: source text, the same for the same kernel. Names reach the source only as identifiers
with a prefix of ours, numbers only as literals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...ir.diagnostics import CompilerBug
from ...ir.kernel import (
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
    expressions_in,
    walk_statements,
)  # fmt: skip
from ...ir.types import ITEM_SIZE
from .expressions import C_TYPE, MEMORY_TYPE, converts_by_halves, literal, spell, type_of
from .helpers import HELPERS, bf16_helper, f16_load_helper, f32_of_i64_helper, reduce_helper

BUILD_OPTIONS = "-cl-std=CL1.2"


def kernel_source(kernel: Kernel) -> str:
    """One kernel as a complete OpenCL C translation unit."""
    return _Printer(kernel).source()


_RESERVED, _CALL, _PARENTHESES = re.compile(r"[^A-Za-z0-9_]"), re.compile(r"[A-Za-z_0-9]*\("), re.compile(r"[()]")
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
        self.space: Mapping[str, str] = {
            **{buffer.name: f"__global {'const ' * (buffer.access == 'read')}" for buffer in kernel.buffers},
            **{array.name: "__local " for array in kernel.local_arrays},
            **{array.name: "" for array in kernel.private_arrays},
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
            f"  __local {MEMORY_TYPE[array.dtype]} {self.name(array.name)}[{array.size}] "
            f"__attribute__((aligned(64)));\n"
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
        expressions = expressions_in(self.kernel.body)
        found: dict[str, str] = {}
        if any(e.dtype == "f64" for e in (*self.kernel.buffers, *expressions)):
            found[""] = "#pragma OPENCL EXTENSION cl_khr_fp64 : enable"
        for e in expressions:
            match e:
                case Var() | Const():
                    pass
                case Apply(op="cast", operands=(operand,)) if converts_by_halves(operand.dtype, e.dtype, e.width):
                    found.setdefault(f"f32_of_i64 {e.width}", f32_of_i64_helper(e.width))
                case Apply(op=op) if op in HELPERS:
                    found.setdefault(f"{op} {e.width}", HELPERS[op](e.width))
                case Load(buffer=buffer) if self.storage[buffer] == "f16" and _is_loaded_by_bits(e):
                    found.setdefault(f"unpack_f16 {e.width}", f16_load_helper(e.width))
                case Load(buffer=buffer) if self.storage[buffer] == "bf16":
                    found.setdefault(f"round_bf16 {e.width}", bf16_helper(e.width))
                case Reduce(op=op, operand=operand):
                    found.setdefault(f"{op} {e.dtype} {operand.width}", reduce_helper(op, e.dtype, operand.width))
                case _:
                    pass
        for statement in walk_statements(self.kernel.body):
            if isinstance(statement, Store) and self.storage[statement.buffer] in ("f16", "bf16"):
                dtype, width = self.storage[statement.buffer], statement.value.width
                found.setdefault(f"round_{dtype} {width}", HELPERS[f"round_{dtype}"](width))
        return list(found.values())

    def block(self, body: tuple[Stmt, ...], depth: int) -> list[str]:
        indent = "  " * depth
        lines: list[str] = []
        for statement in body:
            match statement:
                case Let(var=var, value=value):
                    kind = f"const {type_of(var.dtype, var.width)}"
                    lines.append(f"{indent}{kind} {self.name(var.name)} = {self.top(value)};")
                case Declare(var=var, value=value):
                    lines.append(f"{indent}{type_of(var.dtype, var.width)} {self.name(var.name)} = {self.top(value)};")
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
        if dtype == "f16" and width == 1:
            return [f"vstore_half({text}, 0, {address});"]
        if dtype in ("f16", "bf16"):
            text = f"lossc_pack_{dtype}{suffix}({text})"
        elif dtype == "bool":
            text = f"convert_uchar{width}(({text}) & 1)" if width > 1 else f"(uchar)({text})"
        if store.index.width > 1:
            index = self.expression(store.index)
            return [f"{name}[{index}.s{lane:x}] = ({text}).s{lane:x};" for lane in range(width)]
        if width == 1:
            return [f"{name}[{self.top(store.index)}] = {text};"]
        # Halves are written as the integers that they are packed in.
        space, kind = self.space[store.buffer], "ushort" if dtype == "f16" else MEMORY_TYPE[dtype]
        if store.nontemporal:
            return [f"__builtin_nontemporal_store({text}, ({space}{kind}{width} *)({address}));"]
        if store.aligned:
            return [f"*({space}{kind}{width} *)({address}) = {text};"]
        return [f"vstore{width}({text}, 0, {f'({space}{kind} *)({address})' if dtype == 'f16' else address});"]

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
            if dtype == "f16" and _is_loaded_by_bits(load):
                bits = f"({self.space[load.buffer]}ushort *)({address})"
                return f"lossc_unpack_f16{suffix}(vload{width}(0, {bits}))"
            if dtype == "f16":
                return f"vload{'a' * load.aligned}_half{suffix}(0, {address})"
            # A whole vector at an aligned address is one access, where `vload` and `vstore` may be one for each lane.
            kind = f"{self.space[load.buffer]}{MEMORY_TYPE[dtype]}{width}"
            vector = f"*({kind} *)({address})" if load.aligned else f"vload{width}(0, {address})"
            loaded = f"{name}[{self.top(load.index)}]" if width == 1 else vector
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
            case Var(name=name):
                return self.name(name)
            case Apply(op=op, operands=operands, dtype=dtype, width=width):
                types = [(operand.dtype, operand.width) for operand in operands]
                return spell(op, [self.expression(operand) for operand in operands], types, dtype, width)
            case Const(value=value, dtype=dtype, width=width):
                text = literal(value, dtype)
                if width > 1 and dtype == "bool":
                    return f"(int{width})({'-1' if value else '0'})"
                return text if width == 1 else f"({type_of(dtype, width)})({text})"
            case Load():
                return self.load(expression)
            case Splat(operand=operand, width=width):
                text = self.top(operand)
                kind = type_of(operand.dtype, width)
                return f"({kind})(-({text}))" if operand.dtype == "bool" else f"({kind})({text})"
            case Iota(dtype=dtype, width=width):
                return f"({type_of(dtype, width)})({', '.join(map(str, range(width)))})"
            case Reduce(op=op, operand=operand):
                return f"lossc_reduce_{op}_{C_TYPE[operand.dtype]}{operand.width}({self.top(operand)})"
            case WorkItem(query=query):
                return f"(long){_QUERY[query]}"
        raise CompilerBug(f"not a kernel expression: {expression}")


def _alignment(array: PrivateArray) -> int:
    """A cache line; a page for long arrays: where in a page they lie decides which loads wait for which stores, and
    would change from run to run."""
    return 4096 if array.size * ITEM_SIZE[array.dtype] >= 4096 else 64


def _is_loaded_by_bits(load: Load) -> bool:
    """Whether halves are loaded as a vector from an address that is a multiple of no more than their own size."""
    return load.width > 1 and load.index.width == 1 and not load.aligned


def _is_call(text: str) -> bool:
    """Whether `text` is one call or one parenthesis, so that it needs no parentheses around it."""
    if not text.endswith(")") or not _CALL.match(text):
        return False
    depth = 0
    for parenthesis in _PARENTHESES.finditer(text):
        depth += 1 if parenthesis[0] == "(" else -1
        if depth == 0:
            return parenthesis.end() == len(text)
    return False


def _comment(line: str) -> str:
    """A line that is safe after `//`: printable, no backslash (it would join lines), no trigraph."""
    return "".join(c if 32 <= ord(c) < 127 and c not in "\\?" else "." for c in line)
