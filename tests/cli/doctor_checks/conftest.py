"""Fixtures for the checks of ``hive-boot doctor``."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def machine() -> Iterator[Path]:
    """Return the root of an empty file system that every user can enter."""
    with TemporaryDirectory() as name:
        root = Path(name).resolve()
        root.chmod(0o755)
        (root / "cwd").mkdir()
        yield root
