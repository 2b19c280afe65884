"""`lossc run`: numbers in, numbers out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

Command = Callable[..., Any]

GIVEN = ("--input", "x=x.npy", "--input", "labels=labels.npy")
LINEAR = """\
// lir 1

func @line(%x: f32[B, 3], param %w: f32[2, 3], param %b: f32[2]) -> (%total: f32[1], %y: f32[B, 2]) {
  %y = linear %x, %w, %b
  %sum = reduce_sum %y {axes = [0, 1]}
  %total = reshape %sum {shape = [1]}
  return %total, %y
}
"""


def cross_entropy(x: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss and its gradient in float64."""
    shifted = x - x.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    rows = np.arange(len(labels))
    gradient = np.exp(log_probabilities)
    gradient[rows, labels] -= 1
    return -log_probabilities[rows, labels].mean(), gradient / len(labels)


def test_loss_and_gradient_from_files(lossc: Command) -> None:
    loss, gradient = cross_entropy(np.load("x.npy"), np.load("labels.npy"))
    done = lossc("run", "f.lir", *GIVEN, "--grad", "-o", "out.npz")
    assert done.status == 0
    with np.load("out.npz") as results:
        assert results.files == ["loss", "grad_x"]
        assert results["loss"].dtype == np.float32
        np.testing.assert_allclose(results["loss"], [loss], rtol=1e-6)
        np.testing.assert_allclose(results["grad_x"], gradient, rtol=1e-5, atol=1e-7)
    first, second = done.out.splitlines()
    assert first.startswith("loss: f32[1] = ")
    assert float(first.split("=")[1]) == pytest.approx(loss, rel=1e-6)
    assert second.startswith("grad_x: f32[4, 10]  min ")
    assert "ran on " in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("all.npz",),
        ("x=all.npz", "labels=all.npz"),
        ("x=all.npz:x", "labels=all.npz:labels"),
        ("x=only.npz", "labels=labels.npy"),
        ("all.safetensors",),
        ("x=x.csv", "labels=labels.csv"),
        ("x=headed.csv", "labels=column.csv"),
        ("x=x.npy", "labels=1,2,3,9"),
        ("x=fortran.npy", "labels=i8.npy"),
        ("x=big_endian.npy", "labels=u64.npy"),
    ],
)
def test_arrays_come_from_many_kinds_of_files(lossc: Command, folder: Path, words: tuple[str, ...]) -> None:
    x, labels = np.load("x.npy"), np.load("labels.npy")
    np.savez("only.npz", something=x)
    save_file({"x": x.astype(np.float32), "labels": labels.astype(np.int32)}, "all.safetensors")
    np.savetxt("x.csv", x, delimiter=",", fmt="%.17g")
    np.savetxt("headed.csv", x, delimiter=", ", fmt="%.17g", header=",".join("abcdefghij"), comments="")
    (folder / "labels.csv").write_text("1,2,3,9\n")
    (folder / "column.csv").write_text("label\r\n1\r\n2\r\n3\r\n9\r\n\r\n")
    np.save("fortran.npy", np.asfortranarray(x))
    np.save("i8.npy", labels.astype(np.int8))
    np.save("big_endian.npy", x.astype(">f8"))
    np.save("u64.npy", labels.astype(np.uint64))
    done = lossc("run", "f.lir", *(part for word in words for part in ("-i", word)), "--json")
    assert done.status == 0, done.err
    (result,) = json.loads(done.out)["results"]
    assert (result["name"], result["dtype"], result["shape"]) == ("loss", "f32", [1])
    assert result["values"][0] == pytest.approx(cross_entropy(x, labels)[0], rel=1e-6)


def test_params_from_a_file(lossc: Command, folder: Path) -> None:
    (folder / "line.lir").write_text(LINEAR)
    x, w, b = np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3) - 2, np.array([0.5, -0.5])
    np.save("in.npy", x)
    save_file({"w": w.astype("f4"), "b": b.astype("f4"), "other": b}, "p.safetensors")
    done = lossc("run", "line.lir", "-i", "x=in.npy", "--params", "p.safetensors", "-o", "out.safetensors")
    assert done.status == 0, done.err
    assert "also has other" in done.err
    results = load_file("out.safetensors")
    np.testing.assert_allclose(results["y"], x @ w.T + b)
    np.testing.assert_allclose(results["total"], [(x @ w.T + b).sum()])
    # An input that is given beside the file goes before it.
    done = lossc("run", "line.lir", "-i", "x=in.npy", "--params", "p.safetensors", "-i", "b=0,0", "--json")
    values = {result["name"]: result["values"] for result in json.loads(done.out)["results"]}
    np.testing.assert_allclose(values["y"], x @ w.T)


