"""The three promises of CONTRIBUTING, kept by doing: a new loss, pass or strategy is one new file.

Each test adds a file to a copy of the packages, laid out as they are installed, and uses it in a process of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LOSS = '''"""A loss that nobody else has."""

from __future__ import annotations

from ..tensor import Tensor
from ._reduction import like, reduce_loss, same_shape


def charbonnier_loss(x: Tensor, t: Tensor, *, width: float = 0.5, reduction: str = "mean") -> Tensor:
    """sqrt(d^2 + width^2) - width: a square near 0, the absolute value far out."""
    same_shape(x, t)
    x = x.widen()
    d = x - like(t, x)
    return reduce_loss((d * d + width * width).sqrt() - width, reduction)
'''

ROW = """    Row("charbonnier", "charbonnier_loss", "input, target, width=0.5, reduction='mean'", "input target",
        shapes.elements, bodies.stretched),
"""
LAST_ROW = """)  # fmt: skip

LOSSES: """

PASS = '''"""Negate twice: neg(neg(x)) = x, and nothing else."""

from __future__ import annotations

from ...ir.function import Module, Op, Value
from ..functions import map_functions
from ..rewrite import Log, Rebuild, rewrite


def drop_double_negation(module: Module, log: Log | None = None) -> Module:
    """Replace neg(neg(x)) by x."""
    return map_functions(module, lambda function: rewrite(function, RULES, log))


def negated_twice(op: Op, build: Rebuild) -> Value | None:
    """neg(neg(x)) = x  exact

    Before:  %a = neg %x ; %b = neg %a
    After:   %x in place of %b
    """
    inner = build.match(op.operands[0], "neg")
    return None if inner is None else inner.operands[0]


RULES = {"neg": (negated_twice,)}
'''

STRATEGY = '''"""Each work-item owns whole rows and goes along them element by element."""

from __future__ import annotations

from dataclasses import replace

from ...ir.program import Variant
from ...ir.target import DeviceInfo
from ..fused import Fused
from . import row_item


def applies(fused: Fused, device: DeviceInfo) -> str | None:
    if not fused.schedule.reduced:
        return "it has no rows to go along"
    return row_item.applies(fused, device)


def cost(fused: Fused, device: DeviceInfo) -> float:
    return 8.0


def lower(fused: Fused, device: DeviceInfo) -> list[Variant]:
    variants = row_item.lower(fused, replace(device, vector_width=1))
    return [replace(variant, strategy="one-by-one") for variant in variants]
'''


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with a copy of everything that is installed."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "lossc", tmp_path / "lossc", ignore=ignore)
    for name in ("ir", "compiler", "runtime"):
        shutil.copytree(ROOT / name, tmp_path / "lossc" / name, ignore=ignore)
    return tmp_path


def python(packages: Path, *arguments: str, status: int = 0) -> str:
    """What a fresh Python prints that imports the copy."""
    path = os.pathsep.join([str(packages), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=packages, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_copy_is_what_runs(packages: Path) -> None:
    found = python(packages, "-c", "import lossc, lossc.ir, lossc.compiler; print(lossc.__file__, lossc.ir.__file__)")
    assert all(Path(file).is_relative_to(packages) for file in found.split())


def test_a_new_loss_is_one_file(packages: Path) -> None:
    (packages / "lossc" / "ir" / "losses" / "charbonnier.py").write_text(LOSS)

    # In the list of operations, with its formula.
    assert "sqrt(d^2 + width^2)" in python(packages, "-m", "lossc", "ops", "charbonnier_loss")

    # In the text, the graph API and its documentation; differentiated, fused into one kernel, right on a device.
    python(
        packages,
        "-c",
        """
import numpy as np
import lossc
from lossc.compiler.fusion.outline import outline
from lossc.compiler.pipeline import run_passes
from lossc.ir.parser import parse

text = '''func @f(%x: f32[N, 33], %t: f32[N, 33]) -> (%loss: f32[1], %g: f32[N, 33]) {
  %loss = charbonnier_loss %x, %t {width = 2.0}
  %g = grad %loss, %x
  return %loss, %g
}'''
assert len(outline(run_passes(parse(text), ("prepare",))).schedules) == 1

g = lossc.Graph()
x, t = g.input("x", (None, 33)), g.input("t", (None, 33))
loss = g.charbonnier_loss(x, t, width=2.0)
assert "sqrt(d^2 + width^2)" in g.charbonnier_loss.__doc__
g.set_outputs([loss])
generator = np.random.default_rng(0)
arrays = {name: generator.normal(size=(5, 33)).astype(np.float32) for name in "xt"}
(value,), gradients = g.compile(grad=["x"])(**arrays)
d = (arrays["x"] - arrays["t"]).astype(np.float64)
np.testing.assert_allclose(value, [(np.sqrt(d * d + 4) - 2).mean()], rtol=1e-6)
np.testing.assert_allclose(gradients["x"], d / np.sqrt(d * d + 4) / d.size, rtol=1e-5, atol=1e-9)
""",
    )

    # In the agreement matrix, with all its operands, attributes, dtypes and strategies.
    cases = python(packages, "-m", "agreement", "--op", "charbonnier_loss", "--list")
    assert all(word in cases for word in ("width=0.5", "reduction='none'", "dtype=bf16", "strategy=row-item", "t=u8"))
    matrix = ("-m", "agreement", "--op", "charbonnier_loss")
    assert ", 0 disagree" in python(packages, *matrix, "--at", "passes", "--at", "cpu", "--shard", "1/6")
    assert ", 0 disagree" in python(packages, *matrix, "--at", "intel", "--shard", "1/12")


def test_one_row_says_how_tensors_come_in(packages: Path) -> None:
    """`lossc.functional` and `lossc.torch` have the loss under its name, with the arguments and gradients of a row."""
    (packages / "lossc" / "ir" / "losses" / "charbonnier.py").write_text(LOSS)
    table = packages / "lossc" / "losses" / "table.py"
    text = table.read_text()
    assert text.count(LAST_ROW) == 1
    table.write_text(text.replace(LAST_ROW, f"{ROW}{LAST_ROW}"))
    python(
        packages,
        "-c",
        """
