"""The application as components of asphalt."""

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

from benchmarks.signals.apps.trouble import (
    CACHE,
    DATABASE,
    PORT,
    QUEUE,
    WITH_HTTP,
    WITH_QUEUE,
    WITH_WORK,
    say,
    work,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Database:
    """What the cache needs."""


class Cache:
    """What the queue needs."""


class DatabaseComponent(Component):
    """Gives the database."""

    @context_teardown
    async def start(self, ctx: Context) -> AsyncGenerator[None, BaseException | None]:
        """Start above the yield, stop below it."""
        await DATABASE.start()
        ctx.add_resource(Database())
        yield
        await DATABASE.stop(asyncio.to_thread)


class CacheComponent(Component):
    """Gives the cache."""

    @context_teardown
    async def start(self, ctx: Context) -> AsyncGenerator[None, BaseException | None]:
        """Start above the yield, stop below it."""
        await ctx.request_resource(Database)
        await CACHE.start()
        ctx.add_resource(Cache())
        yield
        await CACHE.stop(asyncio.to_thread)


class QueueComponent(Component):
    """Gives the queue."""

    @context_teardown
    async def start(self, ctx: Context) -> AsyncGenerator[None, BaseException | None]:
        """Start above the yield, stop below it."""
        await ctx.request_resource(Cache)
        await QUEUE.start()
        yield
        await QUEUE.stop(asyncio.to_thread)


class WorkComponent(Component):
    """Does the background work."""

    @context_teardown
    async def start(self, ctx: Context) -> AsyncGenerator[None, BaseException | None]:
        """Start above the yield, stop below it."""
        await ctx.request_resource(Cache)
        task = asyncio.create_task(work())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Worker(ContainerComponent):
    """The application without HTTP."""

    async def start(self, ctx: Context) -> None:
        """Start what is in it."""
        add_components(self)
        await super().start(ctx)
        say("ready")


def add_components(to: ContainerComponent) -> None:
    """Say what the application consists of."""
    to.add_component("database", DatabaseComponent)
    to.add_component("cache", CacheComponent)
    if WITH_QUEUE:
        to.add_component("queue", QueueComponent)
    if WITH_WORK:
        to.add_component("work", WorkComponent)


def service() -> ContainerComponent:
    """Make the application with HTTP: asphalt-web starts the server after the components."""
    from asphalt.web.asgi3 import ASGIComponent  # noqa: PLC0415  (only where HTTP is concerned)

    from benchmarks.signals.apps.pages import pages  # noqa: PLC0415  (the same)

    class Service(ASGIComponent[Any]):
        async def start(self, ctx: Context) -> None:
            add_components(self)
            await super().start(ctx)
            say("ready")

    return Service(app=pages(), port=PORT)


if __name__ == "__main__":
    run_application(service() if WITH_HTTP else Worker())
