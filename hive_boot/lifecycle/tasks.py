"""Task helpers for asyncio and trio: background tasks, cancellable blocks, daemon threads."""

from __future__ import annotations

import contextvars
import logging
import math
import os
import sys
import threading
from contextlib import contextmanager, suppress
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio
import anyio.lowlevel

from hive_boot._output import log_safely
from hive_boot._timings import DEFAULTS, Timings
from hive_boot.redaction.registry import locate_failure, trim_traceback

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence


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
    # The text does not count the failures, because the report omits those that were logged.
    return BaseExceptionGroup("several failures in one run", failures)


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


def add_note(failure: BaseException, note: str) -> None:
    """Add a note to an exception, also to one whose class does not allow assignments."""
    vars(failure).setdefault("__notes__", []).append(note)


def log_failure(text: str, *args: object, failure: BaseException) -> None:
    """Log the failure that ends a run, and mark it, so that it is not reported again."""
    log_event(logging.CRITICAL, text, *args, exc_info=failure)
    if logging.getLogger("hive_boot").isEnabledFor(logging.CRITICAL):
        # Not setattr(): the class of an exception may refuse it.
        vars(failure)[_LOGGED] = True


def log_system_exit(exc: SystemExit, caller: str) -> None:
    """Log a ``sys.exit`` that stops the application, unless it was logged before."""
    if not was_logged(exc):
        text = "sys.exit(%r) in %s stops the application: %s"
        log_event(logging.WARNING, text, exc.code, caller, locate_failure(exc))
        vars(exc)[_LOGGED] = True


def was_logged(failure: BaseException) -> bool:
    """Return whether a failure that ends a run was logged."""
    return _LOGGED in vars(failure)


_LOGGED = "_hive_boot_logged"


T = TypeVar("T")


def _asyncio_loop() -> tuple[Any, Any]:
    """Return the running loop of asyncio, and the module asyncio; None for both on trio."""
    native: Any = anyio.lowlevel.current_token().native_token
    if hasattr(native, "run_sync_soon"):
        return None, None
    import asyncio  # not loaded on trio

    return native, asyncio


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


def exclude_from_loop_end() -> None:
    """Exclude the current task from ``asyncio.all_tasks``; no effect on trio.

    When the main task ends, asyncio cancels all tasks of ``asyncio.all_tasks`` at the same moment,
    and some applications do the same. The tasks of a run must be stopped in order instead.
    https://docs.python.org/3/library/asyncio-extending.html
    """
    _, asyncio = _asyncio_loop()
    if asyncio is not None:
        asyncio._unregister_task(asyncio.current_task())


