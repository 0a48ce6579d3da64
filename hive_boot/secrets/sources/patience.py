"""How long a reader waits for a writer, and the clock it waits by.

The numbers answer how mounts are written (the kubelet's AtomicWriter, Kata
guests, Vault Agent, a shell's redirection); a test replaces the clock, and
nothing else has to be replaced.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class ReadPolicy(NamedTuple):
    """The clock of a load, and its limits in seconds.

    Attributes:
        wall: the time that files are stamped with.
        monotonic: the time that waiting is measured by.
        sleep: waits; it runs in the thread that loads.
        settled_age: a plain file that nobody touched for so long is being written
            by nobody. Default 2.
        quiet_interval: how long a younger one has to stay the same. Default 0.3.
        unstable_timeout: how long a directory may go on changing. Default 10.
        missing_timeout: how long a permission, or the ``..data`` of a volume, may be
            missing before it is really so. Default 2.
        tries: how often a volume that is swapped while it is read is read
            again. Default 8, after pauses of 2 to 100 ms.
        recheck_recent_directories: whether a directory in which something was just made or removed is
            being written to as well. A start does not ask, because the directory itself
            is new in each new container. Default False.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    settled_age: float = 2.0
    quiet_interval: float = 0.3
    unstable_timeout: float = 10.0
    missing_timeout: float = 2.0
    tries: int = 8
    recheck_recent_directories: bool = False

    def pause(self, attempt: int) -> None:
        """Wait before the next try: 2 ms after the first, doubling up to 100 ms."""
        self.sleep(min(0.002 * 2**attempt, 0.1))

    def is_settled(self, touched: float) -> bool:
        """Tell whether a file last touched at ``touched`` (wall clock) is left alone."""
        return self.wall() - touched > self.settled_age
