"""Process runner: event loop, signals, exit status and forced exit of an owned process."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hive_boot._output import describe, escape_controls, is_terminal, write_stderr
from hive_boot._timings import DEFAULTS, Backoff
from hive_boot.exceptions import BootError, DeclarationError, InvalidSecretsError, ProblemsError
from hive_boot.lifecycle.signals import acquire
from hive_boot.redaction.registry import format_failure, format_location, redact_safely
from hive_boot.runtime import log_messages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from hive_boot.lifecycle.signals import SignalHandler
    from hive_boot.runtime.run import Run

    Main = Callable[[Run[Any, Any]], Coroutine[Any, Any, object]]


class ProcessRunner:
    """Event loop of an owned process, with one run in it.

    Args:
        signal_handler: the installed signal handler.
        must_complete: whether a stop by a signal before main has returned is a failure.

    Attributes:
        has_finished: whether main has returned.
        has_stopped: whether the run has stopped, so that only the loop has to be closed.
        code: the return value of main; None if it was cancelled.
        exit: a ``sys.exit`` in a task beside main, with which asyncio would end the loop.
    """

    def __init__(self, signal_handler: SignalHandler, *, must_complete: bool) -> None:
        self._signal_handler = signal_handler
        self._must_complete = must_complete
        self._thread = threading.current_thread()
        self._before = threading.enumerate()
        self._run: Run[Any, Any] | None = None
        self._soon: Callable[[Callable[[], object]], object] | None = None
        self._main: Coroutine[Any, Any, object] | None = None
        self._wake_at_signals: Callable[[], object] = int
        self.has_finished: bool = False
        self.has_stopped: bool = False
        self.code: object = None
        self.exit: SystemExit | None = None

    def make_loop(self, backend: str) -> Any:
        """Return an asyncio loop for an owned process.

        It continues after a ``sys.exit`` in a task beside main: asyncio would end the loop and
        cancel all tasks at the same time, so nothing would stop in order. A signal handler that a
        library adds to it does not replace that of hive_boot: both are called.
        """
        from hive_boot.lifecycle.tasks import log_system_exit  # it needs a loop

        loop: Any = import_module(backend).new_event_loop()
        if self._thread is threading.main_thread():
            # Python runs signal handlers between two instructions, so not while the loop waits for
            # events. The wakeup descriptor, to which CPython writes when a signal arrives, ends
            # that wait. trio and uvloop set one, asyncio when its first handler is added: SIGURG
            # is ignored by default.
            # https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd
            self._wake_at_signals = partial(loop.add_signal_handler, signal.SIGURG, int)
        run_forever = loop.run_forever

        def run_until_stopped() -> None:
            while True:
                try:
                    run_forever()
                    break
                except SystemExit as exc:
                    if self._run is None or self._soon is None:
                        raise
                    self.exit = exc
                    log_system_exit(exc, "a task beside main")
                    loop.call_soon(self._run.shutdown.request)

        add, remove = loop.add_signal_handler, loop.remove_signal_handler

        def add_signal_handler(sig: int, callback: Callable[..., object], *args: object) -> None:
            add(sig, callback, *args)
            self._signal_handler.reinstall(sig, callback=callback)

        def remove_signal_handler(sig: int) -> bool:
            removed: bool = remove(sig)
            self._signal_handler.reinstall(sig, log=False)
            return removed

        loop.run_forever = run_until_stopped
        loop.add_signal_handler = add_signal_handler
        loop.remove_signal_handler = remove_signal_handler
        return loop

    async def main(
        self, main: Main, start: Callable[..., AbstractAsyncContextManager[Run[Any, Any]]]
    ) -> None:
        """Start a run, call main, and stop the run."""
        import anyio  # no tool needs a loop

        from hive_boot.lifecycle import tasks  # it needs a loop

        with anyio.CancelScope() as scope:
            self._soon = tasks.threadsafe_scheduler()
            # Before main is called, the start is cancelled.
            block: tasks.CancellableBlock | None = None
            keep_handlers = partial(self._keep_handlers, anyio.sleep)
            handlers = tasks.BackgroundTask(keep_handlers, "hive_boot signal handlers")

            def cancel(seconds: float) -> None:
                if block is None:
                    scope.cancel()
                else:
                    block.cancel(seconds)

            try:
                handlers.start()
                async with start(
                    self._attach,
                    cancel=cancel,
                    describe_pending=self._describe_pending,
                    describe_main=self._describe_main,
                ) as run:
                    if self._signal_handler.reload_requested:
                        self.reload()
                    block = tasks.CancellableBlock()
                    with block:
                        await self._call(main, run)
            finally:
                self._soon = None
                self._wake_at_signals()  # the loop may wait for threads after main has ended
                await handlers.stop()
        self.has_stopped = True

    async def _call(self, main: Main, run: Run[Any, Any]) -> None:
        """Call main. A process that it has forked, and in which it ends too, ends here.

        Nothing else of the run may end in a forked child: it would close what the parent uses.
        """
        self._main = main(run)
        try:
            self.code = await self._main
            self.has_finished = True
        finally:
            if run.forked:
                failure = sys.exception()
                status = report_failure(failure) if failure else self.status()
                # No import and no thread: a thread of the parent may have held the import lock.
                with suppress(Exception):
                    sys.stdout.flush()
                logging.shutdown()
                os._exit(status)

    def status(self) -> int:
        """Return the exit status of a run that has stopped."""
        if self.exit is not None:
            return _system_exit_status(self.exit)
        first_signal = self._signal_handler.first_signal
        if self._must_complete and first_signal is not None and not self.has_finished:
            return 128 + first_signal
        return _status(self.code) if isinstance(self.code, int) else 0

    def stop(self) -> None:
        """Request a stop; called in a signal handler."""
        if self._run is not None and self._soon is not None:
            self._run.shutdown.note_signal()
            self._soon(partial(self._request_stop, self._run))

    def reload(self) -> None:
        """Request a reload; called in a signal handler, and at READY for an earlier SIGHUP."""
        if self._run is not None and self._soon is not None:
            self._soon(self._run.request_reload)

    def mark_forced(self) -> str:
        """Enter FORCED, and return the state until then; called in a signal handler."""
        return "armed" if self._run is None else self._run.shutdown.mark_forced()

    def release(self) -> None:
        """Cancel the forced exit, unless a thread or a child process can hang the exit."""
        from hive_boot.lifecycle.tasks import threads_started_since  # it needs a loop

        left = threads_started_since(())
        may_hang = not set(left) <= set(self._before)
        if not may_hang and "multiprocessing.process" in sys.modules:
            from hive_boot.lifecycle.forced_exit import own_children  # few have any

            may_hang = bool(own_children())
        self._signal_handler.handle_exit(keep=bool(left))
        if self._run is not None:
            self._run.shutdown.release(exit_may_hang=may_hang)

    def _attach(self, run: Run[Any, Any]) -> None:
        self._run = run
        run.shutdown.watch()
        self._signal_handler.attach(self)

    async def _keep_handlers(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Compare the signal handlers, often during a start: most libraries replace them then.

        During a start this wakes the loop often enough for a signal. Afterwards the wakeup
        descriptor does, which takes 0.1 ms to set.
        """
        backoff = Backoff(DEFAULTS.handler_check_delay, DEFAULTS.resync_interval)
        while True:
            self._signal_handler.reinstall_all()
            if self._run is None or not self._run.ready:
                backoff.reset()
            else:
                self._wake_at_signals()
            await sleep(backoff.next_delay())

    def _request_stop(self, run: Run[Any, Any]) -> None:
        """Request the stop after the first signal, in the event loop, and log the signal."""
        name = signal.Signals(self._signal_handler.first_signal or signal.SIGTERM).name
        seconds = run.shutdown.cancel_delay if run.ready else 0
        # A reader of the log line may send a second signal: its message has the new state.
        run.shutdown.request()
        log_messages.log_signal(name, seconds)

    def _describe_main(self) -> list[str]:
        """Return the line at which main waits; empty when it has ended, or serves requests."""
        from hive_boot.lifecycle.forced_exit import locate_coroutine  # only a hang needs it

        where = locate_coroutine(self._main)
        return [f"{'running':<9} main  {where}"] if where else []

    def _describe_pending(self) -> str:
        """Return the message of a forced exit; called in another thread."""
        from hive_boot.lifecycle import forced_exit, tasks  # only a hang needs it

        lines = [] if self._run is None else self._run.runner.pending()
        label = "the event loop, which is blocked"
        where = forced_exit.locate_thread(self._thread, below=__file__)
        if self._main is None or inspect.getcoroutinestate(self._main) == inspect.CORO_CLOSED:
            # At its end an asyncio loop waits for the threads of its executor.
            lines += forced_exit.describe_threads(tasks.threads_started_since(self._before))
        elif not self._describe_main():
            label = "main"  # It is not suspended, so the line is that of the thread.
        if where or label == "main":
            lines.insert(0, f"{'running':<9} {label}  {where}".rstrip())
        title = "hive_boot: not everything has stopped in time; exit 70"
        return "\n  ".join([title, *lines]) + "\n"


