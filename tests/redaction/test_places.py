"""Every way in which Python shows something to people, while values are hidden."""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from logging.handlers import MemoryHandler, QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.logging import AccessFormatter

from hive_boot import Secret
from hive_boot.redaction import hidden
from hive_boot.redaction.hooks import Redaction
from hive_boot.redaction.matching import MASK
from hive_boot.redaction.places import PLACES, REPLACED
from tests.support import run_child

VALUE = "fake-value-0123456789"


class Teller(logging.Handler):
    """Formats nothing, and tells everything that a record has, as error trackers do."""

    def __init__(self) -> None:
        super().__init__()
        self.told = ""
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Tell the message, every attribute, and the traceback."""
        self.records.append(record)
        self.told += f"{record.getMessage()}\n{record.__dict__}\n"
        if record.exc_info and record.exc_info[1]:
            self.told += "".join(traceback.format_exception(record.exc_info[1]))


class Broken:
    """What is to find values, and fails."""

    def is_clean(self, text: str) -> bool:
        """Fail at the first look."""
        raise RuntimeError(text)

    scrub = is_clean


class Client:
    """An object that shows how it was made."""

    def __repr__(self) -> str:
        return f"Client({VALUE})"


@pytest.fixture(autouse=True)
def _no_other_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let logging know of no handler but those of a test: pytest's own are of an odd kind."""
    monkeypatch.setattr(logging, "_handlerList", [])


@pytest.fixture
def unwrapped() -> Iterator[None]:
    """Put back, at the end, what a test has put in the place of Python's own."""
    known = [(owner, name, vars(owner).get(name)) for owner, name, _ in PLACES]
    yield
    for owner, name, before in known:
        if before is not None:
            setattr(owner, name, before)
        elif name in vars(owner):
            delattr(owner, name)


@pytest.fixture
def closed(unwrapped: None) -> Iterator[Redaction]:  # noqa: ARG001  (it ends later)
    """Give a redaction that the test opens itself."""
    redaction = Redaction()
    yield redaction
    redaction.close()


def start(redaction: Redaction) -> None:
    """Hide the value."""
    redaction.open()
    redaction.hide([Secret("A", VALUE)])


@pytest.fixture
def redaction(closed: Redaction) -> Redaction:
    """Hide the value from the beginning."""
    start(closed)
    return closed


@pytest.fixture
def log() -> logging.Logger:
    """Give a logger that nobody else has."""
    return logging.Logger("app")  # noqa: LOG001  (see above)


@pytest.fixture
def stream() -> StringIO:
    """Give what handlers write to."""
    return StringIO()


def written(path: Path) -> str:
    """Give what stands in all files of a directory."""
    return "".join(each.read_text() for each in sorted(path.iterdir()))


# Loggers and handlers.


@pytest.mark.usefixtures("redaction")
def test_a_child_logger_is_heard_by_its_parents_handler(
    log: logging.Logger, stream: StringIO
) -> None:
    """The handler of a parent logger writes no value of a child's record."""
    log.addHandler(logging.StreamHandler(stream))
    child = logging.Logger("app.child")  # noqa: LOG001  (as above)
    child.parent = log

    child.error("it is %s", VALUE)

    assert stream.getvalue() == f"it is {MASK}\n"


@pytest.mark.usefixtures("redaction")
def test_a_real_tree_of_loggers_is_scrubbed(stream: StringIO) -> None:
    """A logger with ``propagate = False`` and one below it are both scrubbed."""
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
def test_the_root_logger_is_scrubbed(caplog: pytest.LogCaptureFixture) -> None:
    """What reaches the handlers of the root logger tells no value."""
    logging.getLogger("tests.redaction.root").error("it is %s", VALUE)

    assert caplog.messages == [f"it is {MASK}"]
    assert VALUE not in caplog.text


def test_a_handler_is_scrubbed_whenever_it_was_added(
    closed: Redaction, log: logging.Logger
) -> None:
    """It does not matter whether logging is configured before or after the start."""
    before, after, teller = StringIO(), StringIO(), Teller()
    log.addHandler(logging.StreamHandler(before))
    start(closed)
    log.addHandler(logging.StreamHandler(after))
    log.addHandler(teller)

    log.error("it is %s", VALUE)

    assert before.getvalue() == after.getvalue() == f"it is {MASK}\n"
    assert VALUE not in teller.told


