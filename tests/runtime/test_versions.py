"""The version of the secrets in a run: accepted, in use, unknown, and known again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from hive_boot import Bootstrap, InvalidSecretsError, Secret, SecretSet, secret
from hive_boot.testing import override
from tests.fixtures.cases import case
from tests.runtime.rotations import Heard, Log, mounted
from tests.support import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hive_boot.testing import MountedVolume

pytestmark = pytest.mark.anyio

KEY = "secrets-version"


class Versioned(SecretSet, version=KEY):
    """One secret that is pending for long, and one that is used at once."""

    jwt_secret: Secret = secret(activate_after=3600, accept_old_for=3600)
    api_key: Secret = secret(min_length=12)


def files(number: int, version: str | None = "", **more: str) -> dict[str, str]:
    """Return the files of a generation with its version; None for no version."""
    values = {"jwt_secret": f"fake-jwt-{number:06}", "api_key": f"fake-key-{number:06}"}
    version = f"v{number}" if version == "" else version
    return {**values, **({} if version is None else {KEY: version}), **more}


def versions_of(boot: Bootstrap[Versioned, None]) -> tuple[str | None, str | None]:
    """Return the accepted version, and the one in use."""
    status = boot.status()
    return status.secrets_version, status.secrets_version_in_use


@pytest.fixture
def boot(volume: MountedVolume) -> Bootstrap[Versioned, None]:
    """Return an application that does not watch; its first generation is published."""
    volume.publish(files(1))
    return mounted(volume.path, Versioned, watch=False)


async def test_a_version_is_that_of_the_accepted_set(
    boot: Bootstrap[Versioned, None], volume: MountedVolume
) -> None:
    """Before the first set it is unknown, and after a switch that of the new set."""
    assert versions_of(boot) == (None, None)
    async with boot.running():
        assert versions_of(boot) == ("v1", "v1")
        volume.publish(files(2))
        await boot.reload(now=True)
        assert versions_of(boot) == ("v2", "v2")


async def test_without_a_declared_version_there_is_none(volume: MountedVolume) -> None:
    """A file of this name has no meaning then."""

    class Plain(SecretSet):
        api_key: Secret

    volume.publish(files(1))
    boot = mounted(volume.path, Plain)
    async with boot.running():
        status = boot.status()
        assert (status.secrets_version, status.secrets_version_in_use) == (None, None)


async def test_a_pending_value_separates_both_versions(
    boot: Bootstrap[Versioned, None], volume: MountedVolume
) -> None:
    """The version in use stays while no value changes, and a mixture of two sets has none."""
    async with boot.running():
        before = files(1)
        volume.publish(before | {"jwt_secret": "fake-jwt-000002", KEY: "v2"})
        await boot.reload()
        assert versions_of(boot) == ("v2", "v1")
        volume.publish(files(3))
        await boot.reload()
        assert versions_of(boot) == ("v3", "")
        volume.publish(before)
        await boot.reload()
        assert versions_of(boot) == ("v1", "v1")
        volume.publish(files(3))
        await boot.reload(now=True)
        assert versions_of(boot) == ("v3", "v3")


async def test_an_activation_changes_the_version_in_use(volume: MountedVolume) -> None:
    """Without another read of the files, and the log has it."""

    class Soon(SecretSet, version=KEY):
        jwt_secret: Secret = secret(activate_after=0.2)

    volume.publish({"jwt_secret": "fake-jwt-000001", KEY: "v1"})
    boot = mounted(volume.path, Soon, watch=False)
    async with boot.running():
        volume.publish({"jwt_secret": "fake-jwt-000002", KEY: "v2"})
        await boot.reload()
        assert boot.status().secrets_version == "v2"
        volume.publish({"jwt_secret": "fake-jwt-000002", KEY: "v2.1"})
        await boot.reload()
        await until(lambda: boot.status().secrets_version_in_use == "v2.1")
        assert boot.status().secrets_version == "v2.1"


async def test_values_that_change_under_their_version_make_it_unknown(
    boot: Bootstrap[Versioned, None], volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """It is known again with the same values as before, and with another version."""
    caplog.set_level("INFO", "hive_boot")
    async with boot.running():
        volume.publish(files(2, "v1"))
        await boot.reload(now=True)
        assert versions_of(boot) == ("", "")
        assert "the values have changed under the version v1" in caplog.text
        assert "version: unknown" in caplog.text
        volume.publish(files(1))
        await boot.reload(now=True)
        assert versions_of(boot) == ("v1", "v1")
        volume.publish(files(2, None))
        await boot.reload(now=True)
        assert versions_of(boot) == ("", "")
        volume.publish(files(2, "v1"))
        await boot.reload(now=True)
        assert versions_of(boot) == ("", "")
        volume.publish(files(2, "v2"))
        await boot.reload(now=True)
        assert versions_of(boot) == ("v2", "v2")


async def test_a_version_that_changes_alone_is_no_rotation(
    boot: Bootstrap[Versioned, None], volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """No hook is called, the generation stays, and the status and the log follow."""
    heard, log = Heard(boot), Log(caplog)
    async with boot.running():
        for version, known in (("v2", "v2"), (None, ""), ("two words", ""), ("v3", "v3")):
            volume.publish(files(1, version))
            assert await boot.reload() is None
            assert versions_of(boot) == (known, known)
        status = boot.status()
        assert (status.generation, status.degraded, status.rotations) == (1, False, ())
        assert "The secrets version is v2; the values are the same" in caplog.text
        volume.publish(files(2, "v4"))
        assert await boot.reload() is not None
        await until(lambda: heard.changes)
    assert [each.names for each in heard.changes] == [("api_key",)]
    assert log.verdicts == [("accepted", 2, ["JWT_SECRET", "API_KEY"])]


async def test_a_watched_version_is_noticed_alone(volume: MountedVolume, tmp_path: Path) -> None:
    """In a volume, in a directory, in a bundle and in ``.env``."""
    directory, bundle, env_file = tmp_path / "plain", tmp_path / "bundle", tmp_path / ".env"
    directory.mkdir()

    def write_directory(version: str) -> None:
        for name, content in files(1, version).items():
            (directory / name).write_text(content)

    def write_lines(path: Path, version: str) -> None:
        found = {key.upper().replace("-", "_"): text for key, text in files(1, version).items()}
        path.write_text("".join(f"{name}={text}\n" for name, text in found.items()))

    places: dict[Any, Callable[[str], object]] = {
        volume.path: lambda version: volume.publish(files(1, version)),
        directory: write_directory,
        bundle: partial(write_lines, bundle),
        env_file: partial(write_lines, env_file),
    }
    for place, write in places.items():
        with case(place.name):
            write("v1")
            options: dict[str, Any] = {"mode": "development"} if place is env_file else {}
            boot = mounted(place, Versioned, env_file=env_file, **options)
            async with boot.running():
                assert versions_of(boot) == ("v1", "v1")
                write("v2")
                await until(lambda boot=boot: versions_of(boot) == ("v2", "v2"))  # type: ignore[misc]
                assert boot.status().generation == 1


async def test_pods_with_the_same_mount_have_the_same_version(volume: MountedVolume) -> None:
    """Whether a pod has started with it, has followed, or has refused a set before."""
    volume.publish(files(1))
    old = mounted(volume.path, Versioned, watch=False)
    async with old.running():
        volume.publish(files(2) | {"api_key": "short"})
        with pytest.raises(InvalidSecretsError):
            await old.reload()
        assert versions_of(old) == ("v1", "v1")
        volume.publish(files(2))
        await old.reload(now=True)
        new = mounted(volume.path, Versioned, watch=False)
        async with new.running():
            assert versions_of(old) == versions_of(new) == ("v2", "v2")


async def test_a_value_of_a_test_has_no_version(
    boot: Bootstrap[Versioned, None],
) -> None:
    """``override()`` replaces a value that the version vouches for, for as long as it lasts."""
    with override(boot, api_key="fake-override-4711"):
        async with boot.running():
            assert versions_of(boot) == ("", "")
    async with boot.running():
        async with override(boot, api_key="fake-override-4711"):
            assert versions_of(boot) == ("", "")
        assert versions_of(boot) == ("v1", "v1")


async def test_a_run_after_a_load_reads_its_own_version(
    boot: Bootstrap[Versioned, None], volume: MountedVolume
) -> None:
    """``boot.load()`` has no status, and what it has read identifies nothing in the run."""
    with boot.loaded():
        assert versions_of(boot) == (None, None)
        volume.publish(files(2, "v1"))
        async with boot.running():
            assert versions_of(boot) == ("v1", "v1")


async def test_the_line_about_ready_has_the_version(
    boot: Bootstrap[Versioned, None], caplog: pytest.LogCaptureFixture
) -> None:
    """Also that it is unknown."""
    caplog.set_level("INFO", "hive_boot")
    async with boot.running():
        assert "with the secrets version v1" in caplog.text
    with override(boot, api_key="fake-override-4711"):
        async with boot.running():
            assert "with the secrets version unknown" in caplog.text
