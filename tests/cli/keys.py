"""Declarations that commands load by name."""

from collections.abc import Iterator

from hive_boot import Bootstrap, Secret, SecretBytes, SecretSet, secret

APP = "tests.cli.keys:Keys"


class Keys(SecretSet):
    """Secrets of every kind, none of them required."""

    api_key: Secret | None
    token: Secret | None = secret(previous="TOKEN_BEFORE")
    keystore: SecretBytes | None
    certificate: Secret | None = secret("TLS_CERT", file="tls/cert.pem")


class Alike(SecretSet):
    """Secrets whose file names are not valid keys, or differ only slightly."""

    tls_key: Secret | None = secret(file="tls/key")
    other: Secret | None = secret(file="tls-key")
    hidden: Secret | None = secret(file="..hidden")


async def later(value: str) -> bool:
    """Check a value in a coroutine."""
    return value.isdigit()


class Later:
    """An awaitable result of a check that is not a coroutine."""

    def __init__(self, value: str) -> None:
        self.passed = value.isdigit()

    def __await__(self) -> Iterator[None]:
        """Fail: a command does not await such a result."""
        raise AssertionError


class Strict(SecretSet):
    """Secrets with constraints."""

    api_key: Secret
    jwt_secret: Secret | None = secret(
        required_in=("production", "test"), min_length=8, dev_default="fake-default"
    )
    pin: Secret | None = secret(check=lambda value: value.isdigit())
    slow_pin: Secret | None = secret(check=later)
    odd_pin: Secret | None = secret(check=Later)


class Versioned(SecretSet, version="secrets-version"):
    """Secrets with a version."""

    api_key: Secret = secret(min_length=8)
    certificate: Secret | None = secret("TLS_CERT", file="tls/cert.pem")


boot = Bootstrap(Keys, env_file="other.env")

at_home = Bootstrap(Keys, env_file="~/home.env")


class Renamed(SecretSet):
    """A field with a former name as an alias."""

    api_key: Secret = secret(aliases=("OLD_KEY",))


class Foreign(SecretSet):
    """A field that ignores its ``NAME_FILE`` variable, which other software uses."""

    ssl_cert: Secret | None = secret(file_variable=False, aliases=("OLD_CERT",))
