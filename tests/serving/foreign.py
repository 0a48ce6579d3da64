"""Applications for the command lines of servers: ``app`` passes ``boot.lifespan`` itself.

``wrapped`` is an application without it, in ``LifespanMiddleware``.

As a program, this module serves one of them by hypercorn on trio, because the exit status of
hypercorn's command line depends on the number of its processes.

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
    """The secrets of the application."""

    openai_api_key: Secret = secret(used_by="agents")


boot = Bootstrap(Secrets)


async def root(_: Request) -> PlainTextResponse:
    """Return a fixed text."""
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
