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
    """Return a failure without the exception groups around it, if it is the only one in them.

    Cancellations of sibling tasks, which trio adds to the group, are removed first.
    """
    if isinstance(failure, BaseExceptionGroup):
        cancelled, others = failure.split(is_cancellation)
        # split() returns copies: keep the original group unless it contains both kinds.
        failure = failure if cancelled is None or others is None else others
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    return failure


def combine(failures: Sequence[BaseException]) -> BaseException:
    """Return a single failure as it is, and several as one exception group."""
    if len(failures) == 1:
        return failures[0]
    return BaseExceptionGroup(f"{len(failures)} failures in one run", failures)


def is_cancellation(failure: BaseException) -> bool:
    """Check whether a failure consists only of cancellations; False outside an event loop."""
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
    """Return the scheduler of the running loop, for use in any thread or signal handler.

    Returns:
        asyncio's ``call_soon_threadsafe`` or trio's ``run_sync_soon``. Both raise
        RuntimeError when the loop is closed.
    """
    native: Any = anyio.lowlevel.current_token().native_token
    soon = getattr(native, "run_sync_soon", None)
    scheduler: Callable[[Callable[[], object]], object] = soon or native.call_soon_threadsafe
    return scheduler


def enable_signal_wakeup() -> None:
    """Enable signals to wake the running loop, including a signal just before it waits.

    Python runs signal handlers between two instructions, so not while the loop waits for
    events. The wakeup descriptor, to which CPython writes when a signal arrives, ends that wait.
    trio and uvloop set one. asyncio sets one when its first signal handler is added, so it
    gets a handler for SIGURG, which is ignored by default.
    https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd
    """
    native: Any = anyio.lowlevel.current_token().native_token
    handle = getattr(native, "add_signal_handler", None)
    if handle is not None and threading.current_thread() is threading.main_thread():
        handle(signal.SIGURG, lambda: None)


async def run_in_daemon_thread(
    call: Callable[[], T], name: str, *, discard: Callable[[T], object] = lambda _: None
) -> T:
    """Run ``call`` in a new daemon thread, and wait for it without blocking the loop.

    anyio's worker threads are not used, so their limit does not apply. When the wait is
    cancelled, the thread continues alone; a daemon thread does not delay the exit of the process.

    Args:
        call: the function to run.
        name: the name of the thread.
        discard: called with the result if the wait was cancelled before.

    Raises:
        BaseException: the exception that ``call`` raised.
    """
    done = anyio.Event()
    soon = threadsafe_scheduler()
    results: list[T] = []
    failures: list[BaseException] = []
    abandoned = threading.Event()

    def discard_result() -> None:
        # The thread and the cancelled caller can call this at the same moment: pop() gives the
        # result to one of them only.
        with suppress(IndexError):
            late = results.pop()
            discard(late)

    def work() -> None:
        try:
            results.append(call())
        except BaseException as exc:  # noqa: BLE001  (raised again in the caller)
            failures.append(exc)
        if abandoned.is_set():
            discard_result()
        # RuntimeError: the loop is closed, so no task waits.
        with suppress(RuntimeError):
            soon(done.set)

    threading.Thread(target=work, name=name, daemon=True).start()
    try:
        await done.wait()
    except BaseException:
        abandoned.set()
        discard_result()
        raise
    for failure in failures:
        raise failure
    return results[0]


