"""Store: generations of a run; current, pending and old values of each field."""

from __future__ import annotations

import math
import os
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

from hive_boot._records import Record
from hive_boot.exceptions import MissingSecretError
from hive_boot.redaction import conceal
from hive_boot.secrets.secret_set import SecretSet
from hive_boot.secrets.value import Attempt, Change, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.sources.files import Value

S = TypeVar("S", bound=SecretSet)


class Generation(Record):
    """One accepted set.

    Attributes:
        number: 1 for the first generation of a run.
        load_result: the values, and the location of each.
        since: the time of acceptance, on the monotonic clock.
        at: the time of acceptance, on the wall clock, in seconds since the epoch.
    """

    number: int
    load_result: LoadResult
    since: float
    at: float


class ValuePeriod(Record):
    """Period of one value of a field. All times are on the monotonic clock.

    Attributes:
        value: the value; None while the secret is absent.
        number: the number of the generation that contains the value.
        since: the activation, past or future.
        until: the end of acceptance; infinite as long as no later value was accepted.
    """

    value: Value | None
    number: int
    since: float
    until: float = math.inf


_Periods = dict[str, tuple[ValuePeriod, ...]]
"""The periods of each field with a pending or an old value, the oldest first, by attribute.

A field keeps the periods of its last change until the next one.
"""

_Beginnings = dict[str, tuple[int, float]]
"""Number and time of the generation whose value is the only one of a field, by attribute.

A rotation has one such pair for all of its fields.
"""


class PlannedSwitch(Record):
    """A switch to other values, from its plan to :meth:`Store.commit`.

    Attributes:
        generation: the last accepted generation after the switch.
        moment: the time of the plan, on the monotonic clock.
        periods: the periods of all fields with several values after the switch.
        beginnings: the beginnings of the other fields that have changed.
        values: the values in use after the switch.
        content: what the attributes of the live set are after the switch.
        change: the change of the values in use; None without one.
    """

    generation: Generation
    moment: float
    periods: _Periods
    beginnings: _Beginnings
    values: Mapping[str, Value]
    content: Mapping[str, Any]
    change: Change | None

    @property
    def config(self) -> object:
        """The config that belongs to the values in use after the switch."""
        return self.content["_config"]()


_MAX_RECENT = 16
"""Maximum number of versions that are known, and of accepted sets that may still come into use."""


class UseCounter:
    """Counts the successful uses of values in this process, in any thread.

    A forked child counts its own, beginning when it first adds or reads one.

    Args:
        attributes: the fields whose uses are counted.
        clock: the monotonic clock, in seconds.

    Attributes:
        began: when counting began.
        counts: by attribute, the uses of values that were ``current``, ``pending`` or ``old``.
        last_old: the last use of an old value, by attribute, which was in use until it was
            replaced; absent before the first.
    """

    def __init__(self, attributes: Iterable[str], clock: Callable[[], float]) -> None:
        self._attributes = attributes
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self.began: float = self._clock()
        # Reentrant, because a signal handler may use a value.
        self._lock = threading.RLock()
        self.counts: dict[str, dict[str, int]] = {
            each: {"current": 0, "pending": 0, "old": 0} for each in self._attributes
        }
        self.last_old: dict[str, float] = {}
        self._pid = os.getpid()

    def begin_in_child(self) -> None:
        """Begin again if this process was forked; a thread of the parent may hold the lock."""
        if self._pid != os.getpid():
            self._begin()

    def add(self, attribute: str, stage: str) -> None:
        """Count one use of a value that is ``current``, ``pending`` or ``old``."""
        self.begin_in_child()
        with self._lock:
            self.counts[attribute][stage] += 1
            if stage == "old":
                self.last_old[attribute] = self._clock()

    def replace(self, attributes: Iterable[str]) -> None:
        """Record that the values in use of these fields have become old ones."""
        self.begin_in_child()
        with self._lock:
            replaced = self.counts.keys() & set(attributes)
            self.last_old.update(dict.fromkeys(replaced, self._clock()))


_candidate: ContextVar[tuple[object, Any] | None] = ContextVar("hive_boot_candidate", default=None)
"""The store and the live set of the rebuild that has started the current task."""


