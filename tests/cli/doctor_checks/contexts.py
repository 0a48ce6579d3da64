"""Doctor contexts: an application and a machine whose file system is below a directory."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hive_boot import Bootstrap, Secret, SecretBytes, SecretSet, secret
from hive_boot.cli.doctor_checks import DoctorContext, Finding
from hive_boot.secrets.loader import load
from hive_boot.secrets.platform import HostEnvironment, detect
from tests.support import SETTLED


class Needs(SecretSet):
    """Secrets of the application."""

    api_key: Secret = secret(used_by="agents")
    jwt_secret: Secret | None = secret(accept_old_for=60, previous="JWT_SECRET_PREVIOUS")
    sentry_dsn: Secret | None = secret()
    keystore: SecretBytes | None = secret()


def context_of(  # noqa: PLR0913  (each argument is needed by some test)
    root: Path,
    environ: Mapping[str, str] | None = None,
    *,
    declared: type[SecretSet] = Needs,
    manifests: Iterable[Path] = (),
    pid: int = 4711,
    user_id: int | None = None,
    **options: Any,  # noqa: ANN401  (options of Bootstrap)
) -> DoctorContext:
    """Return the context of an application on a machine whose file system is ``root``."""
    boot = Bootstrap(declared, **options)
    host = HostEnvironment(
        environ=dict(environ or {}), root=str(root), cwd=str(root / "cwd"), pid=pid
    )
    declarations = boot._declaration
    field_index = declared._field_index
    source_context = detect(host, declarations.source_options)
    return DoctorContext(
        declarations=declarations,
        load_result=load(field_index, source_context, declaration="Needs", policy=SETTLED),
        host=host,
        manifests=tuple(manifests),
        user_id=os.geteuid() if user_id is None else user_id,
    )


def mounted(root: Path, **options: Any) -> DoctorContext:  # noqa: ANN401  (as for context_of)
    """Return the context of an application whose secrets are mounted at ``root/secrets``."""
    return context_of(root, secrets_dirs=root / "secrets", mode="docker", **options)


def write(file: Path, text: str = "fake-value", mode: int = 0o600) -> Path:
    """Write a file, and create its directories."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, newline="")
    file.chmod(mode)
    return file


def kinds(load_result: Iterable[Finding]) -> list[tuple[str, str]]:
    """Return severity and kind of each finding."""
    return [(finding.severity, finding.kind) for finding in load_result]
