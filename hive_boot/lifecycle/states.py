"""The states of a run, and the steps between them, as a table.

The code only looks a step up; a step that is not in the table is an
IllegalTransition, and changes nothing.
"""

from __future__ import annotations

from enum import StrEnum

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
        self.state = State.ARMED

    def transition(self, state: State) -> None:
        """Take a step.

        Raises:
            IllegalTransition: the table has no such step from here.
        """
        if state not in TRANSITIONS[self.state]:
            raise IllegalTransitionError(self.state, f"make {state}")
        self.state = state
