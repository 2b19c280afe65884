"""interp = simulate = each device, in few cases for every operation; and that the matrix can tell.

Every case runs in the interpreter before and after the passes and in the simulator; the two devices and a simulated
GPU take turns. `python -m tests.agreement` runs every pair of choices of every operation everywhere.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from agreement.agree import SIMULATED, Problem
from agreement.bounds import ULPS, evaluate_with_bounds
from agreement.cases import ANY, AUTO, COLUMNS, EXECUTORS, ROWS, Case, Size, parse_case
from agreement.covering import cover
from agreement.selection import (
    DTYPES,
    GRADIENTS,
    applicable,
    covering_cases,
    factors_of,
    few_cases,
    is_differentiable,
    length_kind,
    operations,
)
from lossc.compiler.strategies import strategies
from lossc.ir.arithmetic import sub
from lossc.ir.diagnostics import DeviceError
from lossc.ir.kernel import (
    Apply,
    Assign,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Let,
    Reduce,
    Splat,
    Stmt,
    Store,
    walk_statements,
)
from lossc.ir.ops import PRIMITIVES
from lossc.ir.target import CPU_AVX512
from lossc.runtime.device import select
from lossc.runtime.simulate import simulate

CASES = few_cases()

LONG_CASES = tuple(map(parse_case, (
    "bce_with_logits_loss columns=7 rows=2050 strategy=row-split executor=intel target=x:same weight=x:classes",
    "cross_entropy_loss columns=33 rows=2050 strategy=row-split executor=pocl target=i32:rows weight=x:classes",
    "linear columns=5 rows=3000 features=9 strategy=row-split executor=intel gradient=upstream weight=x:matrix"
    " bias=x:features",
    "mse_loss columns=33 rows=300 dtype=bf16 strategy=row-split executor=gpu t=x:same weight=x:classes",
    "cross_entropy_loss columns=70001 rows=1 strategy=row-parts executor=intel target=u8:rows label_smoothing=0.1",
    "js_div_loss columns=66000 rows=1 strategy=row-parts executor=pocl gradient=upstream q_logits=x:same",
    "distillation_loss columns=40000 rows=1 strategy=row-parts executor=gpu teacher=x:same",
    "softmax columns=36001 rows=4 dtype=f16 strategy=row-parts executor=gpu",
)))  # fmt: skip
"""For the strategies that only long columns, or few long rows, have a use for."""

LOOSE = {"hinge_embedding_loss"}
"""Where a bound is of use for few elements only: whether a label is 1 is asked of a computed number."""

LOOSE_IN_16_BITS = {
    "softmax", "log_softmax", "linear", "linear+relu", "linear_cross_entropy_loss", "info_nce_loss", "kl_div_loss",
    "gelu", "silu", "distillation_loss", "cosine_embedding_loss", "hinge_loss", "dice_loss", "l1_loss",
}  # fmt: skip
"""As written these round the terms of long sums, or what nearly cancels: their arithmetic is judged in f32 and f64."""


@pytest.mark.parametrize("case", [*CASES, *LONG_CASES], ids=str)
def test_agreement(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    # No other case has these programs, and to put them on disk some drivers compile them a second time.
    monkeypatch.setenv("LOSSC_CACHE", "0")
    problem = Problem(case)
    wrong: list[str] = []
    for executor in case.executors:
        _need(executor)
        wrong += problem.check(executor)
    assert not wrong, "\n".join([f'python -m tests.agreement --case "{case}"', *wrong])


def _need(executor: str) -> None:
    """Where CI is set, a missing device is a failure."""
    if executor in ("passes", *SIMULATED):
        return
    try:
        select(executor)
    except DeviceError as error:
        if os.environ.get("CI"):
            pytest.fail(f"this test needs the OpenCL implementation {executor}: {error}")
        pytest.skip(f"the OpenCL implementation {executor} is not installed here")


def test_every_choice_is_met() -> None:
    """By every operation: dtypes, gradients, executors, strategies, row lengths, and what it does with a row."""
    for op in operations():
        own = [case for case in CASES if case.op == op]
        assert {case.dtype for case in own} == set(DTYPES), op
        assert {case.executor for case in own} == set(EXECUTORS), op
        assert {case.strategy for case in own} >= {AUTO, *applicable(op, "last", 1000)}, op
        assert any(case.columns == ANY and {c for _, c in case.sizings} == set(case.lengths) for case in own), op
        for factor, choices in factors_of(op).items():
            if factor.startswith("attribute "):
                name = factor.split()[1]
                assert {dict(case.attributes)[name] for case in own} == set(choices), (op, name)
    differentiable = filter(is_differentiable, operations())
    assert {(case.op, case.gradient) for case in CASES} >= {(op, g) for op in differentiable for g in GRADIENTS}


def test_strategies_meet_everything() -> None:
    short = {case.strategy for case in CASES}
    assert short | {case.strategy for case in LONG_CASES} == {AUTO, *strategies()}
    met = {(case.strategy, value) for case in CASES for value in (case.executor, case.dtype, case.gradient)}
    assert met >= {(s, value) for s in short - {AUTO} for value in (*EXECUTORS, *DTYPES, *GRADIENTS)}
    lengths = {(case.strategy, case.columns) for case in CASES}
    assert lengths >= {(s, c) for c in (*COLUMNS, ANY) for s in _on_rows(c)}
    assert {(case.strategy, case.rows) for case in CASES} >= {(s, n) for n in (*ROWS, ANY) for s in _on_rows(1000)}


def _on_rows(columns: Size) -> frozenset[str]:
    """The strategies for the rows of a loss."""
    return applicable("cross_entropy_loss", "last", length_kind(columns))


def test_long_cases_are_split() -> None:
    for case in LONG_CASES:
        choices = Problem(case).compiled(SIMULATED.get(case.executor, CPU_AVX512)).lowered.choices.values()
        assert case.strategy in {choice.strategy for choice in choices}, case


def test_few_cases_for_each_operation() -> None:
    """The matrix grows with the number of operations, not with its square."""
    assert len(CASES) < 10 * len(operations())


def test_all_pairs_by_command() -> None:
    """What `python -m tests.agreement` runs has each row length with each operation and each strategy."""
    cases = covering_cases(2, ("cross_entropy_loss",))
    lengths = (*COLUMNS, ANY)
    assert {case.columns for case in cases} == set(lengths)
    assert {(case.strategy, case.columns) for case in cases} >= {(s, c) for c in lengths for s in _on_rows(c)}


def test_forced_strategies_are_taken() -> None:
    """A case that names a strategy runs it wherever it applies, and nearly always it applies somewhere."""
    forced = [case for case in CASES if case.strategy != AUTO and case.columns not in (1, ANY)]
    taken = 0
    for case in forced:
        choices = Problem(case).compiled(CPU_AVX512).lowered.choices.values()
        for choice in choices:
            assert choice.strategy == case.strategy or not choice.against[case.strategy].startswith("costs"), case
        taken += any(choice.strategy == case.strategy for choice in choices)
    assert taken > 0.75 * len(forced)


def test_cases_read_back() -> None:
    for case in CASES:
        assert parse_case(str(case)) == case


def test_covering_has_every_pair() -> None:
    spaces = [{"a": (1, 2, 3), "b": "xyz", "c": (True, False)}, {"a": (3, 4), "d": "uv"}]
    rows, impossible = cover(spaces, lambda row: row.get("b") != "z" or row["a"] == 1)
    pairs = {((f, row[f]), (g, row[g])) for row in rows for f in row for g in row if f < g}
    assert {(("a", a), ("b", b)) for a in (1, 2, 3) for b in "xy"} <= pairs
    assert {(("a", a), ("d", d)) for a in (3, 4) for d in "uv"} <= pairs
    assert set(impossible) == {(("a", 2), ("b", "z")), (("a", 3), ("b", "z"))}
    assert len(rows) < 16


# --- the bounds -----------------------------------------------------------------------------------------------


def test_every_pointwise_operation_has_a_bound() -> None:
    assert {name for name, row in PRIMITIVES.items() if row.kind == "pointwise"} == set(ULPS)


@pytest.mark.parametrize("op", [op for op in operations() if op not in LOOSE])
def test_bounds_are_of_use(op: str) -> None:
    """Bounds that anything meets prove nothing. A case may have one where all but cancels; of an operation's first few
    cases half have none."""
    own = [case for case in CASES if case.op == op]
    for dtypes in (("f32", "f64"), ("f16", "bf16")):
        cases = [case for case in own if case.dtype in dtypes][:4]
        if "bf16" in dtypes and op in LOOSE_IN_16_BITS:
            continue
        loose = [str(case) for case in cases if list(Problem(case).check_bounds())]
        assert 2 * len(loose) <= len(cases), "\n".join(loose)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_bounds_are_tight(dtype: str) -> None:
    """Bounds that anything meets prove nothing: a mean's is below a thousandth of what one row adds to it."""
    target = "i32:rows"
    case = Case(
        "cross_entropy_loss", dtype=dtype, columns=1000, rows=37, operands=(("target", target), ("weight", "-"))
    )
    problem = Problem(case)
    loss, gradient = problem.allowed[37, 1000]
    unit = {"f32": 2.0**-24, "f64": 2.0**-53}[dtype]
    assert 0 < loss[0] < 200 * unit * abs(problem.references[37, 1000][0][0])
    assert 0 < gradient.max() < 1000 * unit * np.abs(problem.references[37, 1000][1]).max()


