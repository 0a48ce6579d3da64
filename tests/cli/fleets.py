"""Instances of a fleet, each a small HTTP server with the metrics of a process, and Prometheus."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from hive_boot.cli.main import main
from tests.fixtures.ports import free_port

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    Groups = Sequence[tuple[Sequence["Server | str"], dict[str, str]]]

INTERVAL = 0.2
"""Scrape interval of the Prometheus of the tests in seconds."""


class Clock:
    """The clock of the simulated processes, which a test can replace."""

    monotonic = staticmethod(time.monotonic)


@dataclass(slots=True, kw_only=True)
class Process:
    """The metrics of one process, with its uptime when it was created here."""

    id: str
    accepted: str | None = "v2"
    current: str | None = "v2"
    worker: str = "false"
    endpoint: str = "app"
    uptime: float = 10_000.0
    pending_hooks: float = 0
    failed_hooks: float = 0
    resources_on_old: float = 0
    degraded: float = 0
    old_use_age: dict[str, float] = field(default_factory=lambda: {"JWT_SECRET": 9_000.0})
    uses: dict[str, float] = field(default_factory=lambda: {"JWT_SECRET": 7.0})
    accept_old_for: dict[str, float] = field(default_factory=lambda: {"JWT_SECRET": 3_600.0})
    created: float = field(default_factory=lambda: Clock.monotonic())  # noqa: PLW0108  (a test replaces it)

    def metrics(self) -> str:
        """Return the text that a scrape of this process returns."""
        elapsed = Clock.monotonic() - self.created
        identity = f'id="{self.id}",worker="{self.worker}",endpoint="{self.endpoint}"'
        lines = [
            "# HELP hive_boot_ready Whether it is ready.",
            "hive_boot_ready 1.0",
            f"hive_boot_process_info{{{identity}}} 1.0",
            f"hive_boot_uptime_seconds {self.uptime + elapsed}",
            f"hive_boot_pending_hooks {self.pending_hooks}",
            f"hive_boot_failed_hooks {self.failed_hooks}",
            f"hive_boot_resources_on_old {self.resources_on_old}",
            f"hive_boot_degraded {self.degraded}",
        ]
        for stage, version in (("accepted", self.accepted), ("current", self.current)):
            if version is not None:
                labels = f'version="{version}",stage="{stage}"'
                lines.append(f"hive_boot_secrets_info{{{labels}}} 1.0")
        for name, age in self.old_use_age.items():
            lines.append(f'hive_boot_secret_old_use_age_seconds{{secret="{name}"}} {age}')
        for name, uses in self.uses.items():
            for value, number in (("current", uses), ("pending", 0), ("old", 0)):
                labels = f'secret="{name}",value="{value}"'
                lines.append(f"hive_boot_secret_uses_total{{{labels}}} {number}")
        for name, length in self.accept_old_for.items():
            lines.append(f'hive_boot_accept_old_for_seconds{{secret="{name}"}} {length}')
        return "\n".join([*lines, ""])


Answer = Callable[["Request"], "tuple[int, dict[str, str], bytes]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request to a server: its path with the query, and its headers."""

    path: str
    headers: dict[str, str]


class _Silent(ThreadingHTTPServer):
    """A server that does not report a client that has closed the connection."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignore the error."""


