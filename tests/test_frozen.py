"""Classes of data that nothing changes: as dataclasses in all that is seen of them."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from lossc import optim
from lossc.ir.frozen import frozen

ROOT = Path(__file__).parent.parent


@frozen
class Point:
    """Where something is."""

    x: int
    y: int = 0
    labels: dict[str, int] = field(default_factory=dict, compare=False)


@frozen(eq=False)
class Place:
    at: Point


@frozen
class Named(Point):
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a name")


def test_objects_are_made_from_fields_and_defaults() -> None:
    point = Point(1)
    assert (point.x, point.y, point.labels) == (1, 0, {})
    assert Point(1).labels is not point.labels
    assert Point(y=2, x=1) == Point(1, 2)
    assert Named(1, name="n").y == 0


def test_what_is_missing_or_too_much_is_named() -> None:
    with pytest.raises(TypeError, match=r"Point.__init__\(\) missing 1 required positional argument: 'x'"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="z"):
        Point(1, z=2)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="a name"):
        Named(1)


def test_nothing_changes_an_object() -> None:
    point: Any = Point(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2
    with pytest.raises(FrozenInstanceError):
        point.other = 2
    with pytest.raises(FrozenInstanceError):
        del point.x
    assert replace(point, x=2) == Point(2)


def test_equal_are_those_of_one_class_with_equal_fields() -> None:
    assert Point(1, 2, {"a": 1}) == Point(1, 2)
    assert hash(Point(1, 2)) == hash(Point(1, 2))
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 2) != Named(1, 2, name="n")
    assert Point(1, 2) != (1, 2)
    assert Place(Point(1)) != Place(Point(1))


def test_they_are_dataclasses() -> None:
    @dataclass(frozen=True)
    class Usual:
        """Where something is."""

        x: int
        y: int = 0
        labels: dict[str, int] = field(default_factory=dict, compare=False)

    assert [one.name for one in fields(Point)] == [one.name for one in fields(Usual)]
    assert Point.__match_args__ == Usual.__match_args__
    assert Point.__init__.__annotations__.items() <= Usual.__init__.__annotations__.items()
    assert repr(Point(1, 2)) == "Point(x=1, y=2, labels={})"
    assert repr(Usual(1, 2)).endswith(repr(Point(1, 2)).removeprefix("Point"))
    assert pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)


def test_there_is_one_way_to_say_so() -> None:
    folders = [ROOT / name for name in ("ir", "compiler", "runtime", "lossc")]
    paths = [path for folder in folders for path in folder.rglob("*.py")]
    assert not [path for path in paths if "@dataclass(frozen=True" in path.read_text(encoding="utf-8")]


def test_dataclasses_may_inherit() -> None:
    @dataclass(frozen=True)
    class Slow(optim.Adam):
        every: int = 2

    assert (Slow(lr=0.1).every, Slow(lr=0.1).lr) == (2, 0.1)
    with pytest.raises(FrozenInstanceError):
        Slow(lr=0.1).every = 3  # type: ignore[misc]
    with pytest.raises(TypeError, match="cannot inherit non-frozen dataclass from a frozen one"):
        dataclass(type("Changed", (optim.Adam,), {}))
