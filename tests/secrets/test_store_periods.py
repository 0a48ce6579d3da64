"""Accepted values of a field, for any sequence of rotations and pauses.

A simple model keeps every value that the field ever had, with the moment at which it came into
use; the store, which forgets values, must agree with the model at all times.

"""

import math
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from hive_boot import Secret, SecretSet, secret
from hive_boot.secrets.load_result import LoadResult
from hive_boot.secrets.store import Store
from tests.support import look

Values = tuple[str | None, str | None]
"""The current and the previous value of the field."""


class Rotate(NamedTuple):
    """A new set is accepted."""

    values: Values
    now: bool = False


class Wait(NamedTuple):
    """Time passes without a call."""

    seconds: int


class Look(NamedTuple):
    """Values that are due come into use."""

    now: bool = False


Step = Rotate | Wait | Look

ACTIVATE_AFTER = (0, 1, 4)
ACCEPT_OLD_FOR = (0, 1, 6)

letters = st.sampled_from([None, *"abc"])
steps = st.one_of(
    st.builds(Rotate, st.tuples(letters, letters), st.booleans()),
    st.builds(Wait, st.integers(1, 5)),
    st.builds(Look, st.booleans()),
)


@cache
def declared(activate_after: int, accept_old_for: int) -> type[SecretSet]:
    """Return a declaration with these periods."""

    class Declared(SecretSet):
        """A set with one secret."""

        key: Secret | None = secret(
            activate_after=activate_after, accept_old_for=accept_old_for, previous="BEFORE"
        )

    return Declared


@cache
def loaded(activate_after: int, accept_old_for: int, values: Values) -> LoadResult:
    """Load a set."""
    names = zip(("KEY", "BEFORE"), values, strict=True)
    environ = {name: f"fake-value-{value}" for name, value in names if value is not None}
    return look(
        declared(activate_after, accept_old_for),
        Path("/"),
        {"HIVE_BOOT_MODE": "environment", **environ},
    )


class Model:
    """A model of the expected values of one field.

    Attributes:
        turns: every accepted value, with the moment from which it is the current one.
        used: the value in use at the last step.
    """

    def __init__(self, activate_after: int, accept_old_for: int, values: Values) -> None:
        self.activate_after, self.accept_old_for = activate_after, accept_old_for
        self.used, self.before = values
        self.turns: list[tuple[str | None, float]] = [(self.used, -math.inf)]
        self.merged: set[int] = set()

    def rotate(self, values: Values, now: float, *, hurry: bool) -> None:
        """Accept a set."""
        value, self.before = values
        if hurry:
            self.hurry(now)
        if value != self.turns[-1][0]:
            self.turns.append((value, now if hurry else now + self.activate_after))
        self.look(now)

    def hurry(self, now: float) -> None:
        """Activate every value now."""
        self.turns = [(value, min(since, now)) for value, since in self.turns]

    def look(self, now: float, *, hurry: bool = False) -> None:
        """Activate the values that are due."""
        if hurry:
            self.hurry(now)
        at = max(number for number, (_, since) in enumerate(self.turns) if since <= now)
        values = [value for value, _ in self.turns]
        self.used = values[at]
        # A value that is in use again does not expire because of its earlier use.
        self.merged |= {number for number in range(at) if values[number] in values[at:]}

    def accepted(self, now: float) -> list[str]:
        """Return the accepted values: current, then pending, then old ones, the newest first."""
        ends = [since + self.accept_old_for for _, since in self.turns[1:]]
        valid = [
            value
            for (value, _), until in zip(self.turns, [*ends, math.inf], strict=True)
            if now < until
        ]
        found = [self.used, *reversed(valid), self.before]
        return list(dict.fromkeys(value for value in found if value is not None))

    def next_due(self, now: float) -> float:
        """Return the next moment at which a value comes into use, or an old one ends."""
        moments = [since for _, since in self.turns[1:]]
        ends = [since + self.accept_old_for for since in moments]
        moments += [end for number, end in enumerate(ends) if number not in self.merged]
        return min((moment for moment in moments if moment > now), default=math.inf)

    def is_overdue(self, now: float) -> bool:
        """Return whether another value should be in use."""
        return [value for value, since in self.turns if since <= now][-1] != self.used


class Both:
    """A store and its model, which take the same steps.

    Attributes:
        now: the time of the clock.
        change: the change that the store returned at the last step.
        before: the value in use before the last step.
    """

    def __init__(self, activate_after: int, accept_old_for: int, first: Values) -> None:
        self.now = 100.0
        self.load = partial(loaded, activate_after, accept_old_for)
        self.store = Store(declared(activate_after, accept_old_for), clock=lambda: self.now)
        self.model = Model(activate_after, accept_old_for, first)
        self.before = self.model.used
        self.change = self.store.accept(self.load(first))

    def take(self, step: Step) -> None:
        """Take a step with the store and the model, and compare them."""
        self.before, self.change = self.model.used, None
        match step:
            case Rotate(values, hurry):
                self.change = self.store.accept(self.load(values), now=hurry)
                self.model.rotate(values, self.now, hurry=hurry)
            case Look(hurry):
                self.change = self.store.advance(now=hurry)
                self.model.look(self.now, hurry=hurry)
            case Wait(seconds):
                self.now += seconds
        self.compare_values()
        self.compare_change()
        if not isinstance(step, Wait):
            assert self.store.next_due == self.model.next_due(self.now)
        elif self.model.is_overdue(self.now):
            assert self.store.next_due <= self.now

    def compare_values(self) -> None:
        """Assert that both use and accept the same values, and accept the value in use."""
        used = self.store.view.__dict__["key"]
        accepted = self.store.accepted("key")
        assert letter(used) == self.model.used
        assert [letter(value) for value in accepted] == self.model.accepted(self.now)
        assert used is None or accepted[0] == used

    def compare_change(self) -> None:
        """Assert that the change has the old and the new value in use."""
        if self.change is None:
            assert self.before == self.model.used
        else:
            said = (letter(self.change.old["key"]), letter(self.change.new["key"]))
            assert said == (self.before, self.model.used)
            assert self.before != self.model.used


def letter(value: object) -> str | None:
    """Return the last letter of a fake value."""
    assert isinstance(value, Secret | None)
    return None if value is None else value.reveal()[-1]


@settings(deadline=None)
@given(
    st.sampled_from(ACTIVATE_AFTER),
    st.sampled_from(ACCEPT_OLD_FOR),
    st.tuples(letters, letters),
    st.lists(steps, max_size=12),
)
# Two pending values are activated now; the first of them must expire at last.
@example(4, 1, ("a", None), [Rotate(("b", None)), Rotate(("c", None), now=True), Wait(5), Look()])
# activate_after ends without a call.
@example(1, 6, ("a", None), [Rotate(("b", None)), Wait(1)])
def test_the_store_keeps_its_promise(
    activate_after: int, accept_old_for: int, first: Values, plan: list[Step]
) -> None:
    """After any steps the values in use, the accepted values and the next due time are right."""
    both = Both(activate_after, accept_old_for, first)
    for step in plan:
        both.take(step)
    # A call at each due time comes to an end, with the last value in use.
    due = both.now
    while due < math.inf:
        both.now = due
        both.take(Look())
        due = both.store.next_due
        assert due > both.now
    assert both.model.used == both.model.turns[-1][0]
