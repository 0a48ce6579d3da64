"""Misuse. Each line that asks to be ignored is found by each type checker, and no other is.

A ``type: ignore`` is for both of them, a ``pyright: ignore`` marks what mypy does not see.
The test takes these comments away.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

from pydantic import SecretStr

from hive_boot import Bootstrap, Change, Secret, SecretSet, secret
from hive_boot.tls import client_context, server_context


class HiveSecrets(SecretSet):
    """The secrets of the HIVE service."""

    jwt_secret: Secret = secret(min_length=32)
    sentry_dsn: Secret | None = secret()


class WrongPrefix(SecretSet, prefix=3):  # type: ignore[arg-type]
    """A prefix that is not text, and fields that cannot be None."""

    token: Secret = None  # type: ignore[assignment]
    api_key: Secret | None = secret(aliases=3)  # type: ignore[arg-type]


@dataclass
class Settings:
    """Settings that are not secret."""

    port: int = 3000


KEY = Secret("JWT_SECRET", "fake-jwt-secret-0123456789-0123456789")

boot = Bootstrap(HiveSecrets)
configured = Bootstrap(HiveSecrets, config=Settings)


class HiddenSettings:
    """Settings that show a secret in a type of another library."""

    key = boot.as_property("jwt_secret", SecretStr)


def hidden(settings: HiddenSettings) -> None:
    """Use a hidden value as a text."""
    settings.key.encode()  # type: ignore[union-attr]
    boot.as_property("jwt_secret", "SecretStr")  # type: ignore[call-overload]


async def use(secrets: HiveSecrets) -> None:
    """Use secrets in ways that are always mistakes."""
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
    """Declare sets and applications with wrong arguments."""
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
    Bootstrap(HiveSecrets, secret_dirs=".")  # type: ignore[arg-type]
    Bootstrap(HiveSecrets, watch="yes")  # type: ignore[arg-type]
    Bootstrap(HiveSecrets, watch=None)  # type: ignore[arg-type]
    Bootstrap(HiveSecrets, wait_for_files="30")  # type: ignore[arg-type]
    Bootstrap(HiveSecrets, sources=Settings())  # type: ignore[arg-type]
    Bootstrap(HiveSecrets, sources=[Settings()])  # type: ignore[list-item]
    Bootstrap(HiveSecrets, wait_for_files=None)  # type: ignore[arg-type]
    Bootstrap(HiveSecrets, startup_timeout="30")  # type: ignore[arg-type]
    secret(min_lenght=32)  # type: ignore[call-arg]
    secret(min_length="32")  # type: ignore[arg-type]


async def run() -> None:
    """Read attributes that a run does not have."""
    _ = boot.secrets.jwt_secrt  # type: ignore[attr-defined]
    boot.secrets = boot.secrets  # type: ignore[misc]
    _ = boot.config.port  # type: ignore[attr-defined]
    _ = configured.config.prt  # type: ignore[attr-defined]
    port: str = configured.config.port  # type: ignore[assignment]
    wrong: Bootstrap[HiveSecrets, int] = configured  # type: ignore[assignment]
    async with boot.running() as secrets:
        secrets.sentry_dsn.reveal()  # type: ignore[union-attr]
    with boot.running():  # type: ignore[attr-defined]
        pass
    _ = boot.running().jwt_secret  # type: ignore[attr-defined]
    assert port
    assert wrong


@boot.main  # type: ignore[type-var]
def sync_main(secrets: HiveSecrets) -> None:
    """A main that is not async."""


@boot.main  # type: ignore[type-var]
async def text_main(secrets: HiveSecrets) -> str:
    """A main whose result is not an exit status."""
    return secrets.jwt_secret.reveal()


@boot.main  # type: ignore[type-var]
async def generator_main(secrets: HiveSecrets) -> AsyncIterator[HiveSecrets]:
    """A main that yields."""
    yield secrets


@boot.on_rotate()  # type: ignore[type-var]
def sync_hook(change: Change) -> None:
    """A hook that is not async."""


@boot.on_rotate()  # type: ignore[type-var]
async def hook_of_nothing() -> None:
    """A hook without a parameter for the change."""


@boot.on_rotate("jwt_secret")  # type: ignore[type-var]
async def hook_of_secrets(secrets: HiveSecrets) -> None:
    """A hook whose first parameter is not the change."""


@boot.on_rotate("jwt_secret")  # type: ignore[type-var]
async def change_last(secrets: HiveSecrets, change: Change) -> None:
    """A hook whose change is not the first parameter."""


@boot.on_rotate()  # type: ignore[type-var]
async def generator_hook(change: Change) -> AsyncIterator[Change]:
    """A hook that yields."""
    yield change


@boot.on_rotate  # type: ignore[arg-type]
async def hook_without_brackets(change: Change) -> None:
    """A hook without parentheses: the decorator takes the function for a field name."""


@boot.check  # type: ignore[type-var]
def sync_check(secrets: HiveSecrets) -> bool:
    """A check that is not async."""
    return secrets.sentry_dsn is None


@boot.check  # type: ignore[type-var]
async def text_check(secrets: HiveSecrets) -> str:
    """A check whose result is not a bool or None."""
    return repr(secrets)


@boot.readiness  # type: ignore[type-var]
def sync_contributor() -> bool:
    """A readiness contributor that is not async."""
    return True


@boot.readiness("queue")  # type: ignore[type-var]
async def text_contributor() -> str:
    """A readiness contributor whose result is not a bool or None."""
    return ""


@boot.check("jwt_secret", timeout=3)  # type: ignore[type-var]
def sync_check_of_one(secrets: HiveSecrets) -> bool:
    """A check that is not async, with arguments of the decorator."""
    return secrets.sentry_dsn is None


@boot.check("jwt_secret")  # type: ignore[type-var]
async def generator_check(secrets: HiveSecrets) -> AsyncIterator[HiveSecrets]:
    """A check that yields."""
    yield secrets


class Pool:
    """The value of a resource."""

    size: int = 3


@boot.resource  # type: ignore[arg-type]
def sync_resource() -> Pool:
    """A resource that is not async."""
    return Pool()


@boot.resource  # type: ignore[arg-type]
def sync_generator_resource() -> Iterator[Pool]:
    """A resource as a generator that is not async."""
    yield Pool()


@boot.resource(timeout=3)  # type: ignore[arg-type]
def sync_resource_with_timeout() -> Pool:
    """A resource that is not async, with arguments of the decorator."""
    return Pool()


@boot.resource
async def pool() -> AsyncIterator[Pool]:
    """A correct resource."""
    yield Pool()


@boot.service  # type: ignore[type-var]
def sync_service(pool: Pool) -> None:
    """A service that is not async."""


@boot.service(max_restarts=3)  # type: ignore[type-var]
def sync_service_with_budget(pool: Pool) -> None:
    """A service that is not async, with arguments of the decorator."""


@boot.service  # type: ignore[type-var]
async def generator_service(pool: Pool) -> AsyncIterator[Pool]:
    """A service that yields."""
    yield pool


@boot.main(must_complete=True)  # type: ignore[type-var]
def sync_main_with_arguments(pool: Pool) -> None:
    """A main that is not async, with arguments of the decorator."""


def take(pool: Pool) -> int:
    """Use the value of the resource."""
    return pool.size


async def use_resources() -> None:
    """Use a resource as something that it is not."""
    take(pool)  # type: ignore[arg-type]
    take(await pool())
    take(pool())  # type: ignore[arg-type]
    take(pool.value)
    _ = pool.size  # type: ignore[attr-defined]
    text: str = pool.value  # type: ignore[assignment]
    pool.value = Pool()  # type: ignore[misc]
    _ = pool.value.sizes  # type: ignore[attr-defined]
    value: Callable[[], Awaitable[str]] = pool  # type: ignore[assignment]
    await pool(secrets=boot.secrets)  # type: ignore[call-arg]
    assert text != repr(value)


def declare_lifecycle() -> None:
    """Pass arguments that resources, services, checks and the stop do not accept."""
    boot.resource(timeout="3")  # type: ignore[call-overload]
    boot.resource(retry_on="OSError")  # type: ignore[call-overload]
    boot.resource(retry_on=KeyboardInterrupt)  # type: ignore[arg-type]
    boot.resource(after=3)  # type: ignore[call-overload]
    boot.check(at="never")  # type: ignore[call-overload]
    boot.check(retry_on=OSError())  # type: ignore[call-overload]
    boot.resource(restart="never")  # type: ignore[call-overload]
    boot.resource("pool")  # type: ignore[call-overload]
    boot.service(restart="sometimes")  # type: ignore[call-overload]
    boot.service(restart_window="60")  # type: ignore[call-overload]
    boot.service(max_restarts=1.5)  # type: ignore[call-overload]
    boot.service("poll")  # type: ignore[call-overload]
    boot.check(3)  # type: ignore[call-overload]
    boot.check(names=["jwt_secret"])  # type: ignore[call-overload]
    boot.check("jwt_secret", timeout="3")  # type: ignore[call-overload]
    boot.readiness(3)  # type: ignore[call-overload]
    boot.readiness("queue", interval="5")  # type: ignore[call-overload]
    boot.readiness("queue", 5)  # type: ignore[call-overload]
    boot.main(must_complete="yes")  # type: ignore[call-overload]
    Bootstrap(HiveSecrets, probe_port="8081")  # type: ignore[arg-type]
    Bootstrap(HiveSecrets, shutdown_delay="5")  # type: ignore[arg-type]
    Bootstrap(HiveSecrets, shutdown_timeout=None)  # type: ignore[arg-type]
    boot.asgi(3)  # type: ignore[arg-type]
    boot.probes()  # type: ignore[call-arg]


# Code after a call that never returns is not checked, so each call is in a lambda.
OWNERS = [
    lambda: boot.run("trio"),  # type: ignore[arg-type]
    lambda: server_context(boot, "tls_crt", "tls_key"),  # type: ignore[call-arg]
    lambda: server_context(boot, certificate="tls_crt"),  # type: ignore[call-arg]
    lambda: client_context(boot, ca=b"ca"),  # type: ignore[arg-type]
    lambda: boot.serve(host="127.0.0.1"),  # type: ignore[call-arg]
    lambda: boot.serve(pool),  # type: ignore[arg-type]
    lambda: boot.serve(boot.probes, port="8000"),  # type: ignore[arg-type]
    lambda: boot.serve(boot.probes, "127.0.0.1"),  # type: ignore[call-arg]
    lambda: boot.serve(boot.probes, tls="tls_crt"),  # type: ignore[arg-type]
    lambda: boot.serve(boot.probes, server_options=["access_log"]),  # type: ignore[arg-type]
]


async def rotate(change: Change) -> None:
    """Use changes and rotations wrongly."""
    boot.on_rotate(3)  # type: ignore[arg-type]
    boot.on_rotate(["jwt_secret"])  # type: ignore[arg-type]
    boot.on_rotate("jwt_secret", timeout="5")  # type: ignore[arg-type]
    boot.on_rotate(names="jwt_secret")  # type: ignore[call-arg]
    await boot.reload(now="yes")  # type: ignore[arg-type]
    _ = (await boot.reload()).names  # type: ignore[union-attr]
    _ = boot.reload().names  # type: ignore[attr-defined]
    change.generation = 3  # type: ignore[misc]
    change.new["jwt_secret"].reveal()  # type: ignore[union-attr]
    change.new["jwt_secret"] = KEY  # type: ignore[index]
    text: str = change.names  # type: ignore[assignment]
    boot.accepted(3)  # type: ignore[arg-type]
    boot.accepted("jwt_secret").reveal()  # type: ignore[attr-defined]
    boot.verify("jwt_secret", 3)  # type: ignore[arg-type]
    boot.verify("jwt_secret", len, rejected="ValueError")  # type: ignore[arg-type]
    await boot.verify_async("jwt_secret", len)  # type: ignore[arg-type]
    assert text


def look() -> None:
    """Read attributes that a status does not have."""
    status = boot.status()
    _ = status.rotation  # type: ignore[attr-defined]
    status.timeline[0].end = 3.0  # type: ignore[misc]
    seconds_left: float = status.timeline[-1].end  # type: ignore[assignment]
    status.rotations_total["accepted"] = 3  # type: ignore[index]
    status.rotations.clear()  # type: ignore[attr-defined]
    status.failed = "pool"  # type: ignore[misc]
    status.degraded = True  # type: ignore[misc]
    status.reasons.append("none")  # type: ignore[attr-defined]
    watcher: int = status.watcher  # type: ignore[assignment]
    seconds: float = status.secrets[0].due  # type: ignore[assignment]
    assert seconds != watcher != seconds_left
