"""Rebuilds that fail: instances that are abandoned, activations, retries and values that return."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import InvalidSecretsError, LifecycleError, Secret, SecretSet, secret
from hive_boot.exceptions import UnavailableError
from tests.fixtures.timings import NEVER, set_timings
from tests.runtime.rebuilds import (
    Needs,
    Pool,
    checkpoints,
    count_reads,
    declared,
    publish,
    recording,
    rotate,
)
from tests.runtime.rotations import Log, mounted
from tests.support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hive_boot.testing import MountedVolume

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


async def test_an_abandoned_instance_refuses_no_later_rebuild(
    volume: MountedVolume,
) -> None:
    """It ignores its cancellation, and fails while the next instance starts."""
    boot = declared(volume)
    quick = {"old_resource_stop_timeout": 0.02, "resource_cancel_timeout": 0.02}
    set_timings(boot, rebuild_retry_delay=NEVER, max_rebuild_retry_delay=NEVER, **quick)
    release = anyio.Event()
    failures: list[RuntimeError] = []

    @boot.resource(rebuild_on="db_password", timeout=0.2)
    async def pool(secrets: Needs) -> AsyncIterator[str]:
        name = secrets.db_password.reveal()[-3:]
        if name == "two":
            with anyio.CancelScope(shield=True):
                await release.wait()
            failures.append(RuntimeError("it fails late"))
            raise failures[0]
        if name == "new":
            release.set()
            await until(lambda: failures)
            await checkpoints()
        yield name

    async with boot.running():
        with pytest.raises(UnavailableError):
            await rotate(boot, volume, "two")
        await rotate(boot, volume, "new")
        assert pool.value == "new"
    assert failures


async def test_a_rebuild_that_hangs_has_the_limit_of_a_start(volume: MountedVolume) -> None:
    """Without a timeout of its own, so that later rotations are not kept waiting forever."""
    boot = declared(volume)
    set_timings(boot, rebuild_retry_delay=NEVER, max_rebuild_retry_delay=NEVER)
    pool = recording(boot, [])
    async with boot.running():
        # The reloader takes it over when it is first needed.
        boot._declaration.startup_timeout = 0.05
        with pytest.raises(UnavailableError) as caught, anyio.fail_after(20):
            await rotate(boot, volume, "hanging")
        assert [each.name for each in caught.value.problems] == ["pool"]
        assert pool.value.password == "fake-password-one"


@pytest.mark.parametrize("steps", range(5))
async def test_an_instance_that_fails_around_the_switch_is_not_lost(
    steps: int, volume: MountedVolume
) -> None:
    """Before the switch it refuses the rotation, and after it it ends the application."""
    boot = declared(volume)
    set_timings(boot, rebuild_retry_delay=NEVER, max_rebuild_retry_delay=NEVER)

    async def crash() -> None:
        for _ in range(steps):
            await checkpoint()
        message = "it has crashed"
        raise RuntimeError(message)

    @boot.resource(rebuild_on="db_password")
    async def pool(secrets: Needs) -> AsyncIterator[str]:
        async with anyio.create_task_group() as group:
            if secrets.db_password.reveal().endswith("two"):
                group.start_soon(crash)
            yield "pool"

    async def run() -> None:
        async with boot.running():
            await rotate(boot, volume, "two")
            await until(lambda: False)

    with pytest.raises((InvalidSecretsError, RuntimeError), match="it has crashed"):
        await run()


class Delayed(SecretSet):
    """A password that is used some time after it was accepted."""

    db_password: Secret = secret(activate_after=0.05, accept_old_for=600)


def refusing(volume: MountedVolume, refused: list[str], **timings: float) -> Any:  # noqa: ANN401  (a Bootstrap)
    """Declare an application with a pool that refuses every password but the first one."""
    publish(volume, "one")
    boot = mounted(volume.path, Delayed, watch=False)
    set_timings(boot, **timings)

    @boot.resource(rebuild_on="db_password")
    async def pool(secrets: Delayed) -> AsyncIterator[str]:
        password = secrets.db_password.reveal()
        if not password.endswith("one"):
            refused.append(password)
            message = "not yet"
            raise PermissionError(message)
        yield password

    return boot


async def test_a_value_that_returns_ends_a_failed_activation(volume: MountedVolume) -> None:
    """The secret is what it was, so nothing is degraded any more, and nothing is rebuilt."""
    refused: list[str] = []
    boot = refusing(volume, refused, rebuild_retry_delay=0.01, max_rebuild_retry_delay=0.01)
    async with boot.running():
        await rotate(boot, volume, "two")
        await until(lambda: boot.status().degraded)
        await rotate(boot, volume, "one")
        await until(lambda: not boot.status().degraded)
        count, store = len(refused), boot._store()
        assert boot.status().secrets[0].due is None
        # Nothing is due before the end of accept_old_for.
        await until(lambda: store.next_due > time.monotonic() + 60)
        assert len(refused) == count


async def test_a_failed_activation_refuses_no_other_value(volume: MountedVolume) -> None:
    """Also when its next attempt is due while the other value is accepted."""
    refused: list[str] = []
    # An attempt is always due: the delays are limited to a nanosecond.
    boot = refusing(volume, refused, rebuild_retry_delay=NEVER, max_rebuild_retry_delay=1e-9)
    async with boot.running():
        await rotate(boot, volume, "two")
        await until(lambda: boot.status().degraded)
        await rotate(boot, volume, "one")
        assert boot.status().generation == 3


async def test_a_read_does_not_hurry_a_failed_activation(volume: MountedVolume) -> None:
    """The same files are read all the time, and a server still locks accounts."""
    refused: list[str] = []
    boot = refusing(volume, refused, rebuild_retry_delay=0.01, max_rebuild_retry_delay=NEVER)
    async with boot.running():
        await rotate(boot, volume, "two")
        with anyio.fail_after(20):
            while len(refused) < 4:
                assert await boot.reload() is None
                await checkpoint()
        reloader = boot._run.reloader  # noqa: SLF001
        assert reloader._rebuild_backoff.next_delay() > 0.07  # noqa: SLF001


async def test_a_rebuild_that_fails_during_a_stop_is_no_failure(volume: MountedVolume) -> None:
    """The values in use are the old ones, and the run ends as if nothing had been published."""
    boot = declared(volume)

    @boot.resource(rebuild_on="db_password")
    async def pool(secrets: Needs) -> AsyncIterator[str]:
        if secrets.db_password.reveal().endswith("two"):
            stop.set()
            message = "not yet"
            raise PermissionError(message)
        yield "pool"

    stop = anyio.Event()
    async with anyio.create_task_group() as group, boot.running():
        publish(volume, "two")

        async def reload() -> None:
            with contextlib.suppress(InvalidSecretsError, LifecycleError):
                await boot.reload()

        group.start_soon(reload)
        await stop.wait()


async def test_a_failed_activation_can_be_retried_at_once(volume: MountedVolume) -> None:
    """`boot.reload(now=True)` rebuilds now, and raises what the rebuild fails with."""
    refused: list[str] = []
    boot = refusing(volume, refused, rebuild_retry_delay=NEVER, max_rebuild_retry_delay=NEVER)
    async with boot.running():
        await rotate(boot, volume, "two")
        await until(lambda: boot.status().degraded)
        for count in (2, 3):
            with pytest.raises(InvalidSecretsError) as caught:
                await boot.reload(now=True)
            assert [each.kind for each in caught.value.problems] == ["rebuild"]
            assert len(refused) == count
        assert boot.status().degraded


async def test_a_refused_rebuild_is_retried_at_once_on_request(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """The database is behind the mount: `boot.reload()` needs no change of the files."""
    boot = declared(volume)
    set_timings(boot, rebuild_retry_delay=NEVER, max_rebuild_retry_delay=NEVER)
    valid = {"fake-password-one"}
    log = Log(caplog)

    @boot.resource(rebuild_on="db_password")
    async def pool(secrets: Needs) -> AsyncIterator[str]:
        if secrets.db_password.reveal() not in valid:
            message = "not yet"
            raise PermissionError(message)
        yield secrets.db_password.reveal()

    async with boot.running():
        with pytest.raises(InvalidSecretsError):
            await rotate(boot, volume, "two")
        valid.add("fake-password-two")
        assert await boot.reload()
        assert pool.value == "fake-password-two"
        # A set that was refused has no number.
        assert boot.status().generation == 2
    assert log.verdicts == [("refused", None, ["pool"]), ("accepted", 2, ["DB_PASSWORD"])]


@pytest.mark.parametrize("delay", [0.01, NEVER])
async def test_a_refused_check_is_asked_again(delay: float, volume: MountedVolume) -> None:
    """Soon, without the delays that protect accounts; and at once by `boot.reload()`."""
    boot = declared(volume)
    slow = {"rebuild_retry_delay": NEVER, "max_rebuild_retry_delay": NEVER}
    set_timings(boot, reload_retry_delay=delay, max_reload_retry_delay=delay, **slow)
    pool = recording(boot, [])
    valid = {"fake-password-one"}

    @boot.check
    async def check(secrets: Needs) -> bool:
        return secrets.db_password.reveal() in valid

    async with boot.running():
        with pytest.raises(InvalidSecretsError):
            await rotate(boot, volume, "two")
        valid.add("fake-password-two")
        if delay == NEVER:
            assert await boot.reload()
        await until(lambda: pool.value.password == "fake-password-two")
        assert boot.status().generation == 2


async def test_a_restarted_service_is_asked_once(volume: MountedVolume) -> None:
    """Further rotations in its grace period ask it no more, and it starts with the newest value."""
    boot = declared(volume)
    recording(boot, [], overlap=0)
    log: list[str] = []
    go = anyio.Event()

    def ask() -> None:
        log.append("asked")

    @boot.service(grace_period=NEVER, on_stop=ask)
    async def service(pool: Pool) -> None:
        log.append(pool.password[-3:])
        await (go.wait() if len(log) == 1 else boot.stopping.wait())

    async with boot.running():
        await until(lambda: log == ["one"])
        for password in ("two", "new"):
            await rotate(boot, volume, password)
            await until(lambda: "asked" in log)
        go.set()
        await until(lambda: len(log) > 2)
        assert log == ["one", "asked", "new"]


async def test_another_secret_does_not_hurry_a_refused_rebuild(volume: MountedVolume) -> None:
    """A token that changes all the time would otherwise lock the account of the pool."""
    boot = declared(volume)
    set_timings(boot, rebuild_retry_delay=NEVER, max_rebuild_retry_delay=NEVER)
    log: list[str] = []
    pool = recording(boot, log)
    checked: list[str] = []

    @boot.check(at="rotation")
    async def check(secrets: Needs) -> None:
        checked.append(secrets.db_password.reveal()[-3:])

    async with boot.running():
        with pytest.raises(InvalidSecretsError):
            await rotate(boot, volume, "bad")
        reloader: Any = boot._run.reloader  # type: ignore[union-attr]  # noqa: SLF001
        reads = count_reads(reloader)
        for number in range(3):
            publish(volume, "bad", api_key=f"fake-api-key-{number}")
            reloader.request_reload()
            await until(lambda: len(reads) > number)  # noqa: B023  (it is called at once)
        publish(volume, "two", api_key="fake-api-key-3")
        reloader.request_reload()
        await until(lambda: pool.value.password == "fake-password-two")
    assert checked == ["bad", "two"]
    assert log.count("pool bad starts") == 1


async def test_another_secret_does_not_hurry_a_refused_check(volume: MountedVolume) -> None:
    """A check that names its fields logs in with them; one that names none is always asked."""
    boot = declared(volume)
    set_timings(boot, reload_retry_delay=NEVER, max_reload_retry_delay=NEVER)
    asked: list[str] = []

    @boot.check("db_password", at="rotation")
    async def log_in(secrets: Needs) -> bool:
        asked.append(secrets.db_password.reveal())
        return not asked[-1].endswith("bad")

    async with boot.running():
        with pytest.raises(InvalidSecretsError):
            await rotate(boot, volume, "bad")
        reloader: Any = boot._run.reloader  # type: ignore[union-attr]  # noqa: SLF001
        reads = count_reads(reloader)
        publish(volume, "bad", api_key="fake-api-key-1")
        reloader.request_reload()
        await until(lambda: reads)
        assert len(asked) == 1
        publish(volume, "two", api_key="fake-api-key-1")
        reloader.request_reload()
        await until(lambda: boot.status().generation == 2)
    assert len(asked) == 2


async def test_failures_that_take_turns_do_not_hurry_each_other(volume: MountedVolume) -> None:
    """Two pools fail with one password, and which of them is first is chance."""
    boot = declared(volume)
    set_timings(boot, rebuild_retry_delay=0.01, max_rebuild_retry_delay=NEVER)
    attempts: list[bool] = []

    @boot.check(at="rotation")
    async def check() -> None:
        attempts.append(len(attempts) % 2 == 0)

    async def log_in(secrets: Needs, *, is_first: bool) -> None:
        if secrets.db_password.reveal().endswith("bad"):
            if attempts[-1] != is_first:
                await anyio.sleep_forever()
            message = "refused"
            raise PermissionError(message)

    @boot.resource(rebuild_on="db_password")
    async def one(secrets: Needs) -> None:
        await log_in(secrets, is_first=True)

    @boot.resource(rebuild_on="db_password")
    async def two(secrets: Needs) -> None:
        await log_in(secrets, is_first=False)

    async with boot.running():
        with pytest.raises(InvalidSecretsError):
            await rotate(boot, volume, "bad")
        await until(lambda: len(attempts) >= 4)
        reloader: Any = boot._run.reloader  # type: ignore[union-attr]  # noqa: SLF001
        assert reloader._rebuild_backoff.next_delay() > 0.07  # noqa: SLF001


async def test_each_refused_value_is_logged(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator who publishes a second wrong password finds out; a retry logs nothing."""
    boot = declared(volume)
    set_timings(boot, rebuild_retry_delay=0.01, max_rebuild_retry_delay=0.01)
    log: list[str] = []
    seen = Log(caplog)
    valid = {"fake-password-one"}

    @boot.resource(rebuild_on="db_password")
    async def pool(secrets: Needs) -> None:
        log.append(secrets.db_password.reveal())
        if log[-1] not in valid:
            message = "refused"
            raise PermissionError(message)

    async with boot.running():
        for password in ("two", "three"):
            with pytest.raises(InvalidSecretsError):
                await rotate(boot, volume, password)
            await until(lambda: log.count(f"fake-password-{password}") > 2)  # noqa: B023
    assert seen.verdicts == [("refused", None, ["pool"])] * 2


