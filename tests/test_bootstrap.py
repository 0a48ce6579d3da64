"""Bootstrap: declaration, running, lifespan, and access to secrets and settings."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from fastapi import FastAPI, Request
from starlette.applications import Starlette

from hive_boot import (
    Bootstrap,
    Change,
    DeclarationError,
    IllegalTransitionError,
    InvalidSecretsError,
    LifecycleError,
    Secret,
    SecretBytes,
    SecretSet,
    StartupError,
    get_secret,
    secret,
)
from hive_boot.testing import override
from tests.support import failed_start, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

VALUE = "fake-jwt-secret-0123456789-0123456789"

OLD_VALUE = "fake-old-jwt-secret-0123456789-01234"


class HiveSecrets(SecretSet):
    """Secrets of the application."""

    jwt_secret: Secret = secret(previous="JWT_SECRET_PREVIOUS", used_by="user-auth")
    keystore: SecretBytes | None


@dataclass
class Settings:
    """Settings that are not secret."""

    port: int = 3000


@pytest.fixture
def boot(monkeypatch: pytest.MonkeyPatch) -> Bootstrap[HiveSecrets, Settings]:
    """Return an application that reads variables, and set them."""
    monkeypatch.setenv("JWT_SECRET", VALUE)
    return Bootstrap(HiveSecrets, config=Settings, mode="environment")


def test_a_declaration_reads_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that declares an application can be imported without any secret."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "nonsense")
    assert repr(Bootstrap(HiveSecrets)) == "Bootstrap(HiveSecrets)"


def test_decorators_return_the_function_unchanged(boot: Bootstrap[HiveSecrets, Settings]) -> None:
    """A test can call a decorated function, in every form of a decorator."""

    async def main() -> None: ...

    async def check(secrets: HiveSecrets) -> None: ...

    async def hook(change: Change, boot: Bootstrap[HiveSecrets, Settings]) -> None: ...

    assert boot.main(main) is main
    for must_complete in (True, False):
        assert Bootstrap(HiveSecrets).main(must_complete=must_complete)(main) is main
    assert boot.check(check) is check
    assert boot.check()(check) is check
    assert boot.check("jwt_secret", "keystore", timeout=3)(check) is check
    assert boot.on_rotate("jwt_secret", timeout=3)(hook) is hook


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_running_yields_the_live_secrets(boot: Bootstrap[HiveSecrets, Settings]) -> None:
    """The object of the block is the same as `boot.secrets`."""
    async with boot.running() as secrets:
        assert secrets.jwt_secret.reveal() == VALUE
        assert secrets.keystore is None
        assert boot.secrets is secrets
        assert boot.config == Settings()
        assert get_secret("JWT_SECRET") == VALUE


@pytest.mark.anyio
async def test_accepted_returns_the_current_and_the_previous_value(
    boot: Bootstrap[HiveSecrets, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current value comes first."""
    async with boot.running():
        assert [each.reveal() for each in boot.accepted("jwt_secret")] == [VALUE]
        assert boot.accepted("keystore") == ()
    monkeypatch.setenv("JWT_SECRET_PREVIOUS", OLD_VALUE)
    async with boot.running():
        assert [each.reveal() for each in boot.accepted("jwt_secret")] == [VALUE, OLD_VALUE]


