"""The responses of the endpoints, and the ways to serve them."""

import json
import sys
from dataclasses import replace
from typing import Any, cast

import httpx2
import litestar
import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.routing import Mount

from hive_boot import Bootstrap, Secret, SecretSet
from hive_boot.lifecycle.states import State
from hive_boot.runtime.status import Status
from hive_boot.serving.endpoints import (
    PATHS,
    PROBES,
    App,
    Endpoints,
    Message,
    Receive,
    Response,
    Scope,
    Send,
    answer_probe,
    handle_request,
)
from tests.fixtures.golden import assert_golden
from tests.serving.statuses import degraded, ready, starting, stopping, unready

pytestmark = pytest.mark.anyio

DRAINING = ready(state=State.DRAINING, ready=False)

ENDPOINTS = Endpoints(ready, "hive")


def body_of(response: Response) -> str:
    """Return the body of a response as text."""
    return response.body.decode()


def client(app: App, root_path: str = "") -> httpx2.AsyncClient:
    """Return a client of an ASGI application."""
    transport = httpx2.ASGITransport(app, root_path=root_path)
    return httpx2.AsyncClient(transport=transport, base_url="http://hive")


def test_a_probe_returns_the_state_and_no_name() -> None:
    """A kubelet gets a status code and the state in one word: never the name of a secret."""
    in_use = {State.READY, State.RELOADING}
    for state in State:
        for started in (False, True):
            status = degraded(state=state, started=started)
            answers = [handle_request("GET", path, status) for path in PROBES]
            assert [each.status for each in answers] == [
                200,
                200 if state in in_use else 503,
                200 if started else 503,
            ], (state, started)
            assert {each.body for each in answers} == {f"{state.value}\n".encode()}
        assert state.value.isalpha()


def test_health_has_one_word_and_fields() -> None:
    """``/health`` has the overall status in one word, and the details in fields."""
    for status, code, word in (
        (starting(), 503, "starting"),
        (ready(), 200, "ok"),
        (degraded(), 200, "degraded"),
        (unready(), 503, "unready"),
        (DRAINING, 503, "draining"),
        (stopping(), 503, "stopping"),
    ):
        response = handle_request("GET", "/health", status)
        assert response.status == code
        assert json.loads(response.body) == {
            "status": word,
            "ready": status.ready,
            "degraded": status.degraded,
            "reasons": list(status.reasons),
            "state": status.state,
            "mode": status.mode,
            "profile": status.profile,
            "process_id": status.process_id,
            "worker": status.worker,
            "generation": status.generation,
            "secrets_version": status.secrets_version,
            "secrets_version_in_use": status.secrets_version_in_use,
            "certificates": status.certificates,
            "uptime": status.uptime,
        }


def test_the_text_of_the_responses() -> None:
    """The bodies of ``/readyz`` and ``/health``, in five states one after another."""
    found = ""
    for title, status in (
        ("starting", starting()),
        ("ready", ready()),
        ("degraded", degraded()),
        ("draining", DRAINING),
        ("unready", unready()),
    ):
        more = ("/readyz?verbose", "/readyz/queue") if status.contributors else ()
        for path in ("/readyz", *more, "/health"):
            bare, _, query = path.partition("?")
            response = handle_request("GET", bare, status, query=query)
            found += f"{title}: GET {path} {response.status}\n{body_of(response)}"
    assert_golden("readyz_verbose_or_health", found)


