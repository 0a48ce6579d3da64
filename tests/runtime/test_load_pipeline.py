"""Load pipeline: the wait for files, and the checks of fields, set and application."""

import logging
import threading
import time
from collections.abc import Awaitable, Callable
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import Bootstrap, InvalidSecretsError, Secret, SecretSet, UnavailableError, secret
from hive_boot.exceptions import ProblemsError
from hive_boot.secrets.platform import HostEnvironment
from hive_boot.testing import MountedVolume
from tests.fixtures.owned_processes import BACKENDS, VALUE, ended, side_by_side
from tests.fixtures.writers import PlainDirectory
from tests.runtime.rotations import (
    Heard,
    Log,
    Service,
    mounted,
    number_of,
    numbered,
    set_read_policy,
)
from tests.support import failed_start, until

pytestmark = pytest.mark.anyio


def threads_of_ours() -> list[str]:
    """Return the names of the running threads of hive_boot."""
    return [each.name for each in threading.enumerate() if each.name.startswith("hive_boot")]


# The wait for files


@pytest.mark.parametrize("watch", [False, True])
async def test_a_start_waits_for_a_late_volume(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture, *, watch: bool
) -> None:
    """The start waits until a sidecar has written the files, and logs that it waits."""
    boot = mounted(volume.path, Service, watch=watch, wait_for_files=20)
    log = Log(caplog)
    states: list[str] = []

    async def sidecar() -> None:
        await until(lambda: "20 s" in log.text)
        states.append(boot.status().state)
        volume.publish(numbered(1))

    async with anyio.create_task_group() as group:
        group.start_soon(sidecar)
        async with boot.running() as secrets:
            assert (number_of(secrets.api_key), boot.status().generation) == (1, 1)
    assert states == ["loading"]
    assert log.text.count("up to 20 s") == 1
    assert log.verdicts == []