class Server:
    """An HTTP server on loopback.

    Attributes:
        answer: returns the status, the headers and the body of each response.
        requests: all requests.
        port: the port.
    """

    def __init__(self, answer: Answer, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            """Answers GET."""

            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                """Answer a request."""
                request = Request(path=self.path, headers=dict(self.headers.items()))
                server.requests.append(request)
                status, headers, body = server.answer(request)
                # Otherwise a thread would answer on this connection after the end of the server.
                self.close_connection = True
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = _Silent((host, port), Handler)
        self.host = host
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Return the URL of the root."""
        return f"http://{self.host}:{self.port}"

    @property
    def address(self) -> str:
        """Return host and port."""
        return f"{self.host}:{self.port}"

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Answer over TLS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def close(self) -> None:
        """Stop the server; a second call does nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def metrics_of(*processes: Process) -> Answer:
    """Return an answer with the metrics of a process; of several ones in turn."""
    number = iter(range(1 << 30))

    def answer(_: Request) -> tuple[int, dict[str, str], bytes]:
        process = processes[next(number) % len(processes)]
        return 200, {"Content-Type": "text/plain; version=0.0.4"}, process.metrics().encode()

    return answer


class Fleet:
    """Servers that a test starts, and that its end stops."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def serve(self, *processes: Process, host: str = "127.0.0.1", port: int = 0) -> Server:
        """Start a server with the metrics of a process; of several ones in turn."""
        return self.server(metrics_of(*processes), host=host, port=port)

    def server(self, answer: Answer, *, host: str = "127.0.0.1", port: int = 0) -> Server:
        """Start a server."""
        server = Server(answer, host=host, port=port)
        self._stack.callback(server.close)
        return server

    def close(self) -> None:
        """Stop all servers."""
        self._stack.close()


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Return a fleet without instances."""
    made = Fleet()
    yield made
    made.close()


class Prometheus:
    """A real Prometheus, which scrapes every 0.2 s.

    Attributes:
        url: its URL.
        targets: the addresses that it scrapes, read again without a restart.
    """

    def __init__(self, directory: Path, groups: Groups, job: dict[str, Any] | None = None) -> None:
        directory.mkdir()
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._targets = directory / "targets.json"
        self.scrape_groups(groups)
        config = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
            "scrape_configs": [
                {
                    "job_name": "shop",
                    "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "100ms"}],
                    **(job or {}),
                }
            ],
        }
        # JSON is YAML.
        (directory / "prometheus.yml").write_text(json.dumps(config), "utf-8")
        self.start()

    def start(self) -> None:
        """Start the process, and wait until it answers."""
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("prometheus is not installed")
        self._log = (self.directory / "log").open("a")
        # A worker of pytest may be killed, and Prometheus would scrape until the machine stops.
        setpriv = shutil.which("setpriv")
        self._process = subprocess.Popen(
            [
                *([setpriv, "--pdeathsig", "KILL"] if setpriv else []),
                program,
                f"--config.file={self.directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=self._log,
            stderr=self._log,
            cwd=self.directory,
        )
        wait_until(lambda: fetch(f"{self.url}/-/ready") is not None)

    def stop(self) -> None:
        """Stop the process."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def scrape(self, servers: Sequence[Server | str], **labels: str) -> None:
        """Set the targets: servers or addresses, all with the same further labels."""
        self.scrape_groups([(servers, labels)])

    def scrape_groups(self, groups: Groups) -> None:
        """Set groups of targets, each with its labels. Prometheus needs up to 5 s to follow."""
        content = [
            {
                "targets": [each if isinstance(each, str) else each.address for each in servers],
                "labels": labels,
            }
            for servers, labels in groups
        ]
        new = self._targets.with_suffix(".new")
        new.write_text(json.dumps(content), "utf-8")
        new.replace(self._targets)

    def query(self, query: str) -> list[dict[str, Any]]:
        """Return the result of an instant query."""
        text = fetch(f"{self.url}/api/v1/query?query={quote(query)}")
        result: list[dict[str, Any]] = json.loads(text or "{}")["data"]["result"]
        return result

    def wait_for(self, query: str, number: int) -> None:
        """Wait until a query has a number of results."""
        wait_until(lambda: len(self.query(query)) == number)


def fetch(url: str) -> str | None:
    """Return the body of a response; None if there is no response with the status 200."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310  (loopback)
            text: str = response.read().decode()
            return text
    except OSError:
        return None


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[..., Prometheus]]:
    """Return a function that starts a Prometheus, and waits until it scrapes its targets.

    Its arguments are servers, a change of the scrape configuration, and labels of the targets.
    """
    started: list[Prometheus] = []

    def start(
        servers: Sequence[Server | str] = (),
        job: dict[str, Any] | None = None,
        *,
        groups: Groups | None = None,
        up: int | None = None,
        **labels: str,
    ) -> Prometheus:
        directory = tmp_path / f"prometheus-{len(started)}"
        groups = [(servers, labels)] if groups is None else groups
        made = Prometheus(directory, groups, job)
        started.append(made)
        number = sum(len(each) for each, _ in groups) if up is None else up
        wait_until(lambda: len(made.query("up == 1")) >= number)
        return made

    yield start
    for each in started:
        each.stop()


Start = Callable[..., Prometheus]
"""The type of the fixture ``prometheus``."""

FAST = ("--interval", "0.05", "--timeout", "60")
"""A wait that ends when there is proof; a machine under load needs longer."""

SHORT = ("--interval", "0.05", "--timeout", "1")
"""A wait of some scrapes in which there is no proof."""


def wait(
    capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, set[tuple[str, str]], dict[str, Any]]:
    """Run ``fleet wait v2``: its status, the name and kind of each straggler, and JSON."""
    status = main(["fleet", "wait", "v2", "--json", *arguments])
    facts = json.loads(capsys.readouterr().out)
    return status, {(each["name"], each["kind"]) for each in facts["stragglers"]}, facts


