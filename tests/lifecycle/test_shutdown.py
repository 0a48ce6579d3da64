"""The shutdown of a run: requests, failures, the delay, the deadline and the second signal."""

import math
import threading
import time
from itertools import product

import pytest

from hive_boot._timings import Timings
from hive_boot.lifecycle import forced_exit, shutdown
from hive_boot.lifecycle.states import State
from tests.lifecycle.components import LONG
from tests.lifecycle.owned_runs import WAYS, OwnedRun
from tests.support import until

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


# A request


async def test_a_request_counts_once_in_every_state() -> None:
    """Without a delay, or before READY, main is cancelled at once."""
    serving = {State.READY, State.RELOADING}
    states = {State.ARMED, State.LOADING, State.STARTING, *serving}
    for at, delay in product(states, (0.0, 0.01, LONG)):
        if at in serving and delay:
            continue
        owner = OwnedRun(at, delay=delay, owns_process=True)
        owner.shutdown.request()
        owner.shutdown.request()
        stopping = State.STOPPING if at in {State.STARTING, *serving} else at
        assert (owner.states.state, owner.cancelled) == (stopping, 1)
        assert owner.shutdown.deadline < math.inf
        assert await owner.stop() == []
        assert owner.cancelled == 1


@pytest.mark.parametrize("at", [State.READY, State.RELOADING])
async def test_a_ready_run_drains_before_main_is_cancelled(at: State) -> None:
    """A second request does not shorten the delay; the end of main does."""
    owner = OwnedRun(at, delay=0.01, owns_process=True)
    early = OwnedRun(at, delay=LONG, owns_process=True)
    for each in (owner, early):
        each.shutdown.request()
        each.shutdown.request()
        assert (each.states.state, each.cancelled) == (State.DRAINING, 0)
        assert each.shutdown.deadline == math.inf
    await until(lambda: owner.cancelled)
    assert owner.states.state is State.STOPPING
    assert owner.shutdown.deadline < math.inf
    assert await owner.stop() == await early.stop() == []
    assert (owner.cancelled, early.cancelled) == (1, 0)


async def test_a_request_during_the_stop_does_not_lead_back() -> None:
    """The stop continues."""
    for at in (State.DRAINING, State.STOPPING):
        owner = OwnedRun(at, owns_process=True)
        owner.shutdown.request()
        assert (owner.states.state, owner.cancelled) == (State.STOPPING, 1)
        assert await owner.stop() == []


async def test_without_its_own_process_a_request_cancels_at_once() -> None:
    """A delay would hold up the server around the run."""
    owner = OwnedRun(State.READY, delay=LONG)
    owner.shutdown.request()
    assert owner.shutdown.stopping.is_set()
    assert (owner.states.state, owner.cancelled) == (State.DRAINING, 1)
    assert await owner.stop() == []


# A failure


async def test_a_failure_cancels_what_uses_a_ready_run(caplog: pytest.LogCaptureFixture) -> None:
    """Probes report it at once; only the first failure counts; a start raises it by itself."""
    for at in WAYS:
        caplog.clear()
        owner, failure = OwnedRun(at, delay=LONG), ValueError("lost")
        owner.runner.report_failure("resource", "pool", failure)
        owner.runner.report_failure("resource", "queue", KeyError("second"))
        was_ready = at in {State.READY, State.RELOADING}
        assert owner.states.state is (State.DRAINING if was_ready else at)
        assert (owner.runner.failed, owner.runner.failure) == ("pool", failure)
        assert owner.cancelled == was_ready
        assert [
            (
                record.levelname,
                record.getMessage().partition("resource ")[2].split()[0],
                record.exc_info and record.exc_info[0],
            )
            for record in caplog.records
        ] == [("CRITICAL", "pool", None), ("ERROR", "queue", KeyError)]
        # The owner, which gets the failure, reports its traceback.
        assert caplog.records[0].getMessage().endswith("has failed: ValueError: lost")
        assert await owner.stop() == []


