"""States of a run: the table of transitions, the timeline, and the messages to systemd."""

from __future__ import annotations

import time
from collections import deque
from enum import StrEnum
from typing import Literal

from hive_boot._records import Record
from hive_boot.exceptions import IllegalTransitionError
from hive_boot.lifecycle.systemd import SystemdNotifier


class State(StrEnum):
    """State of a run."""

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
"""The states that may follow each state."""


SERVING = frozenset({State.READY, State.RELOADING})
"""The states in which the application is in use."""


Kind = Literal["phase", "check", "resource", "service", "stop"]
"""Kind of a step: a phase of the run, a check, the start of a resource, a service, a stop."""


StepOutcome = Literal["waiting", "running", "done", "failed", "overdue", "cancelled"]
"""Outcome of a step; the last four are final."""


class TimelineEntry(Record):
    """One step of a run.

    Attributes:
        name: a state, the name of a resource, or the label of a check.
        kind: the kind of the step.
        start: the begin, in seconds since the run began; of a step that waits: of the waiting.
        end: the end, in the same seconds; None until then.
        outcome: the outcome until now.
        waits_for: the resources that the step waits, or has waited, for.
    """

    name: str
    kind: Kind
    start: float
    end: float | None = None
    outcome: StepOutcome = "running"
    waits_for: tuple[str, ...] = ()


_MOST = 200
"""Number of service runs in the timeline: a failing service is restarted during the whole run."""


class Timeline:
    """Steps of one run, in the order in which they began."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._steps: dict[int, TimelineEntry] = {}
        self._services: deque[int] = deque()
        self._next = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    @property
    def steps(self) -> tuple[TimelineEntry, ...]:
        """All steps until now."""
        return tuple(self._steps.values())

    def step(self, number: int) -> TimelineEntry:
        """Return one step."""
        return self._steps[number]

    def begin(
        self,
        name: str,
        kind: Kind,
        *,
        waits_for: tuple[str, ...] = (),
        outcome: StepOutcome = "running",
    ) -> int:
        """Record the begin of a step.

        Returns:
            The number of the step.
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
        """Record that a step which was waiting begins now."""
        self._steps[number] = self._steps[number].replace(outcome="running", start=self.elapsed)

    def end(self, number: int, outcome: StepOutcome = "done") -> None:
        """Record the end of a step; a second end changes nothing."""
        step = self._steps.get(number)
        if step is not None and step.end is None:
            self._steps[number] = step.replace(end=self.elapsed, outcome=outcome)


class StateMachine:
    """State of one run: each step is recorded in the timeline and sent to systemd.

    Attributes:
        state: the current state.
        started: whether the run has been ready.
        timeline: every step of the run.
        notifier: the messages to systemd.
    """

    def __init__(self) -> None:
        self.state: State = State.ARMED
        self.started: bool = False
        self.timeline: Timeline = Timeline()
        self.notifier: SystemdNotifier = SystemdNotifier()
        self._phase = self.timeline.begin(State.ARMED, "phase")

    def transition(self, state: State) -> None:
        """Enter a state, record it, and send it to systemd.

        Raises:
            IllegalTransitionError: the table does not allow this step.
        """
        before = self.state
        self.transition_silently(state)
        # A reload belongs to the phase READY.
        if State.RELOADING not in {before, state} or state is State.DRAINING:
            self.timeline.end(self._phase)
            self._phase = self.timeline.begin(state, "phase")
            if state is State.STOPPED:
                self.timeline.end(self._phase)
        if state is State.RELOADING:
            self.notifier.reloading()
        elif state is State.READY:
            self.started = True
            self.notifier.ready("Ready")
        elif state is State.DRAINING or (state is State.STOPPING and not self.started):
            self.notifier.stopping(state.capitalize())
        else:
            self.notifier.status(state.capitalize())

    def transition_silently(self, state: State) -> None:
        """Enter a state; nothing is recorded or sent.

        Raises:
            IllegalTransitionError: the table does not allow this step.
        """
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransitionError(self.state, f"enter {state}")
        self.state = state
