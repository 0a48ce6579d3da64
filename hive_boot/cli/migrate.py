"""``hive-boot migrate``: writes the secrets of a ``.env`` file into files of their own.

The ``.env`` file is only read. The report names the lines that can be deleted from it.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hive_boot.cli.app_loader import load_application
from hive_boot.cli.arguments import CommandError, Parser, UsageError, os_error_text
from hive_boot.cli.file_writing import DIRECTORY_MODE, FileTransaction
from hive_boot.cli.git import (
    GitignoreChange,
    are_ignored,
    find_repository,
    plan_gitignore_change,
    tracked_files,
)
from hive_boot.cli.output import Cell, print_json, print_line, print_table, styled
from hive_boot.cli.secret_files import (
    differing_fields,
    encode_value,
    named_directory,
    read_directory,
    read_env_files,
    read_environment,
    refuse_links,
    without_constraints,
)
from hive_boot.exceptions import SecretsError
from hive_boot.secrets.fields import constraint_violations
from hive_boot.secrets.fix_hints import near_misses

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Collection, Iterable, Sequence

    from hive_boot.secrets.fields import Field, FieldIndex
    from hive_boot.secrets.load_result import LoadResult
    from hive_boot.secrets.secret_set import SecretSet
    from hive_boot.secrets.sources.files import Value

_LINE_END = re.compile(r"\r\n|\n|\r")
"""What python-dotenv takes for the end of a line."""

_REFERENCE = re.compile(r"\$(?:\{(\w+)|(\w+))")
"""``${NAME}`` or ``$NAME``, which Compose and python-dotenv replace in a value."""


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    parser = Parser(
        "migrate",
        "Write each declared secret that a .env file holds into a file of its own.\n"
        "The files get the mode 0444 and the directory 0700, and git ignores it.\n"
        "All files are written, or none. The .env file is not changed: the lines that\n"
        "can be deleted from it are listed.",
        example="hive-boot migrate app:boot --env-file .env --to secrets/ --dry-run\n"
        "hive-boot migrate app:boot --env-file .env --to secrets/",
    )
    parser.add_app()
    parser.add_argument(
        "--env-file",
        action="append",
        metavar="FILE",
        help="the file; of several, a later one overrides an earlier one. Default: the file "
        "that a start in development reads",
    )
    parser.add_argument(
        "--to", default="secrets", metavar="DIR", help="the directory. Default: secrets"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be done, and write nothing"
    )
    parser.add_json()
    return parser


def run(arguments: Namespace) -> int:
    """Run the command.

    Raises:
        UsageError: a file does not exist, or the directory cannot hold secrets alone.
        SecretsError: a line of a file cannot be read.
        CommandError: something is in the way, or could not be written; nothing was changed.
    """
    boot = load_application(arguments.app)
    declaration = boot._declaration  # noqa: SLF001  (same package)
    files = [
        Path(file) for file in arguments.env_file or [declaration.source_options.env_file or ".env"]
    ]
    _refuse_paths(arguments.to, files)
    plan = MigrationPlan(declaration.declared, files, Path(arguments.to))
    if not arguments.dry_run:
        apply(plan)
    if arguments.json:
        print_json(report_facts(plan, dry_run=arguments.dry_run))
    else:
        print_report(plan, arguments.app, dry_run=arguments.dry_run)
    return 0


def _refuse_paths(to: str, files: Sequence[Path]) -> None:
    for file in files:
        if not file.exists():
            message = f"there is no file {file}: name it with --env-file"
            raise UsageError(message)
    if not to.isprintable():
        message = "--to must be the path of a directory that can be printed"
        raise UsageError(message)
    directory = named_directory(Path(to))
    root = find_repository(directory)
    if any(each.is_relative_to(directory) for each in (Path.cwd(), *([root] if root else []))):
        message = (
            f"--to must be a directory for secrets alone, such as secrets/; {to} holds other files"
        )
        raise UsageError(message)
    if directory.exists() and not directory.is_dir():
        message = f"--to must be a directory; {to} is a file"
        raise UsageError(message)
    if any((each / "__init__.py").exists() for each in (directory, *directory.parents)):
        message = (
            f"--to must be a directory outside of packages, such as secrets/; {to} is in a "
            "package, and would be built into its wheel"
        )
        raise UsageError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class MigratedSecret:
    """A secret that the ``.env`` files hold.

    Attributes:
        attribute: the attribute of its field.
        name: its name.
        value: its value.
        file: the file in the directory.
        is_new: whether the file is to be written; else it holds the value already.
    """

    attribute: str
    name: str
    value: Value
    file: str
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DotenvLines:
    """Lines of a ``.env`` file that can be deleted after the migration.

    Attributes:
        file: the file, as the user named it.
        name: the variable that they set.
        first: the number of the first line.
        last: the number of the last line.
    """

    file: str
    name: str
    first: int
    last: int


class MigrationPlan:
    """What a migration is about to change. Making the plan changes nothing.

    Args:
        declared: the set of secrets.
        files: the ``.env`` files; a later one overrides an earlier one.
        shown: the directory, as the user named it.

    Attributes:
        declaration: the name of the set.
        field_index: its secrets, without constraints.
        files: as given.
        shown: as given.
        directory: the directory, absolute and without links.
        found: what a start in development reads from the files.
        secrets: the secrets in the files.
        missing: the secrets that are required in some profile, and neither in the files
            nor in the directory.
        gitignore_change: the line for git, if one is to be added.
        restricts_permissions: whether other users lose access to the directory.
        lines: the lines that can be deleted from the files.
        warnings: what the user should know.

    Raises:
        SecretsError: something in the files cannot be read.
        CommandError: the files hold no declared secret, or something is in the way.
    """

    def __init__(self, declared: type[SecretSet], files: Sequence[Path], shown: Path) -> None:
        self.declaration: str = declared.__name__
        self._fields: list[Field] = declared._field_index.all_fields  # noqa: SLF001  (same package)
        self.field_index: FieldIndex = without_constraints(self._fields)
        self.files = files
        self.shown = shown
        self.directory: Path = named_directory(shown)
        self.found: LoadResult = read_env_files(self.field_index, files)
        self._refuse_unreadable()
        target = self._inspect_target()
        existing = {} if target is None else target.values
        self.secrets: list[MigratedSecret] = [
            self._migrated(field, target)
            for field in self._fields
            if self._value(field) is not None
        ]
        self.missing: list[Field] = [
            field
            for field in self._fields
            if (field.required or field.required_in)
            and field.attribute not in self.found.values.keys() | existing.keys()
        ]
        names = {name for each in self.secrets for name in (each.name, f"{each.name}_FILE")}
        self.lines: list[DotenvLines] = [
            line for file in files for line in _lines_to_delete(file, names)
        ]
        self.gitignore_change: GitignoreChange | None = plan_gitignore_change(
            self.directory, self.paths
        )
        self.warnings: list[str] = [
            *self.found.warnings,
            *self._broken_constraints(),
            *self._overriding_sources(),
        ]
        self.restricts_permissions: bool = self._check_permissions()
        self._check_git()

    @property
    def paths(self) -> list[Path]:
        """The files of the secrets."""
        return [self.directory / each.file for each in self.secrets]

    def _value(self, field: Field) -> Value | None:
        return self.found.values.get(field.attribute)

    def _file_names(self) -> str:
        return " and ".join(map(str, self.files))

    def _refuse_unreadable(self) -> None:
        """Refuse what a start would report as a problem."""
        if self.found.problems:
            lines = [f"nothing was written, because {self._file_names()} cannot be understood:"]
            for problem in self.found.problems:
                place = f" ({problem.places[0]})" if problem.places else ""
                lines.append(f"  {problem.name} {problem.message}{place}\n    Fix: {problem.fix}")
            raise SecretsError("\n".join(lines))
        if not self.found.values:
            message = (
                f"none of the {len(self._fields)} secrets that {self.declaration} declares is set "
                f"in {self._file_names()}"
            )
            raise CommandError(message)

    def _inspect_target(self) -> LoadResult | None:
        """Return what the directory holds; None when it does not exist."""
        if not self.directory.exists():
            return None
        target = read_directory(self.field_index, self.directory)
        reading = target.snapshots[0]
        if reading.volume:
            message = (
                f"{self.shown} is a volume that only the kubelet writes; "
                "hive-boot rotate NAME --kubernetes prints the command that changes a Secret"
            )
            raise CommandError(message)
        if reading.problem is not None:
            message = f"{self.shown} {reading.problem.message}"
            raise CommandError(message)
        lines = [
            line
            for field in differing_fields(self.field_index, self.found, target)
            if field.attribute in self.found.values
            for line in self._conflicts(field, target)
        ]
        if lines:
            message = "\n".join(["nothing was written, because files exist already:", *lines])
            raise CommandError(message)
        return target

    def _conflicts(self, field: Field, target: LoadResult) -> list[str]:
        """Return the files that keep the value of a field from being written."""
        if field.attribute in target.values:
            path = self._shown_path(target.origin(field.attribute)[1])
            other = f"holds another {field.name} than {self._file_names()}"
            return [f"  {path} {other}: remove the wrong one"]
        faults = [
            (hit.place, getattr(hit.result, "message", "holds a value"))
            for hit in target.unresolved.get(field.attribute, [])
        ]
        if not faults:
            # The file was read, and its content is refused: it is a placeholder.
            problems = [each for each in target.problems if each.name == field.name]
            faults = [(each.places[0], each.message) for each in problems]
        return [f"  {self._shown_path(path)} {message}: remove it" for path, message in faults]

    def _shown_path(self, path: str) -> str:
        return str(self.shown / Path(path).relative_to(self.directory))

    def _migrated(self, field: Field, target: LoadResult | None) -> MigratedSecret:
        value = self.found.values[field.attribute]
        is_new = target is None or field.attribute not in target.values
        if target is None or is_new:
            file = field.file_name
            refuse_links(self.directory, file, self.shown)
        else:
            path = Path(target.origin(field.attribute)[1])
            file = str(path.relative_to(self.directory))
        return MigratedSecret(
            attribute=field.attribute, name=field.name, value=value, file=file, is_new=is_new
        )

    def _broken_constraints(self) -> list[str]:
        """Return a warning for each value that a start refuses; it is migrated as it is."""
        warnings = []
        for field in self._fields:
            value = self._value(field)
            if value is None:
                continue
            plain: Any = value.reveal()
            faults = [fault.message for fault in constraint_violations(field, value.reveal)]
            if plain == field.dev_default:
                faults.append("is the development default, which other profiles refuse")
            warnings += [f"{field.name} {fault}: a start will refuse it" for fault in faults]
        return warnings

    def _overriding_sources(self) -> list[str]:
        """Return a warning for each source that overrides the files with other values."""
        warnings = []
        locals_ = [Path(f"{file}.local") for file in self.files]
        for path in [path for path in locals_ if path.exists() and path not in self.files]:
            names = self._conflicting_names(read_env_files(self.field_index, [path]))
            if names:
                warnings.append(
                    f"{path} has other values of {names}, and overrides the file in development: "
                    f"a last option --env-file {path} migrates those"
                )
        if names := self._conflicting_names(read_environment(self.field_index)):
            warnings.append(f"the environment of this shell has other values of {names}: unset it")
        return warnings

    def _conflicting_names(self, source: LoadResult) -> str:
        answered = source.values.keys()
        refused = {problem.name for problem in source.problems}
        names = [
            field.name
            for field in differing_fields(self.field_index, self.found, source)
            if field.attribute in answered or field.name in refused
        ]
        names += sorted(refused.difference(field.name for field in self._fields))
        return ", ".join(names)

    def _check_permissions(self) -> bool:
        """Return whether to close the directory to other users; warn where that is not ours."""
        if not self.directory.exists():
            return False
        status = self.directory.stat()
        user = os.geteuid()
        if status.st_uid not in {0, user}:
            self.warnings.append(
                f"{self.shown} belongs to user {status.st_uid}, who can replace its files"
            )
        if not status.st_mode & ~DIRECTORY_MODE & 0o777:
            return False
        foreign = self._other_files(path.name for path in self.directory.iterdir())
        if not foreign and user in {0, status.st_uid}:
            return True
        self.warnings.append(
            f"other users of this machine have access to {self.shown} and can read its files: "
            f"chmod 700 {self.shown}"
        )
        return False

    def _other_files(self, names: Iterable[str]) -> list[str]:
        """Return the names that do not belong to the file of a secret."""
        tops = {file.partition("/")[0] for field in self._fields for file in field.candidates}
        tops |= {".gitignore", ".gitkeep"}
        return [
            name
            for name in names
            if not any(name == top or name.startswith(f"{top}.") for top in tops)
        ]

    def _check_git(self) -> None:
        """Refuse a directory with files of the project; warn of secrets that git tracks."""
        names = tracked_files(self.directory)
        root = find_repository(self.directory)
        below = [Path(root or "", name).relative_to(self.directory).parts[0] for name in names]
        if self.gitignore_change:
            if foreign := self._other_files(below):
                message = (
                    f"git would ignore all of {self.shown}, and it tracks "
                    f"{self.shown / foreign[0]}: choose a directory for secrets alone, such as "
                    "--to secrets/"
                )
                raise CommandError(message)
            if self.gitignore_change.path.is_symlink():
                message = (
                    f"{self.gitignore_change.path} is a symbolic link, which git does not read: "
                    "make it a file"
                )
                raise CommandError(message)
        if names:
            self.warnings.append(
                f"git tracks {', '.join(names)}: remove them with git rm -r --cached {self.shown}"
            )


def _lines_to_delete(file: Path, names: Collection[str]) -> list[DotenvLines]:
    """Return the lines of a ``.env`` file that set one of ``names``.

    Raises:
        CommandError: another line refers to one of the names, and would lose its value.
    """
    from dotenv.parser import parse_stream  # noqa: PLC0415  (also lazy where `.env` is read)

    found, references = [], []
    for binding in parse_stream(StringIO(file.read_bytes().decode("utf-8-sig"))):
        if binding.key is None or binding.value is None:
            continue
        # The blank lines before a binding are a part of it.
        text = binding.original.string
        body = text.lstrip()
        first = binding.original.line + _count_lines(text[: len(text) - len(body)])
        last = first + _count_lines(body) - body.endswith(("\n", "\r"))
        if binding.key in names:
            found.append(DotenvLines(file=str(file), name=binding.key, first=first, last=last))
        elif used := {a or b for a, b in _REFERENCE.findall(binding.value)} & {*names}:
            references.append(f"  line {first} ({binding.key}) refers to {', '.join(used)}")
    if references:
        message = "\n".join(
            [
                f"nothing was written, because other lines of {file} need a secret:",
                *references,
                "declare what contains a secret as a secret of its own",
            ]
        )
        raise CommandError(message)
    return found


def _count_lines(text: str) -> int:
    return len(_LINE_END.findall(text))


def apply(plan: MigrationPlan) -> None:
    """Make all changes of a plan, or none.

    Raises:
        CommandError: nothing was changed; the text says why.
    """
    failure = ""
    try:
        with FileTransaction() as transaction:
            _make_changes(plan, transaction)
    except OSError as exc:
        path = exc.filename2 or exc.filename or plan.shown
        failure = f"nothing was changed, because of {path}: {os_error_text(exc).lower()}"
    except CommandError as exc:
        # A new exception is raised below: the frames of this one hold values.
        failure = str(exc)
    if failure:
        raise CommandError(failure)


def _make_changes(plan: MigrationPlan, transaction: FileTransaction) -> None:
    change = plan.gitignore_change
    if change is not None and change.before is not None:
        transaction.replace(change.path, change.content, change.before)
    elif change is not None:
        transaction.create(change.path, change.content, mode=None)
    root = find_repository(plan.directory)
    if change is not None and root is not None and are_ignored(root, plan.paths) is False:
        message = (
            f"nothing was changed, because git would not ignore {plan.shown} with the line "
            f"{change.line} either: another .gitignore overrides it"
        )
        raise CommandError(message)
    if plan.restricts_permissions:
        transaction.restrict(plan.directory)
    for each in plan.secrets:
        if each.is_new:
            transaction.create_directory(plan.directory)
            transaction.create(plan.directory / each.file, encode_value(each.value))
    verify(plan)


def verify(plan: MigrationPlan) -> None:
    """Raise unless a start reads from the directory what it reads from the ``.env`` files.

    Raises:
        CommandError: a value differs.
    """
    read = read_directory(plan.field_index, plan.directory)
    migrated = {each.attribute for each in plan.secrets}
    differing = differing_fields(plan.field_index, plan.found, read)
    names = [field.name for field in differing if field.attribute in migrated]
    if names:
        message = (
            f"nothing was changed, because a start would read other values of {', '.join(names)} "
            "from the files"
        )
        raise CommandError(message)


def report_facts(plan: MigrationPlan, *, dry_run: bool) -> dict[str, Any]:
    """Return the report for programs; it holds no value."""
    change = plan.gitignore_change
    return {
        "declaration": plan.declaration,
        "directory": str(plan.shown),
        "dry_run": dry_run,
        "secrets": [
            {
                "name": each.name,
                "file": str(plan.shown / each.file),
                "state": "new" if each.is_new else "unchanged",
            }
            for each in plan.secrets
        ],
        "missing": [field.name for field in plan.missing],
        "tightened": plan.restricts_permissions,
        "gitignore": change and {"file": str(change.path), "line": change.line},
        "lines_to_delete": [asdict(line) for line in plan.lines],
        "warnings": plan.warnings,
    }


def print_report(plan: MigrationPlan, app: str, *, dry_run: bool) -> None:
    """Print what was done or would be done, and the next steps; no value."""
    heading = "Nothing was written. This would be done:" if dry_run else "Done:"
    print_line(styled(heading, "bold"))
    print_line()
    print_table(("NAME", "FILE", ""), _rows(plan))
    print_line()
    for line in _changes(plan):
        print_line(f"- {line}")
    for file in dict.fromkeys(line.file for line in plan.lines):
        print_line(f"- {file} is not changed; delete these lines, which still hold the values:")
        for each in plan.lines:
            if each.file == file:
                numbers = f"lines {each.first}-{each.last}"
                where = f"line {each.first}" if each.first == each.last else numbers
                print_line(f"    {where}: {each.name}")
    for warning in plan.warnings:
        print_line(f"{styled('warning:', 'yellow')} {warning}")
    if dry_run:
        return
    directory = shlex.quote(str(plan.shown))
    print_line()
    print_line(styled("Next:", "bold"))
    print_line("- check the files as a start would:")
    print_line(f"    HIVE_BOOT_SECRETS_DIR={directory} hive-boot check {app}")
    print_line("  A directory means the profile production; on a machine of development, put")
    print_line("  HIVE_BOOT_PROFILE=development before it.")
    print_line("- run the application with Compose:")
    print_line(f"    hive-boot manifests {app} --target compose --write")
    print_line("- change a secret later, in place:")
    print_line(f"    hive-boot rotate NAME --to {directory}")


def _rows(plan: MigrationPlan) -> list[list[Cell]]:
    rows = [
        [
            Cell(each.name, "bold"),
            Cell(str(plan.shown / each.file)),
            Cell("new", "green") if each.is_new else Cell("unchanged", "dim"),
        ]
        for each in plan.secrets
    ]
    return rows + [
        [Cell(field.name, "bold"), Cell("-", "dim"), Cell(_missing(field, plan))]
        for field in plan.missing
    ]


def _missing(field: Field, plan: MigrationPlan) -> str:
    where = "" if field.required else f" in {', '.join(sorted(field.required_in))}"
    near = near_misses(field, plan.found.names)
    hint = f" (there is {near[0]})" if near else ""
    return f"required{where}, and missing{hint}"


def _changes(plan: MigrationPlan) -> list[str]:
    lines = []
    if any(each.is_new for each in plan.secrets):
        lines.append(
            f"new files are 0444, so that a container can read them; keep {plan.shown} at 0700"
        )
    if plan.restricts_permissions:
        lines.append(f"{plan.shown} becomes 0700: other users had access to it")
    if change := plan.gitignore_change:
        lines.append(f"{change.path} gets the line {change.line}, so that git ignores {plan.shown}")
    return lines
