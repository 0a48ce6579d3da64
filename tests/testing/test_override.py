"""Temporary secrets in a start, in a running or loaded application, and after the block."""

from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import anyio
import pytest

from hive_boot import (
    Bootstrap,
    Change,
    DeclarationError,
    InvalidSecretsError,
    LifecycleError,
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
