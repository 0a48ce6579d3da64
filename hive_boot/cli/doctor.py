"""``hive-boot doctor``: checks, and finds what is likely to fail later.

Each check is a plain function that inspects one thing and starts nothing. Their order here is
the order in which findings of the same severity are shown.
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
from hive_boot.cli.app_loader import load_application
from hive_boot.cli.arguments import EXIT_FAILURE, Parser, UsageError, os_error_text
from hive_boot.cli.check import print_problems, print_report, report_facts
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
from hive_boot.cli.output import is_terminal, print_json, print_line, styled
from hive_boot.exceptions import InvalidSecrets
from hive_boot.secrets.surroundings import Surroundings

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from hive_boot.bootstrap.plan import Plan
    from hive_boot.cli.examinations.patient import Severity

CHECKS: tuple[Callable[[Patient], list[Symptom]], ...] = (
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
    """Return the parser of the command's arguments."""
    parser = Parser(
        "doctor",
        "Check, and find what is likely to fail later; start nothing.\n"
        "Exit 0 without findings (remarks are allowed), 1 with warnings or errors,\n"
        "78 when a start would not go on.",
        example="hive-boot doctor app:boot\nhive-boot doctor app:boot --manifests deploy/k8s",
    )
    # With several paths after an option, argparse would take APP for one of them.
    parser.usage = "hive-boot doctor APP [--json] [--manifests PATH …]"
    parser.add_app()
    parser.add_json()
    parser.add_argument(
        "--manifests",
        nargs="+",
        metavar="PATH",
        help="manifests, or directories of them, that set the grace period of a stop "
        "(./deploy and ./docker-compose*.yml)",
    )
    return parser


def run(arguments: Namespace) -> int:
    """Run the command.

    Raises:
        UsageError: a manifest does not exist.
    """
    manifests = _manifests(arguments.manifests)
    boot = load_application(arguments.app)
    try:
        examination = examine(boot)
    except InvalidSecrets as exc:
        # A setting such as HIVE_BOOT_MODE is invalid, so nothing can be checked.
        if arguments.json:
            problems = [problem._asdict() for problem in exc.problems]
            check = {"ok": False, "problems": problems, "advice": list(exc.advice)}
            print_json({"ok": False, "check": check, **_facts([])})
        else:
            print_problems(exc)
        return exc.exit_code
    symptoms = run_checks(_patient(boot._plan, examination, manifests))  # noqa: SLF001  (ours)
    error = examination.error
    has_findings = any(symptom.severity != "remark" for symptom in symptoms)
    status = (EXIT_FAILURE if has_findings else 0) if error is None else error.exit_code
    if arguments.json:
        print_json({"ok": status == 0, "check": report_facts(examination), **_facts(symptoms)})
    else:
        # They are printed below as findings, with their fixes.
        examination.findings.warnings = []
        print_report(examination)
        _print_findings(symptoms)
    return status


def run_checks(patient: Patient) -> list[Symptom]:
    """Run all checks and return the findings, the most severe first."""
    symptoms: list[Symptom] = []
    for check in CHECKS:
        try:
            symptoms += check(patient)
        except OSError as exc:
            what = check.__name__.replace("_", " ")
            text = f"{what}: could not be checked ({os_error_text(exc).lower()})"
            symptoms.append(Symptom("remark", "not-examined", text, str(exc.filename or "")))
    return sorted(symptoms, key=lambda symptom: [*_STYLES].index(symptom.severity))


def _patient(plan: Plan, examination: Examination, manifests: Sequence[Path]) -> Patient:
    machine = Surroundings()
    return Patient(plan, examination.findings, machine, manifests, os.geteuid(), time.time())


def _manifests(named: Sequence[str] | None) -> list[Path]:
    """Return the manifests that were named, else those in the usual places.

    Raises:
        UsageError: one does not exist.
    """
    if named is None:
        return usual_manifests(Path())
    for path in named:
        if not Path(path).exists():
            message = f"--manifests: {path} does not exist"
            raise UsageError(message)
    return named_manifests(map(Path, named))


def _print_findings(symptoms: Sequence[Symptom]) -> None:
    print_line()
    if not symptoms:
        print_line(styled("Nothing was found that is likely to go wrong later.", "green"))
        return
    width = _WIDTH
    if is_terminal():
        width = min(shutil.get_terminal_size().columns, _WIDEST)
    for symptom in symptoms:
        style = _STYLES[symptom.severity]
        _print_row(symptom.severity, symptom.what, style, width)
        _print_row("where", symptom.where, "dim", width)
        _print_row("mend", symptom.mend, "dim", width)
        print_line()
    counts = _counts(symptoms)
    said = [counted(number, severity) for severity, number in counts.items() if number]
    print_line(styled(", ".join(said), "bold"))


def _print_row(label: str, text: str, style: str, width: int) -> None:
    if not text:
        return
    if label == "mend":
        # A command that is copied has to be whole.
        text = _COMMAND.sub(lambda match: match[0].replace(" ", _HARD_SPACE), text)
    lines = textwrap.wrap(
        text, max(width - _INDENT, _NARROWEST), break_long_words=False, break_on_hyphens=False
    )
    first, *others = (line.replace(_HARD_SPACE, " ") for line in lines)
    print_line(f"{styled(f'{label:>9}', style)}  {first}")
    for line in others:
        print_line(" " * _INDENT + line)


def _facts(symptoms: Sequence[Symptom]) -> dict[str, Any]:
    return {
        "findings": [symptom._asdict() for symptom in symptoms],
        "counts": _counts(symptoms),
    }


def _counts(symptoms: Sequence[Symptom]) -> dict[str, int]:
    found = [symptom.severity for symptom in symptoms]
    return {severity: found.count(severity) for severity in _STYLES}
