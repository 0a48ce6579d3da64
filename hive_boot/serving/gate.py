"""What stands before an application: it knows whether requests may come in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hive_boot.lifecycle.states import SERVING, State
from hive_boot.serving.endpoints import answer_probe, make_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot.bootstrap.status import Status
    from hive_boot.serving.asgi import App, Message, Receive, Scope, Send

_LEAVING = frozenset({State.DRAINING, State.STOPPING})
"""The states in which what is in flight ends, and clients are to go elsewhere."""

_ENDING = _LEAVING | {State.STOPPED, State.FORCED}

_RETRY = (b"retry-after", b"1")
"""Most starts are over in a second."""

_TRY_AGAIN_LATER = 1013
"""The code of a websocket that may be asked for again; registered with the IANA."""


class ReadinessMiddleware:
    """An application behind its probes.

    Before the application is ready everybody else is told to come again; while it drains,
    clients are asked to leave the connection that they would keep.

    Args:
        app: the application.
        status: describes the application at this moment; asked by probes, and while the
            application is not in use.
        state: what requests find in their ``state``; asked for each.
        phase: where the run stands at this moment; asked for each request. Default: what
            ``status`` says, which takes longer.

    Attributes:
        in_flight: the requests and websockets that the application is busy with.
    """

    def __init__(
        self,
        app: App,
        status: Callable[[], Status],
        state: Callable[[], dict[str, Any]],
        *,
        phase: Callable[[], State] | None = None,
    ) -> None:
        self.in_flight = 0
        self._app = app
        self._status = status
        self._values = state
        self._phase = phase or (lambda: status().state)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if await answer_probe(scope, send, self._status):
            return
        phase = self._phase()
        if not self._is_open(phase):
            await _reject(scope, receive, send, "stopping" if phase in _ENDING else "starting")
            return
        if scope["type"] == "http" and scope["http_version"].startswith("1"):
            send = self._with_connection_close(send)
        self.in_flight += 1
        try:
            # A shallow copy for each request, as ASGI asks of servers.
            # A part may be what is secret, so no variable holds them here.
            await self._app(
                {**scope, "state": {**scope.get("state", {}), **self._values()}}, receive, send
            )
        finally:
            self.in_flight -= 1

    def _is_open(self, phase: State) -> bool:
        # A start that fails is stopping as well.
        return phase in SERVING or (phase in _LEAVING and self._status().started)

    def _with_connection_close(self, send: Send) -> Send:
        """Close the connection after an answer that is given while the application leaves.

        HTTP/2 has no such header: https://www.rfc-editor.org/rfc/rfc9113#section-8.2.2
        """

        async def parting(message: Message) -> None:
            if message["type"] == "http.response.start" and self._phase() in _LEAVING:
                headers = [each for each in message.get("headers", ()) if not _is_connection(each)]
                message = {**message, "headers": [*headers, (b"connection", b"close")]}
            await send(message)

        return parting


def _is_connection(header: tuple[bytes, bytes]) -> bool:
    return header[0].lower() == b"connection"


async def _reject(scope: Scope, receive: Receive, send: Send, word: str) -> None:
    """Tell a client to come again."""
    kind = "http.response"
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER, "reason": word})
            return
        kind = "websocket.http.response"
    answer = make_response(503, f"{word}\n", _RETRY, head=scope.get("method") == "HEAD")
    start = {"type": f"{kind}.start", "status": answer.status, "headers": list(answer.headers)}
    await send(start)
    await send({"type": f"{kind}.body", "body": answer.body})
