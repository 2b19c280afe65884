"""Methods by the names of NumPy and torch: they work where they can mean one thing, else errors say what to write."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lossc
import lossc.functional
import lossc.nn
import lossc.optim
from lossc.ir.other_words import operation_called
from lossc.ir.target import PRESETS
from lossc.losses.table import LOSSES

# Names that there are not are what this is about: no checker is to look.
F: Any = lossc.functional
nn: Any = lossc.nn
optim: Any = lossc.optim

X = np.arange(24, dtype="f4").reshape(6, 4) / 8 - 1
W = np.linspace(-1, 1, 12, dtype="f4").reshape(4, 3)
OTHER = np.arange(24, dtype="f4").reshape(4, 6)

# A method on values, and on arrays.
SAME: dict[str, Callable[[Any], Any]] = {
    "max": lambda x: x.max(), "max_of_rows": lambda x: x.max(1), "min": lambda x: x.min(axis=0),
    "len": lambda x: x.sum() / len(x),
    "first_of_maxima": lambda x: x.max(axis=1)[0] - np.min(x, 1)[1], "some_of_maxima": lambda x: x.max(1)[0:2],
    "clip": lambda x: x.clip(0, 1), "np.clip": lambda x: np.clip(x, -0.5, 0.5), "np.sum": lambda x: np.sum(x),
    "np.mean": lambda x: np.mean(x, axis=1), "np.max": lambda x: np.max(x), "T": lambda x: x.T,
    "np.reshape": lambda x: np.reshape(x, (3, 8)), "np.transpose": lambda x: np.transpose(x, (1, 0)),
    "ndim": lambda x: x * x.ndim, "matmul": lambda x: x @ x.T, "reshape_sizes": lambda x: x.reshape(3, 8),
    "reshape_rest": lambda x: x.reshape(-1, 12),
    "flat": lambda x: x.reshape(-1), "reshape_list": lambda x: x.reshape([2, 12]),
    "transpose_axes": lambda x: x.transpose(1, 0), "transpose": lambda x: x.transpose(),
    "astype": lambda x: x.astype(np.float64), "astype_name": lambda x: x.astype("float32"),
    "mean_kept": lambda x: x.mean(1, keepdims=True), "several_axes": lambda x: x.sum((0, 1)),
    "np.where": lambda x: np.where(x > 0, x, x * 2), "np.where_number": lambda x: np.where(x > 0, 1.5, x),
    "np.square": lambda x: np.square(x), "np.reciprocal": lambda x: np.reciprocal(x - 9),
    "np.positive": lambda x: np.positive(x),
    "np.shape": lambda x: x * np.shape(x)[1] * np.ndim(x), "np.size": lambda x: x * np.size(x),
    "numpy_axis": lambda x: x.sum(np.int64(1)), "np.exp": lambda x: np.exp(x), "np.log1p": lambda x: np.log1p(abs(x)),
    "np.maximum": lambda x: np.maximum(x, 0), "np.minimum_of_number": lambda x: np.minimum(0.5, x),
    "np.power": lambda x: np.power(2.0, x), "np.subtract": lambda x: np.subtract(np.float32(1), x),
    "np.negative": lambda x: np.negative(x), "np.absolute": lambda x: np.abs(x), "np.sign": lambda x: np.sign(x),
    "np.matmul": lambda x: np.matmul(x, x.T), "np.amin": lambda x: np.amin(x, axis=0),
    "np.logical_and": lambda x: np.logical_and(x > -0.5, np.less(x, 0.5)).astype("f4"), "argmax": lambda x: (
        x.argmax(1).astype("f4") + np.argmax(x, axis=1).astype("f4")),
}  # fmt: skip

# torch's, and what it is in NumPy.
TORCH: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "dim": (lambda x: x.sum(dim=1), X.sum(1)),
    "keepdim": (lambda x: x.mean(dim=0, keepdim=True), X.mean(0, keepdims=True)),
    "clamp": (lambda x: x.clamp(min=0), X.clip(0)),
    "clamp_both": (lambda x: x.clamp(-0.5, max=0.5), X.clip(-0.5, 0.5)),
    "detach": (lambda x: x.detach(), X), "relu": (lambda x: x.relu(), X.clip(0)), "pow": (lambda x: x.pow(2), X**2),
    "logsumexp": (lambda x: x.logsumexp(-1), np.log(np.exp(X).sum(1))),
    "softmax": (lambda x: x.softmax(dim=1), np.exp(X) / np.exp(X).sum(1, keepdims=True)),
    "graph": (lambda x: x.builder.graph.softmax(x, dim=1), np.exp(X) / np.exp(X).sum(1, keepdims=True)),
}  # fmt: skip

REFUSED: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "max_of_two": (lambda x: x.max(x), lossc.LirError, r"x\.maximum\(y\)"),
    "word": (lambda x: x.sum(ax=1), TypeError, "has no argument `ax`: it takes axis and keepdims"),
    "clip_word": (lambda x: x.clip(lower=1), TypeError, "it takes low and high"),
    "T": (lambda x: x[0].T, lossc.LirError, r"is of a matrix, found f32\[4\]"),
    "no_rest": (lambda x: x.reshape(5, -1), lossc.LirError, r"has no shape \[5, -1\]"),
    "two_rests": (lambda x: x.reshape(-1, -1), lossc.LirError, "-1 stands once"),
    "times_number": (lambda x: x @ 2, lossc.LirError, r"x \* number"),
    "times_array": (lambda x: x @ OTHER, lossc.LirError, "found ndarray"),
    "array_times": (lambda x: OTHER @ x, lossc.LirError, "found ndarray"),
    "astype": (lambda x: x.astype("foo"), lossc.LirError, "unknown element type 'foo'"),
    "std": (lambda x: x.std(), AttributeError, r"write `\(\(x - x\.mean"),
    "np.std": (lambda x: np.std(x), AttributeError, r"write `\(\(x - x\.mean"),
    "np.where": (lambda x: np.where(x > 0), lossc.LirError, "where of a condition alone knows no values"),
    "np.isfinite": (lambda x: np.isfinite(x), AttributeError, r"write `x\.abs\(\) < math\.inf`"),
    "np.arctanh": (lambda x: np.arctanh(x), AttributeError, "has no `arctanh`$"),
    "np.stack": (lambda x: np.stack([x, x]), lossc.LirError, r"np\.stack knows no values of a graph\n.*x\[None\]\.con"),
    "np.concatenate": (lambda x: np.concatenate([x, x]), lossc.LirError, r"write x\.concat\(y, axis=0\)"),
    "np.sin": (lambda x: np.sin(x), AttributeError, "no `sin`$"),
    "square": (lambda x: x.square(), AttributeError, r"write `x \*\* 2`"),
    "out": (lambda x: np.exp(x, out=np.zeros((6, 4))), lossc.LirError, r"np\.exp of a value of a graph takes no `out`"),
    "reduce": (lambda x: np.add.reduce(x), lossc.LirError, r"np\.add\.reduce knows no values"),
    "argmax": (lambda x: x.argmax(), lossc.LirError, r"write x\.argmax\(-1\), or x\.reshape\(-1\)\.argmax\(\)"),
    "np.argmax": (lambda x: np.argmax(x), lossc.LirError, "that of all elements in NumPy and torch"),
    "max_and_indices": (lambda x: x.max(dim=1)[0], lossc.LirError, r"x\.amax\(dim=\.\.\.\)"),
    "min_and_indices": (lambda x: x.min(dim=1), lossc.LirError, r"two tensors in torch"),
    "max_by_position": (lambda x: x.max(1)[0], lossc.LirError,
                        r"a row in NumPy\n.*write x\.amax\(1\) for torch's, x\.max\(axis=1\)\[0\] for the row"),
    "indices_by_position": (lambda x: x.min(-1, keepdim=True)[1], lossc.LirError, r"write \(-x\)\.argmax\(-1\)"),
    "max_unpacked": (lambda x: dict(zip("vi", x.max(1))), TypeError, r"x\.amax\(1\) are torch's values"),
    "max_values": (lambda x: x.max(1).values, AttributeError, r"x\.amax\(axis\)"),
    "halves of whole numbers": (lambda x: x.cast("i32") / 2, lossc.LirError, r'x\.cast\("f32"\) / 2 is the float'),
    "mean of whole numbers": (lambda x: x.cast("i32").mean(), lossc.LirError, r'x\.cast\("f32"\)\.mean\(\)'),
    "mean of truths": (lambda x: (x > 0).mean(), lossc.LirError, r"a mean is of floats, found bool\[6, 4\]"),
    "sum of truths": (lambda x: (x > 0).sum(), lossc.LirError, r'in Python x\.cast\("f32"\)'),
    "truths times floats": (lambda x: (x > 0) * x, lossc.LirError, r'in Python x\.cast\("f32"\)$'),
    "half beside whole numbers": (lambda x: x.cast("i32") + 0.5, lossc.LirError, r'in Python x\.cast\("f32"\)'),
    "axis by name": (lambda x: x.sum("a"), lossc.LirError, "axes, which are whole numbers, found str"),
    "size by name": (lambda x: x.reshape("B", 4), lossc.LirError, r"x\.shape\[0\] is the first of x"),
    "math.exp": (lambda x: math.exp(x.mean()), lossc.LirError, r"x\.exp\(\) in place of math\.exp\(x\)"),
    "assigned": (lambda x: x.__setitem__(0, 1), lossc.LirError, r"never changes\n.*condition\.select\(a, b\)"),
    "a word for an operand": (lambda x: x.mse_loss(x, "sum"), lossc.LirError, "by name: reduction"),
    "rows": (lambda x: list(x), TypeError, r"x\[0\], x\[1\], \.\.\. are its rows"),
    "array_in_a_loss": (lambda x: x.cross_entropy_loss(x, weight=OTHER), lossc.LirError, r"g\.buffer"),
    "transpose_of_torch": (lambda x: x.transpose(0, 1), lossc.LirError, "swaps the axes in torch"),
    "gather_of_torch": (lambda x: x.gather(1, x), lossc.LirError, r"x\.gather\(indices, axis\)"),
    "item": (lambda x: x.item(), AttributeError, "values have no elements"),
    "asarray": (lambda x: np.asarray(x).mean(), lossc.LirError, "%x has no elements while a graph is built"),
    "a number of NumPy": (lambda x: np.float32(x.mean()), lossc.LirError, "has no elements"),
    "backward": (lambda x: x.sum().backward(), AttributeError, "value_and_grad"),
    "grad": (lambda x: x.grad, AttributeError, "gradients come from"),
    "mistyped": (lambda x: x.sofmax(), AttributeError, "did you mean `softmax`"),
    "torch_loss": (lambda x: x.binary_cross_entropy(x), AttributeError, "did you mean `bce_loss`"),
    "of_a_graph": (lambda x: x.builder.graph.where(x > 0, x, 0), AttributeError, r"condition\.select\(a, b\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_methods_of_numpy(name: str) -> None:
    expected = SAME[name](X)
    found = F.function(SAME[name])(X)
    np.testing.assert_allclose(found.reshape(np.shape(expected)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TORCH)
def test_methods_of_torch(name: str) -> None:
    method, expected = TORCH[name]
    found = F.function(method)(X)
    np.testing.assert_allclose(found.reshape(np.shape(expected)), expected, rtol=1e-5, atol=1e-6)


def test_matrices_multiply() -> None:
    np.testing.assert_allclose(F.function(lambda x, w: x @ w)(X, W), X @ W, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_says_what_to_write(name: str) -> None:
    method, kind, message = REFUSED[name]
    with pytest.raises(kind, match=message):
        F.function(method)(X)


def test_free_sizes_are_left_over() -> None:
    x = lossc.Graph().input("x", ("B", 3, 4))
    assert [str(dim) for dim in x.reshape(-1).shape] == ["12*B"]
    assert [str(dim) for dim in x.reshape(x.shape[0], -1).shape] == ["B", "12"]
    with pytest.raises(lossc.LirError, match="has no shape"):
        x.reshape(5, -1)


@pytest.mark.parametrize("name", LOSSES)
def test_torchs_name_of_a_loss_leads_to_the_operation(name: str) -> None:
    row, g = LOSSES[name], lossc.Graph()
    if not hasattr(g, name):
        assert operation_called(name, dir(g)) == row.operation
        with pytest.raises(lossc.LirError, match=f"did you mean `{row.operation}`"):
            lossc.parse(f"func @f(%x: f32[B]) -> (f32[B]) {{\n  %y = {name} %x\n  return %y\n}}\n")


class OnlyDlpack:
    """An array of another library that knows no other protocol."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **keywords: Any) -> Any:
        return self.array.__dlpack__(**keywords)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def test_arrays_by_dlpack_alone() -> None:
    assert F.mse_loss(OnlyDlpack(X), OnlyDlpack(X + 1)) == F.mse_loss(X, X + 1)
    assert F.function(lambda x: x.sum())(OnlyDlpack(X)) == F.function(lambda x: x.sum())(X)


