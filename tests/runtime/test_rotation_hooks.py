"""Rotation hooks: their arguments, their order, and the consequences of a failure."""

import logging
import threading
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import Bootstrap, Change, DeclarationError, Secret, SecretSet, get_secret, secret
from hive_boot.testing import MountedVolume
from tests.fixtures.timings import NEVER, set_timings
from tests.runtime.rotations import Heard, Log, Service, mounted, number_of, numbered
from tests.support import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def boot(volume: MountedVolume) -> Bootstrap[Service, None]:
    """Return an application whose first generation is published."""
    volume.publish(numbered(1))
    return mounted(volume.path, Service)


class Settings:
    """The settings of an application."""


class Broken(Exception):  # noqa: N818  (what the author calls it)
    """An error of a hook."""


# Calls of hooks


@pytest.mark.both_backends
async def test_hooks_are_called_in_the_order_of_their_declaration(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A hook is called when the previous one has ended."""
    told: list[str] = []

    @boot.on_rotate()
    async def first(change: Change) -> None:
        await anyio.sleep(0.01)
        told.append(f"first of {change.generation}")

    @boot.on_rotate("api_key")
    async def second(change: Change) -> None:
        await checkpoint()
        told.append(f"second of {change.generation}")

    @boot.on_rotate()
    async def third(change: Change) -> None:
        told.append(f"third of {change.generation}")

    async with boot.running():
        volume.publish(numbered(2))
        await until(lambda: len(told) == 3)
    assert told == ["first of 2", "second of 2", "third of 2"]


async def test_a_hook_with_names_gets_only_these(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A hook with names gets only these, and is not called if none of them has changed."""
    every = Heard(boot)
    api_key = Heard(boot, "api_key")
    both = Heard(boot, "api_key", "sentry_dsn")
    async with boot.running():
        volume.publish({**numbered(1), "jwt_secret": "fake-jwt-secret-000002"})
        await until(lambda: len(every.changes) == 1)
        volume.publish(numbered(3, sentry_dsn="fake-dsn-000003"))
        await until(lambda: len(every.changes) == 2)
        await until(lambda: both.changes)
    assert every.names == [("jwt_secret",), ("api_key", "jwt_secret", "sentry_dsn")]
    assert api_key.names == [("api_key",)]
    assert both.names == [("api_key", "sentry_dsn")]
    (change,) = both.changes
    assert change.old.keys() == change.new.keys() == {"api_key", "sentry_dsn"}
    assert [number_of(change.old[name]) for name in change.names] == [1, 0]
    assert [number_of(change.new[name]) for name in change.names] == [3, 3]
    assert change.generation == 3


async def test_the_parameters_of_a_hook_are_filled_by_type(volume: MountedVolume) -> None:
    """Besides the change a hook gets what main gets: secrets, settings, the application."""
    volume.publish(numbered(1))
    boot: Bootstrap[Service, Settings] = Bootstrap(
        Service, config=Settings, mode="kubernetes", secrets_dirs=volume.path, watch=True
    )
    got: list[object] = []

    @boot.on_rotate()
    async def hook(
        change: Change,
        secrets: Service,
        settings: Settings,
        *,
        application: Bootstrap[Service, Settings],
        tries: int = 3,
    ) -> None:
        got.extend([change.generation, secrets, settings, application, tries])

    async with boot.running() as live:
        volume.publish(numbered(2))
        await until(lambda: got)
        assert got == [2, live, boot.config, boot, 3]
        assert got[1] is live


async def test_a_hook_reads_the_new_values(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A hook is called after the swap, so it reads the new values everywhere."""
    seen: list[object] = []

    @boot.on_rotate("api_key")
    async def hook(change: Change, secrets: Service) -> None:
        new = change.new["api_key"]
        seen.extend([secrets.api_key is new, secrets.current.api_key is new])
        seen.extend([boot.secrets.api_key is new, boot.accepted("api_key")[0] is new])
        seen.append(get_secret("API_KEY") == "fake-api-key-000002")

    async with boot.running():
        volume.publish(numbered(2))
        await until(lambda: seen)
    assert seen == [True] * 5


# Wrong declarations


def test_a_hook_for_an_undeclared_field_is_a_declaration_error(
    boot: Bootstrap[Service, None],
) -> None:
    """An error at the declaration lists every name that is not a field."""
    with pytest.raises(DeclarationError) as caught:
        boot.on_rotate("api_key", "api_keys", "JWT_SECRT")
    assert "api_keys, JWT_SECRT" in str(caught.value)


def test_the_timeout_of_a_hook_is_a_number_of_seconds(boot: Bootstrap[Service, None]) -> None:
    """Any other timeout is rejected when the hook is declared."""
    for seconds in (0, -1, float("nan"), float("inf"), "5", True, None):
        with pytest.raises(DeclarationError) as caught:
            boot.on_rotate(timeout=cast("float", seconds))
        assert "timeout=" in str(caught.value), seconds


def test_a_hook_is_an_async_def(boot: Bootstrap[Service, None]) -> None:
    """A plain function, which could block the event loop, is rejected when it is declared."""

    def plain(change: Change) -> None:
        """A function that is not async."""

    with pytest.raises(DeclarationError) as caught:
        boot.on_rotate()(cast("Any", plain))
    assert "on_rotate" in str(caught.value)


async def takes_nothing() -> None:
    """A hook without a parameter."""


async def takes_the_unknown(change: Change, pool: dict[str, str]) -> None:
    """A hook with a parameter that cannot be resolved."""


async def takes_only_names(*, change: Change) -> None:
    """A hook that takes the change only by keyword."""


async def test_a_hook_with_a_parameter_that_cannot_be_filled_fails_the_start(
    volume: MountedVolume,
) -> None:
    """A hook that cannot be called is rejected at startup, before anything is read."""
    cases = [
        (takes_nothing, "takes_nothing()"),
        (takes_only_names, "takes_only_names()"),
        (takes_the_unknown, "takes_the_unknown() has a parameter 'pool'"),
    ]
    for hook, named in cases:
        boot = mounted(volume.path, Service)
        boot.on_rotate()(cast("Any", hook))
        with pytest.raises(DeclarationError) as caught:
            async with boot.running():
                pass
        assert named in str(caught.value)
        assert boot.status().state == "armed"


async def test_a_decorated_hook_is_still_the_function(boot: Bootstrap[Service, None]) -> None:
    """A test can call a decorated hook as a plain function."""

    @boot.on_rotate()
    async def hook(change: Change) -> int:
        return change.generation

    assert await hook(Change((), {}, {}, 7)) == 7


# Failures


async def broken() -> BaseException:
    """Return an ordinary error."""
    return Broken("fake-reason")


async def speechless() -> BaseException:
    """Return an error whose text cannot be read."""
    return Speechless()


async def cancelled() -> BaseException:
    """Return a cancellation from another scope, which looks like a cancellation of the hook."""
    if anyio.get_cancelled_exc_class() is CancelledError:
        return CancelledError()
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await checkpoint()
        except anyio.get_cancelled_exc_class() as exc:
            kept = exc
    return kept


class Speechless(Exception):  # noqa: N818  (what the author calls it)
    """An error whose text cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError


FAILURES: dict[str, Callable[[], Awaitable[BaseException]]] = {
    "broken": broken,
    "speechless": speechless,
    "cancelled": cancelled,
}


@pytest.mark.both_backends
async def test_a_hook_that_fails_is_called_again_until_it_succeeds(
    boot: Bootstrap[Service, None], volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """Each hook fails twice and then succeeds, without a new event; the others do not wait."""
    tries: dict[str, list[int]] = {name: [] for name in FAILURES}

    def register(name: str, fail: Callable[[], Awaitable[BaseException]]) -> None:
        async def hook(change: Change) -> None:
            await checkpoint()
            tries[name].append(change.generation)
            if len(tries[name]) < 3:
                raise await fail()

        hook.__qualname__ = name
        boot.on_rotate()(hook)

    for name, fail in FAILURES.items():
        register(name, fail)
    others = Heard(boot)
    log = Log(caplog)
    async with boot.running():
        volume.publish(numbered(2))
        await until(lambda: others.changes)
        await until(lambda: all(len(each) == 3 for each in tries.values()))
        await until(lambda: not boot.status().degraded)
        assert len(others.changes) == 1
        volume.publish(numbered(3))
        await until(lambda: all(len(each) == 4 for each in tries.values()))
        await until(lambda: len(others.changes) == 2)
    for name in FAILURES:
        assert tries[name] == [2, 2, 2, 3], name
        assert log.about(f" {name!r} ") == ["ERROR", "ERROR", "INFO"], name


async def test_a_failing_hook_is_logged_with_one_traceback(
    boot: Bootstrap[Service, None], volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """The first record of a failure has a traceback, those of the retries do not."""
    tries: list[int] = []

    @boot.on_rotate()
    async def hook(change: Change, secrets: Service) -> None:
        tries.append(change.generation)
        message = f"{secrets.api_key.reveal()} is refused"
        raise Broken(message)

    log = Log(caplog)
    async with boot.running():
        volume.publish(numbered(2))
        await until(lambda: len(tries) > 3)
    failed = [each for each in log.rotations if each.levelno == logging.ERROR]
    shown = [bool(record.exc_info or record.exc_text) for record in failed[:3]]
    assert shown == [True, False, False]
    for datum in ("hook", "generation 2", "Broken", "0.05 s"):
        assert datum in failed[0].getMessage()
    assert "fake-api-key-000002" not in log.text


async def test_a_failing_hook_is_named_in_the_status(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """The application uses the new values, and is degraded until the hook has succeeded."""
    may_pass = threading.Event()

    @boot.on_rotate()
    async def reconnect(change: Change) -> None:
        if not may_pass.is_set():
            raise Broken(str(change.generation))

    async with boot.running() as secrets:
        volume.publish(numbered(2))
        await until(lambda: boot.status().degraded)
        status = boot.status()
        assert status.failing_hooks == ("reconnect",)
        assert ["reconnect" in reason for reason in status.reasons] == [True]
        assert (status.ready, status.generation, status.rejected) == (True, 2, False)
        assert number_of(secrets.api_key) == 2
        may_pass.set()
        await until(lambda: not boot.status().degraded)
        assert boot.status().failing_hooks == ()


async def test_a_retry_gets_the_missed_and_the_new_change_as_one(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A retry gets both changes as one, from the oldest to the newest values, without a delay."""
    set_timings(boot, hook_retry_delay=NEVER, max_hook_retry_delay=NEVER)
    told: list[Change] = []

    @boot.on_rotate()
    async def hook(change: Change) -> None:
        told.append(change)
        if len(told) < 3:
            raise Broken

    async with boot.running():
        volume.publish({**numbered(1), "api_key": "fake-api-key-000002"})
        await until(lambda: len(told) == 1)
        volume.publish({**numbered(3), "api_key": "fake-api-key-000002"})
        await until(lambda: len(told) == 2)
        volume.publish(numbered(4))
        await until(lambda: len(told) == 3)
        await until(lambda: not boot.status().degraded)
        volume.publish(numbered(5))
        await until(lambda: len(told) == 4)
    first, second, third, fourth = told
    assert first.names == ("api_key",)
    assert set(second.names) == set(third.names) == set(fourth.names) == {"api_key", "jwt_secret"}
    assert [number_of(third.old[name]) for name in ("api_key", "jwt_secret")] == [1, 1]
    assert [number_of(third.new[name]) for name in ("api_key", "jwt_secret")] == [4, 4]
    assert [change.generation for change in told] == [2, 3, 4, 5]
    # A change that the hook has accepted is not delivered again.
    assert {number_of(value) for value in fourth.old.values()} == {4}


async def test_joined_changes_begin_with_the_names_that_changed_first(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """In a joined change the names that changed first come first."""
    told: list[Change] = []

    @boot.on_rotate()
    async def hook(change: Change) -> None:
        told.append(change)
        if change.generation < 3:
            raise Broken

    async with boot.running():
        volume.publish({**numbered(1), "jwt_secret": "fake-jwt-secret-000002"})
        await until(lambda: boot.status().degraded)
        volume.publish(numbered(3))
        await until(lambda: told[-1].generation == 3)
        await until(lambda: not boot.status().degraded)
    assert told[0].names == ("jwt_secret",)
    assert told[-1].names == ("jwt_secret", "api_key")


@pytest.mark.both_backends
async def test_a_new_change_is_delivered_to_a_failing_hook_at_once(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A new change is delivered at once, without the delay of the retry: the hook may need it."""
    set_timings(boot, hook_retry_delay=NEVER, max_hook_retry_delay=NEVER)
    told: list[Change] = []
    go_on = anyio.Event()

    @boot.on_rotate()
    async def hook(change: Change) -> None:
        told.append(change)
        if len(told) == 1:
            await go_on.wait()
            raise Broken

    async with boot.running():
        volume.publish(numbered(2))
        await until(lambda: told)
        volume.publish(numbered(3))
        await until(lambda: boot.status().generation == 3)
        go_on.set()
        await until(lambda: len(told) == 2)
        await until(lambda: not boot.status().degraded)
    assert number_of(told[1].old["api_key"]) == 1
    assert number_of(told[1].new["api_key"]) == 3


@pytest.mark.both_backends
async def test_a_hook_that_hangs_is_cancelled_and_retried(
    boot: Bootstrap[Service, None], volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """After its ``timeout=`` a hook is cancelled, the others are called, and it is retried."""
    told: list[str] = []

    @boot.on_rotate(timeout=0.05)
    async def hangs(change: Change) -> None:
        told.append(f"hangs at {change.generation}")
        if len(told) == 1:
            try:
                await anyio.sleep_forever()
            finally:
                told.append("cancelled")

    @boot.on_rotate()
    async def other(_: Change) -> None:
        told.append("other")

    log = Log(caplog)
    async with boot.running():
        volume.publish(numbered(2))
        await until(lambda: len(told) == 4)
        await until(lambda: not boot.status().degraded)
    assert told == ["hangs at 2", "cancelled", "other", "hangs at 2"]
    assert log.about(" 'hangs' ") == ["ERROR", "INFO"]


@pytest.mark.both_backends
async def test_a_hook_that_ignores_its_cancellation_does_not_block_other_hooks(
    boot: Bootstrap[Service, None],
    volume: MountedVolume,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hook that ignores its cancellation is logged; the others are called; it runs only once."""
    set_timings(boot, hook_cancel_timeout=0.02)
    release = anyio.Event()
    calls: list[int] = []

    @boot.on_rotate(timeout=0.02)
    async def stubborn(change: Change) -> None:
        calls.append(change.generation)
        with anyio.CancelScope(shield=True):
            await release.wait()

    others = Heard(boot)
    log = Log(caplog)
    async with boot.running():
        volume.publish(numbered(2))
        await until(lambda: others.changes)
        assert boot.status().failing_hooks == ("stubborn",)
        assert log.about("stubborn") == ["INFO", "ERROR"]  # the rotation names it
        volume.publish(numbered(3))
        await until(lambda: len(others.changes) == 2)
        assert calls == [2]
        release.set()
        await until(lambda: not boot.status().degraded)
        assert calls == [2, 3]


# The end


@pytest.mark.both_backends
async def test_a_stop_cancels_a_running_hook(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A stop cancels a running hook, whatever its timeout, and calls no other one."""
    told: list[str] = []

    @boot.on_rotate(timeout=600)
    async def hangs(_: Change) -> None:
        told.append("called")
        try:
            await anyio.sleep_forever()
        finally:
            # The clean-up of the hook completes.
            with anyio.CancelScope(shield=True):
                await checkpoint()
                told.append("cancelled")

    others = Heard(boot)
    async with boot.running():
        volume.publish(numbered(2))
        await until(lambda: told)
    assert told == ["called", "cancelled"]
    assert others.changes == []


@pytest.mark.both_backends
async def test_a_hook_that_ignores_its_cancellation_does_not_delay_the_stop(
    boot: Bootstrap[Service, None],
    volume: MountedVolume,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The hook is named in the log."""
    set_timings(boot, task_cancel_timeout=0.05)
    release, ended = anyio.Event(), anyio.Event()
    called: list[int] = []

    @boot.on_rotate()
    async def stubborn(change: Change) -> None:
        called.append(change.generation)
        with anyio.CancelScope(shield=True):
            await release.wait()
        ended.set()

    log = Log(caplog)
    async with boot.running():
        volume.publish(numbered(2))
        await until(lambda: called)
    assert boot.status().state == "armed"
    assert log.about("hive_boot rotation") == ["ERROR"]
    release.set()
    await until(ended.is_set)
    assert called == [2]


async def test_a_hook_is_called_at_the_activation_of_its_value(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """The hook is called when its value comes into use, not when it is accepted."""

    class Delayed(SecretSet):
        """A set with a key that is accepted at once and used later."""

        api_key: Secret
        jwt_secret: Secret = secret(activate_after=0.2, accept_old_for=600)

    volume.publish(numbered(1))
    boot = mounted(volume.path, Delayed)
    heard = Heard(boot)
    log = Log(caplog)
    async with boot.running() as secrets:
        volume.publish(numbered(2))
        await until(lambda: len(heard.changes) == 2)
        assert number_of(secrets.jwt_secret) == 2
        assert [number_of(value) for value in boot.accepted("jwt_secret")] == [2, 1]
    assert heard.names == [("api_key",), ("jwt_secret",)]
    assert [change.generation for change in heard.changes] == [2, 2]
    assert log.verdicts == [
        ("accepted", 2, ["API_KEY", "JWT_SECRET"]),
        ("in-use", 2, ["JWT_SECRET"]),
    ]
    assert log.about("JWT_SECRET takes effect in 0 s") == ["INFO"]
