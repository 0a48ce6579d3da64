"""Fixtures of the runtime tests: directories whose files change while an application runs."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import watchfiles  # noqa: F401  (who is another user in a test may not be able to import it)

from hive_boot.runtime import load_pipeline
from hive_boot.secrets.loader import load
from hive_boot.testing import MountedVolume
from tests.fixtures.watching import in_memory
from tests.fixtures.writers import PlainDirectory
from tests.support import SETTLED


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory in a tmpfs, as for a Secret volume, if there is one."""
    with in_memory(tmp_path) as place:
        yield place


@pytest.fixture
def volume(memory: Path) -> MountedVolume:
    """Return a volume in a tmpfs, without content."""
    return MountedVolume(memory / "volume")


@pytest.fixture
def directory(memory: Path) -> PlainDirectory:
    """Return an empty directory in a tmpfs, for files that are written one by one."""
    return PlainDirectory(memory / "directory")


@pytest.fixture
def settled_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat new files as settled, for tests that replace each file in one step."""
    monkeypatch.setattr(load_pipeline, "load", partial(load, policy=SETTLED))
