"""Calls between threads and the event loop: results of a thread, and calls from a thread."""

import threading
from collections.abc import Iterator
from functools import partial

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from hive_boot.lifecycle.tasks import run_in_daemon_thread, threadsafe_scheduler

pytestmark = pytest.mark.both_backends

NAME = "a thread of a test"

PATIENCE = 20
"""Seconds after which a test that waits has failed."""


@pytest.fixture
def gate(gate: threading.Event) -> Iterator[threading.Event]:
    """Yield an event that threads wait for; it is set at the end, and the threads are joined."""
    yield gate
    gate.set()
    for thread in threads():
        thread.join(PATIENCE)
    assert not threads()


def threads() -> list[threading.Thread]:
    """Return the threads that a test has started."""
    return [thread for thread in threading.enumerate() if thread.name == NAME]


@pytest.mark.anyio
async def test_the_result_of_the_thread_comes_back() -> None:
    """The result of the function is returned; it has run in its own, named thread."""
    ran = await run_in_daemon_thread(threading.current_thread, NAME)
    assert ran.name == NAME
    assert ran is not threading.current_thread()


@pytest.mark.anyio
async def test_what_the_thread_raises_is_raised_where_it_is_awaited() -> None:
    """An exception of the thread is raised in the caller, also SystemExit."""

    def fail(failure: BaseException) -> None:
        raise failure

    for failure in (ValueError("no"), SystemExit(3), KeyboardInterrupt()):
        with pytest.raises(type(failure)) as caught:
            await run_in_daemon_thread(partial(fail, failure), NAME)
        assert caught.value is failure


@pytest.mark.anyio
async def test_the_loop_turns_while_the_thread_works(gate: threading.Event) -> None:
    """Other tasks run while the thread waits, and may release it."""
    soon, going = threadsafe_scheduler(), anyio.Event()
    done = []

    def work() -> bool:
        soon(going.set)
        return gate.wait(PATIENCE)

    async def wait_for_the_thread() -> None:
        done.append(await run_in_daemon_thread(work, NAME))

    async with anyio.create_task_group() as group:
        group.start_soon(wait_for_the_thread)
        await going.wait()
        gate.set()
    assert done == [True]


@pytest.mark.anyio
async def test_busy_worker_threads_do_not_hold_it_up() -> None:
    """The function runs although all worker threads of anyio are busy."""
    limiter = anyio.to_thread.current_default_thread_limiter()
    busy = [object() for _ in range(int(limiter.available_tokens))]
    for borrower in busy:
        limiter.acquire_on_behalf_of_nowait(borrower)
    try:
        with anyio.fail_after(PATIENCE):
            assert await run_in_daemon_thread(lambda: "done", NAME) == "done"
    finally:
        for borrower in busy:
            limiter.release_on_behalf_of(borrower)


@pytest.mark.anyio
async def test_a_cancelled_wait_ends_at_once(gate: threading.Event) -> None:
    """A cancelled caller does not wait for the thread, which is a daemon."""
    with anyio.move_on_after(0.01) as scope:
        await run_in_daemon_thread(gate.wait, NAME)
    assert scope.cancelled_caught
    (left_behind,) = threads()
    assert left_behind.daemon


@pytest.mark.anyio
async def test_a_thread_that_was_left_behind_may_fail_in_silence(gate: threading.Event) -> None:
    """An exception of a thread whose caller was cancelled is dropped."""

    def fail() -> None:
        gate.wait(PATIENCE)
        raise ValueError

    with anyio.move_on_after(0.01):
        await run_in_daemon_thread(fail, NAME)
    (left_behind,) = threads()
    gate.set()
    left_behind.join(PATIENCE)
    await checkpoint()
    assert not left_behind.is_alive()


@pytest.mark.anyio
async def test_what_comes_too_late_can_be_thrown_away(gate: threading.Event) -> None:
    """A late result is passed to ``discard``."""
    thrown_away: list[bool] = []
    with anyio.move_on_after(0.01):
        await run_in_daemon_thread(lambda: gate.wait(PATIENCE), NAME, discard=thrown_away.append)
    (left_behind,) = threads()
    assert thrown_away == []
    gate.set()
    left_behind.join(PATIENCE)
    assert thrown_away == [True]


@pytest.mark.anyio
async def test_what_is_ready_when_the_wait_is_cancelled_is_thrown_away() -> None:
    """A result that arrives together with the cancellation is passed to ``discard``."""
    thrown_away: list[str] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await run_in_daemon_thread(lambda: "late", NAME, discard=thrown_away.append)
    for thread in threads():
        thread.join(PATIENCE)
    assert scope.cancelled_caught
    assert set(thrown_away) == {"late"}


@pytest.mark.anyio
async def test_a_result_that_is_taken_is_not_thrown_away() -> None:
    """A result that is returned is not passed to ``discard``."""
    thrown_away: list[str] = []
    assert await run_in_daemon_thread(lambda: "here", NAME, discard=thrown_away.append) == "here"
    assert thrown_away == []


def test_the_loop_may_be_gone_when_the_thread_ends(
    anyio_backend: str, gate: threading.Event
) -> None:
    """A thread may end after its event loop was closed."""

    async def leave_early() -> None:
        with anyio.move_on_after(0.01):
            await run_in_daemon_thread(gate.wait, NAME)

    anyio.run(leave_early, backend=anyio_backend)
    (left_behind,) = threads()
    gate.set()
    left_behind.join(PATIENCE)
    # An error in a thread would fail this test: pytest makes a warning of it.
    assert not left_behind.is_alive()


@pytest.mark.anyio
async def test_a_thread_can_wake_the_loop() -> None:
    """A thread can schedule a call in the event loop."""
    soon = threadsafe_scheduler()
    woken = anyio.Event()
    threading.Thread(target=soon, args=(woken.set,)).start()
    with anyio.fail_after(PATIENCE):
        await woken.wait()


def test_a_loop_that_is_gone_cannot_be_woken(anyio_backend: str) -> None:
    """After the end of the event loop the call raises RuntimeError, on both backends."""

    async def give() -> object:
        return threadsafe_scheduler()

    soon = anyio.run(give, backend=anyio_backend)
    with pytest.raises(RuntimeError):
        soon(lambda: None)  # type: ignore[operator]
