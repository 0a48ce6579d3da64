"""Log records on every way through logging, while values are hidden."""

import functools
import logging
import logging.config
import os
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import StringIO
from logging.handlers import MemoryHandler, QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pydantic
import pytest
from uvicorn.logging import AccessFormatter

from hive_boot import Secret
from hive_boot.redaction import MASK, registry, scrub
from hive_boot.redaction.hooks import Redaction
from hive_boot.redaction.registry import REDACTION_FAILED
from tests.fixtures.cases import case
from tests.redaction.log_output import VALUE, Broken, Teller, new_log, start, written

# Loggers and handlers.


@pytest.mark.usefixtures("redaction")
def test_the_handler_of_a_parent_logger_redacts_records_of_children(
    log: logging.Logger, stream: StringIO
) -> None:
    """The handler of a parent logger redacts the records of its children."""
    log.addHandler(logging.StreamHandler(stream))
    child = logging.Logger("app.child")  # noqa: LOG001  (no other code uses it)
    child.parent = log

    child.error("it is %s", VALUE)

    assert stream.getvalue() == f"it is {MASK}\n"


@pytest.mark.usefixtures("redaction")
def test_loggers_in_a_tree_are_redacted(stream: StringIO) -> None:
    """A logger with ``propagate = False`` and one below it are both redacted."""
    name = "tests.redaction.places"
    top, below = logging.getLogger(name), logging.getLogger(f"{name}.below.it")
    handler = logging.StreamHandler(stream)
    top.addHandler(handler)
    top.propagate = False
    try:
        below.error("below %s", VALUE)
        top.error("top %s", VALUE)
    finally:
        top.removeHandler(handler)
        top.propagate = True

    assert stream.getvalue() == f"below {MASK}\ntop {MASK}\n"


@pytest.mark.usefixtures("redaction")
def test_the_root_logger_is_redacted(caplog: pytest.LogCaptureFixture) -> None:
    """The handlers of the root logger redact."""
    logging.getLogger("tests.redaction.root").error("it is %s", VALUE)

    assert caplog.messages == [f"it is {MASK}"]
    assert VALUE not in caplog.text


def test_a_handler_is_redacted_whenever_it_was_added(
    closed: Redaction, log: logging.Logger
) -> None:
    """A handler is redacted, whether it was added before or after the start."""
    before, after, teller = StringIO(), StringIO(), Teller()
    log.addHandler(logging.StreamHandler(before))
    start(closed)
    log.addHandler(logging.StreamHandler(after))
    log.addHandler(teller)

    log.error("it is %s", VALUE)

    assert before.getvalue() == after.getvalue() == f"it is {MASK}\n"
    assert VALUE not in teller.told


def add_user(record: logging.LogRecord) -> bool:
    """Add a value to a record, as a filter does for the context of a request."""
    record.user = VALUE
    record.msg = f"{record.msg} by {VALUE}"
    return True


@pytest.mark.usefixtures("redaction")
def test_a_value_that_a_filter_adds_is_redacted() -> None:
    """A value that a filter adds to a record is redacted."""
    for where in ("logger", "handler"):
        with case(where):
            log = new_log()
            stream = StringIO()
            teller = Teller()
            for handler in (logging.StreamHandler(stream), teller):
                handler.setFormatter(logging.Formatter("%(message)s %(user)s"))
                log.addHandler(handler)
                if where == "handler":
                    handler.addFilter(add_user)
            if where == "logger":
                log.addFilter(add_user)

            log.error("done")

            assert stream.getvalue() == f"done by {MASK} {MASK}\n"
            assert VALUE not in teller.told
            assert f"done by {MASK}" in teller.told


def other(record: logging.LogRecord) -> logging.LogRecord:
    """Return another record."""
    fresh = logging.makeLogRecord(record.__dict__)
    fresh.user = fresh.msg = VALUE
    return fresh


@pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
@pytest.mark.usefixtures("redaction")
def test_a_record_that_a_filter_returns_is_redacted(log: logging.Logger, stream: StringIO) -> None:
    """A filter may return another record, which is redacted too."""
    teller = Teller()
    for handler in (logging.StreamHandler(stream), teller):
        handler.addFilter(other)  # type: ignore[arg-type,unused-ignore]
        log.addHandler(handler)

    log.error("done")

    assert stream.getvalue() == f"{MASK}\n"
    assert teller.records[0].user == MASK  # type: ignore[attr-defined]
    assert VALUE not in teller.told


@pytest.mark.usefixtures("redaction")
def test_a_record_that_a_filter_rejects_is_not_shown(log: logging.Logger, stream: StringIO) -> None:
    """A record that a filter rejects is not shown."""
    teller = Teller()
    for handler in (logging.StreamHandler(stream), teller):
        handler.addFilter(lambda _: False)
        log.addHandler(handler)

    log.error("it is %s", VALUE)

    assert stream.getvalue() == teller.told == ""


@pytest.mark.usefixtures("redaction")
def test_a_record_passed_to_a_handler_directly_is_redacted(stream: StringIO) -> None:
    """A record that a library passes to a handler directly is redacted."""
    logging.StreamHandler(stream).emit(logging.makeLogRecord({"msg": f"it is {VALUE}"}))

    assert stream.getvalue() == f"it is {MASK}\n"


class Shouting(logging.Formatter):
    """A formatter of an application."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line with an exclamation mark."""
        return f"{super().format(record)}!"


class Measuring(logging.Formatter):
    """A formatter that returns a dict instead of text."""

    def format(self, record: logging.LogRecord) -> Any:  # noqa: ANN401  (not what the base gives)
        """Return the message and its length."""
        return {"said": [record.getMessage()], "length": len(record.getMessage())}


@pytest.mark.usefixtures("redaction")
def test_the_result_of_a_custom_formatter_is_redacted(
    log: logging.Logger, stream: StringIO
) -> None:
    """The result of a custom formatter is redacted."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Shouting())
    log.addHandler(handler)

    log.error("it is %s", VALUE)

    assert stream.getvalue() == f"it is {MASK}!\n"


@pytest.mark.usefixtures("redaction")
def test_a_formatter_may_give_something_else_than_text() -> None:
    """A formatter may return a dict; the dict is redacted, and keeps its shape."""
    handler = logging.StreamHandler()
    handler.setFormatter(Measuring())

    made: Any = handler.format(logging.makeLogRecord({"msg": VALUE}))

    assert made == {"said": [MASK], "length": len(MASK)}


@pytest.mark.usefixtures("redaction")
def test_uvicorns_access_log_keeps_its_shape(log: logging.Logger, stream: StringIO) -> None:
    """The access log's formatter still gets five arguments, the last one a number."""
    writer, teller = logging.StreamHandler(stream), Teller()
    writer.setFormatter(
        AccessFormatter('%(client_addr)s "%(request_line)s" %(status_code)s', use_colors=False)
    )
    log.addHandler(teller)
    log.addHandler(writer)

    log.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:50000", "GET", f"/items?key={VALUE}", "1.1", 200)

    args = ("127.0.0.1:50000", "GET", f"/items?key={MASK}", "1.1", 200)
    assert teller.records[0].args == args
    assert stream.getvalue() == f'127.0.0.1:50000 "GET /items?key={MASK} HTTP/1.1" 200 OK\n'


@pytest.mark.usefixtures("redaction")
def test_a_queue_contains_no_value(log: logging.Logger, stream: StringIO) -> None:
    """A record is redacted before it is put into a queue."""
    queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
    teller = Teller()
    log.addHandler(QueueHandler(queue))
    log.error("it is %s", VALUE, exc_info=ValueError(VALUE), extra={"user": VALUE})
    held = queue.get()
    assert VALUE not in f"{held.__dict__}"
    queue.put(held)

    listener = QueueListener(queue, logging.StreamHandler(stream), teller)
    listener.start()
    log.error("it is %s", VALUE)
    listener.stop()

    assert VALUE not in stream.getvalue() + teller.told
    assert stream.getvalue().count(f"it is {MASK}\n") == 2


