"""Services of an application: start, restart, failures and cancellation."""

import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import Bootstrap, ShutdownTimeoutError
from hive_boot.runtime.status import Status
from tests.fixtures.applications import (
    VALUE,
    Needs,
    Settings,
    application,
    outcomes,
    run_once,
    sleep_in_a_group_of_the_loop,
)
from tests.fixtures.timings import NEVER, set_timings
from tests.support import until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variable of the secret."""
    monkeypatch.setenv("JWT_SECRET", VALUE)


@pytest.fixture
def boot() -> Bootstrap[Needs, Settings]:
    """Return an application without services, with short delays before a restart."""
    boot = application()
    set_timings(boot, service_restart_delay=0.02, max_service_restart_delay=0.05)
    return boot


@pytest.mark.both_backends
async def test_a_service_has_its_resources_until_its_end(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The ``finally`` block of a service may await, and the resources stop after it."""
    lines: list[str] = []
    works = anyio.Event()

    @boot.resource
    async def pool() -> AsyncIterator[list[str]]:
        yield lines
        lines.append("pool stops")

    @boot.service
    async def poll(pool: list[str], secrets: Needs, config: Settings) -> None:
        assert (secrets.jwt_secret.reveal(), config.port) == (VALUE, 3000)
        works.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            pool.append("poll ends")

    async with boot.running():
        await works.wait()
        assert outcomes(boot, "service") == [("poll", "running")]
    assert lines == ["poll ends", "pool stops"]


async def test_services_run_concurrently(boot: Bootstrap[Needs, Settings]) -> None:
    """No service waits for the end of another."""
    working: set[str] = set()

    async def work(name: str) -> None:
        working.add(name)
        await anyio.sleep_forever()

    for name in ("poll", "publish", "sweep"):

        async def service(name: str = name) -> None:
            await work(name)

        service.__qualname__ = name
        boot.service(service)
    async with boot.running():
        await until(lambda: len(working) == 3)
        assert {outcome for _, outcome in outcomes(boot, "service")} == {"running"}


