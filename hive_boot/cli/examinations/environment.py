"""What else the environment says, and to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hive_boot.cli.examinations.patient import Symptom, listed

if TYPE_CHECKING:
    from hive_boot.cli.examinations.patient import Patient


def environment_of_the_container(patient: Patient) -> list[Symptom]:
    """Tell what the first process of a container was started with, and this one was not.

    That is what ``docker inspect`` shows, and what ``docker exec`` hands on; a process that
    was started by an entry point may have lost it.
    """
    if not patient.situation.mounted or not patient.is_contained:
        return []
    text = patient.system_text("/proc/1/environ")
    ours = patient.situation.variables()
    named = {name for name, _, held in (it.partition("=") for it in text.split("\0")) if held}
    known = patient.findings.inventory.by_variable.keys()
    copies = {name for name in named & known if not ours.get(name)}
    if not copies:
        return []
    return [
        Symptom(
            "warning",
            "environment-copy",
            f"{listed(copies)}: mounted here, and given to PID 1 in its environment as well, "
            "where `docker inspect` and every child process see it",
            "/proc/1/environ",
            "take the variables out of the manifest, and rotate what they held",
        )
    ]
