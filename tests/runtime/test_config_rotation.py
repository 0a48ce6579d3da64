"""A config that takes the secrets: built before each switch, and switched with the values."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from hive_boot import Bootstrap, Change, InvalidSecretsError, Secret, SecretSet, secret
from hive_boot.testing import MountedVolume, override
from tests.fixtures.threads import readers
from tests.fixtures.timings import QUICK_RETRIES, set_timings
from tests.support import until

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

URL = "postgresql://app:{}@db/orders"


class Service(SecretSet):
    """A password in a DSN, and a key of which the DSN knows nothing."""

    db_password: Secret
    api_key: Secret | None = None


class Signing(SecretSet):
    """A password, and a key that is used some time after it was accepted."""

    db_password: Secret
    signing_key: Secret = secret(activate_after=0.2, accept_old_for=600)


@dataclass(frozen=True)
class Config:
    """What the application connects with."""

    dsn: str


def write(place: Path, **values: str) -> None:
    """Publish files of secrets as a kubelet does: no read waits for a volume to be quiet."""
    volume = MountedVolume(place)
    volume.publish({**volume.content, **values})


class Factory:
    """A factory that counts its calls, and fails on request.

    Attributes:
        seen: the password of each call.
        failing: the values for which it raises.
    """

    def __init__(self, field: str = "db_password") -> None:
        self.field = field
        self.seen: list[str] = []
        self.failing: set[str] = set()

    def __call__(self, secrets: SecretSet) -> Config:
        """Create the config of these secrets."""
        value: str = getattr(secrets, self.field).reveal()
        self.seen.append(value)
        if value in self.failing:
            message = f"cannot use {value}"
            raise RuntimeError(message)
        return Config(URL.format(value))


def started(
    place: Path,
    config: Callable[..., Any],
    declared: type[SecretSet] = Service,
    **options: Any,  # noqa: ANN401  (what Bootstrap takes)
) -> Bootstrap[Any, Any]:
    """Declare an application whose secrets are the files in a directory."""
    boot = Bootstrap(declared, config=config, secrets_dirs=place, **options)
    set_timings(boot, **QUICK_RETRIES)
    return boot


async def test_the_config_follows_the_values_that_it_is_made_of(tmp_path: Path) -> None:
    """It is built once for each switch, and not for what has not changed."""
    write(tmp_path, db_password="fake-one-0123456789")
    factory = Factory()
    boot = started(tmp_path, factory)
    async with boot.running():
        first = boot.config
        assert first == Config(URL.format("fake-one-0123456789"))
        assert await boot.reload() is None
        assert boot.config is first
        write(tmp_path, db_password="fake-two-0123456789")
        assert await boot.reload() is not None
        assert boot.config == Config(URL.format("fake-two-0123456789"))
        assert factory.seen == ["fake-one-0123456789", "fake-two-0123456789"]
        write(tmp_path, api_key="fake-key-0123456789")
        await boot.reload()
        assert len(factory.seen) == 3
    async with boot.running():
        assert len(factory.seen) == 4


async def test_a_config_without_the_secrets_stays(tmp_path: Path) -> None:
    """It is created once for a run, and its object stays the same."""
    write(tmp_path, db_password="fake-one-0123456789")
    calls: list[int] = []

    def make() -> Config:
        calls.append(1)
        return Config("")

    boot = started(tmp_path, make)
    async with boot.running():
        before = boot.config
        write(tmp_path, db_password="fake-two-0123456789")
        assert await boot.reload() is not None
        assert boot.config is before
    assert len(calls) == 1


async def test_a_check_of_a_rotation_receives_the_config_of_the_candidate(tmp_path: Path) -> None:
    """So it can connect with the DSN that would come into use; hooks receive the one in use."""
    write(tmp_path, db_password="fake-one-0123456789")
    seen: list[tuple[str, str]] = []

    def make(secrets: Service) -> Config:
        return Config(secrets.db_password.reveal())

    boot = started(tmp_path, make)

    @boot.check("db_password")
    async def accepts(config: Config, secrets: Service) -> bool:
        seen.append((config.dsn, secrets.db_password.reveal()))
        return config.dsn != "fake-bad-0123456789"

    @boot.on_rotate("db_password")
    async def rotated(_: Change, config: Config) -> None:
        seen.append(("hook", config.dsn))

    async with boot.running():
        write(tmp_path, db_password="fake-bad-0123456789")
        with pytest.raises(InvalidSecretsError):
            await boot.reload()
        assert boot.config == Config("fake-one-0123456789")
        write(tmp_path, db_password="fake-two-0123456789")
        await boot.reload()
        await until(lambda: ("hook", "fake-two-0123456789") in seen)
    values = ["fake-one-0123456789", "fake-bad-0123456789", "fake-two-0123456789"]
    checked = [each for each in seen if each[0] != "hook"]
    assert list(dict.fromkeys(checked)) == [(value, value) for value in values]


async def test_a_failure_refuses_the_rotation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The values and the config in use stay, the state is degraded, and it is tried again."""
    write(tmp_path, db_password="fake-one-0123456789")
    factory = Factory()
    factory.failing.add("fake-two-0123456789")
    boot = started(tmp_path, factory)
    async with boot.running() as secrets:
        before = boot.config
        write(tmp_path, db_password="fake-two-0123456789")
        with pytest.raises(InvalidSecretsError) as caught:
            await boot.reload()
        (problem,) = caught.value.problems
        assert (problem.name, problem.kind) == ("Factory", "config")
        assert caught.value.kept
        assert boot.config is before
        assert secrets.db_password.reveal() == "fake-one-0123456789"
        status = boot.status()
        assert status.degraded
        assert (status.generation, status.rejected, status.rejected_names) == (
            1,
            True,
            ("Factory",),
        )
        # It is called again without a change of the file, and logged once.
        await until(lambda: len(factory.seen) > 3)
        factory.failing.clear()
        await until(lambda: not boot.status().degraded)
        assert boot.config == Config(URL.format("fake-two-0123456789"))
        assert secrets.db_password.reveal() == "fake-two-0123456789"
    assert "fake-two" not in caplog.text
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