class PassingOn(QueueHandler):
    """A queue handler that does not prepare records, which is a known recipe."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return the record unchanged."""
        return record


@pytest.mark.usefixtures("redaction")
def test_a_queue_of_unprepared_records_contains_no_value(log: logging.Logger) -> None:
    """A record that is not prepared for the queue is redacted too."""
    queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
    log.addHandler(PassingOn(queue))

    log.error("it is %s", VALUE, exc_info=ValueError(VALUE), extra={"user": VALUE})

    held = queue.get()
    assert VALUE not in f"{held.__dict__}"
    assert held.args == (MASK,)


@pytest.mark.usefixtures("redaction")
def test_a_buffer_of_records_contains_no_value(log: logging.Logger, stream: StringIO) -> None:
    """A record that is buffered until an error occurs is redacted in the buffer."""
    memory = MemoryHandler(10, target=logging.StreamHandler(stream))
    log.addHandler(memory)

    log.info("it is %s", VALUE)
    assert VALUE not in f"{[each.__dict__ for each in memory.buffer]}"
    log.error("failed", exc_info=ValueError(VALUE))
    memory.close()

    assert VALUE not in stream.getvalue()
    assert f"it is {MASK}" in stream.getvalue()
    assert f"ValueError: {MASK}" in stream.getvalue()


@pytest.mark.usefixtures("redaction")
def test_log_files_contain_no_value(log: logging.Logger, tmp_path: Path) -> None:
    """Log files, also rotating ones, contain no value."""
    place = tmp_path / "logs"
    place.mkdir()
    handlers = (
        logging.FileHandler(place / "plain.log"),
        RotatingFileHandler(place / "rotating.log", maxBytes=200, backupCount=9),
    )
    for handler in handlers:
        log.addHandler(handler)
    for number in range(20):
        log.error("%d is %s", number, VALUE, exc_info=ValueError(VALUE) if number else None)
    for handler in handlers:
        handler.close()

    assert len(list(place.iterdir())) > 3
    assert VALUE not in written(place)
    assert f"19 is {MASK}\nValueError: {MASK}\n" in written(place)


