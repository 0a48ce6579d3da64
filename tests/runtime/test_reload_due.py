"""A value comes into use when its time has come, whatever else goes on."""

from pathlib import Path

import anyio
import pytest

from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.testing import MountedVolume
from tests.support import until


class Signing(SecretSet):
    """A key that comes into use a little later, and is accepted for a little longer."""

    signing_key: Secret = secret(activate_after=0.2, accept_old_for=0.5)
    other: Secret


@pytest.mark.anyio
async def test_a_value_comes_into_use_when_it_is_due_while_a_check_takes_its_time(
    tmp_path: Path,
) -> None:
    """A slow check, or a read that waits, holds up the set it judges, and not the one before."""
    volume = MountedVolume(tmp_path / "volume")
    volume.publish({"signing_key": "fake-key-1", "other": "fake-other-1"})
    boot = Bootstrap(Signing, watch=True, mode="kubernetes", secrets_dirs=volume.path)
    judging, judged = anyio.Event(), anyio.Event()

    @boot.check
    async def judge(secrets: Signing) -> None:
        if secrets.other.reveal() == "fake-other-3":
            judging.set()
            await judged.wait()

    async with boot.running() as secrets:
        volume.publish({"signing_key": "fake-key-2", "other": "fake-other-2"})
        await until(lambda: len(boot.accepted("signing_key")) > 1)
        volume.publish({"signing_key": "fake-key-3", "other": "fake-other-3"})
        await judging.wait()
        await until(lambda: secrets.signing_key.reveal() == "fake-key-2", seconds=5)
        assert not judged.is_set()
        judged.set()
        await until(lambda: secrets.signing_key.reveal() == "fake-key-3")
