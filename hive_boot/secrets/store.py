"""Store: the generations of a run, and which values are current and accepted."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hive_boot._records import Record
from hive_boot.secrets.secret_set import SecretSet
from hive_boot.secrets.value import Change, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.sources.files import Value

S = TypeVar("S", bound=SecretSet)


class Generation(Record):
    """One accepted set.

    Attributes:
        number: 1 for the first of a run.
        load_result: what was loaded: the values, and where each is from.
        since: when it was accepted, on the monotonic clock.
        at: the same in seconds of the wall clock.
    """

    number: int
    load_result: LoadResult
    since: float
    at: float


class ValuePeriod(Record):
    """The time in which a field has one value; all on the monotonic clock.

    Attributes:
        value: the value; None while the secret is absent.
        number: the accepted set that brought it.
        since: when it came, or will come, into use.
        until: when it ceases to be accepted; infinite while nothing is to follow it.
    """

    value: Value | None
    number: int
    since: float
    until: float = math.inf


def make_set(declared: type[S], values: Mapping[str, Value]) -> S:
    """Make an immutable set of ``values``; a field that is not among them is None."""
    pinned = declared.__new__(declared)
    object.__setattr__(pinned, "__dict__", _complete(declared, values))
    return pinned


def changed_fields(load_result: LoadResult, before: LoadResult) -> list[str]:
    """Give the attributes whose value is another one than it was before."""
    every = load_result.field_index.by_attribute
    return [each for each in every if not _is_same(load_result.values, before.values, each)]


def _is_same(one: Mapping[str, Value], other: Mapping[str, Value], attribute: str) -> bool:
    value, known = one.get(attribute), other.get(attribute)
    return value is known or value == known


class Store(Generic[S]):
    """The secrets of one run.

    Args:
        declared: the declaration.
        clock: the monotonic clock, in seconds.

    Attributes:
        view: the live object that is handed out. It is empty until a first
            generation is accepted.
    """

    def __init__(self, declared: type[S], clock: Callable[[], float] = time.monotonic) -> None:
        self.declared = declared
        self.view = declared.__new__(declared)
        self._clock = clock
        self._first: Generation | None = None
        self._current: Mapping[str, Value] = {}
        self._settled = 0.0
        # Of the fields that have changed. The turns of a field are replaced, never altered:
        # any thread may be reading them.
        self._periods: dict[str, tuple[ValuePeriod, ...]] = {}

    @property
    def is_filled(self) -> bool:
        """Whether a set has been accepted."""
        return "_generation" in self.view.__dict__

    @property
    def generation(self) -> Generation:
        """The set that was accepted last; what has a ``activate_after`` may not be in use yet."""
        generation: Generation = self.view.__dict__["_generation"]
        return generation

    def accept(self, load_result: LoadResult, *, now: bool = False) -> Change | None:
        """Accept what was loaded, and put into use what has no ``activate_after``.

        Args:
            load_result: what was loaded.
            now: put everything into use at once. Default False.

        Returns:
            What has changed in the values in use; None when nothing has, and for the first.
        """
        moment = self._clock()
        if self._first is None:
            self._first = Generation(1, load_result, moment, time.time())
            self._publish(self._first, load_result.values)
            return None
        generation = Generation(self.generation.number + 1, load_result, moment, time.time())
        changed = changed_fields(load_result, self.generation.load_result)
        if now:
            self._activate_all(moment)
        for attribute in changed:
            field = load_result.field_index.by_attribute[attribute]
            since = moment + (0.0 if now else field.activate_after)
            *before, last = self._periods.get(attribute) or (self.current_period(attribute),)
            last = last.replace(until=since + field.accept_old_for)
            period = ValuePeriod(load_result.values.get(attribute), generation.number, since)
            self._periods[attribute] = (*before, last, period)
        return self._activate_due(generation, moment)

    def advance(self, *, now: bool = False) -> Change | None:
        """Put into use what is due, and forget what is accepted no more.

        Args:
            now: put everything that was accepted into use at once. Default False.

        Returns:
            What has changed in the values in use; None when nothing has.
        """
        moment = self._clock()
        if now:
            self._activate_all(moment)
        return self._activate_due(self.generation, moment)

    @property
    def next_due(self) -> float:
        """When :meth:`advance` has something to do; infinite when nothing is to come."""
        return min(
            (
                due
                for periods in self._periods.values()
                for period in periods
                for due in (
                    period.since if period.since > self._settled else math.inf,
                    period.until,
                )
            ),
            default=math.inf,
        )

    def current_period(self, attribute: str) -> ValuePeriod:
        """Give the turn of the value that a field has now."""
        moment = self._clock()
        periods = self._periods.get(attribute)
        if periods is None:
            first: Any = self._first
            return ValuePeriod(first.load_result.values.get(attribute), first.number, first.since)
        return next((period for period in reversed(periods) if period.since <= moment), periods[0])

    def due(self, attribute: str) -> float | None:
        """Tell in how many seconds a newer accepted value comes into use; None without one."""
        moment = self._clock()
        later = [
            period.since for period in self._periods.get(attribute, ()) if period.since > moment
        ]
        return max(later) - moment if later else None

    def accepted(self, attribute: str) -> tuple[Value, ...]:
        """Give every value of a field that is valid now, the current one first.

        Those that are to come follow, then those that were, then the one that
        ``previous=`` names.
        """
        moment = self._clock()
        # The current one whatever the clock says: what is signed with it has to be accepted.
        current = self.view.__dict__[attribute]
        periods = reversed(self._periods.get(attribute, ()))
        others = [period.value for period in periods if period.until > moment]
        found = [current, *others, self._current.get(f"{attribute}.previous")]
        return tuple(dict.fromkeys(value for value in found if value is not None))

    def all_accepted_values(self) -> list[Value]:
        """Give the values of all fields that are in use, are accepted, or are to come."""
        others = [period.value for periods in list(self._periods.values()) for period in periods]
        return [*self._current.values(), *(value for value in others if value is not None)]

    def _activate_all(self, moment: float) -> None:
        """Let all turns have begun, and count the grace of what they replace from now on."""
        fields = self.generation.load_result.field_index.by_attribute
        for attribute, periods in self._periods.items():
            hurried = [period.replace(since=min(period.since, moment)) for period in periods]
            for number, period in enumerate(periods[1:]):
                if period.since > moment:
                    until = moment + fields[attribute].accept_old_for
                    hurried[number] = hurried[number].replace(until=until)
            self._periods[attribute] = tuple(hurried)

    def _activate_due(self, generation: Generation, moment: float) -> Change | None:
        """Make the values of this moment the ones in use."""
        current = dict(self._current)
        numbers: dict[str, int] = {}
        self._settled = moment
        for attribute, periods in self._periods.items():
            at = max(number for number, period in enumerate(periods) if period.since <= moment)
            now = periods[at]
            later = {period.value for period in periods[at:]}
            # A value that has come back is accepted by its new turn.
            kept = [
                period
                for period in periods[:at]
                if period.until > moment and period.value not in later
            ]
            self._periods[attribute] = (*kept, *periods[at:])
            numbers[attribute] = now.number
            if now.value is None:
                current.pop(attribute, None)
            else:
                current[attribute] = now.value
        before = self._current
        fields = self.declared._field_index.fields  # noqa: SLF001  (the declaration is ours to read)
        names = tuple(each for each in fields if not _is_same(before, current, each))
        if names or generation is not self.generation:
            self._publish(generation, current)
        if not names:
            return None
        return Change(
            names,
            {name: before.get(name) for name in names},
            {name: current.get(name) for name in names},
            max(numbers[name] for name in names),
        )

    def _publish(self, generation: Generation, current: Mapping[str, Value]) -> None:
        """Put values into use: all of them, in one assignment."""
        fields = self.declared._field_index.fields  # noqa: SLF001  (the declaration is ours to read)
        values = _complete(self.declared, current)
        # For get_secret: the texts by name, None where an optional one is absent.
        by_name = {
            each.name: values[attribute]
            for attribute, each in fields.items()
            if each.kind is Secret
        }
        pinned = make_set(self.declared, current)
        values |= {"_generation": generation, "_by_name": by_name, "_pinned": pinned}
        self._current = current
        object.__setattr__(self.view, "__dict__", values)


def _complete(declared: type[SecretSet], values: Mapping[str, Value]) -> dict[str, Any]:
    fields = declared._field_index.fields  # noqa: SLF001  (the declaration is ours to read)
    return {attribute: values.get(attribute) for attribute in fields}