@pytest.mark.parametrize("name", ["late", "later/late"])
async def test_a_start_waits_for_a_directory_that_does_not_exist_yet(
    memory: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """The start waits for a directory whose parent may not exist; later changes are noticed too."""
    # A directory whose parent does not exist has no events: a resync notices it.
    timings = {"resync_interval": 0.1}
    place = memory / name
    boot = mounted(place, Service, timings, wait_for_files=20)
    log = Log(caplog)
    volumes: list[MountedVolume] = []

    async def sidecar() -> None:
        await until(lambda: "20 s" in log.text)
        volumes.append(MountedVolume(place))
        volumes[0].publish(numbered(1))

    async with anyio.create_task_group() as group:
        group.start_soon(sidecar)
        async with boot.running() as secrets:
            assert number_of(secrets.api_key) == 1
            volumes[0].publish(numbered(2))
            await until(lambda: number_of(secrets.api_key) == 2)
            assert not boot.status().degraded


async def test_a_start_waits_for_files_that_are_written_one_by_one(
    directory: PlainDirectory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start waits until the last required file exists."""
    set_read_policy(monkeypatch, quiet_interval=0.02)
    boot = mounted(directory.path, Service, mode="docker", wait_for_files=20)
    log = Log(caplog)

    async def sidecar() -> None:
        await until(lambda: "files: API_KEY, JWT_SECRET" in log.text)
        for name, value in numbered(1).items():
            directory.replace(name, value)
            await anyio.sleep(0.05)

    async with anyio.create_task_group() as group:
        group.start_soon(sidecar)
        async with boot.running() as secrets:
            assert (number_of(secrets.api_key), number_of(secrets.jwt_secret)) == (1, 1)


async def test_a_start_waits_for_a_file_beside_its_variable(
    directory: PlainDirectory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy in the environment does not end the wait for the file of a sidecar."""
    set_read_policy(monkeypatch, quiet_interval=0.02)
    monkeypatch.setenv("API_KEY", numbered(7)["api_key"])
    directory.replace("jwt_secret", numbered(1)["jwt_secret"])
    boot = mounted(directory.path, Service, mode="docker", wait_for_files=20)
    log = Log(caplog)

    async def sidecar() -> None:
        await until(lambda: "files: API_KEY" in log.text)
        directory.replace("api_key", numbered(1)["api_key"])

    async with anyio.create_task_group() as group:
        group.start_soon(sidecar)
        async with boot.running() as secrets:
            assert number_of(secrets.api_key) == 1


async def test_a_file_that_is_never_written_is_reported_after_the_wait(
    directory: PlainDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `wait_for_files` seconds the report is the same as without waiting."""
    set_read_policy(monkeypatch, quiet_interval=0.02)
    directory.replace("api_key", numbered(1)["api_key"])
    waited = await failed_start(
        mounted(directory.path, Service, mode="docker", wait_for_files=0.05)
    )
    at_once = await failed_start(mounted(directory.path, Service, mode="docker"))
    assert str(waited) == str(at_once)
    assert [problem.name for problem in waited.problems] == ["JWT_SECRET"]


async def test_an_invalid_value_is_reported_without_a_wait(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """A value that violates a constraint is reported at once."""
    volume.publish(numbered(1, api_key="fake"))
    log = Log(caplog)
    error = await failed_start(mounted(volume.path, Service, wait_for_files=600))
    assert [(each.name, each.kind) for each in error.problems] == [("API_KEY", "length")]
    assert "600 s" not in log.text


async def test_missing_variables_are_reported_without_a_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Missing variables are reported at once: they cannot be set in a running process."""
    log = Log(caplog)
    error = await failed_start(Bootstrap(Service, mode="environment", wait_for_files=600))
    assert [problem.name for problem in error.problems] == ["API_KEY", "JWT_SECRET"]
    assert "600 s" not in log.text


@pytest.mark.both_backends
@pytest.mark.parametrize("watch", [False, True])
async def test_a_cancelled_start_does_not_wait_any_longer(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture, *, watch: bool
) -> None:
    """A cancelled start ends the wait, and exits no thread behind."""
    boot = mounted(volume.path, Service, watch=watch, wait_for_files=600)
    log = Log(caplog)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def stop() -> None:
                await until(lambda: "600 s" in log.text)
                scope.cancel()

            group.start_soon(stop)
            async with boot.running():
                pytest.fail("there is nothing to start with")
    assert boot.status().state == "armed"
    await until(lambda: threads_of_ours() == [])


@pytest.mark.both_backends
async def test_a_start_cancelled_during_the_detection_leaves_no_watcher(
    volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that is cancelled while it detects the platform exits no thread behind."""
    volume.publish(numbered(1))
    has_begun, go_on = threading.Event(), threading.Event()

    def slow() -> HostEnvironment:
        has_begun.set()
        go_on.wait(20)
        return HostEnvironment()

    monkeypatch.setattr("hive_boot.runtime.load_pipeline.HostEnvironment", slow)
    boot = mounted(volume.path, Service)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def stop() -> None:
                await until(has_begun.is_set)
                scope.cancel()

            group.start_soon(stop)
            async with boot.running():
                pytest.fail("it was given up")
    assert boot.status().state == "armed"
    go_on.set()
    await until(lambda: threads_of_ours() == [])


# Checks


class Tls(SecretSet):
    """A certificate and its private key."""

    certificate: Secret
    private_key: Secret

    async def check(self) -> None:
        """Reject a key of another certificate."""
        await checkpoint()
        if number_of(self.certificate) != number_of(self.private_key):
            message = f"the key {self.private_key.reveal()} is of another certificate"
            raise ValueError(message)


def tls(certificate: int, key: int) -> dict[str, str]:
    """Return the files of a certificate and a key."""
    return {
        "certificate": f"fake-certificate-{certificate:06}",
        "private_key": f"fake-private-key-{key:06}",
    }


async def test_a_start_with_a_key_of_another_certificate_fails(volume: MountedVolume) -> None:
    """The check of the set runs at startup too, and its report contains no value."""
    volume.publish(tls(1, 2))
    error = await failed_start(mounted(volume.path, Tls))
    assert [(problem.name, problem.kind) for problem in error.problems] == [("Tls", "check")]
    assert "another certificate" in str(error)
    assert "fake-private-key" not in str(error)


async def test_a_rotation_to_a_key_of_another_certificate_is_refused(
    directory: PlainDirectory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are replaced one by one do not match for a moment; the old pair stays in use."""
    set_read_policy(monkeypatch, quiet_interval=0.02)
    for name, value in tls(1, 1).items():
        directory.replace(name, value)
    boot = mounted(directory.path, Tls, mode="docker")
    heard = Heard(boot)
    log = Log(caplog)
    async with boot.running() as secrets:
        directory.replace("certificate", tls(2, 2)["certificate"])
        await until(lambda: boot.status().degraded)
        assert (number_of(secrets.certificate), number_of(secrets.private_key)) == (1, 1)
        status = boot.status()
        assert (status.rejected, status.rejected_names) == (True, ("Tls",))
        (reason,) = status.reasons
        for text in ("candidate", "Tls", "check"):
            assert text in reason
        directory.replace("private_key", tls(2, 2)["private_key"])
        await until(lambda: heard.changes)
        assert (number_of(secrets.certificate), number_of(secrets.private_key)) == (2, 2)
        assert not boot.status().degraded
    assert heard.names == [("certificate", "private_key")]
    assert log.verdicts == [
        ("refused", None, ["Tls"]),
        ("accepted", 2, ["CERTIFICATE", "PRIVATE_KEY"]),
    ]
    assert "fake-private-key" not in log.text


async def raises(_: Secret) -> object:
    """Raise an error."""
    await checkpoint()
    message = "the server refuses it"
    raise RuntimeError(message)


async def cannot_connect(_: Secret) -> object:
    """Raise a network error."""
    await checkpoint()
    message = "no route"
    raise ConnectionError(message)


async def hangs(_: Secret) -> object:
    """Hang."""
    await anyio.sleep_forever()
    return True


async def returns_false(_: Secret) -> object:
    """Return False."""
    await checkpoint()
    return False


async def returns_the_value(value: Secret) -> object:
    """Return the value instead of a verdict."""
    await checkpoint()
    return value.reveal()


async def exits(_: Secret) -> object:
    """Raise SystemExit."""
    await checkpoint()
    raise SystemExit(3)


Judge = Callable[[Secret], Awaitable[object]]

VERDICTS = [
    (raises, "check", "RuntimeError: the server refuses it"),
    (cannot_connect, "unavailable", "ConnectionError: no route"),
    (hangs, "unavailable", "0.5 s"),
    (returns_false, "check", "False"),
    (returns_the_value, "check", "str"),
    (exits, "check", "SystemExit: 3"),
]
"""Ways to reject, with the kind of the problem and a text in its message."""


def of_the_application(volume: MountedVolume, judge: Judge, seconds: float) -> Bootstrap[Any, None]:
    """Declare an application whose own check calls ``judge`` for the second generation."""
    boot = mounted(volume.path, Service, watch=False, startup_timeout=seconds)

    @boot.check
    async def judged(secrets: Service) -> Any:  # noqa: ANN401  (a check may answer wrongly)
        return await judge(secrets.api_key) if number_of(secrets.api_key) == 2 else None

    return boot


def of_the_set(volume: MountedVolume, judge: Judge, seconds: float) -> Bootstrap[Any, None]:
    """Declare an application whose set check calls ``judge`` for the second generation."""

    class Judged(Service):
        """A set with a check."""

        async def check(self) -> Any:  # noqa: ANN401  (a check may answer wrongly)
            """Check the set."""
            return await judge(self.api_key) if number_of(self.api_key) == 2 else None

    return mounted(volume.path, Judged, watch=False, startup_timeout=seconds)


def of_the_field(volume: MountedVolume, judge: Judge, seconds: float) -> Bootstrap[Any, None]:
    """Declare an application whose field check calls ``judge`` for the second generation."""

    async def check(value: str) -> Any:  # noqa: ANN401  (a check may answer wrongly)
        return await judge(Secret("API_KEY", value)) if value.endswith("2") else None

    class Judged(Service):
        """A set with a field check."""

        api_key: Secret = secret(check=check)

    return mounted(volume.path, Judged, watch=False, startup_timeout=seconds)


WHOSE = [(of_the_application, "judged"), (of_the_set, "Judged"), (of_the_field, "API_KEY")]


async def test_a_start_fails_if_a_check_rejects(memory: Path) -> None:
    """The report names the check or the field, and the kind of the problem."""
    for number, ((declare, name), (judge, kind, text)) in enumerate(product(WHOSE, VERDICTS)):
        volume = MountedVolume(memory / str(number))
        volume.publish(numbered(2))
        # A check that is unavailable is retried until the timeout.
        boot = declare(volume, judge, 0.5)
        error = await failed_start(boot)
        assert [(each.name, each.kind) for each in error.problems] == [(name, kind)]
        assert text in error.problems[0].message, (name, judge)
        assert "fake-api-key" not in error.problems[0].message
        assert boot.status().state == "armed"


@pytest.mark.both_backends
async def test_a_rotation_is_refused_if_a_check_rejects(
    memory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A rejected set is not used, whatever the check does; the next set is checked on its own."""
    log = Log(caplog)
    for number, ((declare, name), (judge, kind, text)) in enumerate(product(WHOSE, VERDICTS)):
        log.clear()
        volume = MountedVolume(memory / str(number))
        volume.publish(numbered(1))
        boot = declare(volume, judge, 0.5 if judge is hangs else 20)
        async with boot.running() as secrets:
            volume.publish(numbered(2))
            with pytest.raises(ProblemsError) as caught:
                await boot.reload()
            assert isinstance(caught.value, UnavailableError) == (kind == "unavailable")
            assert boot.status().degraded
            assert (number_of(secrets.api_key), number_of(secrets.jwt_secret)) == (1, 1)
            assert (boot.status().generation, boot.status().rejected_names) == (1, (name,))
            volume.publish(numbered(3))
            await boot.reload()
            assert number_of(secrets.api_key) == 3
            assert not boot.status().degraded
        assert log.verdicts == [
            ("refused", None, [name]),
            ("accepted", 2, ["API_KEY", "JWT_SECRET"]),
        ]
        refused = log.rotations[0]
        assert refused.levelno == logging.ERROR
        assert name in refused.getMessage()
        assert text in refused.getMessage()
        assert "fake-api-key" not in log.text


PROGRAM = """
import anyio

boot = Bootstrap(Needs, startup_timeout=0.2)

@boot.check
async def judged(secrets: Needs) -> None:
    if sys.argv[2] == "hangs":
        await anyio.sleep_forever()
    raise RuntimeError("the server refuses " + secrets.jwt_secret.reveal())

@boot.main
async def main() -> None:
    print("serving")

boot.run(backend=backend)
"""


def test_a_process_whose_check_rejects_ends_with_a_report(tmp_path: Path) -> None:
    """Stderr has the report, the exit status is that of the problem, and main does not run."""

    def scenario(backend: str, how: tuple[str, int, str, str], path: Path) -> None:
        code, out, err = ended(PROGRAM, backend, how[0], cwd=path)
        assert (code, out) == (how[1], []), err
        assert how[2] in err
        (line,) = (line for line in err.splitlines() if "1. judged" in line)
        assert how[3] in line
        assert "Traceback" not in err
        assert VALUE not in err

    hows = [
        ("raises", 78, " has 1 problem;", "RuntimeError: the server refuses ***"),
        ("hangs", 75, "could not be reached;", "0.2 s"),
    ]
    side_by_side(tmp_path, scenario, product(BACKENDS, hows))


@pytest.mark.both_backends
async def test_a_check_that_blocks_its_thread_does_not_block_later_rotations(
    volume: MountedVolume,
) -> None:
    """A blocking check that hangs occupies one thread, and does not prevent a later rotation."""
    release = threading.Event()
    called: list[str] = []

    def blocks(value: str) -> None:
        called.append(value[-1])
        if value.endswith("2"):
            release.wait(20)

    class Judged(Service):
        """A set with a check that blocks."""

        api_key: Secret = secret(check=blocks)

    volume.publish(numbered(1))
    boot = mounted(volume.path, Judged, startup_timeout=0.05)
    try:
        async with boot.running() as secrets:
            volume.publish(numbered(2))
            await until(lambda: boot.status().degraded)
            assert boot.status().rejected_names == ("API_KEY",)
            for _ in range(3):
                with pytest.raises(UnavailableError, match="API_KEY"):
                    await boot.reload()
            assert called == ["1", "2"]
            volume.publish(numbered(3))
            await until(lambda: number_of(secrets.api_key) == 3)
            await until(lambda: not boot.status().degraded)
    finally:
        release.set()
    await until(lambda: threads_of_ours() == [])


class Options:
    """Settings that record when they are built."""

    steps: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.steps.append("config")


def test_a_start_and_a_dry_run_take_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both run field checks, settings, set check and application checks, in this order."""
    monkeypatch.setenv("API_KEY", numbered(1)["api_key"])
    monkeypatch.setenv("JWT_SECRET", numbered(1)["jwt_secret"])
    steps = Options.steps

    def note(_: str) -> None:
        steps.append("field")

    class Judged(Service):
        """A set with a check in each step."""

        api_key: Secret = secret(check=note)

        async def check(self) -> None:
            """Record the step."""
            steps.append("set")

    boot = Bootstrap(Judged, config=Options, mode="environment")

    @boot.check()
    async def application(options: Options) -> None:
        assert isinstance(options, Options)
        steps.append("application")

    async def start() -> None:
        async with boot.running():
            pass

    anyio.run(start)
    assert steps == ["field", "config", "set", "application"]
    steps.clear()
    result = boot._dry_run()
    assert steps == ["field", "config", "set", "application"]
    assert result.error is None


async def test_a_rotation_calls_only_the_field_checks_of_changed_values(
    volume: MountedVolume,
) -> None:
    """A field check is not called again for a value that it has accepted."""
    judged: list[str] = []

    def note(value: str) -> None:
        judged.append(value)

    class Judged(Service):
        """A set with field checks."""

        api_key: Secret = secret(check=note)
        jwt_secret: Secret = secret(check=note)

        async def check(self) -> None:
            """Record the call."""
            judged.append("set")

    volume.publish(numbered(1))
    boot = mounted(volume.path, Judged, watch=False)

    @boot.check
    async def check(_: Judged) -> None:
        judged.append("application")

    async with boot.running():
        assert sorted(judged[:2]) == sorted(numbered(1).values())
        assert judged[2:] == ["set", "application"]
        judged.clear()
        volume.publish({**numbered(1), "jwt_secret": "fake-jwt-secret-000002"})
        await boot.reload()
        assert judged == ["fake-jwt-secret-000002", "set", "application"]
        judged.clear()
        await boot.reload()
        assert judged == []


async def test_a_check_of_the_application_gets_the_candidate(volume: MountedVolume) -> None:
    """The application that the check may take still has the set in use."""
    volume.publish(numbered(1))
    boot = mounted(volume.path, Service, watch=False)
    seen: list[tuple[int, int]] = []

    @boot.check
    async def check(candidate: Service, application: Bootstrap[Service, None]) -> bool:
        in_use = application.secrets if application.status().ready else None
        seen.append((number_of(candidate.api_key), number_of(in_use.api_key) if in_use else 0))
        return True

    async with boot.running():
        volume.publish(numbered(2))
        await boot.reload()
    assert seen == [(1, 0), (2, 1)]


async def test_all_checks_run_after_a_rejection(volume: MountedVolume) -> None:
    """After a rejection the other checks run too, and the report names the one that rejected."""
    volume.publish(numbered(1))
    boot = mounted(volume.path, Service, watch=False)
    asked: list[str] = []

    @boot.check
    async def first(secrets: Service) -> bool:
        asked.append("first")
        return number_of(secrets.api_key) == 1

    @boot.check
    async def second() -> None:
        asked.append("second")

    async with boot.running():
        volume.publish(numbered(2))
        with pytest.raises(InvalidSecretsError) as caught:
            await boot.reload()
    assert sorted(asked) == ["first", "first", "second", "second"]
    assert [problem.name for problem in caught.value.problems] == ["first"]


async def test_all_checks_of_a_rotation_share_the_startup_timeout(volume: MountedVolume) -> None:
    """``startup_timeout=`` limits all checks together: the second gets what the first has left."""
    volume.publish(numbered(1))
    boot = mounted(volume.path, Service, watch=False, startup_timeout=0.2)

    @boot.check
    async def slow(secrets: Service) -> None:
        if number_of(secrets.api_key) == 2:
            # A check that does not wait cannot be cancelled.
            time.sleep(0.3)  # noqa: ASYNC251  (it blocks, as some checks do)

    @boot.check
    async def next_one() -> None:
        await anyio.sleep(0.01)

    async with boot.running():
        volume.publish(numbered(2))
        with pytest.raises(UnavailableError, match=r"next_one.* 0\.2 s"):
            await boot.reload()