def start_daemon_thread(call: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread that calls a function and ignores its exceptions."""

    def work() -> None:
        with suppress(BaseException):
            call()

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


def threads_started_since(before: Collection[threading.Thread]) -> list[threading.Thread]:
    """Return the threads that Python joins at its exit, and that are not in ``before``.

    Args:
        before: an earlier result of ``threading.enumerate``.

    Returns:
        The running threads, except daemon threads, the current thread and the main thread.
    """
    excluded = {threading.current_thread(), threading.main_thread(), *before}
    return [each for each in threading.enumerate() if not each.daemon and each not in excluded]


async def run_in_daemon_thread(
    call: Callable[[], T], name: str, *, discard: Callable[[T], object] = lambda _: None
) -> T:
    """Run ``call`` in a new daemon thread, and wait for it without blocking the loop.

    anyio's worker threads are not used, so their limit does not apply. When the wait is
    cancelled, the thread continues alone; a daemon thread does not delay the exit of the process.

    Args:
        call: the function to run.
        name: the name of the thread.
        discard: called with a result that arrives after the wait was cancelled.

    Raises:
        BaseException: the exception that ``call`` raised.
    """
    from concurrent.futures import Future  # asyncio imports it anyway; trio does not

    done = anyio.Event()
    soon = threadsafe_scheduler()
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as exc:  # noqa: BLE001  (raised again in the caller)
            future.set_exception(exc)
        # RuntimeError: the loop is closed, so no task waits.
        with suppress(RuntimeError):
            soon(done.set)

    start_daemon_thread(work, name)
    try:
        await done.wait()
    except BaseException:
        future.add_done_callback(lambda _: None if future.exception() else discard(future.result()))
        raise
    return future.result()


async def run_shielded(work: Callable[[], Coroutine[Any, Any, None]]) -> BaseException | None:
    """Run work to its end, even when the calling task is cancelled.

    A shielded scope blocks cancellation by scopes. On asyncio it does not block
    ``Task.cancel()``, which ``asyncio.timeout`` uses, so there the work runs in a separate task.

    Args:
        work: the coroutine function to run.

    Returns:
        The CancelledError that arrived before the end of the work, for the caller to raise
        later; None if there was no cancellation, and always on trio.
    """
    loop, asyncio = _asyncio_loop()
    with anyio.CancelScope(shield=True):
        if loop is None:
            await work()
            return None
        task = loop.create_task(work())
        asyncio._unregister_task(task)
        cancelled: BaseException | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as exc:
                cancelled = exc
        task.result()
    return cancelled


async def call_on_stop(call: Callable[[], object], label: str) -> None:
    """Call a function that asks other code to stop, and log its failure.

    Args:
        call: the function; if it returns an awaitable, that is awaited.
        label: what the function stops, for the message.
    """
    try:
        result = call()
        if hasattr(result, "__await__"):
            await result
    except BaseException as exc:  # noqa: BLE001  (it is logged; the stop continues)
        if is_cancellation(exc):
            # If the shutdown has cancelled this task, raise the cancellation; otherwise the
            # function itself has raised it, which is logged as a failure.
            await anyio.lowlevel.checkpoint_if_cancelled()
        log_event(logging.ERROR, "on_stop of %s has failed", label, exc_info=trim_traceback(exc))


_ANYIO_FILES = tuple(
    each.replace("/", os.sep) for each in ("/anyio/_backends/", "/anyio/_core/_tasks.py")
)
"""Parts of the paths of the files that define the coroutines of anyio's tasks."""


def open_tasks() -> set[asyncio.Task[Any]]:
    """Return the unfinished tasks of the application in the running asyncio loop.

    All tasks are returned except the current task, the tasks of hive_boot, tasks that anyio has
    created (the main task, and tasks in task groups, which do not outlive their group), and tasks
    in which asyncio waits for the TLS handshake of a client. Always empty on trio.
    """
    _, asyncio = _asyncio_loop()
    if asyncio is None:
        return set()
    return {
        task
        for task in asyncio.all_tasks() - {asyncio.current_task()} - handshakes().keys()
        if not _was_created_by_anyio(task)
    }


def handshakes() -> dict[asyncio.Task[Any], object]:
    """Return the tasks in which asyncio sets up a connection of a server; none on trio.

    Such a task waits for the TLS handshake of a client, if the server uses TLS.

    Returns:
        The SSL context of the server, by task; None for a server without TLS.
    """
    _, asyncio = _asyncio_loop()
    tasks = set() if asyncio is None else asyncio.all_tasks()
    accepting = [each for each in tasks if task_name(each).endswith("._accept_connection2")]
    return {each: each.get_coro().cr_frame.f_locals.get("sslcontext") for each in accepting}


def _was_created_by_anyio(task: asyncio.Task[Any]) -> bool:
    file = getattr(getattr(task.get_coro(), "cr_code", None), "co_filename", "")
    return any(each in file for each in _ANYIO_FILES)


async def wait_for_tasks(tasks: set[asyncio.Task[Any]], seconds: float) -> None:
    """Wait until asyncio tasks have ended, up to a number of seconds."""
    _, asyncio = _asyncio_loop()
    await asyncio.wait(tasks, timeout=seconds)


def task_name(task: asyncio.Task[Any]) -> str:
    """Return the name of the coroutine of a task, for a message."""
    return getattr(task.get_coro(), "__qualname__", task.get_name())


async def wait_until_set(event: anyio.Event, seconds: float) -> bool:
    """Wait for an event, up to a number of seconds, and return whether it is set."""
    with anyio.move_on_after(seconds):
        await event.wait()
    return event.is_set()


@contextmanager
def end_of_block(leases: set[anyio.Event]) -> Iterator[None]:
    """Add to ``leases`` an event that is set when the block ends."""
    end = anyio.Event()
    leases.add(end)
    try:
        yield
    finally:
        leases.discard(end)
        end.set()


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
        self._is_end_expected = self._is_abandoned = False
        self._loop, self._asyncio = _asyncio_loop()
        self._task: object = None

    def start(self) -> None:
        """Start the task; called in the thread of its loop. A second call does nothing."""
        if self._task is not None:
            return
        context = contextvars.copy_context() if self._context is None else self._context.copy()
        if self._loop is None:
            from trio.lowlevel import spawn_system_task  # only on trio

            self._task = spawn_system_task(self._run, name=self._name, context=context)
        else:
            task = self._loop.create_task(self._run(), name=self._name, context=context)
            self._asyncio._unregister_task(task)
            # A task that is cancelled before its first step never reaches its `finally`.
            task.add_done_callback(lambda _: self._mark_ended())
            self._task = task

    @property
    def has_ended(self) -> bool:
        """Whether the task has ended, for any reason."""
        return self._done.is_set()

    async def wait(self, seconds: float = math.inf) -> None:
        """Wait until the task has ended, up to a number of seconds. Default: without a limit."""
        await wait_until_set(self._done, seconds)

    def abandon(self) -> None:
        """Suppress the log lines at the end of the task: in a forked child the parent owns it."""
        self._is_end_expected = self._is_abandoned = True

    async def stop(self) -> None:
        """Cancel the work and wait for its end, even when the caller is cancelled.

        A task that has not ended after ``task_cancel_timeout`` is logged and left running.
        """
        if self._task is None:
            return
        self._is_end_expected = True
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
                self._is_end_expected = True
        except Exception:  # noqa: BLE001  (it is logged)
            # An unhandled exception would end the whole loop on trio; asyncio would not report it.
            if not self._is_abandoned:
                text = "Background task %r has failed and does not run any more"
                log_event(logging.ERROR, text, self._name, exc_info=True)
            self._is_end_expected = True
        finally:
            self._mark_ended()

    def _mark_ended(self) -> None:
        if not (self._done.is_set() or self._is_end_expected):
            text = "Background task %r has ended early: it was cancelled, or its loop was closed"
            log_event(logging.ERROR, text, self._name)
        self._done.set()


class CancellableBlock:
    """Block that other code can cancel; the cancellation does not leave the block.

    On asyncio the task gets one ``Task.cancel()``, so that ``finally`` and ``__aexit__`` in the
    block may await: a cancelled scope of anyio would interrupt them at each ``await``. On trio a
    cancelled scope stays cancelled, and clean-up needs a shield.

    The cancellation is delayed while the task is inside a shielded scope of anyio, such as that of
    ``to_thread.run_sync``, because ``Task.cancel()`` would interrupt the shielded code.

    Args:
        timings: how often a delayed cancellation is tried again.

    Attributes:
        cancel_requested: whether :meth:`cancel` was called; the cancellation may be delayed.
        work: the coroutine that :meth:`run` awaits; None before and after.
    """

    def __init__(self, timings: Timings = DEFAULTS) -> None:
        self._loop, self._asyncio = _asyncio_loop()
        self._interval = timings.cancel_retry_interval
        self._scope = anyio.CancelScope()
        self._task: Any = None
        self._outer_scope: object = None
        self._cancelling_before = self._cancel_count = 0
        self._end = math.inf
        self.cancel_requested: bool = False
        self.work: Coroutine[Any, Any, object] | None = None

    async def run(
        self, call: Callable[[], Coroutine[Any, Any, object]]
    ) -> tuple[object, BaseException | None]:
        """Call a function of the application in the block, and await it.

        No exception leaves the block, not even SystemExit, except the cancellation of an outer
        scope on trio.

        Returns:
            The result, and the failure. A cancellation is a failure unless the block caused it.
        """
        result: object = None
        failure: BaseException | None = None
        try:
            with self:
                self.work = call()
                result = await self.work
        except BaseException as exc:
            if not is_cancellation(exc):
                failure = trim_traceback(unwrap_single(exc))
            elif self._loop is None:
                raise
            else:
                failure = None if self.cancel_requested else exc
                task = self._asyncio.current_task()
                while task.cancelling():
                    task.uncancel()
        finally:
            self.work = None
        return result, failure

    def __enter__(self) -> Self:
        if self._loop is None:
            self._scope.__enter__()
        else:
            task = self._asyncio.current_task()
            self._task, self._cancelling_before = task, task.cancelling()
            self._outer_scope = next(_anyio_scopes(task), None)
            if self.cancel_requested:
                self._cancel_when_possible()
        return self

    def __exit__(self, *exc_info: object) -> bool:
        if self._loop is None:
            return bool(self._scope.__exit__(*exc_info))  # type: ignore[arg-type]
        task, self._task = self._task, None
        for _ in range(self._cancel_count):
            task.uncancel()
        # A cancellation that other code has also requested must not be suppressed.
        is_only_ours = self._cancel_count > 0 and task.cancelling() <= self._cancelling_before
        return is_only_ours and isinstance(exc_info[1], anyio.get_cancelled_exc_class())

    def cancel(self, seconds: float = math.inf) -> None:
        """Cancel the block; called in the thread of its loop. A second call does nothing.

        A block that is not entered yet is cancelled when it is entered.

        Args:
            seconds: the time in which the block should end. Default: no limit. With a limit, a
                block on asyncio that has not ended when three quarters of the remaining time
                have passed is cancelled again: code can swallow a cancellation by mistake.
        """
        if self.cancel_requested:
            return
        self.cancel_requested = True
        if self._loop is None:
            self._scope.cancel()
            return
        self._end = self._loop.time() + seconds
        self._cancel_when_possible()

    def _cancel_when_possible(self) -> None:
        task = self._task
        if task is None:
            return
        inner = takewhile(lambda scope: scope is not self._outer_scope, _anyio_scopes(task))
        waiter = getattr(task, "_fut_waiter", None)
        if any(scope.shield for scope in inner):
            self._loop.call_later(self._interval, self._cancel_when_possible)
        elif task is self._asyncio.current_task() or (waiter is not None and waiter.done()):
            # A task that runs could leave the block before its next `await`, so the code after
            # the block would be cancelled. A task that is about to receive a result would lose it.
            self._loop.call_soon(self._cancel_when_possible)
        else:
            self._cancel_count += 1
            task.cancel("hive_boot stops this task")
            left = self._end - self._loop.time()
            if self._cancel_count == 1 and 0 < left < math.inf:
                self._loop.call_later(left * 0.75, self._cancel_when_possible)


def _anyio_scopes(task: object) -> Iterator[Any]:
    """Yield the cancel scopes of anyio that an asyncio task is in, innermost first.

    anyio does not make its scopes public. If a version of anyio stores them differently, nothing
    is yielded, and a cancellation is not delayed.
    """
    states = getattr(sys.modules.get("anyio._backends._asyncio"), "_task_states", {})
    scope = getattr(states.get(task), "cancel_scope", None)
    while scope is not None:
        yield scope
        scope = getattr(scope, "_parent_scope", None)
