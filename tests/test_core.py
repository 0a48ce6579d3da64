"""The subset of the tests that runs on every Python version."""

from pathlib import Path

import pytest

from tests import conftest


def test_every_file_of_the_core_exists() -> None:
    """A file that is renamed would silently leave the core."""
    assert [path for path in conftest.CORE if not path.is_file()] == []


def test_the_files_of_the_core_are_marked(request: pytest.FixtureRequest) -> None:
    """Only the tests of these files have the mark."""
    for item in request.session.items:
        is_core = item.path in conftest.CORE
        assert (item.get_closest_marker("core") is not None) == is_core, item.nodeid
    assert Path(__file__) not in conftest.CORE
