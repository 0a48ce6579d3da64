"""Requests and rebuilds: an instance that a request was given continues until its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from hive_boot import Bootstrap, ResourceHandle
from hive_boot.serving.asgi import app_lifespan
from tests.runtime.rebuilds import Needs, Pool, declared, recording, rotate
from tests.support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hive_boot.testing import MountedVolume

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


class Requests:
    """An ASGI application that holds each request until it is released.

    Attributes:
        states: the state of each request.
        lifespan_state: the state of its lifespan.
    """

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []
        self.lifespan_state: dict[str, Any] = {}
        self.release = anyio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  (ASGI)
        """Record the state."""
        if scope["type"] == "lifespan":
            self.lifespan_state = dict(scope["state"])
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.states.append(scope["state"])
        await self.release.wait()


async def request(app: Any) -> None:  # noqa: ANN401  (an ASGI application)
    """Send one request."""

    async def receive() -> dict[str, str]:
        return {"type": "http.request"}

    async def send(_: object) -> None:
        return

    scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/", "headers": []}
    await app(scope, receive, send)


async def test_a_request_keeps_what_it_was_given(volume: MountedVolume) -> None:
    """A later one has the new value, and the old instance stops when the last one has ended."""
    boot = declared(volume)
    log: list[str] = []
    recording(boot, log)

    @boot.resource
    async def plain() -> str:
        return "plain"

    requests = Requests()
    app = boot.asgi(requests)
    async with app_lifespan(app, {}), anyio.create_task_group() as group:
        assert isinstance(requests.lifespan_state["pool"], ResourceHandle)
        assert requests.lifespan_state["plain"] == "plain"
        group.start_soon(request, app)
        await until(lambda: requests.states)
        await rotate(boot, volume, "two")
        group.start_soon(request, app)
        await until(lambda: len(requests.states) == 2)
        one, two = (state["pool"] for state in requests.states)
        assert (one.password[-3:], two.password[-3:]) == ("one", "two")
        await anyio.sleep(0.05)
        assert one.is_open
        requests.release.set()
        await until(lambda: not one.is_open)
        assert two.is_open


async def test_a_request_keeps_a_value_that_it_reads_later(volume: MountedVolume) -> None:
    """It may read the handle after a switch, and outlive the next one too."""
    boot = declared(volume)
    log: list[str] = []
    pool = recording(boot, log, overlap=0.05)
    requests = Requests()
    app = boot.asgi(requests)
    async with app_lifespan(app, {}), anyio.create_task_group() as group:
        group.start_soon(request, app)
        await until(lambda: requests.states)
        await rotate(boot, volume, "two")
        two = pool.value
        await rotate(boot, volume, "new")
        await anyio.sleep(0.1)
        assert two.is_open
        requests.release.set()
        await until(lambda: not two.is_open)


async def test_a_bare_lifespan_has_handles(volume: MountedVolume) -> None:
    """Nothing holds a lease there, so that a value in the state would be a stopped one."""
    boot = declared(volume)
    pool = recording(boot, [])
    async with boot.lifespan(None) as state:
        assert state["pool"] is pool
        await rotate(boot, volume, "two")
        assert state["pool"].value.password == "fake-password-two"


async def test_without_rebuilds_the_state_has_values(volume: MountedVolume) -> None:
    """And a request has no other ones."""
    boot: Bootstrap[Needs, Any] = declared(volume)

    @boot.resource
    async def pool(secrets: Needs) -> AsyncIterator[Pool]:
        yield Pool(secrets.db_password.reveal())

    async with boot.lifespan(None) as state:
        assert state["pool"] is pool.value
        assert boot._run is not None  # noqa: SLF001
        with boot._run.lease_for_request() as rebuilt:  # noqa: SLF001
            assert rebuilt() == {}
