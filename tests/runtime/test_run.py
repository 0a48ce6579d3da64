"""One run of an application: its start, its failures, and what it leaves behind."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.abc import TaskStatus

from hive_boot import Bootstrap, DeclarationError, Secret, SecretSet, get_secret, secret
from hive_boot.lifecycle.states import State
from hive_boot.lifecycle.tasks import threadsafe_scheduler
from tests.fixtures.owned_processes import BACKENDS, ended, side_by_side
from tests.fixtures.writers import PlainDirectory
from tests.runtime.rotations import set_read_policy
from tests.support import SETTLED, everything_told, failed_start, until

if TYPE_CHECKING:
    from hive_boot.runtime.status import Status
    from hive_boot.secrets.platform import Mode

VALUE = "fake-jwt-secret-0123456789-0123456789"


class HiveSecrets(SecretSet):
    """The secrets of the application."""

    openai_api_key: Secret = secret(used_by="agents")
    jwt_secret: Secret = secret(min_length=32)


@pytest.mark.anyio
async def test_a_report_has_the_declaration_the_mode_and_the_profile() -> None:
    """The report has the declaration, the mode and the profile, each with its reason."""
    error = await failed_start(Bootstrap(HiveSecrets, mode="environment"))
    assert error.declaration == "HiveSecrets"
    (mode, mode_text), (profile, profile_text) = error.facts
    assert (mode, profile) == ("mode", "profile")
    assert mode_text.startswith("environment (")
    assert "mode=" in mode_text
    assert profile_text.startswith("production (")
    assert [problem.name for problem in error.problems] == ["OPENAI_API_KEY", "JWT_SECRET"]


@pytest.mark.anyio
async def test_an_unknown_mode_is_reported_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an unknown mode no source is read: the report has only the problems of the settings."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "kubernets")
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "prodction")
    boot = Bootstrap(HiveSecrets)
    error = await failed_start(boot)
    assert error.declaration == "HiveSecrets"
    assert error.facts == ()
    assert [problem.name for problem in error.problems] == ["HIVE_BOOT_MODE", "HIVE_BOOT_PROFILE"]
    assert boot.status().state == "armed"


@pytest.mark.anyio
async def test_each_start_detects_mode_and_profile_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mode and profile are detected at each start, not at the import."""
    monkeypatch.setenv("JWT_SECRET", VALUE)
    monkeypatch.setenv("OPENAI_API_KEY", "fake-openai-key")
    boot = Bootstrap(HiveSecrets)
    for mode in ("environment", "development"):
        monkeypatch.setenv("HIVE_BOOT_MODE", mode)
        async with boot.running():
            assert boot.status().mode == mode
            assert boot.status().mode_reason == "HIVE_BOOT_MODE"


@pytest.mark.anyio
async def test_the_traceback_of_a_failed_start_contains_no_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The traceback of a failed start with its variables contains no value."""
    monkeypatch.setenv("OPENAI_API_KEY", "fake-openai-key-0123456789")
    monkeypatch.setenv("JWT_SECRET", "fake-too-short")
    error = await failed_start(Bootstrap(HiveSecrets, mode="environment"))
    told = everything_told(error)
    assert "fake-openai-key-0123456789" not in told
    assert "fake-too-short" not in told


@pytest.mark.anyio
async def test_get_secret_works_after_a_failed_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a failed start the plain functions work as without an application."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    monkeypatch.setenv("JWT_SECRET", VALUE)
    await failed_start(Bootstrap(HiveSecrets))
    # While it runs, a name that is not declared is an error.
    assert get_secret("OPENAI_API_KEY") is None
    monkeypatch.setenv("OPENAI_API_KEY", "fake-openai-key")
    async with Bootstrap(HiveSecrets).running():
        with pytest.raises(DeclarationError):
            get_secret("UNDECLARED")


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_a_blocking_check_does_not_block_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a blocking check waits, other tasks of the application run."""
    soon, going, gate = threadsafe_scheduler(), anyio.Event(), threading.Event()

    def wait(_: str) -> bool:
        soon(going.set)
        return gate.wait(20)

    class Judged(SecretSet):
        """A set with a check that blocks."""

        jwt_secret: Secret = secret(check=wait)

    monkeypatch.setenv("JWT_SECRET", VALUE)
    boot = Bootstrap(Judged, mode="environment")
    started = anyio.Event()

    async def start() -> None:
        async with boot.running():
            started.set()

    async with anyio.create_task_group() as group:
        group.start_soon(start)
        await going.wait()
        assert boot.status().state == "loading"
        assert not started.is_set()
        gate.set()
    assert started.is_set()


@pytest.mark.anyio
async def test_before_the_mode_is_known_the_status_has_none(tmp_path: Path) -> None:
    """At the beginning of a start the status has a state and nothing else."""
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY=fake-openai-key\nJWT_SECRET={VALUE}\n")
    seen: list[Status] = []

    class Curious:
        """A path that reads the status when it is used."""

        def __fspath__(self) -> str:
            seen.append(boot.status())
            return str(tmp_path / ".env")

    boot = Bootstrap(HiveSecrets, mode="development", env_file=Curious())
    async with boot.running():
        (status,) = seen
        assert (status.state, status.mode, status.secrets) == (State.LOADING, "", ())


