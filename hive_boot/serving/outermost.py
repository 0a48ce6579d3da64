"""An application and what it needs, as one application for somebody else's server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from hive_boot.exceptions import BootError
from hive_boot.redaction.showing import format_redacted_traceback, redact_safely
from hive_boot.serving.gate import ReadinessMiddleware
from hive_boot.serving.lifespans import app_lifespan

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from hive_boot.bootstrap.status import Status
    from hive_boot.lifecycle.states import State
    from hive_boot.serving.asgi import App, Receive, Scope, Send


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
        except BaseException as exc:  # noqa: BLE001  (a server that is not told why would serve)
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
    # A part's failure is not one of ours, and its traceback says whose it is.
    cause = "" if exc.__cause__ is None else format_redacted_traceback(exc.__cause__)
    return redact_safely(f"{cause}{exc}")
