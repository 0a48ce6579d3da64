"""Redaction of log records: every place in a record that can hold a value."""

import ast
import json
import logging
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from types import MappingProxyType
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel

from hive_boot import Secret
from hive_boot.redaction import MASK, registry
from hive_boot.redaction.hooks import Redaction
from hive_boot.redaction.registry import REDACTION_FAILED, Matcher
from hive_boot.redaction.scrub import redact_record
from tests.fixtures.cases import case
from tests.redaction.log_output import VALUE, Broken, Client, Json, Teller

NUMBER = 4711471147114711

E = TypeVar("E", bound=BaseException)


class Listener:
    """A logger with one handler, and its output."""

    def __init__(self, kind: str) -> None:
        self.log = logging.Logger("app")  # noqa: LOG001  (no other code uses it)
        self.teller = Teller()
        self.stream = StringIO()
        handler = logging.StreamHandler(self.stream)
        if kind == "everything in JSON":
            handler.setFormatter(Json())
        self.log.addHandler(self.teller if kind == "all attributes" else handler)

    @property
    def heard(self) -> str:
        """The output of the handler."""
        return self.stream.getvalue() + self.teller.told


@pytest.fixture(autouse=True)
def redaction() -> Iterator[Redaction]:
    """Hide the value and the number."""
    opened = Redaction()
    opened.open()
    opened.register([Secret("A", VALUE), Secret("B", str(NUMBER))])
    yield opened
    opened.close()


KINDS = ("a line", "everything in JSON", "all attributes")
"""The kinds of handlers: a formatted line, JSON, and the record itself."""


@pytest.fixture
def teller() -> Listener:
    """Return a logger whose handler keeps everything in a record."""
    return Listener("all attributes")


class Half:
    """An object whose text is one half of the value."""

    def __init__(self, half: str) -> None:
        self.half = half

    def __str__(self) -> str:
        return self.half


class Silent:
    """An object whose text cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError(VALUE)

    __repr__ = __str__


class Settings(BaseModel):
    """Settings of a service."""

    port: int


def made(**members: Any) -> logging.LogRecord:  # noqa: ANN401  (whatever a record holds)
    """Return a record as a library would create it."""
    return logging.makeLogRecord({"levelno": logging.ERROR, **members})


def raised(exc: E, cause: BaseException | None = None, context: BaseException | None = None) -> E:
    """Raise an exception, so that it has a traceback, and return it."""
    with pytest.raises(type(exc)) as caught:
        raise exc from cause
    if context is not None:
        caught.value.__context__ = context
        caught.value.__suppress_context__ = False
    return caught.value


def failed(function: Callable[..., object], *arguments: object, **named: object) -> BaseException:
    """Return the exception that a call raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  (whatever it raises)
        function(*arguments, **named)
    return caught.value


def noted(exc: E, note: str) -> E:
    """Add a note to an exception."""
    exc.add_note(note)
    return exc


MESSAGES: dict[str, Callable[[logging.Logger], None]] = {
    "the message": lambda to: to.error("it is " + VALUE),
    "a message that is an object": lambda to: to.error(Client(VALUE)),
    "a message that is an exception": lambda to: to.error(ValueError(VALUE)),
    "a text": lambda to: to.error("it is %s", VALUE),
    "a text, by repr": lambda to: to.error("it is %r", VALUE),
    "the second of two": lambda to: to.error("%s is %s", "it", VALUE),
    "a dict of arguments": lambda to: to.error("it is %(key)s", {"key": VALUE}),
    "a dict with an object": lambda to: to.error("it is %(key)s", {"key": Client(VALUE)}),
    "a mapping of arguments": lambda to: to.error("%(key)s", MappingProxyType({"key": VALUE})),
    "an object": lambda to: to.error("%s", Client(VALUE)),
    "an object, by repr": lambda to: to.error("%r", Client(VALUE)),
    "an object in a list": lambda to: to.error("%s", [Client(VALUE)]),
    "an exception": lambda to: to.error("refused: %s", ValueError(VALUE)),
    "an exception, by repr": lambda to: to.error("refused: %r", KeyError(VALUE)),
    "a list": lambda to: to.error("%s", ["it", VALUE]),
    "a dict in a tuple": lambda to: to.error("%s and %s", 1, {"key": [{"key": VALUE}]}),
    "bytes": lambda to: to.error("%s", VALUE.encode()),
    "a number as a number": lambda to: to.error("%d", NUMBER),
    "a number as a text": lambda to: to.error("%s", NUMBER),
    "a number in a dict": lambda to: to.error("%(key)d", {"key": NUMBER}),
    "two halves": lambda to: to.error("%s%s", VALUE[:9], VALUE[9:]),
    "two objects that tell half of it": lambda to: to.error(
        "%s%s", Half(VALUE[:9]), Half(VALUE[9:])
    ),
    "extra": lambda to: to.error("it", extra={"key": VALUE}),
    "nested extra": lambda to: to.error("it", extra={"all": {"keys": [VALUE, (VALUE,)]}}),
    "a key in extra": lambda to: to.error("it", extra={"all": {VALUE: 1}}),
    "bytes in extra": lambda to: to.error("it", extra={"key": b"Bearer " + VALUE.encode()}),
    "the name of a logger": lambda to: to.handle(made(name=f"app.{VALUE}", msg="it")),
    "a stack": lambda to: to.handle(made(msg="it", stack_info=f"Stack: connect({VALUE!r})")),
    "an exception's text": lambda to: to.handle(made(msg="it", exc_text=f"ValueError: {VALUE}")),
    "a message made before": lambda to: to.handle(
        made(msg="it %s", args=(VALUE,), message=f"it {VALUE}")
    ),
}


