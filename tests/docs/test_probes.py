"""Examples, names and numbers of docs/probes.md, compared with a real run."""

import json
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path

import pytest

from hive_boot import Bootstrap
from hive_boot._timings import DEFAULTS
from hive_boot.lifecycle.states import State
from hive_boot.runtime.status import Status
from hive_boot.serving import probe_server
from hive_boot.serving.endpoints import PATHS, PROBES, describe
from hive_boot.serving.status_page import status_as_json
from tests.docs.reading import python_files, write_files
from tests.fixtures.forking import Interpreter, forking
from tests.support import ROOT, started_child

TEXT = (ROOT / "docs" / "probes.md").read_text("utf-8")

PYTHON = python_files(TEXT)
(YAML,) = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
(JSON,) = re.findall(r"^```json\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)

ENVIRONMENT = {"HIVE_BOOT_MODE": "environment", "DB_PASSWORD": "fake-password-1"}

# Serves an application with uvicorn, and requests the paths in the arguments.
ASK = """
import sys
import anyio
import httpx2
import uvicorn

async def ask(app):
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="on"))
    async with anyio.create_task_group() as group:
        group.start_soon(server._serve)
        with anyio.fail_after(30):
            while not server.started:
                await anyio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for path in sys.argv[1:]:
                response = await client.get(path)
                print(path, response.status_code, response.text.partition("\\n")[0])
        server.should_exit = True

"""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """Return a directory that contains the Python blocks of the page."""
    return write_files(tmp_path, PYTHON)


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Interpreter]:
    """Start the interpreter that runs the programs of this page."""
    with forking("import anyio, fastapi, httpx2, prometheus_client, uvicorn") as interpreter:
        yield interpreter


@pytest.fixture
def run(workplace: Path, interpreter: Interpreter) -> Callable[..., list[str]]:
    """Return a function that runs a program beside the blocks and returns its output lines."""

    def run(source: str, *arguments: str) -> list[str]:
        child = interpreter.run(source, *arguments, cwd=workplace, **ENVIRONMENT)
        assert child.returncode == 0, child.stdout + child.stderr
        return child.stdout.splitlines()

    return run


def test_every_block_is_tried() -> None:
    """Every block is covered by a test of this module."""
    blocks = {"app.py", "wrapped.py", "mounted.py", "worker.py", "orders.py", "registered.py"}
    blocks |= {"exported.py"}
    assert PYTHON.keys() == blocks
    assert len(re.findall(r"^```python$", TEXT, re.MULTILINE)) == len(blocks)


def test_around_an_application(run: Callable[..., list[str]]) -> None:
    """The three probes and the application are answered, the other endpoints are not."""
    paths = [*PATHS, "/orders"]
    lines = run(f"{ASK}from wrapped import app\nanyio.run(ask, app)\n", *paths)
    assert [line.split()[1] for line in lines] == ["200"] * 3 + ["404"] * 4 + ["200"]


def test_mounted_by_hand(run: Callable[..., list[str]]) -> None:
    """All endpoints are below the mounted path."""
    paths = [f"/internal{path}" for path in PATHS]
    lines = run(f"{ASK}from mounted import app\nanyio.run(ask, app)\n", *paths)
    assert [line.split()[1] for line in lines] == ["200"] * len(PATHS)
    assert {line.split()[2] for line in lines[:3]} == {State.READY}


def test_on_a_port_of_its_own(workplace: Path) -> None:
    """A worker answers on its probe port, and stops in order."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    worker = workplace / "worker.py"
    worker.write_text(PYTHON["worker.py"].replace("8081", str(port)), "utf-8")
    program = "import runpy; runpy.run_path('worker.py', run_name='__main__')"
    with started_child(program, cwd=workplace, **ENVIRONMENT) as child:
        policy = time.monotonic() + 30
        while fetch(port, "/readyz") != 200:
            assert child.poll() is None
            assert time.monotonic() < policy
            time.sleep(0.02)
        assert [fetch(port, path) for path in PATHS] == [200] * len(PATHS)
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0


def fetch(port: int, path: str) -> int:
    """Request a path and return the status; 0 while nothing listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
            status: int = response.status
            return status
    except urllib.error.HTTPError as exc:
        exc.close()
        return exc.code
    except OSError:
        return 0


