"""``boot.serve`` as its users have it: a process, a socket, and signals."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures.ports import free_port
from tests.serving.served import (
    HEAD,
    RESOURCES,
    SERVE,
    STARTED,
    STOPPED,
    Served,
    asked,
    both_servers,
    each_server,
    serving,
    under,
)


def without_gates(lines: list[str]) -> list[str]:
    """Leave out what waits for a file."""
    return [line for line in lines if not line.startswith("at ")]


@both_servers
def test_probes_are_answered_from_the_first_moment(
    server: str, backend: str, tmp_path: Path
) -> None:
    """While it loads and starts it is alive and not ready, others come again; SIGTERM unwinds."""
    source = f"""
boot = Bootstrap(Needs, mode="docker", secrets_dirs=sys.argv[3], wait_for_files=3600)
{RESOURCES}
@boot.resource
async def hangs(pool: str):
    try:
        await at("never")
    finally:
        print("the start is given up")
    yield
{SERVE}"""
    mount = tmp_path / "secrets"
    mount.mkdir()
    with serving(source, server, backend, str(mount), cwd=tmp_path, JWT_SECRET="") as it:
        it.wait_logged("3600 s .*JWT_SECRET")
        assert it.probes() == [(200, "loading"), (503, "loading"), (503, "loading")]
        assert it.ask("/anything") == (503, "starting", False, "1")
        kept = it.connect()
        assert kept.ask() == (503, "starting", False, "1")
        (mount / "jwt_secret").write_text("fake-jwt-secret-0123456789")
        it.wait_told("at never")
        assert it.probes() == [(200, "starting"), (503, "starting"), (503, "starting")]
        assert kept.ask() == (503, "starting", False, "1")
        it.send(signal.SIGTERM)
        assert it.end() == 0, it.err
    assert it.out == [
        "base starts",
        "pool starts",
        "at never",
        "the start is given up",
        "pool stops",
        "base stops",
    ]
    assert "SIGTERM" in it.last_line


@each_server
def test_a_drain_loses_no_request(server: str, backend: str, tmp_path: Path) -> None:
    """New clients come in while it is not ready, what is in flight ends well, and parts stop."""
    source = f"""
boot = Bootstrap(Needs, shutdown_delay=77, probe_port=0)
{RESOURCES}
@boot.resource
async def last(pool: str):
    yield "last"
    await at("stopped")
{SERVE}"""
    with serving(source, server, backend, cwd=tmp_path) as it:
        it.wait_ready()
        assert it.probes() == [(200, "ready")] * 3
        kept, idle, first, second = [it.connect() for _ in range(4)]
        assert kept.ask() == idle.ask() == (200, "served", False, None)
        first.send("/slow1")
        second.send("/slow2")
        it.wait_told("at slow1")
        it.wait_told("at slow2")

        it.send(signal.SIGTERM)
        it.wait_told("at drained")
        assert it.probes() == [(200, "draining"), (503, "draining"), (200, "draining")]
        assert it.ask() == (200, "served", True, None)
        assert kept.ask() == (200, "served", True, None)
        it.open("slow1")
        assert first.answer() == (200, "served", True, None)

        it.open("drained")
        it.wait_refused()
        assert idle.is_closed()
        its_probes = it.probes(it.probe_port)
        assert its_probes == [(200, "stopping"), (503, "stopping"), (200, "stopping")]
        assert "app stops" not in it.out
        it.open("slow2")
        assert second.answer() == (200, "served", True, None)
        it.wait_told("at stopped")
        assert it.probes(it.probe_port) == its_probes
        it.open("stopped")
        assert it.end() == 0, it.err
    told = without_gates(it.out)
    assert told[-3:] == STOPPED
    (draining,) = it.logged("SIGTERM.*")
    assert " 77 s" in draining
    assert not any("Traceback" in line for line in it.err)


@both_servers
def test_a_long_request_does_not_delay_the_stop(server: str, backend: str, tmp_path: Path) -> None:
    """It is cancelled within the time of the stop, and the resources stop after it."""
    source = f"""
