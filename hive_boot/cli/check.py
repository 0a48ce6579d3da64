"""Check command: loads and checks secrets and settings as a start does, and starts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hive_boot.cli import Cell, Parser, pluralize, print_json, print_line, print_table
from hive_boot.cli.app_loader import load_application
from hive_boot.exceptions import InvalidSecretsError, ProblemsError
from hive_boot.runtime.log_messages import warning_text
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from argparse import Namespace

    from hive_boot.runtime.loaded import DryRunResult
    from hive_boot.secrets.fields import Field
    from hive_boot.secrets.load_result import LoadResult

_HEADERS = ("NAME", "REQUIRED", "SOURCE", "LENGTH", "PROBLEM")


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    parser = Parser(
        "check",
        "Load and check the secrets and settings as a start would; start nothing.\n"
        "The exit status is 0 if a start would accept them, 78 if not, and 75 if\n"
        "something outside could not be reached and nothing else is wrong.",
        example="hive-boot check app:boot\nHIVE_BOOT_MODE=docker hive-boot check app:AppSecrets",
    )
    parser.add_app()
    parser.add_json()
    return parser


def run(arguments: Namespace) -> int:
    """Run the command and return its exit status.

    Raises:
        InvalidSecretsError: no source was read, because HIVE_BOOT_MODE or another setting is
            invalid.
    """
    boot = load_application(arguments.app)
    try:
        result = boot._dry_run()
    except InvalidSecretsError as exc:
        if not arguments.json:
            raise
        print_json({"ok": False, **problem_facts(exc)})
        return exc.exit_code
    if arguments.json:
        print_json(report_facts(result))
    else:
        print_report(result)
    return 0 if result.error is None else result.error.exit_code


def print_report(result: DryRunResult, *, show_warnings: bool = True) -> None:
    """Print the table and the warnings to stdout, and the problems to stderr.

    Args:
        result: the result of the dry run.
        show_warnings: whether to print the warnings. Default True.
    """
    load_result, source_context = result.load_result, result.load_result.source_context
    print_line(Cell(load_result.declaration, "bold"))
    print_line(f"  mode      {source_context.mode} ({source_context.mode_reason})")
    print_line(f"  profile   {source_context.profile} ({source_context.profile_reason})")
    version, reason = _version(load_result)
    if version is not None:
        print_line(f"  version   {version or 'unknown'}{f' ({reason})' if reason else ''}")
    print_line()
    print_table(
        _HEADERS, [_row(field, load_result) for field in load_result.field_index.all_fields]
    )
    warnings = load_result.warnings if show_warnings else ()
    if warnings:
        print_line()
    for warning in warnings:
        print_line(Cell("warning:", "yellow"), f" {warning_text(warning)}")
    print_line()
    if result.error is None:
        print_line(Cell("Secrets and settings are valid.", "green"))
    else:
        from hive_boot.runtime.process import report_boot_error  # only for a failure

        report_boot_error(result.error)


def report_facts(result: DryRunResult) -> dict[str, Any]:
    """Return the report of ``--json``. It contains the lengths of the values."""
    load_result, source_context = result.load_result, result.load_result.source_context
    version, version_reason = _version(load_result)
    return {
        "ok": result.error is None,
        "declaration": load_result.declaration,
        "mode": source_context.mode,
        "mode_reason": source_context.mode_reason,
        "profile": source_context.profile,
        "profile_reason": source_context.profile_reason,
        "secrets_version": version,
        "secrets_version_reason": version_reason,
        "directories": list(source_context.directories),
        "secrets": [_facts(field, load_result) for field in load_result.field_index.all_fields],
        "warnings": [warning_text(warning) for warning in load_result.warnings],
        **problem_facts(result.error),
    }


def problem_facts(error: ProblemsError | None) -> dict[str, Any]:
    """Return the problems of a dry run, as for ``--json``."""
    if error is None:
        return {"problems": [], "advice": []}
    return {
        "problems": [problem.as_dict() for problem in error.problems],
        "advice": list(error.general_hints),
    }


def _version(load_result: LoadResult) -> tuple[str | None, str]:
    """Return the version of the secrets, and why it is unknown.

    The version is None if none is declared, and empty if it is unknown. The reason is empty if the
    profile does not require a version.
    """
    if not load_result.field_index.version:
        return None, ""
    reasons = [each.location for each in load_result.warnings if each.kind == "version"]
    return load_result.version, "".join(reasons)


def _facts(field: Field, load_result: LoadResult) -> dict[str, Any]:
    value = load_result.values.get(field.attribute)
    source, location = load_result.origin(field.attribute) if value is not None else ("", "")
    required = field.required_for(load_result.source_context.profile)
    kinds = [problem.kind for problem in load_result.problems if problem.name == field.name]
    warnings = [each for each in load_result.warnings if field.name in each.names]
    if required and value is None and not any(each.kind == "not-asked" for each in warnings):
        # The reason may be the problem of a source or a file instead of this secret.
        kinds = kinds or ["missing"]
    return {
        "name": field.name,
        "attribute": field.attribute,
        "required": required,
        "present": value is not None,
        "source": source,
        "place": location,
        "length": None if value is None else len(value.reveal()),
        "used_by": field.used_by,
        "problems": list(dict.fromkeys(kinds)),
    }


def _row(field: Field, load_result: LoadResult) -> list[Cell]:
    facts = _facts(field, load_result)
    source, length, kinds = facts["source"], facts["length"], facts["problems"]
    unit = "character" if field.kind is Secret else "byte"
    return [
        Cell(field.name, "bold"),
        Cell("yes") if facts["required"] else Cell("no", "dim"),
        Cell(facts["place"] if source == "source" else source or "-", "" if source else "dim"),
        Cell("-", "dim") if length is None else Cell(pluralize(length, unit)),
        Cell(", ".join(kinds) or "-", "red" if kinds else "dim"),
    ]
