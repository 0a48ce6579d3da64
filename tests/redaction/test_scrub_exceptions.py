"""Redaction of exceptions and objects: replacements without values."""

import traceback
from collections.abc import Callable

import pytest

from hive_boot.redaction import MASK
from hive_boot.redaction.registry import Matcher
from hive_boot.redaction.scrub import (
    UNPRINTABLE,
    as_text,
    exception_texts,
    redacted_exception,
    redacted_object,
)
from tests.fixtures.cases import case
from tests.redaction.log_output import VALUE, Client


class DatabaseDownError(ConnectionRefusedError):
    """An exception of a database driver."""


class ApplicationError(Exception):
    """An exception that derives from Exception directly."""


class SeveralError(ExceptionGroup[Exception]):
    """A subclass of ExceptionGroup."""


class SilentError(ValueError):
    """An exception whose text raises."""

    def __str__(self) -> str:
        raise RuntimeError(VALUE)


@pytest.fixture
def matcher() -> Matcher:
    """Return a matcher of one value."""
    return Matcher(lambda: [VALUE])


def raised(exc: BaseException, cause: BaseException | None = None) -> BaseException:
    """Raise an exception, so that it has a traceback."""
    with pytest.raises(type(exc)) as caught:
        raise exc from cause
    return caught.value


def shown_by(exc: BaseException) -> str:
    """Return what Python prints of an exception."""
    return "".join(traceback.format_exception(exc))


CLEAN: dict[str, Callable[[], BaseException]] = {
    "simple": lambda: ValueError("refused"),
    "with a cause": lambda: raised(ValueError("refused"), KeyError("key")),
    "a group": lambda: ExceptionGroup("two", [ValueError("one"), KeyError("two")]),
    "a syntax error": lambda: SyntaxError("refused", ("file", 1, 1, "text", 1, 2)),
    "a silent one": SilentError,
}


def test_an_exception_without_a_value_is_returned_itself(matcher: Matcher) -> None:
    """No replacement is created for an exception that contains no value."""
    for name, make in CLEAN.items():
        with case(name):
            exc = make()

            assert redacted_exception(exc, matcher) is exc


def test_the_replacement_has_the_nearest_built_in_class(matcher: Matcher) -> None:
    """An `except` clause and an error tracker handle the replacement like the original."""
    cases: list[tuple[BaseException, type[BaseException]]] = [
        (ValueError(VALUE), ValueError),
        (KeyError(VALUE), KeyError),
        (DatabaseDownError(VALUE), ConnectionRefusedError),
        (ApplicationError(VALUE), Exception),
        (OSError(2, "No such file", VALUE), FileNotFoundError),
        (UnicodeDecodeError("utf-8", VALUE.encode(), 0, 1, "refused"), UnicodeDecodeError),
        (UnicodeEncodeError("ascii", VALUE, 0, 1, "refused"), UnicodeEncodeError),
        (StopIteration(VALUE), StopIteration),
        (SystemExit(VALUE), SystemExit),
        (KeyboardInterrupt(VALUE), KeyboardInterrupt),
        (ImportError(VALUE, name=VALUE), ImportError),
        (AttributeError(VALUE, name=VALUE, obj=Client(VALUE)), AttributeError),
        (NameError(VALUE, name=VALUE), NameError),
    ]
    for exc, kind in cases:
        with case(exc, kind):
            shown = redacted_exception(exc, matcher)

            assert isinstance(shown, kind)
            assert shown is not exc
            assert (
                VALUE not in f"{shown} {shown!r} {shown.args!r} {vars(shown)!r} {shown_by(shown)}"
            )
            assert repr(shown) == repr(exc).replace(VALUE, MASK)
            assert str(shown) == str(exc).replace(VALUE, MASK)


def test_a_traceback_shows_the_name_of_the_original_class(matcher: Matcher) -> None:
    """The module of the class is shown too."""
    shown = redacted_exception(raised(DatabaseDownError(VALUE)), matcher)

    assert type(shown).__name__ == "DatabaseDownError"
    assert type(shown).__module__ == __name__
    assert shown_by(shown).splitlines()[-1] == f"{__name__}.DatabaseDownError: {MASK}"
    assert repr(shown) == f"DatabaseDownError('{MASK}')"


