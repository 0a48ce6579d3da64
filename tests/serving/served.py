"""Served applications, each in its own process, and their clients."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Thread, Timer
from typing import IO, NamedTuple

import pytest

from tests.fixtures.forking import Interpreter, shared
from tests.support import child_environment

SERVERS = {
    "uvicorn": ("uvicorn", "asyncio"),
    "uvicorn on uvloop": ("uvicorn", "uvloop"),
    "hypercorn": ("hypercorn", "asyncio"),
    "hypercorn on trio": ("hypercorn", "trio"),
}
"""The servers that ``boot.serve`` knows, on each loop that they run on."""

each_server = pytest.mark.parametrize(("server", "backend"), SERVERS.values(), ids=SERVERS)
"""Servers and backends that differ in their sockets, connections and requests."""

_TWO = ("uvicorn", "hypercorn on trio")

both_servers = pytest.mark.parametrize(
    ("server", "backend"), [SERVERS[name] for name in _TWO], ids=_TWO
)
"""Servers and backends that differ only in their event loop."""

HEAD = """
import os, sys
import anyio
from hive_boot import Bootstrap, Secret, SecretSet

server, backend = sys.argv[1:3]


class Needs(SecretSet):
    '''What the application needs.'''

    jwt_secret: Secret


sleep = anyio.sleep


async def at(gate):
    '''Wait until a file with this name exists.'''
    print("at", gate)
    while not os.path.exists(gate):
        await sleep(0.005)


async def pass_time(seconds):
    '''Sleep; instead of a shutdown delay of 77 seconds, wait for a file.'''
    await (at("drained") if seconds == 77 else sleep(seconds))


anyio.sleep = pass_time


async def answer(send, body):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def app(scope, receive, send):
    '''Answer at once; what begins with /slow when there is a file of this name.'''
    if scope["type"] == "lifespan":
        await receive()
        print("app starts with", *sorted(scope["state"]))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("app stops")
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"].startswith("/slow"):
        await at(scope["path"][1:])
    await answer(send, b"served")
"""
"""The common head of the programs."""

RESOURCES = """
@boot.resource
async def base():
    print("base starts")
    yield "base"
    print("base stops")

@boot.resource
async def pool(base: str):
    print("pool starts")
    yield "pool"
    print("pool stops")
