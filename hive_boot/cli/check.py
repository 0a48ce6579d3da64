"""``hive-boot check``: judge as a start would, show what was found, start nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hive_boot.bootstrap.examining import Examination, examine
from hive_boot.cli.applications import find
from hive_boot.cli.showing import Cell, answer, painted, say, show_table
from hive_boot.cli.usage import Parser
from hive_boot.exceptions import InvalidSecrets
from hive_boot.secrets.value import Secret, mask_secret

if TYPE_CHECKING:
    from argparse import Namespace

    from hive_boot.secrets.field import Field
    from hive_boot.secrets.findings import Findings
    from hive_boot.secrets.sources.reading import Value

_HEADERS = ("NAME", "REQUIRED", "SOURCE", "VALUE", "PROBLEM")


def parser() -> Parser:
    """Give what it takes."""
    parser = Parser(
        "check",
        "Judge the secrets and settings as a start would, and start nothing.\n"
        "Exit 0 when a start would go on, 78 when it would not.",
        example="hive-boot check app:boot\nHIVE_BOOT_MODE=docker hive-boot check app:AppSecrets",
    )
    parser.takes_app()
    parser.takes_json()
    return parser


def run(arguments: Namespace) -> int:
    """Do it."""
    boot = find(arguments.app)
    try:
        examination = examine(boot)
    except InvalidSecrets as exc:
        # Where to look is not known, so nothing was read.
        if arguments.json:
            answer({"ok": False, **_problems(exc)})
        else:
            report(exc)
        return exc.exit_code
    if arguments.json:
        answer(facts_of(examination))
    else:
        show(examination)
    return 0 if examination.error is None else examination.error.exit_code


def show(examination: Examination) -> None:
    """Show a person what was found: the table on stdout, the report on stderr."""
    findings, situation = examination.findings, examination.situation
    say(painted(findings.declaration, "bold"))
    say(f"  mode      {situation.mode} ({situation.mode_reason})")
    say(f"  profile   {situation.profile} ({situation.profile_reason})")
    say()
    show_table(_HEADERS, [_row(field, findings) for field in findings.inventory.every])
    if findings.warnings:
        say()
    for warning in findings.warnings:
        say(f"{painted('warning:', 'yellow')} {warning}")
    say()
    if examination.error is None:
        say(painted("A start would go on.", "green"))
    else:
        report(examination.error)


def report(error: InvalidSecrets) -> None:
    """Write to stderr what a start would end with."""
    from hive_boot.bootstrap.process import tell  # noqa: PLC0415  (only a failure needs it)

    tell(error)


def facts_of(examination: Examination) -> dict[str, Any]:
    """Give what was found, for programs: never a value."""
    findings, situation = examination.findings, examination.situation
    return {
        "ok": examination.error is None,
        "declaration": findings.declaration,
        "mode": situation.mode,
        "mode_reason": situation.mode_reason,
        "profile": situation.profile,
        "profile_reason": situation.profile_reason,
        "directories": list(situation.directories),
        "secrets": [_facts(field, findings) for field in findings.inventory.every],
        "warnings": findings.warnings,
        **_problems(examination.error),
    }


def _problems(error: InvalidSecrets | None) -> dict[str, Any]:
    if error is None:
        return {"problems": [], "advice": []}
    return {
        "problems": [problem._asdict() for problem in error.problems],
        "advice": list(error.advice),
    }


def _facts(field: Field, findings: Findings) -> dict[str, Any]:
    value = findings.values.get(field.attribute)
    source, place = findings.origin(field.attribute) if value is not None else ("", "")
    return {
        "name": field.name,
        "attribute": field.attribute,
        "required": field.required_for(findings.situation.profile),
        "present": value is not None,
        "source": source,
        "place": place,
        "masked": _masked(value),
        "used_by": field.used_by,
        "problems": _kinds(field, findings),
    }


def _row(field: Field, findings: Findings) -> list[Cell]:
    value = findings.values.get(field.attribute)
    source = findings.origin(field.attribute)[0] if value is not None else ""
    required = field.required_for(findings.situation.profile)
    kinds = _kinds(field, findings)
    return [
        Cell(field.name, "bold"),
        Cell("yes" if required else "no", "" if required else "dim"),
        Cell(source or "-", "" if source else "dim"),
        Cell(_masked(value) or "-", "" if value is not None else "dim"),
        Cell(", ".join(kinds) or "-", "red" if kinds else "dim"),
    ]


def _kinds(field: Field, findings: Findings) -> list[str]:
    found = [problem.kind for problem in findings.problems if problem.name == field.name]
    return list(dict.fromkeys(found))


def _masked(value: Value | None) -> str:
    if value is None:
        return ""
    return mask_secret(value.reveal()) if isinstance(value, Secret) else "***"
