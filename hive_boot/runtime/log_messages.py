"""Log of a run: every line that an operator reads, and the latest rotations."""

from __future__ import annotations

import logging
import time
from collections import deque
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from hive_boot._output import log_safely
from hive_boot.redaction.matcher import MIN_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hive_boot.exceptions import Problem
    from hive_boot.runtime.status import RotationOutcome, RotationStatus
    from hive_boot.secrets.load_result import LoadNote, LoadWarning, NoteKind, WarningKind
    from hive_boot.secrets.platform import SourceContext
    from hive_boot.secrets.secret_set import SecretSet
    from hive_boot.secrets.value import Change
    from hive_boot.secrets.watch_targets import MountedFile

log: logging.Logger = logging.getLogger("hive_boot")


rotation: logging.Logger = logging.getLogger("hive_boot.rotation")


_log = partial(log_safely, logger=rotation)
"""Log what becomes of a rotation; a filter of the application that raises ends none."""


@contextmanager
def fallback_handler() -> Iterator[None]:
    """Lend the logger a plain stderr handler while neither it nor the root logger has one."""
    if log.hasHandlers():
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(level or logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def log_source_context(source_context: SourceContext) -> None:
    """Log mode and profile with their reasons."""
    log.info("🔐 Secrets mode: %s (%s)", source_context.mode, source_context.mode_reason)
    log.info("Profile: %s (%s)", source_context.profile, source_context.profile_reason)


def log_waiting_for_files(names: Iterable[str], seconds: float) -> None:
    """Log what is waited for."""
    log.info("Waiting up to %g s for %s", seconds, _join(names))


_WARNINGS: dict[WarningKind, str] = {
    "short-value": f"Too short to be removed from logs (under {MIN_LENGTH} characters): {{names}}",
    "environment-copy": "{names} is a file and also an environment variable: the file is used, "
    "and the variable is a copy that leaks more easily",
    "dotenv-setting": "{names} in {location} has no effect: set it in the environment",
    "development-default": "Development defaults are in use: {names}",
    "empty": "{names} is empty in {location}, so it is absent",
}


_NOTES: dict[NoteKind, str] = {
    "no-dotenv": "No .env file: {locations} do not exist.",
    "no-volume": "No secrets volume is mounted here. In CI or a workspace inside a cluster set "
    "HIVE_BOOT_MODE=development; on a platform that injects secrets as variables set "
    "HIVE_BOOT_MODE=environment.",
    "no-mount": "This process runs in a container, and nothing is mounted at /run/secrets. Mount "
    "the secrets there; in a container for development set HIVE_BOOT_PROFILE=development.",
    "kubectl-stdin": "Each kubectl command below reads its value from stdin: paste it and press "
    "Ctrl-D. Replace {names} with the name of your Secret.",
}


def warning_text(warning: LoadWarning) -> str:
    """Return the text of a warning."""
    names = _join(warning.names)
    return _WARNINGS[warning.kind].format(names=names, location=warning.location)


def note_text(note: LoadNote) -> str:
    """Return the sentences of a note."""
    locations = " and ".join(note.locations)
    return _NOTES[note.kind].format(names=_join(note.names), locations=locations)


def log_notes(notes: Iterable[LoadNote]) -> None:
    """Log the notes of a successful load."""
    for note in notes:
        log.info("%s", note_text(note).removesuffix("."))


def log_warnings(warnings: Iterable[LoadWarning]) -> None:
    """Log the warnings of a load."""
    for warning in warnings:
        _log(logging.WARNING, "%s", warning_text(warning), logger=log)


def log_check_failed(problem: Problem, seconds: float) -> None:
    """Log that a check of a start is asked again."""
    text = "%s %s; it is asked again in %.1f s"
    _log(logging.WARNING, text, problem.name, problem.message, seconds, logger=log)


def log_ready(seconds: float) -> None:
    """Log that the application is ready."""
    log.info("Ready after %.2f s", seconds)


def log_signal(name: str, drain: float) -> None:
    """Log which signal ends the application."""
    then = f"draining for {drain:g} s, then stopping" if drain else "stopping"
    _log(logging.INFO, "%s: %s", name, then, logger=log)


def log_stopped(seconds: float) -> None:
    """Log that everything has ended."""
    _log(logging.INFO, "Stopped in %.2f s", seconds, logger=log)


def log_rotation(
    names: Sequence[str], generation: int, seconds: float, waiting: Mapping[str, float]
) -> None:
    """Log that a set was accepted.

    Args:
        names: the secrets that changed.
        generation: the number of the set.
        seconds: how long it took from the first read.
        waiting: the seconds until those of them are used that have a ``activate_after``.
    """
    later = [f"{name} is used in {due:.0f} s" for name, due in waiting.items()]
    text = "; ".join([f"Rotated {_join(names)}: generation {generation}", *later])
    _log(logging.INFO, "%s", text, extra=_record_fields(names, generation, "accepted", seconds))


def log_activated(change: Change, declared: type[SecretSet]) -> list[str]:
    """Log that values which were accepted before are used from now on, and give their names."""
    fields = declared._field_index.fields  # noqa: SLF001  (the declaration is ours to read)
    names = [fields[name].name for name in change.names]
    _log(
        logging.INFO,
        "In use now: %s of generation %d",
        _join(names),
        change.generation,
        extra=_record_fields(names, change.generation, "in-use", 0.0),
    )
    return names


def log_rejection(problems: Sequence[Problem], generation: int, seconds: float) -> None:
    """Log why a set was refused, and which one stays in use."""
    names = list(dict.fromkeys(problem.name for problem in problems))
    reasons = "; ".join(f"{problem.name} {problem.message}" for problem in problems)
    _log(
        logging.ERROR,
        "Rotation refused, generation %d stays in use: %s",
        generation,
        reasons,
        extra=_record_fields(names, generation + 1, "refused", seconds),
    )


def log_reload_crashed(failure: Exception) -> None:
    """Log a failure that is a bug of ours."""
    _log(logging.ERROR, "A rotation has failed, and is tried again", exc_info=failure)


def log_recovered(generation: int) -> None:
    """Log that the sources hold again what is in use."""
    _log(logging.INFO, "The sources hold generation %d again, which is in use", generation)


def log_hook_failed(
    display_name: str,
    generation: int,
    failure: BaseException | str,
    seconds: float,
    *,
    already_logged: bool,
) -> None:
    """Log that a hook failed; its traceback only at the first time."""
    from hive_boot.secrets.validation import describe  # noqa: PLC0415  (few hooks fail)

    what = describe(failure) if isinstance(failure, BaseException) else failure
    _log(
        logging.ERROR,
        "The hook %s failed at generation %d: %s; it is called again in %g s",
        display_name,
        generation,
        what,
        seconds,
        exc_info=failure if isinstance(failure, BaseException) and not already_logged else None,
    )


def log_hook_recovered(display_name: str, generation: int) -> None:
    """Log that a hook has succeeded at last."""
    _log(logging.INFO, "The hook %s has succeeded at generation %d", display_name, generation)


def log_watch_state(*, is_down: bool) -> None:
    """Log that the thread that watches hangs, or does no more."""
    if is_down:
        text = "Changes of secrets are not noticed: what looks for them hangs or has ended"
        _log(logging.ERROR, text, logger=log)
    else:
        _log(logging.INFO, "Changes of secrets are noticed again", logger=log)


def log_nothing_to_watch(mode: str) -> None:
    """Log that there is nothing that could change."""
    log.info("Nothing is watched: in %s mode secrets are variables, which cannot change", mode)


def log_pinned_files(mounted_files: Iterable[MountedFile], mode: str) -> None:
    """Log which files can be rewritten in place only.

    Kubernetes mounts no single file but for a ``subPath``.
    """
    known = {
        mounted_file.path: mounted_file.is_subpath or mode == "kubernetes"
        for mounted_file in mounted_files
    }
    if subpaths := [path for path, is_subpath in known.items() if is_subpath]:
        text = "Mounted with subPath, so the kubelet will never update it: %s. Mount the directory"
        log.warning(text, _join(subpaths))
    if others := [path for path, is_subpath in known.items() if not is_subpath]:
        text = "Mounted as a file of its own, so a change has to be written into that file: %s"
        log.info(text, _join(others))


def log_stale_mounts(paths: Sequence[str]) -> None:
    """Log which mounted files were replaced outside, so that no change will be seen."""
    if paths:
        text = "Stale mount: %s was replaced outside, and only a restart will show the new file"
        _log(logging.ERROR, text, _join(paths), logger=log)


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)


