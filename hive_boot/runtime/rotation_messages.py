"""Log lines of rotations, hooks, checks and the watcher, and the record of the latest rotations."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from hive_boot._output import describe, log_safely
from hive_boot.redaction.registry import trim_traceback
from hive_boot.runtime.log_messages import log, rotation, version_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hive_boot.exceptions import Problem
    from hive_boot.secrets.secret_set import SecretSet
    from hive_boot.secrets.value import Change
    from hive_boot.secrets.watch_targets import MountedFile

_log = partial(log_safely, logger=log)
_log_rotation = partial(log_safely, logger=rotation)


def log_certificate_expiry(name: str, expires: float, left: float) -> None:
    """Log that a certificate expires soon, or has expired.

    Args:
        name: the name of its field.
        expires: the end of its validity, in seconds since the epoch.
        left: seconds until then.
    """
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(expires))
    if left <= 0:
        _log(logging.ERROR, "The certificate %s has expired: it was valid until %s", name, at)
    else:
        days = math.ceil(left / 86400)
        unit = "day" if days == 1 else "days"
        _log(logging.WARNING, "The certificate %s expires in %d %s, at %s", name, days, unit, at)


def log_check_failed(problem: Problem, seconds: float) -> None:
    """Log that a check or a source could not be reached, and when it is retried."""
    text = "%s %s; retry in %.1f s"
    _log(logging.WARNING, text, problem.name, problem.message, seconds)


def log_source_recovered(name: str) -> None:
    """Log that a source answers again."""
    _log_rotation(logging.INFO, "The source %s answers again", name)


def log_version(versions: tuple[str, str] | None) -> None:
    """Log that the version of the secrets has changed, and the values have not."""
    text = "The secrets version is %s; the values are the same"
    _log_rotation(logging.INFO, text, *version_text(versions))


def log_activation_failed(problems: Iterable[Problem], generation: int) -> None:
    """Log why accepted values cannot come into use yet."""
    text = "Activation of generation %d failed, the values before it stay in use: %s"
    _log_rotation(logging.ERROR, text, generation, _reasons(problems))


def log_reload_crashed(failure: Exception) -> None:
    """Log an unexpected exception of a reload."""
    text = "Reload failed with an unexpected error; the last good set stays in use; retrying"
    _log_rotation(logging.ERROR, text, exc_info=failure)


def log_recovered(generation: int) -> None:
    """Log that the sources match the accepted set again, after a refused rotation."""
    text = "Recovered from a refused rotation: the sources match generation %d, which is in use"
    _log_rotation(logging.INFO, text, generation)


def log_hook_failed(
    display_name: str,
    generation: int,
    failure: BaseException | str,
    seconds: float,
    *,
    already_logged: bool,
) -> None:
    """Log that a hook failed. The traceback is omitted if ``already_logged``."""
    reason = failure if isinstance(failure, str) else describe(failure)
    text = "The rotation hook %r failed for generation %d: %s; retry in %g s"
    exc_info = None if already_logged or isinstance(failure, str) else trim_traceback(failure)
    _log_rotation(logging.ERROR, text, display_name, generation, reason, seconds, exc_info=exc_info)


def log_hook_recovered(display_name: str, generation: int) -> None:
    """Log that a hook which had failed has succeeded."""
    text = "The rotation hook %r has succeeded for generation %d, after it had failed"
    _log_rotation(logging.INFO, text, display_name, generation)


def log_watch_state(*, is_down: bool) -> None:
    """Log that the watcher waits for a file system that does not answer, or works again."""
    text = "Changes of secrets are noticed again"
    if is_down:
        text = "Changes of secrets are not noticed: a file system does not answer"
    _log(logging.ERROR if is_down else logging.INFO, text)


def log_nothing_to_watch(mode: str) -> None:
    """Log that no source can change while the application runs."""
    text = "No files are watched: in %s mode secrets come only from variables, which do not change"
    _log(logging.INFO, text, mode)


def log_pinned_files(mounted_files: Sequence[MountedFile], mode: str) -> None:
    """Log which secret files are themselves mount points.

    The process sees a change of such a file only if it is rewritten in place. In Kubernetes every
    mounted single file is a ``subPath`` mount, which the kubelet never updates.
    """
    subpaths = [each.path for each in mounted_files if each.is_subpath or mode == "kubernetes"]
    others = [each.path for each in mounted_files if each.path not in subpaths]
    if subpaths:
        text = "The kubelet never updates files mounted with subPath: %s. Fix: mount the directory"
        _log(logging.WARNING, text, _join(subpaths))
    if others:
        text = "Files mounted one by one: %s. To rotate, rewrite a file in place; do not replace it"
        _log(logging.INFO, text, _join(others))


def log_stale_mounts(paths: Sequence[str]) -> None:
    """Log which mounted files were replaced at their origin: the mount still shows the old file."""
    if paths:
        text = (
            "Stale mount: %s was replaced outside, and the mount still shows the old file. "
            "Fix: restart the container"
        )
        _log(logging.ERROR, text, _join(paths))


def _reasons(problems: Iterable[Problem]) -> str:
    return "; ".join(f"{problem.name} {problem.message}" for problem in problems)


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)


def _effects(effects: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{effect}: {_join(names)}" for effect, names in effects.items() if names]


_MAX_ROTATIONS = 20
"""Maximum number of rotations in the status."""


RotationOutcome: TypeAlias = 'Literal["accepted", "refused", "in-use"]'


class RotationLog:
    """Rotations of one run: logs each, counts them, and keeps the latest ones.

    Attributes:
        totals: the number of accepted and of refused rotations.
        latest: the fields of the RotationStatus of the latest ones, the newest first.
    """

    def __init__(self) -> None:
        self.totals: dict[str, int] = {"accepted": 0, "refused": 0}
        self.latest: deque[dict[str, Any]] = deque(maxlen=_MAX_ROTATIONS)

    def log_accepted(
        self,
        names: Sequence[str],
        generation: int,
        seconds: float,
        waiting: Mapping[str, float],
        effects: Mapping[str, Sequence[str]],
    ) -> None:
        """Log that a candidate was accepted.

        Args:
            names: the secrets that changed.
            generation: the number of the new set.
            seconds: the time from the start of the read to the swap.
            waiting: the seconds until the activation of each changed secret with
                ``activate_after``.
            effects: the functions that the change concerns, by its effect on them.
        """
        later = [f"{name} takes effect in {due:.0f} s" for name, due in waiting.items()]
        rotated = f"Rotated {_join(names)}: generation {generation}"
        text = "; ".join([rotated, *later, *_effects(effects)])
        self._record("accepted", names, generation, seconds, "%s", text)

    def log_activated(
        self, change: Change, declared: type[SecretSet], effects: Mapping[str, Sequence[str]]
    ) -> None:
        """Log that pending values are in use now.

        Args:
            change: the change of the values in use.
            declared: the declaration, for the names of the secrets.
            effects: the functions that the change concerns, by its effect on them.
        """
        fields = declared._field_index.fields
        names = [fields[name].name for name in change.names]
        activated = f"Activated {_join(names)}: generation {change.generation}"
        text = "; ".join([activated, *_effects(effects)])
        self._record("in-use", names, change.generation, 0.0, "%s", text)

    def log_rejection(
        self, problems: Sequence[Problem], unused: Iterable[str], generation: int, seconds: float
    ) -> None:
        """Log why a candidate was refused, and which generation stays in use.

        Args:
            problems: the problems of the candidate.
            unused: the secrets of the candidate that have a new value.
            generation: the number of the set in use.
            seconds: the time from the start of the read to the rejection.
        """
        names = list(dict.fromkeys(problem.name for problem in problems))
        reason = _reasons(problems)
        others = [each for each in unused if each not in names]
        text = "Rotation refused, generation %d stays in use: %s"
        shown = "; ".join([reason, *_effects({"new values not used": others})])
        self._record("refused", names, None, seconds, text, generation, shown)
        self.latest[0]["reason"] = reason

    def _record(
        self,
        verdict: RotationOutcome,
        names: Sequence[str],
        generation: int | None,
        seconds: float,
        text: str,
        *args: object,
    ) -> None:
        # The extra attributes of the log record are for structured logging.
        known: dict[str, Any] = {"verdict": verdict, "generation": generation, "duration": seconds}
        level = logging.ERROR if verdict == "refused" else logging.INFO
        _log_rotation(level, text, *args, extra={**known, "names": list(names)})
        self.latest.appendleft({"at": time.time(), "names": tuple(names), **known})
        if verdict in self.totals:
            self.totals[verdict] += 1