"""

SERVE = """
boot.serve(app, port=0, server=server, backend=backend)
"""

STARTED = ["base starts", "pool starts", "app starts with base config pool secrets"]
STOPPED = ["app stops", "pool stops", "base stops"]


class Answer(NamedTuple):
    """A response.

    Attributes:
        status: the status code.
        body: the body, without surrounding white space.
        leaves: whether the response announces that the connection closes.
        retry: the header Retry-After; None without it.
    """

    status: int
    body: str
    leaves: bool
    retry: str | None


class Client:
    """One connection, which stays open until the server or the test closes it."""

    def __init__(self, port: int) -> None:
        self.connection = HTTPConnection("127.0.0.1", port, timeout=30)
        self.connection.connect()

    def ask(self, path: str = "/") -> Answer:
        """Send a request, and wait for the response."""
        self.send(path)
        return self.answer()

    def send(self, path: str) -> None:
        """Send a request."""
        self.connection.request("GET", path)

    def answer(self) -> Answer:
        """Wait for the response."""
        response = self.connection.getresponse()
        body = response.read().decode().strip()
        leaves = response.getheader("connection") == "close"
        return Answer(response.status, body, leaves, response.getheader("retry-after"))

    def is_closed(self) -> bool:
        """Wait until the server closes the connection; fail if it sends anything else."""
        received: bytes = self.connection.sock.recv(1)
        return received == b""

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class Served:
    """A process, its output so far, and its ports.

    Attributes:
        process: the process.
        out: the lines of its stdout.
        err: the lines of its stderr.
    """

    def __init__(self, process: "subprocess.Popen[str]", cwd: Path) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._cwd = cwd
        self._clients: list[Client] = []
        self._readers = [
            Thread(target=_collect, args=each, daemon=True)
            for each in ((process.stdout, self.out), (process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds; fail if the process ends first."""
        deadline = time.monotonic() + 30
        while not condition():
            assert self.process.poll() is None, self.err
            assert time.monotonic() < deadline, (self.out, self.err)
            time.sleep(0.005)

    def wait_told(self, line: str) -> None:
        """Wait for a line on stdout."""
        self.wait_for(lambda: line in self.out)

    def wait_logged(self, pattern: str) -> str:
        """Wait for a line on stderr that matches a pattern, and return the match."""
        self.wait_for(lambda: self.logged(pattern))
        return self.logged(pattern)[0]

    def logged(self, pattern: str) -> list[str]:
        """Return the first match of a pattern in each line of stderr that has one."""
        return [match[0] for line in self.err if (match := re.search(pattern, line))]

    @property
    def last_line(self) -> str:
        """The last line of stderr that does not belong to the access log."""
        return [line for line in self.err if ".access: " not in line][-1]

    @property
    def port(self) -> int:
        """The port of the application, once it is logged."""
        return int(self.wait_logged(r"(?<=://127\.0\.0\.1:)\d+"))

    @property
    def probe_port(self) -> int:
        """The port of the probes, once it is logged."""
        return int(self.wait_logged(r"(?i)\bprobe.*\bport \d+").split()[-1])

    def connect(self, port: int | None = None) -> Client:
        """Open a new connection."""
        client = Client(self.port if port is None else port)
        self._clients.append(client)
        return client

    def ask(self, path: str = "/", port: int | None = None) -> Answer:
        """Send a request on a new connection, and wait for the response."""
        return self.connect(port).ask(path)

    def probes(self, port: int | None = None) -> list[tuple[int, str]]:
        """Request every probe, each on a new connection; return status and body of each."""
        return [self.ask(path, port)[:2] for path in ("/livez", "/readyz", "/startupz")]

    def wait_ready(self) -> None:
        """Wait until ``/readyz`` answers 200."""
        self.wait_for(lambda: self.ask("/readyz").status == 200)

    def wait_refused(self) -> None:
        """Wait until the server accepts no new connection."""
        port = self.port
        self.wait_for(lambda: asked(port, "/livez") is None)

    def open(self, gate: str) -> None:
        """Create the file ``gate``, for which the application waits."""
        (self._cwd / gate).touch()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the end, and return the exit status."""
        code = self.process.wait(60)
        for reader in self._readers:
            reader.join()
        assert self.process.stdout is not None
        return code

    def close(self) -> None:
        """Close every connection, and kill the process."""
        for client in self._clients:
            client.close()
        self.process.kill()
        for reader in self._readers:
            reader.join()


def _collect(pipe: IO[str], lines: list[str]) -> None:
    lines += (line.rstrip("\n") for line in pipe)


def asked(port: int, path: str = "/") -> int | None:
    """Return the status code of a response on a new connection; None without a response."""
    try:
        client = Client(port)
    except OSError:
        return None
    try:
        return client.ask(path).status
    except (OSError, HTTPException):
        return None
    finally:
        client.close()


KNOWN = {"HIVE_BOOT_MODE": "environment", "JWT_SECRET": "fake-jwt-secret-0123456789"}
"""Environment variables of each process; arguments override them."""


_PRELOAD = """
import anyio._backends._asyncio, anyio._backends._trio
import h11, hypercorn.asyncio, hypercorn.trio, uvicorn.protocols.http.h11_impl, uvloop
import hive_boot.bootstrap, hive_boot.lifecycle.runner, hive_boot.runtime.process
import hive_boot.serving.hypercorn_server, hive_boot.serving.uvicorn_server
"""
"""Modules that most applications import."""


def interpreter() -> Interpreter:
    """Return an interpreter that has imported the modules that most applications import."""
    return shared(_PRELOAD)


@contextmanager
def serving(source: str, *arguments: str, cwd: Path, **variables: str) -> Iterator[Served]:
    """Start a process, and kill it at the end of the block."""
    known = {**KNOWN, **variables}
    with interpreter().started(HEAD + source, *arguments, cwd=cwd, **known) as process:
        served = Served(process, cwd)
        try:
            yield served
        finally:
            served.close()


@contextmanager
def under(*line: str, cwd: Path, **variables: str) -> Iterator[Served]:
    """Run the command line of a server; kill it and its child processes at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", *line],
        env=child_environment(**KNOWN | variables),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    guard = Timer(60, kill)
    guard.start()
    with process:
        served = Served(process, cwd)
        try:
            yield served
        finally:
            guard.cancel()
            kill()
            served.close()
            guard.join()
