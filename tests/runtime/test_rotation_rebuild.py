"""Resources that follow a rotation: new instances before the switch, old ones until the overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import (
    Change,
    InvalidSecretsError,
    LifecycleError,
    ResourceHandle,
    Secret,
    SecretSet,
    get_secret,
    secret,
)
from hive_boot.exceptions import UnavailableError
from tests.fixtures.timings import NEVER, set_timings
from tests.runtime.rebuilds import (
    Needs,
    Pool,
    checkpoints,
    declared,
    kept_by_leases,
    publish,
    recording,
    rotate,
)
from tests.runtime.rotations import Heard, Log, mounted
from tests.support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hive_boot.testing import MountedVolume

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


async def test_a_rotation_starts_a_new_instance_before_the_switch(volume: MountedVolume) -> None:
    """Values and handle switch in one step; the old instance stops after the overlap."""
    boot = declared(volume)
    pools: list[Pool] = []
    seen: list[tuple[str, ...]] = []

    @boot.resource(rebuild_on="db_password", overlap=0.05)
    async def pool(secrets: Needs) -> AsyncIterator[Pool]:
        made = Pool(secrets.db_password.reveal())
        pools.append(made)
        if len(pools) > 1:
            # The run still has the old value, and this task the new one.
            await checkpoints()
            seen.append((pool.value.password,))
            assert boot.secrets.db_password == secrets.db_password
            both = [str(each.reveal())[-3:] for each in boot.accepted("db_password")]
            assert both == ["two", "one"]
            seen.append((boot.secrets.db_password.reveal(), str(get_secret("DB_PASSWORD"))))
        yield made
        await checkpoint()
        made.is_open = False

    async with boot.running() as secrets:
        watched: list[tuple[str, str]] = []

        async def watch() -> None:
            while True:
                watched.append((secrets.db_password.reveal(), pool.value.password))
                await checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            change = await rotate(boot, volume, "two")
            group.cancel_scope.cancel()
        assert change is not None
        assert change.names == ("db_password",)
        assert pool.value is pools[1]
        assert pools[1].password == get_secret("DB_PASSWORD") == "fake-password-two"
        assert all(value == password for value, password in watched)
        assert seen == [("fake-password-one",), ("fake-password-two", "fake-password-two")]
        assert pools[0].is_open
        await until(lambda: not pools[0].is_open)
        assert pools[1].is_open
    assert not pools[1].is_open


async def test_a_failure_before_the_switch_keeps_everything(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """The old instance and values stay, new instances stop in reverse, and no value is shown."""
    boot = declared(volume)
    log: list[str] = []
    pool = recording(boot, log)

    @boot.resource
    async def cache(pool: Pool) -> AsyncIterator[str]:
        log.append("cache starts")
        if pool.password.endswith("cacheless"):
            message = "no cache"
            raise RuntimeError(message)
        yield "cache"
        log.append("cache stops")

    async with boot.running() as secrets:
        before = pool.value
        for password in ("bad", "cacheless"):
            with pytest.raises(InvalidSecretsError) as caught:
                await rotate(boot, volume, password)
            name = {"bad": "pool", "cacheless": "cache"}[password]
            assert [(each.name, each.kind) for each in caught.value.problems] == [(name, "rebuild")]
            assert pool.value is before
            assert before.is_open
            assert secrets.db_password.reveal() == "fake-password-one"
            assert get_secret("DB_PASSWORD") == boot.secrets.db_password.reveal() == before.password
            assert boot.status().degraded
            assert (boot.status().generation, boot.status().rejected_names) == (1, (name,))
        assert log == [
            *("pool one starts", "cache starts"),
            *("pool bad starts", "pool cacheless starts", "cache starts", "pool cacheless stops"),
        ]
        await rotate(boot, volume, "two")
        assert not boot.status().degraded
        assert pool.value.password == "fake-password-two"
    assert "fake-password" not in caplog.text


async def test_what_cannot_be_reached_is_unavailable(volume: MountedVolume) -> None:
    """So is an instance that hangs, after its timeout; neither is a refused value."""
    boot = declared(volume)
    log: list[str] = []
    recording(boot, log, timeout=0.05)
    async with boot.running():
        for password in ("absent", "hanging"):
            with pytest.raises(UnavailableError) as caught:
                await rotate(boot, volume, password)
            assert [each.kind for each in caught.value.problems] == ["unavailable"]
    assert log[-1] == "pool one stops"


async def test_a_refused_rebuild_backs_off(volume: MountedVolume) -> None:
    """It is tried again without a change, later each time: servers lock accounts."""
    boot = declared(volume)
    set_timings(boot, rebuild_retry_delay=0.01, max_reload_retry_delay=0.01)
    log: list[str] = []
    recording(boot, log)
    async with boot.running():
        with pytest.raises(InvalidSecretsError):
            await rotate(boot, volume, "bad")
        await until(lambda: log.count("pool bad starts") >= 4)
        reloader: Any = boot._run.reloader  # type: ignore[union-attr]  # noqa: SLF001
        # Doubled three times or more, beyond the limit of a refused check.
        assert reloader._rebuild_backoff.next_delay() > 0.07  # noqa: SLF001


async def test_dependents_by_value_follow_and_owners_of_a_handle_do_not(
    volume: MountedVolume,
) -> None:
    """New instances get those that they need, and an old one stops after its old dependents."""
    boot = declared(volume)
    log: list[str] = []
    recording(boot, log, overlap=0.01)

    @boot.resource
    async def users(pool: Pool) -> AsyncIterator[Pool]:
        log.append(f"users on {pool.password[-3:]}")
        yield pool
        log.append("users stop")
        assert pool.is_open

    @boot.resource
    async def port(pool: ResourceHandle[Pool]) -> AsyncIterator[ResourceHandle[Pool]]:
        log.append(f"port on {pool.value.password[-3:]}")
        yield pool
        await checkpoints()
        log.append(f"port stops on {pool.value.password[-3:]}")

    @boot.resource(after="pool")
    async def later() -> AsyncIterator[str]:
        log.append("later")
        yield "later"

    async with boot.running():
        await rotate(boot, volume, "two")
        assert users.value.password == "fake-password-two"
        assert port.value.value is users.value
        await until(lambda: "pool one stops" in log)
    begin = ["pool one starts", "users on one", "port on one", "later"]
    assert sorted(log[:4]) == sorted(begin)
    assert log[4:8] == ["pool two starts", "users on two", "users stop", "pool one stops"]
    assert log[-1] == "pool two stops"
    assert {"port stops on two", "users stop"} <= {*log[8:]}
    assert len(log) == 11


async def test_a_block_keeps_the_old_instance(volume: MountedVolume) -> None:
    """It stops when the last `use()` of it has ended; the handle has the new one at once."""
    boot = declared(volume)
    log: list[str] = []
    pool = recording(boot, log, overlap=0.1)
    async with boot.running():
        async with pool.use() as one, pool.use():
            await rotate(boot, volume, "two")
            assert pool.value is not one
            await until(lambda: kept_by_leases(boot))
            assert one.is_open
        await until(lambda: not one.is_open)


async def test_a_block_has_a_limit(volume: MountedVolume, caplog: pytest.LogCaptureFixture) -> None:
    """After ten overlaps the old instance stops, with a warning that names it."""
    boot = declared(volume)
    log: list[str] = []
    pool = recording(boot, log, overlap=0.005)
    async with boot.running():
        async with pool.use() as one:
            await rotate(boot, volume, "two")
            await until(lambda: not one.is_open)
        assert [each.levelname for each in caplog.records if "pool" in each.getMessage()] == [
            "WARNING"
        ]


async def test_a_third_generation_stops_the_oldest_at_once(volume: MountedVolume) -> None:
    """There are at most two old connections per client, however often the values change."""
    boot = declared(volume)
    log: list[str] = []
    pool = recording(boot, log, overlap=NEVER)
    async with boot.running():
        one: Any = pool.value
        await rotate(boot, volume, "two")
        two: Any = pool.value
        with pytest.raises(InvalidSecretsError):
            await rotate(boot, volume, "bad")
        assert one.is_open
        await rotate(boot, volume, "three")
        await until(lambda: not one.is_open)
        assert two.is_open
        # The stop ends the overlap.
        began = anyio.current_time()
    assert anyio.current_time() - began < NEVER / 2
    assert not two.is_open
    assert [each for each in log if each.endswith("stops")].count("pool two stops") == 1


async def test_an_old_instance_that_fails_ends_nothing(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """Its failure is logged with its name, and the run continues."""
    boot = declared(volume)
    log: list[str] = []
    pool = recording(boot, log)
    async with boot.running():
        await rotate(boot, volume, "unstoppable")
        await rotate(boot, volume, "three")
        await until(lambda: "it does not stop" in caplog.text)
        assert pool.value.password == "fake-password-three"
        assert boot.status().ready
    assert caplog.text.count("RuntimeError: it does not stop") == 1


async def test_a_rebuild_cannot_reload(volume: MountedVolume) -> None:
    """It would wait for itself; when its values are in use, it may."""
    boot = declared(volume)
    refused: list[LifecycleError] = []
    changes: list[Change | None] = []

    @boot.resource(rebuild_on="db_password", overlap=0)
    async def pool(secrets: Needs) -> AsyncIterator[anyio.Event]:
        if secrets.db_password.reveal().endswith("two"):
            with pytest.raises(LifecycleError, match="rebuild") as caught:
                await boot.reload()
            refused.append(caught.value)
        async with anyio.create_task_group() as group:
            go = anyio.Event()

            async def reload() -> None:
                await go.wait()
                changes.append(await boot.reload())

            group.start_soon(reload)
            yield go
            group.cancel_scope.cancel()

    async with boot.running():
        await rotate(boot, volume, "two")
        assert len(refused) == 1
        pool.value.set()
        await until(lambda: changes == [None])


async def test_the_secrets_of_a_rebuild_become_live(volume: MountedVolume) -> None:
    """What an instance was given follows later rotations, as what main was given does."""
    boot = declared(volume)

    @boot.resource(rebuild_on="api_key")
    async def client(secrets: Needs) -> AsyncIterator[Needs]:
        yield secrets

    async with boot.running() as secrets:
        publish(volume, "one", api_key="fake-key-two")
        await boot.reload()
        given = client.value
        await rotate(boot, volume, "two")
        assert given.db_password.reveal() == "fake-password-two"
        assert given.current is secrets.current


async def test_config_follows_in_the_same_step(volume: MountedVolume) -> None:
    """A new instance is given the config of its values, which `boot.config` has at the switch."""

    def dsn(secrets: Needs) -> str:
        return f"db://app:{secrets.db_password.reveal()}@db"

    boot = declared(volume, config=dsn)
    seen: list[tuple[str, str]] = []

    @boot.resource(rebuild_on="db_password")
    async def pool(config: str) -> AsyncIterator[str]:
        await checkpoint()
        seen.append((config, boot.config))
        yield config

    async with boot.running():
        await rotate(boot, volume, "two")
        assert pool.value == boot.config == "db://app:fake-password-two@db"
    assert all(given == current for given, current in seen)


class Delayed(SecretSet):
    """A password that is used some time after it was accepted."""

    db_password: Secret = secret(activate_after=0.1, accept_old_for=600)


async def test_a_rebuild_happens_at_the_activation(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure keeps the value pending and the state degraded, until a retry succeeds."""
    publish(volume, "one")
    log = Log(caplog)
    boot = mounted(volume.path, Delayed, watch=False)
    seen: list[str] = []
    valid = {"one"}
    heard = Heard(boot)

    @boot.resource(rebuild_on="db_password", overlap=0.01)
    async def pool(secrets: Delayed) -> AsyncIterator[str]:
        seen.append(secrets.db_password.reveal()[-3:])
        if seen[-1] not in valid:
            message = "not yet"
            raise PermissionError(message)
        await checkpoint()
        yield seen[-1]

    async with boot.running() as secrets:
        assert await rotate(boot, volume, "two") is None
        assert (seen, pool.value) == (["one"], "one")
        await until(lambda: boot.status().degraded)
        assert seen[:2] == ["one", "two"]
        assert secrets.db_password.reveal().endswith("one")
        assert len(boot.accepted("db_password")) == 2
        valid.add("two")
        await until(lambda: pool.value == "two")
        assert secrets.db_password.reveal().endswith("two")
        await until(lambda: heard.changes)
        assert not boot.status().degraded
        assert [str(each.reveal())[-3:] for each in boot.accepted("db_password")] == ["two", "one"]
    assert {*seen[1:]} == {"two"}
    assert log.verdicts[-1] == ("in-use", 2, ["DB_PASSWORD"])
    assert "rebuilt: pool; hooks: " in log.rotations[-1].getMessage()


