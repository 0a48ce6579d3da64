"""Readiness contributors: what they make the probes answer, and what they never touch."""

import logging
import signal
import threading
from collections.abc import AsyncIterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import Bootstrap, DeclarationError
from hive_boot.lifecycle.readiness import ContributorStatus
from hive_boot.serving.endpoints import PROBES, handle_request
from hive_boot.testing import override
from tests.fixtures.applications import VALUE, Needs, Settings, application, run_once
from tests.fixtures.owned_processes import started
from tests.fixtures.ports import free_port
from tests.fixtures.systemd import listening, notify_path, received
from tests.fixtures.timings import set_timings
from tests.support import until, wait_until

pytestmark = pytest.mark.anyio

SOON: dict[str, Any] = {"interval": 0.01, "timeout": 60}


@pytest.fixture(autouse=True)
def values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the secret into the environment."""
    monkeypatch.setenv("JWT_SECRET", VALUE)


@pytest.fixture
def boot() -> Bootstrap[Needs, Settings]:
    """Return an application without contributors."""
    return application()


def get(boot: Bootstrap[Any, Any], path: str = "/readyz", query: str = "") -> tuple[int, list[str]]:
    """Return the status and the lines of a response."""
    response = handle_request("GET", path, boot.status(), query=query)
    return response.status, response.body.decode().splitlines()


def only(boot: Bootstrap[Any, Any]) -> ContributorStatus:
    """Return the status of the only contributor."""
    (status,) = boot.status().contributors
    return status


class Dependency:
    """A dependency that answers what a test sets."""

    def __init__(self, answer: object = None) -> None:
        self.answer = answer
        self.calls = 0

    async def ask(self) -> Any:  # noqa: ANN401  (also wrong answers)
        """Count the call, then return or raise the answer."""
        await checkpoint()
        self.calls += 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    async def next_calls(self, number: int) -> None:
        """Wait for the end of so many further calls."""
        expected = self.calls + number + 1
        await until(lambda: self.calls >= expected)


@pytest.mark.both_backends
async def test_the_probe_waits_for_the_first_pass_and_nothing_else_does(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """READY, main and services are not delayed; `/livez` and `/startupz` answer 200."""
    database, runs = Dependency(ConnectionRefusedError(VALUE)), anyio.Event()

    @boot.resource
    async def pool() -> Dependency:
        await checkpoint()
        return database

    @boot.service
    async def poll() -> None:
        runs.set()
        await anyio.sleep_forever()

    @boot.readiness("database", **SOON)
    async def answers(pool: Dependency, secrets: Needs, config: Settings) -> bool | None:
        assert (secrets.jwt_secret.reveal(), config.port) == (VALUE, 3000)
        passed: bool | None = await pool.ask()
        return passed

    async with boot.running():
        assert boot.status().state == "ready"
        await runs.wait()
        await database.next_calls(3)
        assert (boot.status().state, boot.status().ready) == ("ready", False)
        assert get(boot) == (503, ["unready"])
        assert [get(boot, path)[0] for path in PROBES] == [200, 503, 200]
        assert get(boot, "/health")[0] == 503
        assert (only(boot).passing, only(boot).failure) == (False, "ConnectionRefusedError")
        age = only(boot).age
        assert age is not None
        assert 0 <= age < boot.status().uptime
        (reason,) = boot.status().reasons
        assert "database" in reason
        assert "ConnectionRefusedError" in reason
        database.answer = True
        await until(lambda: get(boot) == (200, ["ready"]))
        assert (boot.status().ready, boot.status().degraded) == (True, False)
        assert get(boot, "/health")[0] == 200
    assert boot.status().contributors == ()


@pytest.mark.both_backends
async def test_two_failures_in_a_row_end_it_and_one_success_begins_it(
    boot: Bootstrap[Needs, Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """A single failure changes nothing; each change is logged once."""
    answers: list[bool | Exception | None] = [True, False, True, KeyError(), False, False]
    answers += [None, False, True, True]
    found: list[tuple[bool, str]] = []

    @boot.readiness(interval=0.001)
    async def database() -> bool | None:
        await checkpoint()
        found.append((only(boot).passing, only(boot).failure))
        answer = answers[min(len(found), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    with caplog.at_level(logging.INFO):
        async with boot.running():
            await until(lambda: len(found) >= len(answers))
    assert found[: len(answers)] == [
        (False, ""),
        (True, ""),
        (True, "returned False"),
        (True, ""),
        (True, "KeyError"),
        (False, "returned False"),
        (False, "returned False"),
        (True, ""),
        (True, "returned False"),
        (True, ""),
    ]
    logged = [each.levelname for each in caplog.records if "database" in each.getMessage()]
    assert logged == ["WARNING", "INFO"]


@pytest.mark.both_backends
async def test_the_next_call_begins_after_the_interval(boot: Bootstrap[Needs, Settings]) -> None:
    """Each contributor has its own interval; a long one is not called again meanwhile."""
    often, rarely = Dependency(), Dependency()

    @boot.readiness(**SOON)
    async def queue() -> None:
        await often.ask()

    @boot.readiness(interval=3600)
    async def database() -> None:
        await rarely.ask()

    async with boot.running():
        await until(lambda: rarely.calls)
        await often.next_calls(5)
        assert rarely.calls == 1


@pytest.mark.both_backends
async def test_a_call_has_a_timeout(boot: Bootstrap[Needs, Settings]) -> None:
    """What exceeds the timeout has failed and is cancelled, and is called again."""
    released: list[None] = []

    @boot.readiness(interval=0.01, timeout=0.02)
    async def database() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.001)
            released.append(None)

    async with boot.running():
        await until(lambda: len(released) >= 2)
        assert (only(boot).passing, only(boot).failure) == (False, "timeout")


async def test_clean_up_on_asyncio_needs_no_shield(boot: Bootstrap[Needs, Settings]) -> None:
    """A connection that is released by `await` goes back to its pool, after a timeout too."""
    released: list[None] = []

    @boot.readiness(interval=0.01, timeout=0.02)
    async def database() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            await anyio.sleep(0.001)
            await anyio.sleep(0.001)
            released.append(None)

    async with boot.running():
        await until(lambda: len(released) >= 2)


@pytest.mark.both_backends
async def test_a_call_that_cannot_be_cancelled_is_alone(boot: Bootstrap[Needs, Settings]) -> None:
    """It counts as a timeout again and again, and no second call joins it."""
    calls: list[None] = []
    release = threading.Event()

    @boot.readiness(interval=0.01, timeout=0.01)
    async def database() -> None:
        calls.append(None)
        if len(calls) == 2:
            await anyio.to_thread.run_sync(release.wait)

    async with boot.running():
        await until(lambda: not only(boot).passing and only(boot).failure == "timeout")
        assert len(calls) == 2
        release.set()
        await until(lambda: only(boot).passing)


@pytest.mark.both_backends
async def test_a_contributor_cannot_end_anything(boot: Bootstrap[Needs, Settings]) -> None:
    """Neither `sys.exit()` nor a cancellation of its own reaches the application."""
    failures: dict[str, BaseException] = {
        "SystemExit": SystemExit(3),
        "ExceptionGroup": ExceptionGroup("", [ValueError(), KeyError()]),
        "KeyError": ExceptionGroup("", [KeyError()]),
    }
    dependencies = {name: Dependency(failure) for name, failure in failures.items()}
    for name, dependency in dependencies.items():

        @boot.readiness(name, **SOON)
        async def contributor(dependency: Dependency = dependency) -> None:
            await dependency.ask()

    async with boot.running():
        await until(lambda: all(each.calls > 2 for each in dependencies.values()))
        found = {each.name: each.failure for each in boot.status().contributors}
        assert found == {name: name for name in failures}


async def test_a_foreign_cancellation_is_a_failure(boot: Bootstrap[Needs, Settings]) -> None:
    """A contributor that awaits something cancelled, or cancels itself, is called again."""
    import asyncio  # noqa: PLC0415  (only on asyncio)

    calls: list[None] = []

    @boot.readiness(**SOON)
    async def database() -> None:
        calls.append(None)
        if len(calls) % 2:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await anyio.sleep(1)

    async with boot.running():
        await until(lambda: len(calls) > 4)
        assert only(boot).failure == "CancelledError"


@pytest.mark.both_backends
async def test_the_stop_ends_the_calls_before_resources_stop(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """A call in hand is cancelled, and has ended when its resource stops."""
    lines: list[str] = []
    called = anyio.Event()

    @boot.resource
    async def pool() -> AsyncIterator[list[str]]:
        yield lines
        lines.append("pool stops")

    @boot.readiness(timeout=3600)
    async def database(pool: list[str]) -> None:
        called.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.02)
            pool.append("call ends")

    async with boot.running():
        await called.wait()
    assert lines == ["call ends", "pool stops"]


@pytest.mark.both_backends
async def test_a_call_that_does_not_end_is_logged_and_left(
    boot: Bootstrap[Needs, Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """The stop does not wait for it longer than for a hook; it is named."""
    set_timings(boot, hook_cancel_timeout=0.02)
    release, hangs = threading.Event(), threading.Event()

    @boot.resource
    async def pool() -> AsyncIterator[None]:
        yield
        release.set()

    @boot.readiness
    async def database() -> None:
        hangs.set()
        await anyio.to_thread.run_sync(release.wait)

    async with boot.running():
        await until(hangs.is_set)
        assert boot._run is not None  # noqa: SLF001
        line = boot._run.runner.pending()[0]  # noqa: SLF001  (what a forced exit would print)
        assert "the readiness contributor database" in line
        assert "test_readiness.py" in line
    assert any("the readiness contributor database" in text for text in caplog.messages)


async def test_a_call_that_does_not_end_leaves_time_for_resources() -> None:
    """However long a hook may take, a quarter of the shutdown timeout is the limit here."""
    boot = application(shutdown_timeout=1)
    set_timings(boot, hook_cancel_timeout=60)
    release, hangs, lines = threading.Event(), threading.Event(), list[str]()

    @boot.resource
    async def pool() -> AsyncIterator[None]:
        yield
        await anyio.sleep(0.01)
        lines.append("pool stops")
        release.set()

    @boot.readiness
    async def database() -> None:
        hangs.set()
        await anyio.to_thread.run_sync(release.wait)

    async with boot.running():
        await until(hangs.is_set)
    assert lines == ["pool stops"]


@pytest.mark.both_backends
async def test_the_details_name_contributors_and_services(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """`/readyz?verbose` and `/readyz/<name>`, with failing services and those that returned."""
    set_timings(boot, service_restart_delay=600, max_service_restart_delay=600)
    queue = Dependency(TimeoutError(VALUE))

    @boot.readiness("queue", **SOON)
    async def contributor() -> None:
        await queue.ask()

    @boot.readiness(**SOON)
    async def database() -> None:
        await checkpoint()

    @boot.service
    async def poll() -> None:
        await checkpoint()
        raise ConnectionError(VALUE)

    @boot.service
    async def warm_up() -> None:
        await checkpoint()

    @boot.service(restart="never")
    async def sweep() -> None:
        await anyio.sleep_forever()

    async with boot.running():
        await until(lambda: boot.status().failing_services and boot.status().completed_services)
        await queue.next_calls(1)
        await until(lambda: boot.status().contributors[1].passing)
        status, lines = get(boot, query="verbose")
        assert (status, lines[0]) == (503, "unready")
        assert [(line[:3], line.split()[1:3]) for line in lines[1:]] == [
            ("[-]", ["queue:", "fails:"]),
            ("[+]", ["database:", "passes"]),
            ("[-]", ["service", "poll:"]),
            ("[+]", ["service", "warm_up:"]),
            ("[+]", ["service", "sweep:"]),
        ]
        assert "TimeoutError" in lines[1]
        for name, code, line in zip(
            ("queue", "database", "poll", "warm_up", "sweep"),
            (503, 200, 503, 200, 200),
            lines[1:],
            strict=True,
        ):
            assert get(boot, f"/readyz/{name}") == (code, [line])
        for path in ("/readyz/queue", "/health", "/boot.json"):
            assert VALUE not in "".join(get(boot, path, "verbose")[1])


async def test_a_test_can_override_secrets_of_an_unready_application(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """It runs, whatever the probe answers; each run begins without a pass."""
    found: list[str] = []

    @boot.readiness(**SOON)
    async def database(secrets: Needs) -> bool:
        await checkpoint()
        found.append(secrets.jwt_secret.reveal())
        return len(found) == 1

    other = "fake-jwt-secret-of-a-test-0123456789"
    for _ in range(2):
        async with boot.running():
            await until(lambda: not only(boot).passing and only(boot).failure)
            async with override(boot, jwt_secret=other):
                await until(lambda: found[-1] == other)
            await until(lambda: found[-1] == VALUE)


async def test_before_the_first_call_a_contributor_is_known(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """While resources start it has not passed yet, and a failed start calls it never."""
    calls: list[None] = []
    ages: list[float | None] = []
    found: list[tuple[int, list[str]]] = []

    @boot.resource
    async def pool() -> None:
        ages.append(only(boot).age)
        found.append(get(boot, query="verbose"))
        raise ValueError

    @boot.readiness
    async def database() -> None:
        calls.append(None)

    @boot.service
    async def poll() -> None: ...

    with pytest.raises(Exception, match="pool"):
        async with boot.running():
            pass
    (status, lines) = found[0]
    assert (status, lines[0], lines[1][:13]) == (503, "starting", "[-] database:")
    assert lines[2][:17] == "[-] service poll:"
    assert (calls, ages) == ([], [None])


async def test_wrong_declarations_are_refused() -> None:
    """The name is part of a path and is used once; numbers are positive; it is async."""

    async def database() -> None: ...

    def sync() -> bool:
        return True

    async def unnamed() -> None: ...

    unnamed.__qualname__ = "größe"

    async def asks(nothing: int) -> None: ...

    boot = application()
    boot.readiness(database)
    wrong: list[dict[str, Any]] = [
        *({"name": name} for name in ("", "a/b", "a b", "..", ".", "?", "größe", "database", 1)),
        *({"interval": number} for number in (0, -1, True, float("inf"), float("nan"), "5")),
        *({"timeout": number} for number in (0, -1, None)),
    ]
    for arguments in wrong:
        with pytest.raises(DeclarationError):
            boot.readiness(**arguments)(database)
    with pytest.raises(DeclarationError, match="async def"):
        boot.readiness(sync)  # type: ignore[type-var]
    with pytest.raises(DeclarationError, match="name="):
        boot.readiness(unnamed)
    assert boot.readiness("other")(database) is database
    boot.readiness(asks)
    with pytest.raises(DeclarationError, match="nothing"):
        await run_once(boot, checkpoint)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_process_is_unready_and_nothing_else(backend: str, tmp_path: Path) -> None:
    """A database that is down at the start, comes, goes and comes; a draining process is 503."""
    source = """
