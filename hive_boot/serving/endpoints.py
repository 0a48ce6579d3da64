"""HTTP endpoints: probes, health, status and metrics, as an ASGI application."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from hive_boot._records import Record
from hive_boot._timings import DEFAULTS, Timings
from hive_boot.exceptions import DeclarationError
from hive_boot.lifecycle.states import SERVING
from hive_boot.redaction.registry import redact

if TYPE_CHECKING:
    from hive_boot.runtime.status import Status

Scope = MutableMapping[str, Any]
"""The scope of an ASGI connection."""


Message = MutableMapping[str, Any]
"""An ASGI event."""


Receive = Callable[[], Awaitable[Message]]


Send = Callable[[Message], Awaitable[None]]


App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application."""


def readiness(status: Status) -> tuple[int, str]:
    """Return the HTTP status of ``/readyz``, and the state in one word.

    The word is ``unready`` if a readiness contributor is not passing.
    """
    if status.state not in SERVING:
        return 503, status.state
    if all(each.passing for each in status.contributors):
        return 200, status.state
    return 503, "unready"


PROBES = ("/livez", "/readyz", "/startupz")
"""The endpoints for a kubelet; names are only in ``/readyz?verbose`` and ``/readyz/<name>``."""


PATHS = (*PROBES, "/health", "/boot", "/boot.json", "/metrics")
"""All endpoints."""


_PAGE_FILES = ("/boot.css", "/boot.js")
"""Files that the page at ``/boot`` loads."""


_TEXT = "text/plain; charset=utf-8"


class Response(Record):
    """An HTTP response.

    Attributes:
        status: the status code.
        headers: names in lower case, and values.
        body: the content; empty for HEAD.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def handle_request(
    method: str,
    path: str,
    status: Status,
    *,
    query: str = "",
    name: str = "",
    accept: str = "",
    only: Collection[str] = PATHS,
    timings: Timings = DEFAULTS,
    is_probe_port: bool = False,
) -> Response:
    """Return the response to one request.

    Args:
        method: the HTTP method.
        path: the path below the prefix that the endpoints are mounted at.
        status: the status at this moment.
        query: the query of the URL; only ``/readyz`` uses it.
        name: the name of the application.
        accept: the header ``Accept``; only ``/metrics`` uses it.
        only: the endpoints that exist. Default: all.
        timings: the refresh interval of the status page.
        is_probe_port: whether only this process answers at the address, and no other worker waits
            for it. Default False.
    """
    endpoint = _endpoint_of(path)
    if endpoint not in only and not (path in _PAGE_FILES and "/boot" in only):
        known = "".join(f"{each}\n" for each in only)
        response = make_response(404, f"Not found. The endpoints are:\n{known}")
    elif method not in {"GET", "HEAD"}:
        allowed = (b"allow", b"GET, HEAD")
        response = make_response(405, "Method not allowed: use GET or HEAD.\n", allowed)
    elif endpoint == "/readyz":
        response = _readiness(path.removeprefix("/readyz").removeprefix("/"), query, status)
    elif endpoint == "/metrics":
        response = _metrics(status, accept, "probe" if is_probe_port else "app")
    elif endpoint.startswith("/boot"):
        response = _status_page(path, status, name, timings)
    elif endpoint == "/health":
        health = json.dumps(describe(status), ensure_ascii=False)
        code = 200 if status.ready else 503
        response = make_response(code, f"{health}\n", kind="application/json")
    else:
        # A process that can respond is alive; a start that is over stays over.
        is_passing = path == "/livez" or status.started
        response = make_response(200 if is_passing else 503, f"{status.state}\n")
    return response.replace(body=b"") if method == "HEAD" else response


def handle_asgi_request(scope: Scope, status: Status, **options: Any) -> Response:
    """Return the response to a request with an ASGI scope; the options of :func:`handle_request`.

    A request whose path is the prefix and an endpoint gets the response of the endpoint.
    """
    accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
    query = scope.get("query_string", b"")
    options |= {"query": query.decode("latin-1"), "accept": accept.decode("latin-1")}
    return handle_request(scope["method"], path_of(scope), status, **options)


def make_response(
    code: int, body: str | bytes, *more: tuple[bytes, bytes], kind: str = _TEXT
) -> Response:
    """Return a response that must not be cached.

    Args:
        code: the HTTP status.
        body: the content.
        more: further headers.
        kind: the media type of the body.
    """
    # A file name that is not Unicode contains surrogates.
    content = body if isinstance(body, bytes) else body.encode("utf-8", "replace")
    headers = (
        (b"content-type", kind.encode("latin-1")),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *more,
    )
    return Response(code, headers, content)


def _endpoint_of(path: str) -> str:
    """Return the endpoint of a path: of ``/readyz/<name>`` it is ``/readyz``."""
    return "/readyz" if path.startswith("/readyz/") and path != "/readyz/" else path


def _readiness(name: str, query: str, status: Status) -> Response:
    """Return the response to ``/readyz``, or to ``/readyz/<name>``, which is verbose."""
    (code, text), lines = readiness(status), list(_readiness_lines(status))
    if name:
        lines = [each for each in lines if each[0] == name]
        if not lines:
            return make_response(404, "Not found. /readyz?verbose has the names.\n")
        code, text = (200 if all(passing for _, passing, _ in lines) else 503), ""
    elif not any(each.partition("=")[0] == "verbose" for each in query.split("&")):
        lines = []
    shown = [f"[{'+' if passing else '-'}] {line}" for _, passing, line in lines]
    text = "\n".join(filter(None, [text, redact("\n".join(shown))]))
    return make_response(code, f"{text}\n")


def _readiness_lines(status: Status) -> Iterator[tuple[str, bool, str]]:
    """Yield the name, whether it is all right, and the text of each contributor and service."""
    for each in status.contributors:
        text = "passes" if each.passing else "has not passed yet"
        if each.failure:
            verb = "passes, although the last call has failed" if each.passing else "fails"
            text = f"{verb}: {each.failure}"
        yield each.name, each.passing, f"{each.name}: {text}"
    for name in status.services:
        text = "runs" if status.started else "has not started"
        if name in status.failing_services:
            text = "has failed, and is started again"
        elif name in status.completed_services:
            text = "has returned"
        passing = status.started and name not in status.failing_services
        yield name, passing, f"service {name}: {text}"


def _status_page(path: str, status: Status, name: str, timings: Timings) -> Response:
    from hive_boot.serving import status_page  # only when the page is opened

    if path == "/boot.json":
        body = status_page.status_as_json(name, status, timings)
        return make_response(200, f"{body}\n", kind="application/json")
    file, media_type = status_page.read_file(path)
    headers = status_page.HEADERS if path == "/boot" else ()
    return make_response(200, file, *headers, kind=media_type)


def _metrics(status: Status, accept: str, endpoint: str) -> Response:
    try:
        from hive_boot.serving.metrics import expose  # optional

        content_type, body = expose(status, accept, endpoint)
    except ModuleNotFoundError as exc:
        # A collector of the application may lack another module: that is its own failure.
        if (exc.name or "").partition(".")[0] != "prometheus_client":
            raise
        text = "Metrics need prometheus-client: pip install 'hive_boot[metrics]'\n"
        return make_response(501, text)
    return make_response(200, body, kind=content_type)


def describe(status: Status) -> dict[str, Any]:
    """Return the body of ``/health``; the reasons contain names and no values."""
    text = "degraded" if status.degraded else "ok"
    return {
        "status": text if status.ready else readiness(status)[1],
        "ready": status.ready,
        "degraded": status.degraded,
        "reasons": redact(list(status.reasons)),
        "state": str(status.state),
        "mode": status.mode,
        "profile": status.profile,
        "process_id": status.process_id,
        "worker": status.worker,
        "generation": status.generation,
        "secrets_version": status.secrets_version,
        "secrets_version_in_use": status.secrets_version_in_use,
        "certificates": dict(status.certificates),
        "uptime": round(status.uptime, 3),
    }


class Endpoints:
    """All endpoints, as a separate ASGI application.

    It can be mounted below any prefix, or served alone.

    Args:
        status: returns the status at this moment.
        name: the name of the application.
    """

    def __init__(self, status: Callable[[], Status], name: str) -> None:
        self._status = status
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request, complete a lifespan, and close a websocket."""
        if scope["type"] == "http":
            path = path_of(scope).rstrip("/")  # Litestar appends a slash below a mount
            # A page opened as "/boot/" requests its files one level deeper.
            path = path.removeprefix("/boot") if path.startswith("/boot/") else path
            below = {**scope, "path": path, "root_path": ""}
            await send_response(handle_asgi_request(below, self._status(), name=self._name), send)
        elif scope["type"] == "lifespan":
            await complete_lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})


