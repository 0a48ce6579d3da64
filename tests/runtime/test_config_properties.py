"""Secrets as properties of a settings class: ``boot.as_property()``."""

import inspect
from pathlib import Path

import pytest
from pydantic import SecretBytes as PydanticBytes
from pydantic import SecretStr, computed_field
from pydantic_settings import BaseSettings, SettingsConfigDict

from hive_boot import (
    Bootstrap,
    DeclarationError,
    LifecycleError,
    Secret,
    SecretBytes,
    SecretSet,
    secret,
)
from hive_boot.testing import MountedVolume, override

FAKE = "fake-jwt-secret-0123456789-0123456789"
OTHER = "fake-other-secret-9876543210-9876543210"


class Hive(SecretSet):
    """The secrets of the tests."""

    jwt_secret: Secret = secret(min_length=12)
    tls_key: SecretBytes | None
    sentry_dsn: Secret | None


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MountedVolume:
    """Mount a volume, which can be rotated."""
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(tmp_path / "volume"))
    return MountedVolume(tmp_path / "volume")


@pytest.mark.anyio
async def test_a_settings_class_reveals_the_current_value(mounted: MountedVolume) -> None:
    """A pydantic-settings object of a module follows the run, and its dumps contain no value."""
    boot = Bootstrap(Hive)

    class ModuleSettings(BaseSettings):
        """Settings of an application that was written without hive_boot."""

        workers: int = 1
        SECRET_KEY = boot.as_property("jwt_secret")
        TLS_KEY = boot.as_property("tls_key")
        SENTRY_DSN = boot.as_property("sentry_dsn")

        @computed_field  # type: ignore[prop-decorator]
        @property
        def key_length(self) -> int:
            """The length of the key."""
            return len(self.SECRET_KEY)

    settings = ModuleSettings()
    with pytest.raises(LifecycleError):
        _ = settings.SECRET_KEY
    mounted.publish({"jwt_secret": FAKE, "tls_key": "fake-key-0123456789"})
    with boot.loaded():
        assert (settings.SECRET_KEY, settings.TLS_KEY) == (FAKE, b"fake-key-0123456789")
        assert settings.SENTRY_DSN is None
        assert settings.model_dump() == {"workers": 1, "key_length": len(FAKE)}
        assert FAKE not in repr(settings)
        with pytest.raises(AttributeError):
            settings.SECRET_KEY = OTHER
        async with boot.running():
            mounted.publish({"jwt_secret": OTHER})
            await boot.reload()
            assert settings.SECRET_KEY == OTHER
            assert settings.key_length == len(OTHER)


def test_a_property_can_have_the_type_that_the_field_had(mounted: MountedVolume) -> None:
    """The converter is called with the plain value at each access, and not without a value."""
    boot = Bootstrap(Hive)

    class ModuleSettings(BaseSettings):
        """Settings whose fields were hidden by pydantic."""

        jwt_secret = boot.as_property("jwt_secret", SecretStr)
        tls_key = boot.as_property("tls_key", PydanticBytes)
        sentry_dsn = boot.as_property("sentry_dsn", SecretStr)

    mounted.publish({"jwt_secret": FAKE, "tls_key": "fake-key-0123456789"})
    settings = ModuleSettings()
    with boot.loaded():
        assert settings.jwt_secret == SecretStr(FAKE)
        assert settings.tls_key.get_secret_value() == b"fake-key-0123456789"
        assert settings.sentry_dsn is None
        with override(boot, jwt_secret=OTHER):
            assert settings.jwt_secret.get_secret_value() == OTHER


def test_settings_refuse_a_value_for_a_secret() -> None:
    """Otherwise a test that sets one as before would use the real one: its value is ignored."""
    boot = Bootstrap(Hive)

    class ModuleSettings(BaseSettings):
        """Settings of a module, with what .env contains besides."""

        model_config = SettingsConfigDict(extra="ignore")
        workers: int = 1
        SECRET_KEY = boot.as_property("jwt_secret")
        SENTRY_DSN = boot.as_property("sentry_dsn")

    class MoreSettings(ModuleSettings):
        """A subclass that does something else in its constructor."""

        def __init__(self, **values: int) -> None:
            super().__init__(**values)

    class Plain:
        """A class that is not one of pydantic."""

        key = boot.as_property("jwt_secret")

        def __init__(self, key: str) -> None:
            self.name = key

    assert (ModuleSettings(workers=3).workers, MoreSettings(workers=4).workers) == (3, 4)
    assert Plain(key="name").name == "name"
    assert [*inspect.signature(ModuleSettings).parameters][-1] == "workers"
    uses = [
        lambda: ModuleSettings(SECRET_KEY=OTHER),  # type: ignore[call-arg]
        lambda: MoreSettings(SECRET_KEY=OTHER),  # type: ignore[arg-type]
        lambda: setattr(ModuleSettings(), "SECRET_KEY", OTHER),
    ]
    for use in uses:
        with pytest.raises((TypeError, AttributeError)) as caught:
            use()  # type: ignore[no-untyped-call]
        assert "with override(boot, jwt_secret=...)" in str(caught.value)
        assert OTHER not in str(caught.value)
        frame = caught.traceback[-1].frame
        assert OTHER not in repr(frame.f_locals)


def test_a_property_is_of_a_declared_field() -> None:
    """A misspelt field name is an error at the call."""
    with pytest.raises(DeclarationError, match="jwt_secrt"):
        Bootstrap(Hive).as_property("jwt_secrt")
    with pytest.raises(DeclarationError, match="expects a callable"):
        Bootstrap(Hive).as_property("jwt_secret", "SecretStr")  # type: ignore[call-overload]