def add_user(record: logging.LogRecord) -> bool:
    """Add a value to a record, as a filter does for a request's context."""
    record.user = VALUE
    record.msg = f"{record.msg} by {VALUE}"
    return True


@pytest.mark.usefixtures("redaction")
@pytest.mark.parametrize("where", ["logger", "handler"])
def test_what_a_filter_adds_is_scrubbed(log: logging.Logger, stream: StringIO, where: str) -> None:
    """A filter that adds to records adds no value to what is shown."""
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
    """Give another record."""
    fresh = logging.makeLogRecord(record.__dict__)
    fresh.user = fresh.msg = VALUE
    return fresh


@pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
@pytest.mark.usefixtures("redaction")
def test_the_record_that_a_filter_gives_is_scrubbed(log: logging.Logger, stream: StringIO) -> None:
    """A filter may hand on another record than it got."""
    teller = Teller()
    for handler in (logging.StreamHandler(stream), teller):
        handler.addFilter(other)  # type: ignore[arg-type,unused-ignore]
        log.addHandler(handler)

    log.error("done")

    assert stream.getvalue() == f"{MASK}\n"
    assert teller.records[0].user == MASK  # type: ignore[attr-defined]
    assert VALUE not in teller.told


@pytest.mark.usefixtures("redaction")
def test_a_record_that_a_filter_refuses_is_not_shown(log: logging.Logger, stream: StringIO) -> None:
    """A filter that says no is obeyed, by a handler of either kind."""
    teller = Teller()
    for handler in (logging.StreamHandler(stream), teller):
        handler.addFilter(lambda _: False)
        log.addHandler(handler)

    log.error("it is %s", VALUE)

    assert stream.getvalue() == teller.told == ""


@pytest.mark.usefixtures("redaction")
def test_a_record_that_is_handed_to_a_handler_directly_is_scrubbed(stream: StringIO) -> None:
    """A library may keep a record and emit it itself."""
    logging.StreamHandler(stream).emit(logging.makeLogRecord({"msg": f"it is {VALUE}"}))

    assert stream.getvalue() == f"it is {MASK}\n"


class Shouting(logging.Formatter):
    """A formatter of somebody's own."""

    def format(self, record: logging.LogRecord) -> str:
        """Say it with emphasis."""
        return f"{super().format(record)}!"


class Measuring(logging.Formatter):
    """A formatter that gives something else than text, for a handler that takes it."""

    def format(self, record: logging.LogRecord) -> Any:  # noqa: ANN401  (not what the base gives)
        """Give a document."""
        return {"said": [record.getMessage()], "length": len(record.getMessage())}


@pytest.mark.usefixtures("redaction")
def test_a_formatter_of_ones_own_is_scrubbed(log: logging.Logger, stream: StringIO) -> None:
    """What another formatter makes is scrubbed, too."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Shouting())
    log.addHandler(handler)

    log.error("it is %s", VALUE)

    assert stream.getvalue() == f"it is {MASK}!\n"


@pytest.mark.usefixtures("redaction")
def test_a_formatter_may_give_something_else_than_text() -> None:
    """A document that a formatter makes keeps its shape."""
    handler = logging.StreamHandler()
    handler.setFormatter(Measuring())

    made: Any = handler.format(logging.makeLogRecord({"msg": VALUE}))

    assert made == {"said": [MASK], "length": len(VALUE)}


@pytest.mark.usefixtures("redaction")
def test_uvicorns_access_log_keeps_its_shape(log: logging.Logger, stream: StringIO) -> None:
    """The access log takes the arguments of a record apart: they stay five, the last a number."""
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
def test_a_queue_holds_no_value(log: logging.Logger, stream: StringIO) -> None:
    """A record that goes through a queue is scrubbed before it is in it."""
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
    """A queue's handler that puts the record into it as it is, which is a known recipe."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Give the record itself."""
        return record


@pytest.mark.usefixtures("redaction")
def test_a_queue_that_takes_records_as_they_are_holds_no_value(log: logging.Logger) -> None:
    """A record that is not prepared for a queue is scrubbed all the same."""
    queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
    log.addHandler(PassingOn(queue))

    log.error("it is %s", VALUE, exc_info=ValueError(VALUE), extra={"user": VALUE})

    held = queue.get()
    assert VALUE not in f"{held.__dict__}"
    assert held.args == (MASK,)