def run_process(
    arm: Callable[[], Main],
    start: Callable[..., AbstractAsyncContextManager[Run[Any, Any]]],
    backend: str,
    *,
    must_complete: bool = False,
) -> int:
    """Run an application until its main returns or a signal arrives.

    Args:
        arm: returns the function that is awaited with the run, when the run is ready.
        start: returns the context manager of a run; it calls its first argument with the run
            before the run starts.
        backend: ``asyncio``, ``uvloop`` or ``trio``.
        must_complete: whether a stop by a signal before main has returned is a failure.

    Returns:
        The exit status: 0, what main returned, 70, 75, 78, or 128 + the signal.

    Raises:
        KeyboardInterrupt: instead of the status 0, when a SIGINT has arrived. CPython then ends
            the process by that signal, so that a shell does not continue with the next command:
            https://www.cons.org/cracauer/sigint.html
    """
    with acquire() as signal_handler:
        import anyio  # no tool needs a loop

        forbid_nested_loop()
        owner = ProcessRunner(signal_handler, must_complete=must_complete)
        options = {}
        if backend != "trio":
            options = {"loop_factory": partial(owner.make_loop, backend)}
            backend = "asyncio"
        try:
            anyio.run(owner.main, arm(), start, backend=backend, backend_options=options)
        except BaseException as exc:  # noqa: BLE001  (this is the outermost frame)
            if owner.has_stopped:
                # That may need a thread or a descriptor, of which there may be none.
                _write_escaped(f"hive_boot: The event loop could not be closed: {describe(exc)}\n")
                status = owner.status()
            else:
                status = report_failure(exc)
        else:
            status = owner.status()
        owner.release()
    if signal_handler.first_signal == signal.SIGINT and status in {0, 128 + signal.SIGINT}:
        handle_uncaught()
        raise KeyboardInterrupt(_INTERRUPTED)
    return status


