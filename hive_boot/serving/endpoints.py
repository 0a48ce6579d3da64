"""HTTP endpoints: probes, health, status and metrics, as an ASGI application."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple

from hive_boot._timings import DEFAULTS
from hive_boot.lifecycle.states import SERVING, State
from hive_boot.redaction.registry import redact

if TYPE_CHECKING:
    from collections.abc import Collection

    from hive_boot._timings import Timings
    from hive_boot.runtime.status import Status

Scope = MutableMapping[str, Any]
"""What is known of a connection before anything is said."""


Message = MutableMapping[str, Any]
"""What a server and an application say to each other."""


Receive = Callable[[], Awaitable[Message]]


Send = Callable[[Message], Awaitable[None]]


App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An application."""


class ProbeResult(NamedTuple):
    """What a probe is told.

    Attributes:
        status: the status of HTTP: 200 or 503.
        text: why, in a word.
    """

    status: int
    text: str


def liveness(state: State) -> ProbeResult:
    """Say whether the process has to be replaced: never, while it can still answer.

    Args:
        state: where the run stands.
    """
    return ProbeResult(200, state)


def readiness(state: State) -> ProbeResult:
    """Say whether requests may come.

    Args:
        state: where the run stands.
    """
    return ProbeResult(200 if state in SERVING else 503, state)


def startup(state: State, *, started: bool) -> ProbeResult:
    """Say whether the start is over; it stays so.

    Args:
        state: where the run stands.
        started: whether the run has been ready.
    """
    return ProbeResult(200 if started else 503, state)


PROBES = ("/livez", "/readyz", "/startupz")
"""What a kubelet asks; the answers hold no name."""


PATHS = (*PROBES, "/health", "/boot", "/boot.json", "/metrics")
"""All the endpoints."""


_PAGE_FILES = ("/boot.css", "/boot.js")
"""Files that the page at ``/boot`` loads."""


_TEXT = "text/plain; charset=utf-8"


