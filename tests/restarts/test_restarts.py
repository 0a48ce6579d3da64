"""Fifty restarts by SIGTERM under load: no failed request, no lost or repeated job."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.support import child_environment

ROUNDS = 50

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))

pytestmark = pytest.mark.skipif(
    not BINARIES or shutil.which("redis-server") is None,
    reason="PostgreSQL and Redis are not installed (Debian: postgresql redis-server)",
)


def as_user() -> Any:  # noqa: ANN401  (keyword arguments of subprocess)
    """Return the options of a process that is not root: PostgreSQL refuses to run as root."""
    return {"user": 65534, "group": 65534} if os.getuid() == 0 else {}


@contextmanager
def running(*command: str, **options: Any) -> Iterator["subprocess.Popen[bytes]"]:  # noqa: ANN401  (of subprocess)
    """Run a server for the block."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def wait_for(command: list[str]) -> str:
    """Repeat a command until it succeeds, and return what it prints."""
    deadline = time.monotonic() + 30
    while True:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            return result.stdout.strip()
        assert time.monotonic() < deadline, result.stderr
        time.sleep(0.05)


@pytest.fixture
def servers() -> Iterator[tuple[str, str]]:
    """Start PostgreSQL and Redis on Unix sockets in a new directory, and return their URLs."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        root = Path(name)
        root.chmod(0o777)
        options = as_user()
        data, binaries = str(root / "data"), BINARIES[-1]
        subprocess.run(
            [str(binaries / "initdb"), "-D", data, "-A", "trust", "-U", "shop", "--no-sync"],
            check=True,
            stdout=subprocess.DEVNULL,
            **options,
        )
        database = [str(binaries / "postgres"), "-D", data, "-k", name, "-h", "", "-F"]
        stack.enter_context(running(*database, stderr=subprocess.DEVNULL, **options))
        path = str(root / "redis.sock")
        cache = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", name]
        stack.enter_context(running(*cache, **options))
        url = f"postgresql://shop@/postgres?host={name}"
        tables = "CREATE TABLE orders (number int); CREATE TABLE shipped (number int)"
        wait_for(["psql", url, "-c", tables])
        assert wait_for(["redis-cli", "-s", path, "ping"]) == "PONG"
        yield url, f"unix://{path}"


def is_ready(port: int) -> bool:
    """Ask whether the application is ready; the request waits if nothing accepts it yet."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"GET /readyz HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        return b" 200 " in client.recv(100)


def test_fifty_restarts_under_load_lose_nothing(servers: tuple[str, str], tmp_path: Path) -> None:
    """The listening socket stays open, as systemd and a load balancer keep it."""
    database_url, redis_url = servers
    variables = {
        "HIVE_BOOT_MODE": "environment",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
    }
    environment = child_environment(**variables)
    log = (tmp_path / "log").open("w")
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener, log:
        port = listener.getsockname()[1]
        fd = listener.fileno()

        def start() -> "subprocess.Popen[bytes]":
            command = [sys.executable, "-m", "tests.restarts.shop", str(fd)]
            return subprocess.Popen(command, env=environment, pass_fds=[fd], stderr=log)

        shop = start()
        load = subprocess.Popen(
            [sys.executable, "-m", "tests.restarts.load", f"http://127.0.0.1:{port}"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with load:
            for _each in range(ROUNDS):
                while not is_ready(port):
                    time.sleep(0.01)
                time.sleep(random.uniform(0, 0.3))  # noqa: S311  (no secret)
                shop.send_signal(signal.SIGTERM)
                assert shop.wait(30) == 0, (tmp_path / "log").read_text()[-4000:]
                shop = start()
            while not is_ready(port):
                time.sleep(0.01)
            out, _ = load.communicate(timeout=60)
        result = json.loads(out)
        client = ["redis-cli", "-s", redis_url.removeprefix("unix://")]
        while wait_for([*client, "llen", "jobs"]) + wait_for([*client, "llen", "in-hand"]) != "00":
            time.sleep(0.05)
        shop.send_signal(signal.SIGTERM)
        assert shop.wait(30) == 0

    def ask(query: str) -> str:
        return wait_for(["psql", database_url, "-Atc", query])

    assert result["failures"] == []
    assert len(result["accepted"]) > ROUNDS
    assert result["streams"] >= ROUNDS
    count = str(len(result["accepted"]))
    for table in ("orders", "shipped"):
        counted = ask(f"SELECT count(*) || ' ' || count(DISTINCT number) FROM {table}")  # noqa: S608
        assert counted == f"{count} {count}", table
    assert ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shop'") == "0"
    assert "name=shop" not in wait_for([*client, "client", "list"])
