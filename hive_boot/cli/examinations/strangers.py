"""What lies beside the secrets, and is read by nobody.

Only a name that is made like one that is declared is ever shown: any other may itself be a
secret.
"""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli.examinations.patient import Symptom, counted, listed
from hive_boot.secrets.hints import near_misses
from hive_boot.secrets.mode import FOREIGN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from hive_boot.cli.examinations.patient import Patient
    from hive_boot.secrets.sources.mounted import Reading

_LEFTOVER = re.compile(
    r"(?P<before>[.#]?)(?P<stem>.+?)"
    r"(?:~|#|[._-](?:bak|backup|copy|old|orig|prev|previous|save|sw[a-p]|tmp|\d{8,}[\dTZ]*))+",
    re.IGNORECASE,
)
"""How editors and people call what they put aside."""


def leftovers(patient: Patient) -> list[Symptom]:
    """Tell what editors and people have put aside: it may hold a value that is still valid."""
    found = []
    for reading in patient.findings.readings:
        above = Path(reading.path)
        found += [above / name for name in _left(_others(reading, patient), _files(patient))]
    for above, names in _by_directory(map(Path, patient.situation.dotenv)).items():
        listing: list[str] = []
        with suppress(OSError):
            listing = [entry.name for entry in above.iterdir()]
        found += [above / name for name in _left(listing, names)]
    return [
        Symptom(
            "warning",
            "leftover",
            "a copy that an editor, a person or a backup has put aside: nothing reads it, and it "
            "may hold a value that still opens something",
            str(path),
            f"rm {shlex.quote(str(path))}",
        )
        for path in sorted(found)
    ]


def near_names(patient: Patient) -> list[Symptom]:
    """Tell which name somebody may have meant for an optional secret that is absent."""
    inventory, situation = patient.findings.inventory, patient.situation
    symptoms = []
    known = inventory.by_variable.keys() | inventory.by_pointer.keys()
    for field in inventory.every:
        if field.attribute in patient.findings.values or field.required_for(situation.profile):
            continue
        mend = f"rename it to {field.file or field.name.lower()}, if {field.name} was meant"
        symptoms += [
            Symptom(
                "warning",
                "near-miss",
                f"{field.name}, which is optional, is absent, and a name like it is read by nobody",
                str(Path(reading.path, name)),
                mend,
            )
            for reading in patient.findings.readings
            for name in near_misses(field, _unclaimed(reading, patient))
        ]
        if not situation.mounted:
            symptoms += [
                Symptom(
                    "warning",
                    "near-miss",
                    f"{field.name}, which is optional, is absent, and a name like it is read by "
                    "nobody",
                    f"the variable {name}",
                    f"rename it to {field.name}, if that was meant",
                )
                for name in near_misses(field, patient.findings.names - known)
            ]
    return symptoms


def unknown_files(patient: Patient) -> list[Symptom]:
    """Count what is mounted beside the secrets, and declared by nobody."""
    symptoms = []
    fields = patient.findings.inventory.every
    for reading in patient.findings.readings:
        others = _unclaimed(reading, patient)
        near = {name for field in fields for name in near_misses(field, others)}
        if not others:
            continue
        named = f" ({listed(near)} among them)" if near else ""
        symptoms.append(
            Symptom(
                "remark",
                "undeclared",
                f"{counted(len(others), 'more entry').replace('entrys', 'entries')} that no "
                f"secret is declared for{named}",
                reading.path,
                "mount only what the service declares: what it cannot read it cannot lose",
            )
        )
    return symptoms


def links_that_lead_out(patient: Patient) -> list[Symptom]:
    """Tell which files of secrets really lie somewhere else."""
    symptoms = []
    for reading in patient.findings.readings:
        base = Path(reading.path)
        root = base.resolve()
        if base.is_symlink():
            symptoms.append(_link("a directory of secrets is a link", f"{base} -> {root}"))
        inside = Path(reading.path, "..data" if reading.volume else "")
        out = {
            f"{inside / name} -> {real}"
            for name in reading.batch.files.values()
            if not (real := (inside / name).resolve()).is_relative_to(root)
        }
        symptoms += [
            _link("a secret's file is a link that leads out of its directory", it)
            for it in sorted(out)
        ]
    return symptoms


def _link(what: str, where: str) -> Symptom:
    mend = "nothing, if you made it so (NixOS and sops do); who may write there may change it"
    return Symptom("remark", "link", what, where, mend)


def _others(reading: Reading, patient: Patient) -> set[str]:
    """Give the names in a directory that are neither declared nor the platform's."""
    inventory = patient.findings.inventory
    declared = {name.partition("/")[0] for name in inventory.by_file}
    below = {Path(each.path).name for each in patient.findings.readings if each is not reading}
    return {name for name in set(reading.names) - declared - FOREIGN - below if name[:2] != ".."}


def _unclaimed(reading: Reading, patient: Patient) -> set[str]:
    others = _others(reading, patient)
    return others - set(_left(others, _files(patient)))


def _files(patient: Patient) -> Collection[str]:
    return patient.findings.inventory.by_file.keys()


def _left(names: Iterable[str], bases: Collection[str]) -> list[str]:
    """Give the names that somebody made of one of ``bases``."""
    found = []
    for name in names:
        if name in bases or not (match := _LEFTOVER.fullmatch(name)):
            continue
        # The dot may be the editor's, or that of .env itself.
        if {match["stem"], match["before"] + match["stem"]}.intersection(bases):
            found.append(name)
    return found


def _by_directory(paths: Iterable[Path]) -> dict[Path, list[str]]:
    found: dict[Path, list[str]] = {}
    for path in paths:
        found.setdefault(path.parent, []).append(path.name)
    return found