def test_bounds_hold_for_a_known_error() -> None:
    """1 - (1 - x) for small x loses what the bound says and no more."""
    from lossc.ir.parser import parse

    text = """func @f(%x: f32[64]) -> (f32[64]) {
      %one = constant {value = 1.0, dtype = f32, shape = [64]}
      %rest = sub %one, %x
      %y = sub %one, %rest
      return %y
    }"""
    x = np.geomspace(1e-6, 1e-1, 64).astype(np.float32)
    (bounded,) = evaluate_with_bounds(parse(text).entry, {"x": x})
    error = np.abs((np.float32(1) - (np.float32(1) - x)) - x.astype(np.float64))
    assert (error <= bounded.error_array()).all()
    assert (bounded.error_array() < 2.0**-23).all()
    assert (error > bounded.error_array() / 8).any()


# --- what the matrix can tell ----------------------------------------------------------------------------------


def _mutants(kernel: Kernel) -> dict[str, Kernel]:
    """Kernels with one mistake each."""
    loops = [
        s for s in walk_statements(kernel.body) if isinstance(s, For) and isinstance(s.step, Const) and s.step.value > 1
    ]
    sums = [s for s in walk_statements(kernel.body) if isinstance(s, Assign) and _op(s.value) == "add"]
    tests = [s for s in walk_statements(kernel.body) if isinstance(s, Let) and _op(s.value) == "eq" and s.var.width > 1]
    stores = [s for s in walk_statements(kernel.body) if isinstance(s, Store) and s.value.width > 1]
    assert loops
    assert sums
    assert tests
    assert stores
    store = stores[-1]
    return {
        "a loop that stops one vector early": _with(kernel, loops[-1], stop=sub(loops[-1].stop, loops[-1].step)),
        "a sum that subtracts": _with(kernel, sums[-1], value=replace(sums[-1].value, op="sub")),
        "a comparison the other way": _with(kernel, tests[0], value=replace(tests[0].value, op="ne")),
        "a store of the first lane only": _with(
            kernel, store, value=Splat(Reduce("max", store.value), store.value.width)
        ),
    }


