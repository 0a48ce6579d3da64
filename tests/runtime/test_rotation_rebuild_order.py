"""Order of a rotation with a rebuild: one at a time, and what is called before and after it."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import Change, InvalidSecretsError, ResourceHandle, Secret, SecretSet, secret
from tests.fixtures.timings import NEVER, set_timings
from tests.runtime.rebuilds import (
    Needs,
    Pool,
    checkpoints,
    declared,
    publish,
    recording,
    rotate,
)
from tests.runtime.rotations import Log, mounted
from tests.support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hive_boot.testing import MountedVolume

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


async def test_a_rotation_waits_for_the_rebuild_before_it(volume: MountedVolume) -> None:
    """Values that change during a rebuild are read after its switch, and rebuilt then."""
    boot = declared(volume)
    log: list[str] = []
    go = anyio.Event()

    @boot.resource(rebuild_on="db_password", overlap=0)
    async def pool(secrets: Needs) -> AsyncIterator[str]:
        name = secrets.db_password.reveal()[-3:]
        log.append(f"{name} starts")
        if name == "two":
            await go.wait()
        log.append(f"{name} has started")
        yield name

    async with boot.running(), anyio.create_task_group() as group:
        group.start_soon(rotate, boot, volume, "two")
        await until(lambda: "two starts" in log)
        group.start_soon(rotate, boot, volume, "new")
        await checkpoints()
        assert (log[2:], pool.value) == (["two starts"], "one")
        go.set()
        await until(lambda: pool.value == "new")
    assert log[2:] == ["two starts", "two has started", "new starts", "new has started"]


class Staggered(SecretSet):
    """A password, and a key that is used some time after it was accepted."""

    db_password: Secret
    api_key: Secret = secret(activate_after=0.2)


async def test_an_activation_waits_for_the_rebuild_of_a_rotation(volume: MountedVolume) -> None:
    """Both would switch to values without those of the other."""
    publish(volume, "one", api_key="fake-key-one")
    boot = mounted(volume.path, Staggered, watch=False)
    running: list[str] = []
    together: list[int] = []
    go = anyio.Event()

    @boot.resource(rebuild_on=["db_password", "api_key"], overlap=0)
    async def pool(secrets: Staggered) -> AsyncIterator[tuple[str, str]]:
        values = secrets.db_password.reveal()[-3:], secrets.api_key.reveal()[-3:]
        running.append("".join(values))
        together.append(len(running))
        if values == ("two", "one"):
            await go.wait()
        await checkpoint()
        running.pop()
        yield values

    async with boot.running(), anyio.create_task_group() as group:
        publish(volume, "one", api_key="fake-key-two")
        assert await boot.reload() is None
        publish(volume, "two", api_key="fake-key-two")
        group.start_soon(boot.reload)
        await until(lambda: running == ["twoone"])
        await until(lambda: boot.status().secrets[1].due is None)
        await checkpoints()
        assert pool.value == ("one", "one")
        go.set()
        await until(lambda: pool.value == ("two", "two"))
    assert {*together} == {1}


async def test_a_refused_check_starts_no_instance(volume: MountedVolume) -> None:
    """A rebuild logs in, and follows only values that every check has accepted."""
    boot = declared(volume)
    set_timings(boot, reload_retry_delay=NEVER, max_reload_retry_delay=NEVER)
    log: list[str] = []
    recording(boot, log)

    @boot.check(at="rotation")
    async def check(secrets: Needs) -> bool:
        return secrets.db_password.reveal().endswith("new")

    async with boot.running():
        with pytest.raises(InvalidSecretsError):
            await rotate(boot, volume, "two")
        assert log == ["pool one starts"]
        await rotate(boot, volume, "new")
        assert log[:2] == ["pool one starts", "pool new starts"]


async def test_hooks_are_called_after_the_switch(volume: MountedVolume) -> None:
    """They receive the new instance, also when they take its value, and so do contributors."""
    boot = declared(volume)
    pool = recording(boot, [], overlap=0)
    seen: list[object] = []
    asked: list[Pool] = []

    @boot.on_rotate()
    async def hook(change: Change, pool: Pool, secrets: Needs) -> None:
        seen.extend([change.generation, pool.password, secrets.db_password.reveal()])

    @boot.readiness(interval=0.01)
    async def contributor(pool: Pool) -> None:
        asked.append(pool)

    async with boot.running():
        await until(lambda: asked)
        await rotate(boot, volume, "two")
        await until(lambda: seen)
        assert seen == [2, "fake-password-two", "fake-password-two"]
        await until(lambda: asked[-1] is pool.value)
        assert boot.status().ready


async def test_an_owner_of_a_handle_depends_on_the_resource(volume: MountedVolume) -> None:
    """It starts when the resource has started, and the instance in use stops after it."""
    boot = declared(volume)
    log: list[str] = []

    @boot.resource
    async def port(pool: ResourceHandle[Pool]) -> AsyncIterator[str]:
        yield pool.value.password
        await checkpoints()
        assert pool.value.is_open
        log.append(f"port stops on {pool.value.password[-3:]}")

    @boot.resource(rebuild_on="db_password", overlap=0)
    async def pool(secrets: Needs) -> AsyncIterator[Pool]:
        await checkpoints()
        made = Pool(secrets.db_password.reveal())
        yield made
        made.is_open = False
        log.append(f"pool {made.password[-3:]} stops")

    async with boot.running():
        assert port.value == "fake-password-one"
        await rotate(boot, volume, "two")
        await until(lambda: log == ["pool one stops"])
        assert port.value == "fake-password-one"
    assert log[1:] == ["port stops on two", "pool two stops"]


async def test_an_old_owner_of_a_handle_depends_on_the_new_instance(volume: MountedVolume) -> None:
    """Its overlap continues, and until its end the handle has a running instance."""
    boot = declared(volume)
    log: list[str] = []
    pool = recording(boot, log, overlap=NEVER)

    @boot.resource(rebuild_on="api_key", overlap=NEVER)
    async def client(secrets: Needs, pool: ResourceHandle[Pool]) -> AsyncIterator[object]:
        key = secrets.api_key
        yield key
        if key is None:
            await checkpoints()
        log.append(f"client stops on {pool.value.password[-3:]}: {pool.value.is_open}")

    async with boot.running():
        publish(volume, "one", api_key="fake-key-two")
        await boot.reload()
        publish(volume, "two", api_key="fake-key-two")
        await boot.reload()
        assert pool.value.password == "fake-password-two"
    assert log[2:4] == ["client stops on two: True"] * 2
    assert sorted(log[4:]) == ["pool one stops", "pool two stops"]


def free_port() -> socket.socket:
    """Return a listening socket on a free port."""
    return socket.create_server(("127.0.0.1", 0))


async def test_a_port_has_one_owner(
    volume: MountedVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """With a handle it stays open, and answers from the new instance."""
    boot = declared(volume)
    log = Log(caplog)
    recording(boot, [])

    @boot.resource
    async def port(pool: ResourceHandle[Pool]) -> AsyncIterator[int]:
        async def answer(stream: anyio.abc.SocketStream) -> None:
            async with stream, pool.use() as used:
                await stream.send(used.password.encode())

        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, answer)
            yield listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610  (not Django)
            group.cancel_scope.cancel()

    async def ask() -> bytes:
        async with await anyio.connect_tcp("127.0.0.1", port.value) as stream:
            return await stream.receive()

    async with boot.running():
        assert await ask() == b"fake-password-one"
        await rotate(boot, volume, "two")
        assert await ask() == b"fake-password-two"
    assert "on the old value" not in log.rotations[0].getMessage()


async def test_a_port_cannot_be_rebuilt(volume: MountedVolume) -> None:
    """The old instance has the port until the switch, so each rotation is refused."""
    boot = declared(volume)
    with free_port() as free:
        address = free.getsockname()

    @boot.resource(rebuild_on="db_password")
    async def port() -> AsyncIterator[socket.socket]:
        with socket.create_server(address) as listener:
            yield listener

    async with boot.running() as secrets:
        with pytest.raises(InvalidSecretsError) as caught:
            await rotate(boot, volume, "two")
        (problem,) = caught.value.problems
        assert (problem.name, problem.kind) == ("port", "rebuild")
        assert str(errno.EADDRINUSE) in problem.message
        assert secrets.db_password.reveal() == "fake-password-one"
        with socket.create_connection(port.value.getsockname(), timeout=20):
            assert boot.status().ready
