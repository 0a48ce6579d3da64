"""``Bootstrap`` and its doors: what is served, what is refused, and what a worker answers."""

import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from httpx2 import ASGITransport, AsyncClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from hive_boot import Bootstrap, InvalidSecretsError, Secret, SecretSet
from hive_boot.lifecycle.states import State
from hive_boot.serving.asgi import app_lifespan
from hive_boot.serving.endpoints import App
from tests.fixtures.ports import free_port
from tests.serving.served import RESOURCES, SERVE, STOPPED, asked, serving
from tests.serving.talking import refuses

# Starts that fail

FAILING = {
    "a secret is missing": ("", "JWT_SECRET", 78, r"\bJWT_SECRET\b"),
    "a part fails": (
        """
@boot.resource
async def culprit(pool: str):
    raise RuntimeError("there is no connection")
    yield
""",
        "",
        70,
        r"^hive_boot: StartupError: .*\bculprit\b.*RuntimeError",
    ),
    "the application says that it fails": (
        """
async def app(scope, receive, send):
    await receive()
    failed = {"type": "lifespan.startup.failed", "message": "the tables are missing"}
    await send(failed)
""",
        "",
        70,
        "LifecycleError: the tables are missing",
    ),
    "its wrapped lifespan raises": (
        """
from fastapi import FastAPI

async def lifespan(app):
    raise RuntimeError("the tables are missing")
    yield

app = boot.asgi(FastAPI(lifespan=__import__("contextlib").asynccontextmanager(lifespan)))
""",
        "",
        70,
        "RuntimeError: the tables are missing",
    ),
    "its lifespan raises": (
        """
from fastapi import FastAPI

async def lifespan(app):
    raise ConnectionRefusedError("no database")
    yield

app = FastAPI(lifespan=__import__("contextlib").asynccontextmanager(lifespan))
""",
        "",
        70,
        "ConnectionRefusedError: no database",
    ),
}
"""The declaration, the missing variable, the exit status, and a pattern of a stderr line."""


@pytest.mark.parametrize("name", FAILING)
def test_a_start_that_fails_never_serves(name: str, tmp_path: Path) -> None:
    """Whoever asks meanwhile hears that it is not ready; what has started stops; it says why."""
    declared, missing, code, told = FAILING[name]
    server, backend = ("hypercorn", "trio") if "fails" in name else ("uvicorn", "asyncio")
    port = free_port()
    source = f"""
boot = Bootstrap(Needs)
{RESOURCES}{declared}{SERVE.replace("port=0", f"port={port}")}"""
    with serving(source, server, backend, cwd=tmp_path, **dict.fromkeys(missing.split(), "")) as it:
        answers = set()
        while it.process.poll() is None:
            answers.add(asked(port))
            time.sleep(0.005)
        assert it.end() == code, it.err
    assert answers <= {None, 503}
    assert it.out == ([] if missing else ["base starts", "pool starts", *STOPPED[1:]])
    assert it.logged(told), it.err
    assert not it.logged("(?i)ready after")


REFUSED = {
    "serve(with_main)": "DeclarationError main",
    "serve(plain, server='gunicorn')": "DeclarationError gunicorn uvicorn hypercorn",
    "serve(plain, server='uvicorn', backend='trio')": "DeclarationError uvicorn trio hypercorn",
    "serve(plain, backend='curio')": "DeclarationError curio asyncio trio uvloop",
    "serve(plain, server_options={{'workers': 2}})": "DeclarationError workers",
    "serve(plain, server_options={{'acess_log': 0}})": "DeclarationError acess_log access_log",
    "serve(plain, server='hypercorn', server_options={{'bind': 'x'}})": "DeclarationError bind",
    "serve(plain, server_options={{'forwarded_allow_ips': ['nginx']}})": "DeclarationError nginx",
    "serve(plain, server_options=[1])": "DeclarationError server_options",
    "serve(plain, tls='jwt_secret')": "DeclarationError tls",
    "serve(plain, uds='/nowhere/app.sock')": "LifecycleError /nowhere/app.sock",
    "serve(plain, fd=99)": "LifecycleError 99",
    "serve(plain, port={port})": "LifecycleError 127.0.0.1:{port}",
    "serve(Bootstrap(Needs, probe_port={every}))": "LifecycleError probe_port {every}",
}
"""The call, and the error class and data of the line on stderr."""


