"""What the applications are made of: components that get into trouble, and say what they do.

What is said goes to stdout behind ``@``; whatever else is printed, the subject has said.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

InThread: TypeAlias = "Callable[..., Awaitable[Any]]"
"""Runs a function in a worker thread, as the subject's users would."""

STOP_TIMEOUT = 5
"""Seconds to stop in, for each subject that can be told: half of what Docker grants."""

DRAIN = 2
"""Seconds for which a socket is to stay open after a signal, where there is such a thing."""

_CLOSING = 0.2
_FAILING = 0.5
_SLOW = 2.0
_HUNG = 3600

SCENARIO = os.environ["SIGNALS_SCENARIO"]
PORT = int(os.environ["SIGNALS_PORT"])


@dataclass(frozen=True, slots=True)
class Component:
    """Something that is started and stopped.

    Attributes:
        name: how it is called, also where the subject asks for a name.
        in_start: what goes wrong in its start: ``hangs``, ``fails`` or ``slow``.
        in_stop: what goes wrong in its stop: ``hangs``, ``fails`` or ``blocks``.
    """

    name: str
    in_start: str = ""
    in_stop: str = ""

    async def start(self) -> None:
        """Start, or do not.

        Raises:
            RuntimeError: it was to fail.
        """
        say(f"start {self.name}")
        if self.in_start == "hangs":
            await anyio.sleep_forever()
        if self.in_start == "slow":
            await anyio.sleep(_SLOW)
        if self.in_start == "fails":
            await anyio.sleep(_FAILING)
            message = f"{self.name} cannot start"
            raise RuntimeError(message)
        say(f"started {self.name}")

    async def stop(self, in_thread: InThread) -> None:
        """Stop, or do not.

        Raises:
            RuntimeError: it was to fail.
        """
        say(f"stop {self.name}")
        if self.in_stop == "hangs":
            await anyio.sleep_forever()
        if self.in_stop == "blocks":
            await in_thread(time.sleep, _HUNG)
        if self.in_stop == "fails":
            message = f"{self.name} cannot stop"
            raise RuntimeError(message)
        await anyio.sleep(_CLOSING)
        say(f"stopped {self.name}")


def say(what: str) -> None:
    """Tell the driver."""
    sys.stdout.write(f"@{what}\n")
    sys.stdout.flush()


async def work() -> None:
    """Be the background work of an application, which crashes after a while.

    Raises:
        RuntimeError: always.
    """
    say("work")
    await anyio.sleep(_FAILING)
    message = "the work cannot go on"
    raise RuntimeError(message)


async def answer_slowly() -> str:
    """Be a request that takes its time."""
    say("request")
    await anyio.sleep(_SLOW)
    return "done"


DATABASE = Component("database")
CACHE = Component(
    "cache",
    in_start={"start-hangs": "hangs", "start-fails": "fails", "pid-1": "slow"}.get(SCENARIO, ""),
    in_stop={
        "stop-hangs": "hangs",
        "thread-hangs": "blocks",
        "second-signal": "hangs",
        "stops-fail": "fails",
    }.get(SCENARIO, ""),
)
"""It needs the database, so it starts later and stops earlier."""
QUEUE = Component("queue", in_stop="fails")
"""It needs the cache."""

WITH_HTTP = SCENARIO in {"start-fails", "in-flight", "crash"}
"""Whether the application serves, where a subject leaves the choice."""
WITH_QUEUE = SCENARIO == "stops-fail"
"""Whether the application has a queue."""
WITH_WORK = SCENARIO == "crash"
"""Whether the application has background work."""

if SCENARIO == "pid-1-importing":
    say("importing")
    time.sleep(_SLOW)
