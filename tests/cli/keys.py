"""Declarations that the command line is given by name."""

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
    """Files whose names are no keys, or nearly the same ones."""

    tls_key: Secret | None = secret(file="tls/key")
    other: Secret | None = secret(file="tls-key")
    hidden: Secret | None = secret(file="..hidden")


async def later(value: str) -> bool:
    """Judge a value, some time."""
    return value.isdigit()


class Later:
    """A judgement that can be awaited, and is no coroutine."""

    def __init__(self, value: str) -> None:
        self.passed = value.isdigit()

    def __await__(self) -> Iterator[None]:
        """Be awaited by nobody."""
        raise AssertionError


class Strict(SecretSet):
    """Secrets with rules."""

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
    """A field that had another name."""

    api_key: Secret = secret(aliases=("OLD_KEY",))


class Foreign(SecretSet):
    """A field of whose name other software has a ``NAME_FILE``."""

    ssl_cert: Secret | None = secret(file_variable=False, aliases=("OLD_CERT",))
