"""Copies and pickles: of compiled functions, graphs, devices and losses of one's own; and why steps have none."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compiled_examples import LABELS, X, classifier, close

import lossc
import lossc.functional as F
from lossc import optim
from lossc.runtime.device import Device, select


def pickled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


ways = pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])


@F.function
def smooth(x: Any, t: Any) -> Any:
    return ((x - t) ** 2 + 1).sqrt().mean()


@ways
@pytest.mark.parametrize("settings", [{}, {"grad": True}, {"grad": ["x"], "upstream": True}, {"tune": True}])
def test_a_copy_of_a_compiled_function_gives_the_same(
    again: Callable[[Any], Any], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr("lossc.tuning.tuner.SECONDS", 0.0)
    fn = classifier().compile(**settings)
    other = again(fn)
    inputs = {name: np.ones(1, "f4") for name in fn.inputs if name.startswith("grad_")}
    assert type(other) is type(fn)
    assert other.outputs == fn.outputs
    assert str(other(x=X, labels=LABELS, **inputs)) == str(fn(x=X, labels=LABELS, **inputs))


def test_a_deep_copy_has_parameters_of_its_own() -> None:
    g = classifier()
    fn = g.compile()
    kept, same = copy.deepcopy(fn), copy.copy(fn)
    before = fn(x=X, labels=LABELS)[0]
    for name in g.parameters:
        g.parameters[name] = 0.5 * g.parameters[name]
    after = fn(x=X, labels=LABELS)[0]
    assert close(kept(x=X, labels=LABELS)[0], before)
    assert close(same(x=X, labels=LABELS)[0], after)
    assert not close(before, after)


def test_what_is_copied_together_belongs_together() -> None:
    g = classifier()
    other, fn = copy.deepcopy((g, g.compile()))
    step = other.compile_step(optim.SGD(0.1))
    before = fn(x=X, labels=LABELS)[0]
    step(x=X, labels=LABELS)
    assert fn(x=X, labels=LABELS)[0] < before


def test_a_worker_that_was_spawned_has_the_function() -> None:
    fn = classifier().compile(grad=["x"])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        outputs, gradients = pool.apply(fn, kwds={"x": X, "labels": LABELS})
    expected, by_x = fn(x=X, labels=LABELS)
    np.testing.assert_array_equal(outputs[0], expected[0])
    np.testing.assert_array_equal(gradients["x"], by_x["x"])


def test_a_device_is_itself_in_copies() -> None:
    device = select()
    assert copy.copy(device) is copy.deepcopy(device) is pickled(device) is device


def test_a_device_of_the_users_own_stays_where_it_is() -> None:
    own = Device(select().handle, context=select().context)
    fn = classifier().compile(device=own)
    assert copy.deepcopy(fn).device is own
    with pytest.raises(lossc.DeviceError, match=r"in this process alone\n.*lossc\.devices\(\)"):
        pickle.dumps(fn)


def test_a_pickle_of_a_device_that_is_not_there_lists_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps(select())
    monkeypatch.setattr("lossc.runtime.device._listed", [])
    monkeypatch.setattr("lossc.runtime.device._find", list)
    with pytest.raises(lossc.DeviceError, match="which the pickle was made with"):
        pickle.loads(data)


@ways
def test_a_step_says_how_its_work_is_carried_on(again: Callable[[Any], Any]) -> None:
    step = classifier().compile_step(optim.SGD(0.1))
    with pytest.raises(TypeError, match=r"a step is not copied(.|\n)*step\.save\(path\)(.|\n)*copy\.deepcopy\(graph\)"):
        again(step)


@ways
def test_losses_of_ones_own_are_copied(again: Callable[[Any], Any]) -> None:
    g = lossc.Graph("squares")
    x = g.input("x", (None, 3))
    g.set_outputs([(x * x).sum()])
    own = F.function(g)
    expected = own(X[:, :3])
    assert again(own)(X[:, :3]) == expected
    assert again(smooth)(X, X + 1) == smooth(X, X + 1)
