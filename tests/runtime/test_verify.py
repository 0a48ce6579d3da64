"""``boot.verify``, ``boot.verify_async`` and ``.matches``: which value has succeeded is counted."""

from __future__ import annotations

import hmac
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from anyio.lowlevel import checkpoint

from hive_boot import (
    Bootstrap,
    DeclarationError,
    LifecycleError,
    MissingSecretError,
    Secret,
    SecretBytes,
    SecretSet,
    secret,
)
from hive_boot.testing import override
from tests.fixtures.cases import case
from tests.runtime.rotations import mounted
from tests.support import run_child, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hive_boot.runtime.status import UseStatus
    from hive_boot.testing import MountedVolume

pytestmark = pytest.mark.anyio

PREVIOUS, OLD, NOW, NEXT = (f"fake-jwt-{each}" for each in ("zero", "one", "two", "three"))


class Signing(SecretSet):
    """A key with values of every stage, an optional one, and a key that is never replaced so."""

    jwt_secret: Secret = secret(
        activate_after=3600, accept_old_for=3600, previous="JWT_SECRET_PREVIOUS"
    )
    hook_key: Secret | None = secret(accept_old_for=60)
    plain: SecretBytes


class BadSignatureError(Exception):
    """A signature that was made with another key."""


def files(jwt_secret: str, **more: str) -> dict[str, str]:
    """Return the files of a generation."""
    return {"jwt_secret": jwt_secret, "plain": "fake-plain-bytes", **more}


def uses_of(boot: Bootstrap[Any, Any], name: str = "JWT_SECRET") -> tuple[int, int, int]:
    """Return the uses of current, pending and old values."""
    found = use_status(boot, name)
    return found.current, found.pending, found.old


def use_status(boot: Bootstrap[Any, Any], name: str = "JWT_SECRET") -> UseStatus:
    """Return the uses of a secret."""
    (found,) = [each for each in boot.status().uses if each.name == name]
    return found


def signed(key: str, text: str = "text") -> str:
    """Return the signature of a text."""
    return hmac.new(key.encode(), text.encode(), "sha256").hexdigest()


def checking(signature: str, tried: list[str]) -> Callable[[Secret], str]:
    """Return an attempt that records each key, and raises for a wrong one."""

    def attempt(key: Secret) -> str:
        tried.append(key.reveal())
        if not hmac.compare_digest(signed(key.reveal()), signature):
            raise BadSignatureError(len(tried))
        return "claims"

    return attempt


@pytest.fixture
async def boot(volume: MountedVolume) -> AsyncIterator[Bootstrap[Signing, None]]:
    """Run an application with a value of each stage."""
    volume.publish(files(OLD, jwt_secret_previous=PREVIOUS))
    boot = mounted(volume.path, Signing, watch=False)
    async with boot.running():
        volume.publish(files(NOW, jwt_secret_previous=PREVIOUS))
        await boot.reload(now=True)
        volume.publish(files(NEXT, jwt_secret_previous=PREVIOUS))
        await boot.reload()
        yield boot


async def test_values_are_tried_in_order_and_the_one_that_succeeds_is_counted(
    boot: Bootstrap[Signing, None],
) -> None:
    """The current value first, then the pending one, then the old ones."""
    order = [NOW, NEXT, OLD, PREVIOUS]
    expected = {NOW: (1, 0, 0), NEXT: (1, 1, 0), OLD: (1, 1, 1), PREVIOUS: (1, 1, 2)}
    for number, key in enumerate(order, 1):
        with case(key):
            tried: list[str] = []
            attempt = checking(signed(key), tried)
            assert boot.verify("jwt_secret", attempt, rejected=BadSignatureError) == "claims"
            assert tried == order[:number]
            assert uses_of(boot) == expected[key]
    assert boot.verify("JWT_SECRET", lambda key: key.matches(OLD)) is True
    assert uses_of(boot) == (1, 1, 3)