import importlib.util
import numpy as np
import lossc.functional as F

generator = np.random.default_rng(0)
x, t = generator.normal(size=(5, 33)).astype(np.float32), generator.normal(size=33).astype(np.float32)
d = (x - t).astype(np.float64)
expected, slope = np.sqrt(d * d + 4) - 2, d / np.sqrt(d * d + 4)
np.testing.assert_allclose(F.charbonnier(x, t, 2.0, "none"), expected, rtol=1e-5, atol=1e-6)
loss, gradient = F.value_and_grad(F.charbonnier)(x, t, width=2.0)
np.testing.assert_allclose(loss, expected.mean(), rtol=1e-6)
np.testing.assert_allclose(gradient, slope / d.size, rtol=1e-5, atol=1e-9)

if importlib.util.find_spec("torch"):
    import torch
    import lossc.torch
    tensor = torch.tensor(x, requires_grad=True)
    lossc.torch.charbonnier(tensor, torch.tensor(t), width=2.0).backward()
    np.testing.assert_allclose(tensor.grad, slope / d.size, rtol=1e-5, atol=1e-9)
""",
    )


def test_a_wrong_loss_is_noticed(packages: Path) -> None:
    """A loss whose declared derivative is wrong fails the check against differences."""
    wrong = LOSS.replace("d = x - like(t, x)", "d = (x - like(t, x)).with_gradient((x, x.constant(2.0)))")
    (packages / "lossc" / "ir" / "losses" / "charbonnier.py").write_text(wrong)
    test = "test_gradients.test_differences_in_a_random_direction"
    code = f"""
import test_gradients
try:
    {test}('charbonnier_loss')
except AssertionError as error:
    print('noticed', error)
"""
    assert "noticed charbonnier_loss" in python(packages, "-c", code)


def test_a_new_pass_is_one_file(packages: Path) -> None:
    (packages / "lossc" / "compiler" / "passes" / "drop_double_negation.py").write_text(PASS)
    source = packages / "f.lir"
    source.write_text("""func @f(%x: f32[4]) -> (f32[4]) {
  %a = neg %x
  %b = neg %a
  %c = exp %b
  return %c
}
""")
    # By name on the command line, with its rewrites in the log, in any order with others.
    found = python(packages, "-m", "lossc", "opt", "f.lir", "--passes", "drop-double-negation,dce")
    assert "exp %x" in found
    assert "neg" not in found
    python(
        packages,
        "-c",
        """
from lossc.compiler.pipeline import help_of, pass_names, run_passes
from lossc.compiler.rewrite import Log
from lossc.ir.parser import load
assert "drop-double-negation" in pass_names()
assert help_of("drop-double-negation") == "Replace neg(neg(x)) by x."
log = Log()
module = run_passes(load("f.lir"), ("drop-double-negation", "dce"), log=log)
assert [op.name for op in module.entry.ops] == ["exp"]
assert any("neg(neg(x)) = x" in str(fired) for fired in log.fired)
""",
    )


def test_a_new_strategy_is_one_file(packages: Path) -> None:
    (packages / "lossc" / "compiler" / "strategies" / "one_by_one.py").write_text(STRATEGY)
    # Discovered, weighed against the others, refused with its reason, taken where it is asked for.
    python(
        packages,
        "-c",
        """
from lossc.compiler import compile_module
from lossc.ir.parser import parse
from lossc.ir.target import CPU_AVX512

def choice(text, strategy=None):
    (found,) = compile_module(parse(text), CPU_AVX512, strategy).lowered.choices.values()
    return found

rows = "func @f(%x: f32[N, 33]) -> (f32[N, 33]) { %y = softmax %x\\n return %y }"
plain = "func @f(%x: f32[N]) -> (f32[N]) { %y = exp %x\\n return %y }"
assert choice(rows).against["one-by-one"].startswith("costs 8.00")
assert choice(rows, "one-by-one").strategy == "one-by-one"
assert choice(plain, "one-by-one").against["one-by-one"] == "it has no rows to go along"
""",
    )
    # In the agreement matrix.
    cases = python(packages, "-m", "agreement", "--op", "softmax", "--list").splitlines()
    own = [case for case in cases if "strategy=one-by-one" in case]
    assert len(own) > 5
    some = [word for case in own[:6] for word in ("--case", case)]
    assert "6 cases, 0 disagree" in python(packages, "-m", "agreement", "--at", "cpu", "--at", "intel", *some)