async def test_each_invalid_value_is_logged(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """A second value that is too short is another one, and reading it again changes nothing."""

    class Long(SecretSet):
        """A password that cannot be guessed."""

        db_password: Secret = secret(min_length=20)

    volume.publish({"db_password": "fake-password-long-enough"})
    boot = mounted(volume.path, Long, watch=False)
    seen = Log(caplog)
    async with boot.running():
        for password in ("fake-password", "fake-pass"):
            volume.publish({"db_password": password})
            for _ in range(2):
                with pytest.raises(InvalidSecretsError):
                    await boot.reload()
    assert seen.verdicts == [("refused", None, ["DB_PASSWORD"])] * 2


async def test_a_late_activation_leaves_nothing_degraded(volume: MountedVolume) -> None:
    """When `boot.reload(now=True)` returns, the value is in use, and the status agrees."""
    publish(volume, "one")
    boot = mounted(volume.path, Delayed, watch=False)
    set_timings(boot, rebuild_retry_delay=NEVER, max_rebuild_retry_delay=NEVER)
    valid = {"fake-password-one"}

    @boot.resource(rebuild_on="db_password")
    async def pool(secrets: Delayed) -> None:
        if secrets.db_password.reveal() not in valid:
            message = "not yet"
            raise PermissionError(message)
        await checkpoints()

    async with boot.running():
        await rotate(boot, volume, "two")
        await until(lambda: boot.status().degraded)
        valid.add("fake-password-two")
        assert await boot.reload(now=True)
        assert not boot.status().degraded


async def test_a_service_that_exits_while_it_is_restarted_ends_the_run(
    volume: MountedVolume,
) -> None:
    """`sys.exit()` is final, also when the service was asked to take new values."""
    boot = declared(volume)
    recording(boot, [])

    @boot.service(grace_period=20)
    async def work(pool: Pool) -> None:
        assert pool.is_open
        await boot.stopping.wait()
        sys.exit(3)

    async def run() -> None:
        async with boot.running():
            await checkpoints()
            await rotate(boot, volume, "two")
            await until(lambda: False)

    with pytest.raises(SystemExit) as caught:
        await run()
    assert caught.value.code == 3
