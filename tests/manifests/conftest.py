"""Templates that are compiled once for all tests of manifests."""

from functools import cache
from typing import TYPE_CHECKING

import pytest

from hive_boot.manifests import rendering

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Environment

_new_environment = rendering._environment  # noqa: SLF001  (a command calls it once)


@cache
def _templates_of_the_package() -> "Environment":
    return _new_environment(None)


def _environment(templates: "Path | None") -> "Environment":
    return _new_environment(templates) if templates else _templates_of_the_package()


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile the templates of the package at the first test that renders."""
    monkeypatch.setattr(rendering, "_environment", _environment)
