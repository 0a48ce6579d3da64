"""Output that never raises, whatever has become of stderr and of the logging of an application."""

import io
import logging
import sys

import pytest

from hive_boot._output import describe, log_safely, write_stderr


class FailingStream(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, _: str) -> int:
        """Fail."""
        raise self.error


def test_a_text_is_written_unbuffered(capfd: pytest.CaptureFixture[str]) -> None:
    """The end of the process can lose nothing."""
    write_stderr("fake text, ä\n")
    assert capfd.readouterr().err == "fake text, ä\n"


def test_a_broken_stderr_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit status is right without it."""
    closed = io.StringIO()
    closed.close()
    streams = [
        None,
        closed,
        FailingStream(BrokenPipeError()),
        FailingStream(OSError(28, "full")),
        io.TextIOWrapper(io.BytesIO(), encoding="ascii"),
    ]
    for stream in streams:
        monkeypatch.setattr(sys, "stderr", stream)
        write_stderr("fake text, ä\n")
    monkeypatch.delattr(sys, "stderr")
    write_stderr("fake text\n")


def test_a_record_names_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    """A log line is found in the code where it is made, not in the helper."""
    logger = logging.getLogger("tests.output")
    log_safely(logging.WARNING, "%s of %d", "one", 2, logger=logger, extra={"fact": "fake"})
    (record,) = caplog.records
    assert record.getMessage() == "one of 2"
    assert (record.funcName, record.__dict__["fact"]) == ("test_a_record_names_the_caller", "fake")


def test_an_exception_of_a_filter_drops_only_the_line(caplog: pytest.LogCaptureFixture) -> None:
    """The caller continues."""
    logger = logging.getLogger("tests.output.failing")

    def refuse(_: logging.LogRecord) -> bool:
        raise RuntimeError

    logger.addFilter(refuse)
    try:
        log_safely(logging.ERROR, "fake", logger=logger)
    finally:
        logger.removeFilter(refuse)
    assert caplog.records == []


def test_a_group_of_exceptions_is_described_by_its_members() -> None:
    """The text of a task group only counts them. Few are described, each text once."""
    two = ExceptionGroup("of a library", [PermissionError("refused"), TimeoutError()])
    assert describe(two).endswith(": PermissionError: refused; TimeoutError")
    nested = BaseExceptionGroup("outer", [two, KeyError("a"), two, SystemExit(3)])
    assert describe(nested).endswith(": PermissionError: refused; TimeoutError; KeyError: 'a'")
    for _ in range(5000):
        nested = BaseExceptionGroup("deep", [nested])
    assert "refused" in describe(nested)
