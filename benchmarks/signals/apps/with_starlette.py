"""Test application with a lifespan of Starlette, for uvicorn and hypercorn."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

from benchmarks.signals.apps.components import (
    CACHE,
    DATABASE,
    QUEUE,
    WITH_JOBS,
    WITH_QUEUE,
    WITH_WORK,
    Component,
    do_jobs,
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
    task = asyncio.create_task(work())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@asynccontextmanager
async def doing_jobs() -> AsyncIterator[None]:
    """Process jobs during the block, and complete the job in hand."""
    stopping = asyncio.Event()
    task = asyncio.create_task(do_jobs(stopping.is_set))
    yield
    stopping.set()
    await task


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
        if WITH_JOBS:
            await stack.enter_async_context(doing_jobs())
        report("ready")
        yield


app = create_app(lifespan)
