"""Migrate command: the secrets of ``.env`` files, written into separate files.

The ``.env`` files are not changed. A plan is made first: the values, the new files, what
conflicts, and the lines to delete, which the report lists.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from dataclasses import asdict, dataclass
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hive_boot._output import escape_controls
from hive_boot.cli import (
    Cell,
    CommandError,
    Parser,
    UsageError,
    print_json,
    print_line,
    print_table,
)
from hive_boot.cli.app_loader import load_application, serve_command
from hive_boot.cli.file_writing import DIRECTORY_MODE, TEMPORARY, FileTransaction
from hive_boot.cli.secret_files import (
    GitignoreChange,
    are_ignored,
    encode_value,
    errors_reported,
    find_repository,
    git_failure,
    named_directory,
    plan_gitignore_change,
    read_directory,
    read_env_files,
    read_target,
    refuse_links,
    rejections,
    tracked_files,
    without_constraints,
)
from hive_boot.exceptions import SecretsError
from hive_boot.runtime.log_messages import warning_text
from hive_boot.secrets.sources.dotenv import bindings

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from hive_boot.runtime.declarations import AppDeclaration
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
        state: ``new`` if the file must be written, ``unchanged`` if it contains the value.
    """

    name: str
    value: Value
    file: str
    state: Literal["new", "unchanged"]


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
        shown: the directory, as the user typed it.
        directory: the directory, absolute and without links.
        found: the values that a start in development reads from the ``.env`` files.
        secrets: the secrets in the ``.env`` files.
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
        self._fields: list[Field] = declared._field_index.all_fields
        self.field_index: FieldIndex = without_constraints(self._fields)
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
        ]
        self.restricts_permissions: bool = self._check_permissions()
        self.warnings += self._replaceable_directories()
        self._check_git()

    def migrated_otherwise(self, target: LoadResult) -> list[Field]:
        """Return the fields of the ``.env`` files whose value is another one in ``target``."""
        return [
            field
            for field in self._migrating
            if self.found.values[field.attribute] != target.values.get(field.attribute)
        ]

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
            raise CommandError(
                f"{self._file_names} sets none of the {len(self._fields)} secrets that "
                f"{self.declaration} declares"
            )

    def _inspect_target(self) -> LoadResult:
        """Load the directory, which need not exist, and return the result.

        Raises:
            CommandError: the directory cannot be read or written, or has other values, or lacks
                a file with members.
        """
        target = read_target(self.field_index, self.directory, self.shown)
        lines = [
            line
            for field in self.migrated_otherwise(target)
            for line in self._conflicts(field, target)
        ]
        if lines:
            raise CommandError("Nothing was written, because of other files:", *lines)
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
        if field.attribute in target.values:
            path = Path(target.origin(field.attribute)[1])
            file = field.bundle or str(path.relative_to(self.directory))
            return MigratedSecret(name=field.name, value=value, file=file, state="unchanged")
        refuse_links(self.directory, field.file_name, self.shown)
        return MigratedSecret(name=field.name, value=value, file=field.file_name, state="new")

    def _broken_constraints(self) -> list[str]:
        """Return a warning for each value that a start rejects; it is migrated without a change."""
        return [
            f"{field.name} {each}: a start rejects this value"
            for field in self._migrating
            for each in rejections(field, self.found.values[field.attribute])
        ]

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
        top_level_names = {file.partition("/")[0] for file in files if file}
        top_level_names |= {".gitignore", ".gitkeep"}
        return [
            name
            for name in names
            if not any(name == top or name.startswith(f"{top}.") for top in top_level_names)
        ]

    def _check_git(self) -> None:
        """Add a warning if git tracks files in the directory, or cannot answer.

        Raises:
            CommandError: the directory contains tracked files that are not secrets, and git
                would ignore new ones.
        """
        names = tracked_files(self.directory)
        if failure := git_failure(self.directory):
            self.warnings.append(
                f"git does not answer whether it tracks or ignores the files in {self.shown}: "
                f"{failure}"
            )
        root = find_repository(self.directory) or ""
        below = [Path(root, name).relative_to(self.directory).parts[0] for name in names]
        if self.gitignore_change and (foreign := self._other_files(below)):
            raise CommandError(
                f"git tracks {self.shown / foreign[0]}, and would ignore other new files in "
                f"{self.shown}. Choose a directory that contains only secrets, such as "
                "--to secrets."
            )
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


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    parser = Parser(
        "migrate",
        "Write each declared secret of a .env file into a separate file. The files get\n"
        "mode 0444; the directory gets mode 0700 and a line in .gitignore. All files are\n"
        "written, or none. The .env file is not changed: the report lists the lines to\n"
        "delete from it.",
        example="hive-boot migrate app:boot --env-file .env --to secrets/ --dry-run\n"
        "hive-boot migrate app:boot --env-file .env --to secrets/",
    )
    parser.add_app()
    parser.add_argument(
        "--env-file",
        action="append",
        metavar="FILE",
        help="file to read. Repeatable: a later file overrides an earlier one (default: "
        "env_file= of the Bootstrap, or .env)",
    )
    parser.add_directory("directory to write to")
    parser.add_argument("--dry-run", action="store_true", help="print the report and write nothing")
    parser.add_json()
    return parser


def run(arguments: Namespace) -> int:
    """Run the command.

    Raises:
        UsageError: a ``.env`` file does not exist, or the directory is not suitable.
        SecretsError: a start could not read the ``.env`` files.
        CommandError: the migration was refused or failed, and its changes were undone.
    """
    declaration = load_application(arguments.app)._declaration
    names = arguments.env_file or [declaration.source_options.env_file or ".env"]
    files = [Path(os.path.expanduser(name)) for name in names]  # Path raises for an unknown user
    with errors_reported(Path(arguments.to)):
        _check_paths(arguments.to, files)
        plan = MigrationPlan(declaration.declared, files, Path(arguments.to))
    if not arguments.dry_run:
        apply(plan)
    if arguments.json:
        print_json(report_facts(plan, dry_run=arguments.dry_run))
    else:
        print_report(plan, arguments.app, declaration, dry_run=arguments.dry_run)
    return 0