def test_the_original_exception_is_not_changed(matcher: Matcher) -> None:
    """The program handles the exception that was raised."""
    exc = raised(ValueError(VALUE))
    exc.add_note(f"for {VALUE}")

    redacted_exception(exc, matcher)

    assert exc.args == (VALUE,)
    assert exc.__notes__ == [f"for {VALUE}"]


def test_the_replacement_has_the_traceback_and_the_notes(matcher: Matcher) -> None:
    """The notes are redacted too."""
    exc = raised(ValueError(VALUE))
    exc.add_note(f"asked for {VALUE}")
    exc.add_note("and again")

    shown = redacted_exception(exc, matcher)

    assert shown.__traceback__ is exc.__traceback__
    assert shown.__notes__ == [f"asked for {MASK}", "and again"]
    assert "in raised" in shown_by(shown)


def test_a_value_in_a_note_is_hidden(matcher: Matcher) -> None:
    """A note can contain a value that the exception itself does not contain."""
    exc = ValueError("refused")
    exc.add_note(VALUE)

    assert shown_by(redacted_exception(exc, matcher)) == f"ValueError: refused\n{MASK}\n"


def test_an_attribute_notes_that_is_none_is_allowed(matcher: Matcher) -> None:
    """A program may assign any object to `__notes__`."""
    exc = ValueError(VALUE)
    exc.__notes__ = None  # type: ignore[assignment]

    assert shown_by(redacted_exception(exc, matcher)) == f"ValueError: {MASK}\n"


def test_causes_are_replaced_if_they_contain_a_value(matcher: Matcher) -> None:
    """The chain stays complete, and a cause without a value is the original."""
    root = raised(KeyError("key"))
    exc = raised(ValueError("refused"), raised(TypeError(VALUE), root))

    shown = redacted_exception(exc, matcher)

    assert str(shown) == "refused"
    assert isinstance(shown.__cause__, TypeError)
    assert str(shown.__cause__) == MASK
    assert shown.__cause__.__cause__ is root
    assert shown.__suppress_context__ is True
    assert "direct cause" in shown_by(shown)
    assert VALUE not in shown_by(shown)


def test_the_context_is_redacted_and_suppressed_as_in_the_original(matcher: Matcher) -> None:
    """The traceback shows the context only if that of the original does."""
    for suppressed in (True, False):
        with case(suppressed):
            exc = raised(ValueError("refused"))
            exc.__context__ = raised(KeyError(VALUE))
            exc.__suppress_context__ = suppressed

            shown = redacted_exception(exc, matcher)

            assert shown.__cause__ is None
            assert isinstance(shown.__context__, KeyError)
            assert VALUE not in repr(shown.__context__)
            assert shown.__suppress_context__ is suppressed
            assert ("KeyError" in shown_by(shown)) is not suppressed
            assert VALUE not in shown_by(shown)


def test_only_members_of_a_group_with_a_value_are_replaced(matcher: Matcher) -> None:
    """The other members are the originals."""
    fine = KeyError("key")
    inner = ExceptionGroup("inner", [ValueError(VALUE)])
    exc = SeveralError(f"with {VALUE}", [fine, inner])

    shown = redacted_exception(exc, matcher)

    assert isinstance(shown, ExceptionGroup)
    assert shown.message == f"with {MASK}"
    assert str(shown) == f"with {MASK} (2 sub-exceptions)"
    assert shown.exceptions[0] is fine
    assert isinstance(shown.exceptions[1], ExceptionGroup)
    assert shown.split(ValueError)[0] is not None
    assert "SeveralError" in shown_by(shown)
    assert VALUE not in f"{shown_by(shown)} {shown!r}"


def test_a_group_of_base_exceptions_stays_a_base_exception_group(matcher: Matcher) -> None:
    """A cancelled or interrupted group can still be split by `except*`."""
    exc = BaseExceptionGroup("stop", [KeyboardInterrupt(), SystemExit(VALUE)])

    shown = redacted_exception(exc, matcher)

    assert isinstance(shown, BaseExceptionGroup)
    assert not isinstance(shown, ExceptionGroup)
    assert isinstance(shown.exceptions[0], KeyboardInterrupt)
    assert isinstance(shown.exceptions[1], SystemExit)
    assert VALUE not in shown_by(shown)


