"""Fifty restarts by SIGTERM under load: no failed request, no lost or repeated job."""

import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.databases import ARE_INSTALLED, MISSING, Databases, running_databases
from tests.support import child_environment, wait_until

ROUNDS = 50

pytestmark = pytest.mark.skipif(not ARE_INSTALLED, reason=MISSING)


@pytest.fixture
def databases() -> Iterator[Databases]:
    """Start PostgreSQL and Redis, with the tables of the shop."""
    with running_databases() as databases:
        databases.sql("CREATE TABLE orders (number int); CREATE TABLE shipped (number int)")
        yield databases


def is_ready(port: int) -> bool:
    """Ask whether the application is ready; the request waits if nothing accepts it yet."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"GET /readyz HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        return b" 200 " in client.recv(100)


def test_fifty_restarts_under_load_lose_nothing(databases: Databases, tmp_path: Path) -> None:
    """The listening socket stays open, as systemd and a load balancer keep it."""
    variables = {
        "HIVE_BOOT_MODE": "environment",
        "DATABASE_URL": databases.postgresql_url("owner"),
        "REDIS_URL": f"unix://{databases.redis_socket}",
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
        queues = ("jobs", "in-hand")
        wait_until(lambda: {databases.redis("llen", queue) for queue in queues} == {"0"}, 30)
        shop.send_signal(signal.SIGTERM)
        assert shop.wait(30) == 0

    assert result["failures"] == []
    assert len(result["accepted"]) > ROUNDS
    assert result["streams"] >= ROUNDS
    count = str(len(result["accepted"]))
    for table in ("orders", "shipped"):
        counted = databases.sql(f"SELECT count(*) || ' ' || count(DISTINCT number) FROM {table}")  # noqa: S608
        assert counted == f"{count} {count}", table
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shop'"
    assert databases.sql(left) == "0"
    assert "name=shop" not in databases.redis("client", "list")
