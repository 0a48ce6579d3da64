"""Rebuilds of a process: under load, with faults, and with a stop in the middle."""

import signal
from itertools import product
from pathlib import Path

import pytest

from tests.fixtures.owned_processes import BACKENDS, ORDERLY, RUN, STOPS, ended, side_by_side

HEAD = """
import contextlib
import anyio.lowlevel
from hive_boot import LifecycleError, ResourceHandle
from hive_boot.testing import MountedVolume

class Database(SecretSet):
    '''The secrets of a client.'''
    password: Secret

volume = MountedVolume("volume")
volume.publish({"password": "fake-password-1"})
boot = Bootstrap(
    Database, secrets_dirs="volume", mode="kubernetes", profile="production", watch=True,
    shutdown_delay=0)

async def until(condition):
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.005)

def terminate():
    os.kill(os.getpid(), int(sys.argv[2]))
"""

LOAD = """
valid = {"fake-password-1"}
queries, failures = 0, []

class Pool:
    '''A pool of a database that accepts only valid passwords.'''
    def __init__(self, password):
        self.password, self.is_open = password, True
    async def query(self):
        global queries
        queries += 1
        await anyio.lowlevel.checkpoint()
        if not self.is_open or self.password not in valid:
            failures.append(self.password)

@boot.resource(rebuild_on="password", overlap=0.05)
async def pool(secrets: Database):
    made = Pool(secrets.password.reveal())
    if made.password not in valid:
        raise PermissionError("password authentication failed")
    yield made
    made.is_open = False
    valid.discard(made.password)

@boot.resource
async def repository(pool: Pool):
    yield pool

@boot.service
async def by_value(repository: Pool):
    while True:
        await repository.query()

@boot.service
async def by_handle(pool: ResourceHandle[Pool]):
    while True:
        async with pool.use() as used:
            await used.query()
            await used.query()

@boot.main
async def main(repository: ResourceHandle[Pool]):
    for number in range(2, 12):
        new, old = f"fake-password-{number}", repository.value
        if number % 3:
            valid.add(new)
        volume.publish({"password": new})
        if not number % 3:
            # The mount is ahead of the database.
            await until(lambda: boot.status().degraded)
            valid.add(new)
            await boot.reload()
        await until(lambda: repository.value.password == new)
        await until(lambda: not old.is_open)
        await until(lambda: not boot.status().degraded)
    print("valid:", *valid)
    print("failures:", *failures)
    assert queries > 1000, queries
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_ten_rotations_under_load_fail_no_query(backend: str, tmp_path: Path) -> None:
    """Each old password is revoked after its rotation; some new ones become valid late."""
    process = ended(HEAD + LOAD + RUN, backend, cwd=tmp_path)
    assert process.code == 0, process.err
    assert process.out == ["valid: fake-password-11", "failures:"]
    assert "fake-password" not in process.err


MIDDLE = """
@boot.resource(rebuild_on="password")
async def pool(secrets: Database):
    number = secrets.password.reveal()[-1]
    print("pool", number, "starts")
    try:
        if number == "2":
            terminate()
            await anyio.sleep_forever()
        yield number
    finally:
        global has_ended
        has_ended = True
        print("pool", number, "stops")

has_ended = False

@boot.main(grace_period=3000 if sys.argv[3] == "grace" else 0)
async def main(pool: ResourceHandle[str]):
    volume.publish({"password": "fake-password-2"})
    if sys.argv[3] == "grace":
        for _ in range(2):
            try:
                await boot.reload()
            except LifecycleError:
                print("no reload")
        await until(lambda: has_ended)
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        print("main ends with", pool.value, boot.secrets.password.reveal()[-1])
        return
    try:
        await anyio.sleep_forever()
    finally:
        print("main ends with", pool.value, boot.secrets.password.reveal()[-1])
"""

OVERLAP = """
@boot.resource(rebuild_on="password", overlap=3000)
async def pool(secrets: Database):
    number = secrets.password.reveal()[-1]
    yield number
    print("pool", number, "stops")