@pytest.mark.usefixtures("redaction")
def test_a_logger_without_a_handler_is_redacted(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output of a logger without a handler, on stderr, is redacted."""
    log.error("it is %s", VALUE)

    assert capsys.readouterr().err == f"it is {MASK}\n"


# Failures inside logging.


@pytest.mark.usefixtures("redaction")
def test_the_error_report_of_logging_is_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    """The report of arguments that do not match is Python's own, redacted."""
    for template in ("it is %d", "it is %s %s"):
        with case(template):
            log = new_log()
            log.addHandler(logging.StreamHandler(StringIO()))

            log.error(template, VALUE)

            told = capsys.readouterr().err
            assert VALUE not in told
            assert told.startswith("--- Logging error ---\nTraceback")
            assert "TypeError: " in told
            assert "log.error(template, VALUE)" in told.partition("Call stack:")[2]
            assert "in _complaint" not in told
            assert told.endswith(f"Message: '{template}'\nArguments: ('{MASK}',)\n")


class Failing(StringIO):
    """A stream that fails with an error that contains the text."""

    def write(self, text: str) -> int:
        """Raise an error."""
        raise OSError(text + VALUE)


class Full(StringIO):
    """A stream on a full disk."""

    def write(self, text: str) -> int:  # noqa: ARG002  (whatever it is)
        """Raise an error."""
        raise OSError(28, "No space left on device")


@pytest.mark.usefixtures("redaction")
def test_the_error_of_a_stream_is_redacted(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """If a handler cannot write, the report of its error is redacted."""
    log.addHandler(logging.StreamHandler(Failing()))

    log.error("it is %(key)s", {"key": VALUE})

    told = capsys.readouterr().err
    assert f"OSError: it is {MASK}" in told
    assert VALUE not in told


@pytest.mark.usefixtures("redaction")
def test_no_error_report_is_written_without_raise_exceptions(
    log: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``raiseExceptions = False`` no report is written."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.addHandler(logging.StreamHandler(Failing()))

    log.error("it is %s", VALUE)

    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("unwrapped")
def test_a_foreign_way_to_complain_gets_a_scrubbed_record(
    closed: Redaction, log: logging.Logger
) -> None:
    """A ``handleError`` of another library gets the redacted record."""
    told: list[str] = []

    def complain(_: logging.Handler, record: logging.LogRecord) -> None:
        told.append(f"{record.__dict__}")

    setattr(logging.Handler, "handleError", complain)  # noqa: B010  (no type fits)
    start(closed)
    log.addHandler(logging.StreamHandler(Full()))

    log.error("it is %s", VALUE)

    assert len(told) == 1
    assert VALUE not in told[0]


@pytest.mark.usefixtures("unwrapped")
def test_a_foreign_way_to_complain_sees_no_exception_with_a_value(
    closed: Redaction, log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """A ``handleError`` cannot be given another exception, so ours reports one with a value."""
    told: list[BaseException | None] = []

    def complain(_handler: logging.Handler, _record: logging.LogRecord) -> None:
        told.append(sys.exc_info()[1])

    setattr(logging.Handler, "handleError", complain)  # noqa: B010  (no type fits)
    start(closed)
    log.addHandler(logging.StreamHandler(Failing()))

    log.error("it is %s", VALUE)

    assert VALUE not in f"{told!r}{capsys.readouterr().err}"


@pytest.mark.usefixtures("unwrapped")
def test_a_custom_handle_error_gets_the_original_record_without_values(
    closed: Redaction, log: logging.Logger
) -> None:
    """Between the start and the first value, ``handleError`` gets the original record."""
    told: list[object] = []

    def complain(_: logging.Handler, record: logging.LogRecord) -> None:
        told.append(record.args)

    setattr(logging.Handler, "handleError", complain)  # noqa: B010  (no type fits)
    closed.open()
    log.addHandler(logging.StreamHandler(Full()))

    log.error("it is %s", VALUE)

    assert told == [(VALUE,)]


@pytest.mark.usefixtures("redaction")
def test_a_process_without_stderr_does_not_fail() -> None:
    """Without stderr, as in a daemon, nothing fails."""
    for stderr in (None, StringIO()):
        with pytest.MonkeyPatch.context() as monkeypatch, case(stderr):
            log = new_log()
            if stderr is not None:
                stderr.close()
            monkeypatch.setattr(sys, "stderr", stderr)
            monkeypatch.setattr(sys, "excepthook", sys.excepthook)
            log.addHandler(logging.StreamHandler(Failing()))

            log.error("it is %s", VALUE)
            sys.excepthook(ValueError, ValueError(VALUE), None)


@pytest.mark.usefixtures("redaction")
def test_a_text_whose_redaction_fails_is_replaced(
    log: logging.Logger,
    stream: StringIO,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """If the redaction fails, a fixed text replaces every line, report and warning."""
    teller = Teller()
    for handler in (logging.StreamHandler(stream), teller, logging.StreamHandler(Failing())):
        log.addHandler(handler)
    monkeypatch.setattr(registry, "matcher", Broken())

    log.error("it is %s", VALUE)
    warned = warnings.formatwarning(VALUE, UserWarning, "app.py", 1, "line")

    assert stream.getvalue() == warned == f"{REDACTION_FAILED}\n"
    assert teller.records[0].getMessage() == REDACTION_FAILED
    assert capsys.readouterr().err == f"{REDACTION_FAILED}\n"


# Custom classes of handlers and loggers, and other libraries that wrap the same functions.


class OwnFormat(logging.StreamHandler[StringIO]):
    """A handler with its own ``format``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line."""
        return f"own {record.getMessage()}"


class OwnHandle(logging.Handler):
    """A handler with its own ``handle``, which ignores filters."""

    told = ""

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep the message and the attributes."""
        self.told = f"{record.getMessage()} {record.__dict__}"
        return True


class OwnFilter(Teller):
    """A handler with its own ``filter``."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the message and the attributes."""
        self.told += f"{record.getMessage()} {record.__dict__}"
        return True


@pytest.mark.usefixtures("redaction")
def test_a_handler_that_overrides_a_method_sees_no_value(
    log: logging.Logger, stream: StringIO
) -> None:
    """A handler that overrides a method sees no value."""
    handlers = (OwnHandle(), OwnFilter())
    log.addHandler(OwnFormat(stream))
    for handler in handlers:
        log.addHandler(handler)

    log.error("it is %s", VALUE)

    assert stream.getvalue() == f"own it is {MASK}\n"
    for handler in handlers:
        assert f"it is {MASK}" in handler.told
        assert VALUE not in handler.told


@pytest.mark.usefixtures("redaction")
def test_a_handler_with_a_replaced_method_sees_no_value() -> None:
    """A handler with a replaced method sees no value."""
    told: list[str] = []

    def tell(record: logging.LogRecord) -> str:
        told.append(record.getMessage())
        return ""

    for name in ("emit", "format"):
        with case(name):
            told.clear()
            handler = logging.StreamHandler(StringIO())
            setattr(handler, name, tell)

            logging_to(handler).error("it is %s", VALUE)

            assert told == [f"it is {MASK}"]


class Keeping(logging.Logger):
    """A logger that reads a record after its handlers."""

    told = ""

    def callHandlers(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        """Call the handlers, and keep the message and the attributes."""
        super().callHandlers(record)
        self.told = f"{record.getMessage()} {record.__dict__}"


@pytest.mark.usefixtures("redaction")
def test_a_logger_of_another_class_sees_no_value() -> None:
    """A custom logger class sees redacted records."""
    log = Keeping("app")
    log.addHandler(logging.StreamHandler(StringIO()))

    log.error("it is %s", VALUE)

    assert log.told.startswith(f"it is {MASK}")
    assert VALUE not in log.told


class Tracker:
    """An error tracker, which wraps callHandlers and keeps each record."""

    def __init__(self) -> None:
        self.sent: list[logging.LogRecord] = []

    def wrap(self) -> None:
        """Wrap the present callHandlers."""
        before = logging.Logger.callHandlers

        def call_handlers(log: logging.Logger, record: logging.LogRecord) -> None:
            try:
                before(log, record)
            finally:
                self.sent.append(record)

        setattr(logging.Logger, "callHandlers", call_handlers)  # noqa: B010  (no type fits)


@pytest.mark.parametrize("first", [True, False], ids=["below", "on top"])
def test_an_error_tracker_sends_no_value(
    closed: Redaction, log: logging.Logger, stream: StringIO, *, first: bool
) -> None:
    """An error tracker gets redacted records, whether it was set up before or after the start."""
    tracker = Tracker()
    if first:
        tracker.wrap()
    start(closed)
    if not first:
        tracker.wrap()
    log.addHandler(logging.StreamHandler(stream))

    log.error("it is %s", VALUE, extra={"user": VALUE}, exc_info=ValueError(VALUE))

    (record,) = tracker.sent
    assert VALUE not in f"{record.__dict__}"
    assert record.getMessage() == f"it is {MASK}"
    assert stream.getvalue() == f"it is {MASK}\nValueError: {MASK}\n"


# Records that are logged while another one is handled.


class Chatty:
    """An object that logs while it is converted to text."""

    def __init__(self, log: logging.Logger) -> None:
        self.log = log

    def __str__(self) -> str:
        self.log.error("asked for %s", VALUE)
        return VALUE


@pytest.mark.usefixtures("redaction")
def test_an_argument_may_log(log: logging.Logger, stream: StringIO) -> None:
    """A record that is logged while another one is formatted is redacted too."""
    teller = Teller()
    log.addHandler(logging.StreamHandler(stream))
    log.addHandler(teller)

    log.error("it is %s", Chatty(log))

    assert f"asked for {MASK}\n" in stream.getvalue()
    assert stream.getvalue().count(f"it is {MASK}\n") == 1
    assert VALUE not in stream.getvalue() + teller.told


class Repeating(Teller):
    """A handler that logs while it handles a record."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__()
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record, and log again."""
        super().emit(record)
        if len(self.records) < 3:
            self.log.error("again %s", VALUE)


@pytest.mark.usefixtures("redaction")
def test_a_handler_may_log(log: logging.Logger, stream: StringIO) -> None:
    """A record that a handler logs is redacted."""
    repeating = Repeating(log)
    log.addHandler(repeating)
    log.addHandler(logging.StreamHandler(stream))

    log.error("it is %s", VALUE)

    assert len(repeating.records) == 3
    assert VALUE not in stream.getvalue() + repeating.told


class Signalled:
    """An object that raises a signal while it is converted to text."""

    def __str__(self) -> str:
        signal.raise_signal(signal.SIGUSR1)
        return VALUE


def with_a_signal(value: Secret) -> Iterator[Secret]:
    """Raise a signal, and yield a value."""
    signal.raise_signal(signal.SIGUSR1)
    yield value


def test_a_signal_handler_may_log(closed: Redaction, log: logging.Logger, stream: StringIO) -> None:
    """A signal handler may log at any moment, such as while a value is registered."""
    log.addHandler(logging.StreamHandler(stream))
    teller = Teller()
    log.addHandler(teller)

    def handle(_number: int, _frame: object) -> None:
        log.error("signal %s", VALUE)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        start(closed)
        log.error("it is %s", Signalled())
        with registry.lock():
            os.kill(os.getpid(), signal.SIGUSR1)
            closed.register(with_a_signal(Secret("A", VALUE)))
    finally:
        signal.signal(signal.SIGUSR1, before)

    said = stream.getvalue()
    assert VALUE not in said + teller.told
    assert said.count(f"it is {MASK}\n") == 1
    assert said.count(f"signal {MASK}\n") > 2


def test_many_threads_log_while_runs_begin_and_end(redaction: Redaction) -> None:
    """No line of any thread shows the value, while other runs begin and end."""
    streams = [StringIO() for _ in range(4)]
    tellers = [Teller() for _ in streams]
    # All threads have begun when they take turns often: see tests.fixtures.threads.readers.
    begun = threading.Barrier(len(streams) + 2, partial(sys.setswitchinterval, 1e-5))

    def say(number: int) -> None:
        log = logging.Logger(f"thread {number}")  # noqa: LOG001  (as above)
        log.addHandler(logging.StreamHandler(streams[number]))
        log.addHandler(tellers[number])
        begun.wait()
        for count in range(60):
            log.error("%d is %s", count, VALUE, exc_info=ValueError(VALUE))

    def change(number: int) -> None:
        begun.wait()
        for count in range(40):
            other = Redaction()
            other.open()
            other.register([Secret("B", f"fake-other-{number}-{count:08d}")])
            other.close()

    before = sys.getswitchinterval()
    try:
        with ThreadPoolExecutor(len(streams) + 2) as threads:
            todo = [threads.submit(say, number) for number in range(len(streams))]
            todo += [threads.submit(change, number) for number in range(2)]
            for each in todo:
                each.result()
    finally:
        sys.setswitchinterval(before)

    assert redaction.kept_until_exit is False
    for stream, teller in zip(streams, tellers, strict=True):
        assert stream.getvalue().count(f" is {MASK}\nValueError: {MASK}\n") == 60
        assert VALUE not in stream.getvalue() + teller.told


# Patches, formatters and handlers of other libraries.


def logging_to(handler: logging.Handler) -> logging.Logger:
    """Return a logger with this handler alone."""
    logger = logging.Logger("app")  # noqa: LOG001  (no other code uses it)
    logger.addHandler(handler)
    return logger


def test_a_wrapper_of_call_handlers_gets_redacted_records(closed: Redaction) -> None:
    """A tracker that wraps callHandlers with functools.wraps gets redacted records too."""
    sent = []
    known = logging.Logger.callHandlers

    @functools.wraps(known)
    def tracker(self: logging.Logger, record: logging.LogRecord) -> None:
        known(self, record)
        sent.append(record.getMessage())

    logging.Logger.callHandlers = tracker  # type: ignore[method-assign]
    start(closed)
    logging_to(logging.StreamHandler(StringIO())).error("it is %s", VALUE)
    assert sent == ["it is ***"]


def test_a_format_that_cuts_shows_no_beginning(redaction: Redaction) -> None:
    """A value is redacted before a format with a precision cuts it."""
    for pattern in ("%(message).20s", "{message:.20}"):
        with case(pattern):
            stream = StringIO()
            assert redaction
            handler = logging.StreamHandler(stream)
            handler.setFormatter(logging.Formatter(pattern, style="{" if "{" in pattern else "%"))
            logging_to(handler).error("it is %s", VALUE)
            assert stream.getvalue() == "it is ***\n"


@pytest.mark.parametrize("name", ["handle", "filter"])
def test_a_handler_instance_with_a_replaced_method_gets_no_value(
    closed: Redaction, name: str
) -> None:
    """A handler with a replaced ``handle`` or ``filter`` gets a redacted record."""
    told: list[str] = []
    handler = logging.StreamHandler(StringIO())
    setattr(handler, name, lambda record: told.append(record.getMessage()))
    logging._handlerList.append(weakref.ref(handler))  # type: ignore[attr-defined]  # noqa: SLF001  (as logging does)
    start(closed)
    logging_to(handler).error("it is %s", VALUE)
    assert told == ["it is ***"]


def test_a_handler_that_dict_config_has_forgotten_gets_no_value(closed: Redaction) -> None:
    """A handler that dictConfig has removed from logging's list gets a redacted record."""

    class Own(logging.Handler):
        """A handler with its own ``handle``."""

        told = ""

        def handle(self, record: logging.LogRecord) -> bool:
            """Keep the message."""
            self.told += record.getMessage()
            return True

    own = Own()
    logger = logging.getLogger("tests.redaction.logged")
    logger.addHandler(own)
    try:
        start(closed)
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
        logger.error("it is %s", VALUE)
    finally:
        logger.removeHandler(own)
    assert own.told == "it is ***"


def test_a_null_handler_causes_no_redaction(
    redaction: Redaction, stream: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NullHandler causes no additional redaction."""
    assert redaction
    looked: list[object] = []
    monkeypatch.setattr(scrub, "redact_record", lambda *both: looked.append(both))
    null = logging.NullHandler()
    logging_to(logging.StreamHandler(stream)).error("nothing")
    assert null
    assert looked == []


def test_a_value_in_the_name_of_an_extra_attribute_is_redacted(redaction: Redaction) -> None:
    """A value in the name of an extra attribute is redacted."""
    assert redaction
    teller = Teller()
    logging_to(teller).error("it is", extra={VALUE: 1})
    assert VALUE not in teller.told


def test_both_ends_of_a_value_that_pydantic_cuts_are_redacted(
    closed: Redaction, stream: StringIO
) -> None:
    """Pydantic shows both ends of a long input; neither is shown."""
    value = "fake-" + "0123456789abcdefghij" * 5
    closed.open()
    closed.register([Secret("A", value)])
    try:
        pydantic.TypeAdapter(int).validate_python(value)
    except ValueError:
        logging_to(logging.StreamHandler(stream)).exception("refused")
    assert "input_value='***'" in stream.getvalue()
    assert "fake-0123456789abcd" not in stream.getvalue()
