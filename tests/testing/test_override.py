"""Temporary secrets in a start, in a running or loaded application, and after the block."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from hive_boot import (
    Bootstrap,
    Change,
    DeclarationError,
    InvalidSecretsError,
    LifecycleError,
    ResourceHandle,
    Secret,
    SecretBytes,
    SecretSet,
    get_secret,
    secret,
)
from hive_boot.testing import override


class AppSecrets(SecretSet):
    """The secrets of the application."""

    api_key: Secret = secret(min_length=6)
    keystore: SecretBytes | None
    sentry_dsn: Secret | None


def application() -> Bootstrap[AppSecrets, None]:
    """Declare an application that finds its secrets in variables."""
    return Bootstrap(AppSecrets, mode="environment", profile="test")


@pytest.mark.anyio
async def test_a_start_needs_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given values count more than any source, and what is given as None is absent."""
    monkeypatch.setenv("SENTRY_DSN", "fake-dsn")
    boot = application()
    with override(boot, api_key="fake-given", keystore=b"\x00fake", sentry_dsn=None):
        async with boot.running() as secrets:
            assert secrets.api_key.reveal() == "fake-given"
            assert secrets.keystore is not None
            assert secrets.keystore.reveal() == b"\x00fake"
            assert secrets.sentry_dsn is None
            assert boot.status().secrets[0].source == "override"


@pytest.mark.anyio
async def test_other_fields_are_loaded_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields that are not named come from their sources."""
    monkeypatch.setenv("SENTRY_DSN", "fake-dsn")
    boot = application()
    with override(boot, api_key=Secret("API_KEY", "fake-given")):
        async with boot.running() as secrets:
            assert secrets.sentry_dsn is not None
            assert secrets.sentry_dsn.reveal() == "fake-dsn"


@pytest.mark.anyio
async def test_a_mount_is_overridden(tmp_path: Path) -> None:
    """A value in a mounted file does not count beside a given one."""
    (tmp_path / "api_key").write_text("fake-mounted")
    boot = Bootstrap(AppSecrets, secrets_dirs=tmp_path, profile="test")
    with override(boot, api_key="fake-given"):
        async with boot.running() as secrets:
            assert secrets.api_key.reveal() == "fake-given"
    async with boot.running() as secrets:
        assert secrets.api_key.reveal() == "fake-mounted"


@pytest.mark.anyio
async def test_a_given_value_is_validated() -> None:
    """A rule refuses a given value as it would any other."""
    boot = application()
    with override(boot, api_key="short"), pytest.raises(InvalidSecretsError) as caught:
        async with boot.running():
            pass
    assert [problem.kind for problem in caught.value.problems] == ["length"]
    with override(boot, api_key=None), pytest.raises(InvalidSecretsError) as caught:
        async with boot.running():
            pass
    assert [problem.kind for problem in caught.value.problems] == ["missing"]


@pytest.mark.anyio
async def test_an_application_that_runs_rotates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A running application uses the values, calls its hooks, and returns to its own."""
    monkeypatch.setenv("API_KEY", "fake-own")
    boot = application()
    heard: list[Change] = []
    changed = anyio.Event()

    @boot.on_rotate("api_key")
    async def hear(change: Change) -> None:
        heard.append(change)
        changed.set()

    async with boot.running() as secrets:
        async with override(boot, api_key="fake-given"):
            assert secrets.api_key.reveal() == "fake-given"
            await changed.wait()
        assert secrets.api_key.reveal() == "fake-own"
    assert heard[0].new["api_key"] == Secret("API_KEY", "fake-given")


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_a_running_application_does_not_wait_for_activate_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A given value is in use in the whole block, and the own one directly after it."""

    class Signing(SecretSet):
        key: Secret = secret(activate_after=600, accept_old_for=600)

    monkeypatch.setenv("KEY", "fake-own")
    boot = Bootstrap(Signing, mode="environment", profile="test")
    async with boot.running() as secrets:
        async with override(boot, key="fake-given"):
            assert secrets.key.reveal() == "fake-given"
        assert secrets.key.reveal() == "fake-own"


@pytest.mark.anyio
async def test_a_block_in_another_adds_to_it() -> None:
    """The inner block counts more, and its end leaves what the outer one gave."""
    boot = application()
    async with override(boot, api_key="fake-outer", sentry_dsn="fake-dsn"):
        async with boot.running() as secrets, override(boot, api_key="fake-inner"):
            assert secrets.api_key.reveal() == "fake-inner"
            assert secrets.sentry_dsn is not None
        with override(boot, api_key="fake-inner"):
            pass
        async with boot.running() as secrets:
            assert secrets.api_key.reveal() == "fake-outer"


@pytest.mark.anyio
async def test_one_override_can_be_entered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixture and its test may share it: after both nothing of it is left."""
    monkeypatch.setenv("API_KEY", "fake-of-machine")
    boot = application()
    given = override(boot, api_key="fake-given")
    with given, given:
        pass
    async with boot.running() as secrets:
        assert secrets.api_key.reveal() == "fake-of-machine"
        async with given, given:
            assert secrets.api_key.reveal() == "fake-given"
        assert secrets.api_key.reveal() == "fake-of-machine"


