"""Test application with settings of dynaconf, which it reloads at each tick.

``@read_file`` is the converter of dynaconf for a secret in a file.
"""

from __future__ import annotations

import asyncio
import os
import ssl

from dynaconf import Dynaconf, ValidationError, Validator

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


async def main() -> None:
    """Reload the settings, and act on those that are valid."""
    for name in NAMES:
        os.environ[f"BENCH_{name.upper()}"] = f"@read_file {DIRECTORY / name}"
    settings = Dynaconf(
        envvar_prefix="BENCH",
        validators=[Validator(*NAMES, must_exist=True, len_min=MIN_LENGTH)],
    )
    context = load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def current() -> dict[str, str]:
        return {name: settings[name] for name in NAMES}

    async def follow() -> None:
        known = current()
        while True:
            await asyncio.sleep(TICK)
            try:
                settings.reload()
                settings.validators.validate()
                check_pair()
                if (found := current()) != known:
                    await log_in(found[PASSWORD])
                    load_pair(context)
                    known = found
            except (OSError, ValueError, ValidationError) as exc:
                print(f"the reload failed: {type(exc).__name__}")

    await asyncio.gather(follow(), serve(current, context))


if __name__ == "__main__":
    asyncio.run(main())
