"""Rotations of a running application."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import (
    Bootstrap,
    Change,
    InvalidSecretsError,
    LifecycleError,
    Secret,
    SecretSet,
    secret,
)
from hive_boot.lifecycle.states import State
from hive_boot.runtime import reload
from hive_boot.secrets.loader import load
from hive_boot.testing import MountedVolume
from tests.fixtures.timings import NEVER
from tests.fixtures.watching import own_threads, until_watched
from tests.fixtures.writers import publish_continuously
from tests.runtime.rotations import Heard, Log, Service, mounted, number_of, numbered, watching
from tests.support import run_child, until

pytestmark = pytest.mark.anyio


class Ten(SecretSet):
    """Ten secrets that belong together."""

    key_0: Secret
    key_1: Secret
    key_2: Secret
    key_3: Secret
    key_4: Secret
    key_5: Secret
    key_6: Secret
    key_7: Secret
    key_8: Secret
    key_9: Secret


TEN = tuple(f"key_{index}" for index in range(10))


def ten(number: int) -> dict[str, str]:
    """Return the files of a generation of ten."""
    return dict.fromkeys(TEN, f"fake-value-{number:06}")


def ten_of(secrets: Ten) -> set[int]:
    """Return the generations of the ten values of a set."""
    return {number_of(getattr(secrets, name)) for name in TEN}


@pytest.mark.both_backends
async def test_one_swap_of_ten_keys_is_one_change(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten keys in one swap are one generation, one call of a hook, and one log record."""
    volume.publish(ten(1))
    boot = mounted(volume.path, Ten)
    heard = Heard(boot)
    log = Log(caplog)
    async with boot.running() as secrets:
        before = secrets.current
        volume.publish(ten(2))
        await until(lambda: heard.changes)
        assert ten_of(secrets) == ten_of(secrets.current) == {2}
        assert ten_of(before) == {1}
        assert boot.status().generation == 2
        # reload() returns after all reads that the events of this swap have requested.
        assert await boot.reload() is None
    (change,) = heard.changes
    assert change.names == TEN
    assert {number_of(value) for value in change.old.values()} == {1}
    assert {number_of(value) for value in change.new.values()} == {2}
    assert change.generation == 2
    assert log.verdicts == [("accepted", 2, [name.upper() for name in TEN])]


class Reader(threading.Thread):
    """A thread that reads the secrets continuously."""

    def __init__(self, secrets: Ten) -> None:
        super().__init__(name="reader", daemon=True)
        self.secrets = secrets
        self.over = threading.Event()
        self.wrong: list[object] = []
        self.seen: set[int] = set()

    def run(self) -> None:
        """Read a snapshot, and then each field."""
        newest = 0
        while not self.over.wait(0.0005):
            numbers = ten_of(self.secrets.current)
            if len(numbers) != 1:
                self.wrong.append(numbers)
            self.seen |= numbers
            # There may be a swap between two fields, but never an older or a missing value.
            for name in TEN:
                number = number_of(getattr(self.secrets, name))
                if number < newest:
                    self.wrong.append((name, number, newest))
                newest = number


async def test_no_reader_sees_a_torn_set_in_a_storm(volume: MountedVolume) -> None:
    """With 200 swaps a second for 4 s, each snapshot is of one generation, and the last is used."""
    volume.publish(ten(0))
    boot = mounted(volume.path, Ten)
    heard = Heard(boot)
    async with boot.running() as secrets:
        reader = Reader(secrets)
        reader.start()
        with publish_continuously(volume, ten, rate=200, seconds=4) as storm:
            over = threading.Event()

            def wait() -> None:
                storm.wait()
                over.set()

            threading.Thread(target=wait, name="end of storm", daemon=True).start()
            while not over.is_set():
                # Swaps are made in the event loop, so reads without an await see one generation.
                assert len(ten_of(secrets)) == 1
                await anyio.sleep(0.002)
        await until(lambda: ten_of(secrets) == {storm.count})
        await until(lambda: not boot.status().degraded)
        await until(lambda: number_of(heard.changes[-1].new["key_0"]) == storm.count)
        reader.over.set()
        await anyio.to_thread.run_sync(reader.join)
        # A hook that is still running gets two rotations as one change.
        assert len(heard.changes) < boot.status().generation == heard.changes[-1].generation
    for earlier, later in pairwise(heard.changes):
        assert later.old["key_0"] == earlier.new["key_0"]
    assert reader.wrong == []
    assert len(reader.seen) > 10
    assert all(change.names == TEN for change in heard.changes)


