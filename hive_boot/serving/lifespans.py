"""The lifespan of an ASGI application, lived by who serves it.

https://asgi.readthedocs.io/en/latest/specs/lifespan.html says what is sent. What becomes of
an application that raises is left open there, and decided here by whether it has asked for
``lifespan.startup``: before that it does not know what a lifespan is; after it, it fails.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from hive_boot.exceptions import LifecycleError
from hive_boot.lifecycle.failures import combine, is_cancellation, unwrap_single
from hive_boot.redaction.sealing import conceal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import TaskGroup

    from hive_boot.serving.asgi import App, Message

_log = logging.getLogger("hive_boot")


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
    # A part may be what is secret, so no variable holds it here while something can be raised.
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
