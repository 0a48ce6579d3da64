"""Other secrets for a while: in a start, in an application that runs, and afterwards."""

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
    secret,
)
from hive_boot.testing import override


class AppSecrets(SecretSet):
    """What the application needs."""

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
async def test_other_fields_are_loaded_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not named comes from where it always comes from."""
    monkeypatch.setenv("SENTRY_DSN", "fake-dsn")
    boot = application()
    with override(boot, api_key=Secret("API_KEY", "fake-given")):
        async with boot.running() as secrets:
            assert secrets.sentry_dsn is not None
            assert secrets.sentry_dsn.reveal() == "fake-dsn"


@pytest.mark.anyio
async def test_a_mount_is_passed_over(tmp_path: Path) -> None:
    """A value in a mounted file does not count beside a given one."""
    (tmp_path / "api_key").write_text("fake-mounted")
    boot = Bootstrap(AppSecrets, secrets_dirs=tmp_path, profile="test")
    with override(boot, api_key="fake-given"):
        async with boot.running() as secrets:
            assert secrets.api_key.reveal() == "fake-given"
    async with boot.running() as secrets:
        assert secrets.api_key.reveal() == "fake-mounted"


@pytest.mark.anyio
async def test_a_given_value_is_judged() -> None:
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
    """A running application takes the values over, tells its hooks, and takes its own back."""
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
async def test_a_running_application_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it refuses is an error in the test, and leaves the application as it was."""
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
    """A plain with cannot replace what is in use, and says what can."""
    monkeypatch.setenv("API_KEY", "fake-own")
    boot = application()
    async with boot.running():
        with pytest.raises(LifecycleError, match="async with override"):
            override(boot, api_key="fake-given").__enter__()


def test_a_field_that_is_not_declared_is_refused() -> None:
    """A misspelt field is named, and the similar one; no value is."""
    with pytest.raises(DeclarationError, match=r"'api_kee'\. Did you mean 'api_key'") as caught:
        override(application(), api_kee="fake-value")
    assert "fake-value" not in str(caught.value)


def test_a_value_of_another_type_is_refused() -> None:
    """Text is no bytes, and a number is neither."""
    with pytest.raises(DeclarationError, match=r"keystore=.* bytes.* str"):
        override(application(), keystore="fake-value")
    with pytest.raises(DeclarationError, match=r"api_key=.* str.* bytes"):
        override(application(), api_key=b"fake-value")
