"""Make patients: an application, on a machine whose file system begins somewhere."""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hive_boot import Bootstrap, Secret, SecretBytes, SecretSet, secret
from hive_boot.cli.examinations.patient import Patient, Symptom
from hive_boot.secrets.loading import load
from hive_boot.secrets.mode import detect
from hive_boot.secrets.surroundings import Surroundings
from tests.support import SETTLED


class Needs(SecretSet):
    """What the patients need."""

    api_key: Secret = secret(used_by="agents")
    jwt_secret: Secret | None = secret(grace=60, previous="JWT_SECRET_PREVIOUS")
    sentry_dsn: Secret | None = secret()
    keystore: SecretBytes | None = secret()


def patient_of(  # noqa: PLR0913  (each is asked for by some test)
    root: Path,
    environ: Mapping[str, str] | None = None,
    *,
    declared: type[SecretSet] = Needs,
    manifests: Iterable[Path] = (),
    pid: int = 4711,
    user: int | None = None,
    now: float | None = None,
    **options: Any,  # noqa: ANN401  (what Bootstrap takes)
) -> Patient:
    """Look at an application with what lies below ``root``."""
    boot = Bootstrap(declared, **options)
    machine = Surroundings(
        environ=dict(environ or {}), root=str(root), cwd=str(root / "cwd"), pid=pid
    )
    plan = boot._plan  # noqa: SLF001  (as the command does)
    inventory = declared._inventory  # noqa: SLF001  (as the command does)
    found = load(inventory, detect(machine, plan.wishes), declaration="Needs", patience=SETTLED)
    return Patient(
        plan,
        found,
        machine,
        tuple(manifests),
        os.geteuid() if user is None else user,
        time.time() if now is None else now,
    )


def mounted(root: Path, **options: Any) -> Patient:  # noqa: ANN401  (as for patient_of)
    """Look at an application whose secrets are mounted at ``secrets`` below ``root``."""
    return patient_of(root, secrets_dirs=root / "secrets", mode="docker", **options)


def write(file: Path, text: str = "fake-value", mode: int = 0o600) -> Path:
    """Write a file that the owner alone may read, with its directories."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    return file


def kinds(symptoms: Iterable[Symptom]) -> list[tuple[str, str]]:
    """Give how bad each symptom is, and what it is."""
    return [(symptom.severity, symptom.kind) for symptom in symptoms]
