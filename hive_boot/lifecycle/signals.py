"""Signal handler: the first signal requests an orderly stop, the second ends the process.

SIGHUP requests a reload, as of every daemon; with a controlling terminal it reports that the
terminal is gone, and is a signal to stop like the others.

The handlers are installed by ``signal.signal`` before the event loop exists. They only count
and schedule, so no signal is lost while the loop is blocked, and the second one works then.
A library that installs its own handlers gets the signals too, after hive_boot.
"""

from __future__ import annotations

import atexit
import logging
import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, Self

from hive_boot._output import log_safely

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object]

    class SignalTarget(Protocol):
        """A run that reacts to signals.

        Each method is called in a signal handler: it must be quick, and must not wait.
        """

        def stop(self) -> None:
            """Request a stop, after the first signal."""

        def reload(self) -> None:
            """Request a reload, after SIGHUP."""

        def mark_forced(self) -> str:
            """Return the state of the run, before the second signal ends the process."""


_log = logging.getLogger("hive_boot")

HANDLED = (signal.SIGTERM, signal.SIGINT)

_STDERR = 2
"""The descriptor: the interrupted code may hold the lock of ``sys.stderr``."""

_DEBOUNCE = 0.1
"""Seconds in which a repeated signal is the same one: a parent process may forward it."""


class SignalHandler:
    """Context manager that installs the handlers, and restores the former ones at its end.

    Outside the main thread it installs nothing: Python delivers no signal there.

    Attributes:
        first_signal: the first signal to stop; None until it arrives.
        reload_requested: whether a SIGHUP has requested a reload.
        is_forcing: whether the second signal is ending the process.
        repeats: signals that a library has received, and may raise once more at its end.
    """

    def __init__(self) -> None:
        self.first_signal: int | None = None
        self.reload_requested: bool = False
        self.is_forcing: bool = False
        self._since = 0.0
        self.repeats: set[int] = set()
        self._target: SignalTarget | None = None
        self._before: dict[int, object] = {}
        self._reloads = False
        self._is_kept = False
        self._reported: set[str] = set()

    def __enter__(self) -> Self:
        if self._before:
            # install_early() has installed the handlers; the imports since may have replaced them.
            self.reinstall_all()
        elif threading.current_thread() is threading.main_thread():
            self._reloads = not _has_terminal()
            for number in (*HANDLED, signal.SIGHUP):
                # A process that was started to survive its terminal (nohup) ignores SIGHUP.
                if number in HANDLED or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
            # A forked child gets the former handlers.
            os.register_at_fork(after_in_child=self._restore)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if not self._is_kept:
            self._restore()

    def handle_exit(self, *, keep: bool) -> None:
        """Handle signals also while the interpreter exits; called in the block.

        Args:
            keep: whether threads are left, which Python joins before it calls the functions of
                :mod:`atexit`. The handlers then stay installed: while the program continues after
                the run, a signal restores the former ones, and is raised again.
        """
        if self._before:
            self._is_kept = keep
            atexit.register(self._install_at_exit)

    def _install_at_exit(self) -> None:
        for number in (*HANDLED, signal.SIGHUP):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                self._before[number] = signal.signal(number, self._handle)

    def reinstall_all(self) -> None:
        """Install each handler again that other code has replaced."""
        for number in self._before:
            self.reinstall(number)

    def reinstall(self, number: int, *, callback: object = None, log: bool = True) -> None:
        """Install a handler again if other code has replaced it; its handler is called too.

        Called in the main thread. Each handler of other code is logged once.

        Args:
            number: the signal.
            callback: the function that the event loop calls by itself at the signal; the handler
                that it has installed has no effect. Default None.
            log: whether the other handler is logged. Default True.
        """
        other = signal.getsignal(number)
        is_ours = other == self._handle or getattr(other, "handler", None) is self
        if is_ours or number not in self._before:
            return
        kept = other if callable(other) and other is not signal.default_int_handler else None
        # A library that installs again what it has replaced, as open_signal_receiver() of trio does
        # at its end, replaces the _Chained, and its handler is not called any more.
        signal.signal(number, _Chained(self, kept) if kept and not callback else self._handle)
        name = _describe(other if callback is None else callback)
        if log and name not in self._reported:
            self._reported.add(name)
            log_safely(
                logging.WARNING,
                "%s has replaced the handler of %s, which is installed again%s. Fix: turn off the "
                "signal handling of that library, because hive_boot stops the application",
                name,
                signal.Signals(number).name,
                "; now both are called" if kept else "",
                logger=_log,
            )

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            # None is a handler that was not installed from Python; it cannot be restored.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # type: ignore[arg-type]

    def attach(self, target: SignalTarget) -> None:
        """Pass the signals to a run, also a signal to stop that has arrived before."""
        self._target = target
        if self.first_signal is not None:
            target.stop()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._is_kept and not is_exiting():
            self._restore()
            signal.raise_signal(number)
        else:
            self.react(number, None)

    def react(self, number: int, caller: _Chained | None) -> None:
        """Request a stop or a reload, or end the process; called in a signal handler."""
        installed = signal.getsignal(number)
        if isinstance(installed, _Chained) and installed is not caller:
            # The installed handler has reacted; that of a library calls what it has replaced.
            return
        now = time.monotonic()
        if number == signal.SIGHUP and self._reloads:
            self.reload_requested = True
            if self._target is not None:
                self._target.reload()
        elif self.first_signal is None:
            self.first_signal, self._since = number, now
            if self._target is not None:
                self._target.stop()
        elif caller is None and number in self.repeats:
            # The library has installed again what it has replaced. uvicorn then raises the signal.
            self.repeats.remove(number)
        elif number != self.first_signal or now - self._since > _DEBOUNCE:
            self._force(number)

    def _force(self, number: int) -> None:
        """Exit at once; a stderr that is a full pipe is skipped."""
        if self.is_forcing:
            # A third signal, which interrupts this handler, changes nothing.
            return
        self.is_forcing = True
        state = "armed" if self._target is None else self._target.mark_forced()
        text = f"hive_boot: a second signal, {signal.Signals(number).name}, while {state}: forced\n"
        if "multiprocessing.process" in sys.modules:
            with suppress(Exception):
                from hive_boot.lifecycle.forced_exit import end_children  # few have any

                text += end_children()
        with suppress(OSError, ValueError):
            if select.select([], [_STDERR], [], 0)[1]:
                os.write(_STDERR, text.encode())
        if number == signal.SIGINT:
            # A shell then stops its loop or its list of commands. For PID 1 it does nothing.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        os._exit(128 + number)