boot = Bootstrap(Needs, shutdown_timeout=2)
{RESOURCES}
{SERVE}"""
    with serving(source, server, backend, cwd=tmp_path) as it:
        it.wait_ready()
        client = it.connect()
        client.send("/slow1")
        it.wait_told("at slow1")
        it.send(signal.SIGTERM)
        assert client.answer()[0] == 503
        assert it.end() == 0, it.err
    assert it.out == [*STARTED, "at slow1", *STOPPED]
    assert it.logged(r"WARNING.*\b1 request\b")
    # Outside of Kubernetes nobody has to learn that it goes.
    (stopping,) = it.logged(r"SIGTERM.*")
    assert not re.search(r"\d", stopping)
    assert not any("Traceback" in line for line in it.err)


@both_servers
def test_a_request_has_time_to_clean_up(server: str, backend: str, tmp_path: Path) -> None:
    """It is cancelled when half of the time is over, and resources stop after its clean-up."""
    source = f"""
boot = Bootstrap(Needs, shutdown_timeout=4)
{RESOURCES}
async def answer(send, body):
    import anyio

    print("begins")
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=backend == "trio"):
            await anyio.sleep(0.1)
        print("has cleaned up")
{SERVE}"""
    with serving(source, server, backend, cwd=tmp_path) as it:
        it.wait_ready()
        it.connect().send("/")
        it.wait_told("begins")
        it.send(signal.SIGTERM)
        assert it.end() == 0, it.err
    assert it.out == [*STARTED, "begins", "has cleaned up", *STOPPED]


@both_servers
def test_a_second_signal_ends_a_drain(server: str, backend: str, tmp_path: Path) -> None:
    """In a cluster it drains for 5 s; who cannot wait is not held, by a request neither."""
    source = f"""
boot = Bootstrap(Needs, mode="kubernetes", env_fallback=True, secrets_dirs=sys.argv[3])
{RESOURCES}
{SERVE}"""
    with serving(source, server, backend, str(tmp_path), cwd=tmp_path) as it:
        it.wait_ready()
        client = it.connect()
        client.send("/slow1")
        it.wait_told("at slow1")
        it.send(signal.SIGTERM)
        it.wait_logged(r"SIGTERM.*\b5 s")
        it.send(signal.SIGINT)
        assert it.end() == -signal.SIGINT
    assert it.out == [*STARTED, "at slow1"]
    assert re.search("SIGINT.*draining", it.last_line)


CRASHING = """
@boot.resource
async def culprit(pool: str):
    async def crash():
        await at("crash")
        raise RuntimeError("the connection is lost")

    async with anyio.create_task_group() as group:
        group.start_soon(crash)
        yield "culprit"
"""


@both_servers
def test_a_crash_of_a_resource_ends_the_server(server: str, backend: str, tmp_path: Path) -> None:
    """The probe is not ready, open requests are still answered, and the exit status is 70."""
    source = f"""
boot = Bootstrap(Needs, shutdown_delay=77)
{RESOURCES}{CRASHING}{SERVE}"""
    with serving(source, server, backend, cwd=tmp_path) as it:
        it.wait_ready()
        it.open("crash")
        it.wait_told("at drained")
        assert it.probes() == [(200, "draining"), (503, "draining"), (200, "draining")]
        assert it.ask() == (200, "served", True, None)
        it.open("drained")
        assert it.end() == 70
    assert without_gates(it.out)[-3:] == STOPPED
    assert it.logged("CRITICAL.*culprit")
    assert it.err.count("RuntimeError: the connection is lost") == 1


FOREIGN = f"""
{HEAD.replace("server, backend = sys.argv[1:3]", "")}
boot = Bootstrap(Needs)
{RESOURCES}{CRASHING}

async def inner(scope, receive, send):
    '''Answer /slow when it is over with the application, with what a probe is told then.'''
    if scope["type"] == "http" and scope["path"] == "/slow":
        print("slow is asked")
        while boot.status().ready:
            await sleep(0.005)
        await wrapped({{**scope, "path": "/readyz", "raw_path": b"/readyz"}}, receive, send)
    else:
        await app(scope, receive, send)

wrapped = boot.asgi(inner)

if __name__ == "__main__":
    from hypercorn.config import Config
    from hypercorn.trio import serve

    config = Config()
    config.bind = sys.argv[1:]
    anyio.run(serve, wrapped, config, backend="trio")