async def answer_probe(scope: Scope, send: Send, status: Callable[[], Status]) -> bool:
    """Respond to ``/livez``, ``/startupz``, ``/readyz`` and below it, and to nothing else.

    Args:
        scope: the scope of the request.
        send: the function that sends events.
        status: returns the status at this moment; called only for a probe.

    Returns:
        Whether the request was one of them; otherwise nothing was sent.
    """
    if scope["type"] != "http" or _endpoint_of(path_of(scope)) not in PROBES:
        return False
    await send_response(handle_asgi_request(scope, status(), only=PROBES), send)
    return True


def path_of(scope: Scope) -> str:
    """Return the path of a request below the prefix that the application is mounted at.

    A server or a router passes the prefix as ``root_path``, and the path contains it or
    not: https://asgi.readthedocs.io/en/latest/specs/www.html#http-connection-scope
    """
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "").rstrip("/")
    return path.removeprefix(prefix) if path.startswith(f"{prefix}/") else path


async def send_response(response: Response, send: Send, prefix: str = "") -> None:
    """Send a response; the prefix of its events is ``websocket.`` for a rejected websocket."""
    kind, headers = f"{prefix}http.response", list(response.headers)
    await send({"type": f"{kind}.start", "status": response.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": response.body})


async def complete_lifespan(receive: Receive, send: Send) -> None:
    """Complete a lifespan that starts and stops nothing."""
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


def validate_asgi(app: object, argument: str = "app") -> None:
    """Raise if an object cannot be an ASGI application.

    Args:
        app: the object.
        argument: the name of the argument, for the message.

    Raises:
        DeclarationError: it cannot be called, or is a class.
    """
    if not callable(app) or isinstance(app, type):
        kind = f"the class {app.__name__}" if isinstance(app, type) else f"a {type(app).__name__}"
        expected = "expected an ASGI application, such as FastAPI()"
        message = f"Invalid {argument}: {expected}, not {kind}."
        if isinstance(app, str):
            message += " To name it, use `hive-boot run APP --serve package.module:web`."
        raise DeclarationError(message)
