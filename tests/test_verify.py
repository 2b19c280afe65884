"""Each rule of the verifier, broken alone in an otherwise sound module."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lossc.ir.call_graph import callees_first, depth_first
from lossc.ir.composites import make_op
from lossc.ir.diagnostics import LirError
from lossc.ir.function import Function, Module, Op, Value
from lossc.ir.parser import parse
from lossc.ir.signature import make_call, substitute, unify
from lossc.ir.types import Dim, Type, named
from lossc.ir.verify import check_module, check_type, verify

X = Type("f32", (named("B"), 10))
x, y = Value("x", X), Value("y", X)
exp = make_op("exp", [x], {})
add = make_op("add", [x, exp.result], {})
SOUND = Function("f", (x, y), (exp, add), (add.result,), frozenset([y]))


def module_of(*functions: Function) -> Module:
    return Module({function.name: function for function in functions})


def with_ops(*ops: Op) -> Module:
    return module_of(SOUND.with_(ops=ops, outputs=()))


def typed(type_: Type) -> Module:
    return module_of(SOUND.with_(inputs=(*SOUND.inputs, Value("z", type_))))


CALLEE = parse("func @g(%a: f32[N, 10]) -> (f32[N]) {\n %s = reduce_sum %a {axes = [1]}\n return %s\n}").functions["g"]
SAME = parse("func @h(%a: f32[N]) -> (f32[N]) {\n return %a\n}").functions["h"]
KERNEL = CALLEE.with_(name="k", kind="kernel")
CALL = make_call("call", CALLEE, [x])
LAUNCH = make_call("launch", KERNEL, [x])
GRADIENT = parse("func @v(%a: f32[N, 10], %b: f32[N, 10], %g: f32[N, 10]) -> (f32[N, 10], f32[N, 10]) {\n"
                 " return %g, %g\n}").functions["v"]  # fmt: skip

BROKEN = {
    "kind": (module_of(SOUND.with_(kind="method")), "LIR0001", "expected func or kernel"),
    "input name": (module_of(SOUND.with_(inputs=(*SOUND.inputs, Value("a b", X)))), "LIR0048", "is not a name"),
    "two inputs": (module_of(SOUND.with_(inputs=(x, y, Value("x", X)))), "LIR0048", "two inputs called %x"),
    "param": (module_of(SOUND.with_(params=frozenset([Value("p", X)]))), "LIR0048", "is not one of its inputs"),
    "result names": (module_of(SOUND.with_(output_names=("a", "b"))), "LIR0048", "1 results and 2 names"),
    "result name": (module_of(SOUND.with_(output_names=("1",))), "LIR0048", "is not a name for a result"),
    "two results": (
        module_of(SOUND.with_(outputs=(x, y), output_names=("a", "a"))), "LIR0048", "have the same name"),
    "key": (Module({"g": SOUND}), "LIR0048", "known as 'g'"),
    "function name": (module_of(SOUND.with_(name="a-b")), "LIR0048", "is not a name for a function"),
    "entry": (Module({"f": SOUND}, "g"), "LIR0040", "to be the entry"),
    "before its definition": (with_ops(add, exp), "LIR0020", "used by `add` before it is defined"),
    "of another function": (with_ops(make_op("exp", [Value("z", X)], {})), "LIR0020", "%z is used"),
    "defined twice": (with_ops(exp, exp), "LIR0021", "defined twice"),
    "input defined": (with_ops(replace(exp, results=(x,))), "LIR0021", "%x is defined twice"),
    "undefined result": (module_of(SOUND.with_(outputs=(Value("z", X),))), "LIR0020", "returns %z"),
    "operation": (with_ops(replace(exp, name="exq")), "LIR0022", "unknown operation `exq`"),
    "operands": (with_ops(replace(exp, operands=(x, x))), "LIR0025", "found 2"),
    "no results": (with_ops(replace(exp, results=())), "LIR0026", "gives 1 results, found 0"),
    "result type": (
        with_ops(replace(exp, results=(Value("e", Type("f32", (10, named("B")))),))), "LIR0032", "has type f32[10, B]"),
    "attribute missing": (with_ops(replace(make_op("cast", [x], {"dtype": "f16"}), attributes={})), "LIR0023", "needs"),
    "attribute unknown": (with_ops(replace(exp, attributes={"axis": 1})), "LIR0023", "no attribute `axis`"),
    "default left out": (
        with_ops(replace(make_op("softmax", [x], {}), attributes={})), "LIR0023", "not complete"),
    "list for a tuple": (
        with_ops(replace(make_op("transpose", [x], {"permutation": (1, 0)}), attributes={"permutation": [1, 0]})),
        "LIR0023", "not complete"),
    "dtype": (typed(Type("f31", ())), "LIR0034", "unknown element type"),
    "rank": (typed(Type("f32", (1,) * 33)), "LIR0013", "33 axes"),
    "negative size": (typed(Type("f32", (-1,))), "LIR0034", "`-1` is not a dimension"),
    "truth as a size": (typed(Type("f32", (True,))), "LIR0034", "not a dimension"),
    "size": (typed(Type("f32", (2**63,))), "LIR0013", "at most 2^63 - 1"),
    "count": (typed(Type("f32", (2**32, 2**31))), "LIR0013", "more than 2^63 - 1 elements"),
    "dim order": (typed(Type("f32", (Dim(1, ("B", "A")),))), "LIR0034", "not a dimension"),
    "dim factor": (typed(Type("f32", (Dim(0, ("B",)),))), "LIR0034", "not a dimension"),
    "dim name": (typed(Type("f32", (named("a b"),))), "LIR0034", "not a dimension"),
    "long dim": (typed(Type("f32", (Dim(1, ("B",) * 1025),))), "LIR0013", "too large"),
    "callee": (module_of(SOUND.with_(ops=(CALL,), outputs=())), "LIR0040", "no function @g"),
    "call attributes": (
        module_of(SOUND.with_(ops=(replace(CALL, attributes={"callee": 1}),), outputs=()), CALLEE),
        "LIR0023", "callee"),
    "call results": (
        module_of(SOUND.with_(ops=(replace(CALL, results=(Value("s", X),)),), outputs=()), CALLEE), "LIR0032", "gives"),
    "call operands": (
        module_of(SOUND.with_(ops=(replace(CALL, operands=()),), outputs=()), CALLEE), "LIR0047", "found 0"),
    "call of a kernel": (
        module_of(SOUND.with_(ops=(replace(CALL, attributes={"callee": "k"}),), outputs=()), KERNEL),
        "LIR0043", "which is a kernel"),
    "launch of a function": (
        module_of(SOUND.with_(ops=(replace(LAUNCH, attributes={"callee": "g"}),), outputs=()), CALLEE),
        "LIR0043", "which is a func"),
    "launch in a kernel": (
        module_of(SOUND.with_(ops=(LAUNCH,), outputs=(), kind="kernel"), KERNEL),
        "LIR0043", "the kernel @f launches @k"),
    "recursion": (
        module_of(SAME.with_(ops=(make_call("call", SAME, SAME.inputs),))), "LIR0042", "recursion: @h calls @h"),
    "size not given": (
        module_of(
            SOUND.with_(ops=(CALL,), outputs=()),
            CALLEE.with_(ops=(*CALLEE.ops, make_op("iota", [], {"axis": 0, "dtype": "i32", "shape": (named("K"),)}))),
        ), "LIR0049", "size of K"),
    "no gradient": (module_of(SOUND.with_(gradient="v")), "LIR0040", "to be the gradient"),
    "gradient": (module_of(SOUND.with_(gradient="g"), CALLEE), "LIR0046", "cannot be the gradient"),
    "gradient kernel": (
        module_of(SOUND.with_(gradient="v"), GRADIENT.with_(kind="kernel")), "LIR0046", "cannot be the gradient"),
}  # fmt: skip


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_found_and_nothing_else(rule: str) -> None:
    module, code, words = BROKEN[rule]
    found = verify(module)
    assert {diagnostic.code for diagnostic in found} == {code}
    assert any(words in diagnostic.message for diagnostic in found)
    with pytest.raises(LirError):
        check_module(module)


def test_sound_modules_pass() -> None:
    for module in (
        Module({}), module_of(SOUND), module_of(SOUND.with_(ops=(CALL, LAUNCH), outputs=()), CALLEE, KERNEL),
        module_of(SOUND.with_(gradient="v"), GRADIENT),
    ):  # fmt: skip
        assert verify(module) == []
        assert check_module(module) is module


def test_nan_attributes_are_equal_to_themselves() -> None:
    nan = make_op("constant", [], {"value": float("nan"), "dtype": "f32"})
    attributes = {**nan.attributes, "value": float("nan")}
    copied = replace(nan, attributes=attributes, results=(Value("c", nan.result.type),))
    assert verify(module_of(Function("f", (), (nan, copied), ()))) == []


def test_a_type_is_checked_on_its_own() -> None:
    check_type(Type("bf16", (0, named("B"), Dim(2**63 - 1, ("B", "B")))[:2]))
    with pytest.raises(LirError, match="unknown element type"):
        check_type(Type("float32"))


# --- calls --------------------------------------------------------------------------------------------------------


def interface(*shapes: str) -> Function:
    inputs = ", ".join(f"%x{number}: f32[{shape}]" for number, shape in enumerate(shapes))
    return parse(f"func @f({inputs}) -> () {{\n  return\n}}").functions["f"]


def types(*shapes: str) -> list[Type]:
    return [value.type for value in interface(*shapes).inputs]


@pytest.mark.parametrize(
    ("inputs", "operands", "sizes"),
    [
        (["N, 10"], ["8, 10"], {"N": 8}),
        (["N, M"], ["M, N"], {"N": named("M"), "M": named("N")}),
        (["N", "N, N"], ["2*B", "2*B, 2*B"], {"N": Dim(2, ("B",))}),
        (["2*N"], ["6"], {"N": 3}),
        (["2*N"], ["2*B*T"], {"N": Dim(1, ("B", "T"))}),
        (["N*M", "N"], ["12", "4"], {"N": 4, "M": 3}),
        (["N*M", "N"], ["6*B*T", "2*B"], {"N": Dim(2, ("B",)), "M": Dim(3, ("T",))}),
        (["N", "2*N"], ["0", "0"], {"N": 0}),
        ([""], [""], {}),
    ],
)
def test_dimensions_unify(inputs: list[str], operands: list[str], sizes: dict[str, object]) -> None:
    function = interface(*inputs)
    assert unify(function, types(*operands)) == sizes
    assert [substitute(value.type, unify(function, types(*operands))) for value in function.inputs] == types(*operands)


@pytest.mark.parametrize(
    ("inputs", "operands"),
    [
        (["N, N"], ["8, 10"]), (["N", "N"], ["B", "T"]), (["2*N"], ["7"]), (["2*N"], ["B"]), (["N*M"], ["12"]),
        (["N*N"], ["4"]), (["10"], ["B"]), (["N"], ["N, N"]), (["N", "N"], ["4"]), (["N", "N*M"], ["0", "0"]),
    ],
)  # fmt: skip
def test_dimensions_that_do_not_unify_are_refused(inputs: list[str], operands: list[str]) -> None:
    with pytest.raises(LirError) as caught:
        unify(interface(*inputs), types(*operands))
    assert caught.value.diagnostics[0].code == "LIR0047"


def test_names_of_caller_and_callee_are_kept_apart() -> None:
    function = parse(
        "func @f(%x: f32[A, B]) -> (f32[B, A]) {\n %y = transpose %x {permutation = [1, 0]}\n return %y\n}"
    ).entry
    call = make_call("call", function, [Value("x", Type("f32", (named("B"), named("A"))))])
    assert str(call.result.type) == "f32[A, B]"


def test_callees_come_first() -> None:
    text = "".join(
        f"func @{name}(%x: f32[N]) -> (f32[N]) {{\n  %y = {called}\n  return %y\n}}\n"
        for name, called in {
            "a": "call @c(%x)",
            "b": "call @a(%x)",
            "c": "exp %x",
            "d": "call @c(%x)",
        }.items()
    )
    assert [function.name for function in callees_first(parse(text))] == ["c", "a", "b", "d"]


def test_depth_first_finds_a_cycle_wherever_it_hangs() -> None:
    assert depth_first({"a": ["b"], "b": ["c"], "c": []}) == (["c", "b", "a"], None)
    assert depth_first({"a": ["b", "x"], "b": ["c"], "c": ["b"]})[1] == ["b", "c"]
    assert depth_first({"a": ["a"]})[1] == ["a"]
    chain = {number: [number + 1] for number in range(100_000)}
    assert len(depth_first(chain)[0]) == 100_000
