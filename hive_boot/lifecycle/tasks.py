"""Task helpers for asyncio and trio: background tasks, cancellable blocks, daemon threads."""

from __future__ import annotations

import contextvars
import logging
import signal
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.lowlevel

from hive_boot._output import log_safely
from hive_boot._timings import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from types import TracebackType
    from typing import Self

    from hive_boot._timings import Timings


def unwrap_single(failure: BaseException) -> BaseException:
    """Take a single exception out of the groups that task groups put it into.

    On trio those of its tasks that were only cancelled are in the group as well.
    """
    if isinstance(failure, BaseExceptionGroup):
        cancelled, others = failure.split(is_cancellation)
        # To split is to copy, also where there is nothing to part with.
        failure = failure if cancelled is None or others is None else others
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    return failure


def combine(failures: Sequence[BaseException]) -> BaseException:
    """Give what is to be raised for failures, of which there is at least one."""
    if len(failures) == 1:
        return failures[0]
    return BaseExceptionGroup(f"{len(failures)} failures in one run", failures)


def is_cancellation(failure: BaseException) -> bool:
    """Tell whether it says only that somebody was cancelled; outside a loop nobody is."""
    if isinstance(failure, BaseExceptionGroup):
        return all(map(is_cancellation, failure.exceptions))
    try:
        return isinstance(failure, anyio.get_cancelled_exc_class())
    except RuntimeError:
        return False


log_event: partial[None] = partial(log_safely, logger=logging.getLogger("hive_boot"))
"""Log a message; never raises."""


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


async def run_shielded(work: Callable[[], Coroutine[Any, Any, None]]) -> BaseException | None:
    """Do what has to be done, whoever is cancelled meanwhile.

    A shielded scope keeps out what comes from scopes. On asyncio a task can be cancelled by
    itself as well, as ``asyncio.timeout`` does it: so there the work has a task of its own.

    Args:
        work: what it does.

    Returns:
        The cancellation that came meanwhile, to be raised when all is told; on asyncio.
    """
    native: Any = anyio.lowlevel.current_token().native_token
    with anyio.CancelScope(shield=True):
        if hasattr(native, "run_sync_soon"):
            await work()
            return None
        import asyncio  # noqa: PLC0415  (trio has none of it)

        task = native.create_task(work())
        cancelled: BaseException | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as exc:
                cancelled = exc
        task.result()
    return cancelled


class BackgroundTask:
    """One task beside the caller's, from ``start`` to ``stop``.

    Args:
        work: what it does; it is cancelled when it is to end.
        name: what is said of it when it fails.
        context: the variables that it sees. Default: those of the caller of ``start``.
        timings: how long the work may take to end.
    """

    def __init__(
        self,
        work: Callable[[], Coroutine[Any, Any, None]],
        name: str,
        context: contextvars.Context | None = None,
        timings: Timings = DEFAULTS,
    ) -> None:
        self._work = work
        self._name = name
        self._context = context
        self._cancel_timeout = timings.task_cancel_timeout
        self._scope = anyio.CancelScope()
        self._done = anyio.Event()
        self._is_to_end = False
        self._task: object = None

    def start(self) -> None:
        """Begin, in the running loop. A second call does nothing."""
        if self._task is not None:
            return
        native: Any = anyio.lowlevel.current_token().native_token
        context = contextvars.copy_context() if self._context is None else self._context
        if hasattr(native, "run_sync_soon"):
            from trio.lowlevel import spawn_system_task  # noqa: PLC0415  (only trio's loop has it)

            self._task = spawn_system_task(self._live, name=self._name, context=context)
        else:
            task = native.create_task(self._live(), name=self._name, context=context)
            # One that is cancelled before its first step never gets to its own end.
            task.add_done_callback(lambda _: self._end())
            self._task = task

    @property
    def has_ended(self) -> bool:
        """Whether the work is over, for whatever reason."""
        return self._done.is_set()

    def abandon(self) -> None:
        """Say nothing at its end: it is another process's."""
        self._is_to_end = True

    async def stop(self) -> None:
        """End: cancel the work, and wait until it has ended, also when the caller is cancelled."""
        if self._task is None:
            return
        self._is_to_end = True
        self._scope.cancel()
        with anyio.move_on_after(self._cancel_timeout, shield=True):
            await self._done.wait()
        if not self._done.is_set():
            log_event(logging.ERROR, "%s does not end, although it was cancelled", self._name)

    async def _live(self) -> None:
        try:
            with self._scope:
                await self._work()
                self._is_to_end = True
        except Exception:  # noqa: BLE001  (it is logged)
            # On trio it would end the whole loop, on asyncio nobody would hear of it.
            log_event(logging.ERROR, "%s has failed", self._name, exc_info=True)
            self._is_to_end = True
        finally:
            self._end()

    def _end(self) -> None:
        if not (self._done.is_set() or self._is_to_end):
            log_event(logging.ERROR, "%s was ended from outside", self._name)
        self._done.set()


class CancellableBlock:
    """A block that can be cancelled from beside it; the cancellation ends with the block."""

    def __init__(self) -> None:
        native: Any = anyio.lowlevel.current_token().native_token
        self._is_trio = hasattr(native, "run_sync_soon")
        self._scope = anyio.CancelScope()
        self._task: Any = None
        self._is_cancelled = False
        self._before = 0

    def __enter__(self) -> Self:
        if self._is_trio:
            self._scope.__enter__()
        else:
            import asyncio  # noqa: PLC0415  (trio has none of it)

            task: Any = asyncio.current_task()
            self._task, self._before = task, task.cancelling()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if self._is_trio:
            return bool(self._scope.__exit__(kind, exc, trace))
        task, self._task = self._task, None
        if not self._is_cancelled:
            return False
        # Somebody else's cancellation, of the same moment, goes on.
        is_only_ours = task.uncancel() <= self._before
        return (
            is_only_ours and kind is not None and issubclass(kind, anyio.get_cancelled_exc_class())
        )

    def cancel(self) -> None:
        """End the block, in its loop; a second call does nothing."""
        if self._is_trio:
            self._scope.cancel()
        elif self._task is not None and not self._is_cancelled:
            # Of a task that has ended, whose block another one will leave, nothing comes.
            self._is_cancelled = self._task.cancel("the application cannot go on")
