"""The requests in flight, so that those which do not end in time can be ended."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from hive_boot.serving.asgi import App, Message, Receive, Scope, Send

_log = logging.getLogger("hive_boot")

_OPEN = frozenset({"websocket.accept", "websocket.send"})
"""What is sent on a websocket that stays open."""

_RESTART = 1012
"""The code of a websocket whose server is about to be replaced; registered with the IANA."""


class InFlightRequests:
    """An application, as a server calls it, whose requests can be ended.

    The server need not know what a lifespan is: somebody else has started the application.

    Args:
        app: the application.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._lives: set[anyio.CancelScope] = set()
        self._are_over = False

    def end(self) -> None:
        """Cancel the requests in flight, and those that are still to come."""
        if self._lives:
            count = len(self._lives)
            _log.warning(
                "%d request%s did not end in time and %s cancelled",
                count,
                "" if count == 1 else "s",
                "is" if count == 1 else "are",
            )
        self._are_over = True
        for life in self._lives:
            life.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application."""
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        is_answered = False

        async def watch(message: Message) -> None:
            nonlocal is_answered
            is_answered = message["type"] not in _OPEN
            await send(message)

        with anyio.CancelScope() as life:
            self._lives.add(life)
            if self._are_over:
                life.cancel()
            try:
                await self._app(scope, receive, watch)
            finally:
                self._lives.discard(life)
        if life.cancelled_caught and not is_answered:
            await _send_unavailable(scope, send)


async def _send_unavailable(scope: Scope, send: Send) -> None:
    """Say that the request was not answered, while it can still be said."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _RESTART})
        return
    headers = [(b"content-length", b"0")]
    if scope["http_version"].startswith("1"):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body"})
