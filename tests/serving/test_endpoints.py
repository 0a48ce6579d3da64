"""What a probe, a collector and a person are told, and by which way they come."""

import json
import sys
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
    Response,
    answer_probe,
    handle_request,
)
from tests.fixtures.golden import assert_golden
from tests.serving.statuses import degraded, ready, starting, stopping

pytestmark = pytest.mark.anyio

DRAINING = ready(state=State.DRAINING, ready=False)

ENDPOINTS = Endpoints(ready, "hive")


def body_of(response: Response) -> str:
    """Give what an answer says."""
    return response.body.decode()


def client(app: App, root_path: str = "") -> httpx2.AsyncClient:
    """Be a client of an application."""
    transport = httpx2.ASGITransport(app, root_path=root_path)
    return httpx2.AsyncClient(transport=transport, base_url="http://hive")


def test_a_probe_is_told_the_state_and_no_name() -> None:
    """A kubelet gets a status, and whoever reads along a word of why: never a secret's name."""
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


def test_a_program_reads_how_it_is_in_one_word() -> None:
    """``/health`` says in one word whether all is well, and the rest in fields."""
    for status, code, word in (
        (starting(), 503, "starting"),
        (ready(), 200, "ok"),
        (degraded(), 200, "degraded"),
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
            "generation": status.generation,
            "uptime": status.uptime,
        }


def test_the_answers_are_worded() -> None:
    """The bodies of ``/readyz`` and ``/health``, in four states one after another."""
    told = ""
    for title, status in (
        ("starting", starting()),
        ("ready", ready()),
        ("degraded", degraded()),
        ("draining", DRAINING),
    ):
        for path in ("/readyz", "/health"):
            response = handle_request("GET", path, status)
            told += f"{title}: GET {path} {response.status}\n{body_of(response)}"
    assert_golden("readyz_verbose_or_health", told)


async def test_a_reason_that_holds_a_value_is_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a value ever get into a reason, it does not get out."""

    class Own(SecretSet):
        token: Secret

    monkeypatch.setenv("TOKEN", "fake-value-0001")
    status = ready(degraded=True, reasons=("it is fake-value-0001",))
    async with Bootstrap(Own, mode="environment").running():
        for path in ("/health", "/boot.json"):
            assert "it is ***" in body_of(handle_request("GET", path, status))


def test_a_head_is_a_get_without_the_body() -> None:
    """Who asks by HEAD learns the length of the answer, and nobody keeps either."""
    for path in (*PATHS, "/nothing"):
        got, head = (handle_request(method, path, Status()) for method in ("GET", "HEAD"))
        assert head.body == b""
        assert head.status == got.status
        for response in (got, head):
            headers = dict(response.headers)
            assert headers[b"cache-control"] == b"no-store"
            if path not in {"/boot.json", "/metrics"}:  # they contain the time
                assert headers[b"content-length"] == b"%d" % len(got.body), path


def test_there_is_nothing_else() -> None:
    """A wrong path says which there are; a wrong method says which are right."""
    missing = handle_request("GET", "/", ready())
    assert missing.status == 404
    assert set(PATHS) <= set(body_of(missing).split())
    assert handle_request("GET", "/boot", ready(), only=PROBES).status == 404
    refused = handle_request("POST", "/readyz", ready())
    assert refused.status == 405
    assert dict(refused.headers)[b"allow"] == b"GET, HEAD"


def test_without_the_client_there_are_no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape without prometheus-client is told what to install."""
    for name in [name for name in sys.modules if name.startswith("prometheus_client")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    response = handle_request("GET", "/metrics", ready())
    assert response.status == 501
    assert "hive_boot[metrics]" in body_of(response)


def test_what_another_collector_lacks_is_not_ours() -> None:
    """A collector of somebody else that cannot import something is not taken for ours."""

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
    """All of them answer below a mount of Starlette, FastAPI and Litestar, and behind a proxy."""
    app = make()
    for root_path in ("", "/api"):
        async with client(app, root_path) as asking:
            for path in (*PATHS, "/boot.css", "/boot.js"):
                response = await asking.get(f"{root_path}/internal{path}")
                assert response.status_code == 200, (root_path, path)
            for path in ("/", "/nothing"):
                assert (await asking.get(f"{root_path}/internal{path}")).status_code == 404


async def test_they_can_be_served_alone() -> None:
    """They are an application of their own; a server may tell of a prefix that it took off."""
    for root_path in ("", "/", "/api", "/live"):
        async with client(ENDPOINTS, root_path) as asking:
            response = await asking.get("/livez", headers={"x-other": "1"})
            assert (response.status_code, response.text) == (200, "ready\n"), root_path
            assert (await asking.head("/boot")).content == b""


async def test_a_scrape_can_choose_the_format() -> None:
    """The header ``Accept`` of a scrape is heard."""
    async with client(ENDPOINTS) as asking:
        accept = "application/openmetrics-text; version=1.0.0"
        response = await asking.get("/metrics", headers={"accept": accept})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


class Talk:
    """A server, seen from an application: what it says, and what it is told."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.told: list[Message] = []

    async def receive(self) -> Message:
        """Say the next thing."""
        return self.messages.pop(0)

    async def send(self, message: Message) -> None:
        """Be told."""
        self.told.append(message)


async def test_they_live_as_long_as_the_server_likes() -> None:
    """A server that asks for a lifespan gets one."""
    talk = Talk({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    await ENDPOINTS({"type": "lifespan"}, talk.receive, talk.send)
    assert [each["type"] for each in talk.told] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


async def test_they_do_not_talk_over_a_websocket() -> None:
    """A websocket is closed before it is open."""
    talk = Talk({"type": "websocket.connect"})
    await ENDPOINTS({"type": "websocket", "path": "/livez"}, talk.receive, talk.send)
    assert [each["type"] for each in talk.told] == ["websocket.close"]


async def test_the_outermost_wrapper_answers_probes_alone() -> None:
    """Around an application only the three probes are answered; the rest is the application's."""
    asked = 0

    def status() -> Status:
        nonlocal asked
        asked += 1
        return starting()

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        if not await answer_probe(scope, send, status):
            await Endpoints(ready, "inner")(scope, receive, send)

    async with client(app) as asking:
        assert (await asking.get("/readyz")).text == "starting\n"
        assert (await asking.post("/livez")).status_code == 405
        assert asked == 2
        assert (await asking.get("/health")).json()["state"] == "ready"
        assert (await asking.get("/nothing")).status_code == 404
    assert asked == 2
    assert not await answer_probe({"type": "websocket"}, Talk().send, status)
