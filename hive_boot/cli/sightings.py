"""What an application would read: asked of the loader itself, one source at a time.

So what a command believes about a ``.env`` file or a directory is what a start believes.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.secrets.inventory import Inventory
from hive_boot.secrets.loading import load
from hive_boot.secrets.mode import Mode, Situation
from hive_boot.secrets.sources.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hive_boot.secrets.field import Field
    from hive_boot.secrets.findings import Findings

_PATIENCE = Patience(wall=lambda: time.time() + 3600, absent=0.0)
"""A person waits: files that were just written are taken as they are."""


def unjudged(fields: Iterable[Field]) -> Inventory:
    """Give fields of which none is required, and whose values are taken as they are."""
    return Inventory(
        field._replace(
            required=False,
            required_in=frozenset(),
            dev_default=None,
            min_length=None,
            max_length=None,
            pattern=None,
            check=None,
            previous=None,
        )
        for field in fields
    )


def in_env_files(inventory: Inventory, paths: Sequence[Path]) -> Findings:
    """Read ``.env`` files, as development mode does.

    Args:
        inventory: the secrets.
        paths: the files, the stronger one last.
    """
    dotenv = tuple(str(Path.cwd() / path) for path in reversed(paths))
    return _read(inventory, "development", dotenv=dotenv)


def in_directory(inventory: Inventory, directory: Path) -> Findings:
    """Read a directory of secrets, as docker mode does."""
    return _read(inventory, "docker", directory=str(directory))


def in_environment(inventory: Inventory) -> Findings:
    """Read the variables of this process."""
    return _read(inventory, "environment", variables=dict(os.environ))


def differing(inventory: Inventory, one: Findings, other: Findings) -> list[Field]:
    """Give the fields for which two readings hold different values, or one holds none."""
    return [
        field
        for field in inventory.every
        if one.values.get(field.attribute) != other.values.get(field.attribute)
    ]


def _read(
    inventory: Inventory,
    mode: Mode,
    *,
    dotenv: tuple[str, ...] = (),
    directory: str = "",
    variables: Mapping[str, str] | None = None,
) -> Findings:
    situation = Situation(
        mode=mode,
        mode_reason="",
        profile="production",
        profile_reason="",
        directories=(directory,) if directory else (),
        named_by="--to" if directory else "",
        dotenv=dotenv,
        env_fallback=False,
        forgotten=False,
        variables=lambda: variables or {},
        cwd=str(Path.cwd()),
    )
    return load(inventory, situation, patience=_PATIENCE)
