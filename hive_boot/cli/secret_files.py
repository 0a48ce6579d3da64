"""Secret files: their location and encoding, what a start reads from them, and what git does.

Git is asked which files it tracks and ignores.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections import ChainMap
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hive_boot.cli import CommandError, UsageError, os_error_text
from hive_boot.secrets import fix_hints
from hive_boot.secrets.fields import Field, FieldIndex, ValueProblem, constraint_violations
from hive_boot.secrets.loader import load
from hive_boot.secrets.platform import SourceContext
from hive_boot.secrets.sources.directories import ReadPolicy
from hive_boot.secrets.sources.dotenv import read_dotenv
from hive_boot.secrets.sources.files import BOM, read_regular_file, value_of_content
from hive_boot.secrets.validation import PLACEHOLDER_PROBLEMS, content_problem
from hive_boot.secrets.value import Secret, SecretBytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.platform import Mode
    from hive_boot.secrets.sources.files import Value, ValueOrProblem

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
    kept = "attribute", "name", "kind", "file", "aliases", "file_variable", "candidates"
    return FieldIndex(
        Field(**{name: getattr(field, name) for name in kept}, allow_placeholder=True)
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


GIT_TIMEOUT = 10.0
"""Seconds after which git is killed."""

# GIT_DIR and similar variables are not passed on: a git hook sets them, and git would then
# query the repository of the hook. With SUDO_UID, git trusts a repository of the user who
# called sudo.
_PASSED_VARIABLES = ("HOME", "PATH", "SUDO_UID", "XDG_CONFIG_HOME")

_GIT_SETTINGS = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}

_GIT_OPTIONS = ("--no-pager", "-c", "core.fsmonitor=false")
"""``core.fsmonitor`` in the config of a repository can name a program that git would run."""

_GIT_SUCCESS = frozenset({0, 1})
"""1 means "no match". 128 means that git found no repository, or does not trust it."""


def git_paths(
    directory: Path, *arguments: str, stdin_paths: Iterable[str] = ()
) -> list[str] | None:
    """Run git and return the paths that it prints.

    Args:
        directory: the working directory.
        arguments: a git command that prints paths terminated by NUL (``-z``).
        stdin_paths: paths for a command that reads them with ``--stdin -z``.

    Returns:
        The paths, or None when git is not installed, fails, or exceeds :data:`GIT_TIMEOUT`.
    """
    answer = _git_answer(directory, *arguments, stdin_paths=stdin_paths)
    return None if isinstance(answer, str) else answer


def git_failure(directory: Path) -> str:
    """Return why git cannot query the repository of a directory; empty if it can."""
    root = find_repository(directory)
    answer = _git_answer(root, "ls-files", "-z", "--", ".gitignore") if root else []
    return answer if isinstance(answer, str) else ""


def _git_answer(
    directory: Path, *arguments: str, stdin_paths: Iterable[str] = ()
) -> list[str] | str:
    """Return the paths that git prints, or the reason why it prints none."""
    git = shutil.which("git")
    if git is None:
        return "git is not installed"
    environ = {name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ}
    try:
        result = subprocess.run(  # noqa: S603  (the arguments are constants and paths)
            [git, *_GIT_OPTIONS, "-C", str(directory), *arguments],
            env=environ | _GIT_SETTINGS,
            input=b"\0".join(map(os.fsencode, stdin_paths)),
            capture_output=True,
            timeout=GIT_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as exc:
        return f"git cannot be run ({type(exc).__name__})"
    if result.returncode not in _GIT_SUCCESS:
        # For a repository of another owner, stderr contains the command that trusts it.
        return " ".join(result.stderr.decode(errors="replace").split())
    return [os.fsdecode(path) for path in result.stdout.split(b"\0") if path]


_PATTERN_CHARACTERS = re.compile(r"[\\*?\[]")
"""Characters that have a meaning in a pattern of ``.gitignore``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitignoreChange:
    """A line to add to a ``.gitignore``.

    Attributes:
        path: the file.
        line: the line.
        before: the current content; None if the file does not exist.
        content: the new content, which includes the line.
    """

    path: Path
    line: str
    before: bytes | None
    content: bytes


def find_repository(path: Path) -> Path | None:
    """Return the root of the git repository that contains ``path``, which need not exist."""
    return next((each for each in (path, *path.parents) if os.path.lexists(each / ".git")), None)


def plan_gitignore_change(directory: Path, files: Sequence[Path]) -> GitignoreChange | None:
    """Return the ``.gitignore`` change after which git ignores a directory.

    In a repository the line is added to the ``.gitignore`` at its root. Outside a repository
    it is added to the ``.gitignore`` of the working directory, for a later ``git init``.

    Args:
        directory: the directory, absolute and without symbolic links; it need not exist.
        files: the files that will be written to it.

    Returns:
        None if no change is needed or possible: git already ignores all files; or git cannot
        be queried, but ``.gitignore`` already contains the line; or the directory is neither
        in a repository nor below the working directory.

    Raises:
        CommandError: ``.gitignore`` cannot be read, is not a regular file, or is a symbolic
            link, which git does not follow.
    """
    root = find_repository(directory) or Path.cwd()
    if not directory.is_relative_to(root):
        return None
    ignored = are_ignored(directory, files)
    if ignored:
        return None
    line = "/" + _PATTERN_CHARACTERS.sub(r"\\\g<0>", directory.relative_to(root).as_posix()) + "/"
    path = root / ".gitignore"
    before = None
    if os.path.lexists(path):
        if not stat.S_ISREG(path.lstat().st_mode):
            message = f"{path} is not a regular file, so git does not read it. Fix: replace it"
            raise CommandError(message)
        try:
            before = read_regular_file(path)
        except OSError as exc:
            raise CommandError(f"{path} cannot be read: {os_error_text(exc).lower()}") from None
    encoded, content = os.fsencode(line), before or b""
    if ignored is None and encoded in content.splitlines():
        return None
    line_end = b"\r\n" if b"\r\n" in content else b"\n"
    separator = b"" if content.endswith(b"\n") or not content else line_end
    content += separator + encoded + line_end
    return GitignoreChange(path=path, line=line, before=before, content=content)


def tracked_files(directory: Path) -> list[str]:
    """Return the tracked files of a directory, as paths relative to the repository root."""
    root = find_repository(directory)
    return sorted(git_paths(root, "ls-files", "-z", "--", str(directory)) or ()) if root else []


def are_ignored(directory: Path, files: Sequence[Path]) -> bool | None:
    """Return whether git ignores every one of ``files``; None if git cannot be queried."""
    root, paths = find_repository(directory), [*map(str, files)]
    query = ("check-ignore", "--no-index", "-z", "--stdin")
    ignored = git_paths(root, *query, stdin_paths=paths) if root else None
    return None if ignored is None else set(paths) <= set(ignored)
