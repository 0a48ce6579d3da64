"""What looks for changed secrets while an application runs, and whether it still does."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import anyio

from hive_boot.bootstrap import logs
from hive_boot.lifecycle.waking import run_in_daemon_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot._timings import Timings
    from hive_boot.secrets.inventory import FieldIndex
    from hive_boot.secrets.mode import SourceContext
    from hive_boot.secrets.watching import Watcher


class WatchSupervisor:
    """The watch of one run.

    Args:
        request_reload: called, in any thread, when something may have changed.
        timings: how the watch waits, and how often it is glanced at.

    Attributes:
        watcher: what looks for changes; None when nothing does.
    """

    watcher: Watcher | None = None

    def __init__(self, request_reload: Callable[[], None], timings: Timings) -> None:
        self._hint = request_reload
        self._timings = timings
        self._stale: tuple[str, ...] = ()
        self._was_down = self._is_over = False

    def start(self, field_index: FieldIndex, source_context: SourceContext) -> None:
        """Begin to look for changes, before the first read. It blocks for a moment."""
        from hive_boot.secrets.vantage import WatchTargets  # noqa: PLC0415  (many do not watch)
        from hive_boot.secrets.watching import Watcher  # noqa: PLC0415  (many do not watch)

        vantage = WatchTargets(field_index, source_context)
        if vantage.is_empty:
            logs.log_nothing_to_watch(source_context.mode)
            return
        watcher = self.watcher = Watcher(vantage.snapshot, self._hint, timings=self._timings)
        watcher.start()
        if self._is_over:
            # The start was given up before there was something to stop.
            watcher.stop()
        logs.log_pinned_files(watcher.pinned, source_context.mode)

    @property
    def due(self) -> float:
        """When the next glance is, on the monotonic clock; infinite when there is none."""
        # A thread that hangs does not say so: it is glanced at.
        interval = math.inf if self.watcher is None else self._timings.watcher_check_interval
        return time.monotonic() + interval

    def check_health(self) -> None:
        """Say when the watch hangs, or lives again, and when a mount has become stale."""
        watcher = self.watcher
        if watcher is None:
            return
        is_down = watcher.mode == "down"
        if is_down != self._was_down:
            logs.log_watch_state(is_down=is_down)
        self._was_down = is_down
        stale = tuple(pin.path for pin in watcher.pinned if pin.stale)
        logs.log_stale_mounts([path for path in stale if path not in self._stale])
        self._stale = stale

    def stop(self) -> None:
        """Look no more."""
        self._is_over = True
        if self.watcher is not None:
            self.watcher.stop()

    async def join(self) -> None:
        """Wait a while until the thread has ended."""
        if self.watcher is not None:
            with anyio.move_on_after(self._timings.watcher_stop_timeout, shield=True):
                await run_in_daemon_thread(self.watcher.join, "hive_boot end of watch")
