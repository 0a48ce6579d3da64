"""Resources that cannot reach something outside, and resources in an order without a value."""

import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import Bootstrap, DeclarationError, StartupError, UnavailableError
from tests.fixtures.applications import VALUE, Needs, Settings, application, outcomes, run_once
from tests.fixtures.timings import set_timings
from tests.support import until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the secret into the environment."""
    monkeypatch.setenv("JWT_SECRET", VALUE)


def declared(**more: Any) -> Bootstrap[Needs, Settings]:  # noqa: ANN401  (of Bootstrap)
    """Return an application that retries soon."""
    boot = application(**more)
    set_timings(boot, check_retry_delay=0.01, max_check_retry_delay=0.05)
    return boot


class Database:
    """A server that refuses some connections.

    Attributes:
        failures: what the next attempts raise; None for a connection.
        attempts: how many there were.
        lines: what happened to the resources, in order.
    """

    def __init__(self, *failures: BaseException | None) -> None:
        self.failures = list(failures)
        self.attempts = 0
        self.lines: list[str] = []

    async def connect(self) -> None:
        """Connect; the last failure stays."""
        await checkpoint()
        self.attempts += 1
        failure = self.failures.pop(0) if len(self.failures) > 1 else self.failures[0]
        if failure is not None:
            raise failure

    async def pool(self) -> AsyncIterator[str]:
        """Connect, and stay connected."""
        await self.connect()
        self.lines.append("+pool")
        yield "pool"
        self.lines.append("-pool")


@pytest.mark.both_backends
async def test_a_start_is_retried_until_it_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    """What needs the resource waits for it; the log has a line for each failure, redacted."""
    boot = declared()
    refused, late = ConnectionRefusedError(f"refused {VALUE}"), TimeoutError()
    database = Database(refused, late, refused, refused, None)

    @boot.resource
    async def pool() -> AsyncIterator[str]:
        async for each in database.pool():
            yield each

    @boot.resource
    async def prices(pool: str) -> str:
        await checkpoint()
        database.lines.append("+prices")
        return pool

    async with boot.running():
        assert (pool.value, prices.value, database.attempts) == ("pool", "pool", 5)
        assert outcomes(boot, "resource") == [("pool", "done"), ("prices", "done")]
    assert database.lines == ["+pool", "+prices", "-pool"]
    records = [each for each in caplog.records if each.levelname == "WARNING"]
    assert all("pool" in each.getMessage() for each in records)
    assert VALUE not in caplog.text
    # Each delay is at most twice the one before, less up to a half at random, up to a maximum.
    delays: list[Any] = [each.args[-1] for each in records if isinstance(each.args, tuple)]
    for delay, longest in zip(delays, (0.01, 0.02, 0.04, 0.05), strict=True):
        assert longest / 2 <= delay <= longest


@pytest.mark.both_backends
async def test_what_is_never_reached_fails_the_start_with_its_last_failure() -> None:
    """The error names the resource and has the exception as its cause, and no value."""
    boot = declared(startup_timeout=0.3)
    failure = ConnectionResetError(f"reset {VALUE}")
    database = Database(TimeoutError(), failure)

    @boot.resource
    async def pool() -> None:
        await database.connect()

    @boot.resource
    async def prices(pool: object) -> None: ...

    with pytest.raises(UnavailableError) as caught:
        async with boot.running():
            pytest.fail("it has started")
    (problem,) = caught.value.problems
    assert (problem.name, problem.kind) == ("pool", "unavailable")
    assert problem.message.endswith(": ConnectionResetError: reset ***")
    assert caught.value.__cause__ is failure
    assert database.attempts > 2


@pytest.mark.both_backends
@pytest.mark.parametrize("steps", range(8))
async def test_a_failure_just_after_the_deadline_is_not_reported_twice(steps: int) -> None:
    """It ends the attempt that the deadline would have cancelled a few steps of the loop later."""
    boot = declared(startup_timeout=0.1)
    deadline = time.monotonic() + 0.2
    attempts: list[None] = []

    @boot.resource
    async def pool() -> None:
        attempts.append(None)
        if len(attempts) > 1:
            while time.monotonic() < deadline:
                pass  # the event loop is blocked until the deadline is over
            for _ in range(steps):
                await checkpoint()
        raise ConnectionResetError

    with pytest.raises(UnavailableError):
        async with boot.running():
            pytest.fail("it has started")
    assert len(attempts) == 2


@pytest.mark.both_backends
async def test_a_hang_at_the_deadline_hides_no_failure_before_it() -> None:
    """An attempt that the deadline cuts short explains less than the one before."""
    boot = declared(startup_timeout=0.3)
    attempts: list[None] = []

    @boot.resource
    async def pool() -> None:
        attempts.append(None)
        if len(attempts) > 1:
            await anyio.sleep_forever()
        raise ConnectionRefusedError

    with pytest.raises(UnavailableError) as caught:
        async with boot.running():
            pytest.fail("it has started")
    assert "ConnectionRefusedError" in caught.value.problems[0].message
    assert len(attempts) == 2


async def test_what_was_reached_at_last_explains_no_hang() -> None:
    """A resource that has started after a retry is not named when another one hangs."""
    boot = declared(startup_timeout=0.3)
    database = Database(ConnectionRefusedError(), None)

    @boot.resource
    async def pool() -> None:
        await database.connect()

    @boot.resource(after=pool)
    async def slow() -> None:
        await anyio.sleep_forever()

    with pytest.raises(StartupError) as caught:
        async with boot.running():
            pytest.fail("it has started")
    assert (caught.value.resource, database.attempts) == ("slow", 2)


@pytest.mark.both_backends
async def test_each_attempt_has_its_own_timeout() -> None:
    """One that hangs is named as before; attempts and delays together may take longer."""
    boot = declared()
    set_timings(boot, check_retry_delay=0.4, max_check_retry_delay=0.4)
    database = Database(ConnectionRefusedError(), ConnectionRefusedError(), None)

    @boot.resource(timeout=0.35)
    async def pool() -> None:
        await database.connect()

    async with boot.running():
        assert database.attempts == 3

    hanging = declared()

    @hanging.resource(timeout=0.05)
    async def cache() -> None:
        await anyio.sleep_forever()

    with pytest.raises(StartupError) as caught:
        async with hanging.running():
            pytest.fail("it has started")
    assert caught.value.resource == "cache"


class OperationalError(Exception):
    """An error of a library that has one for everything."""


async def test_a_resource_names_further_exceptions() -> None:
    """Without ``retry_on`` they fail the start at once, and after an attempt that was retried."""
    retried = declared()
    database = Database(OperationalError(), None)

    @retried.resource(retry_on=OperationalError)
    async def pool() -> None:
        await database.connect()

    async with retried.running():
        assert database.attempts == 2

    refused = declared()
    other = Database(ConnectionRefusedError(), OperationalError())

    @refused.resource
    async def cache() -> None:
        await other.connect()

    with pytest.raises(StartupError):
        async with refused.running():
            pytest.fail("it has started")
    assert other.attempts == 2


@pytest.mark.both_backends
async def test_a_start_that_is_cancelled_between_two_attempts_is_over_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A stop does not wait for the next attempt, and is no failure of the resource."""
    boot = declared()
    set_timings(boot, check_retry_delay=20.0, max_check_retry_delay=20.0)
    database = Database(ConnectionRefusedError())

    @boot.resource
    async def pool() -> None:
        await database.connect()

    async def start() -> None:
        async with boot.running():
            pytest.fail("it has started")

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await until(lambda: "pool" in caplog.text)
        group.cancel_scope.cancel()
    assert database.attempts == 1
    assert boot.status().state == "armed"


