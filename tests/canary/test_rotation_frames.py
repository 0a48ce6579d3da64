"""Rotations that fail deep inside: frame variables of hive_boot contain no value.

As in ``test_frames.py``, whose search is used, only frames of hive_boot are searched.

"""

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hive_boot import BootError, Bootstrap
from hive_boot.redaction.hooks import Redaction
from hive_boot.runtime import reload, rotation
from hive_boot.secrets import loader, store
from hive_boot.secrets.store import Store
from hive_boot.testing import MountedVolume
from tests.canary.canaries import CANARIES, Canary, make
from tests.canary.programs.declared import Canaries
from tests.canary.programs.lives import OddError
from tests.canary.programs.telling import plainly
from tests.canary.test_frames import fail, search

pytestmark = pytest.mark.anyio

LATER = [make(canary.name) for canary in CANARIES]
"""The secrets after the rotation."""

FIRST = next(canary.value for canary in CANARIES if canary.name == "PASSPHRASE")
"""The first value of one secret."""

FAULTS: dict[str, tuple[object, str]] = {
    "open": (os, "open"),
    "fstat": (os, "fstat"),
    "read": (os, "read"),
    "thread": (threading.Thread, "start"),
    "judge": (loader, "validate"),
    "losses": (reload, "find_lost_sources"),
    "compare": (reload, "changed_fields"),
    "cover": (Redaction, "hide"),
    "make a set": (store, "make_set"),
    "accept": (Store, "plan_acceptance"),
    "tell": (rotation.HookRunner, "notify"),
}
"""Functions deep inside a rotation that are made to fail."""


def files(canaries: Iterable[Canary]) -> dict[str, bytes]:
    """Return the content of a volume."""
    return {each.name.lower(): os.fsencode(each.variable) for each in canaries}


class Errors(logging.Handler):
    """A handler that keeps logged errors, as an error tracker does."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the error."""
        if record.exc_info and record.exc_info[1]:
            self.kept.append(record.exc_info[1].with_traceback(record.exc_info[2]))


@contextmanager
def tracked() -> Iterator[list[BaseException]]:
    """Yield the errors that are logged while the block runs."""
    log, handler = logging.getLogger("hive_boot"), Errors()
    log.addHandler(handler)
    try:
        yield handler.kept
    finally:
        log.removeHandler(handler)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_rotation_that_breaks(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function fails unexpectedly; no text and no frame contains an old or a new value."""
    volume = MountedVolume(tmp_path / "volume")
    volume.publish(files(CANARIES))
    boot = Bootstrap(Canaries, mode="kubernetes", secrets_dirs=volume.path)
    with tracked() as told:
        async with boot.running():
            volume.publish(files(LATER))
            with monkeypatch.context() as patch:
                patch.setattr(*FAULTS[fault], fail)
                with pytest.raises(BootError) as caught:
                    await boot.reload()
    assert search(caught.value, *told, canaries=[*CANARIES, *LATER])


async def test_a_rebuild_that_fails(tmp_path: Path) -> None:
    """The error of a rebuild contains new values; the problem, the log and the frames do not."""
    volume = MountedVolume(tmp_path / "volume")
    volume.publish(files(CANARIES))
    boot = Bootstrap(Canaries, mode="kubernetes", secrets_dirs=volume.path)
    fields = [*Canaries._field_index.fields]

    @boot.resource(rebuild_on=fields)
    async def pool(secrets: Canaries) -> str:
        if str(secrets.passphrase and secrets.passphrase.reveal()) != FIRST:
            raise OddError(plainly(secrets))
        return plainly(secrets)

    @boot.resource
    async def user(pool: str) -> str:
        return pool

    with tracked() as told:
        async with boot.running():
            volume.publish(files(LATER))
            with pytest.raises(BootError) as caught:
                await boot.reload()
    assert "OddError" in str(caught.value)
    assert search(caught.value, *told, canaries=[*CANARIES, *LATER])
