"""Test application with a lifespan of Starlette, for uvicorn and hypercorn."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from benchmarks.signals.apps.components import (
    CACHE,
    DATABASE,
    QUEUE,
    WITH_QUEUE,
    WITH_WORK,
    Component,
    report,
    work,
)
from benchmarks.signals.apps.web import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.applications import Starlette


@asynccontextmanager
async def using(component: Component) -> AsyncIterator[None]:
    """Start a component for the block, and stop it at the end."""
    await component.start()
    try:
        yield
    finally:
        await component.stop(asyncio.to_thread)


@asynccontextmanager
async def working() -> AsyncIterator[None]:
    """Run the background work during the block."""
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        yield
        group.cancel_scope.cancel()


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    """Start the components of the application, and stop them in reverse order."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(using(DATABASE))
        await stack.enter_async_context(using(CACHE))
        if WITH_QUEUE:
            await stack.enter_async_context(using(QUEUE))
        if WITH_WORK:
            await stack.enter_async_context(working())
        report("ready")
        yield


app = create_app(lifespan)
