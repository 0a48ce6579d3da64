"""``hive-boot doctor``: check, and tell what is likely to go wrong later.

Each examination is a plain function that looks at one thing, and starts nothing. Its order
here is the order in which findings of the same severity are shown.
"""

from __future__ import annotations

import os
import re
import shutil
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hive_boot.bootstrap.examining import Examination, examine
from hive_boot.cli.applications import find
from hive_boot.cli.check import facts_of, report, show
from hive_boot.cli.examinations import (
    clock,
    environment,
    mounts,
    permissions,
    process,
    situations,
    stopping,
    strangers,
    told,
    values,
    versioned,
    watching,
)
from hive_boot.cli.examinations.manifests import named_manifests, usual_manifests
from hive_boot.cli.examinations.patient import Patient, Symptom, counted
from hive_boot.cli.showing import answer, is_terminal, painted, say
from hive_boot.cli.usage import NO, Parser, UsageError, reason
from hive_boot.exceptions import InvalidSecrets
from hive_boot.secrets.surroundings import Surroundings

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from hive_boot.bootstrap.plan import Plan
    from hive_boot.cli.examinations.patient import Severity

EXAMINATIONS: tuple[Callable[[Patient], list[Symptom]], ...] = (
    mounts.pinned_files,
    mounts.files_of_the_image,
    versioned.files_in_git,
    permissions.files_that_others_may_write,
    permissions.files_that_others_may_read,
    permissions.files_of_others,
    environment.environment_of_the_container,
    told.warnings_of_the_check,
    values.tokens_that_expire,
    values.odd_values,
    values.equal_values,
    strangers.near_names,
    strangers.leftovers,
    strangers.unknown_files,
    strangers.links_that_lead_out,
    watching.watch_impossible,
    mounts.remote_file_systems,
    stopping.killed_too_soon,
    process.shell_as_the_first_process,
    process.limits,
    clock.clock_behind,
    situations.odd_situation,
    situations.odd_declaration,
)

_STYLES: dict[Severity, str] = {"error": "red", "warning": "yellow", "remark": "dim"}

_WIDTH = 80
_NARROWEST, _WIDEST = 20, 100
_INDENT = 11

_COMMAND = re.compile(r"^(?:chmod|git|rm|sudo) [^;]*|sysctl -w \S+|ulimit -\w \d+")
_HARD_SPACE = "\N{NO-BREAK SPACE}"


def parser() -> Parser:
    """Give what it takes."""
    parser = Parser(
        "doctor",
        "Check, and tell what is likely to go wrong later; start nothing.\n"
        "Exit 0 when all is well (remarks are allowed), 1 with warnings or errors,\n"
        "78 when a start would not go on.",
        example="hive-boot doctor app:boot\nhive-boot doctor app:boot --manifests deploy/k8s",
    )
    # Several paths after an option would take APP for one of them.
    parser.usage = "hive-boot doctor APP [--json] [--manifests PATH …]"
    parser.takes_app()
    parser.takes_json()
    parser.add_argument(
        "--manifests",
        nargs="+",
        metavar="PATH",
        help="manifests, or directories of them, that say how long a stop may take "
        "(./deploy and ./docker-compose*.yml)",
    )
    return parser


def run(arguments: Namespace) -> int:
    """Do it.

    Raises:
        UsageError: a manifest is not there.
    """
    manifests = _manifests(arguments.manifests)
    boot = find(arguments.app)
    try:
        examination = examine(boot)
    except InvalidSecrets as exc:
        # Where to look is not known, so there is nothing to examine.
        if arguments.json:
            problems = [problem._asdict() for problem in exc.problems]
            told_by_check = {"ok": False, "problems": problems, "advice": list(exc.advice)}
            answer({"ok": False, "check": told_by_check, **_facts([])})
        else:
            report(exc)
        return exc.exit_code
    symptoms = examined(_patient(boot._plan, examination, manifests))  # noqa: SLF001  (ours)
    error = examination.error
    is_ill = any(symptom.severity != "remark" for symptom in symptoms)
    status = (NO if is_ill else 0) if error is None else error.exit_code
    if arguments.json:
        answer({"ok": status == 0, "check": facts_of(examination), **_facts(symptoms)})
    else:
        # They are told below, with what mends them.
        examination.findings.load_warnings = []
        show(examination)
        _show(symptoms)
    return status


def examined(patient: Patient) -> list[Symptom]:
    """Examine everything, and give what was found, the worst first."""
    symptoms: list[Symptom] = []
    for examination in EXAMINATIONS:
        try:
            symptoms += examination(patient)
        except OSError as exc:
            what = examination.__name__.replace("_", " ")
            text = f"{what}: this could not be looked at ({reason(exc).lower()})"
            symptoms.append(Symptom("remark", "not-examined", text, str(exc.filename or "")))
    return sorted(symptoms, key=lambda symptom: [*_STYLES].index(symptom.severity))


def _patient(plan: Plan, examination: Examination, manifests: Sequence[Path]) -> Patient:
    machine = Surroundings()
    return Patient(plan, examination.findings, machine, manifests, os.geteuid(), time.time())


def _manifests(named: Sequence[str] | None) -> list[Path]:
    """Give the manifests that were named, else those that are found.

    Raises:
        UsageError: one is not there.
    """
    if named is None:
        return usual_manifests(Path())
    for path in named:
        if not Path(path).exists():
            message = f"--manifests: there is no {path}"
            raise UsageError(message)
    return named_manifests(map(Path, named))


def _show(symptoms: Sequence[Symptom]) -> None:
    say()
    if not symptoms:
        say(painted("Nothing was found that is likely to go wrong later.", "green"))
        return
    width = _WIDTH
    if is_terminal():
        width = min(shutil.get_terminal_size().columns, _WIDEST)
    for symptom in symptoms:
        style = _STYLES[symptom.severity]
        _show_row(symptom.severity, symptom.what, style, width)
        _show_row("where", symptom.where, "dim", width)
        _show_row("mend", symptom.mend, "dim", width)
        say()
    counts = _counts(symptoms)
    said = [counted(number, severity) for severity, number in counts.items() if number]
    say(painted(", ".join(said), "bold"))


def _show_row(label: str, text: str, style: str, width: int) -> None:
    if not text:
        return
    if label == "mend":
        # A command that is copied has to be whole.
        text = _COMMAND.sub(lambda match: match[0].replace(" ", _HARD_SPACE), text)
    lines = textwrap.wrap(
        text, max(width - _INDENT, _NARROWEST), break_long_words=False, break_on_hyphens=False
    )
    first, *others = (line.replace(_HARD_SPACE, " ") for line in lines)
    say(f"{painted(f'{label:>9}', style)}  {first}")
    for line in others:
        say(" " * _INDENT + line)


def _facts(symptoms: Sequence[Symptom]) -> dict[str, Any]:
    return {
        "findings": [symptom._asdict() for symptom in symptoms],
        "counts": _counts(symptoms),
    }


def _counts(symptoms: Sequence[Symptom]) -> dict[str, int]:
    found = [symptom.severity for symptom in symptoms]
    return {severity: found.count(severity) for severity in _STYLES}
