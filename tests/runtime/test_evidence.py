"""What a process shows about its rotation: hooks, resources on an old value, its own identity."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import urllib.request
from types import ModuleType
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from hive_boot import Bootstrap, Change, InvalidSecretsError, Secret, SecretSet, secret
from hive_boot.runtime import status as status_module
from hive_boot.runtime.status import is_worker, measurements
from tests.fixtures.ports import free_port
from tests.runtime.rebuilds import Needs, Pool, declared, publish, rotate
from tests.runtime.rotations import mounted
from tests.support import child_environment, run_child, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hive_boot.testing import MountedVolume

pytestmark = pytest.mark.anyio


def evidence_of(boot: Bootstrap[Any, Any]) -> tuple[float, float, float]:
    """Return the numbers of pending hooks, failed hooks, and resources on an old value."""
    found = {each.name: each.values for each in measurements(boot.status())}
    names = ("pending_hooks", "failed_hooks", "resources_on_old")
    first, second, third = (found[name][()] for name in names)
    return first, second, third


async def test_a_hook_is_pending_until_it_has_succeeded_or_failed(volume: MountedVolume) -> None:
    """Also before its first call; while it waits for a retry it has failed."""
    boot = declared(volume)
    may_end, fails = anyio.Event(), True

    @boot.on_rotate("db_password")
    async def first(_: Change) -> None:
        await may_end.wait()

    @boot.on_rotate("db_password")
    async def second(_: Change) -> None:
        if fails:
            raise ConnectionError

    @boot.on_rotate("api_key")
    async def other(_: Change) -> None:
        """Not called: its field does not change."""

    async with boot.running():
        assert evidence_of(boot) == (0, 0, 0)
        await rotate(boot, volume, "two")
        assert boot.status().pending_hooks == ("first", "second")
        may_end.set()
        await until(lambda: evidence_of(boot) == (0, 1, 0))
        assert boot.status().failing_hooks == ("second",)
        fails = False
        await until(lambda: evidence_of(boot) == (0, 0, 0))


async def test_at_any_moment_a_hook_of_the_version_in_use_is_accounted_for(
    volume: MountedVolume,
) -> None:
    """Another thread that scrapes never finds the new version without its hook."""

    class Versioned(SecretSet, version="v"):
        key: Secret

    boot = mounted(volume.path, Versioned, watch=False)
    done = [1]
    unaccounted: list[str] = []
    scrapes, is_over = 0, False

    @boot.on_rotate("key")
    async def hook(change: Change) -> None:
        await anyio.lowlevel.checkpoint()
        done.append(change.generation)

    def scrape() -> None:
        nonlocal scrapes
        while not is_over:
            status = boot.status()
            version = status.secrets_version_in_use or ""
            if done[-1] < int(version) and not status.pending_hooks:
                unaccounted.append(version)
            scrapes += 1

    volume.publish({"key": "fake-key-1", "v": "1"})
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        async with boot.running(), anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, scrape)
            for number in range(2, 42):
                volume.publish({"key": f"fake-key-{number}", "v": str(number)})
                await boot.reload()
                await until(lambda: not boot.status().pending_hooks)
            is_over = True
    finally:
        is_over = True
        sys.setswitchinterval(before)
    assert done[-1] == 41
    assert scrapes > 40
    assert unaccounted == []


async def test_an_old_instance_is_on_the_old_value_until_it_has_stopped(
    volume: MountedVolume,
) -> None:
    """Each instance counts, and a third generation stops the oldest."""
    boot = declared(volume)
    opened: list[Pool] = []

    @boot.resource(rebuild_on="db_password", overlap=0.05)
    async def pool(secrets: Needs) -> AsyncIterator[Pool]:
        opened.append(Pool(secrets.db_password.reveal()))
        yield opened[-1]
        opened[-1].is_open = False

    @boot.resource
    async def user(pool: Pool) -> AsyncIterator[str]:
        yield pool.password

    async with boot.running():
        async with pool.use():
            await rotate(boot, volume, "two")
            assert sorted(boot.status().resources_on_old) == ["pool", "user"]
            await until(lambda: evidence_of(boot) == (0, 0, 1))
            assert boot.status().resources_on_old == ("pool",)
        await until(lambda: evidence_of(boot) == (0, 0, 0))


async def test_a_refused_rebuild_leaves_its_resource_on_the_old_value(
    volume: MountedVolume,
) -> None:
    """Until another set is accepted; so does one that fails at its activation."""
    refused = "fake-password-two"
    boot = declared(volume)

    @boot.resource(rebuild_on="db_password", overlap=0)
    async def pool(secrets: Needs) -> str:
        if secrets.db_password.matches(refused):
            raise ConnectionError
        return secrets.db_password.reveal()

    async with boot.running():
        with pytest.raises(Exception, match="pool"):
            await rotate(boot, volume, "two")
        assert boot.status().resources_on_old == ("pool",)
        await rotate(boot, volume, "three")
        await until(lambda: evidence_of(boot) == (0, 0, 0))


async def test_a_failed_activation_leaves_its_resource_on_the_old_value(
    volume: MountedVolume,
) -> None:
    """The value is accepted, and pending for longer."""

    class Later(SecretSet):
        key: Secret = secret(activate_after=0.05)

    volume.publish({"key": "fake-key-one"})
    boot = mounted(volume.path, Later, watch=False)
    is_down = True

    @boot.resource(rebuild_on="key", overlap=0)
    async def pool(secrets: Later) -> str:
        if secrets.key.matches("fake-key-two") and is_down:
            raise RuntimeError
        return secrets.key.reveal()

    async with boot.running():
        volume.publish({"key": "fake-key-two"})
        await boot.reload()
        await until(lambda: boot.status().resources_on_old == ("pool",))
        is_down = False
        await until(lambda: pool.value == "fake-key-two" and evidence_of(boot) == (0, 0, 0))


async def test_a_resource_that_does_not_follow_keeps_the_old_value(volume: MountedVolume) -> None:
    """Until its value is in use again; a hook for the field may have updated the resource."""
    boot = declared(volume)

    @boot.resource
    async def pool(secrets: Needs) -> str:
        return secrets.db_password.reveal()

    @boot.resource(rebuild_on="api_key", overlap=0)
    async def both(secrets: Needs) -> str:
        return f"{secrets.api_key}{secrets.db_password}"

    async with boot.running():
        await rotate(boot, volume, "two")
        assert boot.status().resources_on_old == ("pool", "both")
        await rotate(boot, volume, "three")
        assert boot.status().resources_on_old == ("pool", "both")
        publish(volume, "three", api_key="fake-api-key")
        await boot.reload()
        await until(lambda: boot.status().resources_on_old == ("pool",))
        publish(volume, "one", api_key="fake-api-key")
        await boot.reload()
        assert boot.status().resources_on_old == ("both",)

    @boot.on_rotate("db_password")
    async def update(_: Change) -> None:
        """Replace the password in the pools."""

    async with boot.running():
        await rotate(boot, volume, "four")
        await until(lambda: evidence_of(boot) == (0, 0, 0))


async def test_the_duration_is_that_of_the_last_verdict(volume: MountedVolume) -> None:
    """0 before the first one; a value that comes into use later is no verdict."""

    class Later(SecretSet):
        key: Secret = secret(activate_after=0.01, min_length=8)

    def seconds() -> float:
        found = {each.name: each.values for each in measurements(boot.status())}
        return found["rotation_seconds"][()]

    volume.publish({"key": "fake-key-one"})
    boot = mounted(volume.path, Later, watch=False)
    async with boot.running():
        assert seconds() == 0
        volume.publish({"key": "fake-key-two"})
        await boot.reload()
        await until(lambda: boot.status().rotations[0].verdict == "in-use")
        accepted = boot.status().rotations[1].duration
        assert seconds() == accepted > 0
        volume.publish({"key": "short"})
        with pytest.raises(InvalidSecretsError):
            await boot.reload()
        assert seconds() == boot.status().rotations[0].duration != accepted


def scraped(port: int) -> str:
    """Return the page of a port."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def process_info(page: str) -> dict[str, str]:
    """Return the labels of the process."""
    (labels,) = re.findall(r"^hive_boot_process_info\{(.*)\} 1\.0$", page, re.MULTILINE)
    return dict(re.findall(r'(\w+)="(\w*)"', labels))


