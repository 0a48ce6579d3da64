"""What ``check`` has noticed, with what mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hive_boot.cli.examinations.patient import Severity, Symptom
from hive_boot.redaction.matching import SHORTEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hive_boot.cli.examinations.patient import Patient

_KNOWN: Sequence[tuple[str, Severity, str, str]] = (
    (
        "Too short to be taken out of logs",
        "warning",
        "short-value",
        f"rotate to values of {SHORTEST} characters or more; inside a URL, the password counts",
    ),
    (
        "is a file and also a variable",
        "warning",
        "environment-copy",
        "take the variable out of the manifest, the unit or the shell that starts the service",
    ),
    (
        "means nothing: set it in the environment",
        "warning",
        "dotenv-setting",
        "take the line out of the file, and export the variable where the service is started",
    ),
    (
        "Development defaults are in use",
        "remark",
        "development-default",
        "nothing, on a machine for development: other profiles refuse these values",
    ),
    (
        "is empty in",
        "warning",
        "empty",
        "write the value into it, or remove it: a half-written file looks like this too",
    ),
)


def warnings_of_the_check(patient: Patient) -> list[Symptom]:
    """Take over each warning of the check."""
    return [_with_mend(text) for text in patient.findings.warnings]


def _with_mend(text: str) -> Symptom:
    for phrase, severity, kind, mend in _KNOWN:
        if phrase in text:
            return Symptom(severity, kind, text, mend=mend)
    return Symptom("warning", "check", text)
