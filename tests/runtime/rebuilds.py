"""An application with a pool that is rebuilt after a rotation, and that records its steps."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import checkpoint

from hive_boot import Bootstrap, Change, ResourceHandle, Secret, SecretSet
from tests.runtime.rotations import mounted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hive_boot.testing import MountedVolume


class Needs(SecretSet):
    """A password, and a key that no pool uses."""

    db_password: Secret
    api_key: Secret | None = None


class Pool:
    """A pool that remembers its password and whether it is open."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.is_open = True


def count_reads(reloader: Any) -> list[None]:  # noqa: ANN401  (a Reloader)
    """Return a list that grows with each completed reload."""
    reload, reads = reloader._reload, list[None]()  # noqa: SLF001  (there is no other trace)

    async def reload_and_count(*args: object, **options: object) -> object:
        try:
            return await reload(*args, **options)
        finally:
            reads.append(None)

    reloader._reload = reload_and_count  # noqa: SLF001
    return reads


async def checkpoints() -> None:
    """Wait for 20 steps of the event loop, so that other tasks run."""
    for _ in range(20):
        await checkpoint()


def publish(volume: MountedVolume, password: str, **more: str) -> None:
    """Publish a password."""
    volume.publish({"db_password": f"fake-password-{password}", **more})


async def rotate(boot: Bootstrap[Any, Any], volume: MountedVolume, password: str) -> Change | None:
    """Publish a password, and reload."""
    publish(volume, password)
    return await boot.reload()


def declared(volume: MountedVolume, **options: Any) -> Bootstrap[Needs, Any]:  # noqa: ANN401  (of Bootstrap)
    """Declare an application that reloads on demand."""
    publish(volume, "one")
    return mounted(volume.path, Needs, watch=False, **options)


def kept_by_leases(boot: Bootstrap[Any, Any]) -> int:
    """Return how many old instances are still used by a request or block after their overlap."""
    instances = boot._run.runner.resources._instances  # type: ignore[union-attr]  # noqa: SLF001
    leases = {lease for each in instances if each.is_old for lease in each.leases}
    return sum(lease.statistics().tasks_waiting for lease in leases)


def recording(boot: Bootstrap[Needs, Any], log: list[str], **options: Any) -> ResourceHandle[Pool]:  # noqa: ANN401  (of the decorator)
    """Declare a pool that is rebuilt, and that records its steps."""
    options.setdefault("overlap", 0.02)

    @boot.resource(rebuild_on="db_password", **options)
    async def pool(secrets: Needs) -> AsyncIterator[Pool]:
        made = Pool(secrets.db_password.reveal())
        name = made.password.removeprefix("fake-password-")
        log.append(f"pool {name} starts")
        if name == "bad":
            message = f"{made.password} was refused by the server"
            raise PermissionError(message)
        if name == "hanging":
            await anyio.sleep_forever()
        if name == "absent":
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")
        yield made
        made.is_open = False
        log.append(f"pool {name} stops")
        if name == "unstoppable":
            message = "it does not stop"
            raise RuntimeError(message)

    return pool
