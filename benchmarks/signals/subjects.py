"""Subjects of the signal benchmark, and their command lines."""

from __future__ import annotations

from benchmarks.comparison import Subject
from benchmarks.signals.apps import __name__ as _apps

OURS = Subject(
    name="hive_boot",
    distributions=("hive_boot",),
    command=("-m", "hive_boot", "run", "-m", f"{_apps}.with_hive_boot"),
)

SUBJECTS = (
    OURS,
    Subject(
        name="asphalt",
        distributions=("asphalt", "asphalt-web"),
        command=("-m", f"{_apps}.with_asphalt"),
    ),
    Subject(
        name="aiomisc",
        distributions=("aiomisc",),
        command=("-m", f"{_apps}.with_aiomisc"),
    ),
    Subject(
        name="uvicorn",
        distributions=("uvicorn", "starlette"),
        command=(
            *("-m", "uvicorn", f"{_apps}.with_starlette:app", "--port", "{port}"),
            *("--timeout-graceful-shutdown", "5", "--no-use-colors"),
        ),
    ),
    Subject(
        name="hypercorn",
        distributions=("hypercorn", "starlette"),
        command=(
            *("-m", "hypercorn", f"{_apps}.with_starlette:app"),
            *("--config", f"python:{_apps}.hypercorn_settings"),
        ),
    ),
)
