"""Fixtures of the redaction tests: loggers without pytest's handlers, and unpatched functions."""

import logging
from collections.abc import Iterator
from io import StringIO

import pytest

from hive_boot.redaction.hooks import PATCHED_FUNCTIONS, Redaction
from tests.redaction.log_output import new_log, start


@pytest.fixture(autouse=True)
def _no_other_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clear the list of known handlers, which contains pytest's own."""
    monkeypatch.setattr(logging, "_handlerList", [])


@pytest.fixture
def unwrapped() -> Iterator[None]:
    """Restore, at the end, the functions that a test has patched."""
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
    """Return a redaction that hides the value from the beginning."""
    start(closed)
    return closed


@pytest.fixture
def log() -> logging.Logger:
    """Return a logger that no other code uses."""
    return new_log()


@pytest.fixture
def stream() -> StringIO:
    """Return a stream for handlers."""
    return StringIO()
