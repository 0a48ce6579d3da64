"""Log lines of a run, and the record of its latest rotations."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections import Counter, deque
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeAlias

from hive_boot._output import describe, escape_controls, log_safely
from hive_boot.redaction import MIN_LENGTH
from hive_boot.redaction.registry import (
    OWN_HANDLERS,
    PLAIN_HANDLERS,
    handlers_of,
    has_plain_value,
    trim_traceback,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hive_boot.exceptions import Problem
    from hive_boot.secrets.load_result import LoadNote, LoadWarning, NoteKind, WarningKind
    from hive_boot.secrets.platform import SourceContext
    from hive_boot.secrets.secret_set import SecretSet
    from hive_boot.secrets.value import Change
    from hive_boot.secrets.watch_targets import MountedFile

log: logging.Logger = logging.getLogger("hive_boot")
rotation: logging.Logger = logging.getLogger("hive_boot.rotation")
_OWN_LOGGERS = (log, rotation, logging.getLogger("hive_boot.watching"))


def _escape_arguments(record: logging.LogRecord) -> bool:
    """Escape control characters in the arguments of a record; return True, to log it."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            escape_controls(each) if isinstance(each, str) else each for each in record.args
        )
    return True


class _StaysEnabled:
    """Logger that a configuration of logging does not disable because it does not name it.

    dictConfig() and fileConfig() disable all existing loggers that they do not name, unless
    ``disable_existing_loggers`` is False. Any other code can disable it.
    """

    _is_disabled = False

    @property
    def disabled(self) -> bool:
        """Whether the logger drops all records."""
        return self._is_disabled

    @disabled.setter
    def disabled(self, value: bool) -> None:
        if sys._getframe(1).f_globals.get("__name__") != "logging.config":
            self._is_disabled = value


# Subclasses, because an application may have called logging.setLoggerClass().
_kinds = {each: type("Logger", (_StaysEnabled, each), {}) for each in {*map(type, _OWN_LOGGERS)}}
for _logger in _OWN_LOGGERS:
    _logger.addFilter(_escape_arguments)
    _logger.__class__ = _kinds[type(_logger)]


class _Formatter(logging.Formatter):
    """A formatter that escapes control characters, in tracebacks too."""

    def format(self, record: logging.LogRecord) -> str:
        return escape_controls(super().format(record), keep_lines=True)


