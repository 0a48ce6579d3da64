"""The application as services of aiomisc, which find each other in the context."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiomisc import Service, entrypoint
from aiomisc.service.sdwatchdog import SDWatchdogService

from benchmarks.signals.apps.trouble import (
    CACHE,
    DATABASE,
    PORT,
    QUEUE,
    STOP_TIMEOUT,
    WITH_HTTP,
    WITH_QUEUE,
    WITH_WORK,
    say,
    work,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Database(Service):
    """Gives the database."""

    async def start(self) -> None:
        """Start."""
        await DATABASE.start()
        self.context["database"] = True

    async def stop(self, exception: Exception | None = None) -> None:  # noqa: ARG002  (aiomisc's)
        """Stop."""
        await DATABASE.stop(asyncio.to_thread)


class Cache(Service):
    """Gives the cache."""

    async def start(self) -> None:
        """Start."""
        await self.context["database"]
        await CACHE.start()
        self.context["cache"] = True

    async def stop(self, exception: Exception | None = None) -> None:  # noqa: ARG002  (aiomisc's)
        """Stop."""
        await CACHE.stop(asyncio.to_thread)


class Queue(Service):
    """Gives the queue."""

    async def start(self) -> None:
        """Start."""
        await self.context["cache"]
        await QUEUE.start()

    async def stop(self, exception: Exception | None = None) -> None:  # noqa: ARG002  (aiomisc's)
        """Stop."""
        await QUEUE.stop(asyncio.to_thread)


class Work(Service):
    """Does the background work: what comes after the event goes on in the background."""

    async def start(self) -> None:
        """Start, and work."""
        await self.context["cache"]
        self.start_event.set()
        await work()


def services() -> Iterator[Service]:
    """Say what the application consists of."""
    yield SDWatchdogService()
    yield Database()
    yield Cache()
    if WITH_QUEUE:
        yield Queue()
    if WITH_WORK:
        yield Work()
    if WITH_HTTP:
        yield http()


def http() -> Service:
    """Make the service that serves."""
    from aiomisc.service.uvicorn import UvicornService  # noqa: PLC0415  (only where HTTP is)
    from starlette.applications import Starlette  # noqa: PLC0415, TC002  (the same)

    from benchmarks.signals.apps.pages import pages  # noqa: PLC0415  (the same)

    class Http(UvicornService):
        async def create_application(self) -> Starlette:
            await self.context["cache"]
            return pages()

    return Http(host="127.0.0.1", port=PORT, timeout_graceful_shutdown=STOP_TIMEOUT)


if __name__ == "__main__":
    with entrypoint(*services(), shutdown_timeout=STOP_TIMEOUT) as loop:
        say("ready")
        loop.run_forever()