@pytest.mark.usefixtures("redaction")
def test_a_memory_of_records_holds_no_value(log: logging.Logger, stream: StringIO) -> None:
    """What is kept until an error comes is scrubbed while it is kept."""
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
def test_files_hold_no_value(log: logging.Logger, tmp_path: Path) -> None:
    """Plain log files and those that rotate hold stars."""
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
def test_a_logger_without_a_handler_is_scrubbed(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """What nobody configured is written to stderr by ``logging`` itself."""
    log.error("it is %s", VALUE)

    assert capsys.readouterr().err == f"it is {MASK}\n"


# What goes wrong inside of logging.


@pytest.mark.usefixtures("redaction")
@pytest.mark.parametrize("template", ["it is %d", "it is %s %s"])
def test_a_complaint_of_logging_tells_no_value(
    log: logging.Logger, capsys: pytest.CaptureFixture[str], template: str
) -> None:
    """Arguments that do not fit are complained of as Python does, with stars."""
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
    """A stream that does not take what it is given, and says what that was."""

    def write(self, text: str) -> int:
        """Fail."""
        raise OSError(text + VALUE)


class Full(StringIO):
    """A stream that does not take what it is given."""

    def write(self, text: str) -> int:  # noqa: ARG002  (whatever it is)
        """Fail."""
        raise OSError(28, "No space left on device")


@pytest.mark.usefixtures("redaction")
def test_what_a_stream_says_of_its_failure_is_scrubbed(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """A handler that cannot write does not show the value in another place."""
    log.addHandler(logging.StreamHandler(Failing()))

    log.error("it is %(key)s", {"key": VALUE})

    told = capsys.readouterr().err
    assert f"OSError: it is {MASK}" in told
    assert VALUE not in told


@pytest.mark.usefixtures("redaction")
def test_logging_does_not_complain_where_it_must_not(
    log: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``raiseExceptions = False`` is obeyed."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.addHandler(logging.StreamHandler(Failing()))

    log.error("it is %s", VALUE)

    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("unwrapped")
def test_a_foreign_way_to_complain_gets_a_scrubbed_record(
    closed: Redaction, log: logging.Logger
) -> None:
    """Who has put something else in the place of the complaint is called, without the value."""
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
    """The exception that is being handled cannot be replaced, so it is told by us."""
    told: list[BaseException | None] = []

    def complain(_handler: logging.Handler, _record: logging.LogRecord) -> None:
        told.append(sys.exc_info()[1])

    setattr(logging.Handler, "handleError", complain)  # noqa: B010  (no type fits)
    start(closed)
    log.addHandler(logging.StreamHandler(Failing()))

    log.error("it is %s", VALUE)

    assert VALUE not in f"{told!r}{capsys.readouterr().err}"


@pytest.mark.usefixtures("unwrapped")
def test_a_foreign_way_to_complain_gets_what_it_would_without_a_value(
    closed: Redaction, log: logging.Logger
) -> None:
    """Between the start and the first value, others get what logging gave."""
    told: list[object] = []

    def complain(_: logging.Handler, record: logging.LogRecord) -> None:
        told.append(record.args)

    setattr(logging.Handler, "handleError", complain)  # noqa: B010  (no type fits)
    closed.open()
    log.addHandler(logging.StreamHandler(Full()))

    log.error("it is %s", VALUE)

    assert told == [(VALUE,)]


@pytest.mark.usefixtures("redaction")
@pytest.mark.parametrize("stderr", [None, StringIO()], ids=["none", "closed"])
def test_a_process_without_stderr_goes_on(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch, stderr: StringIO | None
) -> None:
    """A daemon has no stderr; nothing breaks because of that."""
    if stderr is not None:
        stderr.close()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    log.addHandler(logging.StreamHandler(Failing()))

    log.error("it is %s", VALUE)
    sys.excepthook(ValueError, ValueError(VALUE), None)


@pytest.mark.usefixtures("redaction")
def test_a_text_that_cannot_be_scrubbed_is_replaced(
    log: logging.Logger,
    stream: StringIO,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """When the scrubbing fails, nothing passes: not a line, not a complaint, not a warning."""
    teller = Teller()
    for handler in (logging.StreamHandler(stream), teller, logging.StreamHandler(Failing())):
        log.addHandler(handler)
    monkeypatch.setattr(hidden, "matcher", Broken())

    log.error("it is %s", VALUE)
    warned = warnings.formatwarning(VALUE, UserWarning, "app.py", 1, "line")

    assert stream.getvalue() == warned == f"{REPLACED}\n"
    assert teller.records[0].getMessage() == REPLACED
    assert capsys.readouterr().err == f"{REPLACED}\n"


# Handlers and loggers of another class, and others who wrap the same functions.


class OwnFormat(logging.StreamHandler[StringIO]):
    """A handler that makes its lines itself."""

    def format(self, record: logging.LogRecord) -> str:
        """Give a line."""
        return f"own {record.getMessage()}"


class OwnHandle(logging.Handler):
    """A handler that takes records before any filter does."""

    told = ""

    def handle(self, record: logging.LogRecord) -> bool:
        """Tell the message."""
        self.told = f"{record.getMessage()} {record.__dict__}"
        return True


class OwnFilter(Teller):
    """A handler that looks at records in a filter of its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell the message."""
        self.told += f"{record.getMessage()} {record.__dict__}"
        return True


@pytest.mark.usefixtures("redaction")
def test_a_handler_with_ways_of_its_own_tells_no_value(
    log: logging.Logger, stream: StringIO
) -> None:
    """Whatever part of its work a handler does itself, it sees no value."""
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
@pytest.mark.parametrize("name", ["emit", "format"])
def test_a_handler_that_was_changed_tells_no_value(log: logging.Logger, name: str) -> None:
    """A single handler of which somebody replaced a part sees no value."""
    told: list[str] = []

    def tell(record: logging.LogRecord) -> str:
        told.append(record.getMessage())
        return ""

    handler = logging.StreamHandler(StringIO())
    setattr(handler, name, tell)
    log.addHandler(handler)

    log.error("it is %s", VALUE)

    assert told == [f"it is {MASK}"]


class Keeping(logging.Logger):
    """A logger that looks at a record after its handlers have."""

    told = ""

    def callHandlers(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's name)
        """Tell what the record holds."""
        super().callHandlers(record)
        self.told = f"{record.getMessage()} {record.__dict__}"


@pytest.mark.usefixtures("redaction")
def test_a_logger_of_another_class_sees_no_value() -> None:
    """A library's own logger that keeps records keeps scrubbed ones."""
    log = Keeping("app")
    log.addHandler(logging.StreamHandler(StringIO()))

    log.error("it is %s", VALUE)

    assert log.told.startswith(f"it is {MASK}")
    assert VALUE not in log.told


class Tracker:
    """What an error tracker does: it wraps callHandlers, and sends each record."""

    def __init__(self) -> None:
        self.sent: list[logging.LogRecord] = []

    def wrap(self) -> None:
        """Put a function of its own around the current one."""
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
    """Whether a tracker was set up before or after the start, it gets scrubbed records."""
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


# While something else is being said.


class Chatty:
    """An object that logs while it is asked what it is."""

    def __init__(self, log: logging.Logger) -> None:
        self.log = log

    def __str__(self) -> str:
        self.log.error("asked for %s", VALUE)
        return VALUE


@pytest.mark.usefixtures("redaction")
def test_an_argument_may_log(log: logging.Logger, stream: StringIO) -> None:
    """What is said while another line is made is scrubbed like that line."""
    teller = Teller()
    log.addHandler(logging.StreamHandler(stream))
    log.addHandler(teller)

    log.error("it is %s", Chatty(log))

    assert f"asked for {MASK}\n" in stream.getvalue()
    assert stream.getvalue().count(f"it is {MASK}\n") == 1
    assert VALUE not in stream.getvalue() + teller.told


class Repeating(Teller):
    """A handler that logs while it handles."""

    def __init__(self, log: logging.Logger) -> None:
        super().__init__()
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Tell, and say once more."""
        super().emit(record)
        if len(self.records) < 3:
            self.log.error("again %s", VALUE)


@pytest.mark.usefixtures("redaction")
def test_a_handler_may_log(log: logging.Logger, stream: StringIO) -> None:
    """What a handler says while it handles is scrubbed."""
    repeating = Repeating(log)
    log.addHandler(repeating)
    log.addHandler(logging.StreamHandler(stream))

    log.error("it is %s", VALUE)

    assert len(repeating.records) == 3
    assert VALUE not in stream.getvalue() + repeating.told


class Signalled:
    """An object during whose text a signal arrives."""

    def __str__(self) -> str:
        signal.raise_signal(signal.SIGUSR1)
        return VALUE


def with_a_signal(value: Secret) -> Iterator[Secret]:
    """Give a value, and let a signal arrive before."""
    signal.raise_signal(signal.SIGUSR1)
    yield value


def test_a_signal_handler_may_log(closed: Redaction, log: logging.Logger, stream: StringIO) -> None:
    """A signal's handler logs at any moment: while a line is made, and while values are hidden."""
    log.addHandler(logging.StreamHandler(stream))
    teller = Teller()
    log.addHandler(teller)

    def handle(_number: int, _frame: object) -> None:
        log.error("signal %s", VALUE)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        start(closed)
        log.error("it is %s", Signalled())
        with hidden.changing():
            os.kill(os.getpid(), signal.SIGUSR1)
            closed.hide(with_a_signal(Secret("A", VALUE)))
    finally:
        signal.signal(signal.SIGUSR1, before)

    said = stream.getvalue()
    assert VALUE not in said + teller.told
    assert said.count(f"it is {MASK}\n") == 1
    assert said.count(f"signal {MASK}\n") > 2


def test_many_threads_log_while_runs_begin_and_end(redaction: Redaction) -> None:
    """No line of any thread shows the value while one run hides it, whatever others do."""
    streams = [StringIO() for _ in range(4)]
    tellers = [Teller() for _ in streams]
    begun = threading.Barrier(len(streams) + 2)

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
            other.hide([Secret("B", f"fake-other-{number}-{count:08d}")])
            other.close()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(len(streams) + 2) as threads:
            todo = [threads.submit(say, number) for number in range(len(streams))]
            todo += [threads.submit(change, number) for number in range(2)]
            for each in todo:
                each.result()
    finally:
        sys.setswitchinterval(before)

    assert redaction.lingers is False
    for stream, teller in zip(streams, tellers, strict=True):
        assert stream.getvalue().count(f" is {MASK}\nValueError: {MASK}\n") == 60
        assert VALUE not in stream.getvalue() + teller.told


# What ends a program, a thread, or nothing at all.


def hooks_of_python(redaction: Redaction) -> None:
    """Let Python's own functions be what is there before the start."""
    sys.excepthook = sys.__excepthook__
    threading.excepthook = threading.__excepthook__
    sys.unraisablehook = sys.__unraisablehook__
    start(redaction)


def failed(text: str = VALUE) -> ValueError:
    """Give an exception that was raised."""
    with pytest.raises(ValueError, match=text) as caught:
        raise ValueError(text)
    return caught.value


def test_a_crash_is_shown_without_the_value(
    closed: Redaction, capsys: pytest.CaptureFixture[str]
) -> None:
    """The traceback of what ends a process has stars."""
    hooks_of_python(closed)
    exc = failed()

    sys.excepthook(type(exc), exc, exc.__traceback__)

    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last):\n")
    assert told.endswith(f"ValueError: {MASK}\n")


def thread_args(
    exc: BaseException | None, thread: threading.Thread | None
) -> threading.ExceptHookArgs:
    """Give what a thread's hook gets."""
    trace = None if exc is None else exc.__traceback__
    return threading.ExceptHookArgs((type(exc or ValueError()), exc, trace, thread))


def test_a_crash_of_a_thread_is_shown_without_the_value(
    closed: Redaction, capsys: pytest.CaptureFixture[str]
) -> None:
    """The traceback of what ends a thread has stars, and names the thread."""
    hooks_of_python(closed)

    threading.excepthook(thread_args(failed(), threading.Thread(name="worker")))
    threading.excepthook(thread_args(failed(), None))

    told = capsys.readouterr().err
    assert told.startswith("Exception in thread worker:\nTraceback (most recent call last):\n")
    assert f"Exception in thread {threading.get_ident()}:\n" in told
    assert told.count(f"ValueError: {MASK}\n") == 2
    assert VALUE not in told


def test_a_thread_that_exits_says_nothing(
    closed: Redaction, capsys: pytest.CaptureFixture[str]
) -> None:
    """``sys.exit`` in a thread ends it in silence, as without us."""
    hooks_of_python(closed)

    threading.excepthook(thread_args(SystemExit(VALUE), threading.Thread(name="worker")))

    assert capsys.readouterr().err == ""


def unraisable(exc: BaseException | None, message: str | None = None, what: object = None) -> Any:  # noqa: ANN401  (what Python hands over cannot be made)
    """Give what Python hands to the hook for what nobody can catch."""
    return SimpleNamespace(
        exc_type=type(exc),
        exc_value=exc,
        exc_traceback=None if exc is None else exc.__traceback__,
        err_msg=message,
        object=what,
    )


def test_what_nobody_can_catch_is_shown_without_the_value(
    closed: Redaction, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error in ``__del__`` has stars, in what it says and in what it happened to."""
    hooks_of_python(closed)

    sys.unraisablehook(unraisable(failed(), what=Client()))
    sys.unraisablehook(unraisable(failed(), f"Ignored for {VALUE}", "it"))

    told = capsys.readouterr().err
    assert told.startswith(f"Exception ignored in: Client({MASK})\nTraceback")
    assert f"Ignored for {MASK}: 'it'\n" in told
    assert told.count(f"ValueError: {MASK}\n") == 2
    assert VALUE not in told


class Foreign:
    """Hooks of somebody else, who shows what they get in his own way."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        sys.excepthook = self.crash
        threading.excepthook = self.keep
        sys.unraisablehook = self.keep

    def crash(self, *arguments: object) -> None:
        """Take the three arguments of sys.excepthook."""
        self.keep(SimpleNamespace(exc_value=arguments[1], all=arguments))

    def keep(self, args: Any) -> None:  # noqa: ANN401  (of one hook or the other)
        """Take the argument of the others."""
        self.got.append(args)

    def told(self) -> str:
        """Show all, in full."""
        return "".join("".join(traceback.format_exception(args.exc_value)) for args in self.got)


def call_all_hooks(exc: BaseException | None) -> None:
    """Let an exception arrive at each of the three hooks."""
    trace = None if exc is None else exc.__traceback__
    sys.excepthook(type(exc), exc, trace)  # type: ignore[arg-type]
    threading.excepthook(thread_args(exc, None))
    sys.unraisablehook(unraisable(exc))


def test_foreign_hooks_get_an_exception_without_the_value(closed: Redaction) -> None:
    """An error tracker is called as before, with a stand-in that has the traceback."""
    foreign = Foreign()
    start(closed)
    exc = failed()

    call_all_hooks(exc)

    assert len(foreign.got) == 3
    assert VALUE not in foreign.told()
    assert foreign.told().count(f"ValueError: {MASK}\n") == 3
    for args in foreign.got:
        assert isinstance(args.exc_value, ValueError)
        assert args.exc_value is not exc
        assert args.exc_value.__traceback__ is exc.__traceback__
    kind, shown, trace = foreign.got[0].all
    assert (kind, trace) == (type(shown), exc.__traceback__)
    assert foreign.got[1].exc_type is type(foreign.got[1].exc_value)
    assert foreign.got[2].exc_type is type(foreign.got[2].exc_value)


def test_foreign_hooks_get_an_exception_without_a_value_as_it_is(closed: Redaction) -> None:
    """What tells nothing is handed on, the same object."""
    foreign = Foreign()
    start(closed)
    exc = failed("refused")

    call_all_hooks(exc)

    assert [args.exc_value for args in foreign.got] == [exc, exc, exc]


def test_foreign_hooks_get_nothing_when_there_is_nothing(closed: Redaction) -> None:
    """Where Python has no exception at hand, the hooks of others are called all the same."""
    foreign = Foreign()
    start(closed)

    threading.excepthook(thread_args(None, None))
    sys.unraisablehook(unraisable(None))

    assert [args.exc_value for args in foreign.got] == [None, None]


def test_hooks_hand_on_while_nothing_is_hidden(closed: Redaction) -> None:
    """Between the start and the first value, others get what Python gave."""
    foreign = Foreign()
    closed.open()
    exc = failed()

    call_all_hooks(exc)

    assert [args.exc_value for args in foreign.got] == [exc, exc, exc]


def test_foreign_hooks_get_no_exception_that_cannot_be_scrubbed(
    closed: Redaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the scrubbing fails, a tracker is told that something is not shown."""
    foreign = Foreign()
    start(closed)
    monkeypatch.setattr(hidden, "matcher", Broken())

    call_all_hooks(failed())

    assert VALUE not in foreign.told()
    assert foreign.told().count(REPLACED) == 3


def test_hooks_of_python_show_nothing_that_cannot_be_scrubbed(
    closed: Redaction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When the scrubbing fails, stderr tells that something is not shown."""
    hooks_of_python(closed)
    monkeypatch.setattr(hidden, "matcher", Broken())

    call_all_hooks(failed())

    assert capsys.readouterr().err == f"{REPLACED}\n" * 3


@pytest.mark.usefixtures("redaction")
def test_an_unhandled_error_in_a_loop_is_shown_without_the_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What asyncio says of a task that nobody awaited has stars."""

    async def fail() -> None:
        raise ValueError(VALUE)

    async def main() -> None:
        task = asyncio.ensure_future(fail())
        await asyncio.wait([task])
        del task
        gc.collect()
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"odd {VALUE}", "exception": ValueError(VALUE), "client": Client()}
        )

    asyncio.run(main())

    assert "Task exception was never retrieved" in caplog.text
    assert f"exception=ValueError('{MASK}')" in caplog.text
    assert f"client: Client({MASK})" in caplog.text
    assert VALUE not in caplog.text


# Warnings.


@pytest.mark.usefixtures("redaction")
def test_the_text_of_a_warning_is_scrubbed() -> None:
    """A warning is written with stars, and with the line that it is about."""
    text = warnings.formatwarning(f"it is {VALUE}", UserWarning, "app.py", 7, f"connect({VALUE})")

    assert text == f"app.py:7: UserWarning: it is {MASK}\n  connect({MASK})\n"


@pytest.mark.usefixtures("redaction")
def test_a_warning_that_logging_captures_is_scrubbed(caplog: pytest.LogCaptureFixture) -> None:
    """Warnings that go to the log have stars there."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        try:
            warnings.warn(f"it is {VALUE}", UserWarning, stacklevel=1)
        finally:
            logging.captureWarnings(capture=False)

    assert f"UserWarning: it is {MASK}" in caplog.text
    assert VALUE not in caplog.text


# What is printed by hand.


PRINTED: dict[str, Callable[[ValueError, StringIO], None]] = {
    "by name": lambda exc, file: traceback.print_exception(exc, file=file),
    "in the old way": lambda exc, file: traceback.print_exception(
        type(exc), exc, exc.__traceback__, file=file
    ),
    "by position": lambda exc, file: traceback.print_exception(
        type(exc), exc, exc.__traceback__, None, file
    ),
    "by position, without the chain": lambda exc, file: traceback.print_exception(
        type(exc),
        exc,
        exc.__traceback__,
        None,
        file,
        False,  # noqa: FBT003  (as it is called)
    ),
}


@pytest.mark.usefixtures("redaction")
@pytest.mark.parametrize("show", PRINTED.values(), ids=PRINTED.keys())
def test_a_traceback_that_is_printed_is_scrubbed(
    stream: StringIO, show: Callable[[ValueError, StringIO], None]
) -> None:
    """What a server or a pool of processes prints of an error has stars."""
    show(failed(), stream)

    assert stream.getvalue().startswith("Traceback (most recent call last):\n")
    assert stream.getvalue().endswith(f"ValueError: {MASK}\n")
    assert VALUE not in stream.getvalue()


@pytest.mark.usefixtures("redaction")
def test_a_traceback_that_is_printed_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """``print_exc`` prints where it always did, and no chain where none is asked for."""
    exc = failed()
    exc.__context__ = KeyError("context")

    traceback.print_exception(exc)
    traceback.print_exception(exc, chain=False)

    told = capsys.readouterr().err
    assert told.count(f"ValueError: {MASK}\n") == 2
    assert told.count("KeyError") == 1
    assert VALUE not in told


def test_a_traceback_is_printed_as_ever_while_nothing_is_hidden(
    closed: Redaction, stream: StringIO
) -> None:
    """Between the start and the first value, a traceback is what it was."""
    closed.open()

    traceback.print_exception(ValueError(VALUE), file=stream)

    assert stream.getvalue() == f"ValueError: {VALUE}\n"


# Whole programs.

OPEN = """
import os
VALUE = os.environ["HELD"]
if os.environ["HIDDEN"]:
    from hive_boot import Secret
    from hive_boot.redaction.hooks import Redaction
    redaction = Redaction()
    redaction.open()
    redaction.hide([Secret("A", VALUE)])
"""

PROGRAMS = {
    "a crash": "raise ValueError(VALUE)",
    "a chained crash": """
try:
    {}[VALUE]
except KeyError as exc:
    raise RuntimeError(f"refused {VALUE}") from exc
""",
    "a crash while one is handled": """
try:
    int(VALUE)
except ValueError:
    raise RuntimeError("refused")
""",
    "a group": "raise ExceptionGroup('two', [ValueError(VALUE), KeyError(VALUE)])",
    "a note": """
exc = ValueError("refused")
exc.add_note(VALUE)
raise exc
""",
    "a line of Python": """
import ast
ast.literal_eval(f"{VALUE} is")
""",
    "a thread": """
import threading
thread = threading.Thread(target=int, args=[VALUE], name="worker")
thread.start()
thread.join()
""",
    "__del__": """
class Client:
    def __del__(self):
        raise ValueError(VALUE)

Client()
""",
    "the end of the process": """
import atexit
atexit.register(int, VALUE)
""",
    "a task that nobody awaits": """
import asyncio

async def fail():
    raise ValueError(VALUE)

async def main():
    task = asyncio.ensure_future(fail())
    await asyncio.wait([task])

asyncio.run(main())
""",
    "a callback of a loop": """
import asyncio

async def main():
    asyncio.get_running_loop().call_soon(int, VALUE)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

asyncio.run(main())
""",
    "a crash in trio": """
import trio

async def fail():
    raise ValueError(VALUE)

async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)

trio.run(main)
""",
    "a warning": """
import warnings
warnings.warn(f"it is {VALUE}")
""",
    "a warning in the log": """
import logging
import warnings
logging.basicConfig()
logging.captureWarnings(True)
warnings.warn(f"it is {VALUE}")
""",
    "a log that nobody configured": """
import logging
logging.getLogger("app").error("it is %s", VALUE)
""",
    "a log": """
import logging
logging.basicConfig()
logging.getLogger("app.child").error("it is %s", VALUE, exc_info=KeyError(VALUE))
""",
    "a complaint of logging": """
import logging
logging.basicConfig()
logging.getLogger("app").error("it is %d", VALUE)
""",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_a_program_shows_no_value(program: str) -> None:
    """A program that shows its value on stderr shows the same, but for the value, when hidden."""
    shown = run_child(OPEN + program, HELD=VALUE, HIDDEN="")
    hidden_now = run_child(OPEN + program, HELD=VALUE, HIDDEN="1")

    assert VALUE in shown.stderr, "this program is no test"
    assert VALUE not in hidden_now.stderr + hidden_now.stdout
    assert MASK in hidden_now.stderr
    assert REPLACED not in hidden_now.stderr
    assert hidden_now.returncode == shown.returncode


CRASHES = [name for name in PROGRAMS if "crash" in name or name in {"a group", "a note"}]


@pytest.mark.parametrize("name", CRASHES)
def test_a_crash_looks_as_it_does_without_us(name: str) -> None:
    """A traceback differs in nothing but the stars."""
    shown = run_child(OPEN + PROGRAMS[name], HELD=VALUE, HIDDEN="")
    hidden_now = run_child(OPEN + PROGRAMS[name], HELD=VALUE, HIDDEN="1")

    assert hidden_now.stderr == shown.stderr.replace(VALUE, MASK)


@pytest.mark.parametrize("how", ["sys.stderr = None", "sys.stderr.close()"])
def test_a_program_without_stderr_ends_as_it_would(how: str) -> None:
    """The exit status of a crash is right where there is nobody to tell."""
    child = run_child(f"{OPEN}\nimport sys\n{how}\nraise ValueError(VALUE)", HELD=VALUE, HIDDEN="1")

    assert child.returncode == 1
    assert VALUE not in child.stderr
