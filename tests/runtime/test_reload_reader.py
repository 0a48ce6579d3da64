"""Reads of a running application: sources that are damaged, incomplete or being written."""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from hive_boot import Bootstrap, InvalidSecretsError, Secret, SecretSet
from hive_boot.secrets.loader import load
from hive_boot.testing import MountedVolume
from tests.fixtures.timings import QUICK_RESYNC
from tests.fixtures.writers import PlainDirectory
from tests.runtime.rotations import (
    Heard,
    Log,
    Service,
    mounted,
    number_of,
    numbered,
    set_read_policy,
    watching,
)
from tests.support import as_ordinary_user, move_to, until

pytestmark = pytest.mark.anyio


class Relaxed(SecretSet):
    """A set of optional secrets."""

    api_key: Secret | None
    jwt_secret: Secret | None


async def test_a_required_key_that_is_removed_stays_in_use(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """The whole old set stays in use, degraded, and the missing secret is named."""
    boot = watching(volume)
    heard = Heard(boot)
    log = Log(caplog)
    async with boot.running() as secrets:
        volume.publish({"api_key": numbered(2)["api_key"]})
        await until(lambda: boot.status().degraded)
        assert (number_of(secrets.api_key), number_of(secrets.jwt_secret)) == (1, 1)
        status = boot.status()
        assert (status.ready, status.generation) == (True, 1)
        assert (status.rejected, status.rejected_names) == (True, ("JWT_SECRET",))
        (reason,) = status.reasons
        assert "candidate" in reason
        assert "JWT_SECRET missing" in reason
        volume.publish(numbered(3))
        await until(lambda: heard.changes)
        healed = boot.status()
        assert (healed.degraded, healed.rejected, healed.rejected_names) == (False, False, ())
        assert healed.reasons == ()
    assert log.verdicts == [
        ("refused", None, ["JWT_SECRET"]),
        ("accepted", 2, ["API_KEY", "JWT_SECRET"]),
    ]


async def test_an_empty_volume_is_never_an_empty_set(volume: MountedVolume) -> None:
    """Without any secret, the mount is treated as failed, even if every secret is optional."""
    volume.publish(numbered(1))
    boot = mounted(volume.path, Relaxed)
    heard = Heard(boot)
    async with boot.running() as secrets:
        volume.publish({})
        await until(lambda: boot.status().degraded)
        assert (number_of(secrets.api_key), number_of(secrets.jwt_secret)) == (1, 1)
        assert boot.status().rejected_names == (str(volume.path),)
        volume.publish({"api_key": numbered(2)["api_key"]})
        await until(lambda: heard.changes)
        assert (number_of(secrets.api_key), secrets.jwt_secret) == (2, None)
        assert not boot.status().degraded


async def test_a_removed_volume_below_the_default_directory_is_never_an_empty_set(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one of the volumes in /run/secrets disappears, its secrets stay in use; it is named."""
    move_to(memory, monkeypatch)
    ours = MountedVolume(memory / "run" / "secrets" / "ours")
    ours.publish(numbered(1))
    MountedVolume(memory / "run" / "secrets" / "others").publish({"unknown": "fake"})
    boot = Bootstrap(Relaxed, mode="kubernetes", watch=True)
    async with boot.running() as secrets:
        shutil.rmtree(ours.path)
        await until(lambda: boot.status().degraded)
        assert (number_of(secrets.api_key), number_of(secrets.jwt_secret)) == (1, 1)
        assert boot.status().rejected_names == (str(ours.path),)
        MountedVolume(ours.path).publish(numbered(2))
        await until(lambda: number_of(secrets.api_key) == 2)
        await until(lambda: not boot.status().degraded)


def dangling(volume: MountedVolume) -> AbstractContextManager[None]:
    """Point ``..data`` at a directory that does not exist, while the block runs."""
    return volume.dangling_data()


def absent(volume: MountedVolume) -> AbstractContextManager[None]:
    """Remove ``..data`` while the block runs."""
    return volume.without_data()


def closed(volume: MountedVolume) -> AbstractContextManager[None]:
    """Publish a set whose files are unreadable while the block runs."""
    return volume.late_permissions(numbered(2))


def locked(volume: MountedVolume) -> AbstractContextManager[None]:
    """Publish a set whose directory is unreadable while the block runs."""
    return volume.late_permissions(numbered(2), directory=True)


Amiss = Callable[[MountedVolume], AbstractContextManager[None]]


async def test_a_short_gap_is_not_reported(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gap of 50 or 200 ms is not reported."""
    pauses = threading.Event()

    def sleep(seconds: float) -> None:
        pauses.set()
        time.sleep(seconds)

    # A busy machine may make the gap longer, so the timeout is longer than the usual 2 s.
    set_read_policy(monkeypatch, missing_timeout=20, sleep=sleep)
    with as_ordinary_user() as place:
        volume = MountedVolume(place / "volume")
        for amiss in (dangling, absent, closed, locked):
            volume.publish(numbered(1))
            boot = mounted(volume.path, Service, QUICK_RESYNC)
            heard = Heard(boot)
            log = Log(caplog)
            log.clear()
            async with boot.running() as secrets:
                pauses.clear()
                with amiss(volume):
                    # The directory was read, and had no content.
                    await until(pauses.is_set)
                    await anyio.sleep(0.05 if amiss in {dangling, absent} else 0.2)
                    assert number_of(secrets.api_key) == 1
                    assert not boot.status().degraded
                volume.publish(numbered(2))
                await until(lambda heard=heard: heard.changes)  # type: ignore[misc]
                assert number_of(secrets.api_key) == 2
            assert log.verdicts == [("accepted", 2, ["API_KEY", "JWT_SECRET"])], amiss


async def test_a_longer_gap_is_logged_once_and_retried(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A longer gap is logged once, and the read is retried until it ends, without a new event."""
    set_read_policy(monkeypatch, missing_timeout=0.05)
    cases = [(dangling, "directory"), (absent, "directory"), (closed, "unreadable")]
    with as_ordinary_user() as place:
        volume = MountedVolume(place / "volume")
        for amiss, kind in cases:
            volume.publish(numbered(1))
            boot = mounted(volume.path, Service, QUICK_RESYNC)
            log = Log(caplog)
            log.clear()
            async with boot.running() as secrets:
                with amiss(volume):
                    await until(lambda boot=boot: boot.status().degraded)  # type: ignore[misc]
                    assert kind in boot.status().reasons[0]
                    for _ in range(3):
                        with pytest.raises(InvalidSecretsError):
                            await boot.reload()
                    assert (number_of(secrets.api_key), boot.status().generation) == (1, 1)
                    assert [verdict for verdict, *_ in log.verdicts] == ["refused"]
                    log.clear()
                await until(lambda boot=boot: not boot.status().degraded)  # type: ignore[misc]
                assert number_of(secrets.api_key) == (2 if amiss is closed else 1)
            assert len(log.rotations) == 1, log.text


async def test_a_reverted_bad_set_is_not_a_rotation(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """If a bad set is reverted, there is one log record, no generation and no hook call."""
    boot = watching(volume)
    heard = Heard(boot)
    log = Log(caplog)
    async with boot.running():
        volume.publish(numbered(2, api_key="fake"))
        await until(lambda: boot.status().degraded)
        log.clear()
        volume.publish(numbered(1))
        await until(lambda: not boot.status().degraded)
        assert boot.status().generation == 1
    assert [record.levelno for record in log.rotations] == [logging.INFO]
    assert log.about("generation 1") == ["INFO"]
    assert heard.changes == []


async def test_an_invalid_value_is_reported_once(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad value that is read several times is logged once; the next good set is accepted."""
    boot = watching(volume)
    heard = Heard(boot)
    log = Log(caplog)
    async with boot.running() as secrets:
        bad = numbered(2, api_key="fake-2")
        volume.publish(bad)
        await until(lambda: boot.status().degraded)
        for _ in range(3):
            volume.publish(bad, anew=True)
            with pytest.raises(InvalidSecretsError):
                await boot.reload()
        assert (number_of(secrets.api_key), number_of(secrets.jwt_secret)) == (1, 1)
        assert log.verdicts == [("refused", None, ["API_KEY"])]
        assert log.about("API_KEY") == ["ERROR"]
        assert log.about(" 12 ") == ["ERROR"]
        assert "fake-2" not in log.text
        volume.publish(numbered(3))
        await until(lambda: heard.changes)
        assert number_of(secrets.api_key) == 3
        assert not boot.status().degraded
    assert [verdict for verdict, *_ in log.verdicts] == ["refused", "accepted"]
    assert [change.generation for change in heard.changes] == [2]


async def test_another_problem_is_logged_again(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """If one of two bad values is fixed, the other one is reported again."""
    boot = watching(volume)
    log = Log(caplog)
    async with boot.running():
        volume.publish({"api_key": "fake"})
        await until(lambda: boot.status().degraded)
        volume.publish({"api_key": "fake", "jwt_secret": "fake-jwt-secret-000002"})
        await until(lambda: boot.status().rejected_names == ("API_KEY",))
    assert log.verdicts == [
        ("refused", None, ["API_KEY", "JWT_SECRET"]),
        ("refused", None, ["API_KEY"]),
    ]


async def test_a_read_waits_for_a_writer_that_pauses(
    directory: PlainDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer truncates, writes a half, pauses and writes the rest: the half is never used."""
    paused, going = threading.Event(), threading.Event()

    def sleep(_: float) -> None:
        paused.set()
        going.wait(20)
        time.sleep(0.02)

    set_read_policy(monkeypatch, sleep=sleep)
    for name, value in numbered(1).items():
        directory.replace(name, value)
    going.set()
    boot = mounted(directory.path, Service, {"writer_silence_timeout": 0.05}, mode="docker")
    heard = Heard(boot)
    async with boot.running() as secrets:
        going.clear()
        paused.clear()
        with directory.partial_write("jwt_secret", "fake-jwt-secret-000002"):
            await until(paused.is_set)  # the half was read, and is not used yet
            assert number_of(secrets.jwt_secret) == 1
        going.set()
        await until(lambda: heard.changes)
        assert number_of(secrets.jwt_secret) == 2
        assert boot.status().generation == 2
    assert [change.new["jwt_secret"] for change in heard.changes] == [secrets.jwt_secret]


async def test_files_that_are_renamed_one_by_one_come_into_use(directory: PlainDirectory) -> None:
    """Files that are replaced one by one, as by Vault Agent, come into use."""
    for name, value in numbered(1).items():
        directory.replace(name, value)
    boot = mounted(directory.path, Service, mode="docker")
    heard = Heard(boot)
    async with boot.running() as secrets:
        for name, value in numbered(2, sentry_dsn="fake-dsn-000002").items():
            directory.replace(name, value)
        await until(lambda: number_of(secrets.api_key) == 2)
        await until(lambda: number_of(secrets.jwt_secret) == 2)
        await until(lambda: number_of(secrets.sentry_dsn) == 2)
        await until(lambda: len(heard.changes) == boot.status().generation - 1)
        assert not boot.status().degraded
    told = [value for change in heard.changes for value in change.new.values()]
    assert sorted(map(number_of, told)) == [2, 2, 2]


async def test_a_temporary_file_of_a_writer_changes_nothing(
    directory: PlainDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    """A temporary file that a writer leaves behind changes nothing."""
    for name, value in numbered(1).items():
        directory.replace(name, value)
    boot = mounted(directory.path, Service, mode="docker")
    heard = Heard(boot)
    log = Log(caplog)
    async with boot.running():
        before = boot.status()
        log.clear()
        (directory.path / "tmp8k2x_q").write_text("fake-api-key-000009")
        (directory.path / ".api_key.swp").write_text("fake-api-key-000009")
        assert await boot.reload() is None
        assert log.text == ""
        assert boot.status().generation == before.generation
    assert heard.changes == []


def a_fifo(directory: PlainDirectory) -> None:
    """Replace a file by a FIFO."""
    directory.remove("api_key")
    os.mkfifo(directory.path / "api_key")


def too_much(directory: PlainDirectory) -> None:
    """Replace the value by 2 MiB."""
    directory.replace("api_key", "f" * (2 << 20))


def not_text(directory: PlainDirectory) -> None:
    """Replace the value by bytes that are not UTF-8."""
    directory.replace("api_key", b"fake-\xff-000002")


def nothing(directory: PlainDirectory) -> None:
    """Replace the value by an empty file."""
    directory.replace("api_key", "")


async def test_an_invalid_file_is_rejected_without_a_hang(
    directory: PlainDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid file is rejected without a hang, and the next valid one is accepted."""
    set_read_policy(monkeypatch, quiet_interval=0.02)
    for name, value in numbered(1).items():
        directory.replace(name, value)
    boot = mounted(directory.path, Service, mode="docker")
    cases = [
        (a_fifo, "not-a-file"),
        (too_much, "too-large"),
        (not_text, "not-utf-8"),
        (nothing, "empty"),
    ]

    def is_refused(kind: str) -> bool:
        return boot.status().degraded and boot.status().reasons[0].endswith(f"API_KEY {kind}")

    async with boot.running() as secrets:
        for number, (spoil, kind) in enumerate(cases, start=1):
            spoil(directory)
            await until(partial(is_refused, kind))
            assert number_of(secrets.api_key) == number
            directory.replace("api_key", numbered(number + 1)["api_key"])
            await until(lambda number=number: number_of(secrets.api_key) == number + 1)  # type: ignore[misc]
            assert not boot.status().degraded


# A read that fails as a whole


async def test_a_read_that_crashes_keeps_the_set(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error of a read is a rejection like any other, and is retried."""
    boot = watching(volume)
    log = Log(caplog)
    crashes = iter([True, True, False])

    def crash(*args: Any, **more: Any) -> object:  # noqa: ANN401  (what load takes)
        if next(crashes, False):
            message = "fake-api-key-000001"
            raise MemoryError(message)
        return load(*args, **more)

    async with boot.running() as secrets:
        monkeypatch.setattr("hive_boot.runtime.load_pipeline.load", crash)
        volume.publish(numbered(2))
        await until(lambda: number_of(secrets.api_key) == 2)
    assert log.verdicts == [
        ("refused", None, ["Service"]),
        ("accepted", 2, ["API_KEY", "JWT_SECRET"]),
    ]
    assert log.about("MemoryError") == ["ERROR"]
    assert "fake-api-key" not in log.text


async def test_only_one_read_at_a_time_can_hang(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that hangs occupies one thread, further reads fail, and the application serves."""
    volume.publish(numbered(1))
    boot = mounted(volume.path, Service, {"read_timeout": 0.05})
    log = Log(caplog)
    hangs, answers = threading.Semaphore(0), threading.Event()

    def hang(*args: Any, **more: Any) -> object:  # noqa: ANN401  (what load takes)
        hangs.release()
        answers.wait(20)
        return load(*args, **more)

    async with boot.running() as secrets:
        with monkeypatch.context() as patch, ExitStack() as stack:
            stack.callback(answers.set)
            patch.setattr("hive_boot.runtime.load_pipeline.load", hang)
            volume.publish(numbered(2))
            await until(lambda: boot.status().degraded)
            for _ in range(3):
                with pytest.raises(InvalidSecretsError) as caught:
                    await boot.reload()
                (problem,) = caught.value.problems
                assert (problem.name, problem.kind) == ("Service", "unreadable")
            assert number_of(secrets.api_key) == 1
            assert hangs.acquire(blocking=False)
            assert not hangs.acquire(blocking=False)
        await until(lambda: number_of(secrets.api_key) == 2)
        assert not boot.status().degraded
    assert [verdict for verdict, *_ in log.verdicts] == ["refused", "accepted"]
