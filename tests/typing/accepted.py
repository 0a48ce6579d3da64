"""Correct code of users. No type checker may report anything here."""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import Annotated, Any, Literal, NoReturn, Self, assert_type

from fastapi import Depends, FastAPI
from pydantic import SecretStr

from hive_boot import (
    Bootstrap,
    Change,
    Secret,
    SecretBytes,
    SecretSet,
    ShutdownTimeoutError,
    Source,
    StartupError,
    get_secret,
    has_secret,
    mask_secret,
    require_secret,
    secret,
)
from hive_boot.testing import override
from hive_boot.tls import client_context, server_context


class HiveSecrets(SecretSet):
    """The secrets of the HIVE service."""

    openai_api_key: Secret = secret(used_by="semantic-memory, agents")
    jwt_secret: Secret = secret(
        used_by="user-auth",
        dev_default="dev-only-jwt-secret-0123456789abcdef",
        min_length=32,
        activate_after=120,
        accept_old_for=3600,
    )
    sentry_dsn: Secret | None = secret(used_by="error monitoring")
    keystore: SecretBytes | None
    hive_api_key: Secret | None = secret(required_in="production", pattern=r"\w+")

    async def check(self) -> None:
        """Check the whole set."""
        assert_type(self.jwt_secret, Secret)


class PrefixedSecrets(SecretSet, prefix="ORDERS_"):
    """A prefix, older names, and an optional field that is None in the code."""

    db_password: Secret = secret(aliases=("DB_PASSWORD", "PGPASSWORD"))
    api_key: Secret | None = secret("STRIPE_KEY", aliases="OLD_KEY")
    sentry_dsn: Secret | None = None


def prefixed() -> None:
    """Leave out the field that is None in the code."""
    made = PrefixedSecrets(db_password=Secret("ORDERS_DB_PASSWORD", "fake"), api_key=None)
    assert_type(made.db_password, Secret)
    assert_type(made.sentry_dsn, Secret | None)


class MoreSecrets(HiveSecrets):
    """A subclass adds fields."""

    token: Secret


@dataclass
class Settings:
    """Settings that are not secret."""

    port: int = 3000


boot = Bootstrap(HiveSecrets)


@boot.main
async def main(secrets: HiveSecrets) -> None:
    """Use the secrets of the run."""
    assert_type(secrets.openai_api_key, Secret)
    assert_type(secrets.openai_api_key.reveal(), str)
    assert_type(secrets.jwt_secret.matches("candidate"), bool)
    assert_type(secrets.current, HiveSecrets)
    if secrets.sentry_dsn is not None:
        assert_type(secrets.sentry_dsn.reveal(), str)
    if secrets.keystore is not None:
        assert_type(secrets.keystore.reveal(), bytes)


configured = Bootstrap(HiveSecrets, config=Settings, mode="kubernetes", profile="production")


@configured.main
async def configured_main(
    secrets: HiveSecrets, config: Settings, boot: Bootstrap[HiveSecrets, Settings]
) -> int:
    """Use the settings; the number is the exit status."""
    assert_type(boot.secrets, HiveSecrets)
    assert_type(boot.config, Settings)
    return config.port if boot.secrets is secrets else 1


class HiddenSettings:
    """Settings that show secrets in a type of another library."""

    key = boot.as_property("jwt_secret", SecretStr)
    keystore = boot.as_property("keystore", len)
    plain = boot.as_property("jwt_secret")


def hidden(settings: HiddenSettings) -> None:
    """Use the properties."""
    assert_type(settings.key, SecretStr | Any)
    assert_type(settings.keystore, int | Any)
    assert_type(settings.plain, Any)


def make_settings(port: int = 3000) -> Settings:
    """Make the settings."""
    return Settings(port)


made = Bootstrap(MoreSecrets, config=make_settings, secrets_dirs=["/run/a", "/run/b"])


def make_dsn(secrets: MoreSecrets) -> str:
    """Build a setting from secrets."""
    return f"postgresql://app:{secrets.token.reveal()}@db/orders"


dsn = Bootstrap(MoreSecrets, config=make_dsn)


@dsn.check("token")
async def connects(dsn: str, secrets: MoreSecrets) -> bool:
    """Check a candidate with the settings that belong to it."""
    return secrets.token.matches(dsn)


class Versioned(SecretSet, version="secrets-version"):
    """Secrets with a version."""

    token: Secret = secret(accept_old_for=60, previous="TOKEN_BEFORE")


