"""Find the one file of a secret that a start would read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hive_boot.cli.secret_files import file_name
from hive_boot.cli.usage import Refusal, UsageError
from hive_boot.secrets import hints

if TYPE_CHECKING:
    from pathlib import Path

    from hive_boot.secrets.field import Field


class Place(NamedTuple):
    """Where a secret is kept.

    Attributes:
        directory: the directory, without links.
        file: the file in it, as a relative path.
        shown: the file, as a person knows it.
        path: the file, without links.
    """

    directory: Path
    file: str
    shown: Path
    path: Path


def place_of(field: Field, shown: Path, *, create: bool, declared: bool = True) -> Place:
    """Find the file of a secret in a directory.

    Args:
        field: the secret.
        shown: the directory, as a person knows it.
        create: whether there need not be a file yet.
        declared: whether the declaration has said what the file is called.

    Raises:
        UsageError: there is none, or no such directory.
        Refusal: there are several, or it is not ours to write.
    """
    directory = shown.resolve()
    if not directory.is_dir():
        message = f"there is no directory {shown}: name it with --to"
        raise UsageError(message)
    names = [path.name for path in directory.iterdir()]
    if any(name.startswith("..") for name in names):
        message = (
            f"{shown} is a volume that the kubelet writes, and nobody else: "
            "--kubernetes tells how to change the Secret"
        )
        raise Refusal(message)
    there = [name for name in field.candidates if _is_in(directory, name, names)]
    if len(there) > 1:
        message = (
            f"{field.name} is in {len(there)} files: "
            f"{', '.join(str(shown / name) for name in there)}; remove all but one"
        )
        raise Refusal(message)
    if not there and not create:
        near = hints.near_misses(field, names)
        meant = f"; there is {', '.join(str(shown / name) for name in near)}" if near else ""
        other = "" if declared else "if its file= is another, --app APP knows it; else "
        message = f"{shown} holds no file of this secret{meant}; {other}--create makes one"
        raise UsageError(message)
    file = there[0] if there else file_name(field)
    path = (directory / file).resolve()
    if not path.is_relative_to(directory):
        message = f"{shown / file} is a link that leads elsewhere: change the secret over there"
        raise Refusal(message)
    if there and not path.is_file():
        message = f"{shown / file} is no file: remove it, and use --create"
        raise Refusal(message)
    return Place(directory, file, shown / file, path)


def _is_in(directory: Path, name: str, names: list[str]) -> bool:
    """Tell whether a file is there, under this very name where case means nothing."""
    return (directory / name).exists() if "/" in name else name in names
