"""Applications for the tests of commands."""

from pydantic_settings import BaseSettings

from hive_boot import Bootstrap, Secret, SecretBytes, SecretSet, secret


class Needs(SecretSet):
    """Secrets of every kind."""

    jwt_secret: Secret = secret(used_by="logins", min_length=12, previous="JWT_SECRET_PREVIOUS")
    client_key: SecretBytes | None = secret(required_in="production")
    sentry_dsn: Secret | None = secret()


class Versioned(SecretSet, version="secrets-version"):
    """A set with a version."""

    api_key: Secret


class Settings(BaseSettings):
    """Settings that are not secret."""

    workers: int = 1


def is_ascii(value: str) -> bool:
    """Check a value."""
    return value.isascii()


async def is_long(value: str) -> bool:
    """Check a value in a coroutine."""
    return len(value) > len("fake")


class Checked(SecretSet):
    """A set with a field check and a set check."""

    jwt_secret: Secret = secret(check=is_ascii)

    async def check(self) -> bool:
        """Check the set."""
        return not self.jwt_secret.reveal().endswith("no-use")


class Awaited(SecretSet):
    """A field with an async check."""

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
    """Check the set, as the application."""
    return secrets.jwt_secret.reveal().startswith("open-")


@judged.resource
async def never_started() -> None:
    """Fail: a dry run starts no resource."""
    message = "a resource was started"
    raise AssertionError(message)


@unwired.resource
async def asking(nobody_knows: object) -> None:
    """Request a value that is not available."""


@tangled.resource
async def first(second: object) -> None:
    """Request the value of the second resource."""


@tangled.resource
async def second(first: object) -> None:
    """Request the value of the first resource."""


@unreached.check
async def database_answers() -> None:
    """Raise the error of a server that is down."""
    raise ConnectionRefusedError