class _Chained:
    """Signal handler that calls that of hive_boot, and then that of a library."""

    def __init__(self, handler: SignalHandler, other: Handler) -> None:
        self.handler = handler
        self._other = other

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.handler.react(number, self)
        if self.handler.is_forcing:
            # Signals may come faster than the handler of the library returns.
            return
        # An exception would end the event loop before the stop that is requested.
        with suppress(BaseException):
            self._other(number, frame)
        is_left = signal.getsignal(number) is self
        if is_left:
            self.handler.repeats.add(number)
        # It may have ignored further signals, or restored the default action.
        self.handler.reinstall(number, log=False)


def is_exiting() -> bool:
    """Return whether the main thread has ended: Python joins threads and children, or exits."""
    # Python joins the threads of executors first, while is_alive() of the main thread is True.
    is_shutting_down: bool = getattr(threading, "_SHUTTING_DOWN", False)
    return is_shutting_down or not threading.main_thread().is_alive()


def _describe(handler: object) -> str:
    """Return the name of a signal handler, with its module."""
    if isinstance(handler, signal.Handlers):
        return handler.name
    handler = getattr(handler, "func", handler)
    name = getattr(handler, "__qualname__", type(handler).__qualname__)
    return f"{handler.__module__}.{name}"


_early: list[SignalHandler] = []


def install_early() -> None:
    """Install the handlers now, for the process runner that :func:`acquire` returns them to.

    The kernel drops a signal without a handler for PID 1, also during the import of an
    application.
    """
    _early.append(SignalHandler().__enter__())


def acquire() -> SignalHandler:
    """Return the handler that was installed early, or a new one."""
    return _early.pop() if _early else SignalHandler()


def stop_requested() -> bool:
    """Return whether a signal to stop has arrived during the import of an application."""
    return any(handler.first_signal is not None for handler in _early)


def terminate_self() -> None:
    """Send SIGTERM to this process, if the server around the application handles it.

    Without a handler, as in a test client, SIGTERM would end the process without a stop.
    """
    if callable(signal.getsignal(signal.SIGTERM)):
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        _log.error("No handler for SIGTERM in this process: the server continues, and is not ready")


def _has_terminal() -> bool:
    """Return whether there is a controlling terminal, whose end SIGHUP would report."""
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
        return True
    return False
