"""What an application says of itself, to people and to probes: everything but a value."""

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
    """Return an application that takes up its changes when it is told to."""
    volume.publish(numbered(1))
    return mounted(volume.path, Service, watch=False)


async def refuse(boot: Bootstrap[Service, None], volume: MountedVolume) -> None:
    """Publish what is refused, and have it refused."""
    volume.publish({**numbered(9), "api_key": "fake-short"})
    with pytest.raises(InvalidSecretsError):
        await boot.reload()


def of(status: Status, attribute: str) -> SecretStatus:
    """Return the status of one secret."""
    return next(each for each in status.secrets if each.attribute == attribute)


def assert_reasons(status: Status, *expected: tuple[str, ...]) -> None:
    """Assert that there is one reason for each of these, in this order, that names all of it."""
    assert len(status.reasons) == len(expected), status.reasons
    for reason, names in zip(status.reasons, expected, strict=True):
        for name in names:
            assert name in reason


async def test_an_application_that_does_not_run_says_just_that(
    boot: Bootstrap[Service, None],
) -> None:
    """Before a start and after a stop there is nothing to be known."""
    assert boot.status() == Status() == Status(state=State.ARMED, watcher="off")
    async with boot.running():
        assert boot.status() != Status()
    assert boot.status() == Status()


async def test_an_application_that_has_not_rotated_is_well(
    boot: Bootstrap[Service, None],
) -> None:
    """After the start everything was read and changed at the same moment, and nothing is wrong."""
    before = time.time()
    async with boot.running():
        status = boot.status()
    assert before <= status.last_read == status.last_change <= time.time()
    assert (status.ready, status.degraded, status.reasons) == (True, False, ())
    assert (status.generation, status.rejected, status.rejected_names) == (1, False, ())
    assert (status.watcher, status.missed_events, status.forked) == ("off", 0, False)
    assert (status.pinned, status.stale, status.failing_hooks) == ((), (), ())


