"""Own the process: its signals, its last words, its exit status."""

from __future__ import annotations

import inspect
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hive_boot.bootstrap import logs
from hive_boot.exceptions import BootError, InvalidSecrets
from hive_boot.lifecycle.signals import Latch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager

    from hive_boot.bootstrap.run import Run
    from hive_boot.lifecycle.leaving import Deadline

    Main = Callable[[Run[Any, Any]], Coroutine[Any, Any, object]]

_PATIENCE = 1.0
"""Seconds beyond the time of the stop that the process has, to say what holds it."""


def own(
    arm: Callable[[], Main],
    start: Callable[..., AbstractAsyncContextManager[Run[Any, Any]]],
    backend: str,
    *,
    must_finish: bool = False,
) -> int:
    """Run an application until its main ends or a signal comes.

    Args:
        arm: gives what is called with the run when it is ready, and awaited.
        start: gives the context of a run, and calls what it is given with it before.
        backend: ``asyncio``, ``uvloop`` or ``trio``.
        must_finish: whether a stop before the end of main is no success.

    Returns:
        The exit status: 0, what main returned, 70, 78, or 128 + the signal.
    """
    before = threading.enumerate()
    with Latch() as latch:
        import anyio  # noqa: PLC0415  (the latch comes first: an import takes its time)

        owner = _Owner(latch)
        try:
            code = anyio.run(
                owner.live,
                arm(),
                start,
                backend="trio" if backend == "trio" else "asyncio",
                backend_options={"use_uvloop": True} if backend == "uvloop" else None,
            )
            status = _status(code) if isinstance(code, int) else 0
            if must_finish and latch.pulled is not None and not owner.has_finished:
                status = 128 + latch.pulled
        except BootError as exc:
            status = _tell(exc)
        except SystemExit as exc:
            status = _leave(exc)
        except BaseException as exc:  # noqa: BLE001  (this is the outermost frame)
            from hive_boot.redaction.showing import trace  # noqa: PLC0415  (only a crash needs it)

            _say(trace(exc))
            status = 130 if isinstance(exc, KeyboardInterrupt) else 70
        owner.part_from(before)
    return status


class _Owner:
    """Who runs the loop of a process, and sees to it that both end.

    Attributes:
        has_finished: whether main has come to its end by itself.
    """

    def __init__(self, latch: Latch) -> None:
        self._latch = latch
        self._run: Run[Any, Any] | None = None
        self._main: Coroutine[Any, Any, object] | None = None
        self._deadline: Deadline | None = None
        self.has_finished = False

    async def live(
        self,
        main: Main,
        start: Callable[..., AbstractAsyncContextManager[Run[Any, Any]]],
    ) -> object:
        """Be the whole life of the loop."""
        import anyio  # noqa: PLC0415  (as above)

        from hive_boot.lifecycle.waking import loop_waker, wake_on_signals  # noqa: PLC0415

        latch = self._latch
        with anyio.CancelScope() as scope:
            wake_on_signals()
            soon = loop_waker()

            def know(run: Run[Any, Any]) -> None:
                self._run = run
                run.runner.wants_end = scope.cancel
                run.runner.cannot_go_on = run.runner.want_end
                run.runner.stops = self._begin_to_end
                latch.notify_force(run.runner.force)
                latch.notify(lambda: soon(self._end))

            try:
                async with start(know) as run:
                    latch.notify_reload(lambda: soon(run.want_reload))
                    self._main = main(run)
                    code = await self._main
                    self.has_finished = True
                    return code
            finally:
                latch.forget()
        return None

    def part_from(self, before: Collection[threading.Thread]) -> None:
        """Let go of the process, if no thread of the application holds it."""
        from hive_boot.lifecycle.leaving import join_threads, leave, threads_since  # noqa: PLC0415

        if threads := threads_since(before):
            runner = None if self._run is None else self._run.runner
            left = _PATIENCE if runner is None else runner.stop_by + _PATIENCE - time.monotonic()
            if hung := join_threads(threads, max(0.0, left)):
                leave(70, _farewell(hung))
        if self._deadline is not None:
            self._deadline.cancel()

    def _end(self) -> None:
        """Begin the end, in the loop, after the first signal."""
        run, number = self._run, self._latch.pulled
        if run is not None and number is not None:
            logs.tell_signal(signal.Signals(number).name, run.runner.drain if run.ready else 0)
            run.runner.want_end()

    def _begin_to_end(self) -> None:
        """See to it that the process ends when the time of the stop is over."""
        from hive_boot.lifecycle.leaving import Deadline  # noqa: PLC0415  (a short life needs none)

        if self._run is not None:
            seconds = self._run.runner.stop_timeout + _PATIENCE
            self._deadline = Deadline(seconds, self._pending, 70)
            # A system that gives no thread any more gives no bound either: the stop goes on.
            with suppress(RuntimeError):
                self._deadline.start()

    def _pending(self) -> str:
        """Say what has not ended, in another thread."""
        from hive_boot.lifecycle.standing import (  # noqa: PLC0415  (only a hang needs it)
            stands_at,
            thread_stands_at,
        )

        lines = [] if self._run is None else self._run.runner.pending()
        if self._main is not None and inspect.getcoroutinestate(self._main) != inspect.CORO_CLOSED:
            # One that blocks the loop is not suspended anywhere.
            where = stands_at(self._main) or thread_stands_at(threading.main_thread())
            lines.insert(0, f"{'running':<9} main  {where}".rstrip())
        return _farewell(lines)


def _farewell(lines: Sequence[str]) -> str:
    return "\n  ".join(["hive_boot: not everything has stopped in time; exit 70", *lines]) + "\n"


def _status(code: int) -> int:
    """Give what a process can end with; anything else, as 256, would look like a success."""
    return code if 0 <= code < 256 else 70  # noqa: PLR2004  (a status is a byte)


def _leave(exc: SystemExit) -> int:
    """Do what Python does with ``sys.exit(text)``, without the secrets in the text."""
    if exc.code is None or isinstance(exc.code, int):
        return _status(exc.code or 0)
    _say(f"{exc.code}\n")
    return 1


def _tell(exc: BootError) -> int:
    """Write what went wrong to stderr, for a person; no traceback, it is not a bug of ours."""
    if isinstance(exc, InvalidSecrets):
        _say(f"{exc.report(color=_is_terminal() and not os.environ.get('NO_COLOR'))}\n")
        return exc.exit_code
    if exc.__cause__ is not None:
        # A part's failure is not a bug of ours, and its traceback says whose it is.
        from hive_boot.redaction.showing import trace  # noqa: PLC0415  (only a failure needs it)

        _say(trace(exc.__cause__))
    _say(f"hive_boot: {type(exc).__name__}: {exc}\n")
    return exc.exit_code


def _say(text: str) -> None:
    """Write to stderr, if there is one: the exit status has to be right without it.

    The run is over; what it hid lingers, and is taken out here.
    """
    from hive_boot.redaction.showing import redacted  # noqa: PLC0415  (few have last words)

    text = redacted(text)
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _is_terminal() -> bool:
    with suppress(AttributeError, ValueError):
        return sys.stderr.isatty()
    return False
