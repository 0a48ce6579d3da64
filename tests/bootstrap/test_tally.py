"""What is remembered of rotations: the last ones, and how many there were."""

import time
from dataclasses import FrozenInstanceError, fields

import pytest

from hive_boot.bootstrap.tally import RotationStatus, Tally


def test_before_the_first_rotation_there_is_nothing() -> None:
    """Both verdicts are there from the beginning, so that a metric begins at 0."""
    tally = Tally()
    assert tally.totals == {"accepted": 0, "refused": 0}
    assert tally.last == ()


def test_the_newest_comes_first() -> None:
    """Who looks at a page wants to see what has just happened."""
    before = time.time()
    tally = Tally()
    tally.note("accepted", 2, ["API_KEY", "JWT_SECRET"], 0.25)
    tally.note("refused", 3, ("API_KEY",), 0.5)
    newest, oldest = tally.last
    assert before <= oldest.at <= newest.at <= time.time()
    assert (oldest.verdict, oldest.generation, oldest.duration) == ("accepted", 2, 0.25)
    assert oldest.names == ("API_KEY", "JWT_SECRET")
    assert (newest.verdict, newest.generation, newest.names) == ("refused", 3, ("API_KEY",))
    assert tally.totals == {"accepted": 1, "refused": 1}


def test_a_value_that_comes_into_use_was_counted_before() -> None:
    """It is shown among the last, and is no rotation of its own."""
    tally = Tally()
    tally.note("accepted", 2, ["JWT_SECRET"], 0.25)
    tally.note("in-use", 2, ["JWT_SECRET"])
    assert [(each.verdict, each.duration) for each in tally.last] == [
        ("in-use", 0.0),
        ("accepted", 0.25),
    ]
    assert tally.totals == {"accepted": 1, "refused": 0}


def test_only_the_last_are_remembered_and_all_are_counted() -> None:
    """A service that rotates for years needs no more memory for it."""
    tally = Tally()
    for number in range(2, 102):
        tally.note("accepted", number, [])
    assert [each.generation for each in tally.last] == list(range(101, 81, -1))
    assert tally.totals["accepted"] == 100


def test_what_was_noted_cannot_be_changed() -> None:
    """It is history."""
    tally = Tally()
    names = ["JWT_SECRET"]
    tally.note("accepted", 2, names)
    names.clear()
    (rotation,) = tally.last
    assert rotation.names == ("JWT_SECRET",)
    for each in fields(RotationStatus):
        with pytest.raises(FrozenInstanceError):
            setattr(rotation, each.name, None)