async def test_a_status_is_a_picture_of_its_moment(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """What was asked for earlier stays as it was, and cannot be changed."""
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


async def test_reading_the_same_again_is_told_apart_from_a_change(
    boot: Bootstrap[Service, None],
) -> None:
    """Who looks sees that the sources were read, and that they held what they had held."""
    async with boot.running():
        first = boot.status()
        assert await boot.reload() is None
        again = boot.status()
    assert again.last_read > first.last_read
    assert (again.last_change, again.generation) == (first.last_change, 1)


async def test_a_refused_set_degrades_and_a_good_one_heals(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """The number that the refused set would have had, and who is to blame, until it is mended."""
    async with boot.running():
        before = boot.status()
        await refuse(boot, volume)
        status = boot.status()
        assert (status.ready, status.degraded, status.generation) == (True, True, 1)
        assert (status.rejected, status.rejected_names) == (True, ("API_KEY",))
        assert_reasons(status, ("candidate", "API_KEY", "length"))
        # What was refused is not what was read well.
        assert (status.last_read, status.last_change) == (before.last_read, before.last_change)
        volume.publish(numbered(3))
        await boot.reload()
        status = boot.status()
        assert (status.degraded, status.reasons, status.rejected) == (False, (), False)
        assert (status.rejected_names, status.generation) == ((), 2)


async def test_what_the_sources_hold_again_heals_as_well(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """Who takes a bad change back needs no new generation."""
    async with boot.running():
        await refuse(boot, volume)
        volume.publish(numbered(1))
        assert await boot.reload() is None
        status = boot.status()
    assert (status.degraded, status.rejected, status.generation) == (False, False, 1)


async def test_everybody_who_is_to_blame_is_named(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A set with several faults names each secret, and a check by its name."""

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


async def test_a_value_that_is_to_come_says_when(volume: MountedVolume) -> None:
    """A secret with a lead tells the seconds until its new value is used, and is of the old set."""

    class Signing(SecretSet):
        """A key that the whole fleet has to know before it is used."""

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
        # A value that comes into use was counted when it was accepted.
        rotations = [(each.verdict, each.generation, each.names) for each in status.rotations]
        assert rotations == [
            ("in-use", 2, ("JWT_SECRET",)),
            ("accepted", 2, ("JWT_SECRET", "API_KEY")),
        ]
        assert status.rotations[0].duration == 0.0
        assert status.rotations_total == {"accepted": 1, "refused": 0}


async def test_an_optional_secret_that_is_removed_has_no_place(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """What is absent is from nowhere; it says which set took it away."""
    volume.publish(numbered(1, sentry_dsn="fake-dsn-0123456789"))
    async with boot.running():
        dsn = of(boot.status(), "sentry_dsn")
        assert (dsn.present, dsn.source, dsn.generation) == (True, "file", 1)
        assert dsn.place == str(volume.path / "sentry_dsn")
        volume.publish(numbered(1))
        await boot.reload()
        dsn = of(boot.status(), "sentry_dsn")
        assert (dsn.present, dsn.source, dsn.place, dsn.generation) == (False, "", "", 2)


async def test_a_secret_that_is_removed_later_is_still_there(volume: MountedVolume) -> None:
    """With a lead what was taken away is in use for a while, from a place that is gone."""

    class Traced(SecretSet):
        """A secret that may be absent, and goes late."""

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


async def test_a_hook_that_fails_is_named_until_it_succeeds(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A service whose pool has the old password says so."""
    mended = anyio.Event()

    @boot.on_rotate()
    async def reconnect(_: Change) -> None:
        await checkpoint()
        if not mended.is_set():
            raise ConnectionError

    async with boot.running():
        volume.publish(numbered(2))
        await boot.reload()
        await until(lambda: boot.status().degraded)
        status = boot.status()
        assert status.failing_hooks == ("reconnect",)
        assert_reasons(status, ("reconnect",))
        assert (status.ready, status.rejected, status.generation) == (True, False, 2)
        # A refused set is a reason of its own.
        await refuse(boot, volume)
        assert_reasons(boot.status(), ("candidate", "API_KEY", "length"), ("reconnect",))
        volume.publish(numbered(2))
        await boot.reload()
        mended.set()
        await until(lambda: not boot.status().degraded)
        assert boot.status().failing_hooks == ()


async def test_a_watch_is_told_with_what_it_stands_on(volume: MountedVolume) -> None:
    """Who watches is told how; a file system that hangs is in tests/runtime/test_watching.py."""
    boot = watching(volume)
    async with boot.running():
        await until(lambda: boot.status().watcher == "inotify")
        assert not boot.status().degraded


async def test_a_pinned_file_is_named_and_a_stale_one_is_a_reason(memory: Path) -> None:
    """A file that is mounted alone is told of; replaced on the host it degrades the service."""
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


async def test_the_state_goes_there_and_back(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """While new values are judged the application is reloading, and as ready as before."""
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


async def test_while_it_stops_it_is_not_ready(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """Between the end of the block and the end of the run it is stopping, with all it had."""
    seen: list[Status] = []
    going = anyio.Event()

    @boot.on_rotate()
    async def tidy(_: Change) -> None:
        try:
            going.set()
            await anyio.sleep_forever()
        finally:
            seen.append(boot.status())

    async with boot.running():
        volume.publish(numbered(2))
        await boot.reload()
        await going.wait()
    (status,) = seen
    assert (status.state, status.ready, status.generation) == ("stopping", False, 2)


async def test_a_full_status_shows_no_value(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """With everything in it that there can be, a status has no value, of whichever set."""
    async with boot.running():
        volume.publish(numbered(2, sentry_dsn="fake-dsn-0123456789"))
        await boot.reload()
        await refuse(boot, volume)
        shown = list(map(partial(str.format, "{0} {0!r}"), [boot.status()]))
    assert "fake-" not in "".join(shown)


async def test_a_run_tells_how_old_it_is_and_whether_it_was_ready(
    boot: Bootstrap[Service, None],
) -> None:
    """A probe that asks whether it has started, and a person who asks since when, are answered."""
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


async def test_the_timeline_has_every_step_of_the_life(boot: Bootstrap[Service, None]) -> None:
    """Phases, checks, parts, services and stops, each with its start, its end and its outcome."""
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
        for step in status.timeline:
            assert step.start >= 0
            assert (step.end is None) == (step.outcome == "running")
            assert step.end is None or step.start <= step.end <= status.uptime
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
    """Return what the timeline has, and what became of it."""
    return {(step.name, step.kind): step.outcome for step in status.timeline}


async def test_what_failed_at_the_start_is_on_the_timeline(
    boot: Bootstrap[Service, None],
) -> None:
    """While a failed start is unwound, who looks sees which part it was."""
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


async def test_what_ended_it_is_named(boot: Bootstrap[Service, None]) -> None:
    """A part that crashes, or a service that has spent its budget, is told until the end."""
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
    """A service that has been started again says how often; the first start does not count."""
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


async def test_services_that_wait_are_named_with_the_other_reasons(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A failing service and a refused set are two reasons, and neither makes it not ready."""

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


async def test_rotations_are_remembered_and_counted(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """The newest comes first, with its names and its verdict; those of earlier runs are gone."""
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
        # The same refusal is one, and a look that finds nothing new is none.
        with pytest.raises(InvalidSecretsError):
            await boot.reload()
        assert boot.status().rotations_total == {"accepted": 1, "refused": 1}
        # What was asked for earlier stays as it was.
        volume.publish(numbered(3))
        await boot.reload()
        assert status.rotations_total == {"accepted": 1, "refused": 1}
        assert boot.status().rotations_total == {"accepted": 2, "refused": 1}
        # The last ones are remembered, and all are counted.
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
    """From the start on each hook has its number, and success does not take it back."""
    answers = [ConnectionError(numbered(2)["api_key"]), ConnectionError(), None]
    mended = anyio.Event()

    @boot.on_rotate()
    async def reconnect(_: Change) -> None:
        await checkpoint()
        if len(answers) < 3:
            await mended.wait()
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
        mended.set()
        await until(lambda: not answers and not boot.status().failing_hooks)
        assert boot.status().hook_failures == {"reconnect": 2, "report": 0}
        assert (boot.status().hooks[0].failure, boot.status().hooks[0].failures) == ("", 2)
        assert boot.status().hooks[0].at >= called.at


async def test_while_it_loads_nothing_is_known_of_rotations(volume: MountedVolume) -> None:
    """Before the first set is accepted there are neither totals nor hooks to be told of."""
    seen: list[Status] = []

    class Judged(Service):
        """Secrets whose check looks around."""

        async def check(self) -> None:
            """Look around."""
            await checkpoint()
            seen.append(loading.status())

    volume.publish(numbered(1))
    loading = mounted(volume.path, Judged)
    async with loading.running():
        (status,) = seen
        assert (status.rotations_total, status.hook_failures, status.secrets) == ({}, {}, ())
        assert known(status) == {("armed", "phase"): "done", ("loading", "phase"): "running"}