async def test_a_rebuild_at_an_activation_cannot_reload(volume: MountedVolume) -> None:
    """It would wait for the lock that it holds."""
    publish(volume, "one")
    boot = mounted(volume.path, Delayed, watch=False)
    refused: list[LifecycleError] = []

    @boot.resource(rebuild_on="db_password", overlap=0)
    async def pool(secrets: Delayed) -> str:
        password = str(secrets.db_password.reveal())
        if password.endswith("two"):
            volume.publish({"db_password": "fake-password-three"})
            with pytest.raises(LifecycleError) as caught:
                await boot.reload()
            refused.append(caught.value)
        return password

    async with boot.running():
        await rotate(boot, volume, "two")
        await until(lambda: pool.value.endswith("two"))
    assert len(refused) == 1


async def test_a_crash_of_an_old_instance_ends_nothing(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """Its password may be revoked during the overlap; only the new instance matters."""
    boot = declared(volume)
    crash = anyio.Event()

    async def fail() -> None:
        await crash.wait()
        message = "the server has closed the connection"
        raise RuntimeError(message)

    @boot.resource(rebuild_on="db_password", overlap=NEVER)
    async def pool(secrets: Needs) -> AsyncIterator[str]:
        async with anyio.create_task_group() as group:
            if secrets.db_password.reveal().endswith("one"):
                group.start_soon(fail)
            yield secrets.db_password.reveal()

    async with boot.running():
        await rotate(boot, volume, "two")
        crash.set()
        await until(lambda: "the server has closed" in caplog.text)
        assert boot.status().ready
        assert pool.value.endswith("two")


async def test_services_that_took_a_value_are_restarted(volume: MountedVolume) -> None:
    """Their `boot.stopping` is set, the grace period applies, and no restart is counted."""
    boot = declared(volume)
    log: list[str] = []
    recording(boot, log, overlap=0.05)
    over: list[str] = []

    @boot.resource(rebuild_on="db_password", overlap=0.05)
    async def unused(secrets: Needs) -> AsyncIterator[None]:
        password = secrets.db_password.reveal()
        yield
        over.append(password)

    @boot.service(max_restarts=0, grace_period=NEVER)
    async def polite(pool: Pool) -> None:
        log.append(f"polite on {pool.password[-3:]}")
        await boot.stopping.wait()
        assert boot.stopping.is_set()
        if not pool.password.endswith("new"):  # the overlap ends before the service
            await until(lambda: pool.password in over)
            await checkpoints()
        log.append(f"polite ends on {pool.password[-3:]}: {pool.is_open}")

    def ask() -> None:
        log.append("asked")

    @boot.service(restart="never", on_stop=ask)
    async def rude(pool: Pool) -> None:
        log.append(f"rude on {pool.password[-3:]}")
        await anyio.sleep_forever()

    @boot.service
    async def follower(pool: ResourceHandle[Pool]) -> None:
        log.append(f"follower on {pool.value.password[-3:]}")
        await anyio.sleep_forever()

    async with boot.running():
        await until(lambda: len(log) == 4)
        for password in ("two", "new"):
            await rotate(boot, volume, password)
            await until(lambda end=password: f"polite on {end}" in log)  # type: ignore[misc]
            await until(lambda end=password: f"rude on {end}" in log)  # type: ignore[misc]
        assert log.count("asked") == 2
        assert {"polite ends on one: True", "polite ends on two: True"} <= {*log}
        assert not boot.stopping.is_set()
        assert boot.status().failing_services == ()
    assert log.count("follower on one") == 1
    assert not [each for each in log if each.startswith("follower on") and "one" not in each]


async def test_an_instance_that_ignores_its_cancellation_blocks_nothing(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """The rebuild that hangs is refused, and a later rotation is accepted."""
    boot = declared(volume)
    quick = {"old_resource_stop_timeout": 0.05, "resource_cancel_timeout": 0.02}
    set_timings(boot, rebuild_retry_delay=NEVER, max_rebuild_retry_delay=NEVER, **quick)
    release = anyio.Event()

    @boot.resource(rebuild_on="db_password", timeout=0.05)
    async def pool(secrets: Needs) -> AsyncIterator[str]:
        if secrets.db_password.reveal().endswith("two"):
            with anyio.CancelScope(shield=True):
                await release.wait()
        yield secrets.db_password.reveal()

    async with boot.running():
        with pytest.raises(UnavailableError):
            await rotate(boot, volume, "two")
        await rotate(boot, volume, "three")
        assert pool.value.endswith("three")
        release.set()
    assert caplog.text.count("in pool: await release.wait()") == 1


async def test_an_old_instance_that_hangs_is_cancelled(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named with its line, and the run continues with the new one."""
    boot = declared(volume)
    set_timings(boot, old_resource_stop_timeout=0.05)
    ended = anyio.Event()

    @boot.resource(rebuild_on="db_password", overlap=0)
    async def pool(secrets: Needs) -> AsyncIterator[str]:
        password = secrets.db_password.reveal()
        yield password
        try:
            if password.endswith("one"):
                await anyio.sleep_forever()
        finally:
            ended.set()

    async with boot.running():
        await rotate(boot, volume, "two")
        await ended.wait()
        await until(lambda: "in pool: await anyio.sleep_forever()" in caplog.text)
        assert boot.status().ready
        assert len(boot.status().timeline) < 12


async def test_the_timeline_is_bounded(volume: MountedVolume) -> None:
    """A rebuild that is refused during the whole run leaves nothing behind."""
    boot = declared(volume)
    set_timings(boot, rebuild_retry_delay=NEVER, max_rebuild_retry_delay=NEVER)
    log: list[str] = []
    recording(boot, log, overlap=0)
    async with boot.running():
        before = len(boot.status().timeline)
        for _ in range(5):
            with pytest.raises(InvalidSecretsError):
                await rotate(boot, volume, "bad")
            await rotate(boot, volume, "new")
            await rotate(boot, volume, "one")
        await until(lambda: len(boot.status().timeline) == before)


async def test_the_overlap_of_a_dependent_is_no_time_to_stop(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """What an old instance needs waits for it, and then still has its whole time to stop."""
    boot = declared(volume)
    set_timings(boot, old_resource_stop_timeout=0.05)
    stopped: list[str] = []

    @boot.resource(rebuild_on="db_password", overlap=0)
    async def pool() -> AsyncIterator[str]:
        yield "pool"
        await checkpoints()
        stopped.append("pool")

    @boot.resource(rebuild_on="api_key", overlap=0.1)
    async def users(pool: str) -> AsyncIterator[str]:
        yield pool
        stopped.append("users")

    async with boot.running():
        await rotate(boot, volume, "two")
        await until(lambda: len(stopped) == 2)
        assert stopped == ["users", "pool"]
    assert "ERROR" not in caplog.text


async def test_the_log_names_what_took_the_new_value(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """The resources that were rebuilt, the hooks, and the resources that keep the old value."""
    boot = declared(volume)
    log = Log(caplog)
    recording(boot, [])

    @boot.resource
    async def mailer(secrets: Needs) -> str:
        return secrets.db_password.reveal()

    @boot.resource
    async def old_style() -> str | None:
        return get_secret("DB_PASSWORD")

    @boot.resource
    async def late(secrets: Needs) -> object:
        def read() -> str:
            return secrets.db_password.reveal()

        return read

    @boot.resource
    async def other(secrets: Needs) -> bool:
        return secrets.api_key is None

    @boot.on_rotate("db_password")
    async def reconnect(change: Change) -> None: ...

    @boot.on_rotate("api_key")
    async def unconcerned(change: Change) -> None: ...

    async with boot.running():
        await rotate(boot, volume, "two")
    (record,) = log.rotations
    assert record.getMessage().split("; ")[1:] == [
        "rebuilt: pool",
        "hooks: reconnect",
        "on the old value: mailer, old_style",
    ]
