"""Resources that record their steps, and a task group in which they run."""

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
"""A timeout that is never reached, in seconds."""


class Diary(list[str]):
    """Recorded events, in order."""

    def resource(
        self,
        name: str,
        *needs: str,
        start: Act | None = None,
        stop: Act | None = None,
        timeout: float = math.inf,
    ) -> Resource:
        """Return a resource that records its steps, and runs ``start`` and ``stop``."""

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
    """Resources in a task group, from ``async with`` on; they are cancelled at its end.

    Attributes:
        timings: the timings of the resources.
    """

    timings = DEFAULTS

    def __init__(self, *resources: Resource) -> None:
        self.timeline = Timeline()
        self.crashes: list[tuple[str, BaseException]] = []
        progress = Progress(self.timeline, self._record_crash, self.timings)
        self.resources = ResourceManager(resources, progress)
        self.group: anyio.abc.TaskGroup

    def _record_crash(self, name: str, failure: BaseException) -> None:
        self.crashes.append((name, failure))

    @property
    def running(self) -> list[str]:
        """The names of the resources that have a value."""
        return [name for name in self.outcomes("resource") if self._is_running(name)]

    def _is_running(self, name: str) -> bool:
        with suppress(LifecycleError):
            return self.resources.value(name) is not None
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
        # After a failure of the test, cancel the resources instead of waiting for their stop.
        if exc is not None:
            await self.resources.stop(time.monotonic())
        return await self.group.__aexit__(kind, exc, trace)

    async def start(self, seconds: float = LONG) -> None:
        """Start the resources within ``seconds``."""
        with anyio.fail_after(2 * LONG):
            await self.resources.start(self.group, time.monotonic() + seconds, seconds)

    async def stop(self, seconds: float = LONG) -> list[BaseException]:
        """Stop the resources within ``seconds``, and return the failures."""
        with anyio.fail_after(2 * LONG):
            return await self.resources.stop(time.monotonic() + seconds)

    def outcomes(self, kind: str) -> dict[str, str]:
        """Return the outcome of each step of a kind, by name."""
        return {step.name: step.outcome for step in self.timeline.steps if step.kind == kind}


def raising(failure: BaseException) -> Act:
    """Return a function that raises ``failure``."""

    async def fail() -> None:
        raise failure

    return fail


def enduring(gate: anyio.Event) -> Act:
    """Return a function that ignores cancellation until ``gate`` is set, or for 20 s."""

    async def endure() -> None:
        with anyio.move_on_after(LONG, shield=True):
            await gate.wait()

    return endure