@pytest.mark.both_backends
async def test_a_library_may_translate_its_cancellation(caplog: pytest.LogCaptureFixture) -> None:
    """A stop cancels the start: the exception that this causes is no failure, and no retry."""
    boot = declared()
    attempts: list[None] = []

    @boot.resource
    async def pool() -> None:
        attempts.append(None)
        try:
            await anyio.sleep_forever()
        finally:
            raise TimeoutError

    async def start() -> None:
        async with boot.running():
            pytest.fail("it has started")

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await until(lambda: attempts)
        group.cancel_scope.cancel()
    assert len(attempts) == 1
    assert not [each for each in caplog.records if each.levelname == "WARNING"]


@pytest.mark.both_backends
async def test_a_failure_after_the_start_is_a_crash() -> None:
    """Only starts are retried: a connection that breaks later ends the application."""
    boot = declared()
    crash = anyio.Event()
    attempts: list[None] = []

    @boot.resource
    async def pool() -> AsyncIterator[None]:
        attempts.append(None)

        async def fail() -> None:
            await crash.wait()
            raise ConnectionResetError

        async with anyio.create_task_group() as group:
            group.start_soon(fail)
            yield

    async def stay() -> None:
        crash.set()
        await anyio.sleep_forever()

    with pytest.raises(ConnectionResetError):
        await run_once(boot, stay)
    assert len(attempts) == 1


async def test_a_crash_while_others_start_is_no_reason_for_a_retry() -> None:
    """What has started and breaks fails the start, whatever the exception."""
    boot = declared()
    attempts: list[None] = []

    @boot.resource
    async def pool() -> AsyncIterator[None]:
        attempts.append(None)

        async def fail() -> None:
            await until(lambda: boot.status().timeline[-1].outcome == "running")
            raise ConnectionResetError

        async with anyio.create_task_group() as group:
            group.start_soon(fail)
            yield

    @boot.resource(after=pool)
    async def cache() -> None:
        await anyio.sleep_forever()

    with pytest.raises(StartupError) as caught:
        await run_once(boot, checkpoint)
    assert (caught.value.resource, len(attempts)) == ("pool", 1)


# Order without a value


@pytest.mark.both_backends
async def test_a_resource_starts_after_another_without_its_value() -> None:
    """By handle or by name, one or several; it stops before them."""
    boot = application()
    lines: list[str] = []

    def work(name: str) -> Any:  # noqa: ANN401  (an async generator function)
        async def resource() -> AsyncIterator[None]:
            await checkpoint()
            lines.append(f"+{name}")
            yield
            await checkpoint()
            lines.append(f"-{name}")

        resource.__name__ = name
        return resource

    boot.resource(after=["migrations", "cache"])(work("api"))
    migrations = boot.resource(after="pool")(work("migrations"))
    boot.resource(after=migrations)(work("cache"))
    boot.resource(work("pool"))
    async with boot.running():
        pass
    names = ["pool", "migrations", "cache", "api"]
    assert lines == [f"+{name}" for name in names] + [f"-{name}" for name in reversed(names)]


async def test_an_order_that_is_impossible_is_refused_before_the_start() -> None:
    """An unknown name, and a circle of parameters and ``after``."""
    unknown, circle, wrong = application(), application(), application()

    @unknown.resource(after="migration")
    async def pool() -> None: ...

    @unknown.resource
    async def migrations() -> None: ...

    @circle.resource(after="second")
    async def first() -> None: ...

    @circle.resource
    async def second(first: object) -> None: ...

    @wrong.resource(after=[["pool"]])  # type: ignore[list-item]
    async def third() -> None: ...

    for boot, text in ((unknown, "'migrations'"), (circle, "first → "), (wrong, "pool")):
        with pytest.raises(DeclarationError) as caught:
            async with boot.running():
                pytest.fail("it has started")
        assert text in str(caught.value)