def test_a_contributor_is_shown_as_in_the_text(run: Callable[..., list[str]]) -> None:
    """A broker that refuses connections makes the probe fail, and the details are those shown."""
    program = """
import anyio
import orders
from app import boot
from hive_boot.serving.endpoints import handle_request

async def refuse(self):
    raise ConnectionRefusedError("fake-password-1")

async def main():
    for ping in (None, refuse):
        orders.Consumer.ping = ping or orders.Consumer.ping
        async with boot.running():
            with anyio.fail_after(30):
                while (status := boot.status()).contributors[0].age is None or (
                    not status.completed_services
                ):
                    await anyio.sleep(0.005)
            response = handle_request("GET", "/readyz", status, query="verbose")
            print(response.status, response.body.decode(), end="")
anyio.run(main)
"""
    passing, failing = ("\n".join(run(program)) + "\n").split("503 ")
    (shown,) = re.findall(r"^```text\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert failing == shown
    assert passing == "200 ready\n[+] broker: passes\n[+] service heartbeat: has returned\n"


def test_a_registry_of_one_s_own(run: Callable[..., list[str]]) -> None:
    """The metrics can be registered in another registry."""
    program = (
        "import anyio\n"
        "from registered import boot, registry\n"
        "async def main():\n"
        "    async with boot.running():\n"
        "        print(registry.get_sample_value('hive_boot_ready'))\n"
        "anyio.run(main)\n"
    )
    assert run(program) == ["1.0"]


def test_spans_and_metrics_go_to_opentelemetry(run: Callable[..., list[str]]) -> None:
    """The application of the page exports its start and that it is ready."""
    program = (
        "import anyio\n"
        "from opentelemetry import metrics, trace\n"
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "from opentelemetry.sdk.metrics.export import InMemoryMetricReader\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import SimpleSpanProcessor\n"
        "from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter\n"
        "reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()\n"
        "metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))\n"
        "trace.set_tracer_provider(TracerProvider())\n"
        "trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))\n"
        "from exported import boot\n"
        "async def main():\n"
        "    async with boot.running():\n"
        "        while not exporter.get_finished_spans():\n"
        "            await anyio.sleep(0.01)\n"
        "        print(exporter.get_finished_spans()[-1].name)\n"
        "        print('hive_boot.ready' in reader.get_metrics_data().to_json())\n"
        "anyio.run(main)\n"
    )
    assert run(program) == ["hive_boot.start", "True"]


def test_the_names_are_right() -> None:
    """The page has exactly the existing paths and fields."""
    assert set(re.findall(r"^\| `(/[\w.]+)` \|", TEXT, re.MULTILINE)) == set(PATHS)
    assert json.loads(JSON).keys() == describe(Status()).keys()
    assert set(re.findall(r"path: (/\w+)", YAML)) == set(PROBES)


def test_the_numbers_are_right() -> None:
    """The seconds and limits of the page are those of the code."""
    assert (DEFAULTS.probe_timeout, probe_server.MAX_CONNECTIONS) == (10, 100)
    for name in ("timeout", "interval"):
        seconds = signature(Bootstrap.readiness).parameters[name].default
        assert f"`{name}` seconds ({seconds})" in TEXT
    script = (ROOT / "hive_boot" / "serving" / "status_page" / "page.js").read_text("utf-8")
    assert "steps: 200," in script
    statuses = (Status(), Status(state=State.READY))
    intervals = [
        json.loads(status_as_json("orders", status, DEFAULTS))["refresh_interval"]
        for status in statuses
    ]
    assert intervals == [2, 10]
