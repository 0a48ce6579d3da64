"""What is odd about mode, profile and declaration together."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli.examinations.patient import Symptom, counted, is_file, listed

if TYPE_CHECKING:
    from hive_boot.cli.examinations.patient import Patient


def odd_situation(patient: Patient) -> list[Symptom]:
    """Tell where mode and profile do not go with what is there."""
    return [*_in_a_container(patient), *_passed_over(patient), *_fallback(patient)]


def odd_declaration(patient: Patient) -> list[Symptom]:
    """Tell where the declaration asks for what will not happen."""
    plan = patient.plan
    symptoms = []
    if plan.probe_port is not None and find_spec("h11") is None:
        symptoms.append(
            Symptom(
                "error",
                "missing-package",
                "probe_port needs h11, which is not installed: a start will fail",
                mend="pip install 'hive_boot[probes]'",
            )
        )
    fields = patient.findings.inventory.fields.values()
    if plan.hooks and not plan.watch:
        symptoms.append(
            Symptom(
                "remark",
                "no-watch",
                f"{counted(len(plan.hooks), 'hook')} of on_rotate, and changed files are taken "
                "up only when asked: by SIGHUP, or boot.reload()",
                mend="Bootstrap(…, watch=True), if changes are to be seen by themselves",
            )
        )
    forgetful = [field.name for field in fields if field.grace and field.previous is None]
    if forgetful:
        symptoms.append(
            Symptom(
                "remark",
                "no-previous",
                f"{listed(forgetful)}: the value before is accepted for a while after a "
                "rotation, but a process that starts meanwhile does not know it",
                mend='secret(previous="…_PREVIOUS"), and put the old value there when rotating',
            )
        )
    return symptoms


def _in_a_container(patient: Patient) -> list[Symptom]:
    situation = patient.situation
    # Who says the profile development in a container means it.
    if situation.forgotten and situation.profile != "development":
        return [
            Symptom(
                "warning",
                "development-mode",
                "development mode in a container, where variables and .env files are read "
                f"({situation.mode_reason})",
                mend="mount the secrets at /run/secrets/<app>, or say HIVE_BOOT_MODE=environment",
            )
        ]
    if situation.profile == "development" and patient.is_contained:
        return [
            Symptom(
                "remark",
                "development-profile",
                "the profile development in a container: what only production requires may be "
                f"missing, and defaults are taken ({situation.profile_reason})",
                mend="unset HIVE_BOOT_PROFILE where this is not a machine for development",
            )
        ]
    return []


def _passed_over(patient: Patient) -> list[Symptom]:
    """Tell what is mounted where this mode does not look."""
    situation, inventory = patient.situation, patient.findings.inventory
    if situation.mounted:
        return []
    usual = Path(patient.surroundings.path("/run/secrets"))
    there = {inventory.by_file[name][1] for name in inventory.by_file if is_file(usual / name)}
    if not there:
        return []
    return [
        Symptom(
            "warning",
            "mount-not-read",
            f"{listed(there)}: mounted, and not read in the mode {situation.mode} "
            f"({situation.mode_reason})",
            str(usual),
            "unset HIVE_BOOT_MODE, so that the mount is found; or take the mount away",
        )
    ]


def _fallback(patient: Patient) -> list[Symptom]:
    """Tell which secrets a mounted mode has from the environment."""
    findings, situation = patient.findings, patient.situation
    if not situation.mounted or not situation.env_fallback:
        return []
    names = [
        findings.inventory.by_attribute[attribute].name
        for attribute in findings.values
        if findings.origin(attribute)[0] == "environment"
    ]
    text = f"{listed(names)}: from the environment, where every child process sees them"
    return [
        Symptom(
            "warning" if names else "remark",
            "env-fallback",
            text if names else "env_fallback is on, and nothing needs it",
            "the environment" if names else "",
            "mount them as files, and take env_fallback=True (HIVE_BOOT_ENV_FALLBACK) away",
        )
    ]
