"""Rotate command: a new value in the file of a secret, and the plan of a rotation in a fleet."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import shlex
import stat
import sys
import warnings
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from getpass import GetPassWarning, getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from hive_boot.cli import CommandError, Parser, UsageError, print_json, print_line
from hive_boot.cli.app_loader import load_application, working_directory
from hive_boot.cli.file_writing import FileTransaction, signals_raised, write_in_place
from hive_boot.cli.fleet_judgement import seconds
from hive_boot.cli.secret_files import (
    SecretLocation,
    decode_value,
    encode_value,
    errors_reported,
    find_repository,
    git_failure,
    locate_secret,
    plan_gitignore_change,
    read_directory,
    rejections,
    without_constraints,
)
from hive_boot.exceptions import DeclarationError, unavailable_reason
from hive_boot.manifests import items_of
from hive_boot.runtime import checks
from hive_boot.secrets import fix_hints
from hive_boot.secrets.fields import (
    VERSION_RULE,
    Field,
    FieldIndex,
    ValueProblem,
    file_name_candidates,
    is_name,
    is_version,
)
from hive_boot.secrets.sources.files import LIMIT, Value, ValueOrProblem
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence

    from hive_boot.cli.fleet_judgement import Stage
    from hive_boot.secrets.secret_set import SecretSet

_WAIT_TIMEOUT = 600.0
"""Timeout of a wait of a plan in seconds, besides the delay of the declaration."""

_QUIET_FOR = 3600.0
"""Quiet time of a plan for a value that is always accepted, in seconds."""


def read_new_value(field: Field) -> Value:
    """Read the new value of a secret from stdin, with a prompt if stdin is a terminal.

    The input is decoded as a start decodes a file: one byte order mark and one final newline
    are removed from text, and nothing from SecretBytes.

    Raises:
        UsageError: the process has no stdin.
        CommandError: a start would reject the input, or the two entries at the prompt differ.
    """
    if sys.stdin is None:
        message = "The new value cannot be read, because stdin is closed. Pipe the value to stdin."
        raise UsageError(message)
    is_prompt = sys.stdin.isatty()
    value = _prompt(field) if is_prompt else decode_value(sys.stdin.buffer.read(LIMIT + 1), field)
    if isinstance(value, ValueProblem):
        raise CommandError(f"The new value of {field.name} {value.message}")
    return value


def _prompt(field: Field) -> ValueOrProblem:
    """Read the value twice, without echo."""
    failure = ""
    entries: list[ValueOrProblem] = []
    try:
        with warnings.catch_warnings(), signals_raised():
            warnings.simplefilter("error", GetPassWarning)
            # The plain text is not assigned to a variable, which a traceback with locals shows.
            entries = [
                decode_value(getpass(prompt).encode("utf-8", "surrogateescape"), field)
                for prompt in (f"New value of {field.name}: ", "Repeat the value: ")
            ]
    except EOFError:
        failure = "no value was entered"
    except UnicodeDecodeError as exc:
        failure = f"the entered value is not {exc.encoding.upper()} text. Pipe it to stdin."
    except GetPassWarning:
        failure = "the terminal would display the value. Pipe the value to stdin."
    if not failure and entries[0] != entries[1]:
        failure = "the two entries differ"
    if failure:
        raise CommandError(f"{field.name} was not changed: {failure}")
    return entries[0]


_USAGE = "Expected one secret name and options. The value is read from stdin or from a prompt."

_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
"""Name of a Kubernetes object: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/"""


class _Parser(Parser):
    """A parser whose errors do not quote the arguments, because one of them may be the value."""

    def error(self, message: str) -> NoReturn:
        del message
        super().error(_USAGE)


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    parser = _Parser(
        "rotate",
        "Overwrite the file of a secret in place, so that a container with a bind mount\n"
        "of the file sees the new value. The value is read from stdin or from a prompt,\n"
        "never from an argument. One final newline is removed, except for SecretBytes.\n"
        "If the declaration of APP has a version, its file is written last.",
        example="hive-boot rotate JWT_SECRET --to secrets/\n"
        "openssl rand -hex 32 | hive-boot rotate JWT_SECRET --app app:boot",
    )
    parser.add_argument("name", metavar="NAME", help="name of the secret, such as JWT_SECRET")
    parser.add_argument("more", nargs="*", help=argparse.SUPPRESS)
    parser.add_directory("directory of the file")
    parser.add_app(optional=True)
    for flag, about in (
        ("--backup", "write the old value to FILE.TIME.bak"),
        ("--create", "create the file, if it does not exist"),
        ("--dry-run", "check the value and write nothing"),
    ):
        parser.add_argument(flag, action="store_true", help=about)
    parser.add_argument(
        "--kubernetes",
        nargs="?",
        const="",
        metavar="SECRET",
        help="print the command that changes the value in a Kubernetes Secret; write nothing",
    )
    parser.add_argument(
        "--set-version",
        metavar="TEXT",
        help="the new version of the secrets, if the declaration has one (default: the time)",
    )
    parser.add_json()
    return parser


def run(arguments: Namespace) -> int:
    """Run the command.

    Raises:
        UsageError: the arguments are invalid, or the secret or its file does not exist.
        CommandError: the value was rejected or could not be written. The message states if
            the file does not contain the old value.
    """
    if arguments.more:
        raise UsageError(_USAGE)
    field, declared = _field(arguments.name, arguments.app)
    version = _new_version(declared, arguments.set_version)
    if arguments.kubernetes is not None:
        name = arguments.kubernetes
        return _print_kubectl(field, name, declared, version, json=arguments.json)
    working_directory()  # raises if it was removed
    directory = Path(arguments.to)
    with errors_reported(directory):
        location = locate_secret(
            field, directory, create=arguments.create, declared=declared is not None
        )
        backup = None
        if arguments.backup and location.status is not None:
            now = datetime.now(UTC)
            backup = location.path.with_name(f"{location.path.name}.{now:%Y%m%dT%H%M%SZ}.bak")
        notes = _exposure_notes(location, backup)
        version_location = version and locate_secret(version.field, directory, create=True)
    value = read_new_value(field)
    notes += _check_value(field, value, declared=declared is not None)
    if version and value == version.value:
        raise CommandError(f"{field.name} was not changed: it must not equal the version")
    with errors_reported(location.shown, "Nothing was changed: "):
        is_unchanged = _current_value(field, location.directory) == value
        if not (is_unchanged or arguments.dry_run):
            _write(field, location, value, backup)
    if is_unchanged and arguments.set_version is None:
        version = None
    if version and version_location and not arguments.dry_run:
        prefix = "" if is_unchanged else f"{field.name} was rotated, but its version is missing: "
        with errors_reported(version_location.shown, prefix):
            _write(version.field, version_location, version.value, None)
    state = "created" if location.status is None else "rotated"
    if is_unchanged:
        state, backup = "unchanged", None
    facts = {
        "name": field.name,
        "file": str(location.shown),
        "state": state,
        "dry_run": arguments.dry_run,
        "backup": str(location.shown.with_name(backup.name)) if backup else None,
        "version": version.value.reveal() if version else None,
        "notes": notes,
    }
    if arguments.json:
        print_json(facts)
    else:
        _print_report(facts)
    return 0


def _field(name: str, app: str | None) -> tuple[Field, type[SecretSet] | None]:
    """Return the field of a secret and its declaration, which is None without ``app``."""
    if not is_name(name):
        raise UsageError("NAME must be the name of a secret: letters, digits, '_', '.' and '-'")
    if app is None:
        candidates = file_name_candidates(name, None)
        return Field(attribute=name, name=name, candidates=candidates), None
    try:
        declared = load_application(app)._declaration.declared
    except DeclarationError as exc:
        message = f"{exc} Without --app the value is written, but not validated."
        raise DeclarationError(message) from None
    field = _declared_field(name, declared)
    if bundle := field.bundle:
        raise UsageError(f"{name} is a member of {bundle}, and rotate does not write members.")
    return field, declared


def _declared_field(name: str, declared: type[SecretSet]) -> Field:
    fields = declared._field_index.by_variable
    if name not in fields:
        plain = Field(attribute=name, name=name, candidates=file_name_candidates(name, None))
        near = fix_hints.near_misses(plain, fields)
        hint = f"Did you mean {near[0]}?" if near else f"Declared: {', '.join(fields)}"
        raise UsageError(f"{declared.__name__} does not declare this secret. {hint}")
    return fields[name]


class _Version(NamedTuple):
    """The new version of a set, and the field that its file is written as."""

    field: Field
    value: Secret


def _new_version(declared: type[SecretSet] | None, given: str | None) -> _Version | None:
    """Return the new version: the given one, or the time; None if no version is declared.

    Raises:
        UsageError: no version is declared and one is given, or it is invalid.
    """
    index = declared._field_index if declared else FieldIndex(())
    if given is not None and not index.version:
        needed = "a declaration with version=" if declared else "--app APP"
        raise UsageError(f"--set-version requires {needed}.")
    if given is not None and not is_version(given):
        raise UsageError(f"--set-version must be {VERSION_RULE}.")
    # With microseconds, because a version must never identify two sets.
    text = given or f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    return _Version(index.version_field, Secret(index.version, text)) if index.version else None


def _check_value(field: Field, value: Value, *, declared: bool) -> list[str]:
    """Apply the constraints and the check of a field to a value.

    Args:
        field: the field.
        value: the new value.
        declared: whether the field comes from a declaration.

    Returns:
        Notes for the user, such as that an async check was not run.

    Raises:
        CommandError: a start would reject the value.
    """
    violations = rejections(field, value)
    notes = []
    if field.check is not None and not violations:
        check = checks.FieldCheck(field, value)
        check.call()
        if isinstance(check.failure, KeyboardInterrupt):
            raise check.failure
        reason = unavailable_reason(check.failure)
        failure = reason or check.failure or checks.rejection_reason(check.verdict)
        if inspect.isawaitable(check.verdict):
            notes.append("the check of the value is async and was not run. Run hive-boot check.")
            check.close()
        elif failure is not None:
            unavailable = checks.UNREACHED if reason else ""
            violations = [
                checks.check_problem(field, failure, [value], unavailable=unavailable).message
            ]
    if violations:
        message = f"{field.name} was not changed, because the new value:"
        hint = [] if declared else ["  Fix: if its declaration allows this value, add --app APP"]
        raise CommandError(message, *(f"  {each}" for each in violations), *hint)
    return notes


def _current_value(field: Field, directory: Path) -> Value | None:
    """Return the value that a start reads from a directory now."""
    return read_directory(without_constraints([field]), directory).values.get(field.attribute)


def _exposure_notes(location: SecretLocation, backup: Path | None) -> list[str]:
    """Return a note if git does not ignore a file to create, or does not answer.

    Raises:
        CommandError: every user could read the file to create, or git does not ignore the backup.
    """
    new = location.path if location.status is None else backup
    if new is None:
        return []
    if backup is None and all(
        each.is_dir() and each.stat().st_mode & stat.S_IXOTH
        for each in new.parents
        if each.is_relative_to(location.directory)
    ):
        raise CommandError(
            f"{location.shown} was not created: every user of this machine can enter its "
            f"directory. Fix: chmod 700 {shlex.quote(str(location.directory))}"
        )
    change = plan_gitignore_change(location.directory, [new])
    if change is None:
        failure = git_failure(location.directory)
        return [f"git does not answer whether it ignores the file: {failure}"] if failure else []
    what = "file" if backup is None else "backup"
    note = f"git does not ignore the {what}. Fix: add the line {change.line} to {change.path}"
    if backup is not None and find_repository(location.directory) is not None:
        raise CommandError(f"{location.shown} was not changed: {note}")
    return [note]


def _write(field: Field, location: SecretLocation, value: Value, backup: Path | None) -> None:
    """Overwrite the file of a secret, or create it.

    Raises:
        OSError: a system call failed.
        CommandError: the value could not be written.
    """

    def accept() -> bool:
        return _current_value(field, location.directory) == value

    path, content, expected = location.path, encode_value(value), location.status
    if expected is not None:
        write_in_place(path, content, accept, backup=backup, expected=expected)
        return
    with FileTransaction() as transaction:
        transaction.create(path, content)
        if not accept():
            raise CommandError(f"{path} was not created: a start would read another value")


def _print_report(facts: dict[str, Any]) -> None:
    name, file, state = facts["name"], facts["file"], facts["state"]
    if state == "unchanged":
        print_line(f"{file} already contains this value.")
    elif facts["dry_run"]:
        print_line(f"Dry run, nothing was written. {name} would be {state}: {file}")
    else:
        print_line(f"{name} was {state}: {file}")
    if facts["version"] and not facts["dry_run"]:
        print_line(f"The version of the secrets is {facts['version']} now.")
    if not facts["dry_run"]:
        if state == "rotated":
            print_line(
                "Applications with watch=True load the value within a second, or log why they "
                "refuse it; others at their next start."
            )
        if backup := facts["backup"]:
            print_line(f"The old value is in {backup}. Delete it when it is no longer needed.")
    for note in facts["notes"]:
        print_line(f"Note: {note}")


def _print_kubectl(
    field: Field,
    name: str,
    declared: type[SecretSet] | None,
    version: _Version | None,
    *,
    json: bool,
) -> int:
    """Print the kubectl command. It reads stdin, so that the value is not in the shell history."""
    name = name or fix_hints.object_name(declared.__name__ if declared else "")
    if not _OBJECT_NAME.fullmatch(name):
        message = "--kubernetes must be the name of a Kubernetes Secret: a-z, 0-9, '-' and '.'"
        raise UsageError(message)
    fields = declared._field_index.all_fields if declared else [field]
    key = next((item.key for item in items_of(fields) if item.name == field.name), field.file_name)
    text = version.value.reveal() if version else None
    # One command sets both, because a pod must never see one of them alone.
    literals = {version.field.file_name: str(text)} if version else {}
    command = fix_hints.kubectl(key, name, literals)
    if json:
        facts = {"name": field.name, "command": command, "reads": "stdin", "version": text}
        print_json(facts)
    else:
        print_line("# The command reads the value from stdin. Paste the value and press Ctrl-D.")
        print_line(command)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a rotation.

    Attributes:
        title: what happens in the step.
        commands: the commands of a change; empty if it is made elsewhere.
        wait: the arguments of ``hive-boot fleet wait``; empty for a change.
    """

    title: str
    commands: tuple[str, ...] = ()
    wait: tuple[str, ...] = ()


