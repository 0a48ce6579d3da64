"""An application whose own lifespan crashes, for the command lines of servers.

``STAGE`` is ``start``, ``grouped start`` for a group of errors, or ``stop``. As a program, the
module serves it by hypercorn on trio, whose command line cannot stop in order.

"""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Never

import anyio
from anyio.lowlevel import checkpoint
from starlette.applications import Starlette

from hive_boot import Bootstrap
from tests.canary.programs.declared import Canaries
from tests.canary.programs.telling import all_of, log_to_files, plainly

STAGE = os.environ["STAGE"]

boot = Bootstrap(Canaries, shutdown_timeout=60)

log = logging.getLogger("app")


async def fail(text: str) -> Never:
    """Raise an error with a cause and a note."""
    await checkpoint()
    error = RuntimeError(text)
    error.add_note(text)
    raise error from ValueError(plainly(boot.secrets))


async def crash() -> None:
    """Raise an error, or a group of two."""
    if "grouped" not in STAGE:
        await fail(all_of(boot.secrets))
    async with anyio.create_task_group() as group:
        group.start_soon(fail, plainly(boot.secrets))
        group.start_soon(fail, plainly(boot.secrets))


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Enter the lifespan of hive_boot, and raise at the stage."""
    async with boot.lifespan(app):
        log.warning("The lifespan has begun")
        if "start" in STAGE:
            await crash()
        try:
            yield
        finally:
            # A server may cancel what it could have asked to end: nothing is awaited here.
            raise RuntimeError(all_of(boot.secrets)) from ValueError(plainly(boot.secrets))


log_to_files()
app = Starlette(lifespan=lifespan)


async def serve() -> None:
    """Serve, and stop at once."""
    from hypercorn.config import Config  # noqa: PLC0415  (others are served by others)
    from hypercorn.trio import serve  # noqa: PLC0415

    config = Config()
    config.bind = ["127.0.0.1:0"]
    await serve(app, config, shutdown_trigger=checkpoint)  # type: ignore[arg-type]


if __name__ == "__main__":
    anyio.run(serve, backend="trio")
