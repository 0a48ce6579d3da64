"""What is sealed: a call gives it, and nothing else leads to it."""

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hive_boot.redaction import conceal
from tests.fixtures.cases import case
from tests.support import texts_within_reach


class Holder:
    """Has a plain value in an attribute."""

    def __init__(self, value: object) -> None:
        self.value = value

    def method(self) -> object:
        """Return the value."""
        return self.value


def test_a_call_gives_what_was_sealed() -> None:
    """Whoever needs it gets it, the same object as often as it is asked for."""
    it = ["fake-value"]
    reveal = conceal(it)

    assert [reveal() is it for _ in range(3)] == [True, True, True]


@settings(deadline=None)
@given(st.none() | st.booleans() | st.text() | st.binary() | st.lists(st.text()))
def test_whatever_is_sealed_comes_back(it: object) -> None:
    """Nothing is too small, too empty or too false to be held."""
    reveal = conceal(it)

    assert reveal() is it
    assert reveal() is it


def test_no_attribute_leads_to_what_is_sealed() -> None:
    """Who follows attributes and items, as debuggers and error trackers do, finds nothing."""
    value = "fake-value-0123456789"
    within_reach = {
        "a closure": lambda: value,
        "a bound method": Holder(value).method,
        "an attribute": Holder({"key": [value]}),
        "an item": [{"key": (value,)}],
        "a method of the value": value.upper,
        "a list's": [value].pop,
    }

    assert {way for way, it in within_reach.items() if value in texts_within_reach(it)} == set(
        within_reach
    )
    assert value not in texts_within_reach(conceal(value))
    assert value not in texts_within_reach(conceal({"key": [value]}))


def test_what_is_sealed_is_not_printed() -> None:
    """A seal that is printed, or whose owner is, tells nothing."""
    value = "fake-value-0123456789"
    reveal = conceal(value)

    for shown in (repr(reveal), str(reveal), f"{reveal}", f"{reveal.__self__!r}"):  # type: ignore[attr-defined]
        assert value not in shown


def test_a_format_string_does_not_lead_to_what_is_sealed() -> None:
    """A format field that digs through attributes finds nothing."""
    cases: list[str] = ["{0.value}", "{0.value.__self__}", "{0.value.__self__!r}"]
    for way in cases:
        with case(way):
            value = "fake-value-0123456789"

            assert "{0.value}".format(Holder(value)) == value  # noqa: UP030, UP032  (the attack itself)
            assert value not in way.format(Holder(conceal(value)))


def test_what_is_sealed_is_not_written_down() -> None:
    """Neither a pickle nor a copy of a seal can be made, and the refusal tells nothing."""
    for write in (pickle.dumps, copy.copy, copy.deepcopy):
        with case(write):
            reveal: Any = conceal("fake-value-0123456789")

            with pytest.raises(TypeError) as caught:
                write(reveal.__self__)

            assert "fake-value" not in str(caught.value)


def test_what_holds_something_sealed_is_not_pickled() -> None:
    """A seal in what is sent to another process is refused there, too."""
    with pytest.raises(TypeError):
        pickle.dumps({"key": [conceal("fake-value-0123456789")]})