def test_a_group_whose_message_is_not_a_text_is_redacted(matcher: Matcher) -> None:
    """A subclass may define any object as its message."""

    class OddError(ExceptionGroup[Exception]):
        message = Client(VALUE)  # type: ignore[assignment]

    shown = redacted_exception(OddError("odd", [ValueError(VALUE)]), matcher)

    assert isinstance(shown, ExceptionGroup)
    assert shown.message == f"client of {MASK}"
    assert VALUE not in shown_by(shown)


def test_the_line_of_a_syntax_error_is_redacted(matcher: Matcher) -> None:
    """The line that Python prints may contain a value."""
    with pytest.raises(SyntaxError) as caught:
        compile(f"{VALUE} is", "<given>", "eval")

    assert caught.value.text is not None
    assert VALUE in shown_by(caught.value)

    shown = redacted_exception(caught.value, matcher)

    assert VALUE not in f"{shown_by(shown)} {vars(shown)!r}"
    assert shown_by(shown).splitlines()[-1] == f"SyntaxError: {caught.value.msg}"
    assert f"    {MASK} is" in shown_by(shown)


def test_a_circular_chain_of_contexts_is_redacted(matcher: Matcher) -> None:
    """Two exceptions that are the context of each other are replaced once each."""
    one, two = ValueError(VALUE), KeyError(VALUE)
    one.__context__, two.__context__ = two, one

    shown = redacted_exception(one, matcher)

    assert shown.__context__ is not None
    assert isinstance(shown.__context__, KeyError)
    assert shown.__context__.__context__ is shown
    assert VALUE not in shown_by(shown)


def test_a_group_that_is_the_context_of_its_member_is_redacted(matcher: Matcher) -> None:
    """A member may have been raised while its own group was handled."""
    member = ValueError(VALUE)
    group = ExceptionGroup("several", [member])
    member.__context__ = group

    shown = redacted_exception(group, matcher)

    assert isinstance(shown, ExceptionGroup)
    assert VALUE not in f"{shown_by(shown)} {shown.exceptions!r}"
    context = shown.exceptions[0].__context__
    assert context is not None
    assert type(context).__name__ == "ExceptionGroup"


def test_an_exception_at_two_places_gets_one_replacement(matcher: Matcher) -> None:
    """Two references to one exception become two references to one replacement."""
    both = ValueError(VALUE)
    shown = redacted_exception(ExceptionGroup("twice", [both, both]), matcher)

    assert isinstance(shown, ExceptionGroup)
    assert shown.exceptions[0] is shown.exceptions[1]


def test_an_exception_whose_text_raises_is_shown_by_its_class(matcher: Matcher) -> None:
    """The replacement has a fixed text and the name of the class."""
    exc = SilentError(VALUE)

    shown = redacted_exception(exc, matcher)

    assert isinstance(shown, ValueError)
    assert str(shown) == UNPRINTABLE
    assert repr(shown) == f"SilentError('{MASK}')"
    assert VALUE not in shown_by(shown)


def test_an_interrupt_during_the_text_of_an_exception_is_raised() -> None:
    """Ctrl-C is not ignored."""

    def interrupt(_: object) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        as_text(ValueError(), interrupt)


def test_all_texts_of_an_exception_are_searched() -> None:
    """These are causes, contexts, members, notes and the line of a syntax error."""
    exc = ExceptionGroup("group", [SyntaxError("odd", ("file", 1, 1, "line of text", 1, 2))])
    exc.add_note("a note")
    exc.__cause__ = ValueError("cause")
    exc.__cause__.__context__ = KeyError("context")

    texts = "\n".join(exception_texts(exc))

    for word in ("group", "odd", "line of text", "a note", "cause", "context"):
        assert word in texts


def test_an_object_whose_text_contains_a_value_is_replaced(matcher: Matcher) -> None:
    """The replacement has the same text and repr, redacted."""
    shown = redacted_object(Client(VALUE), matcher)

    assert str(shown) == f"client of {MASK}"
    assert repr(shown) == f"Client(key='{MASK}')"
    assert VALUE not in repr(vars(shown))


def test_an_object_whose_text_contains_no_value_is_returned_itself(matcher: Matcher) -> None:
    """An argument without a value is passed on unchanged."""
    client, silent = Client("fake-other"), SilentError()

    assert redacted_object(client, matcher) is client
    assert redacted_object(silent, matcher) is silent
    assert redacted_object(4711, matcher) == 4711
