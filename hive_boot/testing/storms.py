"""Many new contents in a row, from a thread of their own."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from hive_boot.testing.content import Files


class Storm:
    """A thread that publishes at a given rate, while a ``with`` block runs.

    It ends with the block, or earlier when its time is over. What went wrong in it
    is raised at the end of the block.

    Args:
        publish: publishes one content, of the number that it is called with, and
            gives it back; the first number is 1.
        rate: how often in a second; ``math.inf`` is as fast as it goes.
        seconds: how long at most.

    Attributes:
        count: how often something has been published.
        published: what was published last; None before the first time.
    """

    def __init__(self, publish: Callable[[int], Files], *, rate: float, seconds: float) -> None:
        self.count = 0
        self.published: Files | None = None
        self._publish = publish
        self._rate = rate
        self._seconds = seconds
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._over = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="hive_boot storm", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def wait(self, count: int | None = None) -> bool:
        """Wait until something has been published so often, or until the storm is over.

        Args:
            count: how often. Default None: wait for the end.

        Returns:
            Whether it has been published so often.
        """
        with self._news:
            self._news.wait_for(lambda: self._over or self._has_reached(count))
            return count is None or self._has_reached(count)

    def _has_reached(self, count: int | None) -> bool:
        return count is not None and self.count >= count

    def _run(self) -> None:
        try:
            self._publish_until(monotonic())
        except BaseException as exc:  # noqa: BLE001  (raised where the block ends)
            self._failure = exc
        with self._news:
            self._over = True
            self._news.notify_all()

    def _publish_until(self, begun: float) -> None:
        """Publish when it is time, in step with the clock and not with the last time."""
        end = begun + self._seconds
        while (due := begun + self.count / self._rate) < end and monotonic() < end:
            if self._stop.wait(max(0.0, due - monotonic())):
                return
            published = self._publish(self.count + 1)
            with self._news:
                self.count += 1
                self.published = published
                self._news.notify_all()
