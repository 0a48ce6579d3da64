"""When the content of a log record is converted to text, and by whom."""

import copy
import json
import logging
import pickle
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from io import StringIO
from logging.handlers import QueueHandler, SocketHandler
from pathlib import PurePosixPath
from queue import SimpleQueue
from types import MappingProxyType, SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from hive_boot import Secret
from hive_boot.redaction import MASK, registry
from hive_boot.redaction.hooks import Redaction
from hive_boot.redaction.registry import Matcher
from hive_boot.redaction.scrub import redacted_object
from tests.fixtures.cases import case
from tests.redaction.log_output import VALUE, Client, Json, new_log, start
from tests.support import run_child


class Row:
    """An object whose text is expensive, as that of a lazy object of a database."""

    conversions = 0

    def __repr__(self) -> str:
        Row.conversions += 1
        return f"Row({VALUE})"


class Both(Row):
    """An object with two texts."""

    def __str__(self) -> str:
        Row.conversions += 1
        return f"row of {VALUE}"


class Message(logging.Handler):
    """A handler that uses the message and the level only."""

    def __init__(self) -> None:
        super().__init__()
        self.shown = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.shown += f"{record.levelname} {record.name} {record.getMessage()}"


class Text(Message):
    """A handler that sends the formatted text, as those for syslog do."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text."""
        self.shown += self.format(record)


class Attributes(Message):
    """A handler that serialises the record."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a JSON document of the record."""
        self.shown += json.dumps(vars(record), default=str)


class MessageJson(logging.Formatter):
    """A formatter of JSON with the message only."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        return json.dumps({"level": record.levelname, "message": record.getMessage()})


class LimitedJson(MessageJson):
    """A formatter that shortens the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON."""
        return json.dumps({"message": record.getMessage()[:20]})


def wrap(*, use: Callable[[logging.LogRecord], object]) -> Callable[..., None]:
    """Wrap ``callHandlers`` as error trackers do."""
    before = logging.Logger.callHandlers

    def wrapper(self: logging.Logger, record: logging.LogRecord) -> None:
        before(self, record)
        use(record)

    logging.Logger.callHandlers = wrapper  # type: ignore[method-assign]
    return wrapper


def level_only(record: logging.LogRecord) -> object:
    """Read what a tracker reads of a record that it ignores."""
    return record.name.strip(), record.levelno, record.created


@pytest.mark.parametrize("first", [True, False], ids=["below", "on top"])
def test_a_record_that_no_handler_takes_is_not_touched(
    closed: Redaction, log: logging.Logger, *, first: bool
) -> None:
    """With a tracker before or after the start, no object of an ignored record is converted."""
    log.addHandler(logging.StreamHandler(StringIO()))
    log.addHandler(Attributes())
    for handler in log.handlers:
        handler.setLevel(logging.ERROR)
    if first:
        wrap(use=level_only)
    start(closed)
    if not first:
        wrap(use=level_only)
    Row.conversions = 0

    log.info("loaded %s", Both(), extra={"rows": [Row() for _ in range(50)]})

    assert Row.conversions == 0


SENTRY = """
import logging, sys
import sentry_sdk
from sentry_sdk.integrations.logging import LoggingIntegration
from hive_boot import Secret
from hive_boot import Secret
from hive_boot.redaction import registry
from hive_boot.redaction.hooks import Redaction

VALUE = "fake-value-0123456789"
sent = []

class Row:
    conversions = 0
    def __repr__(self):
        Row.conversions += 1
        return f"Row({VALUE})"

def connect():
    sentry_sdk.init(
        "https://fake@localhost/1", integrations=[LoggingIntegration()],
        default_integrations=False, before_send=lambda event, hint: sent.append(event),
    )

def start():
    redaction = Redaction()
    redaction.open()
    redaction.register([Secret("A", VALUE)])

for step in sys.argv[1:]:
    globals()[step]()
log = logging.getLogger("app")
log.setLevel("DEBUG")
log.debug("loaded", extra={"rows": [Row() for _ in range(50)]})
print(Row.conversions, len(sent))
log.error("it is %s", VALUE, extra={"row": Row()})
print(len(sent), VALUE in str(sent), "***" in str(sent))
"""


def test_sentry_causes_no_conversion_of_an_ignored_record() -> None:
    """Sentry's integration ignores debug records, and reads those of a higher level redacted."""
    for order in (("connect", "start"), ("start", "connect")):
        with case(order):
            child = run_child(SENTRY, *order)
            assert child.stdout.splitlines() == ["0 0", "1 False True"], child.stderr


ONE_CONVERSION: dict[str, Callable[[StringIO], logging.Handler]] = {
    "plain text": logging.StreamHandler,
    "JSON": lambda stream: formatted_by(MessageJson(), stream),
    "another handler with the message": lambda _: Message(),
    "another handler with the text": lambda _: Text(),
}