_FORMATTER = _Formatter("%(levelname)s %(name)s: %(message)s")
_USUAL_ATTRIBUTES = {*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message"}
_log = partial(log_safely, logger=log)
_log_rotation = partial(log_safely, logger=rotation)


class _FallbackHandler(logging.StreamHandler[TextIO]):
    """Handler that writes to stderr what no handler of the application shows.

    The handlers are examined for each record, because an application may configure its logging
    after the start.

    Args:
        logger: the logger that has the handler. Without any other handler it gets the level INFO,
            until there is one.
        shows_warnings: whether warnings are written if the other handlers reach neither stdout
            nor stderr, so that a start that waits does not look dead.
    """

    def __init__(self, logger: logging.Logger, *, shows_warnings: bool) -> None:
        super().__init__()
        self.setFormatter(_FORMATTER)
        self._logger = logger
        self._shows_warnings = shows_warnings
        self._has_set_level = not (logger.level or logger.hasHandlers())
        if self._has_set_level:
            logger.setLevel(logging.INFO)

    def restore_level(self) -> None:
        """Restore the level of the logger, unless the application has changed it."""
        if self._has_set_level and self._logger.level == logging.INFO:
            self._logger.setLevel(logging.NOTSET)
        self._has_set_level = False

    def admits(self, record: logging.LogRecord) -> bool:
        """Return whether a record is logged; a filter of the logger and of those below it."""
        if self._has_set_level and any(_other_handlers(self._logger)):
            self.restore_level()
        return logging.getLogger(record.name).isEnabledFor(record.levelno)

    def shows_no_value(self, record: logging.LogRecord) -> bool:
        """Return whether the line of a record is a text of this module with a number in it.

        What this module contains cannot disclose a value, and neither can the time of a start. A
        value that equals a part of the line by chance is removed from it all the same.
        """
        return (
            any(record.msg is text for text in _WITH_A_NUMBER)
            and type(record) is logging.LogRecord
            and vars(record).keys() <= _USUAL_ATTRIBUTES
            and not (record.exc_info or record.stack_info or self.filters)
            and self.formatter is _FORMATTER
            and not has_plain_value(_FORMATTER.format(record))
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless another handler shows it."""
        others = list(_other_handlers(logging.getLogger(record.name)))
        if others:
            is_warning = record.levelno >= logging.WARNING and self._shows_warnings
            if not is_warning or any(map(_reaches_console, others)):
                return
        super().emit(record)


PLAIN_HANDLERS.add(_FallbackHandler)
OWN_HANDLERS.add(_FallbackHandler)


def _other_handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    """Yield the handlers of a logger and its parents, without the fallback."""
    return (each for each in handlers_of(logger) if not isinstance(each, _FallbackHandler))


def _reaches_console(handler: logging.Handler) -> bool:
    """Return whether a handler writes to stdout or stderr, or may do so (a queue, rich)."""
    if not isinstance(handler, logging.StreamHandler):
        return not isinstance(handler, logging.NullHandler)
    try:
        found = os.fstat(handler.stream.fileno())
        return any(os.path.samestat(found, os.fstat(each)) for each in (1, 2))
    except (AttributeError, OSError, ValueError):
        # It has no descriptor: a StringIO, or a file that is opened at the first record.
        return any(handler.stream is each for each in (sys.stdout, sys.stderr))


@contextmanager
def fallback_handler(*names: str, shows_warnings: bool = False) -> Iterator[None]:
    """Lend loggers a handler on stderr for the block, which writes what no other handler shows.

    Args:
        names: the names of the loggers.
        shows_warnings: as for the handler. Default False: any other handler counts.
    """
    with ExitStack() as stack:
        for logger in map(logging.getLogger, names):
            if not any(isinstance(each, _FallbackHandler) for each in logger.handlers):
                handler = _FallbackHandler(logger, shows_warnings=shows_warnings)
                stack.callback(handler.restore_level)
                logger.addHandler(handler)
                stack.callback(logger.removeHandler, handler)
                for each in {logger, *(_OWN_LOGGERS if logger is log else ())}:
                    each.addFilter(handler.admits)
                    stack.callback(each.removeFilter, handler.admits)
        yield


def log_source_context(source_context: SourceContext) -> None:
    """Log the mode and the profile, each with its reason."""
    _log(logging.INFO, "🔐 Secrets mode: %s (%s)", source_context.mode, source_context.mode_reason)
    _log(logging.INFO, "Profile: %s (%s)", source_context.profile, source_context.profile_reason)


def log_waiting_for_files(names: Iterable[str], seconds: float) -> None:
    """Log that the start waits for files that are missing, cannot be read or differ."""
    text = "Waiting up to %g s for missing, incomplete or conflicting files: %s"
    _log(logging.INFO, text, seconds, _join(names))


_WARNINGS: dict[WarningKind, str] = {
    "short-value": f"Values under {MIN_LENGTH} characters are not removed from logs: {{names}}",
    "environment-copy": "{names} is also an environment variable, which is not used here and which "
    "child processes inherit",
    "overridden": "A stronger source overrides a different value: {location}",
    "placeholder": "Placeholders, which the profile production rejects: {names}",
    "reference": "Unresolved references, which the profile production rejects: {names}",
    "example-value": "Values of the example in {location} are in use: {names}",
    "dotenv-setting": "{names} in {location} has no effect: set it in the environment",
    "dotenv-line": "{location} cannot be parsed, and concerns no declared secret",
    "dotenv-repeated": "{location} sets {names} more than once, and the last line is used",
    "dotenv-unread": "{location} cannot be read; every required secret has a value from elsewhere",
    "development-default": "Development defaults are in use: {names}",
    "empty": "{names} is empty in {location}, and treated as absent",
    "not-asked": "Only sources= can provide {names}, and they are not asked here",
    "version": "The version {names} of the secrets is unknown: {location}",
    "alias": "{0} is read from its older name {1}: {location}",
    "alias-differs": "{0} has another value under its older name {1}, which is ignored: {location}",
}


_NOTES: dict[NoteKind, str] = {
    "no-dotenv": "No .env file exists. Looked in: {locations}.",
    "no-volume": "No secrets volume is mounted here. In CI or a workspace inside a cluster set "
    "HIVE_BOOT_MODE=development and HIVE_BOOT_PROFILE; on a platform that injects secrets as "
    "variables set HIVE_BOOT_MODE=environment.",
    "no-mount": "Nothing is mounted at /run/secrets, and nothing shows that a developer started "
    "this process. Mount the secrets there, or set HIVE_BOOT_MODE=environment if the platform "
    "injects variables. For development set HIVE_BOOT_PROFILE=development.",
    "unknown-app-env": "{locations} is not development, test, staging or production, so the "
    "profile is production. HIVE_BOOT_PROFILE selects another one.",
    "env-file": "{locations} of env_file= is not read: only development mode reads it. To read it "
    "here, name it in secrets_dirs= or HIVE_BOOT_SECRETS_DIR.",
    "subdirectories": "Some subdirectories were not searched, because they cannot be read or there "
    "are more than 1,000: {locations}.",
    "trailing-newline": "These values end with a newline, of which a file loses only one: {names}.",
    "kubectl-stdin": "Each kubectl command below reads its value from stdin: paste it and press "
    "Ctrl-D. Replace {names} with the name of your Secret.",
}


def warning_text(warning: LoadWarning) -> str:
    """Return the text of a warning."""
    names = _join(warning.names) or "a variable"
    return _WARNINGS[warning.kind].format(*warning.names, names=names, location=warning.location)


def note_text(note: LoadNote) -> str:
    """Return the sentences of a note."""
    locations = ", ".join(note.locations)
    return _NOTES[note.kind].format(names=_join(note.names), locations=locations)


def log_notes(notes: Iterable[LoadNote]) -> None:
    """Log the notes of a successful load."""
    for note in notes:
        _log(logging.INFO, "%s", note_text(note).removesuffix("."))


def log_warnings(warnings: Iterable[LoadWarning]) -> None:
    """Log the warnings of a load."""
    for warning in warnings:
        _log(logging.WARNING, "%s", warning_text(warning))


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


_READY = "Ready after %.2f s"
_STOPPED = "Stopped in %.2f s"
_WITH_A_NUMBER = (_READY, _STOPPED)
"""Texts with a number, which are logged without preparing the search for values."""


def version_text(versions: tuple[str, str] | None) -> list[str]:
    """Return the version of the secrets as text; nothing if the declaration has no version.

    Args:
        versions: those of the newest set and of the values in use, which a pending value separates.
    """
    shown = list(dict.fromkeys(each or "unknown" for each in versions or ()))
    return [f"{shown[0]} ({shown[1]} in use)"] if len(shown) > 1 else shown


def log_ready(seconds: float, versions: tuple[str, str] | None) -> None:
    """Log that the application is ready, and the version of its secrets."""
    text = _READY
    if versions is not None:
        text = "Ready after %.2f s, with the secrets version %s"
    _log(logging.INFO, text, seconds, *version_text(versions))


def log_version(versions: tuple[str, str] | None) -> None:
    """Log that the version of the secrets has changed, and the values have not."""
    text = "The secrets version is %s; the values are the same"
    _log_rotation(logging.INFO, text, *version_text(versions))


def log_stop_requested(reason: str) -> None:
    """Log that the application itself requests a stop."""
    _log(logging.INFO, "Stop requested: %s", reason)


def log_cut_off(tasks: Iterable[str]) -> None:
    """Log the asyncio tasks that other code has started and that the end of the loop cancels."""
    if names := sorted(tasks):
        counts = Counter(names).items()
        shown = (name if count == 1 else f"{name} ({count})" for name, count in counts)
        subject = "1 task was" if len(names) == 1 else f"{len(names)} tasks were"
        _log(logging.WARNING, "%s cut off: %s", subject, ", ".join(shown))


def log_signal(name: str, shutdown_delay: float) -> None:
    """Log the signal that stops the application."""
    draining = f"draining for up to {shutdown_delay:g} s, then " if shutdown_delay else ""
    _log(logging.INFO, "Received %s: %sstopping", name, draining)


def log_stopped(seconds: float) -> None:
    """Log that the application has stopped."""
    _log(logging.INFO, _STOPPED, seconds)


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