def test_a_value_in_any_part_of_a_record_is_redacted() -> None:
    """A value in any part of a record is not shown."""
    for name, say in MESSAGES.items():
        for kind in KINDS:
            with case(name, kind):
                listener = Listener(kind)
                listener.log.propagate = False

                say(listener.log)

                assert listener.heard
                assert VALUE not in listener.heard
                assert str(NUMBER) not in listener.heard


def test_the_mask_replaces_the_value() -> None:
    """The mask replaces the value; the record is not lost."""
    for name, say in MESSAGES.items():
        with case(name):
            teller = Listener("all attributes")
            say(teller.log)

            assert MASK in teller.heard
            assert REDACTION_FAILED not in teller.heard


EXCEPTIONS: dict[str, Callable[[], BaseException]] = {
    "simple": lambda: raised(ValueError(VALUE)),
    "never raised": lambda: ValueError(VALUE),
    "a key that is missing": lambda: failed({}.__getitem__, VALUE),
    "a cause": lambda: raised(ValueError("refused"), raised(TypeError(VALUE))),
    "the cause of a cause": lambda: raised(
        ValueError("one"), raised(ValueError("two"), KeyError(VALUE))
    ),
    "a context": lambda: raised(ValueError("refused"), context=TypeError(VALUE)),
    "a suppressed context": lambda: raised(ValueError(VALUE), None),
    "a group": lambda: raised(ExceptionGroup("two", [ValueError("fine"), ValueError(VALUE)])),
    "a group in a group": lambda: raised(
        ExceptionGroup("out", [ExceptionGroup("in", [raised(ValueError(VALUE))])])
    ),
    "a group's message": lambda: raised(ExceptionGroup(VALUE, [ValueError("fine")])),
    "a note": lambda: noted(raised(ValueError("refused")), f"for {VALUE}"),
    "a member's note": lambda: ExceptionGroup("one", [noted(ValueError("fine"), VALUE)]),
    "a number": lambda: failed(int, VALUE),
    "a pydantic model": lambda: failed(Settings, port=VALUE),
    "several arguments": lambda: raised(OSError(2, "No such file", f"/run/{VALUE}")),
}


def test_a_logged_traceback_contains_no_value() -> None:
    """A logged exception shows its chain, and the mask in place of the value."""
    for name, make in EXCEPTIONS.items():
        for kind in KINDS:
            with case(name, kind):
                listener = Listener(kind)
                exc = make()

                listener.log.error("failed", exc_info=exc)

                assert VALUE not in listener.heard
                assert MASK in listener.heard
                assert type(exc).__name__ in listener.heard
                assert REDACTION_FAILED not in listener.heard


UNSAID: dict[str, Callable[[], BaseException]] = {
    "bytes that are no text": lambda: failed((VALUE.encode() + b"\xff").decode, "utf-8"),
    "text that is not ASCII": lambda: failed(f"{VALUE}\u00e4".encode, "ascii"),
    "a line of Python": lambda: failed(ast.literal_eval, f"{VALUE} is"),
    "text that is not JSON": lambda: failed(json.loads, VALUE),
}


def test_an_exception_that_holds_undecodable_input_is_redacted() -> None:
    """An exception that holds the input that could not be decoded is logged without it."""
    for name, make in UNSAID.items():
        for kind in KINDS:
            with case(name, kind):
                listener = Listener(kind)
                exc = make()

                listener.log.error("failed", exc_info=exc)

                assert VALUE not in listener.heard
                assert type(exc).__name__ in listener.heard


