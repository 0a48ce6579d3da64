"""Resources of an application: start, stop, and the reports of failures."""

import asyncio
import contextvars
import functools
import inspect
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import (
    Bootstrap,
    Change,
    LifecycleError,
    ShutdownTimeoutError,
    StartupError,
)
from hive_boot.runtime.status import Status
from hive_boot.testing import MountedVolume
from tests.fixtures.applications import (
    PATIENCE,
    VALUE,
    Meeting,
    Needs,
    Settings,
    application,
    outcomes,
    run_once,
)
from tests.runtime.rotations import Service, mounted, numbered
from tests.support import until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the secret into the environment."""
    monkeypatch.setenv("JWT_SECRET", VALUE)


@pytest.fixture
def boot() -> Bootstrap[Needs, Settings]:
    """Return an application without resources."""
    return application()


class Diary:
    """Records the starts and stops of resources, in order."""

    def __init__(self, boot: Bootstrap[Any, Any]) -> None:
        self.boot = boot
        self.lines: list[str] = []

    def part(self, name: str, *needs: str, **more: Any) -> None:  # noqa: ANN401  (of boot.resource)
        """Declare a resource that records its start and stop, and depends on ``needs``."""
        lines = self.lines

        async def work(**values: object) -> AsyncIterator[str]:
            assert values == {need: f"<{need}>" for need in needs}
            await checkpoint()
            lines.append(f"+{name}")
            yield f"<{name}>"
            await checkpoint()
            lines.append(f"-{name}")

        parameters = ", ".join(needs)
        passed = ", ".join(f"{need}={need}" for need in needs)
        source = (
            f"async def {name}({parameters}):\n"
            f"    async for value in work({passed}):\n        yield value\n"
        )
        names: dict[str, Any] = {"work": work}
        exec(source, names)  # noqa: S102  (parameters are dependencies, and these vary)
        if more:
            self.boot.resource(**more)(names[name])
        else:
            self.boot.resource(names[name])


# Start and stop


@pytest.mark.both_backends
async def test_a_resource_starts_before_the_block_and_stops_after_it(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The code above the yield runs before the block begins, the code below after its end."""
    lines: list[str] = []

    @boot.resource
    async def pool(secrets: Needs, config: Settings) -> AsyncIterator[int]:
        await checkpoint()
        lines.append(f"starting, {boot.status().state}, {secrets.jwt_secret.reveal() == VALUE}")
        yield config.port
        await checkpoint()
        lines.append(f"stopping, {boot.status().state}, {secrets.jwt_secret.reveal() == VALUE}")

    async with boot.running():
        assert lines == ["starting, starting, True"]
        assert pool.value == 3000
        assert boot.status().state == "ready"
    assert lines[1:] == ["stopping, stopping, True"]