async def test_the_last_rejection_is_the_outcome(boot: Bootstrap[Signing, None]) -> None:
    """The last exception is raised, or False is returned, and nothing is counted."""
    tried: list[str] = []
    with pytest.raises(BadSignatureError) as caught:
        boot.verify("jwt_secret", checking("", tried), rejected=(BadSignatureError, KeyError))
    assert (caught.value.args, caught.value.__context__) == ((4,), None)
    assert boot.verify("jwt_secret", lambda _: False) is False
    assert await boot.verify_async("jwt_secret", returning(result=False)) is False
    assert uses_of(boot) == (0, 0, 0)


def returning(result: object) -> Callable[[Secret], Any]:
    """Return an async attempt with a result."""

    async def attempt(_: Secret) -> object:
        await checkpoint()
        return result

    return attempt


async def test_only_false_is_a_rejection(boot: Bootstrap[Signing, None]) -> None:
    """An empty result, None or 0 is the result of an attempt that has succeeded."""
    results: tuple[Any, ...] = (None, 0, "", [], {})
    for number, result in enumerate(results, 1):
        with case(result):
            assert boot.verify("jwt_secret", lambda _, result=result: result) == result  # type: ignore[misc]
            assert await boot.verify_async("jwt_secret", returning(result)) == result
            assert uses_of(boot) == (2 * number, 0, 0)


async def test_another_exception_ends_the_verification_uncounted(
    boot: Bootstrap[Signing, None],
) -> None:
    """Also one of an attempt in which a value matched."""
    tried = []

    def attempt(key: Secret) -> bool:
        tried.append(key)
        assert key.matches(NOW)
        raise ConnectionError

    async def attempt_async(key: Secret) -> bool:
        await checkpoint()
        return attempt(key)

    for rejected in ((), ValueError, (ValueError, KeyError)):
        with pytest.raises(ConnectionError):
            boot.verify("jwt_secret", attempt, rejected=rejected)
        with pytest.raises(ConnectionError):
            await boot.verify_async("jwt_secret", attempt_async, rejected=rejected)
    assert len(tried) == 6
    assert uses_of(boot) == (0, 0, 0)


async def test_an_async_attempt_is_awaited_by_verify_async_only(
    boot: Bootstrap[Signing, None],
) -> None:
    """A coroutine is no result: it would pass for every key."""
    tried: list[str] = []
    check = checking(signed(OLD), tried)

    async def attempt(key: Secret) -> str:
        await checkpoint()
        return check(key)

    result = await boot.verify_async("jwt_secret", attempt, rejected=BadSignatureError)
    assert (result, tried, uses_of(boot)) == ("claims", [NOW, NEXT, OLD], (0, 0, 1))
    with pytest.raises(TypeError, match=r"await boot\.verify_async"):
        boot.verify("jwt_secret", attempt)  # type: ignore[unused-coroutine]
    with pytest.raises(TypeError):
        await boot.verify_async("jwt_secret", lambda key: key.matches(NOW))
    assert uses_of(boot) == (0, 0, 1)


async def test_the_stage_counts_at_the_end_of_an_attempt(
    boot: Bootstrap[Signing, None], volume: MountedVolume
) -> None:
    """A value that was replaced meanwhile is old when the attempt succeeds."""

    async def attempt(key: Secret) -> bool:
        volume.publish(files("fake-jwt-four"))
        await boot.reload(now=True)
        return key.reveal() == NOW

    assert await boot.verify_async("jwt_secret", attempt)
    assert uses_of(boot) == (0, 0, 1)


async def test_a_match_of_an_accepted_value_is_a_use(boot: Bootstrap[Signing, None]) -> None:
    """By the live set, one of its generations, or ``accepted``; a mismatch is none."""
    for number, value in enumerate((boot.secrets.jwt_secret, boot.secrets.current.jwt_secret), 1):
        assert value.matches(NOW)
        assert value.matches(NOW.encode())
        assert not value.matches(OLD)
        assert uses_of(boot) == (2 * number, 0, 0)
    for each in boot.accepted("jwt_secret"):
        assert each.matches(each.reveal())
    assert uses_of(boot) == (5, 1, 2)
    with pytest.raises(TypeError):
        boot.secrets.jwt_secret.matches(None)  # type: ignore[arg-type]


