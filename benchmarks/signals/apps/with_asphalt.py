"""Test application with components of asphalt."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from asphalt.core import (
    Component,
    ContainerComponent,
    Context,
    context_teardown,
    run_application,
)

from benchmarks.signals.apps.components import (
    CACHE,
    DATABASE,
    PORT,
    QUEUE,
    WITH_HTTP,
    WITH_JOBS,
    WITH_QUEUE,
    WITH_WORK,
    do_jobs,
    report,
    work,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Database:
    """Resource that the cache depends on."""


class Cache:
    """Resource that the queue depends on."""


class DatabaseComponent(Component):
    """Component of the database."""

    @context_teardown
    async def start(self, ctx: Context) -> AsyncGenerator[None, BaseException | None]:
        """Start above the yield, stop below it."""
        await DATABASE.start()
        ctx.add_resource(Database())
        yield
        await DATABASE.stop(asyncio.to_thread)


class CacheComponent(Component):
    """Component of the cache."""

    @context_teardown
    async def start(self, ctx: Context) -> AsyncGenerator[None, BaseException | None]:
        """Start above the yield, stop below it."""
        await ctx.request_resource(Database)
        await CACHE.start()
        ctx.add_resource(Cache())
        yield
        await CACHE.stop(asyncio.to_thread)


class QueueComponent(Component):
    """Component of the queue."""

    @context_teardown
    async def start(self, ctx: Context) -> AsyncGenerator[None, BaseException | None]:
        """Start above the yield, stop below it."""
        await ctx.request_resource(Cache)
        await QUEUE.start()
        yield
        await QUEUE.stop(asyncio.to_thread)


class WorkComponent(Component):
    """Component of the background work."""

    @context_teardown
    async def start(self, ctx: Context) -> AsyncGenerator[None, BaseException | None]:
        """Start above the yield, stop below it."""
        await ctx.request_resource(Cache)
        task = asyncio.create_task(work())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class JobsComponent(Component):
    """Component of the jobs, which completes the job in hand."""

    @context_teardown
    async def start(self, ctx: Context) -> AsyncGenerator[None, BaseException | None]:
        """Start above the yield, stop below it."""
        await ctx.request_resource(Cache)
        stopping = asyncio.Event()
        task = asyncio.create_task(do_jobs(stopping.is_set))
        yield
        stopping.set()
        await task


class Worker(ContainerComponent):
    """The application without HTTP."""

    async def start(self, ctx: Context) -> None:
        """Start the components."""
        add_components(self)
        await super().start(ctx)
        report("ready")


def add_components(to: ContainerComponent) -> None:
    """Add the components of the application."""
    to.add_component("database", DatabaseComponent)
    to.add_component("cache", CacheComponent)
    if WITH_QUEUE:
        to.add_component("queue", QueueComponent)
    if WITH_WORK:
        to.add_component("work", WorkComponent)
    if WITH_JOBS:
        to.add_component("jobs", JobsComponent)


def service() -> ContainerComponent:
    """Return the application with HTTP; asphalt-web starts the server after the components."""
    from asphalt.web.asgi3 import ASGIComponent  # noqa: PLC0415  (only with HTTP)

    from benchmarks.signals.apps.web import create_app  # noqa: PLC0415  (the same)

    class Service(ASGIComponent[Any]):
        async def start(self, ctx: Context) -> None:
            add_components(self)
            await super().start(ctx)
            report("ready")

    return Service(app=create_app(), port=PORT)


if __name__ == "__main__":
    run_application(service() if WITH_HTTP else Worker())