@boot.resource
async def cache(pool: str):
    yield pool
    print("cache", pool, "stops")

@boot.main
async def main(cache: ResourceHandle[str]):
    volume.publish({"password": "fake-password-2"})
    await until(lambda: cache.value == "2")
    async with cache.use():
        terminate()
        await anyio.sleep_forever()
"""


def _in_the_middle(backend: str, stop: signal.Signals, cwd: Path) -> None:
    process = ended(HEAD + MIDDLE + RUN, backend, str(int(stop)), "", cwd=cwd)
    assert process.code == ORDERLY[stop], process.err
    assert process.out[:3] == ["pool 1 starts", "pool 2 starts", "main ends with 1 1"]
    assert sorted(process.out[3:]) == ["pool 1 stops", "pool 2 stops"]
    assert "ERROR" not in process.err


def _in_the_middle_with_time(backend: str, stop: signal.Signals, cwd: Path) -> None:
    process = ended(HEAD + MIDDLE + RUN, backend, str(int(stop)), "grace", cwd=cwd)
    assert process.code == ORDERLY[stop], process.err
    end = ["no reload", "no reload", "main ends with 1 1", "pool 1 stops"]
    assert process.out[1:] == ["pool 2 starts", "pool 2 stops", *end]


def _in_an_overlap(backend: str, stop: signal.Signals, cwd: Path) -> None:
    process = ended(HEAD + OVERLAP + RUN, backend, str(int(stop)), cwd=cwd)
    assert process.code == ORDERLY[stop], process.err
    assert sorted(process.out) == [
        *("cache 1 stops", "cache 2 stops", "pool 1 stops", "pool 2 stops"),
    ]
    for number in "12":
        stops = [line for line in process.out if number in line]
        assert stops == [f"cache {number} stops", f"pool {number} stops"]
    assert "ERROR" not in process.err


@pytest.mark.parametrize("scenario", [_in_the_middle, _in_the_middle_with_time, _in_an_overlap])
def test_a_stop_ends_a_rebuild(scenario: object, tmp_path: Path) -> None:
    """New and old instances stop in order, at once, and the exit status is that of the signal."""
    side_by_side(tmp_path, scenario, product(BACKENDS, STOPS))  # type: ignore[arg-type]


SERVED = """
release = anyio.Event()
seen = []

@boot.resource(rebuild_on="password", overlap=0.1)
async def pool(secrets: Database):
    number = secrets.password.reveal()[-1]
    is_open = [number]
    yield is_open
    is_open.clear()

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError
    used = scope["state"]["pool"]
    seen.append(used)
    await release.wait()
    body = f"{used} {pool.value}".encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})

@boot.service
async def client():
    await until(lambda: boot.status().ready)
    async with await anyio.connect_unix("socket") as stream:
        await stream.send(b"GET / HTTP/1.1\\r\\nhost: test\\r\\nconnection: close\\r\\n\\r\\n")
        await until(lambda: seen)
        volume.publish({"password": "fake-password-2"})
        await until(lambda: pool.value == ["2"])
        requests = boot._run.runner.resources._requests
        # The old instance waits for the request: its overlap is over.
        await until(lambda: any(each.statistics().tasks_waiting for each in requests))
        release.set()
        received = b""
        with contextlib.suppress(anyio.EndOfStream):
            while True:
                received += await stream.receive()
    await until(lambda: seen == [[]])
    print(received.decode().splitlines()[-1])
    boot.stop("it is shown")

boot.serve(app, uds="socket", server=sys.argv[2], backend=backend)
"""


def _served(backend: str, server: str, cwd: Path) -> None:
    process = ended(HEAD + SERVED, backend, server, cwd=cwd)
    assert process.code == 0, process.err
    assert process.out == ["['1'] ['2']"]


def test_a_served_request_keeps_its_instance(tmp_path: Path) -> None:
    """The old instance stops when the last request that was given it has ended."""
    servers = [("asyncio", "uvicorn"), ("trio", "hypercorn")]
    side_by_side(tmp_path, _served, servers)
