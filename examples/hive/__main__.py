"""Serve HIVE: ``python -m examples.hive``."""

import logging

import uvicorn

from examples.hive.app import app, boot
from examples.hive.settings import Settings


@boot.main
async def serve(settings: Settings) -> None:
    """Serve until a signal comes.

    uvicorn answers what is in flight, and then raises the signal once more for
    ``boot.run``, which stops in order and exits with 0.
    """
    logging.getLogger().setLevel(settings.log_level)
    config = uvicorn.Config(
        app,
        host=settings.bind_host,
        port=settings.port,
        log_config=None,
        timeout_graceful_shutdown=8,
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(levelname)-7s %(name)s: %(message)s")
    boot.run()
