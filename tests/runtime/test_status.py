"""Status of an application: state, rotations, secrets, hooks and timeline, without values."""

import time
from collections.abc import AsyncIterator
from dataclasses import FrozenInstanceError, fields, replace
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import (
    Bootstrap,
    Change,
    InvalidSecretsError,
    Secret,
    SecretSet,
    StartupError,
    secret,
)
from hive_boot.lifecycle.states import State
from hive_boot.runtime.status import HookStatus, RotationStatus, SecretStatus, Status
from hive_boot.testing import MountedVolume
from tests.fixtures.bind_mounts import PinnedFile
from tests.fixtures.timings import NEVER, set_timings
from tests.runtime.rotations import Service, mounted, numbered, watching
from tests.support import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def boot(volume: MountedVolume) -> Bootstrap[Service, None]:
    """Return an application that reads its sources only in `boot.reload()`."""
    volume.publish(numbered(1))
    return mounted(volume.path, Service, watch=False)


async def refuse(boot: Bootstrap[Service, None], volume: MountedVolume) -> None:
    """Publish a set with an invalid value, and reload, which refuses it."""
    volume.publish({**numbered(9), "api_key": "fake-short"})
    with pytest.raises(InvalidSecretsError):
        await boot.reload()


def of(status: Status, attribute: str) -> SecretStatus:
    """Return the status of one secret."""
    return next(each for each in status.secrets if each.attribute == attribute)


def assert_reasons(status: Status, *expected: tuple[str, ...]) -> None:
    """Assert that the reasons are as many as expected, and that each contains its texts."""
    assert len(status.reasons) == len(expected), status.reasons
    for reason, names in zip(status.reasons, expected, strict=True):
        for name in names:
            assert name in reason


async def test_the_status_is_empty_before_a_start_and_after_a_stop(
    boot: Bootstrap[Service, None],
) -> None:
    """Outside a run `boot.status()` equals the default status."""
    assert boot.status() == Status() == Status(state=State.ARMED, watcher="off")
    async with boot.running():
        assert boot.status() != Status()
    assert boot.status() == Status()


async def test_after_a_start_the_status_has_no_problem(
    boot: Bootstrap[Service, None],
) -> None:
    """After the start the sources were read and changed at the same moment."""
    before = time.time()
    async with boot.running():
        status = boot.status()
    assert before <= status.last_read == status.last_change <= time.time()
    assert (status.ready, status.degraded, status.reasons) == (True, False, ())
    assert (status.generation, status.rejected, status.rejected_names) == (1, False, ())
    assert (status.watcher, status.missed_events, status.forked) == ("off", 0, False)
    assert (status.pinned, status.stale, status.failing_hooks) == ((), (), ())


