"""The text of kernels and programs: parsing is the exact inverse of printing; bad text is refused."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_texts import ALL, GROUP_SUM, PRIVATE_ROW, kernel, sum_program

from lossc.compiler.checks.kernel import kernel_problems
from lossc.compiler.checks.program import program_problems
from lossc.ir.arithmetic import integer
from lossc.ir.diagnostics import CompilerBug, LirError
from lossc.ir.kernel import (
    Apply,
    Assign,
    AtomicMin,
    Barrier,
    BufferArgument,
    Const,
    Declare,
    Expr,
    For,
    If,
    Iota,
    Kernel,
    Let,
    Load,
    LocalArray,
    Prefetch,
    PrivateArray,
    Reduce,
    Splat,
    Stmt,
    Store,
    Var,
    WorkItem,
)
from lossc.ir.kernel_ops import QUERIES, REDUCTIONS
from lossc.ir.kernel_text import parse_kernel, parse_program, print_kernel, print_program
from lossc.ir.program import Buffer, Step
from lossc.ir.target import CPU_AVX512
from lossc.ir.types import Type, named


def assert_round_trip(made: Kernel) -> None:
    text = print_kernel(made)
    assert parse_kernel(text) == made
    assert print_kernel(parse_kernel(text)) == text


@pytest.mark.parametrize("name", ALL)
def test_handwritten_kernels(name: str) -> None:
    assert_round_trip(kernel(ALL[name]))


@pytest.mark.parametrize("text", [GROUP_SUM, PRIVATE_ROW])
def test_text_is_canonical(text: str) -> None:
    assert print_kernel(parse_kernel(text)) == text


@pytest.mark.parametrize(
    "constant",
    [
        Const(0.1, "f32"), Const(-0.0, "f32"), Const(1e-45, "f32"), Const(1e300, "f64"), Const(3, "f32"),
        Const(math.inf, "f32", 16), Const(-math.inf, "f64"), Const(2.0, "i32"), Const(-(2**63), "i64"),
        Const(7, "u8", 4),
        Const(True, "bool"), Const(False, "bool", 8), Const(True, "i32"),
    ],
)  # fmt: skip
def test_constants(constant: Const) -> None:
    made = Kernel("k", (), (), (Let(Var("v", constant.dtype, constant.width), constant),))
    assert_round_trip(made)
    (let,) = parse_kernel(print_kernel(made)).body
    assert isinstance(let, Let)
    assert isinstance(let.value, Const)
    assert type(let.value.value) is type(constant.value)
    assert math.copysign(1, let.value.value) == math.copysign(1, constant.value)


def test_nan_and_numpy_scalars() -> None:
    values = [math.nan, np.float32(0.1), np.int64(3)]
    made = Kernel("k", (), (), tuple(Let(Var(f"v{i}", "f32"), Const(v, "f32")) for i, v in enumerate(values)))  # type: ignore[arg-type]
    assert print_kernel(made).splitlines()[1:-1] == [
        "  let %v0: f32 = nan", "  let %v1: f32 = 0.10000000149011612", "  let %v2: f32 = 3.0",
    ]  # fmt: skip
    assert print_kernel(parse_kernel(print_kernel(made))) == print_kernel(made)


def test_names_of_any_kind() -> None:
    odd = ["fc1.weight", "let", "inf", "for", "a b", "%", '\u00e4\n"\\', "", "x16", "read"]
    buffers = tuple(BufferArgument(name, "f32", "readwrite") for name in odd)
    body = tuple(Store(name, integer(0), Load(name, integer(1), "f32")) for name in odd)
    assert_round_trip(Kernel("a kernel", buffers, (), body))
    counted = tuple(For(Var(f"{name}?", "i64"), integer(0), integer(1), integer(1), ()) for name in odd)
    assert_round_trip(Kernel("for", (), (), counted, comment=("", " // x", "/// y  ", "@\t%")))


def test_siblings_may_use_a_name_for_different_types() -> None:
    def block(dtype: str) -> If:
        v = Var("v", dtype, 4)
        return If(Const(True, "bool"), (Declare(v, Const(1.0, dtype, 4)), Assign(v, Apply("neg", (v,), dtype, 4))))

    assert_round_trip(Kernel("k", (), (), (block("f32"), block("i32"), block("f64"))))


def test_deep_expressions() -> None:
    deep: Expr = Var("n", "i64")
    for _ in range(20_000):
        deep = Apply("add", (deep, integer(1)), "i64")
    text = print_kernel(Kernel("k", (), (Var("n", "i64"),), (Let(Var("v", "i64"), deep),)))
    assert text.count("add(") == 20_000
    assert print_kernel(parse_kernel(text)) == text


# --- random kernels, most of them breaking the rules --------------------------------------------------------

DTYPES = st.sampled_from(["f32", "f64", "i32", "i64", "u8", "bool", "f16"])
WIDTHS = st.sampled_from([1, 1, 2, 4, 16])
NAMES = st.sampled_from(["a", "b", "c", "x.y", "let", "Zz"])
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.floats(width=32, allow_nan=False),
)
VARIABLES = st.builds(Var, NAMES, DTYPES, WIDTHS)
EXPRESSIONS = st.recursive(
    st.one_of(
        st.builds(Const, VALUES, DTYPES, WIDTHS), VARIABLES, st.builds(Iota, DTYPES, WIDTHS),
        st.builds(WorkItem, st.sampled_from(QUERIES)),
    ),
    lambda inner: st.one_of(
        st.builds(Load, NAMES, inner, DTYPES, WIDTHS),
        st.builds(Splat, inner, WIDTHS),
        st.builds(Reduce, st.sampled_from(list(REDUCTIONS)), inner),
        st.builds(
            Apply, st.sampled_from(["add", "max", "fma", "select", "cast", "not", "lt", "reduce_sum", "zzz"]),
            st.lists(inner, max_size=3).map(tuple), DTYPES, WIDTHS,
        ),
    ),
    max_leaves=12,
)  # fmt: skip
STATEMENTS = st.recursive(
    st.one_of(
        st.builds(Let, VARIABLES, EXPRESSIONS), st.builds(Declare, VARIABLES, EXPRESSIONS),
        st.builds(Assign, VARIABLES, EXPRESSIONS), st.builds(Barrier),
        st.builds(Store, NAMES, EXPRESSIONS, EXPRESSIONS, st.booleans()),
        st.builds(AtomicMin, NAMES, EXPRESSIONS, EXPRESSIONS),
        st.builds(Prefetch, NAMES, EXPRESSIONS, st.integers(1, 3)),
    ),
    lambda inner: st.one_of(
        st.builds(If, EXPRESSIONS, st.lists(inner, max_size=3).map(tuple)),
        st.builds(For, VARIABLES, EXPRESSIONS, EXPRESSIONS, EXPRESSIONS, st.lists(inner,
        max_size=3).map(tuple)),
    ),
    max_leaves=6,
)  # fmt: skip
LINES = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))
ACCESS = st.sampled_from(["read", "write", "readwrite"])
KERNELS = st.builds(
    Kernel, NAMES,
    st.lists(st.builds(BufferArgument, NAMES, DTYPES, ACCESS), max_size=3).map(tuple),
    st.lists(VARIABLES, max_size=2).map(tuple),
    st.lists(STATEMENTS, max_size=4).map(tuple),
    st.lists(st.builds(LocalArray, NAMES, DTYPES, st.integers(0, 99)), max_size=2).map(tuple),
    st.lists(st.builds(PrivateArray, NAMES, DTYPES, st.integers(0, 99)), max_size=2).map(tuple),
    st.integers(0, 2000),
    st.lists(LINES, max_size=2).map(tuple),
)  # fmt: skip


@given(KERNELS)
@settings(max_examples=300, deadline=None)
def test_random_kernels(made: Kernel) -> None:
    assert_round_trip(made)
    # The checker says what is wrong with any kernel, whatever it is.
    assert all(isinstance(problem, str) for problem in kernel_problems(made, CPU_AVX512))


# --- bad text -----------------------------------------------------------------------------------------------

BAD = {
    "kernel @k() {\n  let %a: f32 = add(1.0, 2.0\n}": ("LIR0010", 3, 1),
    "kernel @k() {\n  let %a: f32 = ?\n}": ("LIR0010", 2, 17),
    "kernel @k() {": ("LIR0010", 1, 14),
    "": ("LIR0010", 1, 1),
    "kernel @k() {\n  store %y[0] = %a\n}": ("LIR0001", 2, 17),
    "kernel @k() {\n  let %a: i64 = %y[0]\n}": ("LIR0001", 2, 17),
    "kernel @k() {\n  let %a: f33 = 0.0\n}": ("LIR0001", 2, 11),
    "kernel @k() {\n  let %a: f32x = 0.0\n}": ("LIR0001", 2, 11),
    "kernel @k() {\n  let %a: f32 = exq(0.0)\n}": ("LIR0001", 2, 17),
    "kernel @k() {\n  let %a: f32 = add(0.0, 1)\n}": ("LIR0001", 2, 17),
    "kernel @k() {\n  let %a: f32 = cast(1)\n}": ("LIR0001", 2, 17),
    "kernel @k() {\n  let %a: f32 = splat(1)\n}": ("LIR0001", 2, 17),
    "kernel @k() {\n  let %a: i64 = global_id(1)\n}": ("LIR0001", 2, 17),
    "kernel @k() {\n  let %a: i64 = global_id():f32\n}": ("LIR0001", 2, 29),
    "kernel @k() {\n  let %a: i64 = 123456789012345678901\n}": ("LIR0001", 2, 17),
    'kernel @k() {\n  let %"\\q": i64 = 1\n}': ("LIR0001", 2, 7),
}


@pytest.mark.parametrize("text", BAD)
def test_bad_text(text: str) -> None:
    code, line, column = BAD[text]
    with pytest.raises(LirError) as caught:
        parse_kernel(text, "k.txt")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == code
    assert diagnostic.span is not None
    assert diagnostic.span.source.line_column(diagnostic.span.start) == (line, column)
    assert str(caught.value).startswith(f"k.txt:{line}:{column}: error[{code}]")


def test_similar_names_are_suggested() -> None:
    with pytest.raises(LirError, match="did you mean `width`"):
        parse_kernel("kernel @k(scalar %width: i64) {\n let %a: i64 = %widht\n}")


@pytest.mark.parametrize("text", [*ALL.values(), print_program(sum_program())])
def test_mutated_text_is_refused_or_read(text: str) -> None:
    source = random.Random(7)
    parse = parse_program if text.startswith("program") else parse_kernel
    refused = read = 0
    for _ in range(150):
        place, count = source.randrange(len(text)), source.choice([0, 1, 5])
        mutant = text[:place] + source.choice(["", "%", "(", ")", "9", ":", "x", "{", "}", '"']) + text[place + count :]
        try:
            found = parse(mutant)
        except LirError as error:
            refused += all(diagnostic.span is not None for diagnostic in error.diagnostics)
        else:
            read += 1
            print_again = print_kernel(found) if isinstance(found, Kernel) else print_program(found)
            assert parse(print_again) == found
    assert refused + read == 150
    assert refused > 10


# --- programs -----------------------------------------------------------------------------------------------


def test_program() -> None:
    program = sum_program()
    text = print_program(program)
    assert parse_program(text) == program
    assert print_program(parse_program(text)) == text
    assert text.count("kernel @") == 2
    assert '  check 0 {code = "sign", message = "no number may be negative"} shape [B, C] value %x\n' in text
    assert '    variant "rows" if ge(%C, 2) {\n' in text


def test_every_field_of_a_program() -> None:
    program = sum_program()
    attributes = {
        "code": "a \"b\"\n", "flag": True, "none": None, "limit": 1e-5, "axes": (1, -2, ()), "low": -math.inf
    }  # fmt: skip
    sizes = (named("for"), 4, replace(named("B"), factor=3, names=("B", "C")))
    full = replace(
        program,
        name="a.b c",
        dims=("B", "C", "for"),
        inputs=(("fc1.weight", Type("bf16", sizes)), *program.inputs),
        params=("fc1.weight", "x y"),
        buffers={**program.buffers, "w": Buffer("w", "bf16", integer(3), "input", (), None)},
        checks=(replace(program.checks[0], attributes=attributes, shape=(), value_buffer=None),),
        steps=(*program.steps, Step("empty step", ())),
        output_buffers=(),
    )
    assert parse_program(print_program(full)) == full
    bare = replace(full, dims=(), inputs=(), outputs=(), params=(), buffers={}, checks=(), steps=())
    assert parse_program(print_program(bare)) == bare
    assert list(program_problems(program)) == []


def test_names_that_a_text_cannot_tell_apart() -> None:
    program = sum_program()
    (step,) = program.steps
    rows, direct = step.variants
    other = replace(direct.launches[0], entry=replace(direct.launches[0].kernel, body=()))
    with pytest.raises(CompilerBug, match="two kernels called finish"):
        print_program(replace(program, steps=(Step("sum", (rows, replace(direct, launches=(other,)))),)))
    with pytest.raises(CompilerBug, match="calls buffer total sum"):
        print_program(replace(program, buffers={"sum": program.buffers["total"]}))
    odd = replace(program.checks[0], attributes={"code": {1}})
    with pytest.raises(CompilerBug, match="has no text"):
        print_program(replace(program, checks=(odd,)))


def test_launch_of_a_kernel_that_does_not_follow() -> None:
    text = print_program(sum_program()).replace("launch @scale", "launch @scole")
    with pytest.raises(LirError, match="no kernel @scole"):
        parse_program(text)


def test_statements_are_all_tried() -> None:
    # A statement that is added to the kernel IR must be added to the random kernels here.
    tried = {Let, Declare, Assign, Store, For, If, Barrier, AtomicMin, Prefetch}
    assert set(Stmt.__args__) == tried  # type: ignore[attr-defined]
