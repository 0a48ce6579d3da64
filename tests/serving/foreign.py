"""Applications for the command lines of servers: ``app`` lives by ``boot.lifespan``.

``wrapped`` knows nothing of it, and is wrapped in what does.

As a program it is served by hypercorn on trio, whose command line decides its exit status
by its number of processes.
"""

import sys

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.serving.asgi import LifespanMiddleware


class Secrets(SecretSet):
    """What the application needs."""

    openai_api_key: Secret = secret(used_by="agents")


boot = Bootstrap(Secrets)


async def root(_: Request) -> PlainTextResponse:
    """Say that it is served."""
    return PlainTextResponse("served")


routes = [Route("/", root)]
app = Starlette(routes=routes, lifespan=boot.lifespan)
wrapped = LifespanMiddleware(Starlette(routes=routes), boot.lifespan, boot.status)


async def serve(name: str, address: str) -> None:
    """Serve until the end."""
    from hypercorn.config import Config  # noqa: PLC0415  (others are served by others)
    from hypercorn.trio import serve  # noqa: PLC0415

    config = Config()
    config.bind = [address]
    await serve(globals()[name], config)


if __name__ == "__main__":
    _, name, address = sys.argv
    anyio.run(serve, name, address, backend="trio")
