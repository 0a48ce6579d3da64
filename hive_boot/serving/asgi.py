"""ASGI middleware: lifespan, readiness, proxy headers and requests in flight."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import anyio

from hive_boot.exceptions import BootError, DeclarationError, LifecycleError
from hive_boot.lifecycle.states import SERVING, State
from hive_boot.lifecycle.tasks import (
    CancellableBlock,
    combine,
    is_cancellation,
    log_event,
    unwrap_single,
)
from hive_boot.redaction import conceal
from hive_boot.redaction.registry import format_failure, redact_safely
from hive_boot.serving.endpoints import (
    PROBES,
    Response,
    answer_probe,
    complete_lifespan,
    make_response,
    send_response,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from anyio.abc import TaskGroup

    from hive_boot.runtime.status import Status
    from hive_boot.serving.endpoints import App, Message, Receive, Scope, Send

    Lease = Callable[[], AbstractContextManager[Callable[[], dict[str, Any]]] | None]


_WEBSOCKET_OPEN = frozenset({"websocket.accept", "websocket.send"})
"""Messages of a websocket that stays open."""


_SERVICE_RESTART = 1012
"""WebSocket close code "service restart", registered with the IANA."""


class InFlightRequests:
    """ASGI application whose requests in flight can be cancelled.

    Lifespan events of the server are answered here and not passed on: hive_boot starts and
    stops the application itself.

    Args:
        app: the application.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._blocks: dict[CancellableBlock, tuple[str, Any]] = {}
        self._seconds: float | None = None

    def end(self, seconds: float) -> None:
        """Cancel the requests in flight, and all later requests.

        Args:
            seconds: the time in which they should end.
        """
        if self._seconds is not None:
            return
        self._seconds = seconds
        self._log("%s did not end in time, and the clean-up begins:")
        for block in list(self._blocks):
            block.cancel(seconds)

    def report_unfinished(self) -> None:
        """Log the requests that have not ended although they were cancelled."""
        self._log("%s did not end, although cancelled, and the connection is aborted:")

    def _log(self, text: str) -> None:
        if lines := self.describe():
            shown = lines[:_MAX_LINES]
            if len(lines) > len(shown):
                shown.append(f"and {len(lines) - len(shown)} more")
            subject = "1 request" if len(lines) == 1 else f"{len(lines)} requests"
            log_event(logging.WARNING, text + "\n  %s" * len(shown), subject, *shown)

    def describe(self) -> list[str]:
        """Return a line for each request in flight: method, path, and where it waits."""
        from hive_boot.lifecycle.forced_exit import locate_coroutine  # only a late request needs it

        return [
            f"{name}  {locate_coroutine(work)}".rstrip() for name, work in self._blocks.values()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application."""
        if scope["type"] == "lifespan":
            await complete_lifespan(receive, send)
            return
        is_answered = False

        async def send_and_track(message: Message) -> None:
            nonlocal is_answered
            is_answered = message["type"] not in _WEBSOCKET_OPEN
            await send(message)

        block = CancellableBlock()
        if self._seconds is not None:
            block.cancel(self._seconds)
        with block:
            work = self._app(scope, receive, send_and_track)
            self._blocks[block] = f"{scope.get('method', 'websocket')} {scope['path']}", work
            try:
                await work
            finally:
                del self._blocks[block]
        if block.cancel_requested and not is_answered:
            await _send_unavailable(scope, send)


_MAX_LINES = 10
"""Number of requests that a log record lists."""


async def _send_unavailable(scope: Scope, send: Send) -> None:
    """Answer a cancelled request with 503, or close its websocket."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _SERVICE_RESTART})
    else:
        closing = [(b"connection", b"close")] if scope["http_version"].startswith("1") else []
        await send_response(Response(503, ((b"content-length", b"0"), *closing), b""), send)


@asynccontextmanager
async def app_lifespan(app: App, state: dict[str, Any]) -> AsyncIterator[None]:
    """Start an ASGI application, and stop it at the end of the block.

    An application that raises before it receives a lifespan event runs without lifespan. The
    block is cancelled when the application crashes in between.

    Args:
        app: the application.
        state: the lifespan state of its scope; the application can add to it.

    Raises:
        LifecycleError: the application reported that its startup or shutdown failed, and raised
            nothing.
        Exception: the application raised it; a group only when the block failed too.
    """
    # Resources in the state may be secret: no local variable may show them in a traceback.
    concealed_state = conceal(state)
    del state
    failures: list[BaseException] = []
    async with anyio.create_task_group() as group:
        protocol = _LifespanProtocol(group)
        group.start_soon(protocol.run, app, concealed_state)
        await protocol.started.wait()
        if protocol.failure is None:
            # An exception of the block is raised after the group, which would wrap it.
            try:
                yield
            except BaseException as exc:
                if is_cancellation(exc):
                    raise
                failures.append(exc)
            await protocol.stop()
        else:
            group.cancel_scope.cancel()
    if protocol.failure is not None:
        failures.append(protocol.failure)
    if failures:
        # Raised outside of the `except`, so that no failure is the context of another.
        raise combine(failures)


class _LifespanProtocol:
    """Server side of the ASGI lifespan protocol, for one application.

    Attributes:
        started: set when the startup has ended, with or without success.
        failure: the failure of the startup, the application or the shutdown.
    """

    def __init__(self, group: TaskGroup) -> None:
        self.started = anyio.Event()
        self.failure: BaseException | None = None
        self._group = group
        self._stop_requested = anyio.Event()
        self._stopped = anyio.Event()
        self._receive_count = 0
        self._is_started = False

    async def run(self, app: App, state: Callable[[], dict[str, Any]]) -> None:
        """Call the application with the lifespan scope, in one task until it returns."""
        version = {"version": "3.0", "spec_version": "2.0"}
        try:
            await app(
                {"type": "lifespan", "asgi": version, "state": state()}, self._receive, self._send
            )
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as exc:  # noqa: BLE001  (a SystemExit in a task would end the loop)
            # Most applications send lifespan.*.failed first, with the traceback of the exception
            # that they raise then.
            if self.failure is None and not self._receive_count and isinstance(exc, Exception):
                text = (
                    "The ASGI application has no lifespan (it raised %s) and is served without one"
                )
                log_event(logging.INFO, text, type(unwrap_single(exc)).__name__)
            else:
                self.failure = unwrap_single(exc)
            if self._is_started and not self._stop_requested.is_set():
                self._group.cancel_scope.cancel()
        finally:
            self.started.set()
            self._stopped.set()

    async def stop(self) -> None:
        """Send ``lifespan.shutdown``, and wait until the shutdown has ended."""
        self._stop_requested.set()
        await self._stopped.wait()

    async def _receive(self) -> Message:
        self._receive_count += 1
        if self._receive_count == 1:
            return {"type": "lifespan.startup"}
        await self._stop_requested.wait()
        if self._receive_count > 2:  # noqa: PLR2004  (startup and shutdown)
            # The protocol has no third event; some applications call receive() again anyway.
            self._group.cancel_scope.cancel()
            await anyio.sleep_forever()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        kind, _, verdict = message["type"].removeprefix("lifespan.").partition(".")
        if verdict == "failed":
            default = f"The ASGI application reported lifespan.{kind}.failed without a message."
            self.failure = LifecycleError(message.get("message") or default)
        if kind == "startup":
            self._is_started = verdict == "complete"
            self.started.set()
        else:
            self._stopped.set()


_DRAINING_OR_STOPPING = frozenset({State.DRAINING, State.STOPPING})
"""The states in which an application that was ready still answers, and closes connections."""


_ENDED_OR_ENDING = _DRAINING_OR_STOPPING | {State.STOPPED, State.FORCED}


_RETRY_AFTER = (b"retry-after", b"1")
"""Seconds after which a client may try again; most starts take less."""


_TRY_AGAIN_LATER = 1013
"""WebSocket close code "try again later", registered with the IANA."""


# The state of nearly every request, compared by identity: hashing a state takes longer.
_READY = State.READY


def no_lease() -> None:
    """Return the lease of a request to an application whose resources are never rebuilt."""


class ReadinessMiddleware:
    """ASGI middleware that answers probes, and other requests only when the application serves.

    Before the application is ready, and when it has stopped, requests get 503. While it
    drains or stops, requests are still passed on, and HTTP/1 responses close the connection.

    Args:
        app: the application.
        status: returns the status of the application; called for probes, and while the
            application is not ready.
        state: returns the lifespan state; called for each request.
        phase: returns the state of the run; called for each request. Default: the state in
            ``status()``, which is slower.
        lease: returns a block for a request, which yields a function that returns the values of
            resources; these continue until its end. None, the default, if no resource is ever
            rebuilt.
    """

    # Whether the server adds the values to each request by itself, and none is ever rebuilt.
    _server_copies_state = False

    def __init__(
        self,
        app: App,
        status: Callable[[], Status],
        state: Callable[[], dict[str, Any]],
        *,
        phase: Callable[[], State] | None = None,
        lease: Lease = no_lease,
    ) -> None:
        self._app = app
        self._status = status
        self._values = state
        self._lease = lease
        self._phase = phase or (lambda: status().state)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a probe, reject a request, or pass it to the application."""
        # Each call in this method takes a noticeable share of the time of a small request.
        kind = scope["type"]
        is_http = kind == "http"
        if is_http:
            # Fast for most paths, and true for few requests that are not probes.
            may_be_probe = "z" in (path := scope["path"]) and (
                path.endswith(PROBES) or "/readyz/" in path
            )
            if may_be_probe and await self._answer_probe(scope, send):
                return
        elif kind == "lifespan":
            await self._run_lifespan(scope, receive, send)
            return
        if self._phase() is not _READY and await self._handle_unready(scope, receive, send):
            return
        if is_http and scope["http_version"] < "2":
            send = partial(self._send_and_close, send)
        if self._server_copies_state and "state" in scope:
            await self._app(scope, receive, send)
        elif (lease := self._lease()) is None:
            await self._app(self._with_state(scope, {}), receive, send)
        else:
            with lease as rebuilt:
                await self._app(self._with_state(scope, rebuilt()), receive, send)

    def _with_state(self, scope: Scope, rebuilt: dict[str, Any]) -> Scope:
        """Return the scope with a shallow copy of the state, which the ASGI specification requires.

        https://asgi.readthedocs.io/en/latest/specs/lifespan.html#lifespan-state
        """
        # Resources in it may be secret: no local variable may show them in a traceback.
        return {**scope, "state": {**scope.get("state", {}), **self._values(), **rebuilt}}

    async def _run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the lifespan of a server: hive_boot starts and stops the application itself."""
        del scope
        await complete_lifespan(receive, send)

    async def _answer_probe(self, scope: Scope, send: Send) -> bool:
        """Answer a probe of the application; return False for every other request."""
        return await answer_probe(scope, send, self._status)

    async def _handle_unready(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Reject a request, unless the application serves; return whether it was rejected."""
        phase = self._phase()
        if self._accepts_requests(phase):
            return False
        text = "stopping" if phase in _ENDED_OR_ENDING else "starting"
        await _reject(scope, receive, send, text)
        return True

    def _accepts_requests(self, phase: State) -> bool:
        # After a failed start the state is STOPPING too, and requests must be rejected.
        return phase in SERVING or (phase in _DRAINING_OR_STOPPING and self._status().started)

    def _send_and_close(self, send: Send, message: Message) -> Awaitable[None]:
        """Add ``Connection: close`` to a response that begins while the application stops.

        HTTP/2 does not allow this header: https://www.rfc-editor.org/rfc/rfc9113#section-8.2.2
        """
        # Not a coroutine function, which would be slower.
        if (
            message["type"] == "http.response.start"
            and (phase := self._phase()) is not _READY
            and phase in _DRAINING_OR_STOPPING
        ):
            old = message.get("headers", ())
            headers = [each for each in old if each[0].lower() != b"connection"]
            message = {**message, "headers": [*headers, (b"connection", b"close")]}
        return send(message)


class ProxyHeadersMiddleware:
    """ASGI middleware that takes the client and the scheme from the headers of a trusted proxy.

    It reads ``X-Forwarded-For`` from the right, up to the first address that is not a trusted
    proxy, and ``X-Forwarded-Proto``. Every server gets the same rules.

    Args:
        app: the application.
        trusted: the addresses and networks of proxies; ``*`` trusts every client, which a Unix
            socket needs, because its clients have no address.

    Raises:
        DeclarationError: something in ``trusted`` is neither an address nor a network.
    """

    def __init__(self, app: App, trusted: Iterable[object]) -> None:
        self._app = app
        names = [name for each in trusted if (name := str(each).strip())]
        self._trusts_all = "*" in names
        try:
            self._networks = [ip_network(name, strict=False) for name in names if name != "*"]
        except ValueError as exc:
            message = f"Invalid address of a proxy in forwarded_allow_ips: {exc}."
            raise DeclarationError(message) from None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Change the scope if a trusted proxy sent the request, and pass it on."""
        forwarded = [each for each in scope.get("headers", ()) if each[0] in _FORWARDED]
        if forwarded:
            # Changed in place: the server logs the client of this scope.
            self._apply(scope, forwarded)
        await self._app(scope, receive, send)

    def _apply(self, scope: Scope, forwarded: list[tuple[bytes, bytes]]) -> None:
        if not self._is_trusted((scope.get("client") or [""])[0]):
            return
        texts = [(name, value.decode("latin-1")) for name, value in forwarded]
        schemes = [text.strip() for name, text in texts if name == _FORWARDED_PROTO]
        if schemes and schemes[-1] in _SCHEMES:
            is_websocket = scope["type"] == "websocket"
            scope["scheme"] = schemes[-1].replace("http", "ws") if is_websocket else schemes[-1]
        hops = ",".join(text for name, text in texts if name != _FORWARDED_PROTO).split(",")
        addresses = [_split_port(hop.strip()) for hop in reversed(hops) if hop.strip()]
        if addresses:
            untrusted = (each for each in addresses if not self._is_trusted(each[0]))
            scope["client"] = next(untrusted, addresses[-1])

    def _is_trusted(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return self._trusts_all
        # The client of an IPv6 socket that also accepts IPv4 is ::ffff:a.b.c.d.
        address = getattr(address, "ipv4_mapped", None) or address
        return self._trusts_all or any(address in network for network in self._networks)


_FORWARDED_PROTO = b"x-forwarded-proto"


_FORWARDED = frozenset({_FORWARDED_PROTO, b"x-forwarded-for"})


_SCHEMES = frozenset({"http", "https", "ws", "wss"})


def _split_port(hop: str) -> tuple[str, int]:
    """Return host and port of ``host``, ``host:port``, an IPv6 address or ``[address]:port``."""
    host, _, port = hop.rpartition(":")
    if hop.startswith("[") and hop.endswith("]"):
        return hop[1:-1], 0
    is_pair = (hop.startswith("[") and host.endswith("]")) or hop.count(":") == 1
    return (host.strip("[]"), int(port)) if is_pair and port.isdecimal() else (hop, 0)


_INTERNAL_ERROR = 1011
"""WebSocket close code "internal error", registered with the IANA."""


async def _reject(
    scope: Scope, receive: Receive, send: Send, text: str, *, is_temporary: bool = True
) -> None:
    """Reject a request with 503 and ``Retry-After``, or 500; a websocket with a close code."""
    prefix = ""
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            code = _TRY_AGAIN_LATER if is_temporary else _INTERNAL_ERROR
            await send({"type": "websocket.close", "code": code, "reason": text})
            return
        prefix = "websocket."
    status, more = (503, [_RETRY_AFTER]) if is_temporary else (500, [])
    answer = make_response(status, f"{text}\n", *more)
    if scope.get("method") == "HEAD":
        answer = answer.replace(body=b"")
    await send_response(answer, send, prefix)


_NO_LIFESPAN = "The ASGI lifespan is not running, so the application is not started"
_LIFESPAN_FIX = (
    "%s. Fix: run it on a server with lifespan support that is not switched off (uvicorn "
    "--lifespan on, hypercorn, granian --interface asgi), or with boot.serve(app); wrap the "
    "outermost application, because a mounted one has no lifespan; in tests enter "
    "`with TestClient(app)`"
)


class LifespanMiddleware(ReadinessMiddleware):
    """ASGI middleware that runs a hive_boot application in the lifespan of a foreign server.

    The server's startup completes when the application is ready. A failure is sent to the
    server as ``lifespan.startup.failed`` or ``lifespan.shutdown.failed``, with its reason, and
    then raised: a test client waits for the exception. Before and after a lifespan requests get
    500, and the reason is logged once.

    Args:
        app: the application.
        lifespan: returns the context of a run, which yields the lifespan state.
        status: returns the status of the application.
        phase: as for :class:`ReadinessMiddleware`.
        lease: as for :class:`ReadinessMiddleware`.
    """

    def __init__(
        self,
        app: App,
        lifespan: Callable[[App], AbstractAsyncContextManager[dict[str, Any]]],
        status: Callable[[], Status],
        *,
        phase: Callable[[], State] | None = None,
        lease: Lease = no_lease,
    ) -> None:
        super().__init__(app, status, lambda: self._lifespan_state, phase=phase, lease=lease)
        self._lifespan = lifespan
        self._lifespan_state: dict[str, Any] = {}
        self._has_logged = False

    async def _answer_probe(self, scope: Scope, send: Send) -> bool:
        self._has_lifespan()
        return await super()._answer_probe(scope, send)

    async def _handle_unready(self, scope: Scope, receive: Receive, send: Send) -> bool:
        if self._has_lifespan():
            return await super()._handle_unready(scope, receive, send)
        await _reject(scope, receive, send, f"{_NO_LIFESPAN}.", is_temporary=False)
        return True

    def _has_lifespan(self) -> bool:
        """Return whether the lifespan has begun; log once how to run it if it has not."""
        if self._phase() is not State.ARMED:
            return True
        if not self._has_logged:
            self._has_logged = True
            log_event(logging.ERROR, _LIFESPAN_FIX, _NO_LIFESPAN)
        return False

    async def _run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        step = "startup"
        failure: BaseException | None = None
        try:
            async with self._lifespan(self._app) as lifespan_state:
                # A server that supports lifespan state copies this dictionary to each request.
                self._server_copies_state = "state" in scope and self._lease() is None
                self._lifespan_state = scope.get("state", {})
                self._lifespan_state.update(lifespan_state)
                async with app_lifespan(self._app, self._lifespan_state):
                    await send({"type": "lifespan.startup.complete"})
                    step = "shutdown"
                    await receive()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as exc:  # noqa: BLE001  (a SystemExit in a task would end the loop)
            failure = exc
        finally:
            self._lifespan_state = {}
            self._server_copies_state = False
        # Sent outside of the `except`: an exception in the server would get this failure, which
        # may contain values, as its context.
        if failure is None:
            await send({"type": f"lifespan.{step}.complete"})
            return
        message = _failure_message(failure)
        await send({"type": f"lifespan.{step}.failed", "message": message})
        # Starlette's TestClient waits for an exception after the message. A SystemExit in a task
        # would end the loop.
        if not isinstance(failure, Exception):
            failure = LifecycleError(message)
        # The report of a BootError names the location; a server may print the traceback.
        raise failure.with_traceback(None) if isinstance(failure, BootError) else failure


def _failure_message(exc: BaseException) -> str:
    """Return the redacted message of a BootError, or the redacted traceback of another failure."""
    if not isinstance(exc, BootError):
        return format_failure(exc)
    # The cause is an exception of the application, and its traceback shows the location.
    cause = "" if exc.__cause__ is None else format_failure(exc.__cause__)
    return redact_safely(f"{cause}{exc}")
