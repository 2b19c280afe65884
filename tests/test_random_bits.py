"""Random bits: the generator's published answers, the same bits everywhere, and dropout that is made of them."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import Runner

import lossc
from lossc.ir.interp import interpret
from lossc.ir.random_bits import random_bits, threefry_2x32, words_of
from lossc.runtime.device import Device

BITS = """func @bits(%key: i64[], %counter: i64[N]) -> i32[N] {
  %keys = broadcast %key {dims = [], shape = [N]}
  %bits = random_bits %keys, %counter
  return %bits
}"""

# Threefry-2x32, 20 rounds: the known answers that come with the generator of Salmon et al. (2011). key, counter, words.
ANSWERS = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


def as_i64(words: tuple[int, int]) -> np.ndarray:
    return np.array([words[0] | words[1] << 32], np.uint64).view(np.int64)


@pytest.mark.parametrize(("key", "counter", "expected"), ANSWERS)
def test_known_answers(key: tuple[int, int], counter: tuple[int, int], expected: tuple[int, int]) -> None:
    words = threefry_2x32(words_of(as_i64(key)), words_of(as_i64(counter)))
    assert tuple(int(word[0]) for word in words) == expected


@pytest.mark.parametrize(("key", "counter", "expected"), ANSWERS)
def test_known_answers_on_devices(
    device: Device, key: tuple[int, int], counter: tuple[int, int], expected: tuple[int, int]
) -> None:
    for where in (device, None):
        found = Runner(BITS, where)(key=as_i64(key).reshape(()), counter=np.repeat(as_i64(counter), 37))
        assert (next(iter(found.values())).view(np.uint32) == expected[0]).all()


def test_every_width_and_strategy_gives_the_same_bits(device: Device) -> None:
    generator = np.random.default_rng(0)
    counter = generator.integers(-(2**63), 2**63 - 1, 1000)
    for key in generator.integers(-(2**63), 2**63 - 1, 3):
        (found,) = Runner(BITS, device)(key=np.asarray(key), counter=counter).values()
        np.testing.assert_array_equal(found, random_bits(np.asarray(key), counter))


def test_bits_are_even() -> None:
    """Each bit along counters and along keys, and pairs of neighbours: within 5 standard deviations."""
    counter = np.arange(2**16)
    for bits in (random_bits(np.array(7), counter), random_bits(counter, np.array(7))):
        ones = np.unpackbits(bits.view(np.uint8).reshape(-1, 4), axis=1).mean(0)
        assert np.abs(ones - 0.5).max() < 5 * 0.5 / 2**8
        uniform = bits / 2**32 + 0.5
        assert abs(np.corrcoef(uniform[:-1], uniform[1:])[0, 1]) < 5 / 2**8
        assert len(np.unique(bits)) > len(bits) - 10


def dropout_graph(p: float, shape: tuple[object, ...] = (None, 37), stream: int = 0) -> lossc.Graph:
    g = lossc.Graph()
    x, key = g.input("x", shape), g.input("key", (), "i64")  # type: ignore[arg-type]
    y = g.dropout(x, key, p=p, stream=stream)
    g.set_outputs({"y": y, "penalty": (y * y).sum().reshape([1])})
    return g


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_a_share_and_scales_the_rest(device: Device, p: float) -> None:
    x = np.ones((300, 37), "f4")
    g = dropout_graph(p)
    (y, _) = g.compile(device=device)(x=x, key=3)
    dropped = y == 0
    assert abs(dropped.mean() - p) < 5 * np.sqrt(p * (1 - p) / y.size)
    assert np.allclose(y[~dropped], 1 / (1 - p))
    assert np.array_equal(y, interpret(g.to_module().entry, {"x": x, "key": np.array(3)})[0].astype("f4"))


def test_the_gradient_uses_the_same_mask_and_stores_none(device: Device) -> None:
    g = dropout_graph(0.3)
    x = np.random.default_rng(0).standard_normal((50, 37)).astype("f4")
    vg = g.compile(outputs=["penalty"], grad=["x"], device=device)
    _, gradients = vg(x=x, key=5)
    (y, _) = g.compile(device=device)(x=x, key=5)
    assert np.allclose(gradients["x"], 2 * y / 0.7, rtol=1e-6)
    assert len([name for kernel in vg.kernels for name in kernel.outputs]) <= 3


def test_the_same_key_is_the_same_mask_and_another_is_another(device: Device) -> None:
    x = np.ones((40, 37), "f4")
    masks = {}
    for stream in (0, 1):
        fn = dropout_graph(0.5, stream=stream).compile(outputs=["y"], device=device)
        for key in (0, 1, -1, 2**62):
            masks[stream, key] = fn(x=x, key=key)[0] != 0
            assert np.array_equal(masks[stream, key], fn(x=x, key=key)[0] != 0)
    every = list(masks.values())
    agreement = [(a == b).mean() for i, a in enumerate(every) for b in every[:i]]
    assert max(abs(share - 0.5) for share in agreement) < 5 * 0.5 / np.sqrt(x.size)


def test_the_mask_does_not_depend_on_how_the_batch_is_cut(device: Device) -> None:
    fn = dropout_graph(0.5).compile(outputs=["y"], device=device)
    whole = fn(x=np.ones((64, 37), "f4"), key=1)[0]
    assert np.array_equal(fn(x=np.ones((5, 37), "f4"), key=1)[0], whole[:5])
    flat = dropout_graph(0.5, shape=(64 * 37,)).compile(outputs=["y"], device=device)
    assert np.array_equal(flat(x=np.ones(64 * 37, "f4"), key=1)[0], whole.reshape(-1))


def test_dropout_at_its_ends(device: Device) -> None:
    x = np.array([[1, np.nan, -3]], "f4")
    for p, expected in ((0.0, x), (1.0, np.zeros_like(x))):
        g = dropout_graph(p, (None, 3))
        (found,) = g.compile(outputs=["y"], device=device)(x=x, key=1)
        np.testing.assert_array_equal(found, expected)
        _, gradients = g.compile(outputs=["y"], of="y", grad=["x"], upstream=True, device=device)(
            x=x, key=1, grad_y=np.ones_like(x)
        )
        np.testing.assert_array_equal(gradients["x"], np.full_like(x, 1 - p))
    almost = dropout_graph(1 - 1e-12).compile(outputs=["y"], device=device)
    assert not almost(x=np.ones((8, 37), "f4"), key=1)[0].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"p": -0.1}, r"p must lie in \[0, 1\]"), ({"p": float("nan")}, r"p must lie in \[0, 1\]"),
     ({"stream": -1}, "stream must lie in"), ({"stream": 2**22}, "stream must lie in")],
)  # fmt: skip
def test_wrong_arguments_are_refused(arguments: dict[str, float], message: str) -> None:
    g = lossc.Graph()
    with pytest.raises(lossc.LirError, match=message):
        g.dropout(g.input("x", (3,)), g.input("key", (), "i64"), **arguments)


def test_a_key_is_one_number_of_64_bits() -> None:
    g = lossc.Graph()
    with pytest.raises(lossc.LirError, match=r"expected a key of type i64\[\], found i32\[\]"):
        g.dropout(g.input("x", (3,)), g.input("key", (), "i32"))
    with pytest.raises(lossc.LirError, match="an i64 key and an i64 counter, found"):
        g.random_bits(g.input("k", (3,), "i32"), g.input("c", (3,), "i32"))
