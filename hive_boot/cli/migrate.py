"""Migrate command: the secrets of ``.env`` files, written into separate files.

The ``.env`` files are not changed. The report lists the lines to delete from them.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hive_boot.cli.app_loader import load_application
from hive_boot.cli.file_writing import FileTransaction
from hive_boot.cli.git import are_ignored, find_repository
from hive_boot.cli.migration_plan import MigrationPlan
from hive_boot.cli.secret_files import (
    encode_value,
    errors_reported,
    named_directory,
    read_directory,
)
from hive_boot.cli.terminal import (
    Cell,
    CommandError,
    Parser,
    UsageError,
    print_json,
    print_line,
    print_table,
)
from hive_boot.secrets.fix_hints import near_misses

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence

    from hive_boot.secrets.fields import Field


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
    parser.add_argument(
        "--to",
        default="secrets",
        metavar="DIR",
        help="directory to write to (default: %(default)s)",
    )
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
    declaration = load_application(arguments.app)._declaration  # noqa: SLF001  (same package)
    names = arguments.env_file or [declaration.source_options.env_file or ".env"]
    files = [Path(os.path.expanduser(name)) for name in names]  # noqa: PTH111  (Path raises for an unknown user)
    with errors_reported(Path(arguments.to)):
        _check_paths(arguments.to, files)
        plan = MigrationPlan(declaration.declared, files, Path(arguments.to))
    if not arguments.dry_run:
        apply(plan)
    if arguments.json:
        print_json(report_facts(plan, dry_run=arguments.dry_run))
    else:
        print_report(plan, arguments.app, dry_run=arguments.dry_run)
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
    """Make the changes of a plan. After a failure all of them are undone.

    Raises:
        CommandError: a change failed; the message lists changes that could not be undone.
    """
    with errors_reported(plan.shown, "Nothing was changed: "), FileTransaction() as transaction:
        _make_changes(plan, transaction)


def _make_changes(plan: MigrationPlan, transaction: FileTransaction) -> None:
    """Make the changes of a plan, and read the new files as a start would.

    Raises:
        OSError: a change failed.
        CommandError: git would not ignore the files, or a start would read another value.
    """
    change = plan.gitignore_change
    if change is not None and change.before is not None:
        transaction.replace(change.path, change.content, change.before)
    elif change is not None:
        transaction.create(change.path, change.content, mode=None)
    root = find_repository(plan.directory)
    if change is not None and root is not None and are_ignored(root, plan.paths) is False:
        message = (
            f"No secret was written: git does not ignore {plan.shown} with the line {change.line} "
            f"in {change.path}, because another .gitignore overrides it"
        )
        raise CommandError(message)
    if plan.restricts_permissions:
        transaction.restrict(plan.directory)
    for each in plan.secrets:
        if each.is_new:
            transaction.create_directory(plan.directory)
            transaction.create(plan.directory / each.file, encode_value(each.value))
    if differing := plan.migrated_otherwise(read_directory(plan.field_index, plan.directory)):
        names = ", ".join(field.name for field in differing)
        message = f"The new files are refused: a start would read different values of {names}"
        raise CommandError(message)


def report_facts(plan: MigrationPlan, *, dry_run: bool) -> dict[str, Any]:
    """Return the report of ``--json``, without values."""
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
    """Print the changes and the next steps, without values."""
    heading = "Dry run, nothing was written. Planned changes:" if dry_run else "Done:"
    print_line(Cell(heading, "bold"))
    print_line()
    print_table(("NAME", "FILE", ""), _rows(plan))
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
    profiles = "" if field.required else f" in {', '.join(sorted(field.required_in))}"
    near = near_misses(field, plan.found.names)
    hint = f" (similar name: {near[0]})" if near else ""
    return f"required{profiles}, and missing{hint}"


def _changes(plan: MigrationPlan) -> Iterator[str]:
    if any(each.is_new for each in plan.secrets):
        yield f"new files have mode 0444, which containers need; keep {plan.shown} at mode 0700"
    if plan.restricts_permissions:
        yield f"the permissions of other users on {plan.shown} are removed"
    if change := plan.gitignore_change:
        yield f"{change.path} gets the line {change.line}, so that git ignores {plan.shown}"
