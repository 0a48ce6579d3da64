"""Subjects of the rotation benchmark, and their command lines."""

from __future__ import annotations

from benchmarks.comparison import Subject
from benchmarks.rotations.apps import __name__ as _apps

OURS = Subject(
    name="hive_boot", distributions=("hive_boot",), command=("-m", f"{_apps}.with_hive_boot")
)

SUBJECTS = (
    OURS,
    Subject(
        name="dynamic-config-py",
        distributions=("dynamic-config-py", "pydantic"),
        command=("-m", f"{_apps}.with_dynamic_config"),
    ),
    Subject(
        name="pydantic-settings",
        distributions=("pydantic-settings", "pydantic"),
        command=("-m", f"{_apps}.with_pydantic_settings"),
    ),
    Subject(name="dynaconf", distributions=("dynaconf",), command=("-m", f"{_apps}.with_dynaconf")),
    Subject(
        name="careful awatch loop",
        distributions=("watchfiles",),
        command=("-m", f"{_apps}.with_awatch", "careful"),
    ),
    Subject(
        name="plain awatch loop",
        distributions=("watchfiles",),
        command=("-m", f"{_apps}.with_awatch"),
    ),
)
