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
from hive_boot.bootstrap.status import Status
from hive_boot.lifecycle.states import State
from hive_boot.serving.asgi import App, Message
from hive_boot.serving.endpoints import PATHS, PROBES, Endpoints, Response, answer, answer_probe
from tests.serving.situations import degraded, ready, starting, stopping

pytestmark = pytest.mark.anyio

ENDPOINTS = Endpoints(ready, "hive")


def body_of(response: Response) -> str:
    """Give what an answer says."""
    return response.body.decode()


def client(app: App, root_path: str = "") -> httpx2.AsyncClient:
    """Be a client of an application."""
    transport = httpx2.ASGITransport(app, root_path=root_path)
    return httpx2.AsyncClient(transport=transport, base_url="http://hive")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (Status(), (200, 503, 503, "armed")),
        (starting(), (200, 503, 503, "starting")),
        (ready(), (200, 200, 200, "ready")),
        (ready(state=State.RELOADING), (200, 200, 200, "reloading")),
        (degraded(), (200, 200, 200, "ready")),
        (ready(state=State.DRAINING, ready=False), (200, 503, 200, "draining")),
        (stopping(), (200, 503, 200, "stopping")),
    ],
)
def test_a_probe_is_told_the_state_and_no_name(
    status: Status, told: tuple[int, int, int, str]
) -> None:
    """A kubelet gets a status, and whoever reads along a word of why: never a secret's name."""
    answers = [answer("GET", path, status) for path in PROBES]
    assert tuple(each.status for each in answers) == told[:3]
    assert {each.body for each in answers} == {f"{told[3]}\n".encode()}


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (starting(), 503, "starting"),
        (ready(), 200, "ok"),
        (degraded(), 200, "degraded"),
        (stopping(), 503, "stopping"),
    ],
)
def test_a_program_reads_how_it_is_in_one_word(status: Status, code: int, word: str) -> None:
    """``/health`` says in one word whether all is well, and the rest in fields."""
    response = answer("GET", "/health", status)
    told = json.loads(response.body)
    assert (response.status, told["status"]) == (code, word)
    assert told == {
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


async def test_a_reason_that_holds_a_value_is_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a value ever get into a reason, it does not get out."""

    class Own(SecretSet):
        token: Secret

    monkeypatch.setenv("TOKEN", "fake-value-0001")
    status = ready(degraded=True, reasons=("it is fake-value-0001",))
    async with Bootstrap(Own, mode="environment").running():
        for path in ("/health", "/boot"):
            assert "it is ***" in body_of(answer("GET", path, status))


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
def test_a_head_is_a_get_without_the_body(path: str) -> None:
    """Who asks by HEAD learns the length of the answer, and nobody keeps either."""
    got, head = (answer(method, path, Status()) for method in ("GET", "HEAD"))
    assert head.body == b""
    assert head.status == got.status
    for response in (got, head):
        headers = dict(response.headers)
        assert headers[b"cache-control"] == b"no-store"
        if path not in {"/boot", "/metrics"}:  # they hold the time
            assert headers[b"content-length"] == b"%d" % len(got.body)


def test_there_is_nothing_else() -> None:
    """A wrong path says which there are; a wrong method says which are right."""
    missing = answer("GET", "/", ready())
    assert missing.status == 404
    assert body_of(missing).split()[-6:] == list(PATHS)
    assert answer("GET", "/boot", ready(), only=PROBES).status == 404
    refused = answer("POST", "/readyz", ready())
    assert refused.status == 405
    assert dict(refused.headers)[b"allow"] == b"GET, HEAD"


def test_without_the_client_there_are_no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape without prometheus-client is told what to install."""
    for name in [name for name in sys.modules if name.startswith("prometheus_client")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    response = answer("GET", "/metrics", ready())
    assert response.status == 501
    assert "pip install 'hive_boot[metrics]'" in body_of(response)


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
            answer("GET", "/metrics", ready())
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


@pytest.mark.parametrize("root_path", ["", "/api"])
@pytest.mark.parametrize("make", [starlette_app, fastapi_app, litestar_app])
async def test_they_can_be_mounted_below_a_prefix(make: Any, root_path: str) -> None:  # noqa: ANN401
    """All of them answer below a mount of Starlette, FastAPI and Litestar, and behind a proxy."""
    async with client(make(), root_path) as asking:
        for path in PATHS:
            response = await asking.get(f"{root_path}/internal{path}")
            assert response.status_code == 200, path
        for path in ("/", "/nothing"):
            assert (await asking.get(f"{root_path}/internal{path}")).status_code == 404


@pytest.mark.parametrize("root_path", ["", "/", "/api", "/live"])
async def test_they_can_be_served_alone(root_path: str) -> None:
    """They are an application of their own; a server may tell of a prefix that it took off."""
    async with client(ENDPOINTS, root_path) as asking:
        response = await asking.get("/livez", headers={"x-other": "1"})
        assert (response.status_code, response.text) == (200, "ready\n")
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