@pytest.mark.anyio
async def test_a_running_application_keeps_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused value is an error in the test, and leaves the application as it was."""
    monkeypatch.setenv("API_KEY", "fake-own")
    boot = application()
    async with boot.running() as secrets:
        with pytest.raises(InvalidSecretsError) as caught:
            async with override(boot, api_key="short"):
                pytest.fail("it was refused")
        assert [problem.kind for problem in caught.value.problems] == ["length"]
        assert secrets.api_key.reveal() == "fake-own"
        assert not boot.status().degraded


@pytest.mark.anyio
async def test_with_is_for_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain with cannot replace values in use, and the error names async with."""
    monkeypatch.setenv("API_KEY", "fake-own")
    boot = application()
    async with boot.running():
        with pytest.raises(LifecycleError, match="async with override"):
            override(boot, api_key="fake-given").__enter__()


def test_a_loaded_application_has_the_values_in_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its live object has them at once, in a run, and no longer after the block."""
    monkeypatch.setenv("API_KEY", "fake-own")
    boot = Bootstrap(
        AppSecrets, config=lambda secrets: secrets.api_key.reveal(), mode="environment"
    )

    async def run() -> None:
        async with boot.running():
            assert boot.config == "fake-given"

    with boot.loaded() as secrets:
        with override(boot, api_key="fake-given"):
            assert secrets.api_key.reveal() == boot.config == get_secret("API_KEY") == "fake-given"
            anyio.run(run)
            assert boot.secrets is secrets
            assert boot.config == "fake-given"
            monkeypatch.delenv("API_KEY")
        assert secrets.api_key.reveal() == boot.config == get_secret("API_KEY") == "fake-own"
        with pytest.raises(InvalidSecretsError):
            override(boot, api_key="short").__enter__()
        assert secrets.api_key.reveal() == boot.config == "fake-own"
    with pytest.raises(LifecycleError):
        _ = boot.secrets


@pytest.mark.anyio
async def test_a_run_that_outlives_the_block_keeps_the_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its next reload returns to the sources, also of an application that was loaded before."""
    monkeypatch.setenv("API_KEY", "fake-own")
    boot = application()
    with boot.loaded() as secrets:
        async with AsyncExitStack() as stack:
            with override(boot, api_key="fake-given"):
                await stack.enter_async_context(boot.running())
            assert secrets.api_key.reveal() == "fake-given"
            assert await boot.reload() is not None
            assert secrets.api_key.reveal() == "fake-own"
        assert secrets.api_key.reveal() == "fake-own"


def test_an_application_that_is_loaded_in_the_block_keeps_the_values() -> None:
    """A module that loads at import needs no source, also when its tests import it in a block."""
    boot = application()
    with ExitStack() as stack:
        with override(boot, api_key="fake-given"):
            secrets = stack.enter_context(boot.loaded())
        assert secrets.api_key.reveal() == "fake-given"


def with_resources(boot: Bootstrap[AppSecrets, None], opened: list[str]) -> ResourceHandle[str]:
    """Declare resources that depend on each other, and return the first that needs another one."""

    @boot.resource
    async def network() -> str:
        opened.append("network")
        return "network"

    @boot.resource
    async def pool(network: str) -> AsyncIterator[str]:
        opened.append("pool")
        yield network
        opened.append("pool stops")

    @boot.resource
    async def repository(pool: str) -> str:
        opened.append("repository")
        return f"repository of {pool}"

    return pool


