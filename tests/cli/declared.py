"""Applications that commands are asked about."""

from pydantic_settings import BaseSettings

from hive_boot import Bootstrap, Secret, SecretBytes, SecretSet, secret


class Needs(SecretSet):
    """Secrets of every kind."""

    jwt_secret: Secret = secret(used_by="logins", min_length=12, previous="JWT_SECRET_PREVIOUS")
    client_key: SecretBytes | None = secret(required_in="production")
    sentry_dsn: Secret | None = secret()


class Settings(BaseSettings):
    """Settings that are not secret."""

    workers: int = 1


def is_ascii(value: str) -> bool:
    """Judge a value at once."""
    return value.isascii()


async def is_long(value: str) -> bool:
    """Judge a value, and have to be awaited."""
    return len(value) > len("fake")


class Checked(SecretSet):
    """A field and a set that judge."""

    jwt_secret: Secret = secret(check=is_ascii)

    async def check(self) -> bool:
        """Judge the set."""
        return not self.jwt_secret.reveal().endswith("no-use")


class Awaited(SecretSet):
    """A field whose check has to be awaited."""

    jwt_secret: Secret = secret(check=is_long)


boot = Bootstrap(Needs)
configured = Bootstrap(Needs, config=Settings)
judged = Bootstrap(Needs)
unreached = Bootstrap(Needs, startup_timeout=0.2)
unwired = Bootstrap(Needs)
tangled = Bootstrap(Needs)
something_else = "neither"


@judged.check
async def knows_the_door(secrets: Needs) -> bool:
    """Judge the set, as the application."""
    return secrets.jwt_secret.reveal().startswith("open-")


@judged.resource
async def never_started() -> None:
    """Be no part of a check."""
    message = "a part was started"
    raise AssertionError(message)


@unwired.resource
async def asking(nobody_knows: object) -> None:
    """Ask for what there is not."""


@tangled.resource
async def first(second: object) -> None:
    """Ask for the second."""


@tangled.resource
async def second(first: object) -> None:
    """Ask for the first."""


@unreached.check
async def database_answers() -> None:
    """Find no server."""
    raise ConnectionRefusedError


class Versioned(SecretSet, version="secrets-version"):
    """Secrets that are rotated in each way, with a version."""

    jwt_secret: Secret = secret(activate_after=120, accept_old_for=3600, previous="JWT_BEFORE")
    signing_key: Secret = secret(activate_after=60)
    webhook_secret: Secret = secret(previous="WEBHOOK_BEFORE")
    api_key: Secret = secret()
