"""Serve HIVE: ``python -m examples.hive``."""

import logging

from pydantic import ValidationError

from examples.hive.app import app, boot
from examples.hive.settings import Settings


@boot.resource
async def log_level(settings: Settings) -> None:
    """Set the log level of the settings."""
    logging.getLogger().setLevel(settings.log_level)


def where() -> Settings:
    """Return the settings for the socket, which is opened before the secrets are read.

    The start reports invalid settings together with all other problems.
    """
    try:
        return Settings()
    except ValidationError:
        return Settings.model_construct(port=0)


if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(levelname)-7s %(name)s: %(message)s")
    settings = where()
    boot.serve(app, host=settings.bind_host, port=settings.port)
