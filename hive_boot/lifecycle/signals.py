"""The latch: the first signal asks for an orderly stop, the second ends the process.

The handler is a plain ``signal.signal`` one, set before the loop exists: it counts
and wakes, so that no signal is lost while the loop is blocked, and the second one
works although it is.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Self

HANDLED = (signal.SIGTERM, signal.SIGINT)

_TWICE = 0.1
"""Seconds within which a signal repeated is the same one: a terminal's parent forwards it."""


class Latch:
    """Catches SIGTERM and SIGINT from ``with`` on, and puts the old handlers back.

    Outside the main thread it catches nothing: Python delivers no signal there.

    Attributes:
        pulled: the first signal that came, or None.
    """

    def __init__(self) -> None:
        self.pulled: int | None = None
        self._since = 0.0
        self._wake: Callable[[], object] | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in HANDLED:
                self._before[number] = signal.signal(number, self._handle)
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

    def notify(self, wake: Callable[[], object]) -> None:
        """Call ``wake`` at the first signal, or now when it came already.

        Args:
            wake: called in the signal handler, so it has to be quick and safe there.
        """
        self._wake = wake
        if self.pulled is not None:
            wake()

    def forget(self) -> None:
        """Call nothing any more."""
        self._wake = None

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.pulled is None:
            self.pulled, self._since = number, now
            if self._wake is not None:
                self._wake()
        elif number != self.pulled or now - self._since > _TWICE:
            os._exit(128 + number)