@pytest.mark.anyio
@pytest.mark.both_backends
@pytest.mark.parametrize("by_name", [False, True])
async def test_a_resource_is_replaced(*, by_name: bool) -> None:
    """By handle or by name; the real one is not opened, and what needs it gets the other one."""
    boot, opened = application(), []  # type: tuple[Bootstrap[AppSecrets, None], list[str]]
    pool = with_resources(boot, opened)
    with override(boot, api_key="fake-given", resources={"pool" if by_name else pool: "fake"}):
        async with boot.running():
            assert await pool() == "fake"
            assert boot.status().ready
    assert opened == ["network", "repository"]
    with override(boot, api_key="fake-given"):
        async with boot.running():
            assert pool.value == "network"
    assert opened[2:] == ["network", "pool", "repository", "pool stops"]


@pytest.mark.anyio
async def test_every_user_of_a_resource_gets_the_other_one() -> None:
    """Another resource, a service, main and the state of requests; None is a value, too."""
    boot, opened = application(), []  # type: tuple[Bootstrap[AppSecrets, None], list[str]]
    pool = with_resources(boot, opened)
    seen: list[object] = []
    heard = anyio.Event()

    @boot.service
    async def consume(pool: str, network: object) -> None:
        seen.extend([pool, network])
        heard.set()

    with (
        override(boot, api_key="fake-given", resources={"network": None}),
        override(boot, resources={pool: "fake"}),
    ):
        async with boot.lifespan(None) as state:
            await heard.wait()
            assert seen == [state["pool"], state["network"]] == ["fake", None]
            assert state["repository"] == "repository of fake"
    assert opened == ["repository"]


def test_main_gets_the_replaced_resource(capsys: pytest.CaptureFixture[str]) -> None:
    """Also in a process that the application owns."""
    boot, opened = application(), []  # type: tuple[Bootstrap[AppSecrets, None], list[str]]
    with_resources(boot, opened)

    @boot.main
    async def main(pool: int) -> int:
        return pool

    with (
        override(boot, api_key="fake-given", resources={"pool": 3, "repository": ""}),
        pytest.raises(SystemExit) as ended,
    ):
        boot.run()
    assert ended.value.code == 3, capsys.readouterr().err
    assert opened == ["network"]


@pytest.mark.anyio
async def test_a_running_resource_cannot_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says when to do it, for both kinds of block, and changes nothing."""
    monkeypatch.setenv("API_KEY", "fake-own")
    boot, opened = application(), []  # type: tuple[Bootstrap[AppSecrets, None], list[str]]
    pool = with_resources(boot, opened)
    async with boot.running():
        with pytest.raises(LifecycleError, match="before it starts"):
            override(boot, resources={pool: "fake"}).__enter__()
        with pytest.raises(LifecycleError, match="before it starts"):
            async with override(boot, resources={pool: "fake"}, api_key="fake-given"):
                pass
        assert pool.value == "network"
        assert boot.secrets.api_key.matches("fake-own")


def test_a_resource_that_is_not_declared_is_refused() -> None:
    """A misspelt name, a handle of another application, and a type are named."""
    boot, other = application(), application()
    with_resources(boot, [])
    of_other = with_resources(other, [])
    for key in (of_other, "pol", str, "api_key"):
        with pytest.raises(DeclarationError, match="has no resource"):
            override(boot, resources={key: "fake"})  # type: ignore[dict-item]
    with pytest.raises(DeclarationError, match=r"Did you mean 'pool'"):
        override(boot, resources={"pol": "fake"})


def test_arguments_of_other_types_are_refused() -> None:
    """A declaration, a list or a handle is refused with the line to write."""
    boot = application()

    @boot.resource
    async def pool() -> str:
        return "pool"

    anything: Any = override
    wrong: list[tuple[object, object]] = [(AppSecrets, {}), (boot, [pool]), (boot, pool)]
    for given, resources in wrong:
        with pytest.raises(DeclarationError, match=r"Write override\(boot, resources=\{pool"):
            anything(given, resources=resources)
    with pytest.raises(DeclarationError, match="Did you mean 'resources'"):
        anything(boot, resource={pool: "fake"})


def test_a_field_that_is_not_declared_is_refused() -> None:
    """A misspelt field is named, and the similar one; no value is."""
    with pytest.raises(DeclarationError, match=r"'api_kee'\. Did you mean 'api_key'") as caught:
        override(application(), api_kee="fake-value")
    assert "fake-value" not in str(caught.value)


def test_a_value_of_another_type_is_refused() -> None:
    """SecretBytes need bytes, and a Secret needs a str."""
    with pytest.raises(DeclarationError, match=r"keystore=.* bytes.* str"):
        override(application(), keystore="fake-value")
    with pytest.raises(DeclarationError, match=r"api_key=.* str.* bytes"):
        override(application(), api_key=b"fake-value")