def _check_paths(to: str, files: Sequence[Path]) -> None:
    """Raise if a ``.env`` file is not a file or the directory is not suitable.

    Raises:
        UsageError: the arguments are invalid.
    """
    for file in files:
        if not file.is_file():
            message = f"{file} does not exist or is not a file. Specify a file with --env-file."
            raise UsageError(message)
    directory = named_directory(Path(to))
    root = find_repository(directory)
    if not to.isprintable():
        message = "--to contains a control character, such as a line break. Choose another path."
    elif any(each.is_relative_to(directory) for each in (Path.cwd(), *([root] if root else []))):
        message = (
            f"--to {to} contains the project. Choose a directory that contains only secrets, "
            "such as secrets."
        )
    elif directory.exists() and not directory.is_dir():
        message = f"--to {to} is not a directory"
    elif any(os.path.lexists(each / "__init__.py") for each in (directory, *directory.parents)):
        message = (
            f"--to {to} is inside a Python package, so its wheel would contain the secrets. "
            "Choose a directory outside the package, such as secrets."
        )
    else:
        return
    raise UsageError(message)


def apply(plan: MigrationPlan) -> None:
    """Make the changes of a plan, and read the new files as a start would.

    After a failure all changes are undone.

    Raises:
        CommandError: a change failed, git would not ignore the files, or a start would read
            another value. The message lists changes that could not be undone.
    """
    change = plan.gitignore_change
    with errors_reported(plan.shown, "Nothing was changed: "), FileTransaction() as transaction:
        if change is not None:
            transaction.write(change.path, change.content, change.before)
            if are_ignored(plan.directory, plan.paths) is False:
                raise CommandError(
                    f"No secret was written: git does not ignore {plan.shown} with the line "
                    f"{change.line} in {change.path}, because another .gitignore overrides it"
                )
        if plan.restricts_permissions:
            transaction.restrict(plan.directory)
        for each in plan.secrets:
            if each.state == "new":
                transaction.create_directory(plan.directory)
                transaction.create(plan.directory / each.file, encode_value(each.value))
        if differing := plan.migrated_otherwise(read_directory(plan.field_index, plan.directory)):
            names = ", ".join(field.name for field in differing)
            raise CommandError(
                f"The new files are refused: a start would read different values of {names}"
            )


def report_facts(plan: MigrationPlan, *, dry_run: bool) -> dict[str, Any]:
    """Return the report of ``--json``, without values."""
    change = plan.gitignore_change
    return {
        "declaration": plan.declaration,
        "directory": str(plan.shown),
        "dry_run": dry_run,
        "secrets": [
            {"name": each.name, "file": str(plan.shown / each.file), "state": each.state}
            for each in plan.secrets
        ],
        "tightened": plan.restricts_permissions,
        "gitignore": change and {"file": str(change.path), "line": change.line},
        "lines_to_delete": [asdict(line) for line in plan.lines],
        "warnings": plan.warnings,
    }


def print_report(
    plan: MigrationPlan, app: str, declaration: AppDeclaration, *, dry_run: bool
) -> None:
    """Print the changes and the next steps, without values."""
    heading = "Dry run, nothing was written. Planned changes:" if dry_run else "Done:"
    print_line(Cell(heading, "bold"))
    print_line()
    rows = [
        [
            Cell(each.name, "bold"),
            Cell(str(plan.shown / each.file)),
            Cell(each.state, "green" if each.state == "new" else "dim"),
        ]
        for each in plan.secrets
    ]
    print_table(("NAME", "FILE", ""), rows)
    print_line()
    for line in _changes(plan):
        print_line(f"- {line}")
    for file, lines in groupby(plan.lines, key=attrgetter("file")):
        print_line(f"- {file} is not changed. Delete these lines, which contain the values:")
        for each in lines:
            is_one = each.first == each.last
            label = f"line {each.first}" if is_one else f"lines {each.first}-{each.last}"
            print_line(f"    {label}: {each.name}")
    for warning in plan.warnings:
        print_line(Cell("warning:", "yellow"), f" {warning}")
    if dry_run:
        return
    directory = shlex.quote(str(plan.shown))
    print_line()
    print_line(Cell("Next:", "bold"))
    print_line("- check the files as a start would:")
    print_line(f"    HIVE_BOOT_SECRETS_DIR={directory} hive-boot check {app}")
    print_line("  A secrets directory selects the profile production. On a development machine,")
    print_line("  put HIVE_BOOT_PROFILE=development before the command.")
    print_line("- render the files for Compose, with hive_boot[deploy] installed:")
    server = "" if declaration.main else f" --command '{serve_command(app)}'"
    print_line(f"    hive-boot manifests {app} --target compose --write{server}")
    print_line("- change a secret later, in place:")
    print_line(f"    hive-boot rotate NAME --to {directory}")


def _changes(plan: MigrationPlan) -> Iterator[str]:
    if any(each.state == "new" for each in plan.secrets):
        yield (
            "new files have mode 0444, which containers need; keep the directory "
            f"{plan.shown} at mode 0700"
        )
    if plan.restricts_permissions:
        yield f"the permissions of other users on {plan.shown} are removed"
    if change := plan.gitignore_change:
        yield f"{change.path} gets the line {change.line}, so that git ignores {plan.shown}"