def expect_stragglers(
    capsys: pytest.CaptureFixture[str], expected: set[tuple[str, str]], *arguments: str
) -> None:
    """Wait until the stragglers are the expected ones; there must never be proof."""

    def are_expected() -> bool:
        status, found, _ = wait(capsys, *arguments, *SHORT)
        assert status == 75
        return found == expected

    wait_until(are_expected)


@dataclass(slots=True)
class Api:
    """The answers of a Prometheus with one target, whose clock is an hour behind."""

    fleet: Fleet
    now: float = field(default_factory=lambda: datetime.now(UTC).timestamp() - 3600)
    started: float = -7200.0
    at: float | None = 0.0
    process: Process = field(default_factory=lambda: Process(id="a1"))
    target: dict[str, Any] = field(default_factory=dict)
    samples: int = 5
    appears: bool = False
    endpoints: dict[str, Any] = field(default_factory=dict)
    rounds: int = 0
    tick: float = 0.0
    offset: float = 0.0
    resets: bool = False
    dropped: str = ""

    def answer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        """Answer one request."""
        parts = urlsplit(request.path)
        endpoint = parts.path.removeprefix("/api/v1/")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        found = self.endpoints.get(endpoint, getattr(self, endpoint.replace("/", "_"), None))
        data = found(query) if callable(found) else found
        if isinstance(data, int):
            return data, {}, b'{"status":"error","error":"it is not possible"}'
        if isinstance(data, bytes):
            return 200, {}, data
        return 200, {}, json.dumps({"status": "success", "data": data}).encode()

    def clock(self) -> float:
        """Return its time, which advances by the tick with each round."""
        return self.now + self.rounds * self.tick + self.offset

    def status_runtimeinfo(self, _: dict[str, str]) -> dict[str, str]:
        """Return when it was started."""
        started = datetime.fromtimestamp(self.now + self.started, UTC)
        return {"startTime": f"{started:%Y-%m-%dT%H:%M:%S.%f}789Z"}

    def status_config(self, _: dict[str, str]) -> dict[str, str]:
        """Return its configuration."""
        return {"yaml": "scrape_configs: []\n"}

    def targets(self, _: dict[str, str]) -> dict[str, Any]:
        """Return its targets."""
        target = {
            "labels": {"instance": "shop-1", "job": "shop"},
            "scrapeUrl": "http://shop-1/metrics",
            "scrapeInterval": "15s",
            "health": "up",
            "lastError": "",
            "lastScrape": f"{datetime.fromtimestamp(self.clock(), UTC):%Y-%m-%dT%H:%M:%S.%f}789Z",
            **self.target,
        }
        late = {**target, "labels": {"instance": "shop-2", "job": "shop"}}
        return {"activeTargets": [target, late] if self.appears else [target]}

    def query(self, query: dict[str, str]) -> dict[str, Any]:
        """Return the result of a query."""
        text = query["query"]
        if text == "time()":
            return {"resultType": "scalar", "result": [self.clock(), str(self.clock())]}
        if "secrets_info" in text:
            self.rounds += 1
        if text.startswith("last_over_time(up"):
            return {"resultType": "vector", "result": []}
        newest = float(query["time"]) if "time" in query else self.clock()
        if self.at is not None:
            newest = self.now + self.at
        result = []
        for line in self.process.metrics().splitlines():
            name, _, rest = line.partition("{")
            name, value = name.split()[0], line.split()[-1]
            if line.startswith("#") or name.removeprefix("hive_boot_") not in text:
                continue
            labels = {
                key: label.strip('"')
                for key, _, label in (each.partition("=") for each in rest.split("}")[0].split(","))
                if label.strip('"') and key != self.dropped
            }
            times = [newest - 15 * number for number in reversed(range(self.samples))]
            metric = {"__name__": name, "instance": "shop-1", "job": "shop", **labels}
            # The process was started at one moment, whatever the time of the sample.
            up = float(value) - self.now if "uptime" in name else None
            values = [[each, value if up is None else str(up + each)] for each in times]
            if up is not None and self.resets:
                values[-1][1] = "1"
            result.append({"metric": metric, "values": values})
        return {"resultType": "matrix", "result": result}


@pytest.fixture
def api(fleet: Fleet) -> Api:
    """Return the answers of a Prometheus."""
    return Api(fleet)


def stragglers(
    api: Api, capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 75
) -> dict[str, str]:
    """Return the kinds of the stragglers of a short wait, with their messages."""
    server = api.fleet.server(api.answer)
    short = ["--interval", "0.01", "--timeout", "0.3" if status else "60"]
    got, _, facts = wait(capsys, "--prometheus", f"{server.url}/", *short, *arguments)
    assert got == status
    return {each["kind"]: each["message"] for each in facts["stragglers"]}
