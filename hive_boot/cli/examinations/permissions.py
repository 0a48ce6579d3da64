"""Who else may read the files of secrets, or change them.

Only bits are looked at: what they allow holds for everybody but root.
"""

from __future__ import annotations

import shlex
import stat
from typing import TYPE_CHECKING

from hive_boot.cli.examinations.patient import Symptom, counted, listed, status_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hive_boot.cli.examinations.patient import Patient


def files_that_others_may_read(patient: Patient) -> list[Symptom]:
    """Tell which files every user may read; one finding for those of a directory."""
    found = _alike([file.path for file in patient.secret_files], stat.S_IROTH)
    symptoms = [
        Symptom(
            "remark" if patient.is_contained else "warning",
            "readable-file",
            f"{counted(len(files), 'file')} may be read by every user of this "
            f"{_machine(patient)} (mode {mode:04o})",
            f"{above}: {listed(file.name for file in files)}",
            _mend_reading(patient, above),
        )
        for (above, mode), files in found.items()
    ]
    dotenv = _alike(patient.dotenv_files, stat.S_IROTH)
    return symptoms + [
        Symptom(
            "warning",
            "readable-file",
            f"a .env file may be read by every user of this {_machine(patient)} (mode {mode:04o})",
            str(file),
            f"chmod 600 {shlex.quote(str(file))}",
        )
        for (_, mode), files in dotenv.items()
        for file in files
    ]


def files_that_others_may_write(patient: Patient) -> list[Symptom]:
    """Tell where every user could put a secret of his own."""
    paths = [*(file.path for file in patient.secret_files), *patient.dotenv_files]
    symptoms = [
        Symptom(
            "warning",
            "writable-file",
            f"a file of secrets may be written by every user (mode {mode:04o})",
            str(file),
            f"chmod o-w {shlex.quote(str(file))}",
        )
        for (_, mode), files in _alike(paths, stat.S_IWOTH).items()
        for file in files
    ]
    for above in sorted({path.parent for path in paths}):
        mode = _mode(above)
        # In a sticky directory, as the kubelet's volumes are, nobody replaces others' files.
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            symptoms.append(
                Symptom(
                    "warning",
                    "writable-directory",
                    f"every user may replace the files of a directory (mode {mode:04o})",
                    str(above),
                    f"chmod o-w {shlex.quote(str(above))}",
                )
            )
    return symptoms


def files_of_others(patient: Patient) -> list[Symptom]:
    """Tell which files belong to somebody who is neither root nor who asks."""
    # A mount keeps the host's numbers, and who is root asks for somebody else.
    if patient.is_contained or patient.user == 0:
        return []
    paths = [*(file.path for file in patient.secret_files), *patient.dotenv_files]
    symptoms = []
    for path in paths:
        status = status_of(path)
        if status is not None and status.st_uid not in {0, patient.user}:
            symptoms.append(
                Symptom(
                    "warning",
                    "foreign-file",
                    f"a file of secrets belongs to the user {_user(status.st_uid)}, who may "
                    "change it at any time",
                    str(path),
                    f"sudo chown {_user(patient.user)} {shlex.quote(str(path))}",
                )
            )
    return symptoms


def _alike(paths: Iterable[Path], bit: int) -> dict[tuple[Path, int], list[Path]]:
    """Give the files that ``bit`` is set for and others get to, by directory and mode."""
    found: dict[tuple[Path, int], list[Path]] = {}
    reached: dict[Path, bool] = {}
    for path in paths:
        mode = _mode(path)
        if not mode & bit:
            continue
        real = path.resolve().parent
        if real not in reached:
            reached[real] = all(_mode(each) & stat.S_IXOTH for each in [real, *real.parents])
        if reached[real]:
            found.setdefault((path.parent, mode), []).append(path)
    return found


def _mend_reading(patient: Patient, above: Path) -> str:
    if patient.situation.mode == "kubernetes":
        return "in the volume: defaultMode: 0400, with fsGroup in the pod's securityContext"
    if patient.is_contained:
        return "nothing, if one user runs all of it; Swarm takes mode: 0400 and uid: in secrets:"
    # The files keep their bits, because a bind mount into a container carries them.
    return f"chmod 700 {shlex.quote(str(above))}"


def _machine(patient: Patient) -> str:
    return "container" if patient.is_contained else "machine"


def _mode(path: Path) -> int:
    status = status_of(path)
    return 0 if status is None else stat.S_IMODE(status.st_mode)


def _user(number: int) -> str:
    import pwd  # noqa: PLC0415  (few files are somebody else's)

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