async def test_a_service_that_returns_is_not_restarted(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The state is not degraded."""
    calls: list[None] = []

    @boot.service(max_restarts=0)
    async def warm_up() -> None:
        await checkpoint()
        calls.append(None)

    async with boot.running():
        await until(lambda: outcomes(boot, "service") == [("warm_up", "done")])
        assert not boot.status().degraded
    assert calls == [None]


@pytest.mark.both_backends
async def test_a_service_that_fails_is_restarted(
    boot: Bootstrap[Needs, Settings],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Until the restart the application is ready and degraded."""
    set_timings(
        boot,
        service_restart_delay=0.3,
        max_service_restart_delay=0.3,
        service_stable_interval=0.05,
    )
    calls: list[None] = []

    @boot.service
    async def poll() -> None:
        await checkpoint()
        calls.append(None)
        if len(calls) == 1:
            raise ConnectionError
        await anyio.sleep_forever()

    async with boot.running():
        await until(lambda: boot.status().failing_services)
        status = boot.status()
        assert status.failing_services == ("poll",)
        (reason,) = status.reasons
        assert "poll" in reason
        assert (status.ready, status.degraded, status.failed) == (True, True, "")
        await until(lambda: len(calls) == 2 and not boot.status().failing_services)
        status = boot.status()
        assert (status.failing_services, status.degraded) == ((), False)
        assert outcomes(boot, "service") == [("poll", "failed"), ("poll", "running")]
    (record,) = (each for each in caplog.records if each.levelno >= logging.ERROR)
    assert "poll" in record.getMessage()


@pytest.mark.both_backends
async def test_a_service_that_exceeds_max_restarts_ends_the_block(
    boot: Bootstrap[Needs, Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """The last failure is raised without a group, with the name of the service in a note."""
    failures: list[ConnectionError] = []
    ended: list[Status] = []

    @boot.service(max_restarts=2)
    async def poll() -> None:
        await checkpoint()
        failures.append(ConnectionError(f"number {len(failures) + 1}"))
        raise failures[-1]

    async def body() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(boot.status())

    with pytest.raises(ConnectionError) as caught:
        await run_once(boot, body)
    assert caught.value is failures[-1]
    assert len(failures) == 3
    assert "(raised by the service poll)" in caught.value.__notes__
    assert (ended[0].failed, ended[0].ready, ended[0].state) == ("poll", False, "draining")
    assert "poll" in caplog.records[-1].getMessage()
    assert boot.status() == Status()


async def test_a_service_without_restarts_ends_the_block_at_once() -> None:
    """Its first failure is raised."""
    source_options: list[dict[str, Any]] = [
        {"restart": "never"},
        {"restart": "never", "max_restarts": 5},
        {"max_restarts": 0},
        {"restart": "on-failure", "max_restarts": 0, "restart_window": 0.001},
    ]
    for wish in source_options:
        boot = application()
        calls: list[None] = []

        @boot.service(**wish)
        async def poll(calls: list[None] = calls) -> None:
            await checkpoint()
            calls.append(None)
            raise ConnectionError

        with pytest.raises(ConnectionError):
            await run_once(boot, anyio.sleep_forever)
        assert calls == [None], wish


async def test_failures_before_the_restart_window_do_not_count(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """A service that fails from time to time is always restarted."""
    calls: list[None] = []

    @boot.service(max_restarts=1, restart_window=0.001)
    async def poll() -> None:
        await anyio.sleep(0.01)
        calls.append(None)
        if len(calls) == 5:
            await anyio.sleep_forever()
        raise ConnectionError

    async with boot.running():
        await until(lambda: len(calls) == 5)
        assert boot.status().failed == ""


@pytest.mark.both_backends
async def test_sys_exit_in_a_service_ends_the_application(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The service is not restarted."""

    @boot.service
    async def poll() -> None:
        await checkpoint()
        raise SystemExit(3)

    with pytest.raises(SystemExit) as caught:
        await run_once(boot, anyio.sleep_forever)
    assert caught.value.code == 3


@pytest.mark.both_backends
async def test_a_second_failure_is_logged(
    boot: Bootstrap[Needs, Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """One failure ends the application; another at the same time is logged."""
    both = anyio.Event()
    started: list[str] = []

    async def fail(name: str, failure: Exception) -> None:
        started.append(name)
        if len(started) == 2:
            both.set()
        await both.wait()
        raise failure

    @boot.service(restart="never")
    async def poll() -> None:
        await fail("poll", ConnectionError())

    @boot.service(restart="never")
    async def sweep() -> None:
        await fail("sweep", OSError())

    with pytest.raises(OSError):  # noqa: PT011  (which of the two it is does not matter)
        await run_once(boot, anyio.sleep_forever)
    errors = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
    for name in ("poll", "sweep"):
        assert any(name in text for text in errors)


@pytest.mark.both_backends
async def test_a_service_that_ignores_its_cancellation_is_named() -> None:
    """The resources are stopped all the same."""
    boot = application(shutdown_timeout=1)
    works, let_go = anyio.Event(), anyio.Event()

    @boot.resource
    async def pool() -> AsyncIterator[None]:
        yield
        let_go.set()

    @boot.service
    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            works.set()
            await let_go.wait()

    with pytest.raises(ShutdownTimeoutError) as caught:
        await run_once(boot, works.wait)
    assert caught.value.pending == ("stubborn",)
    (line,) = caught.value.progress
    assert "in stubborn: await let_go.wait()" in line


@pytest.mark.both_backends
async def test_a_block_waits_for_a_service_that_does_not_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In a process of another owner the service is named, and the block ends later."""
    boot = application(shutdown_timeout=0.05)
    works, let_go = anyio.Event(), anyio.Event()

    @boot.service
    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            works.set()
            await let_go.wait()

    async def look() -> None:
        await until(lambda: "stubborn" in caplog.text)
        assert boot.status().state == "stopping"
        let_go.set()

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        with pytest.raises(ShutdownTimeoutError):
            await run_once(boot, works.wait)


@pytest.mark.both_backends
async def test_a_failure_during_the_cancellation_of_a_service_is_raised(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The exception is raised at the end of the block."""
    works = anyio.Event()

    @boot.service
    async def poll() -> None:
        works.set()
        try:
            await anyio.sleep_forever()
        finally:
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011  (which of the two it is does not matter)
        await run_once(boot, works.wait)


async def test_services_start_after_the_resources_and_before_ready(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The order of the declarations does not matter."""
    seen: list[object] = []

    @boot.service
    async def poll(boot: Bootstrap[Needs, Settings]) -> None:
        await until(lambda: boot.status().ready)
        seen.append(pool.value)

    @boot.resource
    async def pool() -> str:
        await checkpoint()
        return "pool"

    async with boot.running():
        await until(lambda: seen == ["pool"])


async def test_a_partial_may_be_a_service(boot: Bootstrap[Needs, Settings]) -> None:
    """It has the name of its function, and the open parameters are filled."""
    seen: list[tuple[int, Needs]] = []

    async def poll(seconds: int, secrets: Needs) -> None:
        await checkpoint()
        seen.append((seconds, secrets))

    boot.service(partial(poll, 3))
    async with boot.running() as secrets:
        await until(lambda: seen == [(3, secrets)])
        assert boot.status().timeline[-1].name in {"poll", "ready"}


async def test_each_run_counts_the_failures_of_services_from_zero(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The restarts and failures of an earlier run do not count."""
    calls: list[None] = []

    @boot.service(max_restarts=1)
    async def poll() -> None:
        await checkpoint()
        calls.append(None)
        if len(calls) % 2:
            raise ConnectionError
        await anyio.sleep_forever()

    for number in range(1, 4):
        async with boot.running():
            await until(lambda number=number: len(calls) == 2 * number)  # type: ignore[misc]
            assert boot.status().failed == ""


async def test_a_stop_does_not_wait_for_the_restart_of_a_service(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The delay before the restart is cancelled."""
    set_timings(boot, service_restart_delay=NEVER, max_service_restart_delay=NEVER)

    @boot.service
    async def poll() -> None:
        await checkpoint()
        raise ConnectionError

    with anyio.fail_after(20):
        async with boot.running():
            await until(lambda: boot.status().failing_services)


async def fails(failure: BaseException) -> None:
    """Raise after a step of the loop."""
    await checkpoint()
    raise failure


@pytest.mark.both_backends
async def test_a_failure_that_is_alone_in_its_group_is_raised_without_it(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """A service with a task group fails with the exception of its task."""
    failure = ConnectionError()

    @boot.service(restart="never")
    async def poll() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(fails, failure)

    with pytest.raises(ConnectionError) as caught:
        await run_once(boot, anyio.sleep_forever)
    assert caught.value is failure


async def test_the_log_of_a_failing_service_shows_no_secret(
    boot: Bootstrap[Needs, Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """Its traceback is redacted."""
    caplog.set_level(logging.INFO)
    works = anyio.Event()

    @boot.service
    async def poll(secrets: Needs) -> None:
        if "poll" in caplog.text:
            works.set()
            await anyio.sleep_forever()
        raise ConnectionError(secrets.jwt_secret.reveal())

    await run_once(boot, works.wait)
    assert "ConnectionError: ***" in caplog.text
    assert VALUE not in caplog.text


@pytest.mark.both_backends
async def test_a_cancelled_service_with_an_asyncio_task_group_is_not_a_failure(
    boot: Bootstrap[Needs, Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """Several tasks that are cancelled at once are one cancellation."""
    works = anyio.Event()

    @boot.service(restart="never")
    async def poll() -> None:
        works.set()
        await sleep_in_a_group_of_the_loop()

    await run_once(boot, works.wait)
    assert not [each for each in caplog.records if each.levelno > logging.INFO]


@pytest.mark.both_backends
async def test_a_failure_beside_cancelled_tasks_is_raised_without_them(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """One task of a service fails during the cancellation of the others."""
    works = anyio.Event()

    async def fails_at_its_end() -> None:
        try:
            works.set()
            await anyio.sleep_forever()
        finally:
            raise OSError

    @boot.service
    async def poll() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            group.start_soon(fails_at_its_end)

    with pytest.raises(OSError):  # noqa: PT011  (which of the two it is does not matter)
        await run_once(boot, works.wait)


@pytest.mark.both_backends
async def test_a_failure_before_a_restart_does_not_fail_the_stop(
    boot: Bootstrap[Needs, Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """A service that would have been restarted is not a failure of the stop."""
    failed = anyio.Event()

    @boot.service
    async def poll() -> None:
        await checkpoint()
        failed.set()
        raise ConnectionError

    await run_once(boot, failed.wait)
    assert any("poll" in record.getMessage() for record in caplog.records)


@pytest.mark.both_backends
async def test_a_final_failure_just_before_the_stop_is_raised(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """A failure that would have ended the application fails it during a stop too."""
    failed = anyio.Event()

    @boot.service(restart="never")
    async def poll() -> None:
        await checkpoint()
        failed.set()
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await run_once(boot, failed.wait)