def test_the_details_are_answered_on_request() -> None:
    """`verbose` may have a value; a name is one of a contributor or a service."""
    status = unready()
    plain, verbose = (
        handle_request("GET", "/readyz", status, query=query) for query in ("", "verbose")
    )
    assert (plain.body, len(verbose.body.splitlines())) == (b"unready\n", 7)
    for query in ("verbose=1", "x=1&verbose", "verbose="):
        assert handle_request("GET", "/readyz", status, query=query) == verbose
    for query in ("quiet", "x=verbose", "&", "verbos"):
        assert handle_request("GET", "/readyz", status, query=query) == plain
    for name, code in (("database", 200), ("queue", 503), ("cache", 503), ("poll", 503)):
        response = handle_request("GET", f"/readyz/{name}", status)
        assert (response.status, response.body.count(b"\n")) == (code, 1), name
    for name in ("nothing", "", "/", "poll/", "queue/x", "..", "Queue"):
        assert handle_request("GET", f"/readyz/{name}", status).status == 404, name
    for path in ("/livez/queue", "/startupz/queue", "/readyzqueue"):
        assert handle_request("GET", path, status).status == 404, path
    assert handle_request("GET", "/readyz/queue", status, only=("/livez",)).status == 404
    assert handle_request("POST", "/readyz/queue", status).status == 405
    assert handle_request("GET", "/livez", status, query="verbose").body == b"ready\n"
    # A service and a contributor of one name are both shown, and both have to pass.
    both = replace(status, services=("database",), failing_services=("database",))
    response = handle_request("GET", "/readyz/database", both)
    assert (response.status, response.body.count(b"\n")) == (503, 2)


