"""C functions that kernels call: horizontal reductions, storage formats, random bits.

Each is written in a kernel's source where the kernel uses it, for the widths that it uses.
"""

from __future__ import annotations

from ...ir.random_bits import PARITY, ROTATIONS, ROUNDS
from .expressions import C_TYPE, spell, type_of


def reduce_helper(op: str, dtype: str, width: int) -> str:
    """Halve until a scalar is left: a fixed order. For masks there is a function that is one instruction."""
    head = f"static {C_TYPE[dtype]} lossc_reduce_{op}_{C_TYPE[dtype]}{width}({type_of(dtype, width)} x) {{"
    if op in _OF_MASKS:
        return f"{head} return {_OF_MASKS[op]}(x); }}"
    lines = [head]
    name, lanes = "x", width
    while lanes > 1:
        half = lanes // 2
        combined = spell(op, [f"{name}.lo", f"{name}.hi"], [(dtype, half)] * 2, dtype, half)
        lines.append(f"  const {type_of(dtype, half)} x{half} = {combined};")
        name, lanes = f"x{half}", half
    lines.append(f"  return {name};\n}}")
    return "\n".join(lines)


_OF_MASKS = {"or": "any", "and": "all"}


def f16_helper(width: int) -> str:
    # Through bits of our own: PoCL's vstore_half16 and vload_half16 take their address for a multiple of 16 bytes.
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


def f16_load_helper(width: int) -> str:
    """A vector of halves from anywhere, by its bits, which are loaded at any address."""
    return (
        f"static float{width} lossc_unpack_f16{width}(ushort{width} x) {{\n"
        f"  ushort bits[{width}] __attribute__((aligned({2 * width})));\n  vstore{width}(x, 0, bits);\n"
        f"  return vload_half{width}(0, (const half *)bits);\n}}"
    )


def bf16_helper(width: int) -> str:
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


def random_bits_helper(width: int) -> str:
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


def f32_of_i64_helper(width: int) -> str:
    """The drivers convert lane by lane. What fits 32 bits, as labels and counts do, is converted from there."""
    half = width // 2
    i64, i32, f32 = f"long{half}", f"int{half}", f"float{half}"
    return (
        f"static float{width} lossc_f32_of_i64{width}(long{width} x) {{\n"
        f"  const {i64} a = x.lo, b = x.hi;\n  const {i32} c = convert_{i32}(a), d = convert_{i32}(b);\n"
        f"  const {i32} more = (convert_{i32}(a >> 32) ^ (c >> 31)) | (convert_{i32}(b >> 32) ^ (d >> 31));\n"
        f"  if (any(more != 0)) return convert_float{width}(x);\n"
        f"  return (float{width})(convert_{f32}(c), convert_{f32}(d));\n}}"
    )


HELPERS = {"round_f16": f16_helper, "round_bf16": bf16_helper, "random_bits": random_bits_helper}
