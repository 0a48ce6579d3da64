"""``hive-boot check``: loads and validates as a start would, and starts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hive_boot.bootstrap.examining import Examination, examine
from hive_boot.cli.app_loader import load_application
from hive_boot.cli.arguments import Parser
from hive_boot.cli.output import Cell, print_json, print_line, print_table, styled
from hive_boot.exceptions import InvalidSecrets
from hive_boot.secrets.value import Secret, mask_secret

if TYPE_CHECKING:
    from argparse import Namespace

    from hive_boot.secrets.field import Field
    from hive_boot.secrets.findings import Findings
    from hive_boot.secrets.sources.reading import Value

_HEADERS = ("NAME", "REQUIRED", "SOURCE", "VALUE", "PROBLEM")


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    parser = Parser(
        "check",
        "Load and validate the secrets and settings as a start would; start nothing.\n"
        "Exit 0 when a start would go on, 78 when it would fail.",
        example="hive-boot check app:boot\nHIVE_BOOT_MODE=docker hive-boot check app:AppSecrets",
    )
    parser.add_app()
    parser.add_json()
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    boot = load_application(arguments.app)
    try:
        examination = examine(boot)
    except InvalidSecrets as exc:
        # A setting such as HIVE_BOOT_MODE is invalid, so nothing was read.
        if arguments.json:
            print_json({"ok": False, **_problems(exc)})
        else:
            print_problems(exc)
        return exc.exit_code
    if arguments.json:
        print_json(report_facts(examination))
    else:
        print_report(examination)
    return 0 if examination.error is None else examination.error.exit_code


def print_report(examination: Examination) -> None:
    """Print the table to stdout, and the problems to stderr."""
    findings, situation = examination.findings, examination.situation
    print_line(styled(findings.declaration, "bold"))
    print_line(f"  mode      {situation.mode} ({situation.mode_reason})")
    print_line(f"  profile   {situation.profile} ({situation.profile_reason})")
    print_line()
    print_table(_HEADERS, [_row(field, findings) for field in findings.inventory.every])
    if findings.warnings:
        print_line()
    for warning in findings.warnings:
        print_line(f"{styled('warning:', 'yellow')} {warning}")
    print_line()
    if examination.error is None:
        print_line(styled("A start would go on.", "green"))
    else:
        print_problems(examination.error)


def print_problems(error: InvalidSecrets) -> None:
    """Write to stderr the report of a failed start."""
    from hive_boot.bootstrap.process import tell  # noqa: PLC0415  (only for a failure)

    tell(error)


def report_facts(examination: Examination) -> dict[str, Any]:
    """Return the report for programs; it holds no value."""
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
