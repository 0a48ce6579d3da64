"""Back-off: growing delays before something that fails is tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Backoff:
    """Delays before retries, each twice the one before, up to a maximum.

    Args:
        initial: seconds before the first retry.
        maximum: seconds that no delay is longer than.
        jitter: shorten each delay at random, down to half of it, so that many replicas that
            fail at one moment do not try again at one moment. Default False.
    """

    __slots__ = ("_initial", "_maximum", "_next", "_uniform")

    def __init__(self, initial: float, maximum: float, *, jitter: bool = False) -> None:
        self._initial = min(initial, maximum)
        self._maximum = maximum
        self._next = self._initial
        self._uniform: Callable[[float, float], float] | None = None
        if jitter:
            # Not at the first failure: a process without descriptors can import nothing.
            from random import uniform  # noqa: PLC0415  (slow to import, and often not needed)

            self._uniform = uniform

    def next_delay(self) -> float:
        """Return the seconds to wait after one more failure."""
        delay = self._next
        self._next = min(delay * 2, self._maximum)
        return delay if self._uniform is None else delay * self._uniform(0.5, 1)

    def reset(self) -> None:
        """Return to the first delay, after a success."""
        self._next = self._initial