async def run_shielded(work: Callable[[], Coroutine[Any, Any, None]]) -> BaseException | None:
    """Run work to its end, even when the calling task is cancelled.

    A shielded scope blocks cancellation by scopes. On asyncio it does not block
    ``Task.cancel()``, which ``asyncio.timeout`` uses, so there the work runs in a separate task.

    Args:
        work: the coroutine function to run.

    Returns:
        The CancelledError that arrived meanwhile, for the caller to raise later; always None
        on trio.
    """
    native: Any = anyio.lowlevel.current_token().native_token
    with anyio.CancelScope(shield=True):
        if hasattr(native, "run_sync_soon"):
            await work()
            return None
        import asyncio  # noqa: PLC0415  (not loaded on trio)

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
    """Background task, from ``start`` to ``stop``.

    Args:
        work: the coroutine function that the task runs; ``stop`` cancels it.
        name: the name of the task, which log lines contain.
        context: the context variables of the task. Default: a copy of those of the caller of
            ``start``.
        timings: how long the work may take to end after it was cancelled.
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
        self._stop_requested = False
        self._task: object = None

    def start(self) -> None:
        """Start the task in the running loop. A second call does nothing."""
        if self._task is not None:
            return
        native: Any = anyio.lowlevel.current_token().native_token
        context = contextvars.copy_context() if self._context is None else self._context
        if hasattr(native, "run_sync_soon"):
            from trio.lowlevel import spawn_system_task  # noqa: PLC0415  (only on trio)

            self._task = spawn_system_task(self._run, name=self._name, context=context)
        else:
            task = native.create_task(self._run(), name=self._name, context=context)
            # A task that is cancelled before its first step never reaches its `finally`.
            task.add_done_callback(lambda _: self._mark_ended())
            self._task = task

    @property
    def has_ended(self) -> bool:
        """Whether the task has ended, for any reason."""
        return self._done.is_set()

    def abandon(self) -> None:
        """Suppress the log line at its end: in a forked child the task belongs to the parent."""
        self._stop_requested = True

    async def stop(self) -> None:
        """Cancel the work and wait for its end, even when the caller is cancelled.

        A task that has not ended after ``task_cancel_timeout`` is logged and left running.
        """
        if self._task is None:
            return
        self._stop_requested = True
        self._scope.cancel()
        with anyio.move_on_after(self._cancel_timeout, shield=True):
            await self._done.wait()
        if not self._done.is_set():
            text = "Background task %r was cancelled and has not ended after %g s"
            log_event(logging.ERROR, text, self._name, self._cancel_timeout)

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._work()
                self._stop_requested = True
        except Exception:  # noqa: BLE001  (it is logged)
            # Unhandled, it would end the whole loop on trio, and go unnoticed on asyncio.
            text = "Background task %r has failed and does not run any more"
            log_event(logging.ERROR, text, self._name, exc_info=True)
            self._stop_requested = True
        finally:
            self._mark_ended()

    def _mark_ended(self) -> None:
        if not (self._done.is_set() or self._stop_requested):
            text = "Background task %r has ended early: it was cancelled, or its loop was closed"
            log_event(logging.ERROR, text, self._name)
        self._done.set()


class CancellableBlock:
    """Block that other code can cancel; the cancellation does not leave the block."""

    def __init__(self) -> None:
        native: Any = anyio.lowlevel.current_token().native_token
        self._is_trio = hasattr(native, "run_sync_soon")
        self._scope = anyio.CancelScope()
        self._task: Any = None
        self._is_cancelled = False
        self._cancelling_before = 0

    def __enter__(self) -> Self:
        if self._is_trio:
            self._scope.__enter__()
        else:
            import asyncio  # noqa: PLC0415  (not loaded on trio)

            task: Any = asyncio.current_task()
            self._task, self._cancelling_before = task, task.cancelling()
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
        # A cancellation that other code requested as well must not be suppressed.
        is_only_ours = task.uncancel() <= self._cancelling_before
        return (
            is_only_ours and kind is not None and issubclass(kind, anyio.get_cancelled_exc_class())
        )

    def cancel(self) -> None:
        """Cancel the block, in the thread of its loop. A second call does nothing."""
        if self._is_trio:
            self._scope.cancel()
        elif self._task is not None and not self._is_cancelled:
            # False when the task has ended; then another task will leave the block.
            self._is_cancelled = self._task.cancel("the application has failed")