"""

ENDING = {
    "uvicorn": (-signal.SIGTERM, ["uvicorn", "foreign:wrapped", "--port", "{port}"]),
    "hypercorn alone": (
        1,
        ["hypercorn", "foreign:wrapped", "--bind", "127.0.0.1:{port}", "--workers", "0"],
    ),
    "granian": (1, ["granian", "--interface", "asgi", "foreign:wrapped", "--port", "{port}"]),
}
"""For each server that takes a SIGTERM the exit status after it, and the command line."""

STAYING = {
    "hypercorn": ["hypercorn", "foreign:wrapped", "--bind", "127.0.0.1:{port}"],
    "hypercorn on trio": ["foreign", "127.0.0.1:{port}"],
}
"""The servers whose worker, or whose loop, handles no SIGTERM: it would kill."""


@contextmanager
def crashed(line: list[str], path: Path) -> Iterator[tuple[Served, int]]:
    """Serve, and let a part crash while a request is in flight; give the process and its port."""
    (path / "foreign.py").write_text(FOREIGN)
    port = free_port()
    with under(*[each.format(port=port) for each in line], cwd=path) as it:
        it.wait_for(lambda: asked(port, "/readyz") == 200)
        client = it.connect(port)
        client.send("/slow")
        it.wait_told("slow is asked")
        it.open("crash")
        assert client.answer() == (503, "draining", True, None)
        it.wait_logged("CRITICAL.*culprit")
        yield it, port


@pytest.mark.parametrize("server", ENDING)
def test_a_crash_of_a_resource_ends_a_server_that_owns_the_process(
    server: str, tmp_path: Path
) -> None:
    """The application is not ready from then on, and the server stops in order."""
    code, line = ENDING[server]
    with crashed(line, tmp_path) as (it, _):
        assert it.end() == code
    told = [line for line in it.out if line in STOPPED]
    assert told == STOPPED
    lines = it.out + it.err
    assert "RuntimeError: the connection is lost" in lines
    # Others print the exception that the lifespan raises for test clients.
    assert server != "uvicorn" or sum("Traceback" in line for line in lines) == 1, lines


@pytest.mark.parametrize("server", STAYING)
def test_a_server_without_a_handler_of_sigterm_receives_no_signal(
    server: str, tmp_path: Path
) -> None:
    """It continues and is not ready, which is logged."""
    with crashed(STAYING[server], tmp_path) as (it, port):
        it.wait_logged("ERROR.*SIGTERM")
        assert it.probes(port) == [(200, "draining"), (503, "draining"), (200, "draining")]
        it.send(signal.SIGTERM)
        it.end()


@both_servers
def test_a_request_that_cannot_be_ended_holds_no_part(
    server: str, backend: str, tmp_path: Path
) -> None:
    """A thread that works for a request goes on; the parts stop all the same, and it is exit 70."""
    source = f"""
boot = Bootstrap(Needs, shutdown_timeout=2)
{RESOURCES}
async def answer(send, body):
    import threading
    from anyio.to_thread import run_sync

    def hang():
        print("hangs")
        threading.Event().wait()

    await run_sync(hang)
{SERVE}"""
    with serving(source, server, backend, cwd=tmp_path) as it:
        it.wait_ready()
        client = it.connect()
        client.send("/")
        it.wait_told("hangs")
        it.send(signal.SIGTERM)
        assert it.end() == 70
    assert it.out == [*STARTED, "hangs", *STOPPED]
    assert it.logged(r"WARNING.*\b1 request\b")
    assert it.logged(r"^hive_boot: .*\b70$")


def test_a_request_that_blocks_the_loop_does_not_prevent_the_exit(tmp_path: Path) -> None:
    """The loop receives no signal; after the deadline the process exits, and the line is named."""
    source = f"""
boot = Bootstrap(Needs, shutdown_timeout=0.5)
{RESOURCES}
async def answer(send, body):
    import time

    print("blocks")
    time.sleep(3600)
{SERVE}"""
    with serving(source, "uvicorn", "asyncio", cwd=tmp_path) as it:
        it.wait_ready()
        client = it.connect()
        client.send("/")
        it.wait_told("blocks")
        it.send(signal.SIGTERM)
        assert it.end() == 70
    assert it.out == [*STARTED, "blocks"]
    assert it.logged(r"^hive_boot: .*\b70$")
    assert any("in answer" in line for line in it.err)
