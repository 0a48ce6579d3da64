"""Reports of failed starts and of refused reloads: each kind of problem and of fix, in full."""

import os
import shutil
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings, SettingsConfigDict

from hive_boot import Bootstrap, InvalidSecretsError, Secret, SecretBytes, SecretSet, secret
from hive_boot.secrets.loader import load
from hive_boot.secrets.sources.directories import ReadPolicy
from hive_boot.secrets.validation import placeholder
from hive_boot.testing import MountedVolume
from tests.fixtures.files import make_socket
from tests.fixtures.golden import assert_golden
from tests.support import FakeClock, as_ordinary_user, failed_start, move_to

pytestmark = pytest.mark.anyio

MIB = 1 << 20

VALUE = "fake-value-0123456789"


def let_time_fly(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    """Make starts wait by a clock, for files that have just been written."""
    policy = ReadPolicy(wall=time.time, monotonic=lambda: clock.now, sleep=clock.sleep)
    monkeypatch.setattr("hive_boot.runtime.load_pipeline.load", partial(load, policy=policy))


class Settings(BaseSettings):
    """Settings of which one is missing."""

    model_config = SettingsConfigDict(env_prefix="APP_")

    port: int


def unreachable() -> object:
    """Raise what settings raise that look something up."""
    message = f"cannot connect with {VALUE}"
    raise ConnectionError(message)


def fail(value: str) -> None:
    """Raise an error that holds the value."""
    raise LookupError(value)


def expect_first_value(value: str) -> None:
    """Raise an error that holds the value, unless it is the first one."""
    if value != VALUE:
        raise LookupError(value)


async def test_a_start_in_development_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: threading.Event
) -> None:
    """A container without its mount, held to production, with whatever `.env` can do wrong."""

    class HiveSecrets(SecretSet):
        """Secrets of which none is right."""

        openai_api_key: Secret = secret(used_by="semantic-memory, agents")
        hive_api_key: Secret = secret(used_by="auth middleware")
        jwt_secret: Secret = secret(dev_default="dev-only-jwt-secret", used_by="user-auth")
        cookie_key: Secret = secret(dev_default="dev-only-cookie-key")
        stripe_secret_key: Secret = secret(pattern="sk_.+")
        stripe_webhook_secret: Secret
        langsmith_api_key: Secret | None
        sentry_dsn: Secret = secret(min_length=32)
        github_token: Secret
        tls_key: SecretBytes = secret(max_length=8)
        signing_key: Secret = secret(min_length=32, pattern="[0-9]+")
        database_url: Secret
        redis_url: Secret = secret(check=lambda _: False)
        smtp_password: Secret = secret(check=fail)
        push_key: Secret = secret(check=lambda _: 5)
        slow_key: Secret = secret(check=lambda _: release.wait(60))
        unquoted_pem: Secret
        open_quote: Secret | None
        yaml_style: Secret | None
        reference: Secret

    move_to(tmp_path, monkeypatch)
    (tmp_path / ".dockerenv").touch()
    (tmp_path / "short").write_text("fake-short")
    lines = [
        "YAML_STYLE: fake",
        "UNQUOTED_PEM=-----BEGIN FAKE KEY-----",
        "ZmFrZQ==",
        "-----END FAKE KEY-----",
        f"HIVE_API_KEY={VALUE}",
        f"HIVE_API_KEY_FILE={tmp_path}/short",
        "JWT_SECRET=dev-only-jwt-secret",
        f"DATABASE_URL='{placeholder('DATABASE_URL')}'",
        *(f"{name}_KEY={VALUE}" for name in ("TLS", "PUSH", "SLOW")),
        *(f"{name}={VALUE}" for name in ("REDIS_URL", "SMTP_PASSWORD")),
        "REFERENCE=https://${NOWHERE}/",
        'OPEN_QUOTE="fake',
    ]
    (tmp_path / "cwd/.env").write_text("\n".join(lines))
    variables = {
        "APP_ENV": "production",
        "OPEN_AI_API_KEY": VALUE,
        "STRIPE_SECRET_KEY": VALUE,
        "STRIPE_WEBHOOK_SECRET_FILE": f"{tmp_path}/cwd/nowhere",
        "LANGSMITH_API_KEY_FILE": VALUE,
        "SENTRY_DSN_FILE": f"{tmp_path}/short",
        "GITHUB_TOKEN": "fake-\udcff",
        "SIGNING_KEY": VALUE,
    }
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    failure = await failed_start(Bootstrap(HiveSecrets, config=Settings, startup_timeout=0.2))
    assert VALUE not in str(failure)
    assert_golden("start_failed_development", str(failure), {str(tmp_path): "<root>"})


