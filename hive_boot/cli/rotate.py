"""`hive-boot rotate`: write a new value of a secret where the application reads it."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hive_boot.cli.arguments import CommandError, Parser, UsageError, os_error_text
from hive_boot.cli.file_writing import FileTransaction, write_in_place
from hive_boot.cli.git import plan_gitignore_change
from hive_boot.cli.output import print_json, print_line
from hive_boot.cli.secret_files import (
    SecretLocation,
    decode_value,
    encode_value,
    locate_secret,
    read_directory,
    value_problem,
    without_constraints,
)
from hive_boot.secrets import fix_hints
from hive_boot.secrets.fields import NAME, Field, file_name_candidates
from hive_boot.secrets.sources.files import LIMIT, NOT_UTF_8

if TYPE_CHECKING:
    from argparse import Namespace

    from hive_boot.secrets.secret_set import SecretSet
    from hive_boot.secrets.sources.files import Value

_MOST_BYTES = LIMIT + 3
"""Enough to tell a value that is too large, with a byte order mark or a final ``\\r\\n``."""


def read_new_value(field: Field) -> Value:
    """Read the new value of a secret from stdin; with a prompt when stdin is a terminal.

    A pipe is decoded as a start decodes a file: one byte order mark and one final newline
    are removed from a text, and nothing from SecretBytes.

    Raises:
        UsageError: there is no stdin.
        CommandError: the input is empty or cannot be a value, or two entries differ.
    """
    if sys.stdin is None:
        message = "there is no stdin to read the new value from"
        raise UsageError(message)
    value = _prompt(field) if sys.stdin.isatty() else decode_value(_read_pipe(), field)
    problem = NOT_UTF_8 if value is None else value_problem(value)
    if problem is not None or value is None:
        message = f"the new value of {field.name} {problem.message if problem else ''}"
        raise CommandError(message)
    return value


def _read_pipe() -> bytes:
    return sys.stdin.buffer.read(_MOST_BYTES)


def _prompt(field: Field) -> Value | None:
    """Read the value twice, without echo."""
    from getpass import GetPassWarning, getpass  # noqa: PLC0415  (only for a terminal)

    failure = ""
    given: list[Value | None] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)
            # The plain text is in no variable: a traceback with locals would show it.
            given = [
                decode_value(getpass(prompt).encode("utf-8", "surrogateescape"), field)
                for prompt in (f"New value of {field.name}: ", "Once more: ")
            ]
    except EOFError:
        failure = "nothing was typed"
    except GetPassWarning:
        failure = "this terminal would show what is typed: pipe the value in instead"
    if not failure and given[0] != given[1]:
        failure = "the two entries differ"
    if failure:
        message = f"{failure}; {field.name} was not changed"
        raise CommandError(message)
    return given[0]


_USAGE = "rotate takes the name of a secret and options; the value comes from stdin or a prompt"


_CHECK_TIMEOUT = 30.0
"""Seconds for the check of the field."""


_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
"""A name of Kubernetes: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/"""


class _Parser(Parser):
    """A parser that repeats nothing of what was typed: it may be the value."""

    def error(self, message: str) -> NoReturn:
        del message
        super().error(_USAGE)


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    parser = _Parser(
        "rotate",
        "Write a new value into the file of a secret, in place: a container into which\n"
        "that file is mounted sees it too. The value is read from stdin, without its\n"
        "final newline (except for SecretBytes), or at a prompt; it is never an argument.",
        example="hive-boot rotate JWT_SECRET --to secrets/\n"
        "openssl rand -hex 32 | hive-boot rotate JWT_SECRET --app app:boot",
    )
    parser.add_argument("name", metavar="NAME", help="the declared name, such as JWT_SECRET")
    parser.add_argument("more", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument(
        "--to", default="secrets", metavar="DIR", help="the directory. Default: secrets"
    )
    parser.add_app(optional=True)
    parser.add_argument(
        "--backup", action="store_true", help="keep the old value beside it, as FILE.TIME.bak"
    )
    parser.add_argument(
        "--create", action="store_true", help="create the file if it does not exist"
    )
    parser.add_argument(
        "--kubernetes",
        nargs="?",
        const="",
        metavar="SECRET",
        help="print the command that changes it in a Secret of Kubernetes, and write nothing",
    )
    parser.add_json()
    return parser


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """The result of a rotation.

    Attributes:
        state: ``rotated``, ``created`` or ``unchanged``.
        notes: what the user should know.
        backup: the file that holds the old value.
    """

    state: str
    notes: list[str]
    backup: Path | None = None


def run(arguments: Namespace) -> int:
    """Run the command.

    Raises:
        UsageError: the secret or its file does not exist.
        CommandError: the value is refused or cannot be written; the file holds the old one.
    """
    if arguments.more:
        raise UsageError(_USAGE)
    field, declared = _field(arguments.name, arguments.app)
    if arguments.kubernetes is not None:
        return _print_kubectl(field, arguments.kubernetes, declared, json=arguments.json)
    location = locate_secret(
        field, Path(arguments.to), create=arguments.create, declared=declared is not None
    )
    value = read_new_value(field)
    notes = _check_value(field, value) if arguments.app else []
    if _current_value(field, location.directory) == value:
        outcome = _Outcome(state="unchanged", notes=notes)
        return _print_outcome(outcome, field, location, json=arguments.json)
    failure = ""
    try:
        outcome = _write(field, location, value, notes, keep=arguments.backup)
    except OSError as exc:
        failure = f"{location.shown} was not changed: {os_error_text(exc).lower()}"
    except CommandError as exc:
        failure = f"{location.shown} {exc}"
    if failure:
        # Raised here, because the frames of the first exception hold values.
        raise CommandError(failure)
    return _print_outcome(outcome, field, location, json=arguments.json)


def _field(name: str, app: str | None) -> tuple[Field, type[SecretSet] | None]:
    """Return the secret of that name and its declaration; None without APP."""
    plain = Field(attribute=name, name=name, candidates=file_name_candidates(name, None))
    if not NAME.fullmatch(name):
        message = "NAME is the name of a secret, of letters, digits, '_', '.' and '-'"
        raise UsageError(message)
    if app is None:
        return plain, None
    from hive_boot.cli.app_loader import load_application  # noqa: PLC0415  (only with --app)

    declared = load_application(app)._declaration.declared  # noqa: SLF001  (same package)
    fields = declared._field_index.by_variable  # noqa: SLF001  (same package)
    if name not in fields:
        near = fix_hints.near_misses(plain, fields)
        hint = f"; did you mean {near[0]}?" if near else f"; it declares {', '.join(fields)}"
        message = f"{declared.__name__} does not declare a secret of this name{hint}"
        raise UsageError(message)
    return fields[name], declared


def _check_value(field: Field, value: Value) -> list[str]:
    """Check a value against the constraints and the check of its field.

    Returns:
        What the user should know of a value that is accepted.

    Raises:
        CommandError: a start would refuse the value.
    """
    from hive_boot.secrets.fields import constraint_violations  # noqa: PLC0415  (the same)
    from hive_boot.secrets.validation import call_checks  # noqa: PLC0415  (only with --app)

    plain = value.reveal()
    faults = [fault.message for fault in constraint_violations(field, value.reveal)]
    if plain == field.dev_default:
        faults.append("is the development default, which other profiles refuse")
    del plain
    notes = []
    if field.check is not None and not faults:
        problems, pending = call_checks(
            [(field, value)], left=_CHECK_TIMEOUT, seconds=_CHECK_TIMEOUT
        )
        faults = [problem.message for problem in problems]
        for check in pending:
            notes.append("its check is async and was not run: hive-boot check runs it")
            if inspect.iscoroutine(check.verdict):
                check.verdict.close()
    if faults:
        message = "\n  ".join([f"the new value of {field.name} was not written:", *faults])
        raise CommandError(message)
    return notes


def _current_value(field: Field, directory: Path) -> Value | None:
    """Return what a start reads from a directory now."""
    field_index = without_constraints([field])
    return read_directory(field_index, directory).values.get(field.attribute)


def _write(
    field: Field, location: SecretLocation, value: Value, notes: list[str], *, keep: bool
) -> _Outcome:
    """Write a value into its file, or create the file.

    Raises:
        OSError: a call of the system failed.
        CommandError: the value could not be written.
    """
    if not location.path.exists():
        with FileTransaction() as transaction:
            transaction.create(location.path, encode_value(value))
            verify(field, location.directory, value)
        change = plan_gitignore_change(location.directory, [location.path])
        if change is not None:
            notes = [*notes, f"git does not ignore it: {change.path} needs the line {change.line}"]
        return _Outcome(state="created", notes=notes)

    def accept() -> bool:
        return _current_value(field, location.directory) == value

    backup = None
    if keep:
        now = datetime.now(UTC)
        backup = location.path.with_name(f"{location.path.name}.{now:%Y%m%dT%H%M%SZ}.bak")
    write_in_place(location.path, encode_value(value), accept, backup=backup)
    return _Outcome(state="rotated", notes=notes, backup=backup)


def verify(field: Field, directory: Path, value: Value) -> None:
    """Raise unless a start reads ``value`` from a directory.

    Raises:
        CommandError: it reads another value.
    """
    if _current_value(field, directory) != value:
        message = "was not created: a start would read another value"
        raise CommandError(message)


def _print_outcome(outcome: _Outcome, field: Field, location: SecretLocation, *, json: bool) -> int:
    shown, state = str(location.shown), outcome.state
    backup = outcome.backup and str(location.shown.with_name(outcome.backup.name))
    if json:
        facts = {"name": field.name, "file": shown, "state": state, "backup": backup}
        print_json({**facts, "notes": outcome.notes})
        return 0
    if state == "unchanged":
        print_line(f"{shown} already holds this value.")
    else:
        print_line(f"{field.name} is {state}: {shown}")
    if state == "rotated":
        print_line("A running application with watch=True loads it; any other at its next start.")
    if backup:
        print_line(f"The old value is in {backup}: delete it when nothing uses it.")
    for note in outcome.notes:
        print_line(f"Note: {note}")
    return 0


def _key(field: Field, declared: type[SecretSet] | None) -> str:
    """Return the key of a Secret that becomes the file, as the manifests have it."""
    if declared is None:
        return field.file_name
    from hive_boot.manifests.deployment import items_of  # noqa: PLC0415  (only with --app)

    items = items_of(declared._field_index.all_fields)  # noqa: SLF001  (same package)
    return next(item.key for item in items if item.name == field.name)


def _print_kubectl(field: Field, name: str, declared: type[SecretSet] | None, *, json: bool) -> int:
    """Print the command; it reads stdin, so that no history of a shell holds the value."""
    name = name or fix_hints.object_name(declared.__name__ if declared else "")
    if not _OBJECT.fullmatch(name):
        message = "--kubernetes takes the name of a Secret, of a-z, 0-9, '-' and '.'"
        raise UsageError(message)
    command = fix_hints.kubectl(_key(field, declared), name)
    if json:
        print_json({"name": field.name, "command": command, "reads": "stdin"})
    else:
        print_line("# The command reads the value from stdin: paste it and press Ctrl-D.")
        print_line(command)
    return 0