async def test_readers_in_threads_see_values_and_config_of_one_switch(tmp_path: Path) -> None:
    """A pinned generation never has a config that was made of an older one."""
    write(tmp_path, db_password="fake-00-0123456789")
    boot = started(tmp_path, Factory())
    seen: set[str] = set()
    torn: list[str] = []

    def read(stop: threading.Event) -> None:
        while not stop.is_set():
            # One look at the dictionary that a switch replaces.
            values = vars(boot.secrets)
            config: Any = values["_config"]()
            seen.add(config.dsn)
            if config.dsn != URL.format(values["db_password"].reveal()):
                torn.append(config.dsn)

    async with boot.running():
        with readers(read):
            for number in range(1, 61):
                write(tmp_path, db_password=f"fake-{number:02}-0123456789")
                await boot.reload()
    assert len(seen) > 1
    assert not torn


async def test_a_pending_value_is_in_the_config_when_it_comes_into_use(tmp_path: Path) -> None:
    """Until then the config is that of the values in use, also when another field has changed."""
    write(tmp_path, db_password="fake-one-0123456789", signing_key="fake-old-0123456789")

    def make(secrets: Signing) -> tuple[str, str]:
        return secrets.db_password.reveal()[5:8], secrets.signing_key.reveal()[5:8]

    boot = started(tmp_path, make, Signing)
    async with boot.running():
        assert boot.config == ("one", "old")
        write(tmp_path, db_password="fake-two-0123456789", signing_key="fake-new-0123456789")
        await boot.reload()
        assert boot.config == ("two", "old")
        await until(lambda: boot.config == ("two", "new"))