async def test_a_failure_in_an_owned_process_is_a_request() -> None:
    """The delay passes also after a failure, and a start is cancelled."""
    owner = OwnedRun(State.READY, delay=0.01, owns_process=True)
    owner.runner.report_failure("resource", "pool", ValueError())
    assert (owner.phases[-1], owner.cancelled) == ("draining running", 0)
    await until(lambda: owner.cancelled)
    assert owner.phases[-1] == "stopping running"
    assert await owner.stop() == []

    owner = OwnedRun(State.STARTING, delay=LONG, owns_process=True)
    owner.runner.report_failure("resource", "pool", ValueError())
    assert (owner.states.state, owner.cancelled) == (State.STOPPING, 1)
    assert await owner.stop() == []


async def test_a_failure_during_the_stop_is_only_kept(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is cancelled because of it, and it is not the cause of the stop in the log."""
    for delay, owns_process in product((0.0, LONG), (False, True)):
        owner = OwnedRun(State.READY, delay=delay, owns_process=owns_process)
        failure = ValueError("lost")
        owner.shutdown.request()
        before = owner.states.state, owner.cancelled
        owner.runner.report_failure("resource", "pool", failure)
        assert owner.runner.failure is failure
        assert (owner.states.state, owner.cancelled) == before
        assert caplog.messages[-1].startswith("The application was stopping when the resource pool")
        assert await owner.stop() == []


# The deadline and the forced exit


async def test_the_deadline_starts_once() -> None:
    """Later calls, and the stop itself, do not move it."""
    owner = OwnedRun(State.READY, timeout=5)
    before = time.monotonic()
    owner.shutdown.start_deadline()
    deadline = owner.shutdown.deadline
    assert before + 5 <= deadline <= time.monotonic() + 5
    owner.shutdown.start_deadline()
    assert await owner.stop() == []
    assert owner.shutdown.deadline == deadline


async def test_a_forced_exit_follows_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cancelled when the loop has ended, unless the exit itself can hang."""
    told: list[str] = []

    class Watchdog:
        """A watchdog that records its calls."""

        def __init__(self, _pending: object, status: int, _timings: object) -> None:
            told.append(f"{status}")

        def set_deadline(self, deadline: float) -> None:
            """Record the call."""
            told.append(f"{deadline > owner.shutdown.deadline > time.monotonic()}")

        def cancel(self) -> None:
            """Record the call."""
            told.append("cancel")

        def only_while_exiting(self) -> None:
            """Record the call."""
            told.append("only while exiting")

    monkeypatch.setattr(shutdown, "ExitWatchdog", Watchdog)
    for exit_may_hang, expected in (
        (False, ["70", "True", "cancel"]),
        (True, ["70", "True", "only while exiting"]),
    ):
        told.clear()
        owner = OwnedRun(State.READY, owns_process=True)
        owner.shutdown.start_deadline()
        owner.shutdown.release(exit_may_hang=exit_may_hang)
        assert told == expected


async def test_a_loop_that_ignores_the_first_signal_is_forced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread that forces the exit was started with the run, and ends with it."""
    forced: list[str] = []
    monkeypatch.setattr(forced_exit, "force_exit", lambda *_: forced.append("forced"))
    monkeypatch.setattr(shutdown.ExitWatchdog, "_hard_exit", lambda _: None)
    timings = Timings(forced_exit_delay=0.01)
    for is_signalled in (True, False):
        forced.clear()
        owner = OwnedRun(State.READY, timeout=0.01, owns_process=True, timings=timings)
        before = set(threading.enumerate())
        owner.shutdown.watch()
        started = {each for each in threading.enumerate() if "deadline" in each.name} - before
        assert started
        if is_signalled:
            owner.shutdown.note_signal()
            await until(lambda: forced)
        else:
            owner.shutdown.release(exit_may_hang=False)
        for thread in started:
            thread.join(LONG)
            assert not thread.is_alive()
        assert forced == (["forced"] if is_signalled else [])


async def test_a_second_signal_gets_the_state_until_then() -> None:
    """The message of a forced exit names the state in which the process was."""
    for at in WAYS:
        owner = OwnedRun(at)
        assert owner.shutdown.mark_forced() is at
        assert owner.states.state is State.FORCED