async def test_a_resource_without_a_yield_returns_its_value(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """A resource without a stop is an async function; the value may be None."""

    @boot.resource
    async def number(config: Settings) -> int:
        await checkpoint()
        return config.port

    @boot.resource
    async def migrated() -> None:
        await checkpoint()

    @boot.resource
    async def doubled(number: int, *, migrated: None, factor: int = 2) -> int:
        assert migrated is None
        await checkpoint()
        return number * factor

    async with boot.running():
        assert (number.value, migrated.value, doubled.value) == (3000, None, 6000)


@pytest.mark.both_backends
async def test_resources_start_after_their_dependencies_and_stop_in_reverse(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The parameters define the order, not the order of the declarations."""
    diary = Diary(boot)
    diary.part("api", "agents", "cache")
    diary.part("agents", "pool")
    diary.part("cache", "pool")
    diary.part("pool")
    async with boot.running():
        assert diary.lines[0] == "+pool"
        assert diary.lines[-1] == "+api"
        assert sorted(diary.lines[1:3]) == ["+agents", "+cache"]
        diary.lines.clear()
    assert diary.lines[0] == "-api"
    assert diary.lines[-1] == "-pool"
    assert sorted(diary.lines[1:3]) == ["-agents", "-cache"]


@pytest.mark.both_backends
async def test_independent_resources_start_and_stop_concurrently(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """Each of three resources waits for the two others."""
    starts, stops = Meeting(3), Meeting(3)

    async def slow() -> AsyncIterator[None]:
        await starts.come()
        yield
        await stops.come()

    for name in "abc":

        async def part() -> AsyncIterator[None]:
            async for _ in slow():
                yield

        part.__name__ = name
        boot.resource(part)
    with anyio.fail_after(PATIENCE):
        async with boot.running():
            pass


async def test_each_run_has_new_instances_of_its_resources(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """A second start uses nothing of the run before."""
    diary = Diary(boot)
    diary.part("pool")
    diary.part("agents", "pool")
    pools: list[object] = []

    @boot.resource
    async def fresh() -> object:
        await checkpoint()
        pools.append(object())
        return pools[-1]

    for _ in range(3):
        async with boot.running():
            assert fresh.value is pools[-1]
    assert len(set(map(id, pools))) == 3
    assert diary.lines == ["+pool", "+agents", "-agents", "-pool"] * 3


async def test_resources_see_the_context_variables_of_the_caller(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """A context variable that was set before the start has its value in the resources."""
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")
    seen: list[str] = []

    @boot.resource
    async def pool() -> AsyncIterator[None]:
        await checkpoint()
        seen.append(tenant.get())
        yield
        seen.append(tenant.get())

    tenant.set("hive")
    async with boot.running():
        tenant.set("changed later")
    assert seen == ["hive", "hive"]


@pytest.mark.both_backends
async def test_a_resource_may_open_a_task_group(boot: Bootstrap[Needs, Settings]) -> None:
    """A group that is opened above the yield is left below it, when its tasks have ended."""
    lines: list[str] = []

    @boot.resource
    async def workers() -> AsyncIterator[anyio.Event]:
        done = anyio.Event()

        async def work() -> None:
            try:
                await done.wait()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.01)
                lines.append("work")

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            yield done
            group.cancel_scope.cancel()
        lines.append("workers")

    async with boot.running():
        assert not workers.value.is_set()
    assert lines == ["work", "workers"]


async def test_a_hook_can_take_a_resource(volume: MountedVolume) -> None:
    """A hook receives a resource by the name of its parameter, in addition to the change."""
    volume.publish(numbered(1))
    boot = mounted(volume.path, Service, watch=False)
    told: list[tuple[int, list[str], bool]] = []

    @boot.resource
    async def pool(secrets: Service) -> list[str]:
        await checkpoint()
        return [secrets.api_key.reveal()]

    @boot.on_rotate("api_key")
    async def reconnect(change: Change, pool: list[str], *, secrets: Service) -> None:
        await checkpoint()
        pool.append(secrets.api_key.reveal())
        told.append((change.generation, pool, secrets is boot.secrets))

    async with boot.running():
        volume.publish(numbered(2))
        await boot.reload()
        await until(lambda: told)
        assert told == [(2, pool.value, True)]
        assert pool.value == ["fake-api-key-000001", "fake-api-key-000002"]


@pytest.mark.both_backends
def test_main_can_take_resources(anyio_backend: str) -> None:
    """Main runs when all resources have started; its return value is the exit status."""
    boot = application()
    diary = Diary(boot)
    diary.part("pool")
    diary.part("agents", "pool")

    @boot.main
    async def main(agents: str, secrets: Needs, boot: Bootstrap[Needs, Settings]) -> int:
        await checkpoint()
        diary.lines.append(f"main with {agents}")
        assert boot.secrets is secrets
        return 3

    with pytest.raises(SystemExit) as caught:
        boot.run(backend=anyio_backend)
    assert caught.value.code == 3
    assert diary.lines == ["+pool", "+agents", "main with <agents>", "-agents", "-pool"]


# Failures at the start


@pytest.mark.both_backends
async def test_a_resource_that_fails_to_start_ends_the_start(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """Its exception is the cause; started resources stop, and dependents never start."""
    diary = Diary(boot)
    diary.part("pool")
    diary.part("api", "agents")
    failure = RuntimeError("no schema")
    seen: list[Status] = []

    @boot.resource
    async def agents(pool: str) -> AsyncIterator[str]:
        await checkpoint()
        seen.append(boot.status())
        raise failure
        yield pool  # type: ignore[unreachable]

    with pytest.raises(StartupError) as caught:
        async with boot.running():
            pytest.fail("it has started")
    assert (caught.value.resource, caught.value.reason) == ("agents", "RuntimeError")
    assert caught.value.__cause__ is failure
    assert "agents" in str(caught.value)
    assert diary.lines == ["+pool", "-pool"]
    assert seen[0].state == "starting"
    assert boot.status() == Status()


async def test_an_application_can_start_again_after_a_failed_start(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """A second start runs the resource again."""
    answers = [RuntimeError("no schema"), None]

    @boot.resource
    async def pool() -> str:
        await checkpoint()
        if failure := answers.pop(0):
            raise failure
        return "pool"

    with pytest.raises(StartupError):
        async with boot.running():
            pytest.fail("it has started")
    async with boot.running():
        assert pool.value == "pool"


@pytest.mark.both_backends
async def test_two_resources_that_fail_at_once_are_both_reported(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """Both failures are in one group."""
    meeting = Meeting(2)

    @boot.resource
    async def pool() -> None:
        await meeting.come()
        raise RuntimeError

    @boot.resource
    async def cache() -> None:
        await meeting.come()
        raise OSError

    with pytest.raises(BaseExceptionGroup) as caught:
        async with boot.running():
            pytest.fail("it has started")
    failed = [each for each in caught.value.exceptions if isinstance(each, StartupError)]
    assert sorted((each.resource, each.reason) for each in failed) == [
        ("cache", "OSError"),
        ("pool", "RuntimeError"),
    ]
    assert len(failed) == len(caught.value.exceptions)


@pytest.mark.both_backends
async def test_a_resource_that_hangs_is_named_with_the_state_of_the_others() -> None:
    """The error has the resource, its line, and the resources that wait for it."""
    # The whole time has to be enough for the resource before, on a machine with much to do.
    for total, own, limit in ((30, 0.05, "0.05 s"), (1, None, "1 s"), (1, 30, "1 s")):
        boot = application(startup_timeout=total)
        diary = Diary(boot)
        diary.part("cache")
        diary.part("api", "pool")

        async def pool(cache: str) -> AsyncIterator[str]:
            await anyio.sleep_forever()
            yield cache

        boot.resource(pool) if own is None else boot.resource(timeout=own)(pool)
        with pytest.raises(StartupError) as caught:
            async with boot.running():
                pytest.fail("it has started")
        error = caught.value
        assert error.resource == "pool"
        assert limit in error.reason
        doing = {line.split()[1].rstrip(","): line for line in error.progress}
        assert doing["cache"].startswith("done")
        assert doing["pool"].startswith("running")
        assert "test_resources.py" in doing["pool"]
        assert re.fullmatch(r"waiting +api, [\d.]+ s +for pool", doing["api"])
        assert diary.lines == ["+cache", "-cache"]


async def test_a_resource_that_does_not_yield_is_named(boot: Bootstrap[Needs, Settings]) -> None:
    """A yield that a branch leaves out is reported with its resource and its line."""

    @boot.resource
    async def pool(config: Settings) -> AsyncIterator[int]:
        await checkpoint()
        if config.port == 1:
            yield config.port

    with pytest.raises(StartupError) as caught:
        async with boot.running():
            pytest.fail("it has started")
    assert (caught.value.resource, caught.value.reason) == ("pool", "LifecycleError")
    assert re.search(r"pool .*without a yield.*test_resources.py:\d+", str(caught.value.__cause__))


@pytest.mark.both_backends
async def test_a_second_yield_is_reported_with_its_line(boot: Bootstrap[Needs, Settings]) -> None:
    """A second yield of a context manager inside the resource is not reported as its own."""
    line = inspect.currentframe().f_lineno  # type: ignore[union-attr]

    @boot.resource
    async def pool() -> AsyncIterator[int]:
        yield 1
        await checkpoint()
        yield 2

    with pytest.raises(LifecycleError, match=rf"pool.* second.*test_resources.py:{line + 2}\b"):
        async with boot.running():
            assert pool.value == 1

    other = application()

    @asynccontextmanager
    async def twice() -> AsyncIterator[int]:
        yield 1
        yield 2

    @other.resource
    async def user() -> AsyncIterator[int]:
        async with twice() as value:
            yield value

    with pytest.raises(RuntimeError, match="didn't stop"):
        async with other.running():
            assert user.value == 1


@pytest.mark.both_backends
async def test_a_context_manager_function_is_a_resource(boot: Bootstrap[Needs, Settings]) -> None:
    """Below ``@asynccontextmanager``, or another decorator, a generator starts and stops."""
    seen: list[object] = []

    @boot.resource
    @asynccontextmanager
    async def pool(secrets: Needs) -> AsyncIterator[str]:
        yield secrets.jwt_secret.reveal()
        seen.append("pool stops")

    def traced(function: Callable[..., AsyncIterator[str]]) -> Callable[..., AsyncIterator[str]]:
        @functools.wraps(function)
        def call(*args: object, **kwargs: object) -> AsyncIterator[str]:
            seen.append(function.__name__)
            return function(*args, **kwargs)

        return call

    @boot.resource(timeout=5)
    @traced
    async def api(pool: str) -> AsyncIterator[str]:
        yield pool + " of api"
        seen.append("api stops")

    async with boot.running():
        assert (pool.name, pool.value) == ("pool", VALUE)
        assert (api.name, api.value) == ("api", f"{VALUE} of api")
    assert seen == ["api", "api stops", "pool stops"]


@pytest.mark.both_backends
async def test_a_cancelled_start_stops_the_started_resources(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The resource that hangs is cancelled, and the others are stopped."""
    diary = Diary(boot)
    diary.part("pool")
    hangs = anyio.Event()

    @boot.resource
    async def agents(pool: str) -> AsyncIterator[str]:
        try:
            hangs.set()
            await anyio.sleep_forever()
        finally:
            diary.lines.append("agents ends")
        yield pool

    async def start() -> None:
        async with boot.running():
            pytest.fail("it has started")

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await hangs.wait()
        group.cancel_scope.cancel()
    assert diary.lines == ["+pool", "agents ends", "-pool"]
    assert boot.status() == Status()


# Failures at the stop


@pytest.mark.both_backends
async def test_a_single_failure_of_a_stop_is_raised_without_a_group(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The exception has a note with the name of the resource; the others still stop."""
    diary = Diary(boot)
    diary.part("pool")
    diary.part("api", "agents")
    failure = OSError("it is gone")

    @boot.resource
    async def agents(pool: str) -> AsyncIterator[str]:
        assert pool == "<pool>"
        yield "<agents>"
        await checkpoint()
        raise failure

    with pytest.raises(OSError, match="it is gone") as caught:
        async with boot.running():
            pass
    assert caught.value is failure
    assert "(raised by the resource agents)" in failure.__notes__
    assert diary.lines == ["+pool", "+api", "-api", "-pool"]


@pytest.mark.both_backends
async def test_several_failures_of_stops_are_raised_as_one_group() -> None:
    """All resources stop; an exception of the block comes first in the flat group."""
    for mine in (None, KeyError("mine")):
        boot = application()

        @boot.resource
        async def pool() -> AsyncIterator[None]:
            yield
            await checkpoint()
            raise OSError

        @boot.resource
        async def cache(pool: None) -> AsyncIterator[None]:
            yield pool
            await checkpoint()
            raise ConnectionError

        async def body(mine: KeyError | None = mine) -> None:
            await checkpoint()
            if mine is not None:
                raise mine

        with pytest.raises(BaseExceptionGroup) as caught:
            await run_once(boot, body)
        raised = list(caught.value.exceptions)
        if mine is not None:
            assert raised.pop(0) is mine
        assert sorted(type(each).__name__ for each in raised) == ["ConnectionError", "OSError"]


@pytest.mark.both_backends
async def test_a_cancelled_block_raises_the_failure_of_a_stop(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """A cancellation from outside does not hide the failure of a stop."""
    failure = OSError("it is gone")
    inside = anyio.Event()

    @boot.resource
    async def pool() -> AsyncIterator[None]:
        yield
        await checkpoint()
        raise failure

    caught: list[BaseException] = []

    async def run_until_cancelled() -> None:
        try:
            async with boot.running():
                inside.set()
                await anyio.sleep_forever()
        except OSError as exc:
            caught.append(exc)

    async with anyio.create_task_group() as group:
        group.start_soon(run_until_cancelled)
        await inside.wait()
        group.cancel_scope.cancel()
    assert caught == [failure]


@pytest.mark.both_backends
async def test_a_cancellation_during_the_stop_is_delivered_after_it(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The stop completes, and the code below the block is not reached."""
    lines: list[str] = []
    scope = anyio.CancelScope()

    @boot.resource
    async def pool() -> AsyncIterator[None]:
        yield
        scope.cancel()
        await anyio.sleep(0.01)
        lines.append("pool stops")

    async def nothing() -> None:
        await checkpoint()

    with scope:
        await run_once(boot, nothing)
        await checkpoint()
        lines.append("below the block")
    assert scope.cancelled_caught
    assert lines == ["pool stops"]
    assert boot.status() == Status()


async def test_a_task_cancelled_during_the_stop_is_cancelled_after_it() -> None:
    """This is how `asyncio.timeout` around the block works, if it expires during the stop."""
    task = asyncio.current_task()
    assert task is not None

    async def nothing() -> None:
        await checkpoint()

    for failure in (None, OSError()):
        boot = application()
        lines: list[str] = []

        @boot.resource
        async def pool(
            failure: OSError | None = failure, lines: list[str] = lines
        ) -> AsyncIterator[None]:
            yield
            task.cancel()
            await anyio.sleep(0.01)
            lines.append("pool stops")
            if failure is not None:
                raise failure

        with pytest.raises((asyncio.CancelledError, OSError)) as caught:
            await run_once(boot, nothing)
        task.uncancel()
        assert caught.value is failure or failure is None
        assert lines == ["pool stops"]
        assert boot.status() == Status()


@pytest.mark.both_backends
async def test_a_resource_that_does_not_stop_in_time_is_cancelled_and_named() -> None:
    """The timeout of the resource is a limit within that of the whole stop."""
    for total, own in ((2, None), (30, 0.05)):
        boot = application(shutdown_timeout=total)
        diary = Diary(boot)
        diary.part("cache")

        async def pool(cache: str) -> AsyncIterator[str]:
            yield cache
            await anyio.sleep_forever()

        boot.resource(pool) if own is None else boot.resource(timeout=own)(pool)
        with pytest.raises(ShutdownTimeoutError) as caught:
            async with boot.running():
                pass
        assert caught.value.pending == ("pool",)
        assert diary.lines == ["+cache", "-cache"]


# Failures in between


@pytest.mark.both_backends
async def test_a_resource_that_crashes_ends_the_block(boot: Bootstrap[Needs, Settings]) -> None:
    """The block is cancelled, and the failure is raised without a group."""
    diary = Diary(boot)
    diary.part("pool")
    diary.part("api", "workers")
    failure = ConnectionError("no route")
    crash = anyio.Event()
    ended: list[str] = []

    @boot.resource
    async def workers(pool: str) -> AsyncIterator[str]:
        async def work() -> None:
            await crash.wait()
            raise failure

        assert pool == "<pool>"
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            yield "<workers>"

    async def body() -> None:
        crash.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(boot.status().failed)

    with pytest.raises(ConnectionError) as caught:
        await run_once(boot, body)
    assert caught.value is failure
    assert ended == ["workers"]
    assert diary.lines == ["+pool", "+api", "-api", "-pool"]
    await checkpoint()  # no further cancellation arrives
    assert boot.status() == Status()


@pytest.mark.both_backends
async def test_a_crash_and_a_failing_stop_are_raised_together(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The crash comes first, and the failures of the stop follow."""
    crash = anyio.Event()

    @boot.resource
    async def pool() -> AsyncIterator[None]:
        yield
        await checkpoint()
        raise OSError

    @boot.resource
    async def workers(pool: None) -> AsyncIterator[None]:
        async def work() -> None:
            await crash.wait()
            raise ConnectionError

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            yield pool

    async def body() -> None:
        crash.set()
        await anyio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        await run_once(boot, body)
    assert [type(each) for each in caught.value.exceptions] == [ConnectionError, OSError]


@pytest.mark.both_backends
async def test_an_exception_of_a_block_that_a_crash_ends_is_raised_too(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """The exception of the block and the crash are in one group."""
    crash = anyio.Event()

    @boot.resource
    async def workers() -> AsyncIterator[None]:
        async def work() -> None:
            await crash.wait()
            raise ConnectionError

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            yield

    async def body() -> None:
        crash.set()
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError

    with pytest.raises(BaseExceptionGroup) as caught:
        await run_once(boot, body)
    assert {type(each) for each in caught.value.exceptions} == {ConnectionError, KeyError}


@pytest.mark.both_backends
async def test_a_resource_that_ends_early_is_a_crash(boot: Bootstrap[Needs, Settings]) -> None:
    """A resource that cancels its own task group has no value any more, so the block ends."""
    end = anyio.Event()

    @boot.resource
    async def workers() -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:

            async def give_up() -> None:
                await end.wait()
                group.cancel_scope.cancel()

            group.start_soon(give_up)
            yield

    async def body() -> None:
        end.set()
        await anyio.sleep_forever()

    with pytest.raises(LifecycleError, match="workers"):
        await run_once(boot, body)


# Timeline and causes


async def test_the_timeline_has_every_resource(boot: Bootstrap[Needs, Settings]) -> None:
    """Each resource has its outcome and the resources that it has waited for."""
    diary = Diary(boot)
    diary.part("agents", "pool")
    diary.part("pool")
    async with boot.running():
        assert outcomes(boot, "resource") == [("pool", "done"), ("agents", "done")]
        pool, agents = (step for step in boot.status().timeline if step.kind == "resource")
        assert (pool.waits_for, agents.waits_for) == ((), ("pool",))
        assert pool.end is not None
        assert agents.end is not None
        assert pool.start <= pool.end <= agents.end


@pytest.mark.both_backends
async def test_the_exception_of_an_overdue_resource_is_the_cause(
    boot: Bootstrap[Needs, Settings],
) -> None:
    """What a resource raises when it is cancelled after its timeout is `__cause__`."""

    @boot.resource(timeout=0.05)
    async def pool() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            message = "no route to the database"
            raise ConnectionError(message)

    with pytest.raises(StartupError) as caught:
        await run_once(boot, checkpoint)
    assert caught.value.resource == "pool"
    assert "0.05 s" in caught.value.reason
    assert isinstance(caught.value.__cause__, ConnectionError)
