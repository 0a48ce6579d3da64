"""Misuse. Each line that asks to be ignored is found by each type checker, and no other is.

A ``type: ignore`` is for both of them, a ``pyright: ignore`` marks what mypy does not see.
The test takes these comments away.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from hive_boot import Bootstrap, Secret, SecretSet, secret


class HiveSecrets(SecretSet):
    """What the HIVE service needs."""

    jwt_secret: Secret = secret(min_length=32)
    sentry_dsn: Secret | None = secret()


@dataclass
class Settings:
    """What is not secret."""

    port: int = 3000


KEY = Secret("JWT_SECRET", "fake-jwt-secret-0123456789-0123456789")

boot = Bootstrap(HiveSecrets)
configured = Bootstrap(HiveSecrets, config=Settings)


async def use(secrets: HiveSecrets) -> None:
    """Use secrets in ways that cannot be meant."""
    secrets.jwt_secret = KEY  # type: ignore[misc]
    del secrets.jwt_secret  # pyright: ignore[reportAttributeAccessIssue]
    _ = secrets.jwt_secrt  # type: ignore[attr-defined]
    secrets.jwt_secret.upper()  # type: ignore[attr-defined]
    _ = secrets.jwt_secret + "x"  # type: ignore[operator]
    secrets.sentry_dsn.reveal()  # type: ignore[union-attr]
    text: str = secrets.jwt_secret  # type: ignore[assignment]
    KEY.reveal().decode()  # type: ignore[attr-defined]
    KEY.matches(3)  # type: ignore[arg-type]
    assert text


def declare() -> None:
    """Make sets and applications that cannot be."""
    HiveSecrets(jwt_secret=KEY)  # type: ignore[call-arg]
    HiveSecrets(jwt_secret="fake", sentry_dsn=None)  # type: ignore[arg-type]
    HiveSecrets(jwt_secret=None, sentry_dsn=None)  # type: ignore[arg-type]
    HiveSecrets(jwt_secret=KEY, sentry_dsn=None, other=KEY)  # type: ignore[call-arg]
    HiveSecrets(KEY, None)  # type: ignore[call-arg]
    Bootstrap(Settings)  # type: ignore[type-var]
    Bootstrap(HiveSecrets, config=3)  # type: ignore[arg-type]
    Bootstrap(HiveSecrets, config=Settings())  # type: ignore[arg-type]
    Bootstrap(HiveSecrets, mode="kubernets")  # type: ignore[arg-type]
    Bootstrap(HiveSecrets, Settings)  # type: ignore[call-arg]
    secret(min_lenght=32)  # type: ignore[call-arg]
    secret(min_length="32")  # type: ignore[arg-type]


async def run() -> None:
    """Take from a run what it has not."""
    _ = boot.secrets.jwt_secrt  # type: ignore[attr-defined]
    boot.secrets = boot.secrets  # type: ignore[misc]
    _ = boot.config.port  # type: ignore[attr-defined]
    _ = configured.config.prt  # type: ignore[attr-defined]
    port: str = configured.config.port  # type: ignore[assignment]
    wrong: Bootstrap[HiveSecrets, int] = configured  # type: ignore[assignment]
    async with boot.running() as secrets:
        secrets.sentry_dsn.reveal()  # type: ignore[union-attr]
    assert port
    assert wrong


@boot.main  # type: ignore[type-var]
def sync_main(secrets: HiveSecrets) -> None:
    """Be called, and not awaited."""


@boot.main  # type: ignore[type-var]
async def text_main(secrets: HiveSecrets) -> str:
    """Return what is no exit status."""
    return secrets.jwt_secret.reveal()


@boot.main  # type: ignore[type-var]
async def generator_main(secrets: HiveSecrets) -> AsyncIterator[HiveSecrets]:
    """Yield, as no main does."""
    yield secrets