@pytest.mark.anyio
async def test_accepted_raises_for_a_name_that_is_not_declared(
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """This holds before and during a run; declared names and attributes are valid."""
    with pytest.raises(DeclarationError, match=r"HiveSecrets.*jwt_secrt"):
        boot.accepted("jwt_secrt")
    async with boot.running():
        assert boot.accepted("JWT_SECRET") == boot.accepted("jwt_secret")
        for name in ("jwt_secrt", "jwt_secret.previous"):
            with pytest.raises(DeclarationError, match=f"HiveSecrets.*{name}"):
                boot.accepted(name)


def assert_not_running(boot: Bootstrap[HiveSecrets, Settings]) -> None:
    """Assert that secrets, config and accepted values raise LifecycleError."""
    for ask in (lambda: boot.secrets, lambda: boot.config, lambda: boot.accepted("jwt_secret")):
        with pytest.raises(LifecycleError, match=r"Bootstrap\(\w+\)"):
            ask()


@pytest.mark.anyio
async def test_secrets_and_config_raise_outside_a_run(
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """LifecycleError names the Bootstrap before and after a run."""
    assert_not_running(boot)
    async with boot.running():
        pass
    assert_not_running(boot)


@pytest.mark.anyio
async def test_secrets_and_config_raise_during_the_check_of_the_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """During the load the status has the state, but secrets and config raise."""
    monkeypatch.setenv("JWT_SECRET", VALUE)
    seen: list[tuple[str, bool, str, int]] = []

    class Judged(HiveSecrets):
        """Secrets with a check that records the status."""

        async def check(self) -> None:
            """Record the status."""
            await checkpoint()
            status = early.status()
            seen.append((status.state, status.ready, status.mode, status.generation))
            assert_not_running(early)

    early: Bootstrap[HiveSecrets, Settings] = Bootstrap(Judged, config=Settings, mode="environment")
    async with early.running():
        assert seen == [("loading", False, "environment", 0)]


@pytest.mark.anyio
async def test_each_start_is_a_new_run(
    boot: Bootstrap[HiveSecrets, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run reads the sources again, and begins with generation 1."""
    for number in range(3):
        monkeypatch.setenv("JWT_SECRET", f"{VALUE}-{number}")
        async with boot.running() as secrets:
            assert secrets.jwt_secret.reveal() == f"{VALUE}-{number}"
            assert boot.status().generation == 1


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_an_application_runs_without_its_resources(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Secrets and settings are loaded and checked; functions that may use a resource do not."""
    caplog.set_level("INFO")
    monkeypatch.setenv("JWT_SECRET", VALUE)
    boot = Bootstrap(HiveSecrets, config=Settings, mode="environment", probe_port=0)
    called: list[str] = []

    @boot.check
    async def checked(secrets: HiveSecrets) -> None:
        called.append(f"check {secrets.jwt_secret.matches(VALUE)}")

    @boot.resource
    async def pool() -> str:
        called.append("pool")
        return "pool"

    @boot.service
    async def consume(pool: str) -> None:
        called.append(f"consume {pool}")

    @boot.on_rotate()
    async def reconnect(change: Change, pool: str) -> None:
        called.append(f"reconnect {change} {pool}")

    @boot.readiness(interval=0.001)
    async def answers(pool: str) -> None:
        called.append(f"answers {pool}")

    async with boot.running(resources=False) as secrets:
        assert secrets is boot.secrets
        assert get_secret("JWT_SECRET") == VALUE
        assert isinstance(boot.config, Settings)
        with pytest.raises(LifecycleError, match="pool"):
            _ = pool.value
        async with override(boot, jwt_secret=f"{VALUE}-2"):
            assert secrets.jwt_secret.reveal() == f"{VALUE}-2"
        # A lifespan in the run joins it, with secrets and config only.
        async with boot.lifespan(None) as state:
            assert state.keys() == {"secrets", "config"}
        assert boot.status().ready
        assert not boot.status().degraded
        assert boot.status().contributors == ()
    assert called == ["check True", "check False", "check True"]
    assert "Probe server" not in caplog.text
    async with boot.running():
        assert pool.value == "pool"
        assert "Probe server" in caplog.text


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_secrets_and_config_are_readable_while_resources_start_and_stop(
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """They are readable from the checks of the application until the last resource has stopped."""
    read: list[str] = []

    def see(where: str) -> None:
        assert isinstance(boot.config, Settings)
        (accepted,) = boot.accepted("jwt_secret")
        assert accepted.reveal() == boot.secrets.jwt_secret.reveal() == get_secret("JWT_SECRET")
        read.append(where)

    @boot.check
    async def checked() -> None:
        see("check")

    @boot.resource
    async def pool() -> AsyncIterator[None]:
        see("start")
        yield
        see("stop")

    async with boot.running():
        see("run")
    assert read == ["check", "start", "run", "stop"]
    assert_not_running(boot)


@pytest.mark.anyio
async def test_a_second_start_during_a_run_raises(boot: Bootstrap[HiveSecrets, Settings]) -> None:
    """The first run continues."""
    async with boot.running() as secrets:
        with pytest.raises(IllegalTransitionError) as caught:
            async with boot.running():
                pytest.fail("it started twice")
        assert "ready" in str(caught.value)
        assert boot.secrets is secrets
        assert get_secret("JWT_SECRET") == VALUE
    assert_not_running(boot)


@pytest.mark.anyio
async def test_two_applications_can_run_at_once(
    boot: Bootstrap[HiveSecrets, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its own secrets; `get_secret` raises, because the application is ambiguous."""
    monkeypatch.setenv("TOKEN", "fake-token-0123456789")

    class OtherSecrets(SecretSet):
        """Secrets of the other application."""

        token: Secret

    other = Bootstrap(OtherSecrets, mode="environment")
    async with boot.running(), other.running():
        assert other.secrets.token.reveal() == "fake-token-0123456789"
        assert boot.secrets.jwt_secret.reveal() == VALUE
        with pytest.raises(LifecycleError, match=r"boot\.secrets"):
            get_secret("TOKEN")
    assert_not_running(boot)


@pytest.mark.anyio
async def test_an_application_can_start_again_after_a_failed_start(
    boot: Bootstrap[HiveSecrets, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure the state is ARMED, and a corrected deployment starts."""
    monkeypatch.delenv("JWT_SECRET")
    for _ in range(2):
        await failed_start(boot)
        assert boot.status().state == "armed"
        assert_not_running(boot)
    monkeypatch.setenv("JWT_SECRET", VALUE)
    async with boot.running() as secrets:
        assert secrets.jwt_secret.reveal() == VALUE


@pytest.mark.anyio
async def test_an_exception_in_the_block_ends_the_run(
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """The exception is raised unchanged, after the application has stopped."""
    error = ValueError("boom")
    with pytest.raises(ValueError, match="boom") as caught:
        async with boot.running():
            raise error
    assert caught.value is error
    assert_not_running(boot)
    async with boot.running():
        pass


@pytest.mark.anyio
async def test_the_status_has_mode_profile_and_the_origin_of_each_secret(
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """The status contains no value, and is empty outside a run."""
    before = boot.status()
    assert (before.state, before.ready, before.mode, before.generation) == ("armed", False, "", 0)
    assert before.secrets == ()
    async with boot.running():
        status = boot.status()
    assert (status.state, status.ready, status.generation) == ("ready", True, 1)
    assert (status.mode, status.profile) == ("environment", "production")
    assert "mode=" in status.mode_reason
    assert "environment" in status.profile_reason
    jwt, keystore = status.secrets
    assert (jwt.name, jwt.attribute, jwt.used_by) == ("JWT_SECRET", "jwt_secret", "user-auth")
    assert (jwt.present, jwt.required, jwt.source) == (True, True, "environment")
    assert jwt.generation == 1
    assert jwt.age >= 0
    assert (keystore.present, keystore.required, keystore.source) == (False, False, "")
    assert VALUE not in repr(status)
    assert boot.status() == before


@pytest.mark.anyio
async def test_arguments_of_bootstrap_select_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directories, `.env` file, fallback and profile can be given in the code."""
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
    (tmp_path / "2" / "jwt_secret").write_text(VALUE)
    os.utime(tmp_path / "2" / "jwt_secret", (1, 1))
    mounted = Bootstrap(HiveSecrets, secrets_dirs=[tmp_path / "1", str(tmp_path / "2")])
    async with mounted.running() as secrets:
        assert secrets.jwt_secret.reveal() == VALUE
        assert mounted.status().mode == "docker"
    (tmp_path / "my.env").write_text(f"JWT_SECRET={OLD_VALUE}\n")
    local = Bootstrap(
        HiveSecrets, mode="development", profile="staging", env_file=tmp_path / "my.env"
    )
    async with local.running() as secrets:
        assert secrets.jwt_secret.reveal() == OLD_VALUE
        assert local.status().profile == "staging"
    monkeypatch.setenv("JWT_SECRET", VALUE)
    nowhere = tmp_path / "1"
    await failed_start(Bootstrap(HiveSecrets, secrets_dirs=nowhere))
    async with Bootstrap(HiveSecrets, secrets_dirs=nowhere, env_fallback=True).running() as secrets:
        assert secrets.jwt_secret.reveal() == VALUE


class Server:
    """An ASGI server of one application, in memory: lifespan and single requests."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401  (an ASGI application has no better type)
        self.app = app
        self.state: dict[str, Any] = {}
        self.messages: list[dict[str, Any]] = []
        self.answered = anyio.Event()
        self.stop = anyio.Event()

    async def run_lifespan(self) -> None:
        """Run the lifespan from start-up to :attr:`stop`."""
        steps: Iterator[str] = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict[str, str]:
            step = next(steps)
            if step == "lifespan.shutdown":
                await self.stop.wait()
            return {"type": step}

        async def send(message: dict[str, Any]) -> None:
            await checkpoint()
            self.messages.append(message)
            self.answered.set()

        await self.app({"type": "lifespan", "state": self.state}, receive, send)

    async def get(self, path: str) -> bytes:
        """Return the body of an answer."""
        body = b""

        async def receive() -> dict[str, Any]:
            await checkpoint()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            nonlocal body
            await checkpoint()
            body += message.get("body", b"")

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "scheme": "http",
            "server": ("test", 80),
            "state": self.state.copy(),
        }
        await self.app(scope, receive, send)
        return body


def fastapi_app(boot: Bootstrap[HiveSecrets, Settings]) -> FastAPI:
    """Return an application with a route that returns what the state of a request has."""
    app = FastAPI(lifespan=boot.lifespan)

    @app.get("/seen")
    async def seen(request: Request) -> dict[str, bool]:
        return {
            "secrets": request.state.secrets is boot.secrets,
            "config": request.state.config is boot.config,
        }

    return app


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_requests_of_fastapi_have_the_secrets_in_their_state(
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """The server serves when the application is ready."""
    server = Server(fastapi_app(boot))
    async with anyio.create_task_group() as group:
        group.start_soon(server.run_lifespan)
        await server.answered.wait()
        assert server.messages == [{"type": "lifespan.startup.complete"}]
        assert boot.status().ready
        assert await server.get("/seen") == b'{"secrets":true,"config":true}'
        server.stop.set()
    assert server.messages[1:] == [{"type": "lifespan.shutdown.complete"}]
    assert_not_running(boot)


@pytest.mark.anyio
async def test_a_failed_start_is_a_failed_lifespan_startup(
    boot: Bootstrap[HiveSecrets, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server receives the report, which contains no value."""
    monkeypatch.setenv("KEYSTORE", VALUE)
    monkeypatch.delenv("JWT_SECRET")
    server = Server(Starlette(lifespan=boot.lifespan))
    with pytest.raises(InvalidSecretsError):
        await server.run_lifespan()
    (message,) = server.messages
    assert message["type"] == "lifespan.startup.failed"
    assert "JWT_SECRET" in message["message"]
    assert VALUE not in message["message"]
    assert_not_running(boot)


@pytest.mark.anyio
async def test_a_lifespan_inside_a_run_joins_the_run(
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """An application that main serves does not start twice, and its end does not stop the run."""
    async with boot.running() as secrets:
        async with boot.lifespan(None) as state:
            assert state == {"secrets": secrets, "config": boot.config}
        assert boot.status().ready
        assert boot.secrets is secrets
    assert_not_running(boot)


@pytest.mark.anyio
async def test_the_state_of_requests_has_the_resources_by_name(
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """This also holds for a lifespan that joins a run."""

    @boot.resource
    async def pool() -> AsyncIterator[list[str]]:
        yield []

    @boot.resource
    async def agents(pool: list[str]) -> tuple[list[str], str]:
        await checkpoint()
        return pool, "agents"

    async with boot.lifespan(None) as state:
        assert state == {
            "pool": pool.value,
            "agents": agents.value,
            "secrets": boot.secrets,
            "config": boot.config,
        }
        assert state["agents"][0] is state["pool"]
        async with boot.lifespan(None) as joined:
            assert joined == state
            assert joined["pool"] is state["pool"]
        assert pool.value is state["pool"]
    async with boot.running():
        async with boot.lifespan(None) as state:
            assert state["pool"] is pool.value is not joined["pool"]
        assert boot.status().ready
    assert_not_running(boot)


def crashing(boot: Bootstrap[HiveSecrets, Settings], failure: Exception) -> Callable[[], object]:
    """Declare a resource that crashes when the returned function is called."""
    crash = anyio.Event()

    @boot.resource
    async def workers() -> AsyncIterator[None]:
        async def work() -> None:
            await crash.wait()
            raise failure

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            yield

    return crash.set


@pytest.mark.anyio
@pytest.mark.both_backends
@pytest.mark.parametrize("kind", ["part", "service"])
async def test_a_fatal_failure_under_lifespan_sends_sigterm_to_the_server(
    boot: Bootstrap[HiveSecrets, Settings],
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    """The state is no longer ready, one line is logged, and the failure is raised at the end."""
    failure = ConnectionError("no route")
    crash = crashing(boot, failure) if kind == "part" else None
    if crash is None:

        @boot.service(restart="never")
        async def workers() -> None:
            await until(lambda: boot.status().ready)
            raise failure

    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        with pytest.raises(ConnectionError) as caught:  # noqa: PT012  (what a server does)
            async with boot.lifespan(None):
                if crash is not None:
                    crash()
                await until(lambda: received)
                # The run continues until the server has ended, and is not ready.
                await checkpoint()
                status = boot.status()
                assert (status.state, status.ready) == ("draining", False)
                assert status.failed == "workers"
                # Requests in progress have the secrets until the end.
                assert boot.secrets.jwt_secret.reveal() == VALUE
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value is failure
    assert received == [signal.SIGTERM]
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert sum("workers" in record.getMessage() for record in errors) == 1
    assert boot.status().state == "armed"


@pytest.mark.anyio
async def test_without_a_handler_of_sigterm_a_fatal_failure_is_only_logged(
    boot: Bootstrap[HiveSecrets, Settings], caplog: pytest.LogCaptureFixture
) -> None:
    """In a test client the signal would end the tests."""
    failure = ConnectionError("no route")
    crash = crashing(boot, failure)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(ConnectionError) as caught:  # noqa: PT012  (what a server does)
            async with boot.lifespan(None):
                crash()
                await until(lambda: "SIGTERM" in caplog.text)
                assert not boot.status().ready
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value is failure


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_a_resource_that_fails_to_start_is_a_failed_lifespan_startup(
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """The server receives the name of the resource, and started resources are stopped."""
    lines: list[str] = []

    @boot.resource
    async def pool() -> AsyncIterator[None]:
        yield
        lines.append("pool stops")

    @boot.resource
    async def agents(pool: None) -> None:
        await checkpoint()
        raise RuntimeError(pool)

    server = Server(Starlette(lifespan=boot.lifespan))
    with pytest.raises(StartupError):
        await server.run_lifespan()
    (message,) = server.messages
    assert message["type"] == "lifespan.startup.failed"
    for text in ("StartupError", "agents", "RuntimeError"):
        assert text in message["message"]
    assert lines == ["pool stops"]
    assert_not_running(boot)


@pytest.mark.anyio
async def test_a_failure_of_one_run_does_not_affect_the_next(
    boot: Bootstrap[HiveSecrets, Settings],
) -> None:
    """This holds in the block of `boot.running()` and in a lifespan."""
    left = 2
    gate = anyio.Event()

    @boot.service(restart="never")
    async def poll() -> None:
        nonlocal left
        await gate.wait()
        left -= 1
        if left >= 0:
            raise ConnectionError
        await anyio.sleep_forever()

    gate.set()
    for _ in range(2):
        with pytest.raises(ConnectionError):
            async with boot.running():
                await anyio.sleep_forever()
        assert_not_running(boot)
    async with boot.running():
        await until(lambda: left < 0)
        assert boot.status().ready
    async with boot.lifespan(None):
        assert boot.status().failed == ""


@pytest.mark.anyio
async def test_a_lifespan_during_a_start_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run that is not ready cannot be joined, and does not start a second time."""
    monkeypatch.setenv("JWT_SECRET", VALUE)
    refusals: list[str] = []

    class Judged(HiveSecrets):
        """Secrets with a check that enters the lifespan."""

        async def check(self) -> None:
            """Enter the lifespan, which raises."""
            with pytest.raises(IllegalTransitionError) as caught:
                async with early.lifespan(None):
                    pytest.fail("it started twice")
            refusals.append(str(caught.value))

    early = Bootstrap(Judged, mode="environment")
    async with early.running():
        (refusal,) = refusals
        assert "loading" in refusal


def test_the_type_of_the_settings_is_optional_in_an_annotation() -> None:
    """Without it the annotation is that of an application without settings, at run time too."""
    assert Bootstrap[HiveSecrets] == Bootstrap[HiveSecrets, None]


@pytest.mark.anyio
async def test_a_lifespan_in_another_loop_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resources belong to the loop that has started them, so a second test client is refused."""
    monkeypatch.setenv("JWT_SECRET", VALUE)

    class OneSecret(SecretSet):
        """One secret."""

        jwt_secret: Secret

    boot = Bootstrap(OneSecret, mode="environment")

    async def elsewhere() -> str:
        with pytest.raises(IllegalTransitionError) as caught:
            async with boot.lifespan(None):
                pytest.fail("it has joined")
        return str(caught.value)

    async with boot.running(), boot.lifespan(None):
        received = await anyio.to_thread.run_sync(partial(anyio.run, elsewhere))
    assert "ready" in received


@pytest.mark.anyio
async def test_secrets_are_readable_until_the_last_resource_has_stopped() -> None:
    """Requests in progress and the clean-up of resources use the values in use."""

    class Needs(SecretSet):
        jwt_secret: Secret = secret(dev_default=VALUE)

    boot = Bootstrap(Needs, config=object, mode="environment", profile="development")
    seen: list[object] = []

    @boot.resource
    async def session() -> AsyncIterator[None]:
        assert boot.secrets.jwt_secret.reveal() == VALUE
        yield
        seen.append(boot.secrets.jwt_secret.reveal())
        seen.append(type(boot.config))
        seen.append(len(boot.accepted("jwt_secret")))
        with pytest.raises(LifecycleError, match="stopping"):
            await boot.reload()

    async with boot.running():
        pass
    assert seen == [VALUE, object, 1]


def test_stop_and_stopping_raise_outside_a_run() -> None:
    """`stopping` and `stop` of an application that does not run name it."""
    boot = Bootstrap(HiveSecrets, config=Settings, mode="environment")
    with pytest.raises(LifecycleError, match="has not been started"):
        _ = boot.stopping
    with pytest.raises(LifecycleError, match=r"Bootstrap\(HiveSecrets\)"):
        boot.stop("a test")
