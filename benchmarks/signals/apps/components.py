"""Components of the test application, which fail, hang or block as the scenario requires.

They report each step on stdout in a line that begins with ``@``; other lines are output of the
subject.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

InThread: TypeAlias = "Callable[..., Awaitable[Any]]"
"""Function that runs another one in a worker thread, with the API of the subject."""

STOP_TIMEOUT = 5
"""Shutdown timeout of each subject that has one, in seconds: half of Docker's."""

DRAIN = 2
"""Shutdown delay in seconds, of a subject that has one: the socket stays open."""

_CLOSING = 0.2
_COMMITTING = 0.3
_DOWN_UNTIL = time.monotonic() + 2.0
_FAILING = 0.5
_SLOW = 2.0
_TIMEOUT = 3600

SCENARIO = os.environ["SIGNALS_SCENARIO"]
PORT = int(os.environ["SIGNALS_PORT"])


@dataclass(frozen=True, slots=True)
class Component:
    """A component that is started and stopped.

    Attributes:
        name: its name, also for the subject.
        in_start: the behaviour of its start: ``hangs``, ``fails``, ``slow``, ``refused`` until 2 s
            after the start of the process, ``forks`` a process, ``limits`` the threads of the
            process 0.5 s later, or empty.
        in_stop: the behaviour of its stop: ``hangs``, ``fails``, ``blocks`` in a thread, or empty.
    """

    name: str
    in_start: str = ""
    in_stop: str = ""

    async def start(self) -> None:
        """Start, with the behaviour of ``in_start``.

        Raises:
            RuntimeError: ``in_start`` is ``fails``.
            ConnectionRefusedError: ``in_start`` is ``refused``.
        """
        report(f"start {self.name}")
        if self.in_start == "refused" and time.monotonic() < _DOWN_UNTIL:
            raise ConnectionRefusedError
        if self.in_start == "forks":
            _pool.append(ProcessPoolExecutor(1))
            _pool[0].submit(time.sleep, _TIMEOUT)
        if self.in_start == "limits":
            asyncio.get_running_loop().call_later(0.5, _forbid_threads)
        if self.in_start == "hangs":
            await anyio.sleep_forever()
        if self.in_start == "slow":
            await anyio.sleep(_SLOW)
        if self.in_start == "fails":
            await anyio.sleep(_FAILING)
            message = f"{self.name} cannot start"
            raise RuntimeError(message)
        report(f"started {self.name}")

    async def stop(self, in_thread: InThread) -> None:
        """Stop, with the behaviour of ``in_stop``.

        Raises:
            RuntimeError: ``in_stop`` is ``fails``.
        """
        report(f"stop {self.name}")
        if self.in_stop == "hangs":
            await anyio.sleep_forever()
        if self.in_stop == "blocks":
            await in_thread(time.sleep, _TIMEOUT)
        if self.in_stop == "fails":
            message = f"{self.name} cannot stop"
            raise RuntimeError(message)
        await anyio.sleep(_CLOSING)
        report(f"stopped {self.name}")


def report(step: str) -> None:
    """Print a step for the benchmark."""
    sys.stdout.write(f"@{step}\n")
    sys.stdout.flush()


_pool: list[ProcessPoolExecutor] = []


def _forbid_threads() -> None:
    """Reach the limit of threads, as with ``pids_limit`` in Compose."""
    if os.geteuid() == 0:
        os.setuid(65533)  # the limit does not apply to root
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    report("limited")


async def do_jobs(is_stopping: Callable[[], bool]) -> None:
    """Process jobs of 1 s, one after another, until the application stops."""
    while not is_stopping():
        report("job begins")
        await anyio.sleep(1)
        report("job ends")


async def work() -> None:
    """Run the background work of the application, which crashes after 0.5 s, or cleans up.

    Raises:
        RuntimeError: the scenario is ``crash``.
    """
    report("work")
    if SCENARIO == "clean-up":
        try:
            await anyio.sleep_forever()
        finally:
            await anyio.sleep(_COMMITTING)
            report("committed")
    await anyio.sleep(_FAILING)
    message = "the work has failed"
    raise RuntimeError(message)


async def answer_slowly() -> str:
    """Process a request that takes 2 s."""
    report("request")
    await anyio.sleep(_SLOW)
    return "done"


DATABASE = Component(
    "database",
    in_start={"dependency-down": "refused", "children": "forks", "thread-limit": "limits"}.get(
        SCENARIO, ""
    ),
)
CACHE = Component(
    "cache",
    in_start={"start-hangs": "hangs", "start-fails": "fails", "pid-1": "slow"}.get(SCENARIO, ""),
    in_stop={
        "stop-hangs": "hangs",
        "thread-hangs": "blocks",
        "second-signal": "hangs",
        "children": "hangs",
        "stops-fail": "fails",
    }.get(SCENARIO, ""),
)
"""Depends on the database: it starts after it and stops before it."""
QUEUE = Component("queue", in_stop="fails")
"""Depends on the cache."""

WITH_HTTP = SCENARIO in {"start-fails", "in-flight", "crash"}
"""Whether the application serves HTTP, for a subject that can run without."""
WITH_QUEUE = SCENARIO == "stops-fail"
"""Whether the application contains the queue."""
WITH_WORK = SCENARIO in {"crash", "clean-up"}
"""Whether the application contains background work."""
WITH_JOBS = SCENARIO == "job"
"""Whether the application processes jobs in the background."""

if SCENARIO == "pid-1-importing":
    report("importing")
    time.sleep(_SLOW)
