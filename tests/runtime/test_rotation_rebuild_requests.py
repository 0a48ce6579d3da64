"""Requests and rebuilds: an instance that a request was given continues until its end."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from hive_boot import Bootstrap, LifecycleError, ResourceHandle
from hive_boot.serving.asgi import app_lifespan
from tests.runtime.rebuilds import (
    Needs,
    Pool,
    declared,
    kept_by_leases,
    recording,
    rotate,
)
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
    recording(boot, log, overlap=0.1)

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
        await until(lambda: kept_by_leases(boot))
        assert one.is_open
        requests.release.set()
        await until(lambda: not one.is_open)
        assert two.is_open


async def test_a_request_keeps_a_value_that_it_reads_later(volume: MountedVolume) -> None:
    """It may read the handle after a switch, and outlive the next one too."""
    boot = declared(volume)
    log: list[str] = []
    pool = recording(boot, log, overlap=0.1)
    requests = Requests()
    app = boot.asgi(requests)
    async with app_lifespan(app, {}), anyio.create_task_group() as group:
        group.start_soon(request, app)
        await until(lambda: requests.states)
        one = pool.value
        await rotate(boot, volume, "two")
        two = pool.value
        await rotate(boot, volume, "new")
        await until(lambda: not one.is_open and kept_by_leases(boot))
        assert two.is_open
        requests.release.set()
        await until(lambda: not two.is_open)


async def test_another_event_loop_holds_no_instance(volume: MountedVolume) -> None:
    """`use()` there is an error, and a request gets the values: neither disturbs the run."""
    boot = declared(volume)
    pool = recording(boot, [])
    states: list[dict[str, Any]] = []
    leave = threading.Event()

    async def use() -> None:
        requests = Requests()
        app = boot.asgi(requests)
        with pytest.raises(LifecycleError):
            async with pool.use():
                pass
        async with anyio.create_task_group() as group:
            group.start_soon(request, app)
            await until(lambda: requests.states)
            states.append(requests.states[0])
            await anyio.to_thread.run_sync(leave.wait)
            requests.release.set()

    async with boot.running(), anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, partial(anyio.run, use))
        await until(lambda: states)
        one = states[0]["pool"]
        assert one is pool.value
        await rotate(boot, volume, "two")
        await until(lambda: not one.is_open)
        leave.set()
        await rotate(boot, volume, "three")
        assert pool.value.is_open


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
        assert boot._run.lease_for_request() is None  # noqa: SLF001
