"""A fixed selection of random functions agrees at every level, and what is wrong anywhere is found and shrunk.

`python -m tests.fuzzing --seeds 10000` runs others; what that finds becomes a test of its own beside like ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from fuzzing.arrays import arrays
from fuzzing.functions import Example, make_example
from fuzzing.levels import Subject
from fuzzing.networks import make_network
from fuzzing.reference import refer
from fuzzing.search import described, disagreement, smallest
from fuzzing.shrink import shrink
from lossc.compiler.functions import without_dead
from lossc.compiler.passes import canonicalize as canonicalize_module
from lossc.compiler.pipeline import run_passes
from lossc.ir.function import Module, Op
from lossc.ir.parser import parse
from lossc.ir.printer import print_module

SEEDS = {"passes": 120, "simulator": 75, "intel": 30, "pocl": 6}
"""About a quarter of a minute a level on one core; a device builds kernels for each."""
NETWORKS = {"passes": 12, "intel": 4}
PARTS = 3


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("level", ["passes", "simulator"])
def test_random_functions_agree(level: str, part: int) -> None:
    check(level, part)


@pytest.mark.parametrize("part", range(PARTS))
def test_random_functions_agree_on_devices(part: int, device: Any) -> None:
    check(level_of(device), part)


def test_random_networks_agree() -> None:
    check_examples("passes", map(make_network, range(NETWORKS["passes"])))


@pytest.mark.parametrize("device", ["intel"], indirect=True)
def test_random_networks_agree_on_a_device(device: Any) -> None:
    """The other one takes half a minute for each."""
    check_examples("intel", map(make_network, range(NETWORKS["intel"])))


def level_of(device: Any) -> str:
    return "pocl" if "portable" in str(device).lower() else "intel"


def check(level: str, part: int) -> None:
    check_examples(level, map(make_example, range(part, SEEDS[level], PARTS)))


def check_examples(level: str, examples: Iterable[Example]) -> None:
    for example in examples:
        found = disagreement(example, level)
        assert found is None, f"seed {example.seed}: {found}\n{described(smallest(example, level))}"


def test_a_seed_is_a_function() -> None:
    assert described(make_example(7)) == described(make_example(7)) != described(make_example(8))


# --- that it can fail -----------------------------------------------------------------------------------------


def test_a_wrong_rewrite_is_found_and_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    def exchanged(op: Op) -> Op:
        return Op("sub", op.operands[::-1], op.attributes, op.results, op.span) if op.name == "sub" else op

    def canonicalize(module: Module) -> Module:
        function = module.entry
        return module.with_function(function.with_(ops=tuple(map(exchanged, function.ops))))

    monkeypatch.setattr(canonicalize_module, "canonicalize", canonicalize)
    example = next(e for e in map(make_example, range(100)) if disagreement(e, "passes") and len(e.function.ops) > 5)
    small = smallest(example, "passes")
    assert len(small.function.ops) <= 3
    # Perhaps within a loss.
    assert any(op.name == "sub" for op in run_passes(small.module, ("expand",)).entry.ops)
    assert print_module(parse(described(small))) == print_module(small.module)


SHIFTED = """func @f(%x: f32[N, 5]) -> (%d: f32[N, 5], %m: f32[N]) {
  %m = reduce_max %x {axes = [1]}
  %wide = broadcast %m {dims = [0], shape = [N, 5]}
  %d = sub %x, %wide
  return %d, %m
}"""


def example_of(text: str) -> Example:
    return Example(0, parse(text).entry, {"N": 7}, 1)


def off_by_little(array: np.ndarray) -> np.ndarray:
    return array + 1e-3 * (np.arange(array.size) == array.size - 1).reshape(array.shape)


WRONG: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "one element": ("mild", off_by_little),
    "a lost NaN": ("nan", np.nan_to_num),
    "a lost infinity": ("special", lambda array: np.where(np.isinf(array), 3e38, array)),
    "a row for another": ("ties", lambda array: np.roll(array, 1, axis=0)),
    "another shape": ("mild", lambda array: array[:-1]),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_result_is_told(mistake: str) -> None:
    kind, change = WRONG[mistake]
    subject = Subject(example_of(SHIFTED))
    given = arrays(subject.example, kind)
    reference = refer(subject.prepared, given)
    assert reference is not None
    assert [reference.difference(index, value) for index, value in enumerate(reference.values)] == [None, None]
    assert any(reference.difference(index, change(value)) for index, value in enumerate(reference.values))


def test_nothing_is_said_of_what_hangs_on_rounding() -> None:
    """inf - inf of two sums that overflow in one order only, and a comparison of what is equal but for roundings."""
    large = example_of("""func @f(%x: f32[N, 5]) -> (%s: f32[N]) {
      %c = constant {value = 3e38, dtype = f32, shape = [N, 5]}
      %y = mul %x, %c
      %s = reduce_sum %y {axes = [1]}
      return %s
    }""")
    assert refer(large.function, arrays(large, "mild")) is None
    equal = example_of("""func @f(%x: f32[N, 5]) -> (%same: bool[N, 5]) {
      %third = constant {value = 0.3333333333333333, dtype = f32, shape = [N, 5]}
      %three = constant {value = 3.0, dtype = f32, shape = [N, 5]}
      %a = mul %x, %third
      %b = div %x, %three
      %same = lt %a, %b
      return %same
    }""")
    reference = refer(equal.function, arrays(equal, "mild"))
    assert reference is not None
    assert reference.difference(0, ~reference.values[0]) is None


def test_shrinking_keeps_what_fails() -> None:
    """The smallest function that has a maximum."""
    example = next(e for e in map(make_example, range(100)) if _has_maximum(e) and len(e.function.ops) > 20)
    small = shrink(example, _has_maximum)
    assert [op.name for op in small.function.ops] == ["reduce_max"]
    assert len(small.function.inputs) == len(small.function.outputs) == 1


def _has_maximum(example: Example) -> bool:
    return any(op.name == "reduce_max" for op in without_dead(example.function).ops)
