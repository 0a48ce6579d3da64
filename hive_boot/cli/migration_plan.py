"""Migration plan: the secrets of ``.env`` files, their new files, and the lines to delete."""

from __future__ import annotations

import os
import re
import shlex
import stat
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot._output import escape_controls
from hive_boot.cli.file_writing import DIRECTORY_MODE, TEMPORARY
from hive_boot.cli.git import (
    GitignoreChange,
    find_repository,
    git_failure,
    plan_gitignore_change,
    tracked_files,
)
from hive_boot.cli.secret_files import (
    named_directory,
    read_directory,
    read_env_files,
    read_environment,
    refuse_links,
    rejections,
    without_constraints,
)
from hive_boot.cli.terminal import CommandError
from hive_boot.exceptions import SecretsError
from hive_boot.runtime.log_messages import warning_text
from hive_boot.secrets.sources.dotenv import bindings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from hive_boot.secrets.fields import Field, FieldIndex
    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.secret_set import SecretSet
    from hive_boot.secrets.sources.files import Value

_REFERENCE = re.compile(r"\$(?:\{((\w+)[\w.-]*)|(\w+))")
"""A reference: ``${NAME}``, which hive_boot and python-dotenv replace by a value, and forms of
Compose, such as ``$NAME`` and ``${NAME-default}``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigratedSecret:
    """A secret that the ``.env`` files hold.

    Attributes:
        name: its name.
        value: its value.
        file: its file, as a path relative to the directory.
        is_new: whether the file must be written; if not, it already contains the value.
    """

    name: str
    value: Value
    file: str
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DotenvLines:
    """Lines of a ``.env`` file that can be deleted after the migration.

    Attributes:
        file: the file, as the user typed it.
        name: the variable that the lines set.
        first: the number of the first line.
        last: the number of the last line.
    """

    file: str
    name: str
    first: int
    last: int


class MigrationPlan:
    """The changes of a migration. The constructor only reads; :func:`apply` makes the changes.

    Args:
        declared: the declaration.
        files: the ``.env`` files; a later file overrides an earlier one.
        shown: the directory, as the user typed it.

    Attributes:
        declaration: the name of the declaration.
        field_index: its fields, without constraints.
        files: the ``.env`` files.
        shown: the directory, as the user typed it.
        directory: the directory, absolute and without links.
        found: the values that a start in development reads from the ``.env`` files.
        secrets: the secrets in the ``.env`` files.
        missing: the fields that are required in a profile and have a value neither in the
            ``.env`` files nor in the directory.
        gitignore_change: the line to add to ``.gitignore``, if any.
        restricts_permissions: whether the permissions of other users are removed from the
            directory.
        lines: the lines that can be deleted from the ``.env`` files.
        warnings: warnings for the user.

    Raises:
        SecretsError: a start could not read the ``.env`` files.
        CommandError: the ``.env`` files set no declared secret, or the directory contains
            other values or is not suitable.
    """

    def __init__(self, declared: type[SecretSet], files: Sequence[Path], shown: Path) -> None:
        self.declaration: str = declared.__name__
        self._fields: list[Field] = declared._field_index.all_fields  # noqa: SLF001  (same package)
        self.field_index: FieldIndex = without_constraints(self._fields)
        self.files = files
        self.shown = shown
        self.directory: Path = named_directory(shown)
        self.found: LoadResult = read_env_files(self.field_index, files)
        self._file_names = " and ".join(map(str, files))
        self._quoted = shlex.quote(str(shown))
        self._refuse_unreadable()
        self._migrating = [each for each in self._fields if each.attribute in self.found.values]
        target = self._inspect_target()
        self.secrets: list[MigratedSecret] = [
            self._migrated(field, target) for field in self._migrating
        ]
        self.missing: list[Field] = [
            field
            for field in self._fields
            if (field.required or field.required_in)
            and field.attribute not in self.found.values.keys() | target.values.keys()
        ]
        variables = {**self.field_index.by_variable, **self.field_index.by_file_variable}
        names = {
            name
            for name, field in variables.items()
            if field.attribute.partition(".alias.")[0] in self.found.values
        }
        self.lines: list[DotenvLines] = [
            line for file in files for line in _lines_to_delete(file, names)
        ]
        self.gitignore_change: GitignoreChange | None = plan_gitignore_change(
            self.directory, self.paths
        )
        self.warnings: list[str] = [
            *map(warning_text, self.found.warnings),
            *self._broken_constraints(),
            *self._overriding_sources(),
        ]
        self.restricts_permissions: bool = self._check_permissions()
        self.warnings += self._replaceable_directories()
        self._check_git()

    def migrated_otherwise(self, target: LoadResult) -> list[Field]:
        """Return the fields of the ``.env`` files whose value is another one in ``target``."""
        return [each for each in self._migrating if self._differs(each, target)]

    def _differs(self, field: Field, other: LoadResult) -> bool:
        return self.found.values.get(field.attribute) != other.values.get(field.attribute)

    @property
    def paths(self) -> list[Path]:
        """The files that git must ignore, absolute: those of secrets, and a temporary one."""
        return [self.directory / each for each in (*[s.file for s in self.secrets], TEMPORARY)]

    def _refuse_unreadable(self) -> None:
        """Raise if a start would report a problem with the ``.env`` files, or reads no secret.

        Raises:
            SecretsError: a start would report a problem.
            CommandError: the files set no declared secret.
        """
        if self.found.problems:
            lines = [f"Nothing was written, because {self._file_names} cannot be read:"]
            for problem in self.found.problems:
                location = f" ({problem.places[0]})" if problem.places else ""
                lines.append(f"  {problem.name} {problem.message}{location}")
                lines.append(f"    Fix: {problem.fix}")
            raise SecretsError("\n".join(map(escape_controls, lines)))
        if not self.found.values:
            message = (
                f"{self._file_names} sets none of the {len(self._fields)} secrets that "
                f"{self.declaration} declares"
            )
            raise CommandError(message)

    def _inspect_target(self) -> LoadResult:
        """Load the directory, which need not exist, and return the result.

        Raises:
            CommandError: the directory cannot be read or written, or has other values, or lacks
                a file with members.
        """
        target = read_directory(self.field_index, self.directory)
        snapshot = target.snapshots[0]
        if snapshot.volume:
            message = (
                f"{self.shown} is a Kubernetes volume, which only the kubelet can write. Use "
                "hive-boot rotate NAME --kubernetes: it prints the command that changes the Secret."
            )
            raise CommandError(message)
        if snapshot.problem is not None and self.directory.exists():
            message = f"{self.shown} {snapshot.problem.message}"
            raise CommandError(message)
        lines = [
            line
            for field in self.migrated_otherwise(target)
            for line in self._conflicts(field, target)
        ]
        if lines:
            message = "Nothing was written, because of other files:"
            raise CommandError(message, *lines)
        return target

    def _conflicts(self, field: Field, target: LoadResult) -> list[str]:
        """Return a line for each file that conflicts with the value of a field."""
        if field.attribute in target.values:
            path = self._shown_path(target.origin(field.attribute)[1])
            other = f"contains a different value of {field.name} than {self._file_names}"
            return [f"  {path} {other}. Remove the wrong one."]
        if field.bundle:
            file = self.shown / field.bundle
            return [f"  {field.name} is a member of {file}, and migrate does not write members."]
        several = f"is one of several files of {field.name}"
        conflicts = [
            (hit.place, getattr(hit.result, "message", several))
            for hit in target.hits.get(field.attribute, [])
        ]
        return [f"  {self._shown_path(path)} {message}. Remove it." for path, message in conflicts]

    def _shown_path(self, path: str) -> str:
        return str(self.shown / Path(path).relative_to(self.directory))

    def _migrated(self, field: Field, target: LoadResult) -> MigratedSecret:
        """Return the secret of a field that the ``.env`` files set.

        Raises:
            CommandError: the path of its new file contains a symbolic link.
        """
        value = self.found.values[field.attribute]
        is_new = field.attribute not in target.values
        if is_new:
            file = field.file_name
            refuse_links(self.directory, file, self.shown)
        else:
            path = Path(target.origin(field.attribute)[1])
            file = field.bundle or str(path.relative_to(self.directory))
        return MigratedSecret(name=field.name, value=value, file=file, is_new=is_new)

    def _broken_constraints(self) -> list[str]:
        """Return a warning for each value that a start rejects; it is migrated without a change."""
        return [
            f"{field.name} {each}: a start rejects this value"
            for field in self._migrating
            for each in rejections(field, self.found.values[field.attribute])
        ]

    def _overriding_sources(self) -> Iterator[str]:
        """Yield a warning for each source that overrides values of the ``.env`` files.

        In development mode a start also reads ``.env.local`` and the environment, and these
        override ``.env``.
        """
        for path in (Path(f"{file}.local") for file in self.files):
            if path in self.files or not path.exists():
                continue
            if names := self._conflicting_names(read_env_files(self.field_index, [path])):
                yield (
                    f"{path} contains different values of {names}, which override "
                    f"{self._file_names} in development. To migrate these values, add "
                    f"--env-file {path} as the last option."
                )
        if names := self._conflicting_names(read_environment(self.field_index)):
            yield (
                f"the environment of this shell contains different values of {names}, which "
                f"override {self._file_names} in development. Unset the variables."
            )

    def _conflicting_names(self, source: LoadResult) -> str:
        """Return the secrets that ``source`` sets differently or cannot read, as text."""
        with_problem = {problem.name for problem in source.problems}
        names = [
            field.name
            for field in self._fields
            if self._differs(field, source)
            and (field.attribute in source.values or field.name in with_problem)
        ]
        names += sorted(with_problem.difference(field.name for field in self._fields))
        return ", ".join(names)

    def _check_permissions(self) -> bool:
        """Return whether to remove the permissions of other users from the directory.

        If it has another owner or contains other files, add a warning instead.
        """
        if not self.directory.exists():
            return False
        status = self.directory.stat()
        if not status.st_mode & ~DIRECTORY_MODE & 0o777:
            return False
        foreign = self._other_files(path.name for path in self.directory.iterdir())
        if not foreign and os.geteuid() in {0, status.st_uid}:
            return True
        self.warnings.append(
            f"other users of this machine can read the files in {self.shown}. Fix: chmod 700 "
            f"{self._quoted}"
        )
        return False

    def _replaceable_directories(self) -> list[str]:
        """Return a warning for each way in which other users can replace the files.

        The user who can write a directory can replace each entry of it, up to the root. A mode
        with which the migration ends is not mentioned, nor a sticky one, such as that of ``/tmp``.
        """
        warnings: dict[str, str] = {}
        for path in filter(Path.exists, (self.directory, *self.directory.parents)):
            status = path.stat()
            replaces = f"can replace the files in {self.shown}"
            if status.st_uid not in {0, os.geteuid()}:
                text = f"{path} belongs to user {status.st_uid}, who {replaces}"
                warnings.setdefault("owner", text)
            is_changed = path == self.directory and self.restricts_permissions
            if status.st_mode & stat.S_IWOTH and not (status.st_mode & stat.S_ISVTX or is_changed):
                fix = f"chmod o-w {shlex.quote(str(path))}"
                text = f"every user can write to {path}, and {replaces}. Fix: {fix}"
                warnings.setdefault("mode", text)
        return [*warnings.values()]

    def _other_files(self, names: Iterable[str]) -> list[str]:
        """Return the names that belong neither to a secret file nor to a backup of one."""
        files = {file for field in self._fields for file in (*field.candidates, field.bundle)}
        tops = {file.partition("/")[0] for file in files if file}
        tops |= {".gitignore", ".gitkeep"}
        return [
            name
            for name in names
            if not any(name == top or name.startswith(f"{top}.") for top in tops)
        ]

    def _check_git(self) -> None:
        """Add a warning if git tracks files in the directory, or cannot answer.

        Raises:
            CommandError: the directory contains tracked files that are not secrets, and git
                would ignore new ones.
        """
        names = tracked_files(self.directory)
        root = find_repository(self.directory)
        if root is not None and (failure := git_failure(root)):
            self.warnings.append(
                f"git does not answer whether it tracks or ignores the files in {self.shown}: "
                f"{failure}"
            )
        below = [Path(root or "", name).relative_to(self.directory).parts[0] for name in names]
        if self.gitignore_change and (foreign := self._other_files(below)):
            message = (
                f"git tracks {self.shown / foreign[0]}, and would ignore other new files in "
                f"{self.shown}. Choose a directory that contains only secrets, such as "
                "--to secrets."
            )
            raise CommandError(message)
        if names:
            self.warnings.append(
                f"git tracks {', '.join(names)}. Fix: git rm -r --cached {self._quoted}"
            )


def _lines_to_delete(file: Path, names: Collection[str]) -> list[DotenvLines]:
    """Return the lines of a ``.env`` file that set one of ``names``.

    Raises:
        CommandError: another line refers to one of the names. After the deletion, this
            reference would have no value.
    """
    found, references = [], []
    for first, read in bindings(lambda: file.read_bytes().decode("utf-8-sig")):
        key, value = read().key, read().value
        if key is None or value is None:
            continue
        if key in names:
            last = first + read().original.string.strip().count("\n")
            found.append(DotenvLines(file=str(file), name=key, first=first, last=last))
        elif used := {*chain(*_REFERENCE.findall(value))} & {*names}:
            # Without the key, which may be a part of a value.
            references.append(f"  line {first} refers to {', '.join(sorted(used))}")
    if references:
        message = f"Nothing was written, because other lines of {file} refer to secrets:"
        raise CommandError(message, *references, "  Fix: declare these variables as secrets too")
    return found