async def test_a_value_that_is_no_longer_accepted_is_old(
    boot: Bootstrap[Signing, None], volume: MountedVolume
) -> None:
    """Code that has kept it still uses it; one that comes back is current."""
    kept = boot.secrets.jwt_secret
    volume.publish(files("fake-jwt-four"))
    await boot.reload(now=True)
    assert kept.matches(NOW)
    assert uses_of(boot) == (0, 0, 1)
    volume.publish(files(NOW))
    await boot.reload(now=True)
    assert kept.matches(NOW)
    assert boot.secrets.jwt_secret.matches(NOW)
    assert uses_of(boot) == (2, 0, 1)


async def test_other_values_count_nothing(boot: Bootstrap[Signing, None]) -> None:
    """A field without several values, and a Secret that belongs to no application."""
    assert boot.secrets.plain.matches(b"fake-plain-bytes")
    assert boot.verify("plain", lambda value: value.matches("fake-plain-bytes"))
    assert Secret("JWT_SECRET", NOW).matches(NOW)
    assert [each.name for each in boot.status().uses] == ["JWT_SECRET", "HOOK_KEY"]
    assert (uses_of(boot), uses_of(boot, "HOOK_KEY")) == ((0, 0, 0), (0, 0, 0))


async def test_an_absent_secret_cannot_be_verified(boot: Bootstrap[Signing, None]) -> None:
    """A result without an attempt could pass for a valid signature."""
    with pytest.raises(MissingSecretError) as caught:
        boot.verify("hook_key", lambda _: True)
    assert caught.value.name == "HOOK_KEY"
    with pytest.raises(MissingSecretError):
        await boot.verify_async("HOOK_KEY", returning(result=True))
    with pytest.raises(DeclarationError):
        boot.verify("hook_kay", lambda _: True)


async def test_without_a_run_there_is_nothing_to_verify(volume: MountedVolume) -> None:
    """A loaded application verifies, and has no status that could count."""
    volume.publish(files(NOW))
    boot = mounted(volume.path, Signing, watch=False)
    with pytest.raises(LifecycleError):
        boot.verify("jwt_secret", lambda _: True)
    with boot.loaded() as secrets:
        assert boot.verify("jwt_secret", lambda key: key.matches(NOW))
        assert secrets.jwt_secret.matches(NOW)
        async with boot.running():
            assert uses_of(boot) == (0, 0, 0)
            assert secrets.jwt_secret.matches(NOW)
            assert uses_of(boot) == (1, 0, 0)


async def test_an_override_is_the_current_value(boot: Bootstrap[Signing, None]) -> None:
    """The values that it replaces are old, as after any rotation."""
    async with override(boot, jwt_secret="fake-override"):
        assert boot.verify("jwt_secret", lambda key: key.matches("fake-override"))
        assert boot.verify("jwt_secret", lambda key: key.matches(NOW))
        assert uses_of(boot) == (1, 0, 1)


async def test_a_new_run_counts_from_nothing(volume: MountedVolume) -> None:
    """As the status of a new run does."""
    volume.publish(files(NOW))
    boot = mounted(volume.path, Signing, watch=False)
    for _ in range(2):
        async with boot.running() as secrets:
            assert uses_of(boot) == (0, 0, 0)
            assert secrets.jwt_secret.matches(NOW)
            assert uses_of(boot) == (1, 0, 0)


