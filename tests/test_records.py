"""Record: what a frozen dataclass does, and nothing that it refuses."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from hive_boot._records import Record


class Point(Record):
    """Two numbers and a label."""

    x: int
    y: int = 2
    label: str | None = None


class Other(Record):
    """The same fields in another class."""

    x: int
    y: int = 2
    label: str | None = None


def test_a_record_has_the_values_that_it_was_given_and_the_defaults() -> None:
    """By position and by name."""
    assert Point(1).as_dict() == {"x": 1, "y": 2, "label": None}
    assert Point(1, 5).as_dict() == Point(y=5, x=1).as_dict() == {"x": 1, "y": 5, "label": None}
    assert repr(Point(1, label="a")) == "Point(x=1, y=2, label='a')"
    assert Point.field_names == ("x", "y", "label")


def test_a_wrong_call_is_refused_and_names_the_fields() -> None:
    """A field without a value, a value without a field, one value too many."""
    make: Any = Point
    for args, kwargs in [((), {}), ((1,), {"z": 1}), ((1, 2, "a", 4), {}), ((), {"y": 1})]:
        with pytest.raises(TypeError, match="the fields of Point are: x, y, label"):
            make(*args, **kwargs)


def test_records_are_equal_by_class_and_values() -> None:
    """And have the same hash then, so that they can be keys."""
    assert Point(1) == Point(1, 2)
    assert hash(Point(1)) == hash(Point(1, 2))
    assert Point(1) != Point(2)
    assert Point(1) != Other(1)
    assert {Point(1): "a"}[Point(1)] == "a"


def test_a_record_can_be_copied_and_pickled() -> None:
    """As a dataclass can."""
    point = Point(1, label="a")
    for other in (copy.copy(point), copy.deepcopy(point), pickle.loads(pickle.dumps(point))):  # noqa: S301  (our own bytes)
        assert other == point


def test_a_record_cannot_be_changed() -> None:
    """Neither a field nor anything else; a copy can have other values."""
    point: Any = Point(1)
    for name in ("x", "new"):
        with pytest.raises(AttributeError, match="Point cannot be changed"):
            setattr(point, name, 3)
    with pytest.raises(AttributeError):
        del point.x
    assert point.replace(x=3) == Point(3)
    assert point == Point(1)
    with pytest.raises(TypeError):
        point.replace(z=3)
