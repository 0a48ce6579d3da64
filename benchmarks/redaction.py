"""Redaction benchmark: a log record without a secret, with and without redaction.

Each side has a separate process, because a service opens redaction once: to open and close it
changes classes of ``logging``, and Python then has to optimise the code that uses them again.
Two processes differ by some percent, so several of each side are measured.
"""

from __future__ import annotations

import logging
import os
import time
from base64 import b64encode
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from multiprocessing import get_context
from typing import TYPE_CHECKING

from pythonjsonlogger.json import JsonFormatter

from benchmarks.tables import Table
from benchmarks.timing import alternate, limited
from hive_boot import Secret
from hive_boot.redaction.hooks import Redaction

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.timing import Figures, Measure

BOUNDS = {10: 1.15, 100: 1.3, 1000: 2.0}
"""Maximum ratio of a record with redaction to one without, by the number of secrets."""

_PROCESSES = 5
_ROUNDS = 16
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


_log.propagate = False


def measure(base: Path) -> Table:
    """Return the measured table; ``base`` is not used."""
    del base
    table = Table(
        "redaction: a log record of about 120 characters that holds no secret",
        (
            "floor: the same record without redaction; a StreamHandler writes to the null device.",
            "Secrets are tokens of 37 characters; all encoded forms are matched.",
            "JSON: the formatter of python-json-logger.",
        ),
    )
    for count, bound in BOUNDS.items():
        runs = [_measure_variants(count) for _ in range(limited(_PROCESSES))]
        for label in _VARIANTS:
            figures = runs[0][label].and_of(run[label] for run in runs[1:])
            table.add(f"{count:,} secrets: {label}", figures, "ours", "floor", bound)
    return table


def _measure_variants(count: int) -> dict[str, Figures]:
    """Measure each variant in one process of each side."""
    with _process(0) as floor, _process(count) as ours:
        return {
            label: alternate(
                {"floor": _in_process(floor, label), "ours": _in_process(ours, label)}, _ROUNDS
            )
            for label in _VARIANTS
        }


def _process(count: int) -> ProcessPoolExecutor:
    """Return a process that logs to the null device, with as many secrets."""
    return ProcessPoolExecutor(1, get_context("spawn"), _prepare, (count,))


def _prepare(count: int) -> None:
    sink = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  (a stream, like stderr; until the end)
    _log.addHandler(logging.StreamHandler(sink))
    _log.setLevel(logging.INFO)
    if count:
        redaction = Redaction()
        redaction.open()
        redaction.register([_fake_token(number) for number in range(count)])
        _log.info("the first record builds the matcher")


def _in_process(process: ProcessPoolExecutor, label: str) -> Measure:
    return lambda: process.submit(_seconds_per_line, label).result()


def _seconds_per_line(label: str) -> float:
    log_lines, _log.handlers[0].formatter = _VARIANTS[label]
    started = time.perf_counter()
    log_lines()
    return (time.perf_counter() - started) / _LINES


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


_STAMPED = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")

_VARIANTS: dict[str, tuple[Callable[[], None], logging.Formatter | None]] = {
    "a text": (_log_texts, None),
    "with arguments": (_log_arguments, None),
    "a text, time stamped": (_log_texts, _STAMPED),
    "with arguments, time stamped": (_log_arguments, _STAMPED),
    "an access line with %": (_log_requests, _STAMPED),
    "a line of JSON": (
        _log_arguments,
        JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s %(threadName)s"),
    ),
}
