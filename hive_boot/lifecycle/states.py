"""States of a run: the table of transitions, and the timeline of what was done in them."""

from __future__ import annotations

import time
from collections import deque
from enum import StrEnum
from typing import Literal

from hive_boot._records import Record
from hive_boot.exceptions import IllegalTransitionError


class State(StrEnum):
    """Where a run stands."""

    ARMED = "armed"
    LOADING = "loading"
    STARTING = "starting"
    READY = "ready"
    RELOADING = "reloading"
    DRAINING = "draining"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FORCED = "forced"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.ARMED: frozenset({State.LOADING, State.STOPPED, State.FORCED}),
    State.LOADING: frozenset({State.STARTING, State.STOPPED, State.FORCED}),
    State.STARTING: frozenset({State.READY, State.STOPPING, State.FORCED}),
    State.READY: frozenset({State.RELOADING, State.DRAINING, State.FORCED}),
    State.RELOADING: frozenset({State.READY, State.DRAINING, State.FORCED}),
    State.DRAINING: frozenset({State.STOPPING, State.FORCED}),
    State.STOPPING: frozenset({State.STOPPED, State.FORCED}),
    State.STOPPED: frozenset({State.FORCED}),
    State.FORCED: frozenset(),
}
"""For each state, the ones that may follow."""


SERVING = frozenset({State.READY, State.RELOADING})
"""The states in which the application is in use."""


class StateMachine:
    """One walk through the table, from ARMED to STOPPED."""

    def __init__(self) -> None:
        self.state: State = State.ARMED

    def transition(self, state: State) -> None:
        """Take a step.

        Raises:
            IllegalTransitionError: the table has no such step from here.
        """
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransitionError(self.state, f"make {state}")
        self.state = state


Kind = Literal["phase", "check", "resource", "service", "stop"]
"""What a step is: a phase of the run, a check, the start of a resource, a service, a stop."""


StepOutcome = Literal["waiting", "running", "done", "failed", "overdue", "cancelled"]
"""What has become of a step; the last four are final."""


class TimelineEntry(Record):
    """One step of a run.

    Attributes:
        name: what people call it: a state, the name of a resource, the label of a check.
        kind: what it is.
        start: when it began, in seconds since the run began; while it waits, when it was to.
        end: when it ended, in the same seconds; None while it goes on.
        outcome: what has become of it.
        waits_for: the resources that it waits, or has waited, for.
    """

    name: str
    kind: Kind
    start: float
    end: float | None = None
    outcome: StepOutcome = "running"
    waits_for: tuple[str, ...] = ()


_MOST = 200
"""How many runs of services are remembered: they fail and come back for as long as it runs."""


class Timeline:
    """The steps of one run, in the order in which they began."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._steps: dict[int, TimelineEntry] = {}
        self._services: deque[int] = deque()
        self._next = 0

    @property
    def elapsed(self) -> float:
        """The seconds since the run began."""
        return time.monotonic() - self._began

    @property
    def steps(self) -> tuple[TimelineEntry, ...]:
        """All steps until now."""
        return tuple(self._steps.values())

    def step(self, number: int) -> TimelineEntry:
        """Give one step."""
        return self._steps[number]

    def begin(
        self,
        name: str,
        kind: Kind,
        *,
        waits_for: tuple[str, ...] = (),
        outcome: StepOutcome = "running",
    ) -> int:
        """Note that something begins.

        Returns:
            The number by which the step is told of later.
        """
        number = self._next
        self._next += 1
        self._steps[number] = TimelineEntry(name, kind, self.elapsed, None, outcome, waits_for)
        if kind == "service":
            self._services.append(number)
            if len(self._services) > _MOST:
                del self._steps[self._services.popleft()]
        return number

    def resume(self, number: int) -> None:
        """Note that a step which was waiting begins in earnest."""
        self._steps[number] = self._steps[number].replace(outcome="running", start=self.elapsed)

    def end(self, number: int, outcome: StepOutcome = "done") -> None:
        """Note that something has ended; a second end changes nothing."""
        step = self._steps.get(number)
        if step is not None and step.end is None:
            self._steps[number] = step.replace(end=self.elapsed, outcome=outcome)
