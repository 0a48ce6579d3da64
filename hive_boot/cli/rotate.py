"""``hive-boot rotate``: write a new value into a secret's file, in place."""

from __future__ import annotations

import argparse
import inspect
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from hive_boot.cli.asking import ask
from hive_boot.cli.gitignore import amendment
from hive_boot.cli.places import Place, place_of
from hive_boot.cli.rewriting import rewrite
from hive_boot.cli.secret_files import content_of, file_name
from hive_boot.cli.showing import answer, say
from hive_boot.cli.sightings import in_directory, unjudged
from hive_boot.cli.staging import Staging
from hive_boot.cli.usage import Parser, Refusal, UsageError, reason
from hive_boot.secrets import hints
from hive_boot.secrets.field import NAME, Field, candidates_of

if TYPE_CHECKING:
    from argparse import Namespace

    from hive_boot.secrets.snapshot import SecretSet
    from hive_boot.secrets.sources.reading import Value

_ONLY = "rotate takes the name of a secret and options; the value comes from stdin or a prompt"

_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
"""A name of Kubernetes: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/"""


class _Parser(Parser):
    """One that repeats nothing of what was typed: it may be the value."""

    def error(self, message: str) -> NoReturn:
        del message
        super().error(_ONLY)


def parser() -> Parser:
    """Give what it takes."""
    parser = _Parser(
        "rotate",
        "Write a new value into the file of a secret, in place: a container in which\n"
        "that file is mounted has it too. The value is read from stdin, without its\n"
        "final newline (but for SecretBytes), or asked for; it is never an argument.",
        example="hive-boot rotate JWT_SECRET --to secrets/\n"
        "openssl rand -hex 32 | hive-boot rotate JWT_SECRET --app app:boot",
    )
    parser.add_argument("name", metavar="NAME", help="the declared name, as JWT_SECRET")
    parser.add_argument("more", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument(
        "--to", default="secrets", metavar="DIR", help="the directory. Default: secrets"
    )
    parser.takes_app(optional=True)
    parser.add_argument(
        "--backup", action="store_true", help="keep the old value beside it, as FILE.TIME.bak"
    )
    parser.add_argument(
        "--create", action="store_true", help="make the file when there is none yet"
    )
    parser.add_argument(
        "--kubernetes",
        nargs="?",
        const="",
        metavar="SECRET",
        help="print the command that changes it in a Secret of Kubernetes, and write nothing",
    )
    parser.takes_json()
    return parser


class _Outcome(NamedTuple):
    """What has become of a secret.

    Attributes:
        state: ``rotated``, ``created`` or ``unchanged``.
        notes: what a person should know.
        backup: the file that holds the old value.
    """

    state: str
    notes: list[str]
    backup: Path | None = None


def run(arguments: Namespace) -> int:
    """Do it.

    Raises:
        UsageError: there is no such secret, or no file of it.
        Refusal: the value cannot be taken, or not be written; the file holds the old one.
    """
    if arguments.more:
        raise UsageError(_ONLY)
    field, declared = _field(arguments.name, arguments.app)
    if arguments.kubernetes is not None:
        return _tell_kubectl(field, arguments.kubernetes, declared, json=arguments.json)
    named = declared is not None
    place = place_of(field, Path(arguments.to), create=arguments.create, declared=named)
    value = ask(field)
    notes = _judge(field, value) if arguments.app else []
    if _present(field, place.directory) == value:
        return _tell(_Outcome("unchanged", notes), field, place, json=arguments.json)
    failure = ""
    try:
        outcome = _write(field, place, value, notes, keep=arguments.backup)
    except OSError as exc:
        failure = f"{place.shown} was not changed: {reason(exc).lower()}"
    except Refusal as exc:
        failure = f"{place.shown}: {exc}"
    if failure:
        # Raised here: the frames that failed hold values.
        raise Refusal(failure)
    return _tell(outcome, field, place, json=arguments.json)


def _field(name: str, app: str | None) -> tuple[Field, type[SecretSet] | None]:
    """Give the secret of that name, and its declaration; without APP none is known."""
    plain = Field(attribute=name, name=name, candidates=candidates_of(name, None))
    if not NAME.fullmatch(name):
        message = "NAME is the name of a secret: letters, digits, '_', '.' and '-'; this is none"
        raise UsageError(message)
    if app is None:
        return plain, None
    from hive_boot.cli.applications import find  # noqa: PLC0415  (not all name one)

    declared = find(app)._plan.declared  # noqa: SLF001  (ours)
    fields = declared._inventory.by_variable  # noqa: SLF001  (ours)
    if name not in fields:
        near = hints.near_misses(plain, fields)
        meant = f"; did you mean {near[0]}?" if near else f"; it declares {', '.join(fields)}"
        message = f"{declared.__name__} declares no secret of this name{meant}"
        raise UsageError(message)
    return fields[name], declared


def _judge(field: Field, value: Value) -> list[str]:
    """Judge a value by what is declared for it.

    Returns:
        What a person should know all the same.

    Raises:
        Refusal: a start would refuse it.
    """
    from hive_boot.secrets.checks import call_checks  # noqa: PLC0415  (not all name an APP)
    from hive_boot.secrets.field import shape_faults  # noqa: PLC0415  (as above)

    plain = value.reveal()
    faults = [fault.message for fault in shape_faults(field, value.reveal)]
    if plain == field.dev_default:
        faults.append("is the development default, which other profiles refuse")
    del plain
    notes = []
    if field.check is not None and not faults:
        seconds = 30.0
        problems, pending = call_checks([(field, value)], left=seconds, seconds=seconds)
        faults = [problem.message for problem in problems]
        for check in pending:
            notes.append("its check is async, and was not asked: hive-boot check does")
            if inspect.iscoroutine(check.verdict):
                check.verdict.close()
    if faults:
        message = "\n  ".join([f"the new value of {field.name} was not written:", *faults])
        raise Refusal(message)
    return notes


def _present(field: Field, directory: Path) -> Value | None:
    """Give what a start reads now."""
    return in_directory(unjudged([field]), directory).values.get(field.attribute)


def _write(field: Field, place: Place, value: Value, notes: list[str], *, keep: bool) -> _Outcome:
    """Write a value into its file, or make that.

    Raises:
        OSError: it could not be done.
        Refusal: as well.
    """
    if not place.path.exists():
        _create(field, place, value)
        line = amendment(place.directory, [place.path])
        if line is not None:
            notes = [*notes, f"git does not ignore it: {line.path} needs the line {line.line}"]
        return _Outcome("created", notes)

    def accept() -> bool:
        return _present(field, place.directory) == value

    backup = None
    if keep:
        now = datetime.now(UTC)
        backup = place.path.with_name(f"{place.path.name}.{now:%Y%m%dT%H%M%SZ}.bak")
    rewrite(place.path, content_of(value), accept, backup=backup)
    return _Outcome("rotated", notes, backup)


def _create(field: Field, place: Place, value: Value) -> None:
    with Staging() as staging:
        staged = staging.add(place.directory, {place.file: content_of(value)})
        refuse_unlike(field, staged, value)
        staging.commit()


def refuse_unlike(field: Field, directory: Path, value: Value) -> None:
    """Make sure that a start reads ``value`` from a directory.

    Raises:
        Refusal: it does not.
    """
    if _present(field, directory) != value:
        message = "what a start would read from it was not the new value"
        raise Refusal(message)


def _tell(outcome: _Outcome, field: Field, place: Place, *, json: bool) -> int:
    shown, state = str(place.shown), outcome.state
    backup = outcome.backup and str(place.shown.with_name(outcome.backup.name))
    if json:
        facts = {"name": field.name, "file": shown, "state": state, "backup": backup}
        answer({**facts, "notes": outcome.notes})
        return 0
    if state == "unchanged":
        say(f"{shown} holds this value already.")
    else:
        say(f"{field.name} is {state}: {shown}")
    if state == "rotated":
        say("An application that runs with watch=True takes it up; any other, when it starts.")
    if backup:
        say(f"The old value is in {backup}: remove it when nobody needs it.")
    for note in outcome.notes:
        say(f"Note: {note}")
    return 0


def _key(field: Field, declared: type[SecretSet] | None) -> str:
    """Give the key of a Secret that becomes the file, as the manifests have it."""
    if declared is None:
        return file_name(field)
    from hive_boot.manifests.deployment import items_of  # noqa: PLC0415  (not all name an APP)

    items = items_of(declared._inventory.every)  # noqa: SLF001  (ours)
    return next(item.key for item in items if item.name == field.name)


def _tell_kubectl(field: Field, name: str, declared: type[SecretSet] | None, *, json: bool) -> int:
    """Print the command; it reads stdin, so that no shell's history holds the value."""
    name = name or hints.object_name(declared.__name__ if declared else "")
    if not _OBJECT.fullmatch(name):
        message = "--kubernetes takes the name of a Secret: a-z, 0-9, '-' and '.'; this is none"
        raise UsageError(message)
    command = hints.kubectl(_key(field, declared), name)
    if json:
        answer({"name": field.name, "command": command, "reads": "stdin"})
    else:
        say("# It reads the value from stdin: paste it and press Ctrl-D.")
        say(command)
    return 0