async def test_a_rebuild_uses_the_value_that_it_brings(volume: MountedVolume) -> None:
    """A new instance may verify with the new value before the switch, which is not an old use."""
    volume.publish(files(OLD))
    boot = mounted(volume.path, Signing, watch=False)

    @boot.resource(rebuild_on="jwt_secret")
    async def tokens(secrets: Signing) -> str:
        assert boot.verify("jwt_secret", lambda key: key.matches(secrets.jwt_secret.reveal()))
        return secrets.jwt_secret.reveal()

    async with boot.running():
        volume.publish(files(NOW))
        await boot.reload(now=True)
        assert tokens.value == NOW
        assert uses_of(boot) == (2, 0, 0)


async def test_the_age_begins_with_the_uptime_or_the_switch_and_again_with_each_old_use(
    boot: Bootstrap[Signing, None],
) -> None:
    """Uses of other values do not change it."""
    status = boot.status()
    jwt_secret, hook_key = status.uses
    assert hook_key.old_use_age == status.uptime
    assert 0 <= jwt_secret.old_use_age < status.uptime  # its value was in use until the rotation
    assert [each.accept_old_for for each in status.uses] == [3600, 60]
    boot.verify("jwt_secret", lambda key: key.matches(NEXT))
    assert use_status(boot).old_use_age >= jwt_secret.old_use_age
    began = time.monotonic()
    boot.verify("jwt_secret", lambda key: key.matches(OLD))
    age = use_status(boot).old_use_age
    assert 0 <= age <= time.monotonic() - began
    await until(lambda: use_status(boot).old_use_age > age)
    assert use_status(boot).old_use_age < boot.status().uptime
    assert use_status(boot, "HOOK_KEY").old_use_age > use_status(boot).old_use_age


async def test_uses_of_many_threads_are_all_counted(boot: Bootstrap[Signing, None]) -> None:
    """Also while others read the status, and in a signal handler."""
    value, calls, count = boot.secrets.jwt_secret, 8, 2000
    barrier = threading.Barrier(calls)

    def use() -> None:
        barrier.wait()
        for _ in range(count):
            value.matches(NOW)

    threads = [threading.Thread(target=use) for _ in range(calls)]
    before = signal.signal(signal.SIGUSR1, lambda *_: value.matches(NOW))
    try:
        for thread in threads:
            thread.start()
        for _ in range(50):
            signal.raise_signal(signal.SIGUSR1)
            boot.status()
    finally:
        signal.signal(signal.SIGUSR1, before)
        for thread in threads:
            thread.join()
    assert uses_of(boot) == (calls * count + 50, 0, 0)


FORKED = """
import os, sys, threading, warnings
import anyio
from hive_boot import Bootstrap, Secret, SecretSet, secret

warnings.simplefilter("ignore")   # Python 3.12 advises against a fork beside threads

class Signing(SecretSet):
    jwt_secret: Secret = secret(accept_old_for=3600)

boot = Bootstrap(Signing, mode="environment")

def facts():
    status = boot.status()
    (uses,) = status.uses
    return status.process_id, uses.current, uses.old_use_age == status.uptime, status.worker

async def main():
    async with boot.running() as secrets:
        secrets.jwt_secret.matches("fake-jwt")
        parent, uptime = facts(), boot.status().uptime
        with boot._store().use_counter._lock:
            child = os.fork()
            if not child:
                forked, first = facts(), boot.status().uptime
                threading.Thread(target=secrets.jwt_secret.matches, args=["fake-jwt"]).start()
                while facts()[1] != 1:
                    pass
                print(forked[1:], first < uptime, forked[0] == facts()[0] != parent[0], flush=True)
                os._exit(0)
        os.waitpid(child, 0)
        print(parent[1:], facts() == parent, len(bytes.fromhex(parent[0])))

anyio.run(main)
"""


def test_a_forked_child_has_its_own_evidence() -> None:
    """Its id differs, it counts its own uses, and a lock that its parent holds does not stop it."""
    child = run_child(FORKED, JWT_SECRET="fake-jwt")
    assert child.stdout.splitlines() == [
        "(0, True, True) True True",
        "(1, True, False) True 8",
    ], child.stderr
