"""Test applications with a loop over the changes of the directory, which reads all files again.

With the argument ``careful`` new values are used only when they are valid and the login works, and
``yield_on_timeout`` makes the loop read every 5 s without a change too, so that it finds what the
kernel did not report. Without it the values are used as they are.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

from watchfiles import awatch

from benchmarks.rotations.apps.common import (
    DIRECTORY,
    MIN_LENGTH,
    NAMES,
    PASSWORD,
    check_pair,
    load_pair,
    log_in,
    serve,
)

CAREFUL = "careful" in sys.argv


def read() -> dict[str, str]:
    """Return the values of all files.

    Raises:
        OSError: a file cannot be read.
    """
    return {name: (DIRECTORY / name).read_text("utf-8").rstrip("\n") for name in NAMES}


async def check(values: dict[str, str]) -> None:
    """Check the rules and the login.

    Raises:
        OSError: the login is refused.
        ValueError: a value violates a rule.
    """
    if any(len(value) < MIN_LENGTH for value in values.values()):
        message = "a value is too short"
        raise ValueError(message)
    check_pair()
    await log_in(values[PASSWORD])


async def main() -> None:
    """Read at each change, and use the values."""
    values = read()
    context = load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    async def follow() -> None:
        nonlocal values
        async for _ in awatch(DIRECTORY, yield_on_timeout=CAREFUL):
            try:
                fresh = read()
                if CAREFUL and fresh != values:
                    await check(fresh)
                values = fresh
                load_pair(context)
            except (OSError, ValueError) as exc:
                print(f"the values were not read: {type(exc).__name__}")

    await asyncio.gather(follow(), serve(lambda: values, context))


if __name__ == "__main__":
    asyncio.run(main())