def test_the_traceback_of_log_exception_is_redacted() -> None:
    """``log.exception`` shows the traceback without the value."""
    for kind in KINDS:
        with case(kind):
            listener = Listener(kind)
            try:
                raise ValueError(VALUE)  # noqa: TRY301  (it is raised to be caught)
            except ValueError:
                listener.log.exception("failed with %s", VALUE)

            assert VALUE not in listener.heard
            assert "test_the_traceback_of_log_exception_is_redacted" in listener.heard


def test_the_stack_of_stack_info_is_redacted() -> None:
    """``stack_info=True`` shows the stack without the value."""
    for kind in KINDS:
        with case(kind):
            listener = Listener(kind)
            listener.log.error("at %s", VALUE, stack_info=True)

            assert VALUE not in listener.heard
            assert "test_the_stack_of_stack_info_is_redacted" in listener.heard


def test_objects_passed_to_the_logger_are_not_changed(teller: Listener) -> None:
    """The record gets redacted copies."""
    exc, extra, args = ValueError(VALUE), {"keys": [VALUE]}, {"key": VALUE}

    teller.log.error("%(key)s", args, exc_info=exc, extra={"all": extra})

    assert exc.args == (VALUE,)
    assert extra == {"keys": [VALUE]}
    assert args == {"key": VALUE}


def test_arguments_keep_their_shape(teller: Listener) -> None:
    """The arguments have the same number and types as before."""
    teller.log.error("%s %s %d %s", VALUE, 1.5, 200, [VALUE])
    teller.log.error("%(key)s %(count)d", {"key": VALUE, "count": 3})

    first, second = teller.teller.records
    assert first.args == (MASK, 1.5, 200, [MASK])
    assert second.args == {"key": MASK, "count": 3}


def test_a_number_that_is_a_secret_is_redacted_in_the_message(teller: Listener) -> None:
    """A number that is a secret is replaced in the message, because ``%d`` accepts no text."""
    teller.log.error("port %d of %s", NUMBER, "host")

    (record,) = teller.teller.records
    assert record.getMessage() == f"port {MASK} of host"
    assert not record.args


def test_an_argument_whose_text_contains_a_value_is_replaced(teller: Listener) -> None:
    """An object whose ``str`` or ``repr`` contains the value is replaced by one without."""
    fine = Client("other")
    teller.log.error("%s and %s", Client(VALUE), fine)

    (record,) = teller.teller.records
    assert isinstance(record.args, tuple)
    assert str(record.args[0]) == f"client of {MASK}"
    assert repr(record.args[0]) == f"Client(key='{MASK}')"
    assert record.args[1] is fine


def test_the_replacement_of_an_exception_has_its_type(teller: Listener) -> None:
    """A redacted exception keeps its type, traceback and notes."""
    exc = noted(raised(KeyError(VALUE)), VALUE)
    teller.log.error("failed", exc_info=exc)

    (record,) = teller.teller.records
    assert record.exc_info
    kind, shown, trace = record.exc_info
    assert isinstance(shown, KeyError)
    assert kind is type(shown)
    assert trace is exc.__traceback__
    assert shown.__notes__ == [MASK]


def held(record: logging.LogRecord) -> dict[str, int]:
    """Return the identity of every attribute of a record."""
    return {name: id(it) for name, it in record.__dict__.items()}


def test_a_record_without_a_value_is_not_changed(matcher: Matcher) -> None:
    """A record without a value keeps its objects."""
    exc = raised(ValueError("refused"), KeyError("key"))
    record = made(
        msg="%s of %s, %s",
        args=(Client("other"), ["a list"], {"key": b"bytes"}),
        exc_info=(type(exc), exc, exc.__traceback__),
        stack_info="Stack",
        user={"name": ["fake"]},
    )
    before = held(record)

    redact_record(record, matcher)

    assert held(record) == before


def test_a_record_that_almost_contains_a_value_is_not_changed(matcher: Matcher) -> None:
    """A text that is almost a value is not changed."""
    client = Client(VALUE[:-1])
    record = made(msg="%s " + VALUE[1:], args=(client,), exc_info=(None, None, None))
    exc = ValueError(VALUE[:-1])
    record.exc_info = (ValueError, exc, None)
    message = record.getMessage()

    redact_record(record, matcher)

    assert record.getMessage() == message
    assert isinstance(record.args, tuple)
    assert record.args[0] is client
    assert record.exc_info
    assert record.exc_info[1] is exc


def test_a_record_of_log_exception_outside_a_handler_is_not_changed(matcher: Matcher) -> None:
    """``exc_info`` of ``log.exception`` outside of a handler is three times None."""
    record = made(msg=VALUE, exc_info=(None, None, None))

    redact_record(record, matcher)

    assert record.exc_info == (None, None, None)
    assert record.msg == MASK


@pytest.fixture
def matcher() -> Matcher:
    """Return the present matcher."""
    assert registry.matcher is not None
    return registry.matcher


