"""Test application with services of aiomisc, which wait for each other in the context."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiomisc import Service, entrypoint
from aiomisc.service.sdwatchdog import SDWatchdogService

from benchmarks.signals.apps.components import (
    CACHE,
    DATABASE,
    PORT,
    QUEUE,
    STOP_TIMEOUT,
    WITH_HTTP,
    WITH_JOBS,
    WITH_QUEUE,
    WITH_WORK,
    do_jobs,
    report,
    work,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Database(Service):
    """Service of the database."""

    async def start(self) -> None:
        """Start."""
        await DATABASE.start()
        self.context["database"] = True

    async def stop(self, exception: Exception | None = None) -> None:  # noqa: ARG002  (the signature of aiomisc)
        """Stop."""
        await DATABASE.stop(asyncio.to_thread)


class Cache(Service):
    """Service of the cache."""

    async def start(self) -> None:
        """Start."""
        await self.context["database"]
        await CACHE.start()
        self.context["cache"] = True

    async def stop(self, exception: Exception | None = None) -> None:  # noqa: ARG002  (the signature of aiomisc)
        """Stop."""
        await CACHE.stop(asyncio.to_thread)


class Queue(Service):
    """Service of the queue."""

    async def start(self) -> None:
        """Start."""
        await self.context["cache"]
        await QUEUE.start()

    async def stop(self, exception: Exception | None = None) -> None:  # noqa: ARG002  (the signature of aiomisc)
        """Stop."""
        await QUEUE.stop(asyncio.to_thread)


class Work(Service):
    """Service of the background work; aiomisc runs the code after the event in the background."""

    async def start(self) -> None:
        """Signal the start, and run the work."""
        await self.context["cache"]
        self.start_event.set()
        await work()


class Jobs(Service):
    """Service of the jobs, which completes the job in hand."""

    async def start(self) -> None:
        """Start the jobs in the background."""
        await self.context["cache"]
        self.stopping = asyncio.Event()
        self.task = asyncio.create_task(do_jobs(self.stopping.is_set))

    async def stop(self, exception: Exception | None = None) -> None:  # noqa: ARG002  (the signature of aiomisc)
        """Complete the job in hand."""
        self.stopping.set()
        await self.task


def services() -> Iterator[Service]:
    """Return the services of the application."""
    yield SDWatchdogService()
    yield Database()
    yield Cache()
    if WITH_QUEUE:
        yield Queue()
    if WITH_WORK:
        yield Work()
    if WITH_JOBS:
        yield Jobs()
    if WITH_HTTP:
        yield http()


def http() -> Service:
    """Return the HTTP service."""
    from aiomisc.service.uvicorn import UvicornService  # noqa: PLC0415  (only with HTTP)
    from starlette.applications import Starlette  # noqa: PLC0415, TC002  (the same)

    from benchmarks.signals.apps.web import create_app  # noqa: PLC0415  (the same)

    class Http(UvicornService):
        async def create_application(self) -> Starlette:
            await self.context["cache"]
            return create_app()

    return Http(host="127.0.0.1", port=PORT, timeout_graceful_shutdown=STOP_TIMEOUT)


if __name__ == "__main__":
    with entrypoint(*services(), shutdown_timeout=STOP_TIMEOUT) as loop:
        report("ready")
        loop.run_forever()
