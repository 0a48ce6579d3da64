"""Parts that tell what they do, and a life for them."""

import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.abc

from hive_boot._timings import DEFAULTS
from hive_boot.exceptions import LifecycleError
from hive_boot.lifecycle.instances import Progress, Resource
from hive_boot.lifecycle.resources import ResourceManager
from hive_boot.lifecycle.states import Timeline

Act = Callable[[], Coroutine[Any, Any, object]]

LONG = 20.0
"""Seconds that nothing takes here."""


class Diary(list[str]):
    """What has happened, in order."""

    def part(
        self,
        name: str,
        *needs: str,
        start: Act | None = None,
        stop: Act | None = None,
        timeout: float = math.inf,
    ) -> Resource:
        """Make a part that writes down what it does, and does something besides."""

        @asynccontextmanager
        async def keep() -> AsyncIterator[str]:
            self.append(f"{name} starts")
            if start is not None:
                await start()
            self.append(f"{name} started")
            yield f"the {name}"
            self.append(f"{name} stops")
            if stop is not None:
                await stop()
            self.append(f"{name} stopped")

        return Resource(name, keep, needs, timeout)


class Life:
    """Parts in a loop, from ``async with`` on; they are cancelled at its end.

    Attributes:
        timings: the waits of its parts.
    """

    timings = DEFAULTS

    def __init__(self, *parts: Resource) -> None:
        self.timeline = Timeline()
        self.crashes: list[tuple[str, BaseException]] = []
        progress = Progress(self.timeline, self._record_crash, self.timings)
        self.parts = ResourceManager(parts, progress)
        self.group: anyio.abc.TaskGroup

    def _record_crash(self, name: str, failure: BaseException) -> None:
        self.crashes.append((name, failure))

    @property
    def running(self) -> list[str]:
        """The names of the parts that have a value."""
        return [name for name in self.outcomes("resource") if self._is_running(name)]

    def _is_running(self, name: str) -> bool:
        with suppress(LifecycleError):
            return self.parts.value(name) is not None
        return False

    async def __aenter__(self) -> Self:
        self.group = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        # A test that has failed waits for none of its parts.
        if exc is not None:
            await self.parts.stop(time.monotonic())
        return await self.group.__aexit__(kind, exc, trace)

    async def start(self, seconds: float = LONG) -> None:
        """Start them, within so many seconds."""
        with anyio.fail_after(2 * LONG):
            await self.parts.start(self.group, time.monotonic() + seconds, seconds)

    async def stop(self, seconds: float = LONG) -> list[BaseException]:
        """Stop them, within so many seconds, and give what went wrong."""
        with anyio.fail_after(2 * LONG):
            return await self.parts.stop(time.monotonic() + seconds)

    def outcomes(self, kind: str) -> dict[str, str]:
        """Return what has become of the steps of a kind."""
        return {step.name: step.outcome for step in self.timeline.steps if step.kind == kind}


def raising(failure: BaseException) -> Act:
    """Make something that fails at once."""

    async def fail() -> None:
        raise failure

    return fail


def enduring(gate: anyio.Event) -> Act:
    """Make something that ends when the gate opens, and not before; or after a long time."""

    async def endure() -> None:
        with anyio.move_on_after(LONG, shield=True):
            await gate.wait()

    return endure