import anyio

boot = Bootstrap(Needs, probe_port=int(sys.argv[2]), shutdown_delay=3600)

@boot.resource
async def pool():
    yield "pool"
    print("pool stops")

@boot.readiness(interval=0.01)
async def database(pool: str, secrets: Needs):
    if os.path.exists("hang"):
        try:
            os.rename("hang", "hangs")
            await anyio.sleep_forever()
        finally:
            print("call is cancelled")
    if os.path.exists("down"):
        raise ConnectionRefusedError(secrets.jwt_secret.reveal())

@boot.main
async def main():
    print("main runs")
    while not is_open():
        await anyio.sleep(0.005)

boot.run(backend=backend)
"""
    down = tmp_path / "down"
    down.touch()
    port = free_port()
    with (
        notify_path() as address,
        listening(address) as systemd,
        started(source, backend, str(port), cwd=tmp_path, NOTIFY_SOCKET=address) as process,
    ):

        def probe(path: str = "/readyz") -> tuple[int, str]:
            connection = HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

        assert process.read_line() == "main runs"
        assert any("READY=1" in each for each in received(systemd))
        wait_until(lambda: "ConnectionRefusedError" in probe("/readyz/database")[1])
        assert [probe(path)[0] for path in PROBES] == [200, 503, 200]
        down.unlink()
        wait_until(lambda: probe()[0] == 200)
        down.touch()
        wait_until(lambda: probe()[0] == 503)
        assert 'hive_boot_readiness_passing{contributor="database"} 0.0' in probe("/metrics")[1]
        down.unlink()
        wait_until(lambda: probe()[0] == 200)
        assert probe("/readyz?verbose") == (200, "ready\n[+] database: passes\n")
        (tmp_path / "hang").touch()
        wait_until((tmp_path / "hangs").exists)
        assert not any("READY" in each for each in received(systemd))
        process.send(signal.SIGTERM)
        assert process.read_line() == "call is cancelled"
        (tmp_path / "hang").touch()
        assert {probe() for _ in range(20)} == {(503, "draining\n")}
        assert (tmp_path / "hang").exists(), "called while draining"
        process.open_gate()
        result = process.wait()
    assert (result.code, result.out) == (0, ["pool stops"])
    assert VALUE not in result.err
    assert "ConnectionRefusedError: ***" in result.err
    assert result.err.count("The readiness contributor database fails") == 2
    assert result.err.count("The readiness contributor database passes again") == 2
