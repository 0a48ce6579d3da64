"""Work that goes on beside its caller, in a task of its own.

A task group around the caller's body would put the body's exceptions into a group, and
could not be entered in one task and left in another, as fixtures of tests do.
"""

from __future__ import annotations

import contextvars
import logging
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from hive_boot._timings import DEFAULTS
from hive_boot.lifecycle.telling import log_event

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hive_boot._timings import Timings


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