def test_a_list_beside_an_array_has_its_element_type() -> None:
    np.testing.assert_allclose(F.function(lambda x, w: x * w)(X, [1.0, 2.0, 3.0, 4.0]), X * [1, 2, 3, 4], rtol=1e-6)


def test_a_list_alone_is_f64() -> None:
    assert F.function(lambda x: x * 2)([1.0, 2.0]).dtype == np.float64


front: Any = lossc


def value() -> Any:
    return lossc.Graph().input("x", (None, 4))


def written_over(inplace: Any) -> Any:
    x = value()
    return x.builder.graph.compile(outputs=[x.sum()], grad=["x"], inplace=inplace)


CALLS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a value": (lambda: F.function(lambda x: F.cross_entropy(x, x))(X), TypeError,
                r"input\.cross_entropy_loss\(target\)"),
    "own": (lambda: F.function(lambda x: F.function(lambda y: y.sum())(x))(X), TypeError, r"g\.call"),
    "a file": (lambda: F.function("loss.lir"), lossc.LirError, r"lossc\.load\('loss\.lir'\)"),
    "element types": (lambda: F.function(lambda x, y: x * y)(X, X.astype("f8")), lossc.LirError, r'x\.cast\("f64"\)'),
    "integers": (lambda: F.mse_loss([1, 2], [1, 3]), lossc.LirError, "convert one to floats"),
    "bools": (lambda: F.cross_entropy(X, X > 0), lossc.LirError, "is it one-hot"),
    "bce_loss": (lambda: F.bce_loss, AttributeError, "did you mean `binary_cross_entropy`"),
    "cross_entropy_loss": (lambda: F.cross_entropy_loss, AttributeError, "did you mean `cross_entropy`"),
    "mse": (lambda: F.mse, AttributeError, "did you mean `mse_loss`"),
    "grad": (lambda: F.grad, AttributeError, "did you mean `value_and_grad`"),
    "a keyword": (lambda: nn.CrossEntropyLoss(label_smoth=0.1), TypeError, "CrossEntropyLoss.*\n.*`label_smoothing`"),
    "an activation": (lambda: nn.LeakyReLU, AttributeError, r"x\.leaky_relu\(\)"),
    "a layer": (lambda: nn.Conv2d, AttributeError, "Linear, Mlp, Sequential, Dropout, no `Conv2d`"),
    "a class": (lambda: nn.CrosEntropyLoss, AttributeError, "did you mean `CrossEntropyLoss`"),
    "no CTC": (lambda: nn.CTCLoss, AttributeError, "no `CTCLoss`$"),
    "an optimizer": (lambda: optim.RMSprop, AttributeError, "no `RMSprop`; another one is a class"),
    "a setting": (lambda: optim.AdamW(learning_rate=1), TypeError, "AdamW has no setting `learning_rate`\n.*`lr`"),
    "a mistyped setting": (lambda: optim.Adam(weight_decy=1), TypeError, "did you mean `weight_decay`"),
    "logits": (lambda: F.cross_entropy(logits=X, labels=X), TypeError, "LIR0023.*'logits'\n.*did you mean `input`"),
    "labels": (lambda: F.cross_entropy(X, labels=X), TypeError, "'labels'\n.*did you mean `target`"),
    "dim": (lambda: F.cross_entropy(X, X, dim=1), TypeError, "did you mean `axis`"),
    "weights of samples": (lambda: F.cross_entropy(X, X, sample_weight=X[:, 0]), TypeError,
                           "what reduction='none' gives"),
    "weights of samples of a class": (lambda: nn.CrossEntropyLoss(sample_weight=1), TypeError, "loss is called"),
    "labels of a graph": (lambda: value().cross_entropy_loss(labels=value()), lossc.LirError, "did you mean `target`"),
    "labels of a class": (lambda: nn.CrossEntropyLoss()(value(), labels=1), TypeError, "LIR0023.*\n.*`target`"),
    "an array as a number": (lambda: F.huber_loss(X, X, delta=X), TypeError, r"one number, found .* \[6, 4\]$"),
    "a layer as in torch": (lambda: nn.Linear(10, 5), TypeError, r"nn\.Linear\(graph, name, in_features, out"),
    "a layer without a name": (lambda: nn.Linear(lossc.Graph(), 10, 5, 5), TypeError, "its name is 10"),
    "dropout as in torch": (lambda: nn.Dropout(0.5), TypeError, r"its graph is 0\.5\n.*nn\.Dropout\(graph\)"),
    "softmax": (lambda: nn.Softmax, AttributeError, r"x\.softmax\(-1\)"),
    "parameters": (lambda: optim.Adam(lossc.Graph().parameters, lr=0.1), TypeError, r"compile_step\(optim\.Adam"),
    "a class of optimizers": (lambda: front.Graph().compile_step(optim.SGD), lossc.LirError, r"SGD\n.*optim\.SGD"),
    "a name of an optimizer": (lambda: front.Graph().compile_step("sgd"), lossc.LirError, r"optimizer, found 'sgd'"),
    "mae": (lambda: F.mae, AttributeError, "did you mean `l1_loss`"),
    "a loss of lossc": (lambda: front.cross_entropy, AttributeError, r"it is lossc\.functional\.cross_entropy"),
    "jit": (lambda: front.jit, AttributeError, r"lossc\.functional\.function"),
    "a mistyped name": (lambda: front.Grpah, AttributeError, "did you mean `Graph`"),
    "inplace": (lambda: written_over(True), lossc.LirError, 'write inplace="x"'),
    **{f"the training word {word}": (lambda owner=owner, word=word: getattr(owner, word), AttributeError, message)
       for owner, word, message in [
           (optim.Adam(), "zero_grad", "Adam has no `zero_grad`; .*leave it out"),
           (optim.Adam(), "step", r"g\.compile_step\(optim\.Adam\(lr\)\)"),
           (optim.Adam(), "load_state_dict", r"step\.load\(path\)"),
           (optim.Adam(), "beta", "did you mean `betas`"),
           (optim, "lr_scheduler", r"a function of the step: .*optim\.schedules\.cosine"),
           (optim, "CosineAnnealingLR", r"it is optim\.schedules\.cosine,"),
           (optim.schedules, "StepLR", r"it is optim\.schedules\.step_decay,"),
           (optim.schedules, "cosin", "did you mean `cosine`"),
           (lossc.Graph(), "state_dict", r"graph\.parameters\.save\(path\)"),
           (lossc.Graph().parameters, "zero_grad", "Parameters has no `zero_grad`"),
           (nn.Dropout(lossc.Graph()), "train", r"compile_step trains with dropout"),
       ]},
    "the parameters of torch": (lambda: front.Graph().parameters(), TypeError, r"g\.compile_step\(optim\.SGD\(lr\)\)"),
    **{f"the operator {code}": (lambda code=code: eval(code, {"x": value()}), lossc.LirError, message)
       for code, message in [
           ("x % 2", r"no `%`\n.*floor\(\)"), ("2 % x", "no `%`"), ("x // 2", r"`//`\n.*\(x / y\)\.floor\(\)"),
           ("2 // x", "no `//`"), ("x ^ 2", r"`\^`\n.*x \*\* y"), ("x << 1", r"2\*\*n"), ("x >> 1", r"`>>`"),
           ("divmod(x, 2)", "no `divmod`"), ("round(x)", r"\(x \+ 0\.5\)\.floor\(\)"),
           ("x & 2", r"joins truth values, found f32.*\n.*\(x > 0\) & \(y > 0\)"), ("x > 0 & x", r"`&`"),
           ("0 | x", r"`\|` joins"), ("x > 0 and x < 1", r"truth value(.|\n)*\(0 < x\) & \(x < 1\)"),
           ("x @ x", r"inner dimensions(.|\n)*x @ w\.T"), ("x @ x.sum(0)", r"reshape\(-1, 1\)"),
       ]},
    "a rule": (lambda: lossc.Graph().constant(1.0).huber_loss(2.0, delta=-1), lossc.LirError, "LIR0001.*positive"),
    "a preset": (lambda: PRESETS["cpu-avx"], KeyError, "there are cpu_avx512"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_first_guess_says_what_to_write(name: str) -> None:
    call, kind, message = CALLS[name]
    with pytest.raises(kind, match=message):
        call()


def test_values_join_in_a_list() -> None:
    found = F.function(lambda x: x.builder.graph.concat([x, x], axis=0))(X)
    np.testing.assert_array_equal(found, np.concatenate([X, X]))


def test_layers_are_copied() -> None:
    layer = nn.Linear(lossc.Graph(), "fc", 4, 3)
    assert copy.copy(layer).weight is layer.weight


def test_a_preset_by_the_name_of_the_command_line() -> None:
    assert PRESETS["cpu-avx512"] is PRESETS["cpu_avx512"]


def test_optimizers_are_copied() -> None:
    adam = optim.AdamW(3e-4, groups={"biases": {"lr": 1e-3}})
    assert pickle.loads(pickle.dumps(adam)) == copy.deepcopy(adam) == adam


def test_an_optimizer_of_the_users_own_has_settings_of_its_own() -> None:
    class Warm(lossc.optim.SGD):
        def __init__(self, warmup: int = 10, **others: Any) -> None:
            super().__init__(lr=lambda step: min(1.0, (step + 1) / warmup), **others)

    assert Warm(warmup=5, momentum=0.5).momentum == 0.5
    assert Warm(warmup=4).scalars(1, "")["lr"] == 0.5
