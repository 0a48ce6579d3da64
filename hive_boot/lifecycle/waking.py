"""The ways into a running loop from outside: from a thread, from a signal handler."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def threadsafe_scheduler() -> Callable[[Callable[[], object]], object]:
    """Give what makes the running loop call a function soon; it is safe anywhere.

    Returns:
        asyncio's ``call_soon_threadsafe`` or trio's ``run_sync_soon``. Both raise
        RuntimeError when the loop is gone.
    """
    native: Any = anyio.lowlevel.current_token().native_token
    soon = getattr(native, "run_sync_soon", None)
    found: Callable[[Callable[[], object]], object] = soon or native.call_soon_threadsafe
    return found


def enable_signal_wakeup() -> None:
    """Let a signal wake the running loop, also one that comes just before it waits.

    Python runs a handler between two instructions, and none is run while a loop waits. A
    descriptor that the kernel's handler writes to ends that wait. trio and uvloop have
    one; asyncio has one as soon as it handles any signal itself, so it gets one that is
    ignored by default. https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd
    """
    native: Any = anyio.lowlevel.current_token().native_token
    handle = getattr(native, "add_signal_handler", None)
    if handle is not None and threading.current_thread() is threading.main_thread():
        handle(signal.SIGURG, lambda: None)


async def run_in_daemon_thread(
    call: Callable[[], T], name: str, *, discard: Callable[[T], object] = lambda _: None
) -> T:
    """Run ``call`` in a thread of its own, and wait for it without blocking the loop.

    It waits for none of anyio's shared worker threads, and a cancelled wait leaves
    the thread behind, which holds no process at its exit.

    Args:
        call: what to run.
        name: what the thread is called.
        discard: called with the result when nobody waits for it any more.

    Raises:
        BaseException: what ``call`` raised.
    """
    done = anyio.Event()
    soon = threadsafe_scheduler()
    results: list[T] = []
    failures: list[BaseException] = []
    abandoned = threading.Event()

    def throw_away() -> None:
        # Both sides may come here at the same moment: one of them gets the result.
        with suppress(IndexError):
            late = results.pop()
            discard(late)

    def work() -> None:
        try:
            results.append(call())
        except BaseException as exc:  # noqa: BLE001  (it is raised where it is waited for)
            failures.append(exc)
        if abandoned.is_set():
            throw_away()
        # Nobody waits any more when the loop is gone.
        with suppress(RuntimeError):
            soon(done.set)

    threading.Thread(target=work, name=name, daemon=True).start()
    try:
        await done.wait()
    except BaseException:
        abandoned.set()
        throw_away()
        raise
    for failure in failures:
        raise failure
    return results[0]
