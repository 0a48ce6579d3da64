"""What the tests of redaction stand on: no handlers of pytest, and Python's own functions again."""

import logging
from collections.abc import Iterator
from io import StringIO

import pytest

from hive_boot.redaction.hooks import PATCHED_FUNCTIONS, Redaction
from tests.redaction.log_output import new_log, start


@pytest.fixture(autouse=True)
def _no_other_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let logging know of no handler but those of a test: pytest's own are of an odd kind."""
    monkeypatch.setattr(logging, "_handlerList", [])


@pytest.fixture
def unwrapped() -> Iterator[None]:
    """Put back, at the end, what a test has put in the place of Python's own."""
    functions = [entry[:2] for entry in PATCHED_FUNCTIONS if not isinstance(entry[0], str)]
    known = [(owner, name, vars(owner).get(name)) for owner, name in functions]
    yield
    for owner, name, before in known:
        if before is not None:
            setattr(owner, name, before)
        elif name in vars(owner):
            delattr(owner, name)


@pytest.fixture
def closed(unwrapped: None) -> Iterator[Redaction]:  # noqa: ARG001  (it ends later)
    """Return a redaction that the test opens itself."""
    redaction = Redaction()
    yield redaction
    redaction.close()


@pytest.fixture
def redaction(closed: Redaction) -> Redaction:
    """Hide the value from the beginning."""
    start(closed)
    return closed


@pytest.fixture
def log() -> logging.Logger:
    """Return a logger that nobody else has."""
    return new_log()


@pytest.fixture
def stream() -> StringIO:
    """Return what handlers write to."""
    return StringIO()
