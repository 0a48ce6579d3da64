"""Test application with resources of hive_boot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from benchmarks.signals.apps.components import (
    CACHE,
    DATABASE,
    DRAIN,
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
from hive_boot import Bootstrap, SecretSet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class NoSecrets(SecretSet):
    """An empty declaration: this application has no secrets."""


boot = Bootstrap(
    NoSecrets, shutdown_delay=DRAIN if WITH_HTTP else None, shutdown_timeout=STOP_TIMEOUT
)


@boot.resource
async def database() -> AsyncIterator[bool]:
    """Start above the yield, stop below it."""
    await DATABASE.start()
    yield True
    await DATABASE.stop(anyio.to_thread.run_sync)


@boot.resource
async def cache(database: bool) -> AsyncIterator[bool]:  # noqa: ARG001, FBT001  (a dependency)
    """Start above the yield, stop below it."""
    await CACHE.start()
    yield True
    await CACHE.stop(anyio.to_thread.run_sync)


if WITH_QUEUE:

    @boot.resource
    async def queue(cache: bool) -> AsyncIterator[bool]:  # noqa: ARG001, FBT001  (a dependency)
        """Start above the yield, stop below it."""
        await QUEUE.start()
        yield True
        await QUEUE.stop(anyio.to_thread.run_sync)


if WITH_WORK:

    @boot.service(restart="never")
    async def background(cache: bool) -> None:  # noqa: ARG001, FBT001  (a dependency)
        """Run the background work."""
        await work()


if WITH_JOBS:

    @boot.service(grace_period=STOP_TIMEOUT)
    async def jobs(cache: bool) -> None:  # noqa: ARG001, FBT001  (a dependency)
        """Process jobs."""
        await do_jobs(boot.stopping.is_set)


if not WITH_HTTP:

    @boot.main
    async def main() -> None:
        """Report readiness and wait for the stop."""
        report("ready")
        await anyio.sleep_forever()


if __name__ == "__main__":
    if WITH_HTTP:
        from benchmarks.signals.apps.web import create_app

        boot.serve(create_app(), host="127.0.0.1", port=PORT)
    else:
        boot.run()