def make_set(declared: type[S], values: Mapping[str, Value]) -> S:
    """Return an immutable set of ``values``; the fields without a value are None."""
    pinned = declared.__new__(declared)
    object.__setattr__(pinned, "__dict__", _complete(declared, values))
    return pinned


def changed_fields(load_result: LoadResult, before: LoadResult) -> list[str]:
    """Return the attributes whose values differ between two loads."""
    attributes = load_result.field_index.by_attribute
    return [each for each in attributes if not _is_same(load_result.values, before.values, each)]


def _are_same(one: Mapping[str, Value], other: Mapping[str, Value]) -> bool:
    return one is other or all(_is_same(one, other, each) for each in {**one, **other})


def _is_same(one: Mapping[str, Value], other: Mapping[str, Value], attribute: str) -> bool:
    value, known = one.get(attribute), other.get(attribute)
    if value is known or value is None or known is None:
        return value is known
    # Both are from the sources of the application, so a comparison may end at a difference.
    return type(value) is type(known) and value.reveal() == known.reveal()


class Store(Generic[S]):
    """Accepted values of one run.

    Args:
        declared: the declaration.
        clock: the monotonic clock, in seconds.
        prepare: called with the values that are about to come into use. It returns the config
            that belongs to them. If it raises, the values before stay in use. Default: no config.
        view: the live set of an earlier store, which continues with the values of this one.
            Default: a new one.

    A new live set has no values until the first generation is accepted.

    Attributes:
        versions: the version of the newest accepted set, and that of the values in use, which
            differ while a value is pending; each is empty if it is unknown. None if the
            declaration has no version.
    """

    def __init__(
        self,
        declared: type[S],
        clock: Callable[[], float] = time.monotonic,
        prepare: Callable[[Mapping[str, Value]], object] = lambda _: None,
        *,
        view: S | None = None,
    ) -> None:
        self.declared = declared
        self._fields = declared._field_index.fields
        self._view = declared.__new__(declared) if view is None else view
        # Further live sets, one of each rebuild, as long as the application uses them.
        self._views: WeakSet[S] = WeakSet([self._view])
        self._clock = clock
        self._prepare = prepare
        self._first: Generation | None = None
        self._current: Mapping[str, Value] = {}
        self._last_activation = 0.0
        self._beginnings: _Beginnings = {}
        # Only fields that have changed have periods. A tuple is replaced, never modified, because
        # other threads may iterate over it.
        self._periods: _Periods = {}
        self.versions: tuple[str, str] | None = ("", "") if declared._field_index.version else None
        self._newest: Any = None
        self.use_counter: UseCounter = UseCounter(declared._field_index.replaceable, clock)
        # Of the first set that was accepted with each version; and the sets of `versions`.
        self._fingerprints: dict[str, int] = {}
        self._recent: list[LoadResult] = []

    @property
    def view(self) -> S:
        """The live set, which has the values in use; in a rebuild, those after the switch."""
        candidate = _candidate.get()
        return self._view if candidate is None or candidate[0] is not self else candidate[1]

    @property
    def is_rebuilding(self) -> bool:
        """Whether the caller is a task of a rebuild that has not reached its switch."""
        return self.view not in self._views

    @contextmanager
    def candidate(self, switch: PlannedSwitch) -> Iterator[S]:
        """Show the values after the switch to the tasks that are started in the block.

        Yields:
            The set that they receive, which becomes live at the switch.
        """
        view = self.declared.__new__(self.declared)
        object.__setattr__(view, "__dict__", dict(switch.content))
        token = _candidate.set((self, view))
        try:
            yield view
        finally:
            _candidate.reset(token)

    @property
    def is_filled(self) -> bool:
        """Whether a set has been accepted."""
        return self._first is not None

    @property
    def generation(self) -> Generation:
        """The last accepted generation. A field with ``activate_after`` may still be pending."""
        generation: Generation = self._view.__dict__["_generation"]
        return generation

    @property
    def config(self) -> object:
        """The config that belongs to the values in use; None before the first generation."""
        config: Callable[[], object] | None = self.view.__dict__.get("_config")
        return None if config is None else config()

    def set_config(self, config: object) -> None:
        """Replace the config that belongs to the values in use."""
        content = {**self._view.__dict__, "_config": conceal(config)}
        object.__setattr__(self._view, "__dict__", content)

    def accept(self, load_result: LoadResult, *, now: bool = False) -> Change | None:
        """Plan and commit in one step: see :meth:`plan_acceptance`."""
        change = self.commit(self.plan_acceptance(load_result, now=now))
        self.update_versions()
        return change

    def advance(self, *, now: bool = False) -> Change | None:
        """Plan and commit in one step: see :meth:`plan_activation`."""
        change = self.commit(self.plan_activation(now=now))
        self.update_versions()
        return change

    def identify(self, load_result: LoadResult) -> LoadResult:
        """Return a loaded set, without its version if other values were accepted under it before.

        The values of a version are known again when they come back.
        """
        version = load_result.version
        known = self._fingerprints.get(version)
        if not version or known in {None, load_result.fingerprint}:
            return load_result
        reason = f"the values have changed under the version {version}"
        return load_result.with_unknown_version(f"{reason}; write another one with each change")

    def update_versions(self, newest: LoadResult | None = None) -> bool:
        """Publish the versions, as the last step of a switch, and return whether they change.

        A reader of a version then finds the values, instances and hooks that belong to it.

        Args:
            newest: the accepted values with another version. Default: the accepted set.
        """
        if self.versions is None:
            return False
        newest = self._newest = newest or self._newest
        before = self.versions
        if newest.version:
            self._fingerprints.setdefault(newest.version, newest.fingerprint)
            self._fingerprints = dict([*self._fingerprints.items()][-_MAX_RECENT:])
        # The set in use, and those after it. Without one, the values in use are of several sets.
        recent = self._recent
        if not recent or newest is not recent[-1]:
            recent = [*recent, newest][-_MAX_RECENT:]
        known = [at for at, each in enumerate(recent) if _are_same(self._current, each.values)]
        self._recent = recent[known[-1] :] if known else recent
        self.versions = newest.version, self._recent[0].version if known else ""
        return self.versions != before

    def plan_acceptance(self, load_result: LoadResult, *, now: bool = False) -> PlannedSwitch:
        """Plan to accept a loaded set, and to activate its fields without ``activate_after``.

        Args:
            load_result: the loaded set.
            now: whether to activate all fields at once, including pending ones. Default False.

        Raises:
            Exception: the config could not be prepared.
        """
        moment = self._clock()
        if self._first is None:
            first = Generation(1, load_result, moment, time.time())
            config = conceal(self._prepare(load_result.values))
            content = self._content(first, load_result.values, config)
            return PlannedSwitch(first, moment, {}, {}, load_result.values, content, None)
        generation = Generation(self.generation.number + 1, load_result, moment, time.time())
        changed = changed_fields(load_result, self.generation.load_result)
        all_periods = self._periods_at(moment, now=now)
        beginnings, beginning = dict(self._beginnings), (generation.number, moment)
        for attribute in changed:
            field = load_result.field_index.by_attribute[attribute]
            since = moment + (0.0 if now else field.activate_after)
            known = all_periods.get(attribute, ())
            if len(known) <= 1 and since <= moment and not field.accept_old_for:
                # The value before is neither used nor accepted any more.
                all_periods.pop(attribute, None)
                beginnings[attribute] = beginning
                continue
            *before, last = known or (self.current_period(attribute),)
            last = last.replace(until=since + field.accept_old_for)
            period = ValuePeriod(load_result.values.get(attribute), generation.number, since)
            all_periods[attribute] = (*before, last, period)
        return self._plan(generation, moment, all_periods, beginnings)

    def plan_activation(self, *, now: bool = False) -> PlannedSwitch:
        """Plan to activate the values that are due, and to drop those no longer accepted.

        Args:
            now: whether to activate all pending values at once. Default False.

        Raises:
            Exception: the config could not be prepared.
        """
        moment = self._clock()
        periods = self._periods_at(moment, now=now)
        return self._plan(self.generation, moment, periods, self._beginnings)

    def commit(self, switch: PlannedSwitch, rebuilt: S | None = None) -> Change | None:
        """Use the values of a plan. Nothing else may be committed between both.

        Args:
            switch: the plan.
            rebuilt: the set of a rebuild, which becomes live. With it, ``accept_old_for`` of the
                values that are replaced starts now, and not at the time of the plan.

        Returns:
            The change of the values in use; None without one, and for the first generation.
        """
        periods = switch.periods
        if rebuilt is not None:
            self._views.add(rebuilt)
            last = self._last_activation
            periods = self._moved(periods, last, switch.moment, self._clock())
        if self._first is None:
            self._first = switch.generation
        if self._view.__dict__.get("_generation") is not switch.generation:
            self._newest = switch.generation.load_result
            self._count_matches(self._newest.values)
        # A period that became due during a rebuild is later than the plan, and next_due has it.
        self._last_activation = switch.moment
        self._periods, self._beginnings = periods, switch.beginnings
        self._current = switch.values
        for view in self._views:
            object.__setattr__(view, "__dict__", switch.content)
        if (change := switch.change) is not None:
            self.use_counter.replace(each for each, old in change.old.items() if old is not None)
        return switch.change

    def postpone(self, seconds: float) -> list[str]:
        """Delay values that are due and could not be activated, and return their fields."""
        moment, before = self._clock(), self._periods
        self._periods = self._moved(before, self._last_activation, moment, moment + seconds)
        return [each for each, periods in self._periods.items() if periods != before[each]]

    @property
    def next_due(self) -> float:
        """The monotonic time of the next activation or expiry; infinite without one."""
        periods = chain.from_iterable(self._periods.values())
        times = [each for period in periods for each in (period.since, period.until)]
        return min((each for each in times if each > self._last_activation), default=math.inf)

    def current_period(self, attribute: str) -> ValuePeriod:
        """Return the period of the current value of a field."""
        moment = self._clock()
        periods = self._periods.get(attribute)
        if periods is None:
            first: Any = self._first
            beginning = self._beginnings.get(attribute, (first.number, first.since))
            return ValuePeriod(self._current.get(attribute), *beginning)
        return next((period for period in reversed(periods) if period.since <= moment), periods[0])

    def due(self, attribute: str) -> float | None:
        """Return the seconds until the newest value is activated; None if it is current."""
        moment = self._clock()
        periods = self._periods.get(attribute)
        left = periods[-1].since - moment if periods else 0.0
        return left if left > 0 else None

    def accepted(self, attribute: str) -> tuple[Value, ...]:
        """Return every accepted value of a field, the current one first.

        Pending values follow, then old ones, then the value of ``previous=``.
        """
        moment = self._clock()
        # From the view, not from the clock: until the next advance(), the application signs with
        # this value.
        current = self.view.__dict__[attribute]
        periods = reversed(self._periods.get(attribute, ()))
        others = [period.value for period in periods if period.until > moment]
        in_use = self._view.__dict__[attribute]  # in a rebuild, the current one comes after it
        found = [current, in_use, *others, self._current.get(f"{attribute}.previous")]
        return tuple(dict.fromkeys(value for value in found if value is not None))

    def attempts(self, attribute: str, rejected: Any) -> Iterator[Attempt]:
        """Yield an attempt for each accepted value, until one has a result, and count its use.

        Args:
            attribute: the field.
            rejected: the types of exceptions by which an attempt rejects its value.

        Raises:
            MissingSecretError: the secret is absent.
        """
        values = self.accepted(attribute)
        if not values:
            raise MissingSecretError(self._fields[attribute].name, "provide it, or do not verify")
        for number, value in enumerate(values, 1):
            attempt = Attempt(value, rejected, is_last=number == len(values))
            yield attempt
            if attempt.result is not False:
                self.count_use(attribute, value)
                return

    def _count_matches(self, values: Mapping[str, Value]) -> None:
        """Set up the values of a new set to count their matches."""
        for attribute in self.use_counter.counts:
            on_match = partial(self.count_use, attribute)
            for value in (values.get(attribute), values.get(f"{attribute}.previous")):
                if value is not None:
                    value._on_match = on_match

    def count_use(self, attribute: str, value: Value) -> None:
        """Count a successful use of a value, in any thread."""
        if attribute not in self.use_counter.counts:
            return
        stage, current = "old", self._current.get(attribute)
        # In a rebuild, the new value is in use too.
        if value in (current, self.view.__dict__[attribute]):
            stage = "current"
        else:
            # Not by the clock: a value that is due may not be in use yet.
            for period in reversed(self._periods.get(attribute, ())):
                if period.value == current:
                    break
                if period.value == value:
                    stage = "pending"
        self.use_counter.add(attribute, stage)

    def all_accepted_values(self) -> list[Value]:
        """Return the current, pending and old values of all fields."""
        others = [period.value for periods in list(self._periods.values()) for period in periods]
        return [*self._current.values(), *(value for value in others if value is not None)]

    def _periods_at(self, moment: float, *, now: bool) -> _Periods:
        """Return the periods, in which pending ones start at ``moment`` if ``now``."""
        periods = self._periods
        return self._moved(periods, moment, math.inf, moment) if now else dict(periods)

    def _moved(self, known: _Periods, after: float, until: float, since: float) -> _Periods:
        """Return periods, in which those that start after ``after`` start at ``since``.

        The ``accept_old_for`` of the values that they replace starts at the same time.

        Args:
            known: the periods.
            after: periods that start until then are not moved.
            until: periods that start later are not moved.
            since: the new start.
        """
        fields = self.generation.load_result.field_index.by_attribute
        all_periods = {}
        for attribute, periods in known.items():
            moved = list(periods)
            for number, period in enumerate(periods):
                if number and after < period.since <= until:
                    before = since + fields[attribute].accept_old_for
                    moved[number - 1] = moved[number - 1].replace(until=before)
                    moved[number] = moved[number].replace(since=since)
            all_periods[attribute] = tuple(moved)
        return all_periods

    def _plan(
        self,
        generation: Generation,
        moment: float,
        all_periods: _Periods,
        beginnings: _Beginnings,
    ) -> PlannedSwitch:
        """Plan the values that are current at ``moment``, without the periods that are over."""
        current = dict(self._current)
        numbers: dict[str, int] = {}
        if beginnings is not self._beginnings:
            for attribute, (number, _) in beginnings.items():
                if number == generation.number:
                    _set(current, attribute, generation.load_result.values.get(attribute))
                    numbers[attribute] = number
        for attribute, periods in all_periods.items():
            now, *others = periods
            if others:
                at = max(number for number, each in enumerate(periods) if each.since <= moment)
                now = periods[at]
                later = {period.value for period in periods[at:]}
                # A value that is current or pending again has a later period, which replaces it.
                ended = periods[:at]
                old = [each for each in ended if each.until > moment and each.value not in later]
                all_periods[attribute] = (*old, *periods[at:])
            numbers[attribute] = now.number
            _set(current, attribute, now.value)
        before = self._current
        names = tuple(each for each in self._fields if not _is_same(before, current, each))
        change = None
        content: Mapping[str, Any] = self._view.__dict__
        if names or generation is not self.generation:
            config = conceal(self._prepare(current)) if names else content["_config"]
            content = self._content(generation, current, config)
        if names:
            replaced, new = ({name: each.get(name) for name in names} for each in (before, current))
            change = Change(names, replaced, new, max(numbers[name] for name in names))
        return PlannedSwitch(generation, moment, all_periods, beginnings, current, content, change)

    def _content(
        self, generation: Generation, current: Mapping[str, Value], config: Callable[[], object]
    ) -> dict[str, Any]:
        """Return all attributes of the live set, so that no reader sees a part of a switch.

        The config is concealed, because it may contain values that a traceback would show.
        """
        values = _complete(self.declared, current)
        # For get_secret(): text secrets by name; None for an absent optional one.
        fields = self._fields.items()
        by_name = {each.name: values[key] for key, each in fields if each.kind is Secret}
        pinned = make_set(self.declared, current)
        kept = {"_generation": generation, "_config": config}
        return {**values, **kept, "_by_name": by_name, "_pinned": pinned}


def _set(values: dict[str, Value], attribute: str, value: Value | None) -> None:
    """Set the value of a field, or remove an absent one."""
    if value is None:
        values.pop(attribute, None)
    else:
        values[attribute] = value


def _complete(declared: type[SecretSet], values: Mapping[str, Value]) -> dict[str, Any]:
    fields = declared._field_index.fields
    return {attribute: values.get(attribute) for attribute in fields}
