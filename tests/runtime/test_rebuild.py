"""Resources that follow a rotation: new instances before the switch, old ones until the overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hive_boot import (
    Bootstrap,
    Change,
    Secret,
    SecretSet,
    get_secret,
)
from tests.runtime.rotations import mounted
from tests.support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hive_boot.testing import MountedVolume

pytestmark = [pytest.mark.anyio, pytest.mark.both_backends]


class Needs(SecretSet):
    """A password, and a key that no pool uses."""

    db_password: Secret
    api_key: Secret | None = None


class Pool:
    """A pool that remembers its password and whether it is open."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.is_open = True


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


async def test_a_rotation_starts_a_new_instance_before_the_switch(volume: MountedVolume) -> None:
    """Values and handle switch in one step; the old instance stops after the overlap."""
    boot = declared(volume)
    pools: list[Pool] = []
    seen: list[tuple[str, ...]] = []

    @boot.resource(rebuild_on="db_password", overlap=0.05)
    async def pool(secrets: Needs) -> AsyncIterator[Pool]:
        made = Pool(secrets.db_password.reveal())
        pools.append(made)
        if len(pools) > 1:
            # The run still has the old value, and this task the new one.
            await anyio.sleep(0.01)
            seen.append((pool.value.password,))
            assert boot.secrets.db_password == secrets.db_password
            seen.append((boot.secrets.db_password.reveal(), str(get_secret("DB_PASSWORD"))))
        yield made
        await checkpoint()
        made.is_open = False

    async with boot.running() as secrets:
        watched: list[tuple[str, str]] = []

        async def watch() -> None:
            while True:
                watched.append((secrets.db_password.reveal(), pool.value.password))
                await checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            change = await rotate(boot, volume, "two")
            group.cancel_scope.cancel()
        assert change is not None
        assert change.names == ("db_password",)
        assert pool.value is pools[1]
        assert pools[1].password == get_secret("DB_PASSWORD") == "fake-password-two"
        assert all(value == password for value, password in watched)
        assert seen == [("fake-password-one",), ("fake-password-two", "fake-password-two")]
        assert pools[0].is_open
        await until(lambda: not pools[0].is_open)
        assert pools[1].is_open
    assert not pools[1].is_open