def _op(value: Expr) -> str:
    return value.op if isinstance(value, Apply) else ""


def _with(kernel: Kernel, old: Stmt, **changes: object) -> Kernel:
    def change(statement: Stmt) -> Stmt:
        if statement is old:
            return replace(statement, **changes)  # type: ignore[arg-type]
        if isinstance(statement, (For, If)):
            return replace(statement, body=tuple(map(change, statement.body)))
        return statement

    return replace(kernel, body=tuple(map(change, kernel.body)))


@pytest.mark.parametrize("number", range(4))
def test_a_wrong_kernel_is_noticed(number: int) -> None:
    case = Case("cross_entropy_loss", columns=100, rows=5, strategy="row-item", operands=(("target", "i32:rows"),))
    problem = Problem(case)
    program = problem.compiled(CPU_AVX512).program
    step = program.steps[-1]
    variant = step.variants[-1]
    launch = variant.launches[0]
    _, kernel = list(_mutants(launch.kernel).items())[number]
    changed = replace(variant, launches=(replace(launch, entry=kernel), *variant.launches[1:]))
    mutant = replace(program, steps=(*program.steps[:-1], replace(step, variants=(changed,))))
    assert list(problem.compare("the mutant", (5, 100), simulate(mutant, problem.arrays[5, 100])))
    assert not list(problem.compare("the kernel", (5, 100), simulate(program, problem.arrays[5, 100])))


def test_a_missing_result_and_another_dtype_are_noticed() -> None:
    problem = Problem(Case("mse_loss", operands=(("t", "x:same"),)))
    program = problem.compiled(CPU_AVX512).program
    (sizing,) = problem.arrays
    right = simulate(program, problem.arrays[sizing])
    wide = [array.astype(np.float64) for array in right]
    flat = [array.reshape(-1) for array in right]
    for wrong in ([], right[:-1], [*right, right[0]], wide, flat):
        assert list(problem.against_reference("the simulator", sizing, wrong, program)), wrong
    assert not list(problem.against_reference("the simulator", sizing, right, program))
