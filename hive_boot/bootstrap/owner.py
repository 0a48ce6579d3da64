"""Who runs the loop of a process, and sees to it that both end."""

from __future__ import annotations

import inspect
import signal
import threading
import time
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from hive_boot.bootstrap import logs

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager

    from hive_boot._timings import Timings
    from hive_boot.bootstrap.run import Run
    from hive_boot.lifecycle.leaving import ExitWatchdog
    from hive_boot.lifecycle.runner import Runner
    from hive_boot.lifecycle.signals import SignalHandler

    Main = Callable[[Run[Any, Any]], Coroutine[Any, Any, object]]


class ProcessRunner:
    """One life of a loop that the process is there for.

    Args:
        latch: what the signals say.

    Attributes:
        has_finished: whether main has come to its end by itself.
        exit: a ``sys.exit`` beside main, which asyncio takes for the end of the loop.
    """

    def __init__(self, latch: SignalHandler) -> None:
        self._latch = latch
        self._thread = threading.current_thread()
        self._before = threading.enumerate()
        self._run: Run[Any, Any] | None = None
        self._main: Coroutine[Any, Any, object] | None = None
        self._deadline: ExitWatchdog | None = None
        self._signalled: SimpleQueue[None] = SimpleQueue()
        self._want_end: Callable[[], object] | None = None
        self.has_finished = False
        self.exit: SystemExit | None = None

    def make_loop(self, backend: str) -> AbstractEventLoop:
        """Make a loop of asyncio that goes on after a ``sys.exit`` in a task beside main.

        asyncio would end it, and cancel all tasks at one moment: no stop would be in order.
        """
        import asyncio  # noqa: PLC0415  (trio has none of it)

        if backend == "uvloop":
            import uvloop  # noqa: PLC0415  (few have it)

            loop: Any = uvloop.new_event_loop()
        else:
            loop = asyncio.new_event_loop()
        run_forever = loop.run_forever

        def go_on() -> None:
            while True:
                try:
                    run_forever()
                    break
                except SystemExit as exc:
                    if self._want_end is None:
                        raise
                    self.exit = exc
                    loop.call_soon(self._want_end)

        loop.run_forever = go_on
        made: AbstractEventLoop = loop
        return made

    async def main(
        self,
        main: Main,
        start: Callable[..., AbstractAsyncContextManager[Run[Any, Any]]],
    ) -> object:
        """Be the whole life of the loop."""
        import anyio  # noqa: PLC0415  (as above)

        from hive_boot.lifecycle.waking import enable_signal_wakeup, threadsafe_scheduler  # noqa: PLC0415

        latch = self._latch
        with anyio.CancelScope() as scope:
            enable_signal_wakeup()
            soon = threadsafe_scheduler()

            def know(run: Run[Any, Any]) -> None:
                self._run = run
                self._want_end = run.runner.request_stop
                run.runner.on_drained = scope.cancel
                run.runner.on_fatal_error = run.runner.request_stop
                timings = run.runner.timings
                seconds = run.runner.shutdown_timeout + timings.forced_exit_delay
                run.runner.on_stop_started = partial(self._set_deadline, seconds, timings)
                latch.on_force(run.runner.mark_forced)
                with suppress(RuntimeError):
                    threading.Thread(
                        target=self._enforce_stop,
                        args=[run.runner],
                        name="hive_boot: first signal",
                        daemon=True,
                    ).start()

                def note() -> None:
                    # Its queue is safe in a signal handler, as the standard library says.
                    self._signalled.put(None)
                    soon(partial(self._end, run))

                latch.on_stop(note)

            try:
                async with start(know) as run:
                    latch.on_reload(lambda: soon(run.request_reload))
                    self._main = main(run)
                    code = await self._main
                    self.has_finished = True
                    return code
            finally:
                self._want_end = None
                latch.detach()
        return None

    def release(self) -> None:
        """Let go of the process, unless a thread of the application holds it at its end."""
        from hive_boot.lifecycle.leaving import threads_started_since  # noqa: PLC0415  (as below)

        self._signalled.put(None)
        if self._deadline is None:
            return
        if threads_started_since(self._before):
            self._deadline.only_while_exiting()
        else:
            self._deadline.cancel()

    def _end(self, run: Run[Any, Any]) -> None:
        """Begin the end, in the loop, after the first signal."""
        name = signal.Signals(self._latch.first_signal or signal.SIGTERM).name
        logs.log_signal(name, run.runner.shutdown_delay if run.ready else 0)
        run.runner.request_stop()

    def _enforce_stop(self, runner: Runner) -> None:
        """See to it that a loop which takes no notice of the first signal ends all the same.

        It is a thread that waits from the beginning: a signal handler cannot start one, for
        it could wait for a lock that the interrupted code holds.
        """
        self._signalled.get()
        if self._deadline is None:
            time.sleep(min(runner.shutdown_delay + runner.shutdown_timeout, threading.TIMEOUT_MAX))
        if self._deadline is None:
            self._set_deadline(runner.timings.forced_exit_delay, runner.timings)

    def _set_deadline(self, seconds: float, timings: Timings) -> None:
        """See to it that the process ends when the time of the stop is over."""
        from hive_boot.lifecycle.leaving import ExitWatchdog  # noqa: PLC0415  (a short life needs none)

        self._deadline = ExitWatchdog(seconds, self._pending, 70, timings)
        # A system that gives no thread any more gives no bound either: the stop goes on.
        with suppress(RuntimeError):
            self._deadline.start()

    def _pending(self) -> str:
        """Say what has not ended, in another thread."""
        from hive_boot.lifecycle.leaving import join_threads, threads_started_since  # noqa: PLC0415  (as below)
        from hive_boot.lifecycle.standing import (  # noqa: PLC0415  (only a hang needs it)
            locate_coroutine,
            locate_thread,
        )

        lines = [] if self._run is None else self._run.runner.pending()
        if self._main is not None and inspect.getcoroutinestate(self._main) != inspect.CORO_CLOSED:
            # One that blocks the loop is not suspended anywhere.
            where = locate_coroutine(self._main) or locate_thread(self._thread)
            lines.insert(0, f"{'running':<9} main  {where}".rstrip())
        else:
            # A loop of asyncio waits at its end for those of its pool.
            lines += join_threads(threads_started_since(self._before), 0)
        return _forced_exit_message(lines)


def _forced_exit_message(lines: Sequence[str]) -> str:
    return "\n  ".join(["hive_boot: not everything has stopped in time; exit 70", *lines]) + "\n"