def test_a_missing_param_is_named(lossc: Command, folder: Path) -> None:
    (folder / "line.lir").write_text(LINEAR)
    save_file({"w": np.zeros((2, 3), "f4"), "bb": np.zeros(2, "f4")}, "p.safetensors")
    done = lossc("run", "line.lir", "--random", "0", "--bind", "B=2", "--params", "p.safetensors")
    assert done.status == 1
    assert "has no param `b`" in done.err
    assert "line.lir:3:" in done.err


def test_gradients_by_some_inputs(lossc: Command, folder: Path) -> None:
    (folder / "line.lir").write_text(LINEAR)
    words = ("run", "line.lir", "--random", "0", "--bind", "B=2", "--json")
    names = [result["name"] for result in json.loads(lossc(*words, "--grad").out)["results"]]
    assert names == ["total", "y", "grad_x", "grad_w", "grad_b"]
    results = json.loads(lossc(*words, "--wrt", "b").out)["results"]
    assert [result["name"] for result in results] == ["total", "y", "grad_b"]
    assert results[2]["values"] == [2.0, 2.0]
    of_y = json.loads(lossc(*words, "--of", "y", "--wrt", "b").out)["results"]
    assert of_y[2]["values"] == [2.0, 2.0]


def test_random_inputs_are_reproducible_and_said(lossc: Command) -> None:
    words = ("run", "f.lir", "--bind", "B=100", "--json", "--random")
    first, again, other = lossc(*words, "3"), lossc(*words, "3"), lossc(*words, "4")
    assert first.out == again.out
    assert first.out != other.out
    assert "input `labels`: i32[B] is random, in [0, 9]" in first.err
    assert "input `x`: f32[B, 10] is random, normal" in first.err


def test_what_is_given_does_not_change_what_is_random(lossc: Command) -> None:
    words = ("run", "f.lir", "--random", "3", "--json")
    assert lossc(*words, "-i", "x=x.npy").out == lossc(*words, "-i", "x=x.npy", "--bind", "B=4").out


def test_one_result_as_npy(lossc: Command) -> None:
    assert lossc("run", "f.lir", *GIVEN, "-o", "loss.npy").status == 0
    assert np.load("loss.npy").shape == (1,)
    done = lossc("run", "f.lir", *GIVEN, "--grad", "-o", "two.npy")
    assert done.status == 1
    assert "loss, grad_x" in done.err
    assert not os.path.exists("two.npy")


def test_an_existing_output_is_replaced_and_keeps_its_permissions(lossc: Command, folder: Path) -> None:
    (folder / "out.npz").write_bytes(b"before")
    (folder / "out.npz").chmod(0o640)
    (folder / "link.npz").symlink_to("out.npz")
    assert lossc("run", "f.lir", *GIVEN, "-o", "link.npz").status == 0
    assert (folder / "link.npz").is_symlink()
    with np.load("out.npz") as results:
        assert results.files == ["loss"]
    assert (folder / "out.npz").stat().st_mode & 0o777 == 0o640
    assert not list(folder.glob(".*"))


def test_the_program_comes_from_stdin(lossc: Command, folder: Path) -> None:
    done = lossc("run", "-", *GIVEN, stdin=(folder / "f.lir").read_text())
    assert done.status == 0
    assert done.out.startswith("loss: ")


def test_special_values_in_json(lossc: Command) -> None:
    done = lossc("run", "f.lir", "--random", "0", "--bind", "B=0", "--json")
    (result,) = json.loads(done.out, parse_constant=lambda word: pytest.fail(word))["results"]
    assert result["values"] == ["nan"]
    assert result["nan"] == 1


def test_every_device_gives_the_same(lossc: Command) -> None:
    loss, _ = cross_entropy(np.load("x.npy"), np.load("labels.npy"))
    names = [device["platform"] for device in json.loads(lossc("devices", "--json").out)]
    for number, name in enumerate(names):
        done = json.loads(lossc("run", "f.lir", *GIVEN, "--json", "--device", str(number)).out)
        assert name in done["device"]
        assert done["results"][0]["values"][0] == pytest.approx(loss, rel=1e-6)


def test_the_function_is_chosen_by_name(lossc: Command, folder: Path) -> None:
    text = LINEAR + LINEAR.replace("@line", "@other").removeprefix("// lir 1\n")
    (folder / "two.lir").write_text(text)
    done = lossc("run", "two.lir", "--random", "0", "--bind", "B=2")
    assert done.status == 1
    assert "--func" in done.err
    assert lossc("run", "two.lir", "--random", "0", "--bind", "B=2", "--func", "other").status == 0
    assert lossc("run", "two.lir", "--random", "0", "--bind", "B=2", "--func", "@line").status == 0
