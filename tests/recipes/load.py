"""Load on a recipe: the program that calls it until it is stopped, and prints the results."""

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from functools import partial
from importlib import import_module
from operator import eq
from typing import Any

import anyio

from hive_boot import Bootstrap
from tests.support import until

WORKERS = 8
"""More than a pool of SQLAlchemy retains, so that it opens new connections all the time."""

RECIPE = import_module(sys.argv[1])

FIELD = sys.argv[2]

ACTIVATE = anyio.Path("activate")
"""A file that ends every ``activate_after``: the test cannot know how long its steps take."""

boot: Bootstrap[Any, Any] = import_module("app").boot


async def send_message() -> None:
    """Send a message to the SMTP server."""
    message = EmailMessage()
    message["From"] = message["To"] = "orders@example.com"
    await RECIPE.send(message)


_tokens: deque[str] = deque()


async def sign_and_verify() -> None:
    """Verify a token that was signed some calls ago."""
    _tokens.append(RECIPE.sign({"exp": time.time() + 60}))
    if len(_tokens) > WORKERS:
        RECIPE.verify(_tokens.popleft())


CALLS: dict[str, Callable[[], Awaitable[object]]] = {
    "with_aiosmtplib": send_message,
    "with_pyjwt": sign_and_verify,
}
"""The calls of the recipes that have no function without parameters."""


def call_of(recipe: Any) -> Callable[[], Awaitable[object]]:  # noqa: ANN401  (a module)
    """Return the function of a recipe that uses the client once."""
    return CALLS.get(recipe.__name__) or getattr(recipe, "count", None) or recipe.get


def are_complete(calls: list[int], begun: tuple[int, ...]) -> bool:
    """Check that every worker has completed the call that it was in."""
    return not any(map(eq, calls, begun))


@boot.main(grace_period=5)
async def main() -> None:
    """Call the recipe from several tasks, and print each change of the accepted values."""
    call, calls, failures = call_of(RECIPE), [0] * WORKERS, []

    async def work(worker: int) -> None:
        while not boot.stopping.is_set():
            try:
                await call()
            except Exception as exc:  # noqa: BLE001  (each failure counts)
                failures.append(repr(exc))
            calls[worker] += 1
            await asyncio.sleep(0.002)

    async def report() -> None:
        accepted: tuple[object, ...] = ()
        while not boot.stopping.is_set():
            now = boot.accepted(FIELD)
            if now != accepted:
                accepted = now
                # Calls that have begun before may still use another value.
                await until(partial(are_complete, calls, tuple(calls)))
                print("accepted", *(each.reveal() for each in now))  # noqa: T201
            if await ACTIVATE.exists():
                await ACTIVATE.unlink()
                await boot.reload(now=True)
            await asyncio.sleep(0.005)

    await asyncio.gather(report(), *(work(worker) for worker in range(WORKERS)))
    print(json.dumps({"calls": sum(calls), "failures": failures}))  # noqa: T201


if __name__ == "__main__":
    boot.run()
