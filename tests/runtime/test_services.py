"""The services of an application: work in the background, kept up while it is ready."""

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
    """Put the secret into the environment."""
    monkeypatch.setenv("JWT_SECRET", VALUE)


@pytest.fixture
def boot() -> Bootstrap[Needs, Settings]:
    """Return an application without services; what failed is started again soon."""
    boot = application()
    set_timings(boot, service_restart_delay=0.02, max_service_restart_delay=0.05)
    return boot


@pytest.mark.both_backends
async def test_a_service_works_until_the_stop_with_what_it_asks_for(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """It has the parts until its own end, and what its ``finally`` awaits comes to its end."""
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


async def test_services_work_side_by_side(boot: Bootstrap[Needs, Settings]) -> None:
    """None of them waits for another one's end."""
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


async def test_a_service_that_returns_has_done_its_work(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """It is not started again, and nothing is wrong."""
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
async def test_a_service_that_fails_is_started_again(
    boot: Bootstrap[Needs, Settings],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While it waits the application is ready and degraded; when it works again all is well."""
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
async def test_a_service_that_has_spent_its_budget_ends_the_block(
    boot: Bootstrap[Needs, Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """Two times it is started again; the third failure comes out bare, with its name."""
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


async def test_a_service_that_is_never_started_again_ends_the_block_at_once() -> None:
    """Its first failure is the last."""
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


async def test_failures_that_are_long_ago_are_forgotten(boot: Bootstrap[Needs, Settings]) -> None:
    """The budget is one within a time: who fails now and then is started again for ever."""
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
async def test_a_service_that_exits_is_not_started_again(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """``sys.exit`` in a service means what it says: the application ends, by that."""

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
    """One failure ends the application; another one that comes with it is not lost."""
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
async def test_a_service_that_does_not_end_is_named() -> None:
    """One that swallows its cancellation is told, and the parts stop all the same."""
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
async def test_a_service_that_goes_on_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """In somebody else's process nothing is left behind: it is named, and the block ends later."""
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
async def test_a_service_that_fails_while_it_is_ended_is_heard(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """What goes wrong in its last words is raised at the end of the block."""
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


async def test_services_begin_before_it_is_ready_and_all_parts_before_them(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """A service finds the application started, whichever of the two was declared first."""
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


async def test_a_partial_is_a_service_too(boot: Bootstrap[Needs, Settings]) -> None:
    """It is called by the name of its function, and asks for what is left open."""
    seen: list[tuple[int, Needs]] = []

    async def poll(seconds: int, secrets: Needs) -> None:
        await checkpoint()
        seen.append((seconds, secrets))

    boot.service(partial(poll, 3))
    async with boot.running() as secrets:
        await until(lambda: seen == [(3, secrets)])
        assert boot.status().timeline[-1].name in {"poll", "ready"}


async def test_each_start_begins_its_services_anew(boot: Bootstrap[Needs, Settings]) -> None:
    """The budget and the failures of an earlier run are not counted in the next one."""
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


async def test_a_block_that_ends_while_a_service_waits_does_not_wait_for_it(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The pause before the next try is broken off by the stop."""
    set_timings(boot, service_restart_delay=NEVER, max_service_restart_delay=NEVER)

    @boot.service
    async def poll() -> None:
        await checkpoint()
        raise ConnectionError

    with anyio.fail_after(20):
        async with boot.running():
            await until(lambda: boot.status().failing_services)


async def fails(failure: BaseException) -> None:
    """Fail after a step of the loop."""
    await checkpoint()
    raise failure


@pytest.mark.both_backends
async def test_the_failure_in_a_group_of_one_comes_out_bare(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """A service with a task group in it fails by what its task has raised."""
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
    """Its traceback is scrubbed like every other record."""
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
async def test_a_service_with_a_group_of_the_loop_ends_in_silence(
    boot: Bootstrap[Needs, Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """Several tasks that are cancelled at once are a cancellation, and no failure."""
    works = anyio.Event()

    @boot.service(restart="never")
    async def poll() -> None:
        works.set()
        await sleep_in_a_group_of_the_loop()

    await run_once(boot, works.wait)
    assert not [each for each in caplog.records if each.levelno > logging.INFO]


@pytest.mark.both_backends
async def test_what_fails_beside_cancelled_tasks_is_told_without_them(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """One of a service's tasks fails at its end, the others are cancelled: the failure counts."""
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
async def test_a_failure_just_before_the_stop_is_none_of_the_stop(
    boot: Bootstrap[Needs, Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """A service that would have been started again fails no stop that comes at that moment."""
    failed = anyio.Event()

    @boot.service
    async def poll() -> None:
        await checkpoint()
        failed.set()
        raise ConnectionError

    await run_once(boot, failed.wait)
    assert any("poll" in record.getMessage() for record in caplog.records)


@pytest.mark.both_backends
async def test_a_failure_for_good_just_before_the_stop_is_raised(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """What would have ended the application fails it, also when it is ending anyway."""
    failed = anyio.Event()

    @boot.service(restart="never")
    async def poll() -> None:
        await checkpoint()
        failed.set()
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await run_once(boot, failed.wait)
