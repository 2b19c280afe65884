"""Which outputs may lie where inputs lie: what is claimed, and that a program gives the same when they do."""

from __future__ import annotations

import numpy as np
import pytest

from lossc.compiler.compiled import Compiled, compile_module
from lossc.compiler.overwriting import overwrites
from lossc.ir.interp import interpret
from lossc.ir.parser import parse
from lossc.ir.target import PRESETS
from lossc.ir.types import Type, dim_value
from lossc.runtime.device import Device
from lossc.runtime.execute import Executable
from lossc.runtime.memory import argument_for, fetch

SHARED = {
    "two states": (
        """func @f(%x: f32[64], %z: f32[64]) -> (f32[64], f32[64]) {
          %y = exp %x
          %q = mul %z, %x
          return %y, %q
        }""",
        # Each by itself: that x is read twice is one load.
        {("x", "y"), ("z", "q"), ("x", "q"), ("z", "y")},
    ),
    "a view of another shape on both sides": (
        """func @f(%x: f32[8, 8], %z: f32[4, 16]) -> (f32[8, 8]) {
          %v = reshape %x {shape = [4, 16]}
          %s = mul %v, %z
          %y = reshape %s {shape = [8, 8]}
          return %y
        }""",
        {("x", "y")},
    ),
    "an earlier kernel reads it as well": (
        """func @f(%x: f32[8, 8], %w: f32[8, 8]) -> (f32[8, 8]) {
          %z = matmul %w, %x
          %v = reshape %z {shape = [64]}
          %u = reshape %x {shape = [64]}
          %s = add %v, %u
          %y = reshape %s {shape = [8, 8]}
          return %y
        }""",
        {("x", "y")},
    ),
    "an element of another operand is picked": (
        """func @f(%x: f32[64], %w: f32[3]) -> (f32[64]) {
          %i = constant {value = 1, dtype = i32}
          %p = gather %w, %i {axis = 0}
          %b = broadcast %p {dims = [], shape = [64]}
          %y = mul %x, %b
          return %y
        }""",
        {("x", "y")},
    ),
}
KEPT = {
    "an element of it is picked": """func @f(%x: f32[64]) -> (f32[64]) {
      %i = constant {value = 1, dtype = i32}
      %p = gather %x, %i {axis = 0}
      %b = broadcast %p {dims = [], shape = [64]}
      %y = mul %x, %b
      return %y
    }""",
    "an element of what is computed from it is picked": """func @f(%x: f32[64]) -> (f32[64]) {
      %i = constant {value = 1, dtype = i32}
      %e = exp %x
      %p = gather %e, %i {axis = 0}
      %b = broadcast %p {dims = [], shape = [64]}
      %y = mul %x, %b
      return %y
    }""",
    "a view is read later": """func @f(%x: f32[8, 8], %w: f32[4, 4]) -> (f32[8, 8], f32[4, 16]) {
      %v = reshape %x {shape = [4, 16]}
      %y = relu %x
      %z = matmul %w, %v
      return %y, %z
    }""",
    "a view is stored by a kernel that reads rows": """func @f(%x: f32[8, 8]) -> (f32[8, 8]) {
      %v = reshape %x {shape = [4, 16]}
      %r = softmax %v {axis = 1}
      %y = reshape %r {shape = [8, 8]}
      return %y
    }""",
    "it is read along two loops": """func @f(%x: f32[8, 8]) -> (f32[8, 8]) {
      %r = relu %x
      %t = transpose %x {permutation = [1, 0]}
      %y = add %r, %t
      return %y
    }""",
    "each of its elements is read along a row": """func @f(%x: f32[64], %z: f32[64, 32]) -> (f32[64], f32[64, 32]) {
      %y = exp %x
      %b = broadcast %x {dims = [0], shape = [64, 32]}
      %q = mul %z, %b
      return %y, %q
    }""",
    "it is returned": """func @f(%x: f32[8, 8]) -> (f32[4, 16], f32[8, 8]) {
      %v = reshape %x {shape = [4, 16]}
      %y = exp %x
      return %v, %y
    }""",
    "it is multiplied": """func @f(%x: f32[8, 8], %w: f32[8, 8]) -> (f32[8, 8]) {
      %y = matmul %x, %w
      return %y
    }""",
}


@pytest.mark.parametrize("name", SHARED)
def test_what_may_share_memory_gives_the_same_there(name: str, device: Device) -> None:
    text, pairs = SHARED[name]
    compiled = compile_module(parse(text), device.info)
    assert overwrites(compiled.outlined) == pairs
    random = np.random.default_rng(0)
    entry = compiled.prepared.entry
    given = {value.name: random.normal(size=_shape(value.type)).astype(np.float32) for value in entry.inputs}
    expected = dict(zip(entry.names_of_outputs, interpret(entry, given)))
    for pair in sorted(pairs):
        found = _shared(compiled, device, given, pair)
        np.testing.assert_allclose(found, expected[pair[1]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", KEPT)
def test_what_is_still_read_is_not_written_over(name: str) -> None:
    compiled = compile_module(parse(KEPT[name]), PRESETS["cpu_avx512"])
    assert ("x", "y") not in overwrites(compiled.outlined)


def _shared(compiled: Compiled, device: Device, given: dict[str, np.ndarray], pair: tuple[str, str]) -> np.ndarray:
    """The second of a pair, after a run in which it lies where the first one lay."""
    read = {name: argument_for(device, array.copy(), "readwrite") for name, array in given.items()}
    results = {name: np.zeros(_shape(type_), np.float32) for name, type_ in compiled.program.outputs}
    written = {name: argument_for(device, array, "readwrite") for name, array in results.items()}
    written[pair[1]] = read[pair[0]]
    Executable(compiled.program, device, compiled.sources(), compiled.build_options, read, written)({})
    return fetch(device, written[pair[1]])


def _shape(type_: Type) -> tuple[int, ...]:
    return tuple(dim_value(dim, {}) for dim in type_.shape)
