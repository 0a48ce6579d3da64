"""Code as users write it. No type checker may find anything here."""

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
    """What the HIVE service needs."""

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
        """Judge the whole set."""
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
    """What is not secret."""

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
    """Make a setting of secrets."""
    return f"postgresql://app:{secrets.token.reveal()}@db/orders"


dsn = Bootstrap(MoreSecrets, config=make_dsn)


@dsn.check("token")
async def connects(dsn: str, secrets: MoreSecrets) -> bool:
    """Judge a candidate by the settings that belong to it."""
    return secrets.token.matches(dsn)


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
    """What a part gives."""

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
    """Be a part as an iterator."""
    async with AgentPool(secrets.openai_api_key.reveal()) as pool:
        yield pool


@living.resource
async def cache(agents: AgentPool, config: Settings) -> AsyncGenerator[dict[str, int], None]:
    """Be a part as a generator."""
    yield {agents.key: config.port}


@living.resource
async def size(cache: dict[str, int]) -> int:
    """Be a part that has nothing to stop."""
    return len(cache)


@living.resource(timeout=3)
async def slow(size: int, boot: Bootstrap[HiveSecrets, Settings]) -> AsyncIterator[str]:
    """Be a part with a time of its own, as an iterator."""
    yield f"{boot.config.port} {size}"


@living.resource(timeout=0.5, retry_on=OSError, after=size)
async def slow_generator() -> AsyncGenerator[bytes, None]:
    """Be a part with a time of its own, as a generator."""
    yield b""


@living.resource(retry_on=(OSError, LookupError), after=["migrated", slow_generator])
async def slow_size(slow: str) -> tuple[str, int]:
    """Be a part with a time of its own that has nothing to stop."""
    return slow, len(slow)


@living.resource
@asynccontextmanager
async def managed() -> AsyncGenerator[bytes, None]:
    """Be a part below the decorator of contextlib."""
    yield b""


@living.resource(timeout=3)
@asynccontextmanager
async def slow_managed(managed: bytes) -> AsyncGenerator[int, None]:
    """Be such a part with a time of its own."""
    yield len(managed)


@living.resource
async def migrated() -> None:
    """Be a part without a value."""


async def use_parts(secrets: HiveSecrets) -> None:
    """Take the values of parts, and call them as the functions that they are."""
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
    """Work for ever."""


@living.service(restart="never")
async def sweep(agents: AgentPool) -> int:
    """Work once; what is returned does not matter."""
    return len(agents.key)


@living.service(restart="on-failure", max_restarts=3, restart_window=10.5)
async def publish() -> NoReturn:
    """Never end by itself."""
    raise NotImplementedError


@living.check("openai_api_key", timeout=3)
async def openai_answers(secrets: HiveSecrets) -> bool:
    """Judge one field."""
    return secrets.openai_api_key.matches("key")


@living.check("openai_api_key", "jwt_secret", retry_on=OSError, at="rotation")
async def both_hold(secrets: HiveSecrets, config: Settings) -> None:
    """Judge two fields."""


@living.check(timeout=0.5, retry_on=(OSError, ValueError), at="start")
async def quick() -> bool | None:
    """Judge everything, in a time."""
    return None


@living.check()
async def empty() -> None:
    """Judge everything, with brackets."""


@living.readiness
async def consumes(agents: AgentPool) -> bool:
    """Return whether requests are welcome."""
    return bool(agents)


@living.readiness("cache", interval=1.5, timeout=1)
async def cache_is_filled() -> None:
    """Raise while they are not."""


@living.readiness(name=None)
async def broker_answers() -> bool | None:
    """Do both."""
    return None


@living.on_rotate("openai_api_key")
async def reconnect_agents(change: Change, agents: AgentPool) -> None:
    """Hear of a change, with a part."""


@living.main(must_complete=True)
async def work(secrets: HiveSecrets, agents: AgentPool, size: int) -> int:
    """Be a main with parts, and stay the function that it is."""
    await poll(agents, secrets)
    assert_type(await sweep(agents), int)
    assert_type(await openai_answers(secrets), bool)
    await reconnect_agents(Change((), {}, {}, 2), agents)
    return size


web = FastAPI(lifespan=living.lifespan)
web.mount("/internal", living.probes)


@web.get("/agents")
async def look_at_agents(pool: Annotated[AgentPool, Depends(agents)]) -> int:
    """Get a part from FastAPI."""
    return len(pool.key)


Message = MutableMapping[str, Any]


async def bare_app(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Be an ASGI application without a library."""


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
    """Take an error of a start or a stop apart."""
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
    """Refuse by raising."""
    assert_type(secrets.jwt_secret, Secret)


@watching.check
async def judge_by_settings(secrets: HiveSecrets, config: Settings) -> bool:
    """Refuse by an answer."""
    return config.port != len(secrets.openai_api_key.reveal())


@watching.check
async def judge_nothing() -> bool | None:
    """Ask for nothing."""
    return None


@watching.on_rotate()
async def hear(change: Change) -> None:
    """Hear of everything."""
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
    """Hear of two, with what the application has; what is returned does not matter."""
    assert_type(boot.config, Settings)
    return config.port + retries if "jwt_secret" in change.names else len(repr(secrets))


@watching.on_rotate(timeout=0.5)
async def by_keyword(what: Change, /, *, secrets: HiveSecrets) -> None:
    """Take the change by position, whatever it is called, and the rest by name."""
    assert what.generation
    assert secrets.current


async def rotate(change: Change) -> None:
    """Call a decorated hook and a decorated check as the functions that they are."""
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
    """Read what an application says of itself."""
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
    """Be the lifespan of an application of another library."""
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
    """A source whose name cannot be changed, and whose values are text."""

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
    """Take any source."""
    return source.name


Bootstrap(HiveSecrets, sources=(Vault(), Keystore()))
Bootstrap(HiveSecrets, sources=[Vault()])
take(Vault())