async def test_a_failure_at_the_activation_keeps_the_value_pending(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It stays accepted, the state is degraded, and the old value expires after the real switch."""
    write(tmp_path, db_password="fake-one-0123456789", signing_key="fake-old-0123456789")
    failing = False

    def make(secrets: Signing) -> str:
        key = secrets.signing_key.reveal()[5:8]
        if failing and key == "new":
            message = "not yet"
            raise RuntimeError(message)
        return key

    boot = started(tmp_path, make, Signing)
    async with boot.running() as secrets:
        write(tmp_path, db_password="fake-two-0123456789", signing_key="fake-new-0123456789")
        await boot.reload()
        # The candidate has passed; only the activation fails.
        failing = True
        await until(lambda: boot.status().degraded)
        assert boot.config == "old"
        assert secrets.signing_key.reveal() == "fake-old-0123456789"
        accepted = [value.reveal() for value in boot.accepted("signing_key")]
        assert accepted == ["fake-old-0123456789", "fake-new-0123456789"]
        failing = False
        await until(lambda: boot.config == "new")
        assert not boot.status().degraded
        accepted = [value.reveal() for value in boot.accepted("signing_key")]
        assert accepted == ["fake-new-0123456789", "fake-old-0123456789"]
    failures = [each for each in caplog.records if each.getMessage().startswith("Activation of")]
    assert len(failures) == 1


async def test_a_failure_of_the_values_in_between_refuses_the_rotation(tmp_path: Path) -> None:
    """A factory that fails for the new password beside the old key, which is used for a while."""
    write(tmp_path, db_password="fake-one-0123456789", signing_key="fake-old-0123456789")

    def make(secrets: Signing) -> tuple[str, str]:
        pair = secrets.db_password.reveal()[5:8], secrets.signing_key.reveal()[5:8]
        if pair == ("two", "old"):
            message = "they belong together"
            raise RuntimeError(message)
        return pair

    boot = started(tmp_path, make, Signing)
    async with boot.running() as secrets:
        write(tmp_path, db_password="fake-two-0123456789", signing_key="fake-new-0123456789")
        with pytest.raises(InvalidSecretsError) as caught:
            await boot.reload()
        assert [problem.kind for problem in caught.value.problems] == ["config"]
        assert (boot.config, secrets.db_password.reveal()) == (
            ("one", "old"),
            "fake-one-0123456789",
        )
        assert boot.status().generation == 1
        assert [len(boot.accepted(name)) for name in ("db_password", "signing_key")] == [1, 1]
        assert await boot.reload(now=True) is not None
        assert boot.config == ("two", "new")


async def test_an_activation_on_demand_fails_with_the_problems(tmp_path: Path) -> None:
    """The value stays pending until its time."""
    write(tmp_path, db_password="fake-one-0123456789", signing_key="fake-old-0123456789")
    failing = False

    class Later(SecretSet):
        db_password: Secret
        signing_key: Secret = secret(activate_after=3600)

    def make(secrets: Any) -> str:  # noqa: ANN401  (the class is local)
        key: str = secrets.signing_key.reveal()[5:8]
        if failing and key == "new":
            message = "not yet"
            raise RuntimeError(message)
        return key

    boot = started(tmp_path, lambda secrets: make(secrets), Later)  # noqa: PLW0108  (it needs a name)
    async with boot.running():
        write(tmp_path, db_password="fake-two-0123456789", signing_key="fake-new-0123456789")
        await boot.reload()
        failing = True
        with pytest.raises(InvalidSecretsError, match="not yet"):
            await boot.reload(now=True)
        assert boot.config == "old"
        due = boot.status().secrets[1].due
        assert due is not None
        assert due > 3000
        failing = False
        assert await boot.reload(now=True) is not None
        assert boot.config == "new"


async def test_an_override_of_a_running_application_changes_the_config(tmp_path: Path) -> None:
    """For the block; afterwards it is that of the sources again."""
    write(tmp_path, db_password="fake-one-0123456789")
    boot = started(tmp_path, Factory())
    async with boot.running():
        async with override(boot, db_password="fake-test-0123456789"):
            assert boot.config == Config(URL.format("fake-test-0123456789"))
        assert boot.config == Config(URL.format("fake-one-0123456789"))
