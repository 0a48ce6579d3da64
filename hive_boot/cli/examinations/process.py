"""How the process is started, and what it may use."""

from __future__ import annotations

import resource
from pathlib import PurePath
from typing import TYPE_CHECKING

from hive_boot.cli.examinations.patient import Symptom

if TYPE_CHECKING:
    from hive_boot.cli.examinations.patient import Patient

_SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "zsh"})

_DESCRIPTORS = 256
"""File descriptors that a small server needs: a connection takes one."""


def shell_as_the_first_process(patient: Patient) -> list[Symptom]:
    """Tell that the first process of the container is a shell, which hands no signal on."""
    if not patient.is_contained:
        return []
    words = patient.system_text("/proc/1/cmdline").rstrip("\0").split("\0")
    shell = PurePath(words[0]).name.lstrip("-")
    if shell not in _SHELLS or not _runs_something(words[1:]):
        return []
    return [
        Symptom(
            "warning",
            "pid-1",
            f"PID 1 is a shell ({shell}), which does not pass SIGTERM on: the service is not "
            "asked to stop, and is killed in the end, with its requests",
            "/proc/1/cmdline",
            'the form with brackets: CMD ["hive-boot", "run", "app:boot"]; in a script: exec',
        )
    ]


def limits(patient: Patient) -> list[Symptom]:  # noqa: ARG001  (all are asked alike)
    """Tell which limits of the process are too low, or too high."""
    symptoms = []
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _DESCRIPTORS:
        symptoms.append(
            Symptom(
                "warning",
                "few-descriptors",
                f"only {soft} files and connections may be open at once",
                "the limits of this process",
                "ulimit -n 1024 (LimitNOFILE=, or ulimits: nofile: in Compose)",
            )
        )
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    if soft != 0:
        symptoms.append(
            Symptom(
                "remark",
                "core-dump",
                "a crash of native code writes the memory, with all secrets, into a file",
                "the limits of this process",
                "ulimit -c 0 (LimitCORE=0, or ulimits: core: 0 in Compose)",
            )
        )
    return symptoms


def _runs_something(words: list[str]) -> bool:
    """Tell whether a shell was given a command or a script; else somebody types in it."""
    is_command = any(not word.startswith("-") for word in words)
    # This command itself, as a step before the service.
    return is_command and not any("doctor" in word for word in words)