def _record_fields(
    names: Sequence[str], generation: int, verdict: str, seconds: float
) -> dict[str, Any]:
    """Give what a rotation's record says to programs."""
    return {
        "names": list(names),
        "generation": generation,
        "verdict": verdict,
        "duration": seconds,
    }


_LAST = 20
"""The number of rotations that are kept."""


class RotationLog:
    """The rotations of one run: their number, and the latest of them.

    Attributes:
        totals: the number of rotations by verdict.
    """

    def __init__(self) -> None:
        self.totals: dict[str, int] = {"accepted": 0, "refused": 0}
        self._last: deque[RotationStatus] = deque(maxlen=_LAST)

    @property
    def latest(self) -> tuple[RotationStatus, ...]:
        """The latest rotations, the newest first."""
        return tuple(reversed(self._last))

    def record(
        self, verdict: RotationOutcome, generation: int, names: Iterable[str], seconds: float = 0.0
    ) -> None:
        """Register one rotation."""
        if verdict in self.totals:
            self.totals[verdict] += 1
        from hive_boot.runtime.status import RotationStatus  # noqa: PLC0415  (slow to import)

        self._last.append(
            RotationStatus(
                at=time.time(),
                generation=generation,
                verdict=verdict,
                names=tuple(names),
                duration=seconds,
            )
        )
