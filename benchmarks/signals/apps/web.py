"""The ASGI application that every subject serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from benchmarks.signals.apps.components import answer_slowly

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Lifespan


async def quick(_request: Request) -> PlainTextResponse:
    """Answer immediately."""
    return PlainTextResponse("ok")


async def slow(_request: Request) -> PlainTextResponse:
    """Answer after 2 s."""
    return PlainTextResponse(await answer_slowly())


def create_app(lifespan: Lifespan[Starlette] | None = None) -> Starlette:
    """Return the application, with the lifespan of a subject that needs one."""
    return Starlette(routes=[Route("/", quick), Route("/slow", slow)], lifespan=lifespan)
