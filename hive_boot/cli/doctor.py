"""Doctor command: findings about secrets and settings that are likely to fail later.

A check is a generator that examines one subject and starts nothing. The order of the checks
is the order in which findings of the same severity are reported.
"""

from __future__ import annotations

import os
import re
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hive_boot.cli import (
    EXIT_FAILURE,
    Cell,
    Parser,
    UsageError,
    os_error_text,
    pluralize,
    print_json,
    print_line,
)
from hive_boot.cli.app_loader import load_application
from hive_boot.cli.check import print_report, problem_facts, report_facts
from hive_boot.cli.doctor_checks import DoctorContext, Finding, configuration, files, grace_period
from hive_boot.cli.doctor_checks.grace_period import expand_manifests, find_manifests
from hive_boot.exceptions import InvalidSecretsError
from hive_boot.secrets.platform import HostEnvironment

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterable, Sequence

    from hive_boot.cli.doctor_checks import Severity

CHECKS: tuple[Callable[[DoctorContext], Iterable[Finding]], ...] = (
    files.mounted_files,
    files.secrets_in_image,
    files.secrets_tracked_by_git,
    files.writable_by_others,
    files.readable_by_others,
    files.owned_by_others,
    configuration.container_env_copies,
    configuration.load_warnings,
    configuration.stray_characters,
    configuration.ordinary_words,
    configuration.near_names,
    files.watch_limits,
    files.file_systems_without_events,
    grace_period.short_grace_period,
    configuration.platform_mismatch,
    configuration.used_env_fallback,
    configuration.hooks_without_watch,
    configuration.resources_on_old_values,
)

_STYLES: dict[Severity, str] = {"error": "red", "warning": "yellow", "note": "dim"}

_WIDTH = 80

_COMMAND = re.compile(r"`[^`]+`")
_HARD_SPACE = "\N{NO-BREAK SPACE}"


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    parser = Parser(
        "doctor",
        "Check, and report what is likely to fail later; start nothing.\n"
        "Exit 0 without findings (notes are allowed), 1 with warnings or errors,\n"
        "78 when a start would fail.\n\n"
        "For keys in a repository use gitleaks or trufflehog, for the rest of the\n"
        "manifests kube-linter or checkov, for Dockerfiles hadolint.",
        example="hive-boot doctor app:boot\nhive-boot doctor app:boot --manifests deploy/k8s",
    )
    # APP comes first: after --manifests, argparse would parse it as another PATH.
    parser.usage = "hive-boot doctor APP [--json] [--manifests PATH …]"
    parser.add_app()
    parser.add_json()
    parser.add_argument(
        "--manifests",
        nargs="+",
        metavar="PATH",
        help="manifests, or directories of them, whose grace period is compared with the "
        "shutdown (default: ./deploy, ./docker-compose*.yml and ./compose*.yml)",
    )
    return parser


def run(arguments: Namespace) -> int:
    """Run the command and return its exit status.

    Raises:
        UsageError: a manifest does not exist, or is not accessible.
        InvalidSecretsError: no source was read, because HIVE_BOOT_MODE or another setting is
            invalid.
    """
    manifests = _manifests(arguments.manifests)
    boot = load_application(arguments.app)
    try:
        result = boot._dry_run(ask=False)
    except InvalidSecretsError as exc:
        if not arguments.json:
            raise
        print_json({"ok": False, "check": {"ok": False, **problem_facts(exc)}, **_as_json([])})
        return exc.exit_code
    context = DoctorContext(
        declarations=boot._declaration,
        load_result=result.load_result,
        host=HostEnvironment(),
        manifests=manifests,
        user_id=os.geteuid(),
        rebuilds={name: each.fields for name, each in result.rebuilds.items()},
    )
    findings = [finding for check in CHECKS for finding in check(context)]
    findings.sort(key=lambda finding: [*_STYLES].index(finding.severity))
    status = EXIT_FAILURE if any(each.severity != "note" for each in findings) else 0
    if result.error is not None:
        status = result.error.exit_code
    if arguments.json:
        print_json({"ok": status == 0, "check": report_facts(result), **_as_json(findings)})
    else:
        # The warnings are among the findings, with their fixes.
        print_report(result, show_warnings=False)
        _print_findings(findings)
    return status


def _manifests(paths: Sequence[str] | None) -> list[Path]:
    """Return the manifests at the given paths, or those in the default locations.

    Raises:
        UsageError: a path does not exist, or is not accessible.
    """
    if paths is None:
        return find_manifests(Path())
    for path in paths:
        try:
            Path(path).stat()
        except OSError as exc:
            raise UsageError(f"--manifests: {path}: {os_error_text(exc)}") from None
    return expand_manifests(map(Path, paths))


def _print_findings(findings: Sequence[Finding]) -> None:
    print_line()
    if not findings:
        print_line(Cell("No further findings.", "green"))
        return
    for finding in findings:
        label = f"{finding.severity}:"
        lines = _wrapped(f"{label} {finding.message} [{finding.kind}]", indent="  ")
        print_line(Cell(label, _STYLES[finding.severity]), lines[0].removeprefix(label))
        for line in lines[1:]:
            print_line(line)
        for location in finding.locations:
            # Paths are not wrapped, so that they can be copied.
            print_line(Cell(f"  Location: {location}", "dim"))
        if finding.fix:
            for line in _wrapped(f"  Fix: {finding.fix}", indent="    "):
                print_line(Cell(line, "dim"))
        print_line()
    counts = _counts(findings).items()
    total = [pluralize(number, severity) for severity, number in counts if number]
    print_line(Cell(", ".join(total), "bold"))


def _wrapped(text: str, *, indent: str) -> list[str]:
    """Wrap a text. A command in backquotes stays on one line, so that it can be copied."""
    text = _COMMAND.sub(lambda match: match[0].replace(" ", _HARD_SPACE), text)
    lines = textwrap.wrap(
        text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(_HARD_SPACE, " ") for line in lines]


def _as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    return {"findings": [asdict(finding) for finding in findings], "counts": _counts(findings)}


def _counts(findings: Sequence[Finding]) -> dict[str, int]:
    severities = [finding.severity for finding in findings]
    return {severity: severities.count(severity) for severity in _STYLES}
