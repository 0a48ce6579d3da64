"""Requests that arrive, or are still running, after the shutdown deadline."""

from typing import Any

import anyio
import pytest

from hive_boot.runtime.status import Status
from hive_boot.serving.asgi import InFlightRequests, ReadinessMiddleware
from hive_boot.serving.endpoints import Message, Receive, Scope, Send

pytestmark = pytest.mark.anyio


async def slow(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Never answer."""
    await anyio.sleep_forever()


async def answer_late(scope: Scope) -> list[Message]:
    """Call an application that never answers after the deadline, and return its messages."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        sent.append(message)

    requests = InFlightRequests(slow)
    requests.end(0.1)
    await requests(scope, receive, send)
    return sent


async def test_a_request_that_comes_too_late_is_refused() -> None:
    """The response is 503; only HTTP/1 has a header that announces the end of the connection."""
    for version, closing in (("1.0", True), ("1.1", True), ("2", False), ("3", False)):
        start, body = await answer_late(
            {"type": "http", "http_version": version, "method": "GET", "path": "/"}
        )
        assert start["status"] == 503
        assert ((b"connection", b"close") in start["headers"]) is closing, version
        assert body == {"type": "http.response.body", "body": b""}


async def test_a_websocket_that_comes_too_late_is_closed() -> None:
    """The close code means that the service restarts."""
    assert await answer_late({"type": "websocket", "path": "/"}) == [
        {"type": "websocket.close", "code": 1012}
    ]


async def test_ten_of_the_requests_that_do_not_end_are_listed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One record has them and the number of the others; a second cancellation does nothing."""

    async def receive() -> Message:
        return {}

    async def send(_: Message) -> None:
        pass

    requests = InFlightRequests(slow)
    async with anyio.create_task_group() as group:
        for number in range(12):
            scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": f"/{number}"}
            group.start_soon(requests, scope, receive, send)
        await anyio.wait_all_tasks_blocked()
        requests.end(0.1)
        requests.end(0.1)

    (record,) = caplog.records
    first, *lines = record.getMessage().splitlines()
    assert first.startswith("12 requests did not end in time")
    assert lines[0].startswith("  GET /0  ")
    assert lines[10:] == ["  and 2 more"]


async def test_the_lifespan_of_a_server_is_answered() -> None:
    """A server that requires a lifespan gets one, although the application has started."""
    steps = ["lifespan.startup", "lifespan.shutdown"]
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": steps[len(sent)]}

    async def send(message: Message) -> None:
        sent.append(message)

    for app in (InFlightRequests(slow), ReadinessMiddleware(slow, Status, dict)):
        sent.clear()
        scope: dict[str, Any] = {"type": "lifespan"}
        await app(scope, receive, send)
        assert [each["type"] for each in sent] == [f"{step}.complete" for step in steps]
