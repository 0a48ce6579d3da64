"""Web applications on uvicorn, as child processes of ``request``.

``python -m benchmarks.served NAME PORT`` prints ``@ready`` when it accepts connections. ``/`` is a
route that does nothing, and ``/cpu`` returns the processor time of the process in seconds.
"""

from __future__ import annotations

import ctypes
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import Depends, FastAPI, Request
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from hive_boot import Bootstrap, Secret, SecretSet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hive_boot.serving.endpoints import App

_ANSWER = {"answer": 42}
_BACKLOG = 128

_PR_SET_PDEATHSIG = 1
"""Linux sends a signal when the parent ends, also if it was killed (``man 2 prctl``)."""


class WebSecrets(SecretSet):
    """One secret."""

    api_key: Secret


class Pool:
    """A resource without any work."""


boot = Bootstrap(WebSecrets)


@boot.resource
async def pool(secrets: WebSecrets) -> AsyncIterator[Pool]:
    """Start and stop nothing."""
    del secrets
    yield Pool()


_plain_pool = Pool()


async def plain_pool() -> Pool:
    """Return an object of the module, as an application without hive_boot does."""
    return _plain_pool


def starlette() -> Starlette:
    """Return an application of Starlette."""

    async def root(_: Request) -> JSONResponse:
        return JSONResponse(_ANSWER)

    async def cpu(_: Request) -> JSONResponse:
        return JSONResponse(time.process_time())

    return Starlette(routes=[Route("/", root), Route("/cpu", cpu)])


def fastapi(lifespan: Any = None) -> FastAPI:  # noqa: ANN401  (of Starlette or of hive_boot)
    """Return an application of FastAPI."""
    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def root() -> dict[str, int]:
        return _ANSWER

    return _with_cpu(app)


def depends(dependency: Any, lifespan: Any = None) -> FastAPI:  # noqa: ANN401  (of FastAPI and Starlette)
    """Return an application of FastAPI whose route has a dependency."""
    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def root(it: Any = Depends(dependency)) -> dict[str, int]:  # noqa: ANN401, B008, FAST002
        del it
        return _ANSWER

    return _with_cpu(app)


def _with_cpu(app: FastAPI) -> FastAPI:
    @app.get("/cpu")
    async def cpu() -> float:
        return time.process_time()

    return app


APPS: dict[str, Callable[[], App]] = {
    "starlette": starlette,
    "starlette-asgi": lambda: boot.asgi(starlette()),
    "fastapi": fastapi,
    "fastapi-asgi": lambda: boot.asgi(fastapi()),
    "fastapi-lifespan": lambda: fastapi(boot.lifespan),
    "depends": lambda: depends(plain_pool),
    "depends-resource": lambda: depends(pool, boot.lifespan),
    "depends-resource-asgi": lambda: boot.asgi(depends(pool)),
}
"""The applications by name."""


def main(name: str, port: str) -> None:
    """Serve an application until the process is killed."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", int(port)))
        sock.listen(_BACKLOG)
        print("@ready", flush=True)
        config = uvicorn.Config(APPS[name](), access_log=False, log_level="warning")
        uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    main(*sys.argv[1:])
