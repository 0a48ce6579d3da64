"""The application in the lifespan of Starlette, for uvicorn and hypercorn."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from benchmarks.signals.apps.pages import pages
from benchmarks.signals.apps.trouble import (
    CACHE,
    DATABASE,
    QUEUE,
    WITH_QUEUE,
    WITH_WORK,
    Component,
    say,
    work,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.applications import Starlette


@asynccontextmanager
async def using(component: Component) -> AsyncIterator[None]:
    """Have a component for a while."""
    await component.start()
    try:
        yield
    finally:
        await component.stop(asyncio.to_thread)


@asynccontextmanager
async def working() -> AsyncIterator[None]:
    """Have the background work done for a while."""
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        yield
        group.cancel_scope.cancel()


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    """Start what the application needs, and stop it."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(using(DATABASE))
        await stack.enter_async_context(using(CACHE))
        if WITH_QUEUE:
            await stack.enter_async_context(using(QUEUE))
        if WITH_WORK:
            await stack.enter_async_context(working())
        say("ready")
        yield


app = pages(lifespan)
