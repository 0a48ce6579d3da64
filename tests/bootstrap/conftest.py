"""Places whose files change while an application runs, and waits that are cut short."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import watchfiles  # noqa: F401  (who is another user in a test may not be able to import it)

from hive_boot.bootstrap import notifying, rotating
from hive_boot.testing import MountedVolume
from tests.fixtures.writers import PlainDirectory


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Give a directory in a file system like that of a Secret volume, where there is one."""
    shared = Path("/dev/shm")  # noqa: S108  (tmpfs is what is wanted)
    with TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as name:
        yield Path(name)


@pytest.fixture
def volume(memory: Path) -> MountedVolume:
    """Give a volume in memory, in which nothing is published yet."""
    return MountedVolume(memory / "volume")


@pytest.fixture
def directory(memory: Path) -> PlainDirectory:
    """Give an empty directory in memory, for files that are written one by one."""
    return PlainDirectory(memory / "directory")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what failed be tried again soon."""
    for room in (rotating, notifying):
        monkeypatch.setattr(room, "_FIRST", 0.05)
        monkeypatch.setattr(room, "_MOST", 0.2)