async def test_a_scrape_shows_through_which_endpoint_it_came(volume: MountedVolume) -> None:
    """The probe port belongs to one process; a port of the application may be shared."""
    port = free_port()
    publish(volume, "one")
    boot = mounted(volume.path, Needs, probe_port=port, probe_host="127.0.0.1")
    async with boot.running():
        info = process_info(await asyncio.to_thread(scraped, port))
        assert info == {"id": boot.status().process_id, "worker": "false", "endpoint": "probe"}
        found = {each.name: each for each in measurements(boot.status())}["process_info"]
        assert dict(zip(found.labels, *found.values, strict=True)) == info | {"endpoint": "app"}


async def test_evidence_of_replaceable_secrets_exists_from_the_start(
    volume: MountedVolume,
) -> None:
    """Before the first set is accepted the series are there, with a version that is unknown."""

    class Versioned(SecretSet, version="v"):
        key: Secret = secret(accept_old_for=60)
        later: Secret | None = secret(activate_after=60)
        before: Secret | None = secret(previous="BEFORE_PREVIOUS")
        plain: Secret | None = None

    volume.publish({"key": "fake-key-one", "v": "1"})
    boot = mounted(volume.path, Versioned, watch=False)
    early = []

    @boot.check
    async def look() -> None:
        early.append(boot.status())

    async with boot.running():
        (status,) = early
        assert (status.state, status.secrets_version) in {("loading", ""), ("starting", "1")}
        assert [each.name for each in status.uses] == ["KEY", "LATER", "BEFORE"]
        assert [each.accept_old_for for each in status.uses] == [60, 0, 0]
    found = {each.name: each.values for each in measurements(status)}
    assert len(found["secret_uses"]) == 9
    assert set(found["secret_uses"].values()) == {0}