def test_an_error_of_the_call_is_one_line_and_exit_70(tmp_path: Path) -> None:
    """A port in use is such an error too."""
    with socket.socket() as taken, socket.socket() as everywhere:
        taken.bind(("127.0.0.1", 0))
        everywhere.bind(("", 0))
        taken.listen()
        everywhere.listen()
        ports = {"port": taken.getsockname()[1], "every": everywhere.getsockname()[1]}
        source = """
def serve(boot, **wishes):
    try:
        boot.serve(app, **{"port": 0, **wishes})
    except SystemExit as exc:
        print("exit", exc.code)

plain, with_main = Bootstrap(Needs), Bootstrap(Needs)

@with_main.main
async def main() -> None: ...
"""
        calls = "\n".join(REFUSED).format(**ports)
        with serving(f"{source}\n{calls}", "", "", cwd=tmp_path) as it:
            assert it.end() == 0
    assert it.out == ["exit 70"] * len(REFUSED)
    for line, told in zip(it.err, REFUSED.values(), strict=True):
        kind, *data = told.format(**ports).split()
        assert line.startswith(f"hive_boot: {kind}: ")
        assert all(datum in line for datum in data), (line, data)


# Applications that join

JOINING = {
    "FastAPI": """
from fastapi import Depends, FastAPI, Request

app = FastAPI(lifespan=boot.lifespan)

@app.get("/")
async def show(request: Request, pool: str = Depends(pool)) -> str:
    return told(request.state, pool)
""",
    "Starlette": """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

async def show(request):
    return JSONResponse(told(request.state, await pool()))

app = Starlette(routes=[Route("/", show)], lifespan=boot.lifespan)
""",
    "Litestar": """
from litestar import Litestar, Request, get

@get("/")
async def show(request: Request) -> str:
    return told(request.state, pool.value)

app = Litestar([show], lifespan=[boot.lifespan], logging_config=None)
""",
}


@pytest.mark.parametrize(
    ("framework", "server", "backend"),
    [
        ("FastAPI", "uvicorn", "asyncio"),
        ("Starlette", "hypercorn", "trio"),
        ("Litestar", "hypercorn", "asyncio"),
    ],
)
def test_a_framework_joins_the_run(
    framework: str, server: str, backend: str, tmp_path: Path
) -> None:
    """``lifespan=boot.lifespan`` starts nothing twice, and requests find secrets and parts."""
    source = f"""
boot = Bootstrap(Needs)
{RESOURCES}
def told(state, value):
    return f"{{state.base}} {{state.pool}} {{state.secrets is boot.secrets}} {{value}}"
{JOINING[framework]}{SERVE}"""
    with serving(source, server, backend, cwd=tmp_path) as it:
        it.wait_ready()
        assert it.ask().body.strip('"') == "base pool True pool"
        it.send(signal.SIGTERM)
        assert it.end() == 0, it.err
    assert it.out == ["base starts", "pool starts", *STOPPED[1:]]


# Workers without HTTP


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_worker_answers_probes_from_the_start_to_the_end(backend: str, tmp_path: Path) -> None:
    """From before the first read until the parts have stopped all six paths are answered."""
    source = """
boot = Bootstrap(
    Needs,
    mode="docker",
    secrets_dirs=sys.argv[3],
    wait_for_files=3600,
    probe_port=0,
    shutdown_delay=77,
)

@boot.resource
async def pool():
    await at("started")
    yield "pool"
    await at("stopped")

@boot.main
async def main() -> None:
    await anyio.sleep_forever()

boot.run(backend=backend)
"""
    mount = tmp_path / "secrets"
    mount.mkdir()

    def tell() -> tuple[list[tuple[int, str]], int, bool, bool]:
        port = it.probe_port
        health = it.ask("/health", port)
        assert '"mode": "docker"' in health.body
        page = it.ask("/boot.json", port)
        metrics = it.ask("/metrics", port)
        assert page.status == metrics.status == 200
        assert "Needs" in page.body
        is_ready = "hive_boot_ready 1.0" in metrics.body
        return it.probes(port), health.status, '"ready": true' in health.body, is_ready

    def not_ready(word: str, started: int) -> tuple[list[tuple[int, str]], int, bool, bool]:
        return [(200, word), (503, word), (started, word)], 503, False, False

    with serving(source, "", backend, str(mount), cwd=tmp_path, JWT_SECRET="") as it:
        it.wait_logged("3600 s .*JWT_SECRET")
        assert tell() == not_ready("loading", 503)
        (mount / "jwt_secret").write_text("fake-jwt-secret-0123456789")
        it.wait_told("at started")
        assert tell() == not_ready("starting", 503)
        it.open("started")
        it.wait_for(lambda: it.ask("/readyz", it.probe_port).status == 200)
        assert tell() == ([(200, "ready")] * 3, 200, True, True)
        it.send(signal.SIGTERM)
        it.wait_told("at drained")
        assert tell() == not_ready("draining", 200)
        it.open("drained")
        it.wait_told("at stopped")
        assert tell() == not_ready("stopping", 200)
        it.open("stopped")
        assert it.end() == 0, it.err
    assert asked(it.probe_port, "/livez") is None
    assert not any("Traceback" in line for line in it.err)


