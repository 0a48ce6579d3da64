"""Test application that creates its settings of pydantic-settings again at each tick."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Self

from pydantic import Field, ValidationError, create_model, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from benchmarks.rotations.apps.common import (
    DIRECTORY,
    MIN_LENGTH,
    NAMES,
    PASSWORD,
    TICK,
    check_pair,
    load_pair,
    log_in,
    serve,
)


class Base(BaseSettings):
    """Settings with the rules of the application."""

    model_config = SettingsConfigDict(secrets_dir=DIRECTORY)

    @model_validator(mode="after")
    def pair_fits(self) -> Self:
        """Check the certificate and its key."""
        check_pair()
        return self


_fields: dict[str, Any] = {name: (str, Field(min_length=MIN_LENGTH)) for name in NAMES}
Settings: type[Base] = create_model("Settings", __base__=Base, **_fields)


async def main() -> None:
    """Create the settings, and put new ones in use when they are valid and the login works."""
    settings = Settings()
    context = load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def current() -> dict[str, str]:
        return settings.model_dump()

    async def follow() -> None:
        nonlocal settings
        while True:
            await asyncio.sleep(TICK)
            try:
                fresh = Settings()
                if fresh != settings:
                    await log_in(getattr(fresh, PASSWORD))
                    load_pair(context)
                    settings = fresh
            except (OSError, SettingsError, ValidationError) as exc:
                print(f"the settings stay as they are: {type(exc).__name__}")

    await asyncio.gather(follow(), serve(current, context))


if __name__ == "__main__":
    asyncio.run(main())