async def test_unchanged_content_is_not_a_rotation(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """The same values in new files are read without a log record, a hook call or a generation."""
    boot = watching(volume)
    heard = Heard(boot)
    log = Log(caplog)
    async with boot.running():
        before = boot.status()
        log.clear()
        volume.publish(numbered(1), anew=True)
        await until(lambda: boot.status().last_read > before.last_read)
        assert log.text == ""
        after = boot.status()
        assert (after.generation, after.last_change) == (1, before.last_change)
        assert (after.degraded, after.state) == (False, "ready")
        volume.publish(numbered(2))
        await until(lambda: heard.changes)
    assert [change.generation for change in heard.changes] == [2]


async def test_current_is_the_same_object_until_a_rotation(volume: MountedVolume) -> None:
    """``secrets.current`` stays the same object until a rotation."""
    boot = watching(volume)
    async with boot.running() as secrets:
        pinned = secrets.current
        assert await boot.reload() is None
        assert secrets.current is pinned
        volume.publish(numbered(2))
        await until(lambda: secrets.current is not pinned)
    assert number_of(secrets.current.api_key) == 2


async def test_a_key_that_is_added_comes_into_use(volume: MountedVolume) -> None:
    """An optional secret that is added to the volume comes into use."""
    boot = watching(volume)
    heard = Heard(boot)
    async with boot.running() as secrets:
        assert secrets.sentry_dsn is None
        volume.publish(numbered(1, sentry_dsn="fake-dsn-000001"))
        await until(lambda: heard.changes)
        assert number_of(secrets.sentry_dsn) == 1
    assert heard.names == [("sentry_dsn",)]
    assert heard.changes[0].old == {"sentry_dsn": None}


async def test_an_optional_key_that_is_removed_becomes_none(volume: MountedVolume) -> None:
    """An optional secret that is removed becomes None, and the application is not degraded."""
    volume.publish(numbered(1, sentry_dsn="fake-dsn-000001"))
    boot = mounted(volume.path, Service)
    heard = Heard(boot)
    async with boot.running() as secrets:
        volume.publish(numbered(1))
        await until(lambda: heard.changes)
        assert secrets.sentry_dsn is None
        assert not boot.status().degraded
    assert heard.changes[0].new == {"sentry_dsn": None}
    assert number_of(heard.changes[0].old["sentry_dsn"]) == 1


# Swaps in other phases


@pytest.mark.both_backends
async def test_a_swap_is_applied_while_every_worker_thread_is_busy(volume: MountedVolume) -> None:
    """Neither the watcher nor a read needs a worker thread of anyio."""
    boot = watching(volume)
    limiter = anyio.to_thread.current_default_thread_limiter()
    release = threading.Event()

    def block() -> None:
        release.wait()

    async with boot.running() as secrets, anyio.create_task_group() as group:
        try:
            for _ in range(int(limiter.total_tokens)):
                group.start_soon(anyio.to_thread.run_sync, block)
            await until(lambda: limiter.available_tokens == 0)
            volume.publish(numbered(2))
            await until(lambda: number_of(secrets.api_key) == 2)
            assert limiter.available_tokens == 0
        finally:
            release.set()


async def test_a_swap_during_start_up_is_used_right_after_it(volume: MountedVolume) -> None:
    """A swap after the first read is a rotation after startup."""
    volume.publish(numbered(1))

    def swap(value: str) -> None:
        if value.endswith("1"):
            volume.publish(numbered(2))

    class Swapped(Service):
        """A set whose check publishes the next generation."""

        api_key: Secret = secret(check=swap)

    boot = mounted(volume.path, Swapped)
    heard = Heard(boot)
    async with boot.running() as secrets:
        assert (number_of(secrets.api_key), boot.status().generation) == (1, 1)
        await until(lambda: heard.changes)
        assert (number_of(secrets.api_key), boot.status().generation) == (2, 2)
    assert heard.names == [("api_key", "jwt_secret")]


async def test_a_swap_during_a_rotation_is_applied_after_it(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """After a slow check the newest set is checked; meanwhile the old one stays in use."""
    boot = watching(volume)
    heard = Heard(boot)
    log = Log(caplog)
    judged: list[int] = []
    go_on = anyio.Event()

    @boot.check
    async def slow(secrets: Service) -> None:
        judged.append(number_of(secrets.api_key))
        if judged[-1] == 2:
            await go_on.wait()

    async with boot.running() as secrets:
        volume.publish(numbered(2))
        await until(lambda: judged == [1, 2])
        assert boot.status().state == "reloading"
        assert boot.status().ready
        volume.publish(numbered(3))
        volume.publish(numbered(4))
        # The old set is still in use.
        assert number_of(secrets.api_key) == 1
        go_on.set()
        await until(lambda: number_of(secrets.api_key) == 4)
        await until(lambda: len(heard.changes) == boot.status().generation - 1)
        assert boot.status().state == "ready"
    assert judged[:2] == [1, 2]
    assert judged[-1] == 4
    assert sorted(judged) == judged
    assert [verdict for verdict, *_ in log.verdicts] == ["accepted"] * len(heard.changes)


@pytest.mark.both_backends
async def test_a_stop_does_not_wait_for_a_rotation(volume: MountedVolume) -> None:
    """A set whose check runs when the application stops is not used."""
    boot = watching(volume)
    heard = Heard(boot)
    judged: list[int] = []
    ended: list[int] = []

    @boot.check
    async def slow(secrets: Service) -> None:
        judged.append(number_of(secrets.api_key))
        if judged[-1] == 2:
            try:
                await anyio.sleep_forever()
            finally:
                ended.append(2)

    async with boot.running() as secrets:
        volume.publish(numbered(2))
        await until(lambda: judged == [1, 2])
    assert boot.status().state == "armed"
    assert ended == [2]
    assert number_of(secrets.api_key) == 1
    assert heard.changes == []


@pytest.mark.both_backends
async def test_a_stopped_application_does_not_rotate(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """After the stop nothing is watched, read or called; a new start reads the present files."""
    boot = watching(volume)
    heard = Heard(boot)
    log = Log(caplog)
    async with boot.running() as old:
        volume.publish(numbered(2))
        await until(lambda: heard.changes)
    await until(lambda: own_threads() == [])
    log.clear()
    volume.publish(numbered(3))
    await checkpoint()
    assert number_of(old.api_key) == 2
    async with boot.running() as new:
        assert number_of(new.api_key) == 3
        assert boot.status().generation == 1
        volume.publish(numbered(4))
        await until(lambda: len(heard.changes) == 2)
    assert number_of(old.api_key) == 2
    assert log.verdicts == [("accepted", 2, ["API_KEY", "JWT_SECRET"])]


@pytest.mark.both_backends
async def test_a_check_that_fails_twice_needs_no_new_swap(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """A rejected set is checked again without an event, because the cause may be gone."""
    boot = watching(volume)
    heard = Heard(boot)
    log = Log(caplog)
    judged: list[int] = []

    @boot.check
    async def check(secrets: Service) -> bool:
        judged.append(number_of(secrets.api_key))
        return judged.count(2) not in {1, 2}

    async with boot.running() as secrets:
        volume.publish(numbered(2))
        await until(lambda: heard.changes)
        assert number_of(secrets.api_key) == 2
        assert not boot.status().degraded
    assert judged == [1, 2, 2, 2]
    assert log.verdicts == [
        ("refused", None, ["check"]),
        ("accepted", 2, ["API_KEY", "JWT_SECRET"]),
    ]


async def test_a_refused_set_is_not_checked_at_every_event(
    volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that brings the same set does not run a rejecting check again."""
    volume.publish(numbered(1))
    boot = mounted(
        volume.path, Service, {"reload_retry_delay": NEVER, "max_reload_retry_delay": NEVER}
    )
    judged: list[int] = []
    reads: list[object] = []

    def read(*args: Any, **more: Any) -> object:  # noqa: ANN401  (what load takes)
        reads.append(load(*args, **more))
        return reads[-1]

    monkeypatch.setattr("hive_boot.runtime.load_pipeline.load", read)

    @boot.check
    async def check(secrets: Service) -> bool:
        judged.append(number_of(secrets.api_key))
        return judged[-1] != 2

    async with boot.running() as secrets:
        volume.publish(numbered(2))
        await until(lambda: boot.status().degraded)
        assert len(reads) == 2
        # An undeclared key causes an event, but the set is the same.
        volume.publish(numbered(2, unknown="fake-unknown"))
        await until(lambda: len(reads) == 3)
        volume.publish(numbered(3))
        await until(lambda: number_of(secrets.api_key) == 3)
    assert judged == [1, 2, 3]


# Log and status


async def test_each_rotation_leaves_one_structured_record(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """The record has names, generation, verdict and duration, and a sentence as its text."""
    boot = watching(volume)
    heard = Heard(boot)
    log = Log(caplog)
    async with boot.running():
        volume.publish({**numbered(1), "jwt_secret": "fake-jwt-secret-000002"})
        await until(lambda: heard.changes)
        volume.publish({"api_key": "fake"})
        await until(lambda: boot.status().degraded)
    accepted, refused = log.rotations
    assert "JWT_SECRET" in accepted.getMessage()
    assert accepted.levelno == logging.INFO
    facts = vars(accepted)
    assert (facts["names"], facts["generation"]) == (["JWT_SECRET"], 2)
    assert facts["verdict"] == "accepted"
    assert isinstance(facts["duration"], float)
    assert "API_KEY" in refused.getMessage()
    assert "generation 2" in refused.getMessage()
    assert refused.levelno == logging.ERROR
    facts = vars(refused)
    assert (facts["names"], facts["generation"]) == (["API_KEY", "JWT_SECRET"], None)
    assert facts["verdict"] == "refused"
    assert isinstance(facts["duration"], float)
    assert "fake" not in log.text


async def test_a_resync_without_a_change_is_not_logged(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """A periodic read without a change is not logged."""
    volume.publish(numbered(1))
    timings = {"full_read_interval": 0.05}
    boot = mounted(volume.path, Service, timings)
    log = Log(caplog)
    async with boot.running():
        log.clear()
        read = {boot.status().last_read}

        def is_read_again() -> bool:
            read.add(boot.status().last_read)
            return len(read) > 4

        await until(is_read_again)
        assert (boot.status().generation, boot.status().missed_events) == (1, 0)
        assert log.text == ""


async def test_the_status_has_the_times_of_the_last_read_and_change(volume: MountedVolume) -> None:
    """The status shows each transition: a good set, a bad one, and a good one again."""
    boot = watching(volume)
    assert (boot.status().watcher, boot.status().last_read) == ("off", 0.0)
    async with boot.running():
        first = boot.status()
        assert first.last_read == first.last_change > 0
        await until_watched(boot)
        volume.publish(numbered(2))
        await until(lambda: boot.status().generation == 2)
        second = boot.status()
        assert second.last_change > first.last_change
        assert second.last_read >= second.last_change
        volume.publish(numbered(3, api_key="fake"))
        await until(lambda: boot.status().degraded)
        third = boot.status()
        assert third.last_change == second.last_change
        with pytest.raises(InvalidSecretsError):
            await boot.reload()
        # A rejected read does not change last_read.
        assert boot.status().last_read == third.last_read
        assert [each.generation for each in third.secrets] == [2, 2, 1]
        assert (third.ready, third.state) == (True, State.READY)
    assert boot.status().watcher == "off"
    assert "fake" not in repr([first, second, third])


# The block of the run


class Broken(Exception):  # noqa: N818  (what the author calls it)
    """An error of the block."""


@pytest.mark.both_backends
async def test_an_exception_of_the_block_is_raised_without_a_group(volume: MountedVolume) -> None:
    """An error of the block is not wrapped in a group."""
    boot = watching(volume)
    errors: list[BaseException] = [KeyError("fake"), Broken("fake"), SystemExit(3)]
    for error in errors:
        with pytest.raises(type(error)) as caught:
            async with boot.running():
                raise error
        assert caught.value is error
        assert boot.status().state == "armed"


@pytest.mark.both_backends
async def test_a_cancelled_body_ends_the_run(volume: MountedVolume) -> None:
    """A cancelled block ends the run, and leaves no thread behind."""
    boot = watching(volume)
    with anyio.CancelScope() as scope:
        async with boot.running():
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert boot.status().state == "armed"
    await until(lambda: own_threads() == [])


async def test_a_run_may_begin_in_one_task_and_end_in_another(volume: MountedVolume) -> None:
    """On asyncio a run may start in one task and end in another, as fixtures of some plugins do."""
    boot = watching(volume)
    context = boot.running()
    got: list[Service] = []

    async def set_up() -> None:
        got.append(await context.__aenter__())

    async def tear_down() -> None:
        await context.__aexit__(None, None, None)

    async with anyio.create_task_group() as group:
        group.start_soon(set_up)
    volume.publish(numbered(2))
    await until(lambda: number_of(got[0].api_key) == 2)
    async with anyio.create_task_group() as group:
        group.start_soon(tear_down)
    assert boot.status().state == "armed"


@pytest.fixture
async def service(volume: MountedVolume) -> AsyncIterator[Service]:
    """Yield the secrets of an application that runs during a test."""
    volume.publish(numbered(1))
    async with mounted(volume.path, Service).running() as secrets:
        yield secrets


async def test_a_fixture_of_anyio_may_be_a_run(service: Service, volume: MountedVolume) -> None:
    """A fixture may run the application, which a test then rotates."""
    volume.publish(numbered(2))
    await until(lambda: number_of(service.api_key) == 2)


@contextmanager
def fixture_of_a_runner(
    runner: asyncio.Runner, boot: Bootstrap[Service, None]
) -> Iterator[Service]:
    """Run an async fixture as pytest-asyncio does: each half in its own task."""

    async def fixture() -> AsyncIterator[Service]:
        async with boot.running() as secrets:
            yield secrets

    halves = fixture()

    async def half() -> Service:
        return await anext(halves)

    yield runner.run(half())
    with suppress(StopAsyncIteration):
        runner.run(half())


def test_a_fixture_of_two_tasks_may_be_a_run(volume: MountedVolume) -> None:
    """A run may start and end in different tasks of an async generator fixture."""
    boot = watching(volume)
    heard = Heard(boot)
    with asyncio.Runner() as runner, fixture_of_a_runner(runner, boot) as secrets:
        volume.publish(numbered(2))

        async def rotated() -> None:
            await until(lambda: heard.changes)

        runner.run(rotated())
        assert number_of(secrets.api_key) == 2
        assert boot.status().ready
    assert boot.status().state == "armed"


# Unexpected failures


async def test_a_log_that_fails_does_not_end_the_rotations(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """A logging filter of the application that raises prevents no rotation."""

    class Delayed(Service):
        """A set in which one key comes into use a moment later."""

        jwt_secret: Secret = secret(activate_after=0.05)

    Log(caplog)
    volume.publish(numbered(1))
    boot = mounted(volume.path, Delayed)
    failures = iter([True])
    told: list[Change] = []
    raised: list[str] = []

    @boot.on_rotate()
    async def hook(change: Change) -> None:
        if next(failures, False):
            raise KeyError
        told.append(change)

    def broken(record: logging.LogRecord) -> bool:
        kind = getattr(record, "verdict", record.msg)
        if kind not in raised:
            raised.append(kind)
            raise KeyError(kind)
        return True

    def has_told(number: int) -> bool:
        known = {name: value for change in told for name, value in change.new.items()}
        return [number_of(known.get(name)) for name in ("api_key", "jwt_secret")] == [number] * 2

    logger = logging.getLogger("hive_boot.rotation")
    logger.addFilter(broken)
    try:
        async with boot.running():
            volume.publish(numbered(2))
            await until(lambda: has_told(2))
            await until(lambda: not boot.status().degraded)
            volume.publish(numbered(3, api_key="fake"))
            await until(lambda: boot.status().rejected)
            volume.publish(numbered(2))
            await until(lambda: not boot.status().degraded)
            volume.publish(numbered(4))
            await until(lambda: has_told(4))
            await until(lambda: not boot.status().degraded)
    finally:
        logger.removeFilter(broken)
    # The other three records: a hook failed, it succeeded, and a bad set was reverted.
    assert {"accepted", "refused", "in-use"} < set(raised)
    assert len(raised) == 6


@pytest.mark.both_backends
async def test_a_failure_of_the_reload_task_is_reported(
    volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the reload task fails unexpectedly, the status is degraded, and a reload raises."""
    boot = watching(volume)

    def fail(_: object) -> None:
        message = "something of ours is broken"
        raise ZeroDivisionError(message)

    async with boot.running():
        monkeypatch.setattr(reload.Reloader, "_due", property(fail))
        volume.publish(numbered(2))
        await until(lambda: boot.status().degraded)
        assert len(boot.status().reasons) == 1
        with pytest.raises(LifecycleError):
            await boot.reload()
        assert boot.status().ready


async def test_a_reload_task_that_other_code_cancels_is_reported(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """If other code cancels the reload task, the status and the log report that."""
    log = Log(caplog)
    for started in (False, True):
        volume.publish(numbered(1))
        boot = mounted(volume.path, Service)
        log.clear()
        async with boot.running() as secrets:
            await until_watched(boot)
            if started:
                assert await boot.reload() is None
            boot._run.reloader._host._task.cancel()  # type: ignore[union-attr]  # noqa: SLF001
            await until(lambda boot=boot: boot.status().degraded)  # type: ignore[misc]
            assert len(boot.status().reasons) == 1
            with pytest.raises(LifecycleError):
                await boot.reload()
            assert number_of(secrets.api_key) == 1
        # One record for the cancellation; the stop adds none.
        assert log.about("hive_boot rotation") == ["ERROR"], started


EXHAUSTED = """
import os, resource, sys, threading
from pathlib import Path

import anyio

from hive_boot import Bootstrap, InvalidSecretsError, Secret, SecretSet
from hive_boot._timings import Timings
from hive_boot.testing import MountedVolume

class Keys(SecretSet):
    api_key: Secret

volume = MountedVolume(Path("volume"))
volume.publish({"api_key": "fake-key-1"})
boot = Bootstrap(Keys, mode="kubernetes", secrets_dirs=volume.path)
boot._declaration.timings = Timings(reload_retry_delay=0.01, max_reload_retry_delay=0.01)

async def main() -> None:
    async with boot.running():
        await boot.reload()
        read, reads = boot._run.reloader._reader._read, []
        reading = threading.Lock()

        def count(*args):
            with reading:
                reads.append(1)
                return read(*args)

        boot._run.reloader._reader._read = count
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        try:
            await boot.reload()
        except InvalidSecretsError as exc:
            print(exc.problems[0].kind)
        while len(reads) < 5:
            await anyio.sleep(0.01)
        with reading:  # a read with some of them fails in another way
            for each in held:
                os.close(each)
        while boot.status().degraded:
            await anyio.sleep(0.01)
        print(boot.status().rotations_total["refused"])

anyio.run(main, backend=sys.argv[1])
"""


def test_retries_without_free_descriptors_are_logged_once(tmp_path: Path) -> None:
    """Retries that fail for the same reason are logged once, and succeed with free descriptors."""
    for backend in ("asyncio", "trio"):
        (tmp_path / backend).mkdir()
        child = run_child(EXHAUSTED, backend, cwd=tmp_path / backend)
        assert (child.returncode, child.stdout) == (0, "unreadable\n1\n"), child.stderr
        assert child.stderr.count("Traceback") == 1
