"""Sources of the application while it runs: intervals, outages, and stops."""

import asyncio
import logging
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import (
    Bootstrap,
    InvalidSecretsError,
    Secret,
    SecretSet,
)
from hive_boot.testing import MountedVolume
from tests.fixtures.sources import (
    VALUE,
    Fake,
    Service,
    StatusError,
    as_it_is,
    caused,
    declared,
    values,
)
from tests.fixtures.timings import set_timings
from tests.runtime.rotations import Heard, Log, mounted
from tests.support import everything_told, failed_start, until

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


async def test_an_interval_is_the_time_between_two_reloads(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a watcher too: a changed value is a rotation like any other."""
    source = Fake(answer=values(1), interval=0.05)
    boot = declared(source)
    heard, log = Heard(boot), Log(caplog)
    async with boot.running() as secrets:
        await until(lambda: len(source.asked) >= 3)
        assert (boot.status().generation, heard.names) == (1, [])
        source.answer = {**values(1), "JWT_SECRET": values(2)["JWT_SECRET"]}
        await until(lambda: heard.changes)
        assert secrets.jwt_secret.reveal() == values(2)["JWT_SECRET"]
        assert secrets.api_key.reveal() == values(1)["API_KEY"]
    assert heard.names == [("jwt_secret",)]
    assert log.verdicts == [("accepted", 2, ["JWT_SECRET"])]
    number = len(source.asked)
    await anyio.sleep(0.1)
    assert len(source.asked) == number, "it was asked after the stop"


async def test_an_interval_may_be_shorter_than_a_load() -> None:
    """A start and a reload ask once, although the source is due again when they have read."""
    source = Fake(answer=values(1), interval=1e-6)
    boot = declared(source, startup_timeout=5)
    with anyio.fail_after(60):
        async with boot.running() as secrets:
            source.answer = values(2)
            await boot.reload()
            assert secrets.api_key.reveal() == values(2)["API_KEY"]


async def test_without_an_interval_a_reload_on_demand_asks_again() -> None:
    """`boot.reload()` and SIGHUP do; nothing else runs in an application without a watcher."""
    source = Fake(answer=values(1))
    boot = declared(source)
    async with boot.running() as secrets:
        assert boot._run is not None  # noqa: SLF001  (whether a task of rotations exists)
        assert boot._run.reloader is None  # noqa: SLF001
        source.answer = values(2)
        change = await boot.reload()
        assert change is not None
        assert change.names == ("api_key", "jwt_secret")
        assert await boot.reload() is None
        source.answer = values(3)
        boot._run.request_reload()  # noqa: SLF001  (what SIGHUP calls)
        await until(lambda: secrets.api_key.reveal() == values(3)["API_KEY"])
    assert source.asked == [("API_KEY", "JWT_SECRET", "SENTRY_DSN")] * 4


async def test_calls_at_the_same_time_are_one_reload() -> None:
    """A source is never asked twice at once, however many callers there are."""
    inside, most = 0, 0
    source = Fake(answer=values(1), interval=0.01)

    async def answering() -> object:
        nonlocal inside, most
        inside += 1
        most = max(inside, most)
        await anyio.sleep(0.01)
        inside -= 1
        return values(len(source.asked))

    source.answer = answering
    boot = declared(source)
    async with boot.running(), anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(boot.reload)
    assert most == 1
    assert len(source.asked) < 10


def a_file_and_a_source(
    volume: MountedVolume,
    source: Fake,
    **more: Any,  # noqa: ANN401  (what Bootstrap takes)
) -> Bootstrap[Service, None]:
    """Declare an application with one secret in a file; the source provides the other one."""
    volume.publish({"api_key": "fake-api-key-000001"})
    source.answer = values(1, "JWT_SECRET")
    timings = {"check_retry_delay": 0.02, "max_check_retry_delay": 0.1}
    return mounted(volume.path, Service, timings, sources=[source], **more)


async def test_a_rotation_of_files_keeps_the_values_of_a_source(volume: MountedVolume) -> None:
    """The source is not asked at each event of a file system."""
    source = Fake()
    boot = a_file_and_a_source(volume, source)
    async with boot.running() as secrets:
        source.answer = values(2, "JWT_SECRET")
        for number in (2, 3):
            volume.publish({"api_key": f"fake-api-key-00000{number}"})
            await until(lambda n=number: secrets.api_key.reveal().endswith(str(n)))  # type: ignore[misc]
        assert secrets.jwt_secret.reveal() == values(1)["JWT_SECRET"]
        assert len(source.asked) == 1
        volume.publish({"api_key": "fake-api-key-000004"})
        await until(lambda: secrets.api_key.reveal().endswith("4"))
        await boot.reload()
        assert secrets.jwt_secret.reveal() == values(2)["JWT_SECRET"]


async def test_an_outage_degrades_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    """The last good set stays, it is one line in the log, and the source is tried again."""
    source = Fake(answer=values(1), interval=0.05)
    boot = declared(source)
    log = Log(caplog)
    async with boot.running() as secrets:
        source.answer = caused(StatusError(), ConnectionRefusedError(111, VALUE))
        await until(lambda: boot.status().degraded)
        last_read = boot.status().last_read
        number = len(source.asked)
        await until(lambda: len(source.asked) > number + 3)
        status = boot.status()
        assert (status.ready, status.generation, status.rejected) == (True, 1, False)
        assert status.last_read == last_read
        (reason,) = status.reasons
        for text in ("vault", "JWT_SECRET", "StatusError, ECONNREFUSED"):
            assert text in reason
        assert secrets.api_key.reveal() == values(1)["API_KEY"]
        assert log.about("vault") == ["WARNING"]
        source.answer = values(2)
        await until(lambda: not boot.status().degraded)
        assert secrets.api_key.reveal() == values(2)["API_KEY"]
        assert boot.status().last_read > last_read
    assert log.about("vault") == ["WARNING", "INFO"]
    assert VALUE not in log.text
    assert "Traceback" not in log.text


async def test_an_outage_does_not_stop_a_rotation_of_files(volume: MountedVolume) -> None:
    """The last values of the source are known, so the files are used; it stays degraded."""
    source = Fake(interval=0.05)
    boot = a_file_and_a_source(volume, source)
    async with boot.running() as secrets:
        source.answer = TimeoutError()
        await until(lambda: boot.status().degraded)
        volume.publish({"api_key": "fake-api-key-000002"})
        await until(lambda: secrets.api_key.reveal() == "fake-api-key-000002")
        assert boot.status().degraded
        assert secrets.jwt_secret.reveal() == values(1)["JWT_SECRET"]


async def test_a_reload_raises_if_a_source_fails(volume: MountedVolume) -> None:
    """The changes of files are in use all the same."""
    source = Fake()
    boot = a_file_and_a_source(volume, source, watch=False)
    failures = [RuntimeError(VALUE), SystemExit(VALUE), as_it_is(None), as_it_is({VALUE: VALUE})]
    async with boot.running() as secrets:
        for number, failure in enumerate(failures, start=2):
            source.answer = failure
            volume.publish({"api_key": f"fake-api-key-00000{number}"})
            with pytest.raises(InvalidSecretsError) as caught:
                await boot.reload()
            assert [(each.name, each.kind) for each in caught.value.problems] == [
                ("vault", "source")
            ]
            assert VALUE not in everything_told(caught.value)
            assert secrets.api_key.reveal() == f"fake-api-key-00000{number}"
            assert secrets.jwt_secret.reveal() == values(1)["JWT_SECRET"]
            assert boot.status().degraded
        source.answer = values(2, "JWT_SECRET")
        # It was tried again without another call.
        await until(lambda: secrets.jwt_secret.reveal() == values(2)["JWT_SECRET"])
        await until(lambda: not boot.status().degraded)


async def test_a_file_that_is_removed_in_an_outage_stays_in_use(volume: MountedVolume) -> None:
    """The source would have to provide the secret now, and fails, so the rotation is refused."""
    source = Fake()
    boot = a_file_and_a_source(volume, source)
    heard = Heard(boot)
    async with boot.running() as secrets:
        source.answer = TimeoutError()
        volume.publish({"unrelated": "fake"})
        await until(lambda: boot.status().degraded)
        assert secrets.api_key.reveal() == "fake-api-key-000001"
        assert boot.status().rejected
        source.answer = values(2)
        await until(lambda: not boot.status().degraded)
        assert secrets.api_key.reveal() == values(2)["API_KEY"]
    assert heard.names == [("api_key", "jwt_secret")]
    assert source.asked[0] == ("JWT_SECRET", "SENTRY_DSN")
    assert source.asked[-1] == ("API_KEY", "JWT_SECRET", "SENTRY_DSN")


async def test_a_name_that_a_file_provides_is_not_asked_for_any_more(
    volume: MountedVolume,
) -> None:
    """If files provide every secret, the source is asked again only when one is missing."""
    source = Fake(interval=0.03)
    boot = a_file_and_a_source(volume, source)
    everything = {"api_key": "fake-api-key-000002", "jwt_secret": VALUE, "sentry_dsn": VALUE}
    async with boot.running() as secrets:
        volume.publish(everything)
        await until(lambda: secrets.jwt_secret.reveal() == VALUE)
        number = len(source.asked)
        await anyio.sleep(0.1)
        assert await boot.reload() is None
        assert len(source.asked) == number
        source.answer = values(2, "JWT_SECRET")
        del everything["jwt_secret"]
        volume.publish(everything)
        await until(lambda: secrets.jwt_secret.reveal() == values(2)["JWT_SECRET"])
        assert source.asked[-1] == ("JWT_SECRET",)


async def test_one_secret_can_be_removed_and_all_at_once_cannot() -> None:
    """A source that suddenly provides nothing has failed, like a directory that becomes empty."""

    class Relaxed(SecretSet):
        """Nothing is required."""

        api_key: Secret | None
        jwt_secret: Secret | None

    source = Fake(answer=values(1))
    boot = Bootstrap(Relaxed, mode="environment", sources=[source])
    async with boot.running() as secrets:
        source.answer = values(1, "API_KEY")
        change = await boot.reload()
        assert change is not None
        assert change.names == ("jwt_secret",)
        assert secrets.jwt_secret is None
        source.answer = {}
        with pytest.raises(InvalidSecretsError):
            await boot.reload()
        assert secrets.api_key is not None
        assert boot.status().degraded


async def test_an_invalid_value_of_a_source_refuses_the_rotation() -> None:
    """It is not a failure of the source."""
    source = Fake(answer=values(1))
    boot = declared(source)
    async with boot.running() as secrets:
        for value, kind in ((None, "source"), ("fake", "length"), ("", "empty")):
            source.answer = {**values(2), "API_KEY": value}
            with pytest.raises(InvalidSecretsError) as caught:
                await boot.reload()
            assert [(each.name, each.kind) for each in caught.value.problems] == [("API_KEY", kind)]
            assert boot.status().rejected_names == ("API_KEY",)
            assert secrets.jwt_secret.reveal() == values(1)["JWT_SECRET"]


async def test_a_source_that_hangs_is_given_up_and_files_still_rotate(
    volume: MountedVolume,
) -> None:
    """A source has 10 s in a reload, and at most `startup_timeout`; then the files are in use."""
    for seconds, more in (({"source_timeout": 0.2}, {}), ({}, {"startup_timeout": 0.2})):
        source = Fake(interval=0.03)
        boot = a_file_and_a_source(volume, source, **more)
        set_timings(boot, **seconds)
        async with boot.running() as secrets:
            source.answer = anyio.sleep_forever
            await until(lambda b=boot: b.status().degraded)  # type: ignore[misc]
            assert "0.2 s" in boot.status().reasons[0]
            volume.publish({"api_key": "fake-api-key-000002"})
            await until(lambda s=secrets: s.api_key.reveal() == "fake-api-key-000002")  # type: ignore[misc]


async def test_a_stop_cancels_a_source() -> None:
    """While it is asked by a start or by a reload: its `finally` runs, and nothing is reported."""
    cleaned: list[str] = []
    source = Fake(interval=0.01)

    async def hang() -> object:
        try:
            await anyio.sleep_forever()
            return None
        finally:
            cleaned.append("done")

    source.answer = hang
    boot = declared(source)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def stop() -> None:
                await until(lambda: source.asked)
                scope.cancel()

            group.start_soon(stop)
            async with boot.running():
                pytest.fail("it has not answered")
    assert (cleaned, boot.status().state) == (["done"], "armed")

    source.answer = values(1)
    async with boot.running():
        source.answer = hang
        number = len(source.asked)
        await until(lambda: len(source.asked) > number)
    assert cleaned == ["done", "done"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_source_that_cancels_its_own_task_has_failed() -> None:
    """A library may do so by mistake; the application does not end."""

    async def cancel_itself() -> object:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await checkpoint()
        return values(2)

    source = Fake(answer=values(1))
    boot = declared(source)
    async with boot.running() as secrets:
        source.answer = cancel_itself
        with pytest.raises(InvalidSecretsError) as caught:
            await boot.reload()
        assert "cancelled" in caught.value.problems[0].message
        assert boot.status().ready
        assert secrets.api_key.reveal() == values(1)["API_KEY"]
    error = await failed_start(declared(Fake(answer=cancel_itself), startup_timeout=0.2))
    assert [(each.name, each.kind) for each in error.problems] == [("vault", "source")]


async def test_a_thousand_secrets_are_asked_for_at_once() -> None:
    """One call at a start, one for each reload; a failure shows a few of the names."""
    names = [f"key_{number:04}" for number in range(1000)]
    many: Any = type("Many", (SecretSet,), {"__annotations__": dict.fromkeys(names, Secret)})
    table = {name.upper(): f"fake-{name}-000001" for name in names}
    source = Fake(answer=table)
    boot: Bootstrap[Any, None] = Bootstrap(many, mode="environment", sources=[source])
    async with boot.running() as secrets:
        assert [len(asked) for asked in source.asked] == [1000]
        assert secrets.key_0999.reveal() == "fake-key_0999-000001"
        source.answer = {name: f"{value}-new" for name, value in table.items()}
        change = await boot.reload()
        assert change is not None
        assert len(change.names) == 1000
        source.answer = RuntimeError()
        with pytest.raises(InvalidSecretsError) as caught:
            await boot.reload()
    assert [len(asked) for asked in source.asked[:3]] == [1000] * 3
    assert "KEY_0002 and 997 more" in caught.value.problems[0].message


async def test_the_values_of_a_source_are_hidden(caplog: pytest.LogCaptureFixture) -> None:
    """This holds for values in use, refused values and old values."""
    source = Fake(answer=values(1))
    boot = declared(source)
    log = Log(caplog)
    logger = logging.getLogger("hive_boot.test")
    async with boot.running():
        source.answer = values(2)
        await boot.reload()
        source.answer = {**values(3), "SENTRY_DSN": None}
        with pytest.raises(InvalidSecretsError):
            await boot.reload()
        for number in (1, 2, 3):
            logger.warning("it is %s", values(number)["JWT_SECRET"])
    assert "fake-JWT_SECRET" not in log.text
    assert log.text.count("it is ***") == 3


async def test_a_reload_that_breaks_does_not_ask_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an unexpected failure the sources that are due wait with the retry."""
    source = Fake(answer=values(1), interval=0.01)
    boot = declared(source)
    set_timings(boot, reload_retry_delay=100.0)
    calls: list[int] = []

    def fail(*_: object) -> None:
        calls.append(1)
        raise ZeroDivisionError

    async with boot.running():
        with monkeypatch.context() as patch:
            patch.setattr("hive_boot.secrets.loader._Loader.run", fail)
            await until(lambda: calls)
            await until(lambda: boot.status().degraded)
            await anyio.sleep(0.1)
    assert len(calls) == 1


async def test_a_source_does_not_replace_a_removed_volume(volume: MountedVolume) -> None:
    """An empty volume is a failure of the mount, so the rotation is refused."""
    source = Fake()
    boot = a_file_and_a_source(volume, source)
    async with boot.running() as secrets:
        source.answer = values(2)
        volume.publish({})
        await until(lambda: boot.status().degraded)
        assert boot.status().rejected_names == (str(volume.path),)
        assert secrets.api_key.reveal() == "fake-api-key-000001"


async def test_a_source_does_not_replace_an_invalid_file(volume: MountedVolume) -> None:
    """The problem is that of the file, and the source is not asked."""
    source = Fake(answer=values(1))
    for content in (b"fake-\xff", b"fake-\0-nul", b"x" * (1 << 21)):
        volume.publish({"api_key": content})
        error = await failed_start(mounted(volume.path, Service, watch=False, sources=[source]))
        assert [each.name for each in error.problems] == ["API_KEY"]
        assert str(volume.path) in error.problems[0].places[0]
    volume.publish({"api_key": ""})
    async with mounted(volume.path, Service, watch=False, sources=[source]).running() as secrets:
        assert secrets.api_key.reveal() == values(1)["API_KEY"]
    assert {"API_KEY" in names for names in source.asked[:-1]} == {False}
    assert "API_KEY" in source.asked[-1]


async def test_a_source_cannot_reload() -> None:
    """The reload waits for the source, so it is refused at once, and the source has failed."""
    source = Fake(answer=values(1))
    boot = declared(source)
    async with boot.running():

        async def reload() -> object:
            await boot.reload()
            return values(2)

        source.answer = reload
        with pytest.raises(InvalidSecretsError) as caught:
            await boot.reload()
        assert ": LifecycleError (" in caught.value.problems[0].message
