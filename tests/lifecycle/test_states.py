"""The table of states: allowed transitions, and the effect of a rejected one."""

import pytest

from hive_boot import IllegalTransitionError, LifecycleError
from hive_boot.lifecycle.states import TRANSITIONS, State, StateMachine

WALKS = [
    [State.LOADING, State.STARTING, State.READY, State.DRAINING, State.STOPPING, State.STOPPED],
    [
        State.LOADING,
        State.STARTING,
        State.READY,
        State.RELOADING,
        State.READY,
        State.RELOADING,
        State.DRAINING,
        State.STOPPING,
        State.STOPPED,
    ],
    [State.LOADING, State.STARTING, State.STOPPING, State.STOPPED],
    [State.LOADING, State.STOPPED],
    [State.STOPPED],
]
"""Every way from ARMED to STOPPED: the whole ones, and where they can break off."""

REFUSED = [(state, event) for state in State for event in State if event not in TRANSITIONS[state]]


def machine_in(state: State) -> StateMachine:
    """Return a state machine in ``state``, reached by allowed transitions."""
    machine = StateMachine()
    walk = next(walk for walk in [[State.ARMED], *WALKS, [State.FORCED]] if state in walk)
    for step in walk[: walk.index(state) + 1]:
        if step is not State.ARMED:
            machine.transition(step)
    return machine


def test_a_run_begins_armed() -> None:
    """The initial state is ARMED."""
    assert StateMachine().state is State.ARMED


def test_a_run_can_end_early_or_late() -> None:
    """A run may end in each phase, and always ends in STOPPED."""
    for walk in WALKS:
        machine = StateMachine()
        for step in walk:
            machine.transition(step)
            assert machine.state is step
        assert machine.state is State.STOPPED


def test_the_table_holds_nothing_but_these_walks() -> None:
    """Transitions that no run makes are not in the table."""
    steps = {pair for walk in WALKS for pair in zip([State.ARMED, *walk], walk, strict=False)}
    steps |= {(state, State.FORCED) for state in State if state is not State.FORCED}
    assert {(state, after) for state, all_ in TRANSITIONS.items() for after in all_} == steps


def test_a_refused_step_changes_nothing() -> None:
    """A transition that is not in the table raises an error that names it, and keeps the state."""
    for state, event in REFUSED:
        machine = machine_in(state)
        with pytest.raises(IllegalTransitionError) as caught:
            machine.transition(event)
        assert machine.state is state
        assert caught.value.state == state
        assert event.value in caught.value.event
        assert {state.value, event.value} <= set(str(caught.value).split())
        assert isinstance(caught.value, LifecycleError)


def test_a_run_that_has_stopped_stays_stopped() -> None:
    """After STOPPED only a forced exit is possible: a second start is another run."""
    assert TRANSITIONS[State.STOPPED] == {State.FORCED}
    assert TRANSITIONS[State.FORCED] == frozenset()