def formatted_by(formatter: logging.Formatter, stream: StringIO) -> logging.Handler:
    """Return a handler with a formatter."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    return handler


@pytest.mark.usefixtures("redaction")
def test_an_object_is_converted_once() -> None:
    """The text of an object is made once for each handler, and shown without the value."""
    for name, make in ONE_CONVERSION.items():
        for row in (Row(), Both()):
            with case(name, row):
                log, stream = new_log(), StringIO()
                handler = make(stream)
                log.addHandler(handler)
                Row.conversions = 0

                log.error("loaded %s", row, extra={"others": [Row()]})

                assert Row.conversions == 1
                shown = getattr(handler, "shown", "") + stream.getvalue()
                assert VALUE not in shown
                assert MASK in shown


def test_an_object_with_one_text_is_converted_once() -> None:
    """The replacement of an object without a `__str__` of its own has the same text twice."""
    matcher = Matcher(lambda: [VALUE])
    for row, conversions in ((Row(), 1), (Both(), 2)):
        Row.conversions = 0
        shown = redacted_object(row, matcher)
        assert Row.conversions == conversions
        assert MASK in str(shown)
        assert MASK in repr(shown)


@pytest.mark.usefixtures("redaction")
def test_a_json_document_of_a_record_converts_an_object_as_often_as_without_us() -> None:
    """A formatter that shows the arguments too converts them itself; nothing is added to that."""
    log, stream = new_log(), StringIO()
    log.addHandler(formatted_by(Json(), stream))
    Row.conversions = 0
    log.error("loaded %s", Row(), extra={"row": Row()})
    assert Row.conversions == 3  # the message, the arguments, the extra
    assert VALUE not in stream.getvalue()


@pytest.mark.usefixtures("redaction")
def test_a_formatter_that_shortens_gets_a_redacted_message() -> None:
    """The beginning of a value is not shown, whether a text or an object contains it."""
    for argument in (VALUE, Client(), ValueError(VALUE), [Client()]):
        with case(argument):
            log, stream = new_log(), StringIO()
            log.addHandler(formatted_by(LimitedJson(), stream))
            log.error("for %s", argument)
            assert VALUE[:4] not in stream.getvalue()
            assert MASK in stream.getvalue()


class Beginnings(logging.Formatter):
    """A formatter that shows the beginning of each text in a record."""

    calls = 0

    def format(self, record: logging.LogRecord) -> str:
        """Return the beginnings."""
        self.calls += 1
        texts = [record.msg, record.getMessage(), *(record.args or ()), getattr(record, "user", "")]
        return " ".join(str(each)[:9] for each in texts)


@pytest.mark.usefixtures("redaction")
def test_no_beginning_of_a_value_is_shown() -> None:
    """A formatter that shortens texts gets a record of texts and numbers without the value."""
    cases: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((VALUE,), {}),
        (("for %s", VALUE), {}),
        (("for %d of %s", 7, VALUE), {}),
        (("for %s", "user"), {"user": VALUE}),
        (("for %s", "user"), {"user": VALUE, "count": 7, "ratio": 0.5, "is_new": None}),
        (("for %s", quote(f"{VALUE}/{VALUE}", safe="-")), {}),
    ]
    for arguments, extra in cases:
        with case(arguments, extra):
            log, stream = new_log(), StringIO()
            log.addHandler(formatted_by(Beginnings(), stream))
            log.error(*arguments, extra=extra)
            assert VALUE[:6] not in stream.getvalue()
            assert MASK in stream.getvalue()


@pytest.mark.usefixtures("redaction")
def test_a_record_without_a_value_is_formatted_once() -> None:
    """A formatter of an application gets the record itself, and its text is written unchanged."""
    log, stream, formatter = new_log(), StringIO(), Beginnings()
    log.addHandler(formatted_by(formatter, stream))

    log.error("for %s: %d of %s", "a user", 7, "a number of them", extra={"user": "somebody"})

    assert formatter.calls == 1
    assert stream.getvalue() == "for %s: % for a use a user 7 a number  somebody\n"


@pytest.mark.usefixtures("redaction")
def test_every_read_of_an_ignored_record_is_redacted(log: logging.Logger) -> None:
    """Whatever a tracker reads of a record, it finds no value; a copy has the original class."""
    reads: dict[str, Callable[[logging.LogRecord], object]] = {
        "vars": lambda record: dict(vars(record)),
        "message": lambda record: record.getMessage(),
        "attribute": lambda record: record.user,  # type: ignore[attr-defined]
        "arguments": lambda record: record.args,
        "repr": repr,
        "copy": lambda record: copy.copy(record).__dict__,
        "another record": lambda record: logging.makeLogRecord(record.__dict__).__dict__,
        "pickle": lambda record: pickle.loads(pickle.dumps(without_exception(record))).__dict__,  # noqa: S301
        "exception": lambda record: record.exc_info,
    }
    read: list[Any] = []
    log.setLevel(logging.INFO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)
        wrap(use=read.append)
        log.addHandler(logging.NullHandler())
        for name, function in reads.items():
            with case(name):
                log.info("it is %s", VALUE, extra={"user": VALUE}, exc_info=KeyError(VALUE))
                record = read.pop()
                assert VALUE not in f"{function(record)}"
                assert type(copy.copy(record)) is logging.LogRecord


def without_exception(record: logging.LogRecord) -> logging.LogRecord:
    """Remove the exception, as `QueueHandler` does: few can be pickled."""
    record.exc_info = None
    return record


class Special(logging.LogRecord):
    """A record of a class with another message."""

    def getMessage(self) -> str:  # noqa: N802  (logging's name)
        """Return the message in brackets."""
        return f"[{super().getMessage()}]"


class Final(logging.LogRecord):
    """A record of a class that cannot be derived from."""

    def __init_subclass__(cls) -> None:
        raise TypeError(cls)


@pytest.mark.usefixtures("redaction")
def test_records_of_another_class_are_redacted() -> None:
    """A record keeps the methods of its class, and one that cannot be deferred is redacted."""
    for kind, expected in ((Special, f"[it is {MASK}]"), (Final, f"it is {MASK}")):
        for make in ONE_CONVERSION.values():
            with case(kind, make):
                log, stream = new_log(), StringIO()
                handler = make(stream)
                log.addHandler(handler)
                log.handle(kind("app", 40, "app.py", 1, "it is %s", (VALUE,), None))
                shown = getattr(handler, "shown", "") + stream.getvalue()
                assert expected in shown
                assert VALUE not in shown


@pytest.mark.usefixtures("redaction")
def test_a_record_whose_filter_raises_is_redacted(log: logging.Logger) -> None:
    """The traceback of the application contains the record."""
    kept: list[logging.LogRecord] = []

    def fail(record: logging.LogRecord) -> bool:
        kept.append(record)
        raise LookupError

    handler = Message()
    handler.addFilter(fail)
    log.addHandler(handler)
    with pytest.raises(LookupError):
        log.error("it is %s", VALUE, extra={"user": VALUE})
    assert VALUE not in f"{vars(kept[0])}"
    assert kept[0].getMessage() == f"it is {MASK}"


@pytest.mark.usefixtures("redaction")
def test_a_record_in_a_queue_is_of_the_original_class(log: logging.Logger) -> None:
    """The process that reads a queue does not need hive_boot for its records."""
    queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
    log.addHandler(Message())
    log.addHandler(QueueHandler(queue))
    log.error("it is %s", VALUE, extra={"user": Client()})
    record = queue.get()
    assert type(record) is logging.LogRecord
    assert VALUE not in f"{vars(record)}"


@pytest.mark.usefixtures("redaction")
def test_a_record_is_sent_although_its_objects_were_replaced(log: logging.Logger) -> None:
    """A handler that pickles a record sends the redacted texts of its objects, and loses none."""
    sent: list[bytes] = []
    handler = SocketHandler("localhost", 1)
    handler.emit = lambda record: sent.append(handler.makePickle(record))  # type: ignore[method-assign]
    log.addHandler(handler)
    for value in (Client(), Config(), Nested(), SimpleNamespace(key=VALUE), ValueError(VALUE)):
        with case(value):
            log.error("it is %s", value, extra={"value": value})
            read = pickle.loads(sent.pop()[4:])  # noqa: S301
            assert VALUE not in f"{read}"
            assert type(read["value"]) is str
            assert read["value"] == str(value).replace(VALUE, MASK)


@pytest.mark.usefixtures("redaction")
def test_a_record_may_be_copied_although_its_objects_were_replaced(log: logging.Logger) -> None:
    """A handler that copies records has the same redacted objects in the copies."""
    kept: list[logging.LogRecord] = []
    handler = Message()
    handler.emit = kept.append  # type: ignore[method-assign,assignment]
    log.addHandler(handler)
    log.error("it is %s", VALUE, extra={"value": Client()})
    for copied in (copy.copy(kept[0]), copy.deepcopy(kept[0])):
        shown = vars(copied)["value"]
        assert copy.copy(shown) is shown
        assert VALUE not in f"{shown!r} {vars(copied)}"


def test_a_record_that_is_kept_is_redacted_after_the_end(
    redaction: Redaction, log: logging.Logger
) -> None:
    """A handler that keeps records finds no value in them when the application has stopped."""
    kept: list[logging.LogRecord] = []
    handler = Message()
    handler.emit = kept.append  # type: ignore[method-assign,assignment]
    log.addHandler(handler)
    log.error("it is %s", VALUE, extra={"user": Client()})
    redaction.close()
    assert VALUE not in kept[0].getMessage() + f"{vars(kept[0])}"


@pytest.mark.parametrize("name", ["emit", "format"])
def test_a_handler_may_get_a_method_between_two_records(
    name: str, redaction: Redaction, log: logging.Logger
) -> None:
    """Redaction covers it from then on, also if nothing was hidden at that moment."""
    shown: list[str] = []

    def keep(record: logging.LogRecord) -> str:
        shown.append(f"{record.msg} {record.args} {vars(record)}")
        return "kept"

    for hides_meanwhile in (True, False):
        handler = logging.StreamHandler(StringIO())
        log.addHandler(handler)
        log.error("it is %s", VALUE)
        if not hides_meanwhile:
            registry.unregister(redaction)
        setattr(handler, name, keep)
        if not hides_meanwhile:
            redaction.register([Secret("KEY", VALUE)])
        log.error("it is %s", VALUE, extra={"user": VALUE})
        delattr(handler, name)
        log.error("it is %s", VALUE)
        assert VALUE not in handler.stream.getvalue()
        log.removeHandler(handler)
    assert len(shown) == 2
    assert VALUE not in f"{shown}"
    assert MASK in shown[0]


@dataclass
class Config:
    """An object whose text does not show its key."""

    url: str = "h"
    key: str = field(default=VALUE, repr=False)


@dataclass(slots=True)
class SlottedConfig:
    """The same, without a ``__dict__``."""

    url: str = "h"
    key: str = field(default=VALUE, repr=False)


class Nested:
    """An object that refers to another one, and to itself."""

    def __init__(self) -> None:
        self.configs = {"first": [Config()]}
        self.path = PurePosixPath("/run", VALUE)

    def __repr__(self) -> str:
        return "<Nested>"


class Sealed:
    """An object whose attributes raise."""

    @property
    def __dict__(self) -> dict[str, object]:  # type: ignore[override]
        raise RuntimeError(VALUE)


def attributes_of(value: Any) -> object:  # noqa: ANN401  (any object)
    """Serialise an object by its attributes, or else by its text."""
    return vars(value) if hasattr(value, "__dict__") else str(value)


SERIALISED: dict[str, tuple[object, Callable[[Any], object]]] = {
    "attributes of a dataclass": (Config(), vars),
    "fields of a dataclass": (Config(), asdict),
    "fields of a dataclass with slots": (SlottedConfig(), asdict),
    "attributes of a namespace": (SimpleNamespace(key=VALUE), vars),
    "attributes of nested objects": (Nested(), attributes_of),
    "proxy of a dict": (MappingProxyType({"key": VALUE}), dict),
    "deque": (deque([VALUE]), list),
    "headers": (httpx.Headers({"x-key": VALUE}), dict),
    "URL": (httpx.URL(f"https://u:{VALUE}@h/"), str),
    "path": (PurePosixPath("/run", VALUE), str),
    "exception": (ValueError(VALUE), str),
    "objects in a list": ([Config()], vars),
    "text of an object": (Nested(), repr),
}


@pytest.mark.usefixtures("redaction")
def test_a_handler_that_serialises_a_record_shows_no_value() -> None:
    """Attributes that the text of an object does not show are redacted too."""
    for name, (value, default) in SERIALISED.items():
        with case(name):
            shown: list[str] = []
            handler = Message()
            handler.emit = partial(  # type: ignore[method-assign]
                lambda record, shown, default: shown.append(
                    json.dumps(vars(record), default=default)
                ),
                shown=shown,
                default=default,
            )
            log = new_log()
            log.addHandler(handler)
            before = repr(value)

            log.error("of %s", "it", extra={"value": value})

            assert VALUE not in f"{shown}"
            assert (MASK in f"{shown}") == (name != "text of an object")
            assert repr(value) == before


@pytest.mark.usefixtures("redaction")
def test_objects_without_a_value_stay_in_a_record(log: logging.Logger) -> None:
    """A handler finds the objects of the application, also beside a value, and large ones."""
    large = SimpleNamespace(rows=[SimpleNamespace(row=number) for number in range(2000)])
    large.itself = large
    clean = {"config": Config(key=""), "sealed": Sealed(), "large": large}
    kept: list[logging.LogRecord] = []
    handler = Message()
    handler.emit = kept.append  # type: ignore[method-assign,assignment]
    log.addHandler(handler)
    for value in ("a text", VALUE):
        log.error("of %s", value, extra=clean)
        for name, expected in clean.items():
            with case(name, value):
                assert vars(kept[-1])[name] is expected
