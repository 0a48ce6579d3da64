"""Whatever is rotated, and whenever: what is accepted is what the promise says, and nothing else.

A model of a few lines keeps every value that a field ever had, each with the moment at
which it came into use; the store, which forgets, has to agree with it at all times.
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
"""The values of a set: of the field, and of the one that ``previous=`` names."""


class Rotate(NamedTuple):
    """A set is accepted."""

    values: Values
    now: bool = False


class Wait(NamedTuple):
    """Time passes without a call."""

    seconds: int


class Look(NamedTuple):
    """What is due is put into use."""

    now: bool = False


Step = Rotate | Wait | Look

LEADS = (0, 1, 4)
GRACES = (0, 1, 6)

letters = st.sampled_from([None, *"abc"])
steps = st.one_of(
    st.builds(Rotate, st.tuples(letters, letters), st.booleans()),
    st.builds(Wait, st.integers(1, 5)),
    st.builds(Look, st.booleans()),
)


@cache
def declared(lead: int, grace: int) -> type[SecretSet]:
    """Declare a secret with a lead and a grace."""

    class Declared(SecretSet):
        """One secret."""

        key: Secret | None = secret(activate_after=lead, accept_old_for=grace, previous="BEFORE")

    return Declared


@cache
def loaded(lead: int, grace: int, values: Values) -> LoadResult:
    """Load a set."""
    names = zip(("KEY", "BEFORE"), values, strict=True)
    environ = {name: f"fake-value-{value}" for name, value in names if value is not None}
    return look(declared(lead, grace), Path("/"), {"HIVE_BOOT_MODE": "environment", **environ})


class Model:
    """Expected values of one field.

    Attributes:
        turns: every value that was accepted, with the moment from which it is the current one.
        used: the value in use, since somebody looked last.
    """

    def __init__(self, lead: int, grace: int, values: Values) -> None:
        self.lead, self.grace = lead, grace
        self.used, self.before = values
        self.turns: list[tuple[str | None, float]] = [(self.used, -math.inf)]
        self.merged: set[int] = set()

    def rotate(self, values: Values, now: float, *, hurry: bool) -> None:
        """Accept a set."""
        value, self.before = values
        if hurry:
            self.hurry(now)
        if value != self.turns[-1][0]:
            self.turns.append((value, now if hurry else now + self.lead))
        self.look(now)

    def hurry(self, now: float) -> None:
        """Skip every lead."""
        self.turns = [(value, min(since, now)) for value, since in self.turns]

    def look(self, now: float, *, hurry: bool = False) -> None:
        """Put into use what is due."""
        if hurry:
            self.hurry(now)
        at = max(number for number, (_, since) in enumerate(self.turns) if since <= now)
        values = [value for value, _ in self.turns]
        self.used = values[at]
        # A value that has come back needs no grace for the time when it was used before.
        self.merged |= {number for number in range(at) if values[number] in values[at:]}

    def accepted(self, now: float) -> list[str]:
        """Return the accepted values: current, then pending, then old ones, the newest first."""
        ends = [since + self.grace for _, since in self.turns[1:]]
        valid = [
            value
            for (value, _), until in zip(self.turns, [*ends, math.inf], strict=True)
            if now < until
        ]
        found = [self.used, *reversed(valid), self.before]
        return list(dict.fromkeys(value for value in found if value is not None))

    def next_due(self, now: float) -> float:
        """Return the next moment at which a value comes into use, or its predecessor ends."""
        moments = [since for _, since in self.turns[1:]]
        ends = [since + self.grace for since in moments]
        moments += [end for number, end in enumerate(ends) if number not in self.merged]
        return min((moment for moment in moments if moment > now), default=math.inf)

    def is_overdue(self, now: float) -> bool:
        """Return whether another value should be in use."""
        return [value for value, since in self.turns if since <= now][-1] != self.used


class Both:
    """A store and its model, which hear of the same steps.

    Attributes:
        now: the time of both.
        change: what the store said at the last step.
        before: what was in use before it.
    """

    def __init__(self, lead: int, grace: int, first: Values) -> None:
        self.now = 100.0
        self.load = partial(loaded, lead, grace)
        self.store = Store(declared(lead, grace), clock=lambda: self.now)
        self.model = Model(lead, grace, first)
        self.before = self.model.used
        self.change = self.store.accept(self.load(first))

    def take(self, step: Step) -> None:
        """Do one thing with both, and compare them."""
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
        """Both use and accept the same, and what is used is accepted."""
        used = self.store.view.__dict__["key"]
        accepted = self.store.accepted("key")
        assert letter(used) == self.model.used
        assert [letter(value) for value in accepted] == self.model.accepted(self.now)
        assert used is None or accepted[0] == used

    def compare_change(self) -> None:
        """The change names the fields whose value in use is another one now."""
        if self.change is None:
            assert self.before == self.model.used
        else:
            said = (letter(self.change.old["key"]), letter(self.change.new["key"]))
            assert said == (self.before, self.model.used)
            assert self.before != self.model.used


def letter(value: object) -> str | None:
    """Return the letter of a fake value."""
    assert isinstance(value, Secret | None)
    return None if value is None else value.reveal()[-1]


@settings(deadline=None)
@given(
    st.sampled_from(LEADS),
    st.sampled_from(GRACES),
    st.tuples(letters, letters),
    st.lists(steps, max_size=12),
)
# Two values on their way are hurried; the first of them has to be forgotten in the end.
@example(4, 1, ("a", None), [Rotate(("b", None)), Rotate(("c", None), now=True), Wait(5), Look()])
# A lead ends while nobody looks.
@example(1, 6, ("a", None), [Rotate(("b", None)), Wait(1)])
def test_the_store_keeps_its_promise(
    lead: int, grace: int, first: Values, plan: list[Step]
) -> None:
    """At every moment of every history: what is used, what is accepted, and when to look again."""
    both = Both(lead, grace, first)
    for step in plan:
        both.take(step)
    # Whoever looks whenever it is due comes to an end, and then the last value is in use.
    due = both.now
    while due < math.inf:
        both.now = due
        both.take(Look())
        due = both.store.next_due
        assert due > both.now
    assert both.model.used == both.model.turns[-1][0]
