"""Whether the clock can be right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import hive_boot
from hive_boot.cli.examinations.patient import Symptom, status_of

if TYPE_CHECKING:
    from hive_boot.cli.examinations.patient import Patient

_SLACK = 5.0
"""Seconds that the clocks of two machines may differ without anybody's minding."""


def clock_behind(patient: Patient) -> list[Symptom]:
    """Tell that the clock is behind a file that was written already.

    The time of the last change (ctime) cannot be set by anybody, so it is the clock of the
    machine that wrote it; of the package itself it is the time of its installation.
    """
    paths = [file.path for file in patient.secret_files]
    paths += [*patient.dotenv_files, Path(hive_boot.__file__)]
    stamps = {path: status.st_ctime for path in paths if (status := status_of(path)) is not None}
    newest = max(stamps, key=stamps.__getitem__, default=None)
    if newest is None or stamps[newest] <= patient.now + _SLACK:
        return []
    behind = stamps[newest] - patient.now
    return [
        Symptom(
            "warning",
            "clock",
            f"a file was last changed {_duration(behind)} from now, so the clock is behind: "
            "tokens are refused or live too long, certificates are not valid yet",
            str(newest),
            "set the clock of the host (timedatectl set-ntp true)",
        )
    ]


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
