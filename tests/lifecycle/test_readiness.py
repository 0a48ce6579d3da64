"""What a probe is told in each state."""

import pytest

from hive_boot.lifecycle.readiness import Answer, liveness, readiness, startup
from hive_boot.lifecycle.states import State

READY = {State.READY, State.RELOADING}


@pytest.mark.parametrize("state", State)
def test_a_process_that_answers_is_alive(state: State) -> None:
    """Nobody restarts a process that starts, drains or stops: it can still answer."""
    assert liveness(state) == Answer(200, state.value)


@pytest.mark.parametrize("state", State)
def test_requests_come_only_while_it_is_in_use(state: State) -> None:
    """It is ready from READY on, through every reload, and no more from DRAINING on."""
    assert readiness(state) == Answer(200 if state in READY else 503, state.value)


@pytest.mark.parametrize("state", State)
def test_a_start_that_is_over_stays_over(state: State) -> None:
    """Once it has been ready, no later state brings the start back."""
    assert startup(state, started=True) == Answer(200, state.value)
    assert startup(state, started=False) == Answer(503, state.value)


@pytest.mark.parametrize("state", State)
def test_the_answer_is_one_word(state: State) -> None:
    """A probe's answer is a word that anybody may read."""
    assert readiness(state).word.isalpha()
