"""ASGI middleware: lifespan, readiness and requests in flight."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from hive_boot.exceptions import BootError, LifecycleError
from hive_boot.lifecycle.states import SERVING, State
from hive_boot.lifecycle.tasks import combine, is_cancellation, unwrap_single
from hive_boot.redaction.opaque import conceal
from hive_boot.redaction.registry import format_redacted_traceback, redact_safely
from hive_boot.serving.endpoints import answer_probe, make_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import TaskGroup

    from hive_boot.runtime.status import Status
    from hive_boot.serving.endpoints import App, Message, Receive, Scope, Send

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


@asynccontextmanager
async def app_lifespan(app: App, state: dict[str, Any]) -> AsyncIterator[None]:
    """Start an application, and stop it at the end of the block.

    An application without a lifespan is left as it is. The block is cancelled when the
    application crashes meanwhile.

    Args:
        app: the application.
        state: what it finds in its scope, and puts there for its requests.

    Raises:
        LifecycleError: it says that its start, or its stop, has failed.
        Exception: what it raised itself; a group only when the block has failed as well.
    """
    # A resource may be what is secret, so no variable holds it here while something can be raised.
    kept = conceal(state)
    del state
    failures: list[BaseException] = []
    async with anyio.create_task_group() as group:
        talk = _LifespanConversation(group)
        group.start_soon(talk.run, app, kept)
        await talk.started.wait()
        if talk.failure is None:
            # Whatever the block raises is raised below, where no group is put around it.
            try:
                yield
            except BaseException as exc:
                if is_cancellation(exc):
                    raise
                failures.append(exc)
            await talk.stop()
        else:
            group.cancel_scope.cancel()
    if talk.failure is not None:
        failures.append(talk.failure)
    if failures:
        # Out of the `except`, so that none is the context of another.
        raise combine(failures)


class _LifespanConversation:
    """What the server's side and the application say to each other.

    Attributes:
        started: set when the start is over, however it went.
        failure: what went wrong, until now.
    """

    def __init__(self, group: TaskGroup) -> None:
        self.started = anyio.Event()
        self.failure: BaseException | None = None
        self._group = group
        self._to_stop = anyio.Event()
        self._stopped = anyio.Event()
        self._asked = 0
        self._is_up = False

    async def run(self, app: App, state: Callable[[], dict[str, Any]]) -> None:
        """Call the application: once, and in one task from its start to its end."""
        version = {"version": "3.0", "spec_version": "2.0"}
        try:
            await app(
                {"type": "lifespan", "asgi": version, "state": state()}, self._receive, self._send
            )
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as exc:  # noqa: BLE001  (a SystemExit would end the loop from here)
            self._fail(unwrap_single(exc))
            if self._is_up and not self._to_stop.is_set():
                self._group.cancel_scope.cancel()
        finally:
            self.started.set()
            self._stopped.set()

    async def stop(self) -> None:
        """Ask for the stop, and wait until it is over."""
        self._to_stop.set()
        await self._stopped.wait()

    async def _receive(self) -> Message:
        self._asked += 1
        if self._asked == 1:
            return {"type": "lifespan.startup"}
        await self._to_stop.wait()
        if self._asked > 2:  # noqa: PLR2004  (start and stop)
            # Nothing more will be said; some listen for ever.
            self._group.cancel_scope.cancel()
            await anyio.sleep_forever()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        kind, _, verdict = message["type"].removeprefix("lifespan.").partition(".")
        if verdict == "failed":
            text = message.get("message") or f"the application says that its {kind} has failed"
            self.failure = LifecycleError(text)
        if kind == "startup":
            self._is_up = verdict == "complete"
            self.started.set()
        else:
            self._stopped.set()

    def _fail(self, exc: BaseException) -> None:
        """Take note of what the application has raised."""
        if self.failure is not None:
            # Most say first that they failed, and then raise why.
            self.failure.__cause__ = exc
        elif not self._asked:
            kind = type(exc).__name__
            _log.info("The application has no lifespan: it is served without one (%s)", kind)
        else:
            self.failure = exc


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
        self.in_flight: int = 0
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
            # A resource may be what is secret, so no variable holds them here.
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


async def _reject(scope: Scope, receive: Receive, send: Send, text: str) -> None:
    """Tell a client to come again."""
    kind = "http.response"
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER, "reason": text})
            return
        kind = "websocket.http.response"
    answer = make_response(503, f"{text}\n", _RETRY, head=scope.get("method") == "HEAD")
    start = {"type": f"{kind}.start", "status": answer.status, "headers": list(answer.headers)}
    await send(start)
    await send({"type": f"{kind}.body", "body": answer.body})


class LifespanMiddleware:
    """An application that starts what it needs before it, and stops it after it.

    The server's start-up is over when everything is ready; when something is not, it is
    told so, and why.

    Args:
        app: the application.
        lifespan: what has to be there before the application starts; it gives what
            requests find in their ``state``.
        status: describes the application at this moment.
        phase: as a :class:`Gate` takes it.
    """

    def __init__(
        self,
        app: App,
        lifespan: Callable[[App], AbstractAsyncContextManager[dict[str, Any]]],
        status: Callable[[], Status],
        *,
        phase: Callable[[], State] | None = None,
    ) -> None:
        self._app = app
        self._lifespan = lifespan
        self._values: dict[str, Any] = {}
        self._gate = ReadinessMiddleware(app, status, lambda: self._values, phase=phase)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Live, or pass a request on."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self._gate(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        step = "startup"
        failure: BaseException | None = None
        try:
            async with self._lifespan(self._app) as given:
                # A server that knows of it hands copies of this very dictionary to requests.
                self._values = scope.get("state", {})
                self._values.update(given)
                async with app_lifespan(self._app, self._values):
                    await send({"type": "lifespan.startup.complete"})
                    step = "shutdown"
                    await receive()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as exc:  # noqa: BLE001  (a SystemExit would end the loop from here)
            failure = exc
        finally:
            self._values = {}
        # Out of the `except`, so that what the server makes of it has no context with values.
        if failure is None:
            await send({"type": f"lifespan.{step}.complete"})
        else:
            await send({"type": f"lifespan.{step}.failed", "message": _tell(failure)})


def _tell(exc: BaseException) -> str:
    """Say what went wrong, without values; where it did, too, when it is not one of ours."""
    if not isinstance(exc, BootError):
        return redact_safely(format_redacted_traceback(exc))
    # A resource's failure is not one of ours, and its traceback says whose it is.
    cause = "" if exc.__cause__ is None else format_redacted_traceback(exc.__cause__)
    return redact_safely(f"{cause}{exc}")
