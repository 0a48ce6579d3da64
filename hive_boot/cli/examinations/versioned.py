"""Whether git has the files of secrets, or would take them.

What is asked of git changes nothing, and it is given neither a secret nor a program to run.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli.examinations.patient import Symptom, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hive_boot.cli.examinations.patient import Patient

_SYSTEM = ("/run", "/proc", "/dev", "/sys")
"""Where nobody has a repository."""

_HANDED_ON = ("HOME", "PATH", "XDG_CONFIG_HOME")

_SECONDS = 10.0


def files_in_git(patient: Patient) -> list[Symptom]:
    """Tell which files git tracks, and which it does not ignore."""
    git = shutil.which("git")
    if git is None:
        return []
    places: dict[Path, list[str]] = {}
    for path in [*patient.dotenv_files, *(file.path for file in patient.secret_files)]:
        if not any(path.is_relative_to(system) for system in _SYSTEM):
            places.setdefault(path.parent, []).append(path.name)
    symptoms = []
    for above, names in places.items():
        tracked = _named(git, above, ["--literal-pathspecs", "ls-files", "-z", "--", *names])
        if tracked is None:
            continue
        if tracked:
            symptoms.append(_tracked(above, tracked))
        others = [name for name in names if name not in tracked]
        ignored = _named(git, above, ["check-ignore", "-z", "--stdin"], others) if others else []
        if ignored is not None and (open_ := sorted(set(others) - set(ignored))):
            symptoms.append(_not_ignored(above, open_))
    return symptoms


def _named(
    git: str, above: Path, arguments: Sequence[str], asked: Sequence[str] = ()
) -> list[str] | None:
    """Give the names that git answers with; None when it cannot tell.

    Args:
        git: the program.
        above: where it works.
        arguments: what it is to do.
        asked: the names that it reads from stdin.
    """
    environment = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    quiet = ["-c", "core.fsmonitor=false"]
    try:
        done = subprocess.run(  # noqa: S603  (git itself, and names of files)
            [git, *quiet, "-C", str(above), *arguments],
            env=environment | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            input="\0".join(asked).encode("utf-8", "surrogateescape"),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    # 1 is "none of them"; 128 is no repository, or one that git does not trust.
    if done.returncode not in {0, 1}:
        return None
    return [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]


def _tracked(above: Path, names: Sequence[str]) -> Symptom:
    return Symptom(
        "warning",
        "tracked-by-git",
        "git tracks what holds secrets: whoever has the repository has them, for ever, in its "
        "history",
        f"{above}: {listed(names)}",
        f"git -C {shlex.quote(str(above))} rm --cached {shlex.join(names)}; add a line to "
        ".gitignore; then rotate the values",
    )


def _not_ignored(above: Path, names: Sequence[str]) -> Symptom:
    what = names[0] if len(names) == 1 else f"{Path(above).name}/"
    return Symptom(
        "warning",
        "not-ignored-by-git",
        "git does not ignore what holds secrets: the next `git add .` takes it",
        f"{above}: {listed(names)}",
        f"add a line {what} to the .gitignore of the repository",
    )
