"""Signal handler: the first signal requests an orderly stop, the second ends the process.

SIGHUP asks for a reload, as it does of every daemon; with a controlling terminal it says
that the terminal is gone, and is a signal to stop like the others.

The handler is a plain ``signal.signal`` one, set before the loop exists: it counts
and wakes, so that no signal is lost while the loop is blocked, and the second one
works although it is.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Self

_log = logging.getLogger("hive_boot")

HANDLED = (signal.SIGTERM, signal.SIGINT)

_STDERR = 2
"""The descriptor: what Python has for it may be locked by the code that was interrupted."""

_DEBOUNCE = 0.1
"""Seconds within which a signal repeated is the same one: a terminal's parent forwards it."""


class SignalHandler:
    """Catches the signals from ``with`` on, and puts the old handlers back.

    Outside the main thread it catches nothing: Python delivers no signal there.

    Attributes:
        first_signal: the first signal that came, or None.
    """

    def __init__(self) -> None:
        self.first_signal: int | None = None
        self._since = 0.0
        self._is_forcing = False
        self._wake: Callable[[], object] | None = None
        self._reload: Callable[[], object] | None = None
        self._reload_wanted = False
        self._describe_state: Callable[[], str] | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        if self._before:
            # It was put in early, and is taken over now.
            return self
        if threading.current_thread() is threading.main_thread():
            for number in HANDLED:
                self._before[number] = signal.signal(number, self._handle)
            # Who was started to survive its terminal (nohup) goes on to ignore it.
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
                handle = self._handle if _has_terminal() else self._handle_hangup
                self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, handle)
            # A forked child is not ours: a signal does to it what it did before.
            os.register_at_fork(after_in_child=self._put_back)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._put_back()

    def _put_back(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            # None stands for a handler that was not set from Python; it cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # type: ignore[arg-type]

    def on_stop(self, wake: Callable[[], object]) -> None:
        """Call ``wake`` at the first signal, or now when it came already.

        Args:
            wake: called in the signal handler, so it has to be quick and safe there.
        """
        self._wake = wake
        if self.first_signal is not None:
            wake()

    def on_reload(self, reload: Callable[[], object]) -> None:
        """Call ``reload`` at each SIGHUP, and now when one came already.

        Args:
            reload: called in the signal handler, so it has to be quick and safe there.
        """
        self._reload = reload
        if self._reload_wanted:
            reload()

    def on_force(self, last_word: Callable[[], str]) -> None:
        """Call ``last_word`` at the second signal.

        Args:
            last_word: gives where the application stands; called in the signal handler.
        """
        self._describe_state = last_word

    def detach(self) -> None:
        """Wake nobody any more."""
        self._wake = self._reload = None

    def _handle_hangup(self, _number: int, _frame: FrameType | None) -> None:
        self._reload_wanted = True
        if self._reload is not None:
            self._reload()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first_signal is None:
            self.first_signal, self._since = number, now
            if self._wake is not None:
                self._wake()
        elif number != self.first_signal or now - self._since > _DEBOUNCE:
            self._force(number)

    def _force(self, number: int) -> None:
        """End at once. A stderr that takes nothing, a full pipe, holds up nobody."""
        if self._is_forcing:
            # Another one came while this handler ran: it changes nothing.
            return
        self._is_forcing = True
        state = "armed" if self._describe_state is None else self._describe_state()
        text = f"hive_boot: a second signal, {signal.Signals(number).name}, while {state}: forced\n"
        with suppress(OSError, ValueError):
            if select.select([], [_STDERR], [], 0)[1]:
                os.write(_STDERR, text.encode())
        os._exit(128 + number)


_early: list[SignalHandler] = []


def install_early() -> None:
    """Catch the signals from now on, for whoever owns this process later.

    As PID 1 a signal without a handler is dropped, also while an application is imported.
    """
    _early.append(SignalHandler().__enter__())


def acquire() -> SignalHandler:
    """Return the handler that was installed early, or a new one."""
    return _early.pop() if _early else SignalHandler()


def terminate_self() -> None:
    """Ask the server around us to end, by SIGTERM, if it listens to that.

    Where nobody does, as in a test's client, the process would be gone without a stop.
    """
    if callable(signal.getsignal(signal.SIGTERM)):
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        _log.error("Nobody here handles SIGTERM: the server goes on, and is not ready")


def _has_terminal() -> bool:
    """Tell whether there is a controlling terminal, whose end SIGHUP would announce."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
