"""The ASGI application that every subject serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from benchmarks.signals.apps.trouble import answer_slowly

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Lifespan


async def quick(_request: Request) -> PlainTextResponse:
    """Answer at once."""
    return PlainTextResponse("ok")


async def slow(_request: Request) -> PlainTextResponse:
    """Answer when most of the others would have given up."""
    return PlainTextResponse(await answer_slowly())


def pages(lifespan: Lifespan[Starlette] | None = None) -> Starlette:
    """Make the application, with the lifespan of a subject that has no other place."""
    return Starlette(routes=[Route("/", quick), Route("/slow", slow)], lifespan=lifespan)
