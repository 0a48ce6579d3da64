"""Test application with a configuration of dynamic-config-py, which it loads at each tick.

The watcher of the library follows configuration files. It refuses a configuration that consists of
a directory of secrets.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Self

from dynamic_config import DynamicConfig, DynamicConfigError
from pydantic import BaseModel, Field, create_model, model_validator

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


class Base(BaseModel):
    """Values with the rules of the application."""

    @model_validator(mode="after")
    def pair_fits(self) -> Self:
        """Check the certificate and its key."""
        check_pair()
        return self


_fields: dict[str, Any] = {name: (str, Field(min_length=MIN_LENGTH)) for name in NAMES}
Values: type[Base] = create_model("Values", __base__=Base, **_fields)


async def main() -> None:
    """Load candidates, and install those that are valid and whose login works."""
    config = DynamicConfig(Values, key="").whole_document().secrets_dir(str(DIRECTORY))
    await config.init_async()
    context = load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    async def follow() -> None:
        while True:
            await asyncio.sleep(TICK)
            try:
                candidate = await config.load_async()
                if candidate != config.current():
                    await log_in(getattr(candidate, PASSWORD))
                    load_pair(context)
                    config.replace(candidate)
            except (OSError, DynamicConfigError) as exc:
                print(f"the configuration stays as it is: {type(exc).__name__}")

    await asyncio.gather(follow(), serve(lambda: config.current().model_dump(), context))


if __name__ == "__main__":
    asyncio.run(main())
