"""What looks for changed secrets while an application runs, and whether it still does."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import anyio

from hive_boot.bootstrap import logs
from hive_boot.lifecycle.waking import in_daemon_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot._timings import Timings
    from hive_boot.secrets.inventory import Inventory
    from hive_boot.secrets.mode import Situation
    from hive_boot.secrets.watching import Watcher


class Lookout:
    """The watch of one run.

    Args:
        hint: called, in any thread, when something may have changed.
        timings: how the watch waits, and how often it is glanced at.

    Attributes:
        watcher: what looks for changes; None when nothing does.
    """

    watcher: Watcher | None = None

    def __init__(self, hint: Callable[[], None], timings: Timings) -> None:
        self._hint = hint
        self._timings = timings
        self._stale: tuple[str, ...] = ()
        self._was_down = self._is_over = False

    def begin(self, inventory: Inventory, situation: Situation) -> None:
        """Begin to look for changes, before the first read. It blocks for a moment."""
        from hive_boot.secrets.vantage import Vantage  # noqa: PLC0415  (many do not watch)
        from hive_boot.secrets.watching import Watcher  # noqa: PLC0415  (many do not watch)

        vantage = Vantage(inventory, situation)
        if vantage.is_empty:
            logs.tell_nothing_to_watch(situation.mode)
            return
        watcher = self.watcher = Watcher(vantage.look, self._hint, timings=self._timings)
        watcher.start()
        if self._is_over:
            # The start was given up before there was something to stop.
            watcher.stop()
        logs.tell_pins(watcher.pinned, situation.mode)

    @property
    def due(self) -> float:
        """When the next glance is, on the monotonic clock; infinite when there is none."""
        # A thread that hangs does not say so: it is glanced at.
        interval = math.inf if self.watcher is None else self._timings.watcher_check_interval
        return time.monotonic() + interval

    def glance(self) -> None:
        """Say when the watch hangs, or lives again, and when a mount has become stale."""
        watcher = self.watcher
        if watcher is None:
            return
        is_down = watcher.mode == "down"
        if is_down != self._was_down:
            logs.tell_watch(is_down=is_down)
        self._was_down = is_down
        stale = tuple(pin.path for pin in watcher.pinned if pin.stale)
        logs.tell_stale([path for path in stale if path not in self._stale])
        self._stale = stale

    def end(self) -> None:
        """Look no more."""
        self._is_over = True
        if self.watcher is not None:
            self.watcher.stop()

    async def join(self) -> None:
        """Wait a while until the thread has ended."""
        if self.watcher is not None:
            with anyio.move_on_after(self._timings.watcher_stop_timeout, shield=True):
                await in_daemon_thread(self.watcher.join, "hive_boot end of watch")