# Around an application, and inside of one


class Needs(SecretSet):
    """What the application needs."""

    jwt_secret: Secret


@pytest.fixture
def boot(monkeypatch: pytest.MonkeyPatch) -> Bootstrap[Needs]:
    """Declare an application with a part."""
    monkeypatch.setenv("JWT_SECRET", "fake-jwt-secret-0123456789")
    boot = Bootstrap(Needs, mode="environment")

    @boot.resource
    async def pool() -> AsyncIterator[str]:
        yield "pool"

    return boot


async def show(request: Request) -> JSONResponse:
    """Answer with what is in the state."""
    return JSONResponse([request.state.pool, sorted(request.state._state)])


def wrapped(boot: Bootstrap[Needs]) -> App:
    """Wrap an application that knows nothing of it."""
    return boot.asgi(Starlette(routes=[Route("/", show)]))


def joined(boot: Bootstrap[Needs]) -> App:
    """Wrap an application that joins, too."""
    return boot.asgi(Starlette(routes=[Route("/", show)], lifespan=boot.lifespan))


@pytest.mark.anyio
@pytest.mark.both_backends
@pytest.mark.parametrize("make", [wrapped, joined])
async def test_the_outermost_layer_starts_everything(
    boot: Bootstrap[Needs], make: Callable[[Bootstrap[Needs]], App]
) -> None:
    """Under any server the parts run while the application does, and requests find them."""
    app = make(boot)
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://here") as client:
        assert (await client.get("/")).status_code == 500
        assert (await client.get("/livez")).text == "armed\n"
        state: dict[str, Any] = {}
        async with app_lifespan(app, state):
            assert boot.status().state is State.READY
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.get("/health")).status_code == 404
            answer = await client.get("/")
            assert answer.json() == ["pool", ["config", "pool", "secrets"]]
            assert state["secrets"] is boot.secrets
        assert boot.status().state is State.ARMED
        assert (await client.get("/startupz")).status_code == 503
        assert (await client.get("/")).status_code == 500


@pytest.mark.anyio
async def test_a_failed_start_is_reported_to_the_server(
    boot: Bootstrap[Needs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server can start again when the secret exists."""
    value = "fake-jwt-secret-0123456789"
    monkeypatch.delenv("JWT_SECRET")
    with pytest.raises(InvalidSecretsError, match=r"\bJWT_SECRET\b"):
        async with app_lifespan(wrapped(boot), {}):
            pytest.fail("it was served")
    monkeypatch.setenv("JWT_SECRET", value)
    async with app_lifespan(wrapped(boot), {}):
        assert boot.secrets.jwt_secret.matches(value)


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_all_endpoints_can_be_mounted(boot: Bootstrap[Needs]) -> None:
    """What is mounted by hand has all paths, and the status has the declaration's name."""
    app = Starlette(routes=[Mount("/internal", boot.probes)], lifespan=boot.lifespan)
    transport = ASGITransport(app=app)
    async with AsyncClient(transport=transport, base_url="http://here/internal") as client:
        assert (await client.get("/readyz")).status_code == 503
        async with app_lifespan(app, {}):
            for path in ("/livez", "/readyz", "/startupz", "/health", "/metrics", "/boot"):
                answer = await client.get(path)
                assert answer.status_code == 200, path
            answer = await client.get("/boot.json")
            assert "Needs" in answer.text
            assert "fake-jwt-secret" not in answer.text


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_a_block_has_a_probe_port_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever owns the process themselves has the probes while the block lasts."""
    monkeypatch.setenv("JWT_SECRET", "fake-jwt-secret-0123456789")
    caplog.set_level("INFO", "hive_boot")
    boot = Bootstrap(Needs, mode="environment", probe_port=0)
    async with boot.running():
        port = int(re.findall(r"(?i)\bprobe.*\bport (\d+)", caplog.text)[0])
        async with AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/readyz")).text == "ready\n"
    assert await refuses(port)
