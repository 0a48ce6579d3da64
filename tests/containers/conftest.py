"""Fixtures of the tests in containers: one Podman storage and one image for all tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.base import base_tarball
from tests.containers.building import IMAGE, build, copy_context
from tests.containers.needs import Missing, require
from tests.containers.planting import plant
from tests.containers.podman import Podman, podman_of_its_own
from tests.examples.service import FAKES

FILES = {name.lower(): value for name, value in FAKES.items()}
"""The secrets by the names of their files."""


@pytest.fixture(scope="session")
def base() -> Path:
    """Return the archive of the base image; without it, or without podman, end the test session."""
    try:
        require()
        return base_tarball()
    except Missing as exc:
        pytest.exit(f"The tests in containers cannot run: {exc}", returncode=1)


@pytest.fixture(scope="session")
def podman(base: Path) -> Iterator[Podman]:
    """Yield a Podman with its own storage, which is removed when the tests end."""
    assert base.exists()
    with podman_of_its_own() as podman:
        yield podman


@pytest.fixture(scope="session")
def image(podman: Podman, base: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of the image, built from a working copy that contains planted secrets."""
    context = tmp_path_factory.mktemp("working-copy") / "hive_boot"
    copy_context(context)
    plant(context)
    build(podman, base, context)
    return IMAGE
