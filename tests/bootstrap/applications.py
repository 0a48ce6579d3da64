"""Applications with parts and services, and what is seen of them while they run."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel

from hive_boot import Bootstrap, Secret, SecretSet

VALUE = "fake-jwt-secret-0123456789-0123456789"

PATIENCE = 20
"""Seconds after which a test that waits has failed."""


class Needs(SecretSet):
    """What the application needs."""

    jwt_secret: Secret


@dataclass
class Settings:
    """What is not secret."""

    port: int = 3000


def application(**more: Any) -> Bootstrap[Needs, Settings]:  # noqa: ANN401  (what Bootstrap takes)
    """Declare an application whose secrets are variables."""
    return Bootstrap(Needs, config=Settings, mode="environment", **more)


class Meeting:
    """A place where several have to be at the same time, or none goes on."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._all_there = anyio.Event()

    async def come(self) -> None:
        """Wait until all are there."""
        self._number -= 1
        if not self._number:
            self._all_there.set()
        await self._all_there.wait()


async def run_once(boot: Bootstrap[Any, Any], body: Callable[[], Awaitable[object]]) -> None:
    """Start an application, be in its block, and stop it."""
    async with boot.running():
        await body()


def outcomes(boot: Bootstrap[Any, Any], kind: str) -> list[tuple[str, str]]:
    """Give the steps of a kind on the timeline, and what has become of them."""
    return [(step.name, step.outcome) for step in boot.status().timeline if step.kind == kind]


async def sleep_in_a_group_of_the_loop() -> None:
    """Use what the loop itself has for several tasks, and not anyio's."""
    native: Any = anyio.lowlevel.current_token().native_token
    if hasattr(native, "run_sync_soon"):
        import trio  # noqa: PLC0415  (the loop that this runs in)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)
    else:
        async with asyncio.TaskGroup() as group:
            group.create_task(anyio.sleep_forever())
            group.create_task(anyio.sleep_forever())
