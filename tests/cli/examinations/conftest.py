"""What examinations are tried on: an empty machine, which others get to."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def machine() -> Iterator[Path]:
    """Give where the file system of a machine begins; every user may look into it."""
    with TemporaryDirectory() as name:
        place = Path(name).resolve()
        place.chmod(0o755)
        (place / "cwd").mkdir()
        yield place
