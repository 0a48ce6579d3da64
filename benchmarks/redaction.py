"""Redaction benchmark: a log record without a secret, with and without redaction."""

from __future__ import annotations

import json
import logging
import os
import time
from base64 import b64encode
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

from benchmarks.tables import Table
from benchmarks.timing import alternate
from hive_boot import Secret
from hive_boot.redaction.hooks import Redaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.timing import Measure

BOUNDS = {10: 1.15, 100: 1.3, 1000: 2.0}
"""Maximum ratio of a record with redaction to one without, by the number of secrets."""

_ROUNDS = 60
_LINES = 2_000

_MESSAGE = (
    "answered the request of user %s in %d ms: upstream status %d after %s retries, "
    "cache missed, connection was not closed"
)
_ARGUMENTS = [("demo", number % 90, 200, "2") for number in range(_LINES)]
_TEXTS = [_MESSAGE % arguments for arguments in _ARGUMENTS]

_ACCESS = '%s - "%s %s HTTP/%s" %d'
_QUERY = "/orders/%d?q=M%%C3%%BCnchen%%20a%%2Fb&next=%%2Forders%%3Fpage%%3D%d&sort=created_at"
_REQUESTS = [
    (f"192.0.2.7:{51_000 + number % 1_000}", "GET", _QUERY % (number, number % 9), "1.1", 200)
    for number in range(_LINES)
]

_log = logging.getLogger("benchmarks.redaction")


class _JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON, as services do whose logs a program reads."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a JSON document."""
        document = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "thread": record.threadName,
        }
        return json.dumps(document)


def measure(base: Path) -> Table:
    """Return the measured table; ``base`` is not used."""
    del base
    table = Table(
        "redaction: a log record of about 120 characters that holds no secret",
        (
            "floor: the same record without redaction; a StreamHandler writes to the null device.",
            "Secrets are tokens of 37 characters; all encoded forms are matched.",
        ),
    )
    plain, stamped = None, logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    variants: Sequence[tuple[str, Callable[[], None], logging.Formatter | None]] = (
        ("a text", _log_texts, plain),
        ("with arguments", _log_arguments, plain),
        ("a text, time stamped", _log_texts, stamped),
        ("with arguments, time stamped", _log_arguments, stamped),
        ("an access line with %", _log_requests, stamped),
        ("a line of JSON", _log_arguments, _JsonFormatter()),
    )
    with _null_handler() as handler:
        for count, bound in BOUNDS.items():
            secrets = [_fake_token(number) for number in range(count)]
            for label, log_lines, formatter in variants:
                handler.setFormatter(formatter)
                sides = {
                    "floor": _per_line(log_lines),
                    "ours": _redacted(_per_line(log_lines), secrets),
                }
                figures = alternate(sides, _ROUNDS)
                table.add(f"{count:,} secrets: {label}", figures, "ours", "floor", bound)
    return table


@contextmanager
def _null_handler() -> Iterator[logging.Handler]:
    """Attach the null device to the logger of this benchmark, without propagation."""
    with open(os.devnull, "w", encoding="utf-8") as sink:  # noqa: PTH123  (a stream, like stderr)
        handler = logging.StreamHandler(sink)
        _log.addHandler(handler)
        _log.setLevel(logging.INFO)
        _log.propagate = False
        try:
            yield handler
        finally:
            _log.removeHandler(handler)


def _fake_token(number: int) -> Secret:
    token = b64encode(sha256(b"fake %d" % number).digest()[:24], altchars=b"-_").decode()
    return Secret(f"TOKEN_{number}", f"fake-{token}")


def _log_texts() -> None:
    for text in _TEXTS:
        _log.info(text)


def _log_arguments() -> None:
    for arguments in _ARGUMENTS:
        _log.info(_MESSAGE, *arguments)


def _log_requests() -> None:
    for arguments in _REQUESTS:
        _log.info(_ACCESS, *arguments)


def _per_line(log_lines: Callable[[], None]) -> Measure:
    def measure() -> float:
        started = time.perf_counter()
        log_lines()
        return (time.perf_counter() - started) / _LINES

    return measure


def _redacted(measure_line: Measure, secrets: Sequence[Secret]) -> Measure:
    """Return a measure with redaction; building the matcher is not included."""

    def measure() -> float:
        redaction = Redaction()
        redaction.open()
        redaction.register(secrets)
        try:
            _log.info("the first record builds the matcher")
            return measure_line()
        finally:
            redaction.close()

    return measure