async def test_a_dotenv_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One problem names every secret that the file may contain."""

    class Three(SecretSet):
        """Secrets of which the environment provides one."""

        api_key: Secret = secret(used_by="auth middleware")
        jwt_secret: Secret
        sentry_dsn: Secret | None

    move_to(tmp_path, monkeypatch)
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "development")
    monkeypatch.setenv("JWT_SECRET", VALUE)
    (tmp_path / "cwd/.env").write_bytes(b"\xff")
    failure = await failed_start(Bootstrap(Three))
    assert_golden("start_failed_dotenv", str(failure), {str(tmp_path): "<root>"})


async def test_a_start_in_docker_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories that are wrong, and one with whatever can stand in the place of a file."""

    class HiveSecrets(SecretSet):
        """Secrets of which none is right."""

        openai_api_key: Secret = secret(used_by="semantic-memory, agents")
        empty: Secret
        latin: Secret
        binary: Secret
        large: Secret
        fifo: Secret
        folder: Secret
        device: Secret
        socket: Secret
        dangling: Secret
        loop: Secret
        differing: Secret
        unmounted: Secret
        jwt_secret: Secret = secret(min_length=32, used_by="user-auth")

    monkeypatch.setenv("UNMOUNTED", VALUE)
    named = tmp_path / "named"
    named.mkdir()
    restless = tmp_path / "restless"
    restless.mkdir()
    (tmp_path / "not-a-directory").write_text(VALUE)
    (named / "openai-apikey.txt").write_text(VALUE)
    (named / "empty").write_text("\n")
    (named / "latin").write_bytes(b"\xff")
    (named / "binary").write_text("fake-\0")
    (named / "large").write_bytes(bytes(MIB + 1))
    os.mkfifo(named / "fifo")
    (named / "folder").mkdir()
    (named / "device").symlink_to("/dev/zero")
    make_socket(named / "socket")
    (named / "dangling").symlink_to("nowhere")
    (named / "loop").symlink_to("loop")
    (named / "differing").write_text(VALUE)
    (named / "DIFFERING.txt").write_text("fake-other")
    (named / "jwt_secret").write_text("fake-short")
    directories = (named, restless, tmp_path / "gone", tmp_path / "not-a-directory")
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", ":".join(map(str, directories)))
    clock = FakeClock()
    clock.steps = [partial((restless / "latin").write_text, str(number)) for number in range(999)]
    clock.steps[0]()  # type: ignore[operator]
    move_to(tmp_path, monkeypatch)
    let_time_fly(monkeypatch, clock)
    failure = await failed_start(Bootstrap(HiveSecrets, config=unreachable))
    assert VALUE not in str(failure)
    assert_golden("start_failed_docker", str(failure), {str(tmp_path): "<root>"})


async def test_a_start_in_kubernetes_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod without a volume, then one with volumes that are wrong."""

    class HiveSecrets(SecretSet):
        """Secrets of which none is right."""

        openai_api_key: Secret = secret(used_by="semantic-memory, agents")
        jwt_secret: Secret = secret(min_length=32, used_by="user-auth")
        client_key: Secret = secret(file="tls/client.key")
        github_token: Secret
        sentry_dsn: Secret | None

    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    move_to(tmp_path, monkeypatch)
    let_time_fly(monkeypatch, FakeClock())
    without = await failed_start(Bootstrap(HiveSecrets))
    volumes = tmp_path / "run/secrets"
    MountedVolume(volumes / "a").publish({"openai_apikey": VALUE, "github_token": VALUE})
    MountedVolume(volumes / "b").publish({"jwt-secret": "fake-short", "github_token": "fake-other"})
    MountedVolume(volumes / "c").publish({"sentry_dsn": VALUE})
    (volumes / "c/..data").unlink()
    monkeypatch.setenv("SENTRY_DSN", VALUE)
    failure = await failed_start(Bootstrap(HiveSecrets))
    assert VALUE not in str(failure)
    text = f"{without}\n\n{failure}"
    assert_golden("start_failed_kubernetes", text, {str(tmp_path): "<root>"})


async def test_a_start_in_systemd_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit without its credentials, and with one that its user may not read."""

    class HiveSecrets(SecretSet):
        """Secrets of which none is right."""

        openai_api_key: Secret = secret(used_by="semantic-memory, agents")
        client_key: Secret = secret(file="tls/client.key")
        jwt_secret: Secret
        sentry_dsn: Secret = secret(min_length=32)

    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/credentials")
    # What a failed start imports is imported before, by a user who may read it.
    await failed_start(Bootstrap(HiveSecrets, mode="systemd"))
    with as_ordinary_user() as root:
        move_to(root, monkeypatch)
        let_time_fly(monkeypatch, FakeClock())
        (root / "credentials").mkdir()
        (root / "credentials/jwt_secret").touch(mode=0)
        (root / "credentials/sentry_dsn").write_text("fake-short")
        failure = await failed_start(Bootstrap(HiveSecrets))
    assert_golden("start_failed_systemd", str(failure), {str(root): "<root>"})


async def test_a_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Volumes that are gone or empty, and new values that are refused."""

    class HiveSecrets(SecretSet):
        """Secrets that are right at the start."""

        openai_api_key: Secret = secret(used_by="semantic-memory, agents")
        jwt_secret: Secret = secret(min_length=16, used_by="user-auth")
        github_token: Secret = secret(check=expect_first_value)
        sentry_dsn: Secret | None
        redis_url: Secret

    volumes = {name: MountedVolume(tmp_path / "run/secrets" / name) for name in "abc"}
    volumes["a"].publish({"jwt_secret": VALUE, "github_token": VALUE, "redis_url": VALUE})
    volumes["b"].publish({"openai_api_key": VALUE})
    volumes["c"].publish({"sentry_dsn": VALUE})
    move_to(tmp_path, monkeypatch)
    boot = Bootstrap(HiveSecrets, mode="kubernetes")
    async with boot.running() as secrets:
        volumes["a"].publish(
            {"jwt_secret": "fake-short", "github_token": f"{VALUE}-new", "redis_url": b"\xff"}
        )
        volumes["b"].publish({})
        shutil.rmtree(volumes["c"].path)
        with pytest.raises(InvalidSecretsError) as caught:
            await boot.reload()
        assert secrets.jwt_secret.reveal() == VALUE
    assert caught.value.kept
    assert VALUE not in str(caught.value)
    assert_golden("reload_refused", str(caught.value), {str(tmp_path): "<root>"})
