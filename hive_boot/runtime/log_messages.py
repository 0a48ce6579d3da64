"""Log lines of the start and the stop of a run, and the handler that shows them."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, TextIO

from hive_boot._output import escape_controls, log_safely
from hive_boot.redaction import MIN_LENGTH
from hive_boot.redaction.registry import (
    OWN_HANDLERS,
    PLAIN_HANDLERS,
    handlers_of,
    has_plain_value,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hive_boot.secrets.load_result import LoadNote, LoadWarning, NoteKind, WarningKind
    from hive_boot.secrets.platform import SourceContext

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
_USUAL_ATTRIBUTES = {
    *("args", "created", "exc_info", "exc_text", "filename", "funcName", "levelname", "levelno"),
    *("lineno", "message", "module", "msecs", "msg", "name", "pathname", "process"),
    *("processName", "relativeCreated", "stack_info", "taskName", "thread", "threadName"),
}
"""The attributes of a record without extra ones: https://docs.python.org/3/library/logging.html"""


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


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)
