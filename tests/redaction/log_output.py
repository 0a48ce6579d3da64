"""Handlers and formatters that expose everything in a record, and the value to hide."""

import json
import logging
import traceback
from pathlib import Path

from hive_boot import Secret
from hive_boot.redaction import MIN_LENGTH
from hive_boot.redaction.hooks import Redaction
from hive_boot.redaction.registry import Matcher, encoded_variants

VALUE = "fake-value-0123456789"


class Teller(logging.Handler):
    """A handler that keeps everything in a record unformatted, as error trackers do."""

    def __init__(self) -> None:
        super().__init__()
        self.told = ""
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message, every attribute, and the traceback."""
        self.records.append(record)
        self.told += f"{record.getMessage()}\n{record.__dict__}\n"
        if record.exc_info and record.exc_info[1]:
            exc = record.exc_info[1]
            self.told += f"{exc!r} {exc.args!r}\n{''.join(traceback.format_exception(exc))}"


class Json(logging.Formatter):
    """A formatter that writes everything in a record as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        told = {**record.__dict__, "message": record.getMessage()}
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


class Broken:
    """A matcher that fails."""

    known_clean = frozenset[str]()

    def is_clean(self, text: str) -> bool:
        """Raise an error."""
        raise RuntimeError(text)

    scrub = is_clean


class Client:
    """An object whose text contains the value."""

    def __init__(self, key: str = VALUE) -> None:
        self.key = key

    def __str__(self) -> str:
        return f"client of {self.key}"

    def __repr__(self) -> str:
        return f"Client(key={self.key!r})"


def new_log() -> logging.Logger:
    """Return a logger that no other code uses."""
    return logging.Logger("app")  # noqa: LOG001  (it is in no tree of loggers)


def start(redaction: Redaction) -> None:
    """Open a redaction that hides the value."""
    redaction.open()
    redaction.register([Secret("A", VALUE)])


def written(path: Path) -> str:
    """Return the text of every file of a directory."""
    return "".join(each.read_text() for each in sorted(path.iterdir()))


def shown(text: str, value: str | bytes) -> str:
    """Return a text as a log shows it while a value is hidden."""
    return Matcher(lambda: encoded_variants(value, MIN_LENGTH)).scrub(text)