class Response(NamedTuple):
    """An answer of HTTP.

    Attributes:
        status: the status.
        headers: names in lower case, and values.
        body: what follows; empty for a HEAD.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def handle_request(  # noqa: PLR0913  (a request, the application, and what is asked of it)
    method: str,
    path: str,
    status: Status,
    *,
    name: str = "",
    accept: str = "",
    only: Collection[str] = PATHS,
    timings: Timings = DEFAULTS,
) -> Response:
    """Answer one request.

    Args:
        method: the method.
        path: the path, below whatever the endpoints are mounted at.
        status: the application at this moment.
        name: what people call the application.
        accept: the header ``Accept``; it matters to ``/metrics`` alone.
        only: the endpoints that there are. Default: all.
        timings: how often the page is refreshed during a start.
    """
    head = method == "HEAD"
    if path not in only and not (path in _PAGE_FILES and "/boot" in only):
        known = "".join(f"{each}\n" for each in only)
        return make_response(404, f"there is no such page; there are\n{known}", head=head)
    if method not in {"GET", "HEAD"}:
        return make_response(405, "only GET and HEAD are answered\n", (b"allow", b"GET, HEAD"))
    response = _respond(path, status, name, accept, timings)
    return response._replace(body=b"") if head else response


def make_response(
    code: int,
    body: str | bytes,
    *more: tuple[bytes, bytes],
    kind: str = _TEXT,
    head: bool = False,
) -> Response:
    """Make an answer that nobody keeps.

    Args:
        code: the status.
        body: what follows.
        more: further headers.
        kind: the media type of the body.
        head: whether it answers a HEAD: the body is measured, and left out.
    """
    # The name of a file need not be Unicode.
    content = body if isinstance(body, bytes) else body.encode("utf-8", "replace")
    headers = (
        (b"content-type", kind.encode("latin-1")),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *more,
    )
    return Response(code, headers, b"" if head else content)


def _respond(path: str, status: Status, name: str, accept: str, timings: Timings) -> Response:
    if path == "/metrics":
        return _metrics(status, accept)
    if path.startswith("/boot"):
        return _status_page(path, status, name, timings)
    if path == "/health":
        health = json.dumps(describe(status), ensure_ascii=False)
        return make_response(200 if status.ready else 503, f"{health}\n", kind="application/json")
    if path == "/livez":
        probe = liveness(status.state)
    elif path == "/readyz":
        probe = readiness(status.state)
    else:
        probe = startup(status.state, started=status.started)
    return make_response(probe.status, f"{probe.text}\n")


def _status_page(path: str, status: Status, name: str, timings: Timings) -> Response:
    from hive_boot.serving.status_page import content  # noqa: PLC0415  (for people only)

    if path == "/boot.json":
        body = content.status_as_json(name, status, timings)
        return make_response(200, f"{body}\n", kind="application/json")
    file, media_type = content.read_file(path)
    headers = content.HEADERS if path == "/boot" else ()
    return make_response(200, file, *headers, kind=media_type)


def _metrics(status: Status, accept: str) -> Response:
    from hive_boot.serving.metrics import expose  # noqa: PLC0415  (for collectors only)

    try:
        content_type, body = expose(status, accept)
    except ModuleNotFoundError as exc:
        # Other collectors are called too, and what they lack is another matter.
        if (exc.name or "").partition(".")[0] != "prometheus_client":
            raise
        return make_response(501, "there are no metrics: pip install 'hive_boot[metrics]'\n")
    return make_response(200, body, kind=content_type)


def describe(status: Status) -> dict[str, Any]:
    """Describe the application in short, for a program; the reasons hold names and no values."""
    text = "degraded" if status.degraded else "ok"
    return {
        "status": text if status.ready else str(status.state),
        "ready": status.ready,
        "degraded": status.degraded,
        "reasons": redact(list(status.reasons)),
        "state": str(status.state),
        "mode": status.mode,
        "profile": status.profile,
        "generation": status.generation,
        "uptime": round(status.uptime, 3),
    }


class Endpoints:
    """All the endpoints, as an ASGI application of its own.

    It can be mounted below any prefix, and served alone.

    Args:
        status: describes the application at this moment.
        name: what people call the application.
    """

    def __init__(self, status: Callable[[], Status], name: str) -> None:
        self._status = status
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; say yes to a lifespan, and no to a websocket."""
        if scope["type"] == "http":
            response = handle_request(
                scope["method"],
                path_of(scope).rstrip("/"),  # Litestar puts one at the end of a mount's paths
                self._status(),
                name=self._name,
                accept=_accept(scope),
            )
            await _send(response, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})


async def answer_probe(scope: Scope, send: Send, status: Callable[[], Status]) -> bool:
    """Answer ``/livez``, ``/readyz`` and ``/startupz``, and nothing else.

    Args:
        scope: the scope of an ASGI application.
        send: what it sends by.
        status: describes the application at this moment; asked only by a probe.

    Returns:
        Whether that was one of them; when not, nothing was sent.
    """
    if scope["type"] != "http" or (path := path_of(scope)) not in PROBES:
        return False
    await _send(handle_request(scope["method"], path, status(), only=PROBES), send)
    return True


def path_of(scope: Scope) -> str:
    """Give the path of a request below the prefix that the application is mounted at.

    A server or a router tells the prefix as ``root_path``, and may have taken it off the
    path or not: https://asgi.readthedocs.io/en/latest/specs/www.html#http-connection-scope
    """
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "").rstrip("/")
    return path.removeprefix(prefix) if path.startswith(f"{prefix}/") else path


def _accept(scope: Scope) -> str:
    values = [value for name, value in scope["headers"] if name == b"accept"]
    return b",".join(values).decode("latin-1")


async def _send(response: Response, send: Send) -> None:
    start = {
        "type": "http.response.start",
        "status": response.status,
        "headers": list(response.headers),
    }
    await send(start)
    await send({"type": "http.response.body", "body": response.body})


async def _live(receive: Receive, send: Send) -> None:
    """Go through a lifespan in which there is nothing to do."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
