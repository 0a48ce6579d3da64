"""``boot.reload()``: everything is read when somebody says so."""

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
    """Return an application that does not watch; its first generation is published."""
    volume.publish(numbered(1))
    return mounted(volume.path, Service, watch=False)


async def test_a_reload_gives_what_has_changed(
    boot: Bootstrap[Service, None], volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where nothing watches; when it returns, the new values are in use."""
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


async def test_a_reload_of_the_same_gives_none(
    boot: Bootstrap[Service, None], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing has changed: None, and nothing is said, counted, or told to hooks."""
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


async def test_a_reload_that_is_refused_says_what_stays_in_use(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """Who asked gets the report; it does not say that the service does not start."""
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


async def test_a_refused_reload_is_repeated_by_itself_when_it_may_pass(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A check that refuses today and passes in a second needs no second reload."""
    judged: list[int] = []

    @boot.check
    async def check(secrets: Service) -> bool:
        judged.append(number_of(secrets.api_key))
        return judged.count(2) != 1

    async with boot.running() as secrets:
        volume.publish(numbered(2))
        with pytest.raises(InvalidSecretsError):
            await boot.reload()
        await until(lambda: number_of(secrets.api_key) == 2)
    assert judged == [1, 2, 2]


async def test_many_may_ask_at_the_same_time(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """They share one rotation: each is told of the same change, and hooks hear of it once."""
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


async def test_many_may_be_refused_at_the_same_time(
    boot: Bootstrap[Service, None], volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """Each has an error of its own, whose traceback is its own, and the log has one line."""
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


async def test_who_asks_during_a_rotation_is_told_of_what_is_read_after_it(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """An answer is never about what had been read before the question."""
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
async def test_who_gives_up_waiting_costs_nobody_else_anything(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A request that ran out of time does not take the rotation with it."""
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


class Led(SecretSet):
    """A key that verifies at once and signs in an hour."""

    api_key: Secret
    jwt_secret: Secret = secret(activate_after=3600, accept_old_for=3600)


async def test_a_reload_keeps_to_the_lead(volume: MountedVolume) -> None:
    """A key that waits for its turn is accepted, and no change of what is in use."""
    volume.publish(numbered(1))
    boot = mounted(volume.path, Led, watch=False)
    async with boot.running() as secrets:
        volume.publish({**numbered(1), "jwt_secret": "fake-jwt-secret-000002"})
        assert await boot.reload() is None
        assert number_of(secrets.jwt_secret) == 1
        assert [number_of(value) for value in boot.accepted("jwt_secret")] == [1, 2]
        assert boot.status().generation == 2
        # Asked for again it is still not its turn.
        assert await boot.reload() is None
        assert number_of(secrets.jwt_secret) == 1


async def test_a_leak_is_answered_now(volume: MountedVolume) -> None:
    """``now=True`` skips the lead, also of what had been accepted before."""
    for known in (False, True):
        volume.publish(numbered(1))
        boot = mounted(volume.path, Led, watch=False)
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
    """Before and after a run there is nothing to be read again."""
    for _ in range(2):
        with pytest.raises(LifecycleError) as caught:
            await boot.reload()
        assert "Bootstrap(Service)" in str(caught.value)
        async with boot.running():
            pass


@pytest.mark.both_backends
async def test_who_waits_when_the_application_stops_is_told(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A reload that will not come to an end does not wait for ever either."""
    judging = anyio.Event()

    @boot.check
    async def slow(secrets: Service) -> None:
        if number_of(secrets.api_key) == 2:
            judging.set()
            await anyio.sleep_forever()

    told: list[LifecycleError] = []

    async def ask() -> None:
        try:
            await boot.reload()
        except LifecycleError as exc:
            told.append(exc)

    async with anyio.create_task_group() as group, boot.running():
        volume.publish(numbered(2))
        group.start_soon(ask)
        await judging.wait()
    assert len(told) == 1


@pytest.mark.both_backends
async def test_a_hook_may_ask_for_a_reload(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """Who is told of a change may look whether there is another one already."""
    got: list[Change | None] = []

    @boot.on_rotate()
    async def hook(_: Change, application: Bootstrap[Service, None]) -> None:
        got.append(await application.reload())

    async with boot.running():
        volume.publish(numbered(2))
        await boot.reload()
        await until(lambda: got)
    assert got == [None]


async def test_a_reload_in_a_forked_child_is_refused(
    boot: Bootstrap[Service, None], volume: MountedVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child keeps the secrets that it was born with, and says so."""
    async with boot.running() as secrets:
        volume.publish(numbered(2))
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)  # what a child finds: another process
            with pytest.raises(LifecycleError):
                await boot.reload()
            assert boot.status().forked
        assert number_of(secrets.api_key) == 1


@pytest.mark.both_backends
async def test_a_reload_in_another_loop_is_refused(
    volume: MountedVolume, anyio_backend: str
) -> None:
    """A thread with a loop of its own is told so, and takes nothing of the application with it."""
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
    """Checks of every kind, one of which asks for a reload when the application runs."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.boot: Bootstrap[Any, None]

    async def ask(self, kind: str) -> None:
        """Ask, in the check of one kind."""
        if kind == self.kind and self.boot.status().ready:
            await self.boot.reload()

    def declare(self, volume: MountedVolume, *, watch: bool) -> Bootstrap[Any, None]:
        """Declare an application with a check of each kind."""
        asker = self

        class Asking(SecretSet):
            """A key, and checks that ask."""

            api_key: Secret = secret(check=lambda _: asker.ask("field"))

            async def check(self) -> None:
                await asker.ask("set")

        boot = self.boot = mounted(volume.path, Asking, watch=watch)

        @boot.check
        async def judge(_: Asking) -> None:
            await asker.ask("application")

        return boot


@pytest.mark.both_backends
async def test_a_check_that_asks_for_a_reload_is_refused(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """It would wait for itself; it is told at once, and the log and who reloads are told why."""
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


async def test_a_check_may_have_another_application_reloaded(
    volume: MountedVolume, memory: Path
) -> None:
    """Only its own rotation waits for it."""
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


async def test_what_a_check_leaves_running_may_reload_later(
    boot: Bootstrap[Service, None], volume: MountedVolume
) -> None:
    """A pool that a check opens may reload when its password is refused, long after the check."""
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


WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


@pytest.mark.both_backends
async def test_checks_and_hooks_see_the_context_of_the_start(volume: MountedVolume) -> None:
    """Who reloads first, a request for example, does not lend its variables to all that follow."""
    for watch in (False, True):
        volume.publish(numbered(1))
        boot = mounted(volume.path, Service, watch=watch)
        await see_context(boot, volume)


async def see_context(boot: Bootstrap[Service, None], volume: MountedVolume) -> None:
    """Reload from tasks with variables of their own, and look which of them are seen."""
    seen: dict[str, list[str]] = {"check": [], "hook": []}

    @boot.check
    async def check(_: Service) -> None:
        seen["check"].append(WHO.get())

    @boot.on_rotate()
    async def hook(_: Change) -> None:
        seen["hook"].append(WHO.get())

    async def ask(name: str, number: int) -> None:
        WHO.set(name)
        volume.publish(numbered(number))
        await boot.reload()

    def heard(count: int) -> bool:
        return len(seen["hook"]) == count

    token = WHO.set("the application")
    async with boot.running():
        for number, name in enumerate(("alice", "bob"), start=2):
            async with anyio.create_task_group() as group:
                group.start_soon(ask, name, number)
            await until(partial(heard, number - 1))
        assert WHO.get() == "the application"
    WHO.reset(token)
    assert seen == {"check": ["the application"] * 3, "hook": ["the application"] * 2}


async def test_a_reload_tells_a_warning_once(
    boot: Bootstrap[Service, None], volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """What was warned of is not repeated by each rotation that finds it again."""
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
