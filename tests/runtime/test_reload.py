"""``boot.reload()``: reads all sources, and returns the change."""

import asyncio
import os
from contextvars import ContextVar
from functools import partial
from itertools import product
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
from hive_boot.testing import MountedVolume
from tests.runtime.rotations import Heard, Log, Service, mounted, number_of, numbered
from tests.support import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def boot(volume: MountedVolume) -> Bootstrap[Service, None]:
    """Return an application without a watcher, and publish its first set."""
    volume.publish(numbered(1))
    return mounted(volume.path, Service, watch=False)


async def test_a_reload_returns_the_change(
    boot: Bootstrap[Service, None], volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a watcher too, the new values are in use when the reload returns."""
    heard = Heard(boot)
    log = Log(caplog)
    async with boot.running() as secrets:
        volume.publish(numbered(2))
        change = await boot.reload()
        assert change is not None
        assert change.names == ("api_key", "jwt_secret")
        assert (number_of(change.old["api_key"]), number_of(change.new["api_key"])) == (1, 2)
        assert number_of(secrets.api_key) == 2
        assert (boot.status().generation, boot.status().watcher) == (2, "off")
        await until(lambda: heard.changes)
    assert heard.changes == [change]
    assert log.verdicts == [("accepted", 2, ["API_KEY", "JWT_SECRET"])]


async def test_a_reload_without_a_change_returns_none(
    boot: Bootstrap[Service, None], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is logged or counted, and no hook is called."""
    heard = Heard(boot)
    log = Log(caplog)
    async with boot.running():
        before = boot.status()
        log.clear()
        assert await boot.reload() is None
        assert log.text == ""
        assert boot.status().generation == 1
        assert boot.status().last_read > before.last_read
    assert heard.changes == []


async def test_a_refused_reload_raises_and_keeps_the_set_in_use(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """The report states that the last good set stays in use."""
    async with boot.running() as secrets:
        volume.publish({"api_key": "fake"})
        with pytest.raises(InvalidSecretsError) as caught:
            await boot.reload()
        assert caught.value.kept
        assert [problem.name for problem in caught.value.problems] == ["API_KEY", "JWT_SECRET"]
        assert number_of(secrets.api_key) == 1
        assert boot.status().rejected_names == ("API_KEY", "JWT_SECRET")
        volume.publish(numbered(3))
        assert await boot.reload() is not None
        assert not boot.status().degraded


async def test_a_reload_refused_by_a_check_is_retried(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A check that passes later needs no second call of `boot.reload()`."""
    checked: list[int] = []

    @boot.check
    async def check(secrets: Service) -> bool:
        checked.append(number_of(secrets.api_key))
        return checked.count(2) != 1

    async with boot.running() as secrets:
        volume.publish(numbered(2))
        with pytest.raises(InvalidSecretsError):
            await boot.reload()
        await until(lambda: number_of(secrets.api_key) == 2)
    assert checked == [1, 2, 2]


async def test_concurrent_reloads_share_one_rotation(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """Each reload returns the same change, and hooks are called once."""
    heard = Heard(boot)
    got: list[Change | None] = []

    async def ask() -> None:
        got.append(await boot.reload())

    async with boot.running():
        volume.publish(numbered(2))
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
        assert boot.status().generation == 2
        await until(lambda: heard.changes)
    assert got == [heard.changes[0]] * 5
    assert len(heard.changes) == 1


async def test_concurrent_refused_reloads_raise_separate_exceptions(
    boot: Bootstrap[Service, None], volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """Each exception has its own traceback, and the log has one line."""
    log = Log(caplog)
    refusals: list[InvalidSecretsError] = []

    async def ask() -> None:
        try:
            await boot.reload()
        except InvalidSecretsError as exc:
            refusals.append(exc)

    async with boot.running():
        volume.publish(numbered(2, api_key="fake"))
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask)
    assert [refusal.kept for refusal in refusals] == [True] * 3
    assert len(set(map(id, refusals))) == 3
    assert [verdict for verdict, *_ in log.verdicts] == ["refused"]


async def test_a_reload_during_a_rotation_reads_again(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """The result of a reload never comes from a read that began before the call."""
    judging, go_on = anyio.Event(), anyio.Event()

    @boot.check
    async def slow(secrets: Service) -> None:
        if number_of(secrets.api_key) == 2:
            judging.set()
            await go_on.wait()

    got: dict[str, Change | None] = {}

    async def ask(name: str) -> None:
        got[name] = await boot.reload()

    async with boot.running(), anyio.create_task_group() as group:
        volume.publish(numbered(2))
        group.start_soon(ask, "early")
        await judging.wait()
        volume.publish(numbered(3))
        group.start_soon(ask, "late")
        await checkpoint()
        assert got == {}
        go_on.set()
        await until(lambda: len(got) == 2)
    early, late = got["early"], got["late"]
    assert early is not None
    assert late is not None
    assert (number_of(early.new["api_key"]), number_of(late.new["api_key"])) == (2, 3)


@pytest.mark.both_backends
async def test_a_cancelled_reload_does_not_cancel_the_rotation(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A caller that runs into a timeout only stops waiting."""
    judging, go_on = anyio.Event(), anyio.Event()

    @boot.check
    async def slow(secrets: Service) -> None:
        if number_of(secrets.api_key) == 2:
            judging.set()
            await go_on.wait()

    async with boot.running() as secrets, anyio.create_task_group() as group:
        volume.publish(numbered(2))
        scope = anyio.CancelScope()

        async def ask() -> None:
            with scope:
                await boot.reload()

        group.start_soon(ask)
        await judging.wait()
        scope.cancel()
        go_on.set()
        await until(lambda: number_of(secrets.api_key) == 2)
        assert await boot.reload() is None
    assert scope.cancelled_caught


class Delayed(SecretSet):
    """A secret without options, and one with `activate_after` and `accept_old_for`."""

    api_key: Secret
    jwt_secret: Secret = secret(activate_after=3600, accept_old_for=3600)


async def test_a_reload_respects_activate_after(volume: MountedVolume) -> None:
    """A pending value is accepted, and the values in use do not change."""
    volume.publish(numbered(1))
    boot = mounted(volume.path, Delayed, watch=False)
    async with boot.running() as secrets:
        volume.publish({**numbered(1), "jwt_secret": "fake-jwt-secret-000002"})
        assert await boot.reload() is None
        assert number_of(secrets.jwt_secret) == 1
        assert [number_of(value) for value in boot.accepted("jwt_secret")] == [1, 2]
        assert boot.status().generation == 2
        # A second reload does not activate it either.
        assert await boot.reload() is None
        assert number_of(secrets.jwt_secret) == 1


async def test_a_reload_with_now_activates_pending_values(volume: MountedVolume) -> None:
    """`now=True` skips `activate_after`, also of values that were accepted before."""
    for known in (False, True):
        volume.publish(numbered(1))
        boot = mounted(volume.path, Delayed, watch=False)
        heard = Heard(boot, "jwt_secret")
        async with boot.running() as secrets:
            volume.publish({**numbered(1), "jwt_secret": "fake-jwt-secret-000002"})
            if known:
                assert await boot.reload() is None
            change = await boot.reload(now=True)
            assert change is not None
            assert change.names == ("jwt_secret",)
            assert number_of(secrets.jwt_secret) == 2
            await until(lambda heard=heard: heard.changes)  # type: ignore[misc]
            assert await boot.reload(now=True) is None
        assert heard.changes == [change]


async def test_a_stopped_application_cannot_be_reloaded(boot: Bootstrap[Service, None]) -> None:
    """Before and after a run `boot.reload()` raises LifecycleError."""
    for _ in range(2):
        with pytest.raises(LifecycleError) as caught:
            await boot.reload()
        assert "Bootstrap(Service)" in str(caught.value)
        async with boot.running():
            pass


@pytest.mark.both_backends
async def test_a_reload_raises_when_the_application_stops(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A caller does not wait forever for a reload that cannot end."""
    judging = anyio.Event()

    @boot.check
    async def slow(secrets: Service) -> None:
        if number_of(secrets.api_key) == 2:
            judging.set()
            await anyio.sleep_forever()

    raised: list[LifecycleError] = []

    async def ask() -> None:
        try:
            await boot.reload()
        except LifecycleError as exc:
            raised.append(exc)

    async with anyio.create_task_group() as group, boot.running():
        volume.publish(numbered(2))
        group.start_soon(ask)
        await judging.wait()
    assert len(raised) == 1


@pytest.mark.both_backends
async def test_a_hook_may_reload(boot: Bootstrap[Service, None], volume: MountedVolume) -> None:
    """A reload in a hook does not wait for the hook."""
    got: list[Change | None] = []

    @boot.on_rotate()
    async def hook(_: Change, application: Bootstrap[Service, None]) -> None:
        got.append(await application.reload())

    async with boot.running():
        volume.publish(numbered(2))
        await boot.reload()
        await until(lambda: got)
    assert got == [None]


async def test_a_reload_in_a_forked_child_raises(
    boot: Bootstrap[Service, None], volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child keeps the values from before the fork, and its status shows the fork."""
    async with boot.running() as secrets:
        volume.publish(numbered(2))
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)  # as in a child process
            with pytest.raises(LifecycleError):
                await boot.reload()
            assert boot.status().forked
        assert number_of(secrets.api_key) == 1


@pytest.mark.both_backends
async def test_a_reload_in_another_loop_raises(volume: MountedVolume, anyio_backend: str) -> None:
    """The application itself still rotates after that."""
    for watch, known in product((False, True), repeat=2):
        volume.publish(numbered(1))
        boot = mounted(volume.path, Service, watch=watch)

        async def ask(boot: Bootstrap[Service, None] = boot) -> None:
            with anyio.fail_after(20), pytest.raises(LifecycleError):
                await boot.reload()

        async with boot.running() as secrets:
            if known:
                assert await boot.reload() is None
            await anyio.to_thread.run_sync(partial(anyio.run, ask, backend=anyio_backend))
            for number in (2, 3):
                volume.publish(numbered(number))
                await boot.reload()
                assert number_of(secrets.api_key) == number
            assert not boot.status().degraded


class Asker:
    """Checks of every kind, one of which reloads while the application runs."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.boot: Bootstrap[Any, None]

    async def ask(self, kind: str) -> None:
        """Reload, if this is the check of the given kind."""
        if kind == self.kind and self.boot.status().ready:
            await self.boot.reload()

    def declare(self, volume: MountedVolume, *, watch: bool) -> Bootstrap[Any, None]:
        """Declare an application with a check of each kind."""
        asker = self

        class Asking(SecretSet):
            """A key with checks that call ``ask``."""

            api_key: Secret = secret(check=lambda _: asker.ask("field"))

            async def check(self) -> None:
                await asker.ask("set")

        boot = self.boot = mounted(volume.path, Asking, watch=watch)

        @boot.check
        async def judge(_: Asking) -> None:
            await asker.ask("application")

        return boot


@pytest.mark.both_backends
async def test_a_reload_in_a_check_raises(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """The check would wait for itself, so it fails with a LifecycleError in the report."""
    log = Log(caplog)
    for kind, watch in product(("field", "set", "application"), (False, True)):
        volume.publish({"api_key": "fake-api-key-000001"})
        boot = Asker(kind).declare(volume, watch=watch)
        async with boot.running() as secrets:
            log.clear()
            volume.publish({"api_key": "fake-api-key-000002"})
            with pytest.raises(InvalidSecretsError) as caught:
                await boot.reload()
            (problem,) = caught.value.problems
            assert (problem.kind, "LifecycleError" in problem.message) == ("check", True)
            assert log.about("LifecycleError") == ["ERROR"], (kind, watch)
            assert number_of(secrets.api_key) == 1
            assert boot.status().degraded


async def test_a_check_may_reload_another_application(volume: MountedVolume, memory: Path) -> None:
    """Only the rotation of its own application waits for the check."""
    other_volume = MountedVolume(memory / "other")
    for each in (volume, other_volume):
        each.publish(numbered(1))
    boot, other = (mounted(each.path, Service, watch=False) for each in (volume, other_volume))

    @boot.check
    async def ask(_: Service) -> None:
        if boot.status().ready:
            await other.reload()

    async with boot.running() as secrets, other.running() as others:
        for each in (volume, other_volume):
            each.publish(numbered(2))
        await boot.reload()
        assert (number_of(secrets.api_key), number_of(others.api_key)) == (2, 2)


async def test_a_task_that_a_check_has_started_may_reload_later(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """The task inherits the context of the check, but the check has ended."""
    tasks: list[asyncio.Task[Change | None]] = []
    refused = anyio.Event()

    async def reload_later() -> Change | None:
        await refused.wait()
        return await boot.reload()

    @boot.check
    async def open_pool(_: Service) -> None:
        if boot.status().ready and not tasks:
            tasks.append(asyncio.create_task(reload_later()))

    async with boot.running() as secrets:
        volume.publish(numbered(2))
        await boot.reload()
        volume.publish(numbered(3))
        refused.set()
        change = await tasks[0]
        assert change is not None
        assert number_of(secrets.api_key) == 3


CALLER: ContextVar[str] = ContextVar("CALLER", default="nobody")


@pytest.mark.both_backends
async def test_checks_and_hooks_see_the_context_of_the_start(volume: MountedVolume) -> None:
    """The context variables of the first caller of a reload are not used for all later ones."""
    for watch in (False, True):
        volume.publish(numbered(1))
        boot = mounted(volume.path, Service, watch=watch)
        await see_context(boot, volume)


async def see_context(boot: Bootstrap[Service, None], volume: MountedVolume) -> None:
    """Reload in tasks with different context variables, and assert which ones are seen."""
    seen: dict[str, list[str]] = {"check": [], "hook": []}

    @boot.check
    async def check(_: Service) -> None:
        seen["check"].append(CALLER.get())

    @boot.on_rotate()
    async def hook(_: Change) -> None:
        seen["hook"].append(CALLER.get())

    async def ask(name: str, number: int) -> None:
        CALLER.set(name)
        volume.publish(numbered(number))
        await boot.reload()

    def heard(count: int) -> bool:
        return len(seen["hook"]) == count

    token = CALLER.set("the application")
    async with boot.running():
        for number, name in enumerate(("alice", "bob"), start=2):
            async with anyio.create_task_group() as group:
                group.start_soon(ask, name, number)
            await until(partial(heard, number - 1))
        assert CALLER.get() == "the application"
    CALLER.reset(token)
    assert seen == {"check": ["the application"] * 3, "hook": ["the application"] * 2}


async def test_a_warning_is_logged_once_for_all_reloads(
    boot: Bootstrap[Service, None], volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """A later rotation with the same warning does not log it again."""
    log = Log(caplog)
    async with boot.running() as secrets:
        log.clear()
        volume.publish(numbered(2, sentry_dsn=""))
        await boot.reload()
        assert log.text.count("SENTRY_DSN") == 1
        volume.publish(numbered(3, sentry_dsn=""))
        await boot.reload()
        assert log.text.count("SENTRY_DSN") == 1
        assert (number_of(secrets.api_key), secrets.sentry_dsn) == (3, None)