def decode(key: Secret) -> dict[str, str]:
    """Verify by an exception."""
    return {key.reveal(): ""}


async def matches(key: SecretBytes) -> bool:
    """Verify by a result."""
    return key.matches(b"token")


async def verify() -> None:
    """Verify with each accepted value."""
    assert_type(boot.verify("jwt_secret", decode, rejected=ValueError), dict[str, str])
    assert_type(
        boot.verify("jwt_secret", lambda key: key.matches("token"), rejected=(ValueError,)), Any
    )
    assert_type(await boot.verify_async("jwt_secret", matches), bool)
    assert_type(boot.status().secrets_version, str | None)
    assert_type(boot.status().uses[0].old_use_age, float)


async def by_hand() -> None:
    """Start and stop without owning the process."""
    async with boot.running() as secrets:
        assert_type(secrets, HiveSecrets)
        assert_type(boot.config, None)
        assert_type(boot.accepted("jwt_secret"), tuple[Secret | SecretBytes, ...])
        assert_type(boot.status().ready, bool)
    async with made.running() as more:
        assert_type(more.token, Secret)
        assert_type(made.config.port, int)
    async with dsn.running():
        assert_type(dsn.config, str)


class AgentPool:
    """The value of a resource."""

    def __init__(self, key: str) -> None:
        self.key = key

    async def __aenter__(self) -> Self:
        """Open."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""


living = Bootstrap(
    HiveSecrets, config=Settings, probe_port=8081, shutdown_delay=2.5, shutdown_timeout=20
)


@living.resource
async def agents(secrets: HiveSecrets) -> AsyncIterator[AgentPool]:
    """A resource as an async iterator."""
    async with AgentPool(secrets.openai_api_key.reveal()) as pool:
        yield pool


@living.resource
async def cache(agents: AgentPool, config: Settings) -> AsyncGenerator[dict[str, int], None]:
    """A resource as an async generator."""
    yield {agents.key: config.port}


@living.resource
async def size(cache: dict[str, int]) -> int:
    """A resource that has nothing to stop."""
    return len(cache)


@living.resource(timeout=3)
async def slow(size: int, boot: Bootstrap[HiveSecrets, Settings]) -> AsyncIterator[str]:
    """A resource with a timeout, as an async iterator."""
    yield f"{boot.config.port} {size}"


@living.resource(timeout=0.5, retry_on=OSError, after=size)
async def slow_generator() -> AsyncGenerator[bytes, None]:
    """A resource with a timeout, as an async generator."""
    yield b""


@living.resource(retry_on=(OSError, LookupError), after=["migrated", slow_generator])
async def slow_size(slow: str) -> tuple[str, int]:
    """A resource with retries that has nothing to stop."""
    return slow, len(slow)


@living.resource
@asynccontextmanager
async def managed() -> AsyncGenerator[bytes, None]:
    """A resource as an async context manager of contextlib."""
    yield b""


@living.resource(timeout=3)
@asynccontextmanager
async def slow_managed(managed: bytes) -> AsyncGenerator[int, None]:
    """A resource with a timeout, as an async context manager of contextlib."""
    yield len(managed)


@living.resource
async def migrated() -> None:
    """A resource without a value."""


async def use_resources(secrets: HiveSecrets) -> None:
    """Read the values of resources, and call them as plain functions."""
    assert_type(agents.value, AgentPool)
    assert_type(await agents(), AgentPool)
    assert_type(agents.name, str)
    assert_type(cache.value, dict[str, int])
    assert_type(await cache(), dict[str, int])
    assert_type(size.value, int)
    assert_type(await size(), int)
    assert_type(slow.value, str)
    assert_type(await slow(), str)
    assert_type(slow_generator.value, bytes)
    assert_type(slow_size.value, tuple[str, int])
    assert_type(await slow_size(), tuple[str, int])
    assert_type(migrated.value, None)
    assert_type(managed.value, bytes)
    assert_type(slow_managed.value, int)
    async for pool in agents.fn(secrets):
        assert pool


@living.service
async def poll(agents: AgentPool, secrets: HiveSecrets) -> None:
    """A service that runs forever."""


@living.service(restart="never")
async def sweep(agents: AgentPool) -> int:
    """A service that returns; its result is ignored."""
    return len(agents.key)


@living.service(restart="on-failure", max_restarts=3, restart_window=10.5)
async def publish() -> NoReturn:
    """A service that never returns."""
    raise NotImplementedError


@living.check("openai_api_key", timeout=3)
async def openai_answers(secrets: HiveSecrets) -> bool:
    """Check one field."""
    return secrets.openai_api_key.matches("key")


@living.check("openai_api_key", "jwt_secret", retry_on=OSError, at="rotation")
async def both_hold(secrets: HiveSecrets, config: Settings) -> None:
    """Check two fields."""


@living.check(timeout=0.5, retry_on=(OSError, ValueError), at="start")
async def quick() -> bool | None:
    """Check every field, with a timeout."""
    return None


@living.check()
async def empty() -> None:
    """Check every field, with empty parentheses."""


@living.readiness
async def consumes(agents: AgentPool) -> bool:
    """Return whether the application is ready."""
    return bool(agents)


@living.readiness("cache", interval=1.5, timeout=1)
async def cache_is_filled() -> None:
    """Raise while the application is not ready."""


@living.readiness(name=None)
async def broker_answers() -> bool | None:
    """A contributor that may return a bool, and may raise."""
    return None


@living.on_rotate("openai_api_key")
async def reconnect_agents(change: Change, agents: AgentPool) -> None:
    """A hook that gets a change and a resource."""


@living.main(must_complete=True)
async def work(secrets: HiveSecrets, agents: AgentPool, size: int) -> int:
    """A main that gets resources, and can still be called as a plain function."""
    await poll(agents, secrets)
    assert_type(await sweep(agents), int)
    assert_type(await openai_answers(secrets), bool)
    await reconnect_agents(Change((), {}, {}, 2), agents)
    return size


web = FastAPI(lifespan=living.lifespan)
web.mount("/internal", living.probes)


@web.get("/agents")
async def look_at_agents(pool: Annotated[AgentPool, Depends(agents)]) -> int:
    """A route of FastAPI that depends on a resource."""
    return len(pool.key)


Message = MutableMapping[str, Any]


async def bare_app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """An ASGI application that uses no library."""


wrapped = living.asgi(web)
also_wrapped = living.asgi(bare_app)
twice_wrapped = living.asgi(living.asgi(living.probes))


def tls() -> list[SSLContext]:
    """TLS contexts of any application are those of the standard library."""
    pair = server_context(living, certificate="tls_crt", key="tls_key", ca=None)
    return [pair, server_context(boot, certificate="a", key="b"), client_context(boot, ca="c")]


def serve() -> NoReturn:
    """Own the process, and serve."""
    if living.status().started:
        living.serve(web, host="0.0.0.0", port=0, server="hypercorn", backend="trio")  # noqa: S104
    if living.status().ready:
        living.serve(bare_app)
    if living.status().degraded:
        options = {"timeout_keep_alive": 30, "root_path": "/api"}
        living.serve(bare_app, uds=Path("web.sock"), server_options=options)
    if living.status().forked:
        living.serve(bare_app, fd=3, tls=("tls_crt", "tls_key"), server_options=None)
    assert_type(living.run(backend="uvloop"), NoReturn)
    living.serve(wrapped, port=8080)


def told(error: StartupError | ShutdownTimeoutError) -> str:
    """Read the attributes of an error of a start or a stop."""
    if isinstance(error, StartupError):
        assert_type(error.resource, str)
        assert_type(error.progress, tuple[str, ...])
        return error.reason
    assert_type(error.pending, tuple[str, ...])
    return ", ".join(error.pending)


watching = Bootstrap(
    HiveSecrets,
    config=Settings,
    watch=True,
    wait_for_files=30,
    startup_timeout=10.5,
    mode="kubernetes",
)


@watching.check
async def judge(secrets: HiveSecrets) -> None:
    """A check that raises."""
    assert_type(secrets.jwt_secret, Secret)


@watching.check
async def judge_by_settings(secrets: HiveSecrets, config: Settings) -> bool:
    """A check that returns its result."""
    return config.port != len(secrets.openai_api_key.reveal())


@watching.check
async def judge_nothing() -> bool | None:
    """A check without parameters."""
    return None


@watching.on_rotate()
async def hear(change: Change) -> None:
    """A hook of every field."""
    assert_type(change.names, tuple[str, ...])
    assert_type(change.generation, int)
    assert_type(change.old, Mapping[str, Secret | SecretBytes | None])
    assert_type(change.new["jwt_secret"], Secret | SecretBytes | None)


@watching.on_rotate("jwt_secret", "openai_api_key", timeout=5)
async def reconnect(
    change: Change,
    secrets: HiveSecrets,
    config: Settings,
    boot: Bootstrap[HiveSecrets, Settings],
    retries: int = 3,
) -> int:
    """A hook of two fields, with other parameters; its result is ignored."""
    assert_type(boot.config, Settings)
    return config.port + retries if "jwt_secret" in change.names else len(repr(secrets))


@watching.on_rotate(timeout=0.5)
async def by_keyword(what: Change, /, *, secrets: HiveSecrets) -> None:
    """A hook that takes the change by position, under another name, and the set by keyword."""
    assert what.generation
    assert secrets.current


async def rotate(change: Change) -> None:
    """Call a decorated hook and a decorated check as plain functions."""
    await hear(change)
    async with watching.running(resources=False) as alone:
        assert_type(alone, HiveSecrets)
    with override(living, resources={agents: object(), "size": 3}, jwt_secret="fake-jwt"):
        pass
    async with watching.running() as secrets:
        assert_type(await reconnect(change, secrets, Settings(), watching), int)
        assert_type(await judge_by_settings(secrets, Settings()), bool)
        assert_type(await watching.reload(), Change | None)
        assert_type(await watching.reload(now=True), Change | None)


def look() -> None:
    """Read the status of an application."""
    status = watching.status()
    assert_type(status.degraded, bool)
    assert_type(status.reasons, tuple[str, ...])
    assert_type(status.generation, int)
    assert_type(status.last_read, float)
    assert_type(status.last_change, float)
    assert_type(status.rejected, bool)
    assert_type(status.rejected_names, tuple[str, ...])
    assert_type(status.watcher, Literal["inotify", "poll", "down", "off"])
    assert_type(status.missed_events, int)
    assert_type(status.pinned, tuple[str, ...])
    assert_type(status.stale, tuple[str, ...])
    assert_type(status.failing_hooks, tuple[str, ...])
    assert_type(status.forked, bool)
    assert_type(status.started, bool)
    assert_type(status.uptime, float)
    assert_type(status.failed, str)
    assert_type(status.failing_services, tuple[str, ...])
    assert_type([each.passing for each in status.contributors], list[bool])
    assert_type([each.age for each in status.contributors], list[float | None])
    assert_type(status.hook_failures, Mapping[str, int])
    assert_type(status.rotations_total, Mapping[str, int])
    for rotation in status.rotations:
        assert_type(rotation.verdict, Literal["accepted", "refused", "in-use"])
        assert_type(rotation.names, tuple[str, ...])
    for step in status.timeline:
        assert_type(step.name, str)
        assert_type(step.end, float | None)
        assert_type(step.waits_for, tuple[str, ...])
    for each in status.secrets:
        assert_type(each.name, str)
        assert_type(each.generation, int)
        assert_type(each.due, float | None)


async def inside_a_server(app: object) -> None:
    """Enter the lifespan as an application of another library does."""
    async with boot.lifespan(app) as state:
        assert_type(state, dict[str, Any])


def plain_functions() -> None:
    """Read secrets in code that was written without a declaration."""
    assert_type(get_secret("OPENAI_API_KEY"), str | None)
    assert_type(require_secret("OPENAI_API_KEY"), str)
    assert_type(has_secret("OPENAI_API_KEY"), bool)
    assert_type(mask_secret("sk-proj-abc...xyz"), str)


for_tests = HiveSecrets(
    openai_api_key=Secret("OPENAI_API_KEY", "fake-openai-key"),
    jwt_secret=Secret("JWT_SECRET", "fake-jwt-secret-0123456789-0123456789"),
    sentry_dsn=None,
    keystore=SecretBytes("KEYSTORE", b"fake"),
    hive_api_key=None,
)

if __name__ == "__main__":
    boot.run(backend="trio")


@dataclass(frozen=True)
class Vault:
    """A source whose name is a read-only property, and whose values are text."""

    name: str = "vault"
    interval: float = 60

    async def load(self, names: Sequence[str]) -> dict[str, str]:
        """Return text."""
        return dict.fromkeys(names, "")


class Keystore:
    """A source without an interval, whose values are bytes."""

    name = "keystore"

    async def load(self, names: Sequence[str]) -> Mapping[str, str | bytes]:
        """Return bytes."""
        return dict.fromkeys(names, b"")


def take(source: Source) -> str:
    """Accept any source."""
    return source.name


Bootstrap(HiveSecrets, sources=(Vault(), Keystore()))
Bootstrap(HiveSecrets, sources=[Vault()])
take(Vault())