WORKER = """
import multiprocessing, sys
from hive_boot.runtime.status import is_worker

if __name__ == "__main__":
    found = [is_worker()]
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            found.append(pool.apply(is_worker))
    print(found)
"""


def test_a_child_of_multiprocessing_may_be_one_of_several_workers() -> None:
    """Servers start their workers so; a child of subprocess is a process of its own."""
    assert run_child(WORKER).stdout == "[False, True, True, True]\n"


def test_servers_with_several_workers_are_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process of gunicorn and uWSGI, which fork their workers without multiprocessing."""
    assert not is_worker()
    for name in ("gunicorn.arbiter", "uwsgi"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, status_module)
            assert is_worker()


def test_a_module_that_is_being_imported_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may be importing multiprocessing when the status is read."""
    imported = ModuleType("multiprocessing.process")
    monkeypatch.setitem(sys.modules, "multiprocessing.process", imported)
    assert not is_worker()
    exec("def parent_process(): return _parent_process", vars(imported))  # noqa: S102  (its own name)
    assert not is_worker()


SERVED = """
from starlette.applications import Starlette
from starlette.routing import Mount
from hive_boot import Bootstrap, Secret, SecretSet

class Needs(SecretSet):
    key: Secret

boot = Bootstrap(Needs, mode="environment")
app = Starlette(routes=[Mount("/own", boot.probes)], lifespan=boot.lifespan)
"""

LINES = {
    "one": ("false", ["uvicorn", "served:app", "--host", "127.0.0.1", "--port", "{port}"]),
    "two": (
        "true",
        ["uvicorn", "served:app", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2"],
    ),
    "gunicorn": (
        "true",
        [
            *("gunicorn", "served:app", "--bind", "127.0.0.1:{port}", "--workers", "2"),
            *("--worker-class", "uvicorn_worker.UvicornWorker"),
        ],
    ),
}


@pytest.mark.parametrize("server", LINES)
def test_a_process_of_a_server_says_whether_it_is_a_worker(server: str, tmp_path: Path) -> None:
    """As real servers start it."""
    worker, line = LINES[server]
    port = free_port()
    (tmp_path / "served.py").write_text(SERVED)
    arguments = [each.format(port=port) for each in line]
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=tmp_path,
        env=child_environment(KEY="fake-key-0123456789"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port, process)
        url = f"http://127.0.0.1:{port}/own/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            info = process_info(answer.read().decode())
        assert (info["worker"], info["endpoint"]) == (worker, "app")
    finally:
        process.terminate()
        process.wait(30)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server accepts connections, or has ended."""
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            continue
        return
    pytest.fail("the server has ended")