async def test_a_status_does_not_change(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A status that was returned earlier keeps its values, and its attributes are read-only."""
    async with boot.running():
        before = boot.status()
        volume.publish(numbered(2))
        await boot.reload()
        after = boot.status()
    assert (before.generation, after.generation) == (1, 2)
    assert of(before, "api_key").generation == 1
    assert of(after, "api_key").generation == 2
    assert before.last_change < after.last_change <= after.last_read
    for each in fields(Status):
        with pytest.raises(FrozenInstanceError):
            setattr(before, each.name, None)
    assert replace(before, ready=False) != before


async def test_a_reload_without_a_change_updates_only_the_time_of_the_last_read(
    boot: Bootstrap[Service, None],
) -> None:
    """After a read of the same values `last_change` and the generation stay."""
    async with boot.running():
        first = boot.status()
        assert await boot.reload() is None
        again = boot.status()
    assert again.last_read > first.last_read
    assert (again.last_change, again.generation) == (first.last_change, 1)


async def test_a_refused_set_degrades_the_state_until_a_set_is_accepted(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A refused set is reported with the names of its problems until a reload succeeds."""
    async with boot.running():
        before = boot.status()
        await refuse(boot, volume)
        status = boot.status()
        assert (status.ready, status.degraded, status.generation) == (True, True, 1)
        assert (status.rejected, status.rejected_names) == (True, ("API_KEY",))
        assert_reasons(status, ("candidate", "API_KEY", "length"))
        # A refused read is not the last successful read.
        assert (status.last_read, status.last_change) == (before.last_read, before.last_change)
        volume.publish(numbered(3))
        await boot.reload()
        status = boot.status()
        assert (status.degraded, status.reasons, status.rejected) == (False, (), False)
        assert (status.rejected_names, status.generation) == ((), 2)


async def test_restoring_the_accepted_values_ends_the_degraded_state(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """If the sources have the accepted values again, the generation stays."""
    async with boot.running():
        await refuse(boot, volume)
        volume.publish(numbered(1))
        assert await boot.reload() is None
        status = boot.status()
    assert (status.degraded, status.rejected, status.generation) == (False, False, 1)


async def test_a_refused_set_names_every_secret_and_check_with_a_problem(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """Each secret with a problem is named, and a failed check by its name."""

    @boot.check
    async def stripe_answers(secrets: Service) -> bool:
        await checkpoint()
        return secrets.sentry_dsn is None

    async with boot.running():
        volume.publish({"api_key": "fake-short", "jwt_secret": ""})
        with pytest.raises(InvalidSecretsError):
            await boot.reload()
        assert boot.status().rejected_names == ("API_KEY", "JWT_SECRET")
        assert_reasons(boot.status(), ("API_KEY length", "JWT_SECRET empty"))
        volume.publish(numbered(2, sentry_dsn="fake-dsn-0123456789"))
        with pytest.raises(InvalidSecretsError):
            await boot.reload()
        assert boot.status().rejected_names == ("stripe_answers",)
        assert_reasons(boot.status(), ("candidate", "stripe_answers", "check"))


async def test_a_pending_value_has_the_seconds_until_its_activation(volume: MountedVolume) -> None:
    """A secret with `activate_after=` shows `due`, and the generation of the value in use."""

    class Signing(SecretSet):
        """A secret with `activate_after=`, and one without."""

        jwt_secret: Secret = secret(activate_after=3600)
        api_key: Secret

    volume.publish({"jwt_secret": "fake-jwt-000001", "api_key": "fake-api-000001"})
    boot = mounted(volume.path, Signing, watch=False)
    async with boot.running():
        assert [each.due for each in boot.status().secrets] == [None, None]
        volume.publish({"jwt_secret": "fake-jwt-000002", "api_key": "fake-api-000002"})
        await boot.reload()
        status = boot.status()
        jwt, api = of(status, "jwt_secret"), of(status, "api_key")
        assert status.generation == 2
        assert jwt.due is not None
        assert 0 < jwt.due <= 3600
        assert (jwt.generation, api.generation, api.due) == (1, 2, None)
        assert jwt.age > api.age
        await boot.reload(now=True)
        status = boot.status()
        jwt = of(status, "jwt_secret")
        assert (jwt.generation, jwt.due) == (2, None)
        # An activation is listed, but was counted when the value was accepted.
        rotations = [(each.verdict, each.generation, each.names) for each in status.rotations]
        assert rotations == [
            ("in-use", 2, ("JWT_SECRET",)),
            ("accepted", 2, ("JWT_SECRET", "API_KEY")),
        ]
        assert status.rotations[0].duration == 0.0
        assert status.rotations_total == {"accepted": 1, "refused": 0}


async def test_a_removed_optional_secret_has_no_source_and_no_location(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """The generation is that of the set without the secret."""
    volume.publish(numbered(1, sentry_dsn="fake-dsn-0123456789"))
    async with boot.running():
        dsn = of(boot.status(), "sentry_dsn")
        assert (dsn.present, dsn.source, dsn.generation) == (True, "file", 1)
        assert dsn.place == str(volume.path / "sentry_dsn")
        volume.publish(numbered(1))
        await boot.reload()
        dsn = of(boot.status(), "sentry_dsn")
        assert (dsn.present, dsn.source, dsn.place, dsn.generation) == (False, "", "", 2)


async def test_a_removed_secret_with_activate_after_is_present_until_then(
    volume: MountedVolume,
) -> None:
    """The value stays in use for a while, without a source and a location."""

    class Traced(SecretSet):
        """A required secret, and an optional one with `activate_after=`."""

        api_key: Secret
        sentry_dsn: Secret | None = secret(activate_after=3600)

    volume.publish({"api_key": "fake-api-000001", "sentry_dsn": "fake-dsn-000001"})
    boot = mounted(volume.path, Traced, watch=False)
    async with boot.running():
        volume.publish({"api_key": "fake-api-000001"})
        await boot.reload()
        dsn = of(boot.status(), "sentry_dsn")
        assert (dsn.present, dsn.source, dsn.place) == (True, "", "")
        assert dsn.due is not None


async def test_a_failing_hook_is_named_until_it_succeeds(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A failing hook degrades the state, in addition to a refused set."""
    repaired = anyio.Event()

    @boot.on_rotate()
    async def reconnect(_: Change) -> None:
        await checkpoint()
        if not repaired.is_set():
            raise ConnectionError

    async with boot.running():
        volume.publish(numbered(2))
        await boot.reload()
        await until(lambda: boot.status().degraded)
        status = boot.status()
        assert status.failing_hooks == ("reconnect",)
        assert_reasons(status, ("reconnect",))
        assert (status.ready, status.rejected, status.generation) == (True, False, 2)
        # A refused set is a further reason.
        await refuse(boot, volume)
        assert_reasons(boot.status(), ("candidate", "API_KEY", "length"), ("reconnect",))
        volume.publish(numbered(2))
        await boot.reload()
        repaired.set()
        await until(lambda: not boot.status().degraded)
        assert boot.status().failing_hooks == ()


async def test_the_status_names_the_kind_of_the_watcher(volume: MountedVolume) -> None:
    """The watcher uses inotify; tests/runtime/test_watching.py has a file system that hangs."""
    boot = watching(volume)
    async with boot.running():
        await until(lambda: boot.status().watcher == "inotify")
        assert not boot.status().degraded


async def test_a_file_mount_is_named_and_a_stale_one_degrades_the_state(memory: Path) -> None:
    """A secret file that is a mount point is named; after a replacement on the host it is stale."""
    if why := PinnedFile.unavailable_reason():
        pytest.skip(why)
    timings = {"resync_interval": 0.05}
    path = memory / "secrets" / "jwt_secret"
    file = PinnedFile(path, memory / "host")
    file.write("fake-jwt-secret-000001")

    class Pinned(SecretSet):
        """One secret."""

        jwt_secret: Secret

    boot = mounted(path.parent, Pinned, timings, mode="docker")
    with file:
        async with boot.running():
            await until(lambda: boot.status().pinned)
            assert boot.status().pinned == (str(path),)
            assert (boot.status().stale, boot.status().degraded) == ((), False)
            file.replace("fake-jwt-secret-000002")
            await until(lambda: boot.status().stale)
            status = boot.status()
            assert (status.stale, status.pinned) == ((str(path),), (str(path),))
            assert_reasons(status, (str(path),))
            assert status.ready


async def test_the_state_is_reloading_while_checks_run(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """During the checks of a reload the application is reloading and still ready."""
    states: list[tuple[str, bool, int]] = []

    @boot.check
    async def look() -> None:
        await checkpoint()
        status = boot.status()
        states.append((status.state, status.ready, status.generation))

    async with boot.running():
        volume.publish(numbered(2))
        await boot.reload()
        assert boot.status().state == "ready"
    assert states == [("starting", False, 1), ("reloading", True, 1)]


async def test_a_stopping_application_is_not_ready(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """Between the end of the block and the end of the run the state is stopping."""
    seen: list[Status] = []
    has_started = anyio.Event()

    @boot.on_rotate()
    async def tidy(_: Change) -> None:
        try:
            has_started.set()
            await anyio.sleep_forever()
        finally:
            seen.append(boot.status())

    async with boot.running():
        volume.publish(numbered(2))
        await boot.reload()
        await has_started.wait()
    (status,) = seen
    assert (status.state, status.ready, status.generation) == ("stopping", False, 2)


async def test_the_status_of_every_set_shows_no_value(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A status after an accepted and a refused set contains no value of any set."""
    async with boot.running():
        volume.publish(numbered(2, sentry_dsn="fake-dsn-0123456789"))
        await boot.reload()
        await refuse(boot, volume)
        shown = list(map(partial(str.format, "{0} {0!r}"), [boot.status()]))
    assert "fake-" not in "".join(shown)


async def test_a_status_has_the_uptime_and_whether_the_start_has_succeeded(
    boot: Bootstrap[Service, None],
) -> None:
    """`started` stays True during the stop, and both are reset after the run."""
    seen: list[Status] = []

    @boot.resource
    async def look() -> AsyncIterator[None]:
        await checkpoint()
        seen.append(boot.status())
        yield
        await checkpoint()
        seen.append(boot.status())

    assert (boot.status().started, boot.status().uptime) == (False, 0.0)
    async with boot.running():
        seen.append(boot.status())
    starting, ready, stopping = seen
    assert [(each.state, each.started, each.ready) for each in seen] == [
        ("starting", False, False),
        ("ready", True, True),
        ("stopping", True, False),
    ]
    assert 0 < starting.uptime <= ready.uptime <= stopping.uptime
    assert (boot.status().started, boot.status().uptime) == (False, 0.0)


async def test_the_timeline_has_every_step_of_a_run(boot: Bootstrap[Service, None]) -> None:
    """Phases, checks, resources, services and stops have a start, an end and an outcome."""
    seen: list[Status] = []

    @boot.resource
    async def last() -> AsyncIterator[None]:
        yield
        await checkpoint()
        seen.append(boot.status())

    @boot.resource
    async def pool(last: None) -> AsyncIterator[None]:
        yield last

    @boot.check
    async def stripe_answers() -> None:
        await checkpoint()

    @boot.service
    async def poll() -> None:
        await anyio.sleep_forever()

    async with boot.running():
        await until(lambda: ("poll", "service") in known(boot.status()))
        status = boot.status()
        assert known(status) == {
            ("armed", "phase"): "done",
            ("loading", "phase"): "done",
            ("starting", "phase"): "done",
            ("stripe_answers", "check"): "done",
            ("last", "resource"): "done",
            ("pool", "resource"): "done",
            ("poll", "service"): "running",
            ("ready", "phase"): "running",
        }
        (ready,) = [step for step in status.timeline if step.name == "ready"]
        for step in status.timeline:
            assert step.start >= 0
            assert (step.end is None) == (step.outcome == "running")
            assert step.end is None or step.start <= step.end <= ready.start
    (stopping,) = seen
    assert known(stopping) == {
        **known(status),
        ("poll", "service"): "cancelled",
        ("ready", "phase"): "done",
        ("draining", "phase"): "done",
        ("stopping", "phase"): "running",
        ("pool", "stop"): "done",
        ("last", "stop"): "running",
    }


def known(status: Status) -> dict[tuple[str, str], str]:
    """Return the outcome of each step of the timeline, by name and kind."""
    return {(step.name, step.kind): step.outcome for step in status.timeline}


async def test_the_timeline_shows_the_resource_that_failed_to_start(
    boot: Bootstrap[Service, None],
) -> None:
    """While a failed start is undone, the timeline has the outcome of each resource."""
    seen: list[Status] = []

    @boot.resource
    async def pool() -> AsyncIterator[None]:
        yield
        await checkpoint()
        seen.append(boot.status())

    @boot.resource
    async def agents(pool: None) -> None:
        await checkpoint()
        raise RuntimeError(pool)

    @boot.resource
    async def api(agents: None) -> None: ...

    with pytest.raises(StartupError):
        async with boot.running():
            pytest.fail("it has started")
    (status,) = seen
    assert (status.state, status.started) == ("stopping", False)
    steps = known(status)
    assert steps["pool", "resource"] == "done"
    assert steps["agents", "resource"] == "failed"
    assert steps["api", "resource"] == "cancelled"


async def test_the_status_names_the_service_that_ended_the_run(
    boot: Bootstrap[Service, None],
) -> None:
    """`failed` has the name until the run has ended."""
    seen: list[Status] = []

    @boot.service(restart="never")
    async def poll() -> None:
        await checkpoint()
        raise ConnectionError

    @boot.resource
    async def look() -> AsyncIterator[None]:
        yield
        await checkpoint()
        seen.append(boot.status())

    with pytest.raises(ConnectionError):
        async with boot.running():
            await anyio.sleep_forever()
    (status,) = seen
    assert (status.failed, status.ready, status.state) == ("poll", False, "stopping")
    assert boot.status().failed == ""


async def test_the_restarts_of_each_service_are_counted(boot: Bootstrap[Service, None]) -> None:
    """The first start of a service does not count as a restart."""
    runs: list[None] = []

    @boot.service
    async def poll() -> None:
        await checkpoint()
        runs.append(None)
        if len(runs) < 3:
            raise ConnectionError
        await anyio.sleep_forever()

    @boot.service
    async def steady() -> None:
        await anyio.sleep_forever()

    set_timings(boot, service_restart_delay=0.001, max_service_restart_delay=0.001)
    async with boot.running():
        first = boot.status()
        await until(lambda: len(runs) == 3)
        assert boot.status().service_restarts == {"poll": 2, "steady": 0}
        assert first.service_restarts == {"poll": 0, "steady": 0}


async def test_main_is_on_the_timeline(boot: Bootstrap[Service, None]) -> None:
    """Main is a step from its call to its end, and its outcome is shown."""
    seen: list[Status] = []

    @boot.resource
    async def last() -> AsyncIterator[None]:
        yield
        seen.append(boot.status())

    @boot.main
    async def main() -> None:
        await checkpoint()
        seen.append(boot.status())
        if failures:
            raise failures.pop()

    def run() -> object:
        with pytest.raises(SystemExit) as exited:
            boot.run()
        return exited.value.code

    failures: list[Exception] = []
    for status, outcome in ((0, "done"), (70, "failed")):
        assert await anyio.to_thread.run_sync(run) == status
        during, after = seen
        seen.clear()
        assert known(during)["main", "main"] == "running"
        assert known(after)["main", "main"] == outcome
        failures.append(ConnectionError())


async def test_services_that_wait_for_a_restart_are_named_with_the_other_reasons(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A failing service and a refused set are two reasons, and the state stays ready."""

    @boot.service
    async def poll() -> None:
        await checkpoint()
        raise ConnectionError

    set_timings(boot, service_restart_delay=NEVER, max_service_restart_delay=NEVER)
    async with boot.running():
        await until(lambda: boot.status().failing_services == ("poll",))
        await refuse(boot, volume)
        assert_reasons(boot.status(), ("poll",), ("candidate", "API_KEY", "length"))
        assert boot.status().ready


async def test_the_latest_rotations_are_listed_and_all_are_counted(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """The newest rotation comes first; rotations of earlier runs are not included."""
    async with boot.running():
        assert boot.status().rotations == ()
        assert boot.status().rotations_total == {"accepted": 0, "refused": 0}
        before = time.time()
        volume.publish(numbered(2))
        await boot.reload()
        await refuse(boot, volume)
        status = boot.status()
        assert [(each.verdict, each.generation, each.names) for each in status.rotations] == [
            ("refused", None, ("API_KEY",)),
            ("accepted", 2, ("API_KEY", "JWT_SECRET")),
        ]
        assert status.rotations_total == {"accepted": 1, "refused": 1}
        newest, oldest = status.rotations
        assert newest.reason.startswith("API_KEY ")
        assert "fake-short" not in newest.reason
        assert oldest.reason == ""
        assert before <= oldest.at <= newest.at <= time.time()
        assert min(newest.duration, oldest.duration) > 0
        # A second refusal of the same set is not counted.
        with pytest.raises(InvalidSecretsError):
            await boot.reload()
        assert boot.status().rotations_total == {"accepted": 1, "refused": 1}
        # A status that was returned earlier does not change.
        volume.publish(numbered(3))
        await boot.reload()
        assert status.rotations_total == {"accepted": 1, "refused": 1}
        assert boot.status().rotations_total == {"accepted": 2, "refused": 1}
        # The latest 20 are listed, and all are counted.
        for number in range(4, 26):
            volume.publish(numbered(number))
            await boot.reload()
        generations = [each.generation for each in boot.status().rotations]
        assert generations == list(range(25, 5, -1))
        assert boot.status().rotations_total == {"accepted": 24, "refused": 1}
        for field in fields(RotationStatus):
            with pytest.raises(FrozenInstanceError):
                setattr(newest, field.name, None)
    async with boot.running():
        assert boot.status().rotations == ()


async def test_the_failures_of_each_hook_are_counted(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """The number of failures begins at 0 and stays after a success."""
    answers = [ConnectionError(numbered(2)["api_key"]), ConnectionError(), None]
    repaired = anyio.Event()

    @boot.on_rotate()
    async def reconnect(_: Change) -> None:
        await checkpoint()
        if len(answers) < 3:
            await repaired.wait()
        if failure := answers.pop(0):
            raise failure

    @boot.on_rotate("sentry_dsn")
    async def report(_: Change) -> None: ...

    async with boot.running():
        assert boot.status().hook_failures == {"reconnect": 0, "report": 0}
        assert boot.status().hooks == (HookStatus(name="reconnect"), HookStatus(name="report"))
        before = time.time()
        volume.publish(numbered(2))
        await boot.reload()
        await until(lambda: boot.status().hooks[0].failures == 1)
        (called, other), after = boot.status().hooks, time.time()
        assert before <= called.at <= after
        assert called.failure == "ConnectionError: ***"
        assert other == HookStatus(name="report")
        repaired.set()
        await until(lambda: not answers and not boot.status().failing_hooks)
        assert boot.status().hook_failures == {"reconnect": 2, "report": 0}
        assert (boot.status().hooks[0].failure, boot.status().hooks[0].failures) == ("", 2)
        assert boot.status().hooks[0].at >= called.at


async def test_during_the_first_load_the_status_has_no_rotations(volume: MountedVolume) -> None:
    """Before the first set is accepted there are no totals, hooks or secrets."""
    seen: list[Status] = []

    class Judged(Service):
        """Secrets with a check that records the status."""

        async def check(self) -> None:
            """Record the status."""
            await checkpoint()
            seen.append(loading.status())

    volume.publish(numbered(1))
    loading = mounted(volume.path, Judged)
    async with loading.running():
        (status,) = seen
        assert (status.rotations_total, status.hook_failures, status.secrets) == ({}, {}, ())
        assert known(status) == {("armed", "phase"): "done", ("loading", "phase"): "running"}