@pytest.mark.parametrize("watch", [False, True])
def test_a_run_whose_loop_was_closed_does_not_prevent_the_next_start(
    directory: PlainDirectory, monkeypatch: pytest.MonkeyPatch, *, watch: bool
) -> None:
    """A run whose event loop was closed without a stop does not prevent the next start."""

    class Key(SecretSet):
        """The secret of the application."""

        api_key: Secret

    set_read_policy(monkeypatch, wall=SETTLED.wall)
    directory.replace("api_key", "fake-key-1")
    boot = Bootstrap(Key, mode="kubernetes", secrets_dirs=directory.path, watch=watch)
    lost = boot.running()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(lost.__aenter__())
    # The reload task has begun, and is cancelled as by asyncio.run; the run is not stopped.
    loop.run_until_complete(asyncio.sleep(0.01))
    for task in asyncio.all_tasks(loop):
        task.cancel()
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
    loop.close()
    directory.replace("api_key", "fake-key-2")

    async def again() -> None:
        for _ in range(2):
            async with boot.running() as secrets:
                assert secrets.api_key.reveal() == "fake-key-2"
                assert get_secret("API_KEY") == "fake-key-2"
            async with boot.lifespan(None):
                assert get_secret("API_KEY") == "fake-key-2"

    async def stop_late() -> None:
        async with boot.running() as secrets:
            await lost.__aexit__(None, None, None)
            assert boot.secrets is secrets
            assert boot.status().ready
            assert get_secret("API_KEY") == "fake-key-2"

    asyncio.run(again())
    # A late exit of the lost run does not stop the new one.
    asyncio.run(stop_late())


@pytest.mark.anyio
@pytest.mark.both_backends
async def test_a_listener_that_fails_before_ready_is_a_failed_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A listener that fails before READY is a failed start, although every resource has started."""
    monkeypatch.setenv("OPENAI_API_KEY", "fake-openai-key")
    monkeypatch.setenv("JWT_SECRET", VALUE)
    boot = Bootstrap(HiveSecrets, mode="environment")
    fall = anyio.Event()
    lines: list[str] = []

    async def door(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        await fall.wait()
        raise ConnectionError

    @boot.resource
    async def pool() -> AsyncIterator[None]:
        fall.set()
        await until(lambda: boot.status().failed)
        lines.append(boot.status().failed)
        yield
        lines.append("pool stops")

    with pytest.raises(ConnectionError):
        async with boot._running(listeners=[("the door", door)]):  # noqa: SLF001  (as a server)
            pytest.fail("it has started")
    assert lines == ["the door", "pool stops"]
    assert boot.status().state == "armed"


@pytest.mark.anyio
async def test_a_server_in_kubernetes_drains(
    directory: PlainDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Kubernetes a server has a shutdown delay by default; ``shutdown_delay=`` replaces it."""
    set_read_policy(monkeypatch, wall=SETTLED.wall)
    directory.replace("openai_api_key", "fake-openai-key")
    directory.replace("jwt_secret", VALUE)
    table: list[tuple[Mode, bool, float | None, float]] = [
        ("kubernetes", True, None, 5),
        ("kubernetes", True, 0, 0),
        ("kubernetes", True, 2.5, 2.5),
        ("kubernetes", False, None, 0),
        ("docker", True, None, 0),
        ("docker", True, 2.5, 2.5),
    ]
    for mode, serves, given, expected in table:
        boot = Bootstrap(HiveSecrets, mode=mode, secrets_dirs=directory.path, shutdown_delay=given)
        app = (lambda _: nullcontext()) if serves else None
        async with boot._running(asgi_component=app) as run:  # noqa: SLF001  (as a server does)
            assert run.shutdown.delay == expected, (mode, serves, given)
            run.shutdown.delay = 0.0


@pytest.mark.anyio
async def test_an_application_without_doors_answers_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An application does not need a listener."""
    monkeypatch.setenv("OPENAI_API_KEY", "fake-openai-key")
    monkeypatch.setenv("JWT_SECRET", VALUE)
    application: Bootstrap[HiveSecrets, None] = Bootstrap(HiveSecrets, mode="environment")
    async with application.running() as secrets:
        assert application.status().ready
        assert secrets.jwt_secret.reveal() == VALUE


@pytest.mark.anyio
async def test_on_stop_is_not_called_for_a_main_that_does_not_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``on_stop`` of main is not called if main does not run."""
    monkeypatch.setenv("OPENAI_API_KEY", "fake-openai-key")
    monkeypatch.setenv("JWT_SECRET", VALUE)
    asked: list[str] = []
    application: Bootstrap[HiveSecrets, None] = Bootstrap(HiveSecrets, mode="environment")

    @application.main(on_stop=lambda: asked.append("main"))
    async def main() -> None:
        """A main that does nothing."""

    @application.service(on_stop=lambda: asked.append("service"))
    async def service() -> None:
        """Wait for the stop."""
        asked.append("nothing")
        await anyio.sleep_forever()

    async with application.running():
        await until(lambda: asked == ["nothing"])
        application.stop("a test")
        await anyio.sleep_forever()
    assert asked == ["nothing", "service"]


FORKING = """
import anyio

boot = Bootstrap(Needs)

async def main():
    async with boot.running():
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            print("the child ended with", os.waitstatus_to_exitcode(status), flush=True)
            print(boot.stopping.is_set(), flush=True)
        else:
            try:
                boot.stop("the child has ended")
            except Exception as exc:
                print(type(exc).__name__, flush=True)
    if not child:
        os._exit(3 if boot.status().state == "armed" else 4)
    print(boot.status().state)

anyio.run(main, backend=backend)
"""


def test_a_forked_child_leaves_the_block_without_a_stop(tmp_path: Path) -> None:
    """A forked child leaves the block of the run without stopping it."""

    def scenario(backend: str, path: Path) -> None:
        code, out, err = ended(FORKING, backend, cwd=path)
        lines = ["LifecycleError", "the child ended with 3", "False", "armed"]
        assert (code, out) == (0, lines), err
        assert "Traceback" not in err
        assert "Stop requested" not in err

    side_by_side(tmp_path, scenario, [(backend,) for backend in BACKENDS])