_INTERRUPTED = "SIGINT has stopped the application"
"""Argument of the KeyboardInterrupt for which no traceback is printed."""


def forbid_nested_loop() -> None:
    """Raise if an event loop is running in this thread.

    Raises:
        DeclarationError: a loop is running.
    """
    from anyio.lowlevel import current_token  # no tool needs a loop

    message = (
        "boot.run() and boot.serve() start an event loop, but one is already running in this "
        "thread. Write `async with boot.running()` in async code, such as a notebook; inside a "
        "server pass lifespan=boot.lifespan to the ASGI application."
    )
    with suppress(RuntimeError):
        current_token()
        raise DeclarationError(message)


def report_failure(exc: BaseException) -> int:
    """Write a failure to stderr, and return the exit status."""
    from hive_boot.lifecycle.tasks import unwrap_single, was_logged  # only a failure needs it

    only = unwrap_single(exc)
    if isinstance(only, SystemExit):
        return _system_exit_status(only)
    rest = only.split(was_logged)[1] if isinstance(only, BaseExceptionGroup) else only
    if rest is not None and not was_logged(rest):
        rest = unwrap_single(rest)
        if isinstance(rest, BootError):
            report_boot_error(rest)
        else:
            _write_escaped(format_failure(rest))
    return 130 if isinstance(only, KeyboardInterrupt) else _status_of_failure(only)


def _status_of_failure(exc: BaseException) -> int:
    """Return the exit status of a failure; of several kinds 78 comes before 70, and 75 last."""
    if not isinstance(exc, BaseExceptionGroup):
        return exc.exit_code if isinstance(exc, BootError) else 70
    statuses = set(map(_status_of_failure, exc.exceptions))
    return next(status for status in (78, 70, 75) if status in statuses)


def _status(code: int) -> int:
    """Return a possible exit status: the system would truncate 256 to 0, a success."""
    return code if code in range(256) else 70


def _system_exit_status(exc: SystemExit) -> int:
    """Return the exit status of ``sys.exit``; write its text, redacted, as Python does."""
    if exc.code is None or isinstance(exc.code, int):
        return _status(exc.code or 0)
    write_stderr(redact_safely(f"{exc.code}\n"))
    return 1


def report_boot_error(exc: BootError) -> int:
    """Write an error to stderr, with the lines of the application that it comes from.

    Returns:
        The exit status.
    """
    is_in_code = exc.exit_code == DeclarationError.exit_code
    # The report of a failed start has no line of the application: the deployment is invalid.
    if is_in_code or getattr(exc, "kept", False):
        cause = format_failure(exc.__cause__) if is_in_code and exc.__cause__ is not None else ""
        _write_escaped(cause + format_location(exc))
    if isinstance(exc, ProblemsError):
        report = exc.report(color=is_terminal(sys.stderr) and not os.environ.get("NO_COLOR"))
        write_stderr(redact_safely(f"{report}\n"))
    else:
        _write_escaped(f"hive_boot: {type(exc).__name__}: {exc}\n")
    return exc.exit_code


def handle_uncaught() -> None:
    """Install an excepthook for the exceptions with which hive_boot ends a process.

    It reports an InvalidSecretsError as a failed start, and exits with its status. It prints
    nothing for the KeyboardInterrupt of :func:`run_process`.
    """
    if getattr(sys.excepthook, "func", None) is not _handle_uncaught:
        sys.excepthook = partial(_handle_uncaught, sys.excepthook)


def _handle_uncaught(
    before: Callable[..., object], kind: type[BaseException], exc: BaseException, trace: object
) -> None:
    if isinstance(exc, KeyboardInterrupt) and exc.args == (_INTERRUPTED,):
        return
    if not isinstance(exc, InvalidSecretsError):
        before(kind, exc, trace)
        return
    status = report_boot_error(exc)
    if not hasattr(sys, "ps1"):  # an interactive interpreter continues
        # CPython exits with the status of a SystemExit that the hook raises.
        raise SystemExit(status)


def _write_escaped(text: str) -> None:
    """Write a text to stderr, redacted, with control characters besides line breaks escaped."""
    write_stderr(escape_controls(redact_safely(text), keep_lines=True))
