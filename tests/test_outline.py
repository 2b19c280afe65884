"""Cutting into kernels: what one loop nest can do is one kernel, what cannot says why, and values stay."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import run

from lossc.compiler.fusion.outline import Outlined, outline
from lossc.compiler.pipeline import run_passes
from lossc.ir.parser import parse
from lossc.runtime.device import Device


def outlined(text: str) -> Outlined:
    return outline(run_passes(parse(text), ("prepare",)))


def layers(count: int) -> str:
    parameters = ", ".join(f"%w{i}: f32[8, 8], %b{i}: f32[8]" for i in range(count))
    body = "\n".join(
        f"%h{i} = linear %a{i}, %w{i}, %b{i}\n%a{i + 1} = relu %h{i}" for i in range(count)
    )  # fmt: skip
    gradients = ", ".join(f"%gw{i}, %gb{i}" for i in range(count))
    wanted = ", ".join(f"%w{i}, %b{i}" for i in range(count))
    types = ", ".join("f32[8, 8], f32[8]" for _ in range(count))
    return f"""func @main(%a0: f32[B, 8], %t: i32[B], {parameters}) -> (f32[1], {types}) {{
      {body}
      %loss = cross_entropy_loss %a{count}, %t
      {gradients} = grad %loss, {wanted}
      return %loss, {gradients}
    }}"""


def test_a_layer_costs_four_kernels() -> None:
    """Product with bias and activation; the gradients by its input, its weights and its bias."""
    counts = [len(outlined(layers(count)).schedules) for count in (2, 3, 12)]
    assert counts[1] - counts[0] == 4
    assert counts[2] - counts[1] == 9 * 4


def test_what_stays_apart_says_why() -> None:
    found = outlined("""func @main(%x: f32[B, 10], %labels: i32[B]) -> (f32[1], f32[B, 10]) {
      %loss = cross_entropy_loss %x, %labels {ignore_index = -100}
      %g = grad %loss, %x
      return %loss, %g
    }""")
    assert len(found.schedules) == 2
    (reason,) = found.refused
    assert reason.startswith("%")
    assert "%g stay apart" in reason
    assert reason.endswith("every element needs %reduce_sum_1, known only after all rows: a launch before computes it")


def test_a_group_between_is_named() -> None:
    found = outlined("""func @main(%x: f32[B, 8], %w: f32[8, 8]) -> (f32[B, 8]) {
      %e = exp %x
      %m = matmul %e, %w
      %s = reduce_sum %m {axes = [1]}
      %r = broadcast %s {dims = [0], shape = [B, 8]}
      %y = mul %r, %e
      return %y
    }""")
    assert len(found.schedules) == 3
    assert "%e and %y stay apart: one needs the other through %m" in found.refused


def test_a_matrix_that_is_added_to_its_product_is_read_twice(device: Device) -> None:
    text = """func @main(%x: f32[B, 8], %w: f32[8, 8]) -> (%y: f32[B, 8]) {
      %m = matmul %x, %w
      %y = add %m, %x
      return %y
    }"""
    found = outlined(text)
    assert len(found.schedules) == 1
    (launch,) = found.module.entry.ops
    assert [value.name for value in launch.operands].count("x") == 2
    generator = np.random.default_rng(2)
    x, w = (generator.normal(size=shape).astype(np.float32) for shape in ((5, 8), (8, 8)))
    np.testing.assert_allclose(run(text, device, x=x, w=w)["y"], x @ w + x, rtol=1e-5, atol=1e-5)


def test_nothing_is_said_of_groups_that_came_together() -> None:
    chain = "\n".join(f"%y{i + 1} = exp %y{i}" for i in range(6))
    found = outlined(f"func @main(%y0: f32[B, 8]) -> (f32[B, 8], f32[B, 8]) {{\n{chain}\nreturn %y2, %y6\n}}")
    assert len(found.schedules) == 1
    assert not found.refused


SPLIT = {
    # name: (text, sizes of inputs, what it is in NumPy)
    "two_axes": (
        """func @main(%x: f32[B, 4, 33]) -> (f32[B, 4]) {
          %p = softmax %x {axis = 1}
          %s = reduce_sum %p {axes = [2]}
          return %s
        }""",
        lambda x: (np.exp(x) / np.exp(x).sum(1, keepdims=True)).sum(2),
        {"x": (3, 4, 33)},
    ),
    "two_axes_and_back": (
        """func @main(%x: f32[B, 4, 33]) -> (f32[B, 4, 33]) {
          %p = softmax %x {axis = 1}
          %q = softmax %p {axis = 2}
          %r = softmax %q {axis = 1}
          return %r
        }""",
        lambda x: _softmax(_softmax(_softmax(x, 1), 2), 1),
        {"x": (3, 4, 33)},
    ),
    "shared_constants": (
        """func @main(%x: f32[B, 20], %y: f32[B, 20]) -> (f32[B, 20]) {
          %zero = constant {value = 0.0, dtype = f32, shape = [B, 20]}
          %yz = max %y, %zero
          %xz = max %x, %zero
          %yj = broadcast %yz {dims = [0, 1], shape = [B, 20, 20]}
          %xi = broadcast %xz {dims = [0, 2], shape = [B, 20, 20]}
          %z = sub %xi, %yj
          %a = abs %z
          %s = reduce_sum %a {axes = [1]}
          return %s
        }""",
        lambda x, y: np.abs(np.maximum(x, 0)[:, None, :] - np.maximum(y, 0)[:, :, None]).sum(1),
        {"x": (3, 20), "y": (3, 20)},
    ),
    "one_tensor_along_two_loops": (
        """func @main(%x: f32[B, 20]) -> (f32[B, 20]) {
          %xj = broadcast %x {dims = [0, 1], shape = [B, 20, 20]}
          %xi = broadcast %x {dims = [0, 2], shape = [B, 20, 20]}
          %z = sub %xi, %xj
          %a = abs %z
          %s = reduce_sum %a {axes = [1]}
          return %s
        }""",
        lambda x: np.abs(x[:, None, :] - x[:, :, None]).sum(1),
        {"x": (3, 20)},
    ),
    "a_matrix_and_its_transpose": (
        """func @main(%x: f32[20, 20]) -> (f32[20, 20]) {
          %y = transpose %x {permutation = [1, 0]}
          %s = add %x, %y
          return %s
        }""",
        lambda x: x + x.T,
        {"x": (20, 20)},
    ),
}


def test_nothing_is_stored_that_nobody_reads() -> None:
    """The sum is a target of its own until the kernel that makes a loss of it stores shared maxima as well."""
    found = outlined("""func @main(%x: f32[N, 40]) -> (f32[], f32[N, 40]) {
      %e = logsumexp %x {axis = 1}
      %t = reduce_sum %e {axes = [0]}
      %loss = exp %t
      %p = softmax %x {axis = 1}
      %w = broadcast %loss {dims = [], shape = [N, 40]}
      %g = mul %p, %w
      return %loss, %g
    }""")
    entry = found.module.entry
    read = {*entry.outputs, *(value for op in entry.ops for value in op.operands)}
    assert len(entry.ops) == 2
    assert read.issuperset(value for op in entry.ops for value in op.results)


@pytest.mark.parametrize("axis", [0, 1])
def test_maxima_of_a_square_are_read_along_either_axis(axis: int, device: Device) -> None:
    """x - max(x) is never above 0 where the maximum is that of the same row, and only there."""
    text = f"""func @main(%x: f32[24, 24]) -> (%m: f32[24], %e: f32[24, 24]) {{
      %m = reduce_max %x {{axes = [1]}}
      %w = broadcast %m {{dims = [{axis}], shape = [24, 24]}}
      %d = sub %x, %w
      %e = exp %d
      return %m, %e
    }}"""
    x = np.random.default_rng(0).standard_normal((24, 24)).astype(np.float32)
    x[0] += 95
    found = run(text, device, x=x)["e"]
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(found, np.exp(x - np.expand_dims(x.max(1), 1 - axis)), rtol=1e-5)


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


@pytest.mark.parametrize("name", SPLIT)
def test_what_no_loop_nest_does_is_cut(name: str, device: Device) -> None:
    text, expected, shapes = SPLIT[name]
    generator = np.random.default_rng(1)
    arrays = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    (found,) = run(text, device, **arrays).values()
    wide = {name: array.astype(np.float64) for name, array in arrays.items()}
    np.testing.assert_allclose(found, expected(**wide), rtol=2e-5, atol=1e-6)


def weighted(weight: str) -> str:
    """A weighted log-sum-exp of rows with the sum of `weight`, computed from class weights."""
    return f"""func @main(%x: f32[B, 64], %w: f32[64]) -> (f32[B, 64]) {{
      %v = {weight}
      %sum = reduce_sum %v {{axes = [0]}}
      %each = broadcast %sum {{dims = [], shape = [B, 64]}}
      %wide = broadcast %w {{dims = [1], shape = [B, 64]}}
      %p = softmax %x
      %a = mul %p, %wide
      %r = mul %a, %each
      return %r
    }}"""


def test_each_row_adds_up_what_it_reads_anyway() -> None:
    """The sum of the class weights is no launch of its own; it is where each row would compute something costly for it,
    or read what it has no other use for."""
    (schedule,) = outlined(weighted("mul %w, %w")).schedules.values()
    assert [op.name for op in schedule.repeated_reductions] == ["reduce_sum"]
    apart = outlined(weighted("exp %w"))
    assert len(apart.schedules) == 2
    assert any("each row would compute `exp` again" in reason for reason in apart.refused)
    unread = outlined(weighted("mul %w, %u").replace("%w: f32[64]", "%w: f32[64], %u: f32[64]"))
    assert any("each row would read %u again" in reason for reason in unread.refused)


def test_rows_that_add_up_the_same(device: Device) -> None:
    generator = np.random.default_rng(0)
    for rows in (1, 37):
        x, w = generator.normal(size=(rows, 64)).astype(np.float32), generator.random(64, np.float32)
        (found,) = run(weighted("mul %w, %w"), device, x=x, w=w).values()
        exponentials = np.exp(x.astype(np.float64))
        expected = exponentials / exponentials.sum(1, keepdims=True) * w * (w.astype(np.float64) ** 2).sum()
        np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_a_constant_beside_a_reduction_that_is_stored_elsewhere_is_a_kernel_of_its_own() -> None:
    """The gradient that is 0 hung on rows that its kernel has no more once another computes their maximum."""
    text = """func @f(%x: f32[1, 33], %u: f32[]) -> (%g: f32[1, 33], %gu: f32[]) {
      %m = reduce_max %x {axes = [1]}
      %wide = broadcast %m {dims = [0], shape = [1, 33]}
      %d = sub %x, %wide
      %columns = reduce_sum %d {axes = [0]}
      %e = exp %columns
      %s = reduce_sum %e {axes = [0]}
      %l = log %s
      %g, %gu = grad %l, %x, %u
      return %g, %gu
    }"""
    x = np.random.default_rng(0).standard_normal((1, 33)).astype(np.float32)
    found = run(text, None, x=x, u=np.ones((), np.float32))
    p = np.exp(x - x.max())
    wanted = p / p.sum() - (x == x.max())
    np.testing.assert_allclose(found["g"], wanted, rtol=1e-5, atol=1e-7)
    assert found["gu"] == 0


def test_values_of_one_name_are_told_apart() -> None:
    found = outlined("""func @main(%x: f32[B, 8], %a: f32[8, 8], %b: f32[8, 8], %c: f32[8]) -> (f32[1], f32[8, 8]) {
      %h = linear %x, %a, %c
      %r = relu %h
      %y = linear %r, %b, %c
      %l = mse_loss %y, %x
      %g = grad %l, %a
      return %l, %g
    }""")
    assert "%r and %matmul_1 stay apart: two matrix products do not share a kernel" in found.refused
    stored = [output.name for name in found.schedules for output in found.module.functions[name].outputs]
    assert len(set(stored)) == len(stored)