def test_arguments_that_do_not_match_the_template_are_redacted(matcher: Matcher) -> None:
    """If the arguments do not match the template, they are redacted, and the handler reports it."""
    record = made(msg="%d", args=(VALUE,))

    redact_record(record, matcher)

    assert record.msg == "%d"
    assert record.args == (MASK,)


def test_an_object_whose_text_raises_is_not_changed(matcher: Matcher) -> None:
    """An object whose text cannot be read is not changed."""
    record = made(msg="it", user=Silent())
    before = held(record)

    redact_record(record, matcher)

    assert held(record) == before


def test_an_object_whose_text_raises_beside_a_value_is_not_changed(matcher: Matcher) -> None:
    """Only the value beside it is replaced."""
    silent = Silent()
    record = made(msg="%s", args=(VALUE, silent))

    redact_record(record, matcher)

    assert record.args == (MASK, silent)


class BrokenLater(Broken):
    """A matcher that finds a value, and fails to replace it."""

    def is_clean(self, text: str) -> bool:  # noqa: ARG002  (whatever it is)
        """Return False."""
        return False


def test_a_record_whose_redaction_fails_is_replaced() -> None:
    """If the redaction fails, a fixed text replaces the whole record."""
    say_cases: list[Callable[[logging.Logger], None]] = [
        lambda to: to.error("it is %s", VALUE, extra={"key": VALUE}),
        lambda to: to.error("failed", exc_info=ValueError(VALUE), stack_info=True),
        lambda to: to.error("a record without a value"),
    ]
    for broken in (Broken(), BrokenLater()):
        for say in say_cases:
            for kind in KINDS:
                with pytest.MonkeyPatch.context() as monkeypatch, case(broken, say, kind):
                    listener = Listener(kind)
                    monkeypatch.setattr(registry, "matcher", broken)

                    say(listener.log)

                    assert VALUE not in listener.heard
                    assert listener.heard.startswith(REDACTION_FAILED)
                    assert "a record without a value" not in listener.heard


def test_a_replaced_record_has_only_its_level_and_its_path(
    teller: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replaced record keeps its level and path, and loses its message and added attributes."""
    record = made(
        msg="%s",
        args=(VALUE,),
        message=VALUE,
        exc_text=VALUE,
        stack_info=VALUE,
        exc_info=(ValueError, ValueError(VALUE), None),
        user=VALUE,
        levelname="ERROR",
        pathname="app.py",
    )
    monkeypatch.setattr(registry, "matcher", Broken())

    teller.log.handle(record)

    assert VALUE not in f"{record.__dict__}"
    assert record.getMessage() == REDACTION_FAILED
    assert not hasattr(record, "user")
    assert not hasattr(record, "message")
    assert (record.levelname, record.pathname) == ("ERROR", "app.py")


def test_a_very_long_chain_of_exceptions_is_not_shown(teller: Listener) -> None:
    """If a chain of exceptions is too long to follow, it is not shown."""
    exc: BaseException = ValueError(VALUE)
    for _ in range(sys.getrecursionlimit()):
        longer = ValueError("next")
        longer.__cause__ = exc
        exc = longer

    teller.log.error("failed", exc_info=exc)

    assert teller.heard
    assert VALUE not in teller.heard
    while exc is not None:  # so that taking it down takes no recursion
        exc.__cause__, exc = None, exc.__cause__  # type: ignore[assignment]


class Interrupting:
    """An object whose text raises KeyboardInterrupt."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


def test_an_interrupt_while_a_line_is_formatted_is_raised() -> None:
    """Ctrl-C while a line is made stops the program."""
    for kind in KINDS:
        with case(kind):
            listener = Listener(kind)
            with pytest.raises(KeyboardInterrupt):
                listener.log.error("%s", Interrupting())


def test_an_interrupt_while_a_value_is_replaced_is_raised(teller: Listener) -> None:
    """Ctrl-C while a value is replaced stops the program too."""
    with pytest.raises(KeyboardInterrupt):
        teller.log.error("%s %s", VALUE, Interrupting())


def test_the_report_of_an_argument_whose_text_raises_is_redacted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The report of an argument whose text cannot be read is redacted."""
    listener = Listener("a line")

    listener.log.error("%s is %s", VALUE, Silent())

    told = capsys.readouterr().err
    assert listener.heard == ""
    assert VALUE not in told
    assert told == f"{REDACTION_FAILED}\n"


def test_arguments_may_be_a_list(teller: Listener) -> None:
    """The arguments of a record that a library has created may be a list."""
    for args in ([VALUE], [Client(VALUE)]):
        teller.log.handle(made(msg="it is %s", args=args))

    assert VALUE not in teller.heard
    assert f"it is ['{MASK}']" in teller.heard
