"""Secret files: their location, their encoding, and the values that a start reads from them."""

from __future__ import annotations

import os
from collections import ChainMap
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hive_boot.cli.terminal import CommandError, UsageError, os_error_text
from hive_boot.secrets import fix_hints
from hive_boot.secrets.fields import Field, FieldIndex, ValueProblem, constraint_violations
from hive_boot.secrets.loader import load
from hive_boot.secrets.platform import SourceContext
from hive_boot.secrets.sources.directories import ReadPolicy
from hive_boot.secrets.sources.dotenv import read_dotenv
from hive_boot.secrets.sources.files import BOM, Value, ValueOrProblem, value_of_content
from hive_boot.secrets.validation import PLACEHOLDER_PROBLEMS, content_problem
from hive_boot.secrets.value import Secret, SecretBytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.platform import Mode

_NO_WAITING = ReadPolicy(waits_for_writers=False, missing_timeout=0.0)
"""Read policy that waits neither for a writer nor for a file."""

_NO_SOURCES = SourceContext("environment", "", "production", "", variables=dict, cwd="")
"""A load with the rules of a start in production, before its sources are added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretLocation:
    """The file of a secret in a directory.

    Attributes:
        directory: the directory, absolute and without links.
        shown: the file, as the user named the directory.
        path: the file, absolute and without links.
        status: the status of the file; None if it does not exist.
    """

    directory: Path
    shown: Path
    path: Path
    status: os.stat_result | None


def locate_secret(
    field: Field, shown: Path, *, create: bool, declared: bool = True
) -> SecretLocation:
    """Return the file of a secret that a start reads from a directory.

    Args:
        field: the secret.
        shown: the directory, as the user typed it.
        create: whether the file may be missing.
        declared: whether the field comes from a declaration, so that its ``file=`` is known.

    Raises:
        OSError: the directory cannot be entered.
        UsageError: the file or the directory does not exist, or the directory is a link.
        CommandError: the secret has several files, its file is a link or not a regular file,
            or the directory is a Kubernetes volume.
    """
    directory = named_directory(shown)
    if not directory.is_dir():
        raise UsageError(f"The directory {shown} does not exist. Specify it with --to.")
    names = read_target(without_constraints([field]), directory, shown).snapshots[0].names
    # Names in the directory itself are looked up in its listing: a file system that ignores case
    # would report ``api_key`` and ``API_KEY`` as two files.
    existing = [
        name
        for name in field.candidates
        if name in names or ("/" in name and os.path.lexists(directory / name))
    ]
    if len(existing) > 1:
        raise CommandError(
            f"{field.name} has {len(existing)} files: "
            f"{', '.join(str(shown / name) for name in existing)}. Remove all but one."
        )
    if not existing and not create:
        near = fix_hints.near_misses(field, names)
        hint = f" Similar: {', '.join(str(shown / name) for name in near)}." if near else ""
        app = "" if declared else " If its declaration has file=, add --app APP."
        raise UsageError(
            f"{shown} does not contain a file of this secret.{hint}{app} "
            "To create the file, add --create."
        )
    file = existing[0] if existing else field.file_name
    path = directory / file
    refuse_links(directory, file, shown)
    if existing and not path.is_file():
        raise CommandError(f"{shown / file} is not a regular file. Remove it and use --create.")
    status = path.lstat() if existing else None
    return SecretLocation(directory=directory, shown=shown / file, path=path, status=status)


@contextmanager
def errors_reported(shown: Path, prefix: str = "") -> Iterator[None]:
    """Raise CommandError for an error in the ``with`` block, whose frames may contain values.

    Args:
        shown: the path to name, if an error of the operating system has none.
        prefix: the beginning of the message of such an error. Default none.

    Raises:
        CommandError: the block raises OSError or CommandError.
    """
    lines: tuple[object, ...] = ()
    try:
        yield
    except CommandError as exc:
        lines = exc.args
    except OSError as exc:
        path = exc.filename2 or exc.filename or shown
        lines = (f"{prefix}{path}: {os_error_text(exc)}",)
    if lines:
        error = CommandError(*lines)
        try:
            raise error
        finally:
            error.__context__ = None  # the first exception, with its frames


def named_directory(shown: Path) -> Path:
    """Return the absolute path of a directory that the user named, with parent links resolved.

    Raises:
        UsageError: the directory itself is a link; commands do not write through links.
    """
    if shown.is_symlink():
        raise UsageError(f"{shown} is a symbolic link. Specify its target instead.")
    # Path.resolve() raises RuntimeError for a loop of links.
    return Path(os.path.realpath(shown))


def refuse_links(directory: Path, file: str, shown: Path) -> None:
    """Raise if a file, or a directory between ``directory`` and the file, is a symbolic link.

    Args:
        directory: the directory.
        file: the file, as a path relative to it.
        shown: the directory, as the user typed it.

    Raises:
        CommandError: a part of the path is a link; commands do not write through links.
    """
    for part in (*reversed(Path(file).parents[:-1]), Path(file)):
        if (directory / part).is_symlink():
            message = f"{shown / part} is a symbolic link, which is not followed to write."
            raise CommandError(message)


def encode_value(value: Value) -> bytes:
    """Return the file content from which a start reads exactly ``value``.

    A start removes one byte order mark and one final newline from text. A text that begins
    with a byte order mark or ends with a newline therefore gets another one. The content
    of SecretBytes is not changed.
    """
    if isinstance(value, SecretBytes):
        return value.reveal()
    raw = value.reveal().encode()
    return (BOM if raw.startswith(BOM) else b"") + raw + (b"\n" if raw.endswith(b"\n") else b"")


def decode_value(raw: bytes, field: Field) -> ValueOrProblem:
    """Return the value that a start reads from a file with this content, or its problem.

    Placeholders and references that ``allow_placeholder=True`` permits are not a problem here.
    """
    value = value_of_content(lambda: raw, field.name, is_text=field.kind is Secret)
    problem = None if isinstance(value, ValueProblem) else content_problem(value)
    return value if problem is None or problem in PLACEHOLDER_PROBLEMS else problem


def rejections(field: Field, value: Value) -> list[str]:
    """Return why a start in production rejects a value, without the check of its field."""
    problem = None if field.allow_placeholder else content_problem(value)
    problems = constraint_violations(field, value.reveal) + ([problem] if problem else [])
    messages = [each.message for each in problems]
    if value.reveal() == field.dev_default:
        messages.append("is the development default, which other profiles refuse")
    return messages


def without_constraints(fields: Iterable[Field]) -> FieldIndex:
    """Return the fields as optional fields that accept every value."""
    return FieldIndex(
        Field(
            attribute=field.attribute,
            name=field.name,
            kind=field.kind,
            file=field.file,
            aliases=field.aliases,
            file_variable=field.file_variable,
            candidates=field.candidates,
            allow_placeholder=True,
        )
        for field in fields
    )


def read_env_files(field_index: FieldIndex, paths: Sequence[Path]) -> LoadResult:
    """Load ``.env`` files as a start in development mode does.

    Other variables of this process and of ``.env.local``, to which the files can refer, are known;
    the values of secrets come from the files only.

    Args:
        field_index: the fields.
        paths: the files; a later file overrides an earlier one.
    """
    absolute = tuple(str(Path.cwd() / path) for path in reversed(paths))
    local = [f"{path}.local" for path in absolute if f"{path}.local" not in absolute]
    secrets = field_index.by_variable.keys() | field_index.by_file_variable.keys()
    known = ChainMap[str, Any](os.environ, *(read_dotenv(path).values for path in local))
    variables = {name: known[name] for name in known.keys() - secrets}
    return _read(field_index, "development", env_files=absolute, variables=lambda: variables)


def read_target(field_index: FieldIndex, directory: Path, shown: Path) -> LoadResult:
    """Load the directory that a command writes to, which need not exist.

    Args:
        field_index: the fields.
        directory: the directory.
        shown: the directory, as the user typed it.

    Raises:
        CommandError: the directory is a Kubernetes volume, or cannot be read.
    """
    target = read_directory(field_index, directory)
    snapshot = target.snapshots[0]
    if snapshot.volume:
        raise CommandError(
            f"{shown} is a Kubernetes volume, which only the kubelet can write. Use "
            "hive-boot rotate NAME --kubernetes: it prints the command that changes the Secret."
        )
    if snapshot.problem is not None and directory.exists():
        raise CommandError(f"{shown} {snapshot.problem.message}")
    return target


def read_directory(field_index: FieldIndex, directory: Path) -> LoadResult:
    """Load a directory as a start in docker mode does."""
    return _read(field_index, "docker", directories=(str(directory),), directories_setting="--to")


def _read(field_index: FieldIndex, mode: Mode, **sources: Any) -> LoadResult:
    source_context = _NO_SOURCES.replace(mode=mode, cwd=str(Path.cwd()), **sources)
    return load(field_index, source_context, policy=_NO_WAITING)
