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
    """What the HIVE service needs."""

    jwt_secret: Secret = secret(min_length=32)
    sentry_dsn: Secret | None = secret()


class WrongPrefix(SecretSet, prefix=3):  # type: ignore[arg-type]
    """A prefix that is no text, and fields that cannot be None."""

    token: Secret = None  # type: ignore[assignment]
    api_key: Secret | None = secret(aliases=3)  # type: ignore[arg-type]


@dataclass
class Settings:
    """What is not secret."""

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
    """Take from a run what it has not."""
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
    """Be called, and not awaited."""


@boot.main  # type: ignore[type-var]
async def text_main(secrets: HiveSecrets) -> str:
    """Return what is no exit status."""
    return secrets.jwt_secret.reveal()


@boot.main  # type: ignore[type-var]
async def generator_main(secrets: HiveSecrets) -> AsyncIterator[HiveSecrets]:
    """Yield, as no main does."""
    yield secrets


@boot.on_rotate()  # type: ignore[type-var]
def sync_hook(change: Change) -> None:
    """Be called, and not awaited."""


@boot.on_rotate()  # type: ignore[type-var]
async def hook_of_nothing() -> None:
    """Take no change."""


@boot.on_rotate("jwt_secret")  # type: ignore[type-var]
async def hook_of_secrets(secrets: HiveSecrets) -> None:
    """Take something else first."""


@boot.on_rotate("jwt_secret")  # type: ignore[type-var]
async def change_last(secrets: HiveSecrets, change: Change) -> None:
    """Take the change, and not first."""


@boot.on_rotate()  # type: ignore[type-var]
async def generator_hook(change: Change) -> AsyncIterator[Change]:
    """Yield, as no hook does."""
    yield change


@boot.on_rotate  # type: ignore[arg-type]
async def hook_without_brackets(change: Change) -> None:
    """Be taken for a name."""


@boot.check  # type: ignore[type-var]
def sync_check(secrets: HiveSecrets) -> bool:
    """Be called, and not awaited."""
    return secrets.sentry_dsn is None


@boot.check  # type: ignore[type-var]
async def text_check(secrets: HiveSecrets) -> str:
    """Answer what is no verdict."""
    return repr(secrets)


@boot.readiness  # type: ignore[type-var]
def sync_contributor() -> bool:
    """Be called, and not awaited."""
    return True


@boot.readiness("queue")  # type: ignore[type-var]
async def text_contributor() -> str:
    """Answer what is no verdict."""
    return ""


@boot.check("jwt_secret", timeout=3)  # type: ignore[type-var]
def sync_check_of_one(secrets: HiveSecrets) -> bool:
    """Be called, and not awaited, by a decorator with arguments."""
    return secrets.sentry_dsn is None


@boot.check("jwt_secret")  # type: ignore[type-var]
async def generator_check(secrets: HiveSecrets) -> AsyncIterator[HiveSecrets]:
    """Yield, as no check does."""
    yield secrets


class Pool:
    """What a part gives."""

    size: int = 3


@boot.resource  # type: ignore[arg-type]
def sync_part() -> Pool:
    """Be called, and not awaited."""
    return Pool()


@boot.resource  # type: ignore[arg-type]
def sync_generator_part() -> Iterator[Pool]:
    """Yield, and not wait."""
    yield Pool()


@boot.resource(timeout=3)  # type: ignore[arg-type]
def sync_part_with_time() -> Pool:
    """Be called, and not awaited, by a decorator with arguments."""
    return Pool()


@boot.resource
async def pool() -> AsyncIterator[Pool]:
    """Be a good part."""
    yield Pool()


@boot.service  # type: ignore[type-var]
def sync_service(pool: Pool) -> None:
    """Be called, and not awaited."""


@boot.service(max_restarts=3)  # type: ignore[type-var]
def sync_service_with_budget(pool: Pool) -> None:
    """Be called, and not awaited, by a decorator with arguments."""


@boot.service  # type: ignore[type-var]
async def generator_service(pool: Pool) -> AsyncIterator[Pool]:
    """Yield, as no service does."""
    yield pool


@boot.main(must_complete=True)  # type: ignore[type-var]
def sync_main_with_arguments(pool: Pool) -> None:
    """Be called, and not awaited, by a decorator with arguments."""


def take(pool: Pool) -> int:
    """Take what the part gives."""
    return pool.size


async def use_parts() -> None:
    """Take a part for what it is not."""
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


def declare_life() -> None:
    """Return what parts, services, checks and the stop do not take."""
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


# None of these returns, so nobody looks at what would stand below.
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
    """Make of a rotation what it is not."""
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
    assert text


def look() -> None:
    """Read of a status what it has not."""
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