class Plan:
    """The steps that rotate some secrets of a declaration in a fleet.

    A new value is used only where every instance accepts it: with ``previous`` it is announced
    there first, and with ``activate_after`` alone it is accepted for that time before.

    Args:
        arguments: the options of ``hive-boot fleet rotate``.

    Raises:
        UsageError: an argument is invalid, or the declaration has no version.
    """

    def __init__(self, arguments: Namespace) -> None:
        if arguments.app is None:
            raise UsageError("--app is required: the steps depend on the declaration")
        declared = load_application(arguments.app)._declaration.declared
        index = declared._field_index
        for name in arguments.names:
            _declared_field(name, declared)
        owners = {each.previous: each.name for each in index.by_variable.values() if each.previous}
        if older := [name for name in arguments.names if name in owners]:
            owner = owners[older[0]]
            raise UsageError(f"{older[0]} has the old value of {owner}. Fix: rotate {owner}")
        if not index.version:
            message = f"{declared.__name__} declares no version, so no wait can prove anything."
            raise UsageError(message, f"Fix: class {declared.__name__}(SecretSet, version=…)")
        self._announced = f"{arguments.set_version}-announced"
        if not (is_version(arguments.set_version) and is_version(self._announced)):
            raise UsageError(f"--set-version, also with -announced, must be {VERSION_RULE}")
        self._arguments = arguments
        self._version_key = index.version_field.file_name
        self._in_kubernetes = arguments.kubernetes is not None
        self._secret = arguments.kubernetes or fix_hints.object_name(declared.__name__)
        self._items = {item.name: item for item in items_of(index.all_fields)}
        self._fields = [index.by_variable[name] for name in dict.fromkeys(arguments.names)]
        self._pairs = [(each.name, each.previous) for each in self._fields if each.previous]

    def steps(self) -> list[Step]:
        """Return the steps in their order."""
        names = ", ".join(each.name for each in self._fields)
        title = f"Revoke the old value of {names} at the provider, if there is one"
        return [*self._write(), *self._waits(), *self._delete(), Step(title=title)]

    def _write(self) -> Iterator[Step]:
        version = self._arguments.set_version
        about = "it prints the command" if self._in_kubernetes else "it is read from stdin"
        plain = [each.name for each in self._fields if not each.previous]
        title, commands = f"Write the new value of {', '.join(plain)}: {about}", []
        if self._pairs:
            names = [name for name, _ in self._pairs]
            before = [previous for _, previous in self._pairs]
            shown = f"Write the new value of {', '.join(names)} to {', '.join(before)}: {about}"
            yield Step(title=shown, commands=self._rotate(before, self._announced, "--create"))
            wait = self._wait(self._announced, "accepted")
            yield Step(title="Wait until every instance accepts it", wait=wait)
            exchange = "; ".join(
                f"Exchange {name} and {previous}" for name, previous in self._pairs
            )
            title = f"{exchange}; {title[0].lower()}{title[1:]}" if plain else exchange
            commands = [self._exchange(f"{version}-exchanged" if plain else version)]
        yield Step(title=title, commands=(*commands, *self._rotate(plain, version)))

    def _rotate(self, names: Sequence[str], version: str, *more: str) -> tuple[str, ...]:
        """Return the commands that write new values; the last one sets the version."""
        given = self._arguments
        place = [*more, "--to", given.to]
        if self._in_kubernetes:
            place = ["--kubernetes", self._secret]
        words = [["hive-boot", "rotate", name, "--app", given.app, *place] for name in names]
        if words and version:
            words[-1] += ["--set-version", version]
        return tuple(map(shlex.join, words))

    def _exchange(self, version: str) -> str:
        """Return a command that exchanges each value with that of ``previous``, only once."""
        key = self._version_key
        if self._in_kubernetes:
            # One patch, which fails if the version is not that of the announcement any more.
            data: dict[str, str] = {}
            for name, previous in self._pairs:
                new, old = self._items[previous].key, self._items[name].key
                data |= {old: f'{{{{index .data "{new}"}}}}', new: f'{{{{index .data "{old}"}}}}'}
            changes = [("test", key, _base64(self._announced))]
            changes += [("replace", *each) for each in {**data, key: _base64(version)}.items()]
            template = ",".join(
                f'{{"op":"{op}","path":"/data/{name}","value":"{value}"}}'
                for op, name, value in changes
            )
            read = ["kubectl", "get", "secret", self._secret, "-o", f"go-template=[{template}]"]
            patch = ["kubectl", "patch", "secret", self._secret, "--type=json"]
            return f"{shlex.join(read)} | {shlex.join(patch)} --patch-file=/dev/stdin"
        words = [shlex.join(["grep", "-qxF", self._announced, self._file(key)])]
        for pair in self._pairs:
            old, new = (shlex.quote(self._file(self._items[name].file)) for name in pair)
            (write,) = self._rotate([pair[0]], "")
            (save,) = self._rotate([pair[1]], version if pair == self._pairs[-1] else "")
            words += ["old=$(mktemp)", f'cat {old} > "$old"', f"{write} < {new}"]
            words += [f'{save} < "$old"', 'rm "$old"']
        failed = '"Not exchanged, or in part: the old value is in ${old:-its file}" >&2'
        return f"unset old; {' && '.join(words)} || {{ echo {failed}; false; }}"

    def _waits(self) -> Iterator[Step]:
        version = self._arguments.set_version
        if any(
            not each.previous and (each.accept_old_for or each.activate_after)
            for each in self._fields
        ):
            wait = self._wait(version, "accepted")
            yield Step(title="Wait until every instance accepts it", wait=wait)
        delay = max(each.activate_after for each in self._fields)
        after = f", {seconds(delay)} after it was accepted" if delay else ""
        wait = self._wait(version, "current", delay)
        yield Step(title=f"Wait until every instance uses it{after}", wait=wait)
        old = [each for each in self._fields if each.accept_old_for or each.previous]
        if old:
            names = [each.name for each in old]
            title = f"Replace {', '.join(names)} in the clients that present it, if there are any"
            yield Step(title=title)
            quiet = max(each.accept_old_for for each in old)
            words = [text for name in names for text in ("--secret", name)]
            words += [] if quiet else ["--quiet-for", f"{_QUIET_FOR:g}"]
            wait = (*self._wait(version, "quiet", 2 * (quiet or _QUIET_FOR)), *words)
            yield Step(title="Wait until no old value is used any more", wait=wait)

    def _delete(self) -> Iterator[Step]:
        if not self._pairs:
            return
        items = [self._items[previous] for _, previous in self._pairs]
        # The set is another one without the values, so it has another version.
        version, key = f"{self._arguments.set_version}-deleted", self._version_key
        commands = [
            shlex.join(["rm", *(self._file(each.file) for each in items)]),
            f"printf %s {version} > {shlex.quote(self._file(key))}",
        ]
        if self._in_kubernetes:
            data = dict.fromkeys(each.key for each in items) | {key: _base64(version)}
            patch = json.dumps({"data": data})
            words = ["kubectl", "patch", "secret", self._secret, "--type=merge", "-p", patch]
            commands = [shlex.join(words)]
        title = f"Delete {', '.join(previous for _, previous in self._pairs)}"
        yield Step(title=title, commands=tuple(commands))
        wait = self._wait(version, "accepted")
        yield Step(title="Wait until no instance accepts the old value", wait=wait)

    def _file(self, name: str) -> str:
        return f"{self._arguments.to.rstrip('/')}/{name}"

    def _wait(self, version: str, stage: Stage, more: float = 0.0) -> tuple[str, ...]:
        """Return the arguments of a wait, whose timeout is longer by some seconds."""
        given = self._arguments
        words = [version, "--stage", stage]
        for option in ("prometheus", "target"):
            words += [text for url in getattr(given, option) for text in (f"--{option}", url)]
        for option in ("selector", "credentials_file", "expect"):
            if (value := getattr(given, option)) is not None:
                words += [f"--{option.replace('_', '-')}", str(value)]
        return (*words, "--timeout", f"{_WAIT_TIMEOUT + more:g}")


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()