async def test_a_value_in_a_reason_is_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that a reason contains is not in any response."""

    class Own(SecretSet):
        token: Secret

    monkeypatch.setenv("TOKEN", "fake-value-0001")
    status = ready(degraded=True, reasons=("it is fake-value-0001",))
    async with Bootstrap(Own, mode="environment").running():
        for path in ("/health", "/boot.json"):
            assert "it is ***" in body_of(handle_request("GET", path, status))


def test_a_head_is_a_get_without_a_body() -> None:
    """A HEAD returns the length of the body, and no response may be cached."""
    for path in (*PATHS, "/nothing"):
        got, head = (handle_request(method, path, Status()) for method in ("GET", "HEAD"))
        assert head.body == b""
        assert head.status == got.status
        for response in (got, head):
            headers = dict(response.headers)
            assert headers[b"cache-control"] == b"no-store"
            if path not in {"/boot.json", "/metrics"}:  # they contain the time
                assert headers[b"content-length"] == b"%d" % len(got.body), path


def test_other_paths_and_methods_are_refused() -> None:
    """The response to a wrong path lists the endpoints; to a wrong method, the methods."""
    missing = handle_request("GET", "/", ready())
    assert missing.status == 404
    assert set(PATHS) <= set(body_of(missing).split())
    assert handle_request("GET", "/boot", ready(), only=PROBES).status == 404
    refused = handle_request("POST", "/readyz", ready())
    assert refused.status == 405
    assert dict(refused.headers)[b"allow"] == b"GET, HEAD"


def test_without_the_client_there_are_no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without prometheus-client the response names what to install."""
    importing = ("prometheus_client", "hive_boot.serving.metrics")
    for name in [name for name in sys.modules if name.startswith(importing)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    response = handle_request("GET", "/metrics", ready())
    assert response.status == 501
    assert "hive_boot[metrics]" in body_of(response)


def test_a_collector_that_lacks_a_module_is_not_hidden() -> None:
    """A failed import in a collector of the application is raised, not reported as ours."""

    class Broken:
        def describe(self) -> list[Any]:
            return []

        def collect(self) -> list[Any]:
            raise ModuleNotFoundError(name="psutil")

    broken = Broken()
    REGISTRY.register(broken)
    try:
        with pytest.raises(ModuleNotFoundError):
            handle_request("GET", "/metrics", ready())
    finally:
        REGISTRY.unregister(broken)


def starlette_app() -> App:
    """Mount the endpoints in Starlette."""
    app: App = Starlette(routes=[Mount("/internal", ENDPOINTS)])
    return app


def fastapi_app() -> App:
    """Mount the endpoints in FastAPI."""
    app = FastAPI()
    app.mount("/internal", ENDPOINTS)
    mounted: App = app
    return mounted


def litestar_app() -> App:
    """Mount the endpoints in Litestar."""
    mounted = litestar.asgi("/internal", is_mount=True, copy_scope=True)(ENDPOINTS)
    app: App = cast("App", litestar.Litestar([mounted], openapi_config=None))
    return app


@pytest.mark.parametrize("make", [starlette_app, fastapi_app, litestar_app])
async def test_they_can_be_mounted_below_a_prefix(make: Any) -> None:  # noqa: ANN401
    """All endpoints respond below a mount of Starlette, FastAPI and Litestar, and a proxy."""
    app = make()
    for root_path in ("", "/api"):
        async with client(app, root_path) as asking:
            for path in (*PATHS, "/boot.css", "/boot.js"):
                response = await asking.get(f"{root_path}/internal{path}")
                assert response.status_code == 200, (root_path, path)
            for path in ("/", "/nothing"):
                assert (await asking.get(f"{root_path}/internal{path}")).status_code == 404


async def test_the_page_can_be_opened_with_a_slash() -> None:
    """The files of the page are found also when its address ends with a slash."""
    async with client(ENDPOINTS) as asking:
        for path in ("/boot/", "/boot/boot.css", "/boot/boot.js", "/boot/boot.json"):
            response = await asking.get(path)
            assert response.status_code == 200, path
        assert response.json()["name"] == "hive"
        assert (await asking.get("/boot/nothing")).status_code == 404


async def test_they_can_be_served_alone() -> None:
    """They are a separate application; a server may pass a prefix that it has removed."""
    for root_path in ("", "/", "/api", "/live"):
        async with client(ENDPOINTS, root_path) as asking:
            response = await asking.get("/livez", headers={"x-other": "1"})
            assert (response.status_code, response.text) == (200, "ready\n"), root_path
            assert (await asking.head("/boot")).content == b""


async def test_a_scrape_can_choose_the_format() -> None:
    """The header ``Accept`` of a scrape selects the format."""
    async with client(ENDPOINTS) as asking:
        accept = "application/openmetrics-text; version=1.0.0"
        response = await asking.get("/metrics", headers={"accept": accept})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


class Conversation:
    """A server, seen from an application: the events it sends and receives."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.found: list[Message] = []

    async def receive(self) -> Message:
        """Return the next event."""
        return self.messages.pop(0)

    async def send(self, message: Message) -> None:
        """Store an event."""
        self.found.append(message)


async def test_the_details_are_answered_below_a_prefix() -> None:
    """The query and the name reach the endpoint through every way to serve it."""

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        assert await answer_probe(scope, send, unready)

    for each in (Endpoints(unready, "hive"), app):
        for root_path in ("", "/api"):
            async with client(each, root_path) as asking:
                response = await asking.get(f"{root_path}/readyz?verbose")
                assert (response.status_code, len(response.text.splitlines())) == (503, 7)
                response = await asking.get(f"{root_path}/readyz/%64atabase")
                assert response.status_code == 200
                assert (await asking.head(f"{root_path}/readyz/queue")).content == b""


async def test_they_complete_a_lifespan() -> None:
    """Startup and shutdown of a lifespan are completed."""
    conversation = Conversation({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    await ENDPOINTS({"type": "lifespan"}, conversation.receive, conversation.send)
    assert [each["type"] for each in conversation.found] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


async def test_they_close_a_websocket() -> None:
    """A websocket is closed before it is accepted."""
    conversation = Conversation({"type": "websocket.connect"})
    await ENDPOINTS(
        {"type": "websocket", "path": "/livez"}, conversation.receive, conversation.send
    )
    assert [each["type"] for each in conversation.found] == ["websocket.close"]


async def test_the_outermost_layer_answers_only_probes() -> None:
    """Around an application only the three probes are answered; the application gets the rest."""
    asked = 0

    def status() -> Status:
        nonlocal asked
        asked += 1
        return starting()

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        if not await answer_probe(scope, send, status):
            await Endpoints(ready, "inner")(scope, receive, send)

    async with client(app) as asking:
        assert (await asking.get("/readyz?verbose")).text == "starting\n"
        assert (await asking.post("/livez")).status_code == 405
        assert (await asking.get("/readyz/queue")).text.startswith("Not found. /readyz")
        assert asked == 3
        assert (await asking.get("/health")).json()["state"] == "ready"
        assert (await asking.get("/nothing")).status_code == 404
        assert (await asking.get("/readyz/")).status_code == 200  # of the application
    assert asked == 3
    assert not await answer_probe({"type": "websocket"}, Conversation().send, status)
