"""The ways into a running loop from outside: from a thread, from a signal handler."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def loop_waker() -> Callable[[Callable[[], object]], object]:
    """Give what makes the running loop call a function soon; it is safe anywhere.

    Returns:
        asyncio's ``call_soon_threadsafe`` or trio's ``run_sync_soon``. Both raise
        RuntimeError when the loop is gone.
    """
    native: Any = anyio.lowlevel.current_token().native_token
    soon = getattr(native, "run_sync_soon", None)
    found: Callable[[Callable[[], object]], object] = soon or native.call_soon_threadsafe
    return found


async def in_daemon_thread(call: Callable[[], T], name: str) -> T:
    """Run ``call`` in a thread of its own, and wait for it without blocking the loop.

    It waits for none of anyio's shared worker threads, and a cancelled wait leaves
    the thread behind, which holds no process at its exit.

    Args:
        call: what to run.
        name: what the thread is called.

    Raises:
        BaseException: what ``call`` raised.
    """
    done = anyio.Event()
    soon = loop_waker()
    results: list[T] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as exc:  # noqa: BLE001  (it is raised where it is waited for)
            failures.append(exc)
        # Nobody waits any more when the loop is gone.
        with suppress(RuntimeError):
            soon(done.set)

    threading.Thread(target=work, name=name, daemon=True).start()
    await done.wait()
    for failure in failures:
        raise failure
    return results[0]
