"""Secret files: their locations, their encoding, and what a start would read from them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli.arguments import CommandError, UsageError
from hive_boot.secrets import fix_hints
from hive_boot.secrets.fields import FieldIndex, ValueProblem
from hive_boot.secrets.loader import load
from hive_boot.secrets.platform import Mode, SourceContext
from hive_boot.secrets.sources.directories import ReadPolicy
from hive_boot.secrets.sources.files import BOM, EMPTY, LIMIT, NUL, decode_file
from hive_boot.secrets.validation import PLACEHOLDER
from hive_boot.secrets.value import Secret, SecretBytes, is_placeholder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hive_boot.secrets.fields import Field
    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.sources.files import Value

_PATIENCE = ReadPolicy(wall=lambda: time.time() + 3600, missing_timeout=0.0)
"""No waiting: a file that was written a moment ago is taken as settled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretLocation:
    """The file of a secret in a directory.

    Attributes:
        directory: the directory, absolute and without links.
        file: the file in it, as a relative path.
        shown: the file, as the user named the directory.
        path: the file, absolute and without links.
    """

    directory: Path
    file: str
    shown: Path
    path: Path


def locate_secret(
    field: Field, shown: Path, *, create: bool, declared: bool = True
) -> SecretLocation:
    """Return the one file of a secret in a directory, which a start would read.

    Args:
        field: the secret.
        shown: the directory, as the user named it.
        create: whether the file may be missing.
        declared: whether the field comes from a declaration, which knows its ``file=``.

    Raises:
        UsageError: the file or the directory does not exist, or the directory is a link.
        CommandError: the secret has several files, or its file must not be written.
    """
    directory = named_directory(shown)
    if not directory.is_dir():
        message = f"there is no directory {shown}: name it with --to"
        raise UsageError(message)
    names = [path.name for path in directory.iterdir()]
    if any(name.startswith("..") for name in names):
        message = (
            f"{shown} is a volume that only the kubelet writes: --kubernetes prints the command "
            "that changes the Secret"
        )
        raise CommandError(message)
    existing = [name for name in field.candidates if _exists(directory, name, names)]
    if len(existing) > 1:
        message = (
            f"{field.name} is in {len(existing)} files: "
            f"{', '.join(str(shown / name) for name in existing)}; remove all but one"
        )
        raise CommandError(message)
    if not existing and not create:
        near = fix_hints.near_misses(field, names)
        hint = f"; there is {', '.join(str(shown / name) for name in near)}" if near else ""
        other = "" if declared else "if its file= is another, --app APP knows it; else "
        message = f"{shown} holds no file of this secret{hint}; {other}--create makes one"
        raise UsageError(message)
    file = existing[0] if existing else field.file_name
    path = directory / file
    refuse_links(directory, file, shown)
    if existing and not path.is_file():
        message = f"{shown / file} is not a regular file: remove it, and use --create"
        raise CommandError(message)
    return SecretLocation(directory=directory, file=file, shown=shown / file, path=path)


def named_directory(shown: Path) -> Path:
    """Return a directory that the user named, absolute and without links above it.

    Raises:
        UsageError: the directory itself is a link: no command writes through one.
    """
    if shown.is_symlink():
        message = f"{shown} is a symbolic link: name the directory itself with --to"
        raise UsageError(message)
    return shown.resolve()


def refuse_links(directory: Path, file: str, shown: Path) -> None:
    """Raise unless the path of a file below a directory leads through no link.

    Raises:
        CommandError: the file or a directory above it is a symbolic link.
    """
    for part in (*reversed(Path(file).parents[:-1]), Path(file)):
        if (directory / part).is_symlink():
            message = f"{shown / part} is a symbolic link: change the secret where it leads"
            raise CommandError(message)


def _exists(directory: Path, name: str, names: list[str]) -> bool:
    """Return whether a file exists; with this spelling where the file system ignores case."""
    return os.path.lexists(directory / name) if "/" in name else name in names


def encode_value(value: Value) -> bytes:
    """Return the content of a file from which a start reads ``value``, byte for byte.

    A start removes one byte order mark and one final newline from a text. So a text that
    begins with such a mark or ends with a newline gets one more. Bytes stay as they are.
    """
    if isinstance(value, SecretBytes):
        return value.reveal()
    raw = value.reveal().encode()
    return (BOM if raw.startswith(BOM) else b"") + raw + (b"\n" if raw.endswith(b"\n") else b"")


def decode_value(raw: bytes, field: Field) -> Value | None:
    """Return the value that a start reads from a file with this content.

    Returns:
        None when the content is not UTF-8 and the field is a text.
    """
    return decode_file(lambda: raw, field.name, is_text=field.kind is Secret)


def value_problem(value: Value) -> ValueProblem | None:
    """Return why a start would not accept ``value`` from a file; None when it would."""
    plain = value.reveal()
    if not plain:
        return EMPTY
    if isinstance(plain, str) and "\0" in plain:
        return NUL
    if is_placeholder(value):
        return PLACEHOLDER
    if len(encode_value(value)) > LIMIT:
        return ValueProblem("too-large", f"is larger than the {LIMIT} bytes that a start reads")
    return None


def without_constraints(fields: Iterable[Field]) -> FieldIndex:
    """Return the fields as optional ones that accept every value."""
    return FieldIndex(
        field.replace(
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


def read_env_files(field_index: FieldIndex, paths: Sequence[Path]) -> LoadResult:
    """Return what a start in development mode reads from ``.env`` files.

    Args:
        field_index: the secrets.
        paths: the files; a later one overrides an earlier one.
    """
    dotenv = tuple(str(Path.cwd() / path) for path in reversed(paths))
    return _read(field_index, "development", dotenv=dotenv)


def read_directory(field_index: FieldIndex, directory: Path) -> LoadResult:
    """Return what a start in docker mode reads from a directory."""
    return _read(field_index, "docker", directory=str(directory))


def read_environment(field_index: FieldIndex) -> LoadResult:
    """Return what a start reads from the variables of this process."""
    return _read(field_index, "environment", variables=dict(os.environ))


def differing_fields(field_index: FieldIndex, one: LoadResult, other: LoadResult) -> list[Field]:
    """Return the fields whose values differ between two results, or are in one only."""
    return [
        field
        for field in field_index.all_fields
        if one.values.get(field.attribute) != other.values.get(field.attribute)
    ]


def _read(
    field_index: FieldIndex,
    mode: Mode,
    *,
    dotenv: tuple[str, ...] = (),
    directory: str = "",
    variables: Mapping[str, str] | None = None,
) -> LoadResult:
    source_context = SourceContext(
        mode=mode,
        mode_reason="",
        profile="production",
        profile_reason="",
        directories=(directory,) if directory else (),
        directories_setting="--to" if directory else "",
        env_files=dotenv,
        env_fallback=False,
        maybe_missing_mount=False,
        variables=lambda: variables or {},
        cwd=str(Path.cwd()),
    )
    return load(field_index, source_context, policy=_PATIENCE)
