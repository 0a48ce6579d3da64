"""What is shown in the place of an exception or an object: the same, but for the values."""

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
    """What a driver raises."""


class ApplicationError(Exception):
    """An error that derives from Python's base class only."""


class SeveralError(ExceptionGroup[Exception]):
    """A group with a name of its own."""


class SilentError(ValueError):
    """An error that fails to say what it is."""

    def __str__(self) -> str:
        raise RuntimeError(VALUE)


@pytest.fixture
def matcher() -> Matcher:
    """Return what knows the one value."""
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


def test_an_exception_without_a_value_is_itself(matcher: Matcher) -> None:
    """Nothing is put in the place of an error that tells no secret."""
    for name, make in CLEAN.items():
        with case(name):
            exc = make()

            assert redacted_exception(exc, matcher) is exc


def test_it_is_of_the_nearest_class_of_pythons_own(matcher: Matcher) -> None:
    """An ``except`` and an error tracker treat a stand-in as they would the error itself."""
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


def test_it_has_the_name_of_the_class_in_a_traceback(matcher: Matcher) -> None:
    """Whoever reads a traceback sees the class that the program raised, with its module."""
    shown = redacted_exception(raised(DatabaseDownError(VALUE)), matcher)

    assert type(shown).__name__ == "DatabaseDownError"
    assert type(shown).__module__ == __name__
    assert shown_by(shown).splitlines()[-1] == f"{__name__}.DatabaseDownError: {MASK}"
    assert repr(shown) == f"DatabaseDownError('{MASK}')"


def test_the_error_of_the_program_is_not_touched(matcher: Matcher) -> None:
    """What the program goes on to handle is what was raised."""
    exc = raised(ValueError(VALUE))
    exc.add_note(f"for {VALUE}")

    redacted_exception(exc, matcher)

    assert exc.args == (VALUE,)
    assert exc.__notes__ == [f"for {VALUE}"]


def test_it_has_the_traceback_and_the_notes(matcher: Matcher) -> None:
    """Where it went wrong, and what was added on the way, is told."""
    exc = raised(ValueError(VALUE))
    exc.add_note(f"asked for {VALUE}")
    exc.add_note("and again")

    shown = redacted_exception(exc, matcher)

    assert shown.__traceback__ is exc.__traceback__
    assert shown.__notes__ == [f"asked for {MASK}", "and again"]
    assert "in raised" in shown_by(shown)


def test_a_value_in_a_note_alone_is_found(matcher: Matcher) -> None:
    """A note is a place where a value gets out by itself."""
    exc = ValueError("refused")
    exc.add_note(VALUE)

    assert shown_by(redacted_exception(exc, matcher)) == f"ValueError: refused\n{MASK}\n"


def test_notes_that_are_none_do_not_hurt(matcher: Matcher) -> None:
    """A program may keep something else under the name of the notes."""
    exc = ValueError(VALUE)
    exc.__notes__ = None  # type: ignore[assignment]

    assert shown_by(redacted_exception(exc, matcher)) == f"ValueError: {MASK}\n"


def test_causes_are_kept_and_replaced_where_they_tell_a_value(matcher: Matcher) -> None:
    """The chain of what led to an error is shown whole; a link that tells nothing is itself."""
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


def test_the_context_is_kept_and_stays_as_hidden_as_it_was(matcher: Matcher) -> None:
    """What was being handled is told where Python would tell it, and carried on otherwise."""
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


def test_a_group_keeps_its_members(matcher: Matcher) -> None:
    """Of several errors only those that tell a value are replaced."""
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


def test_a_group_of_what_is_no_error_is_one_too(matcher: Matcher) -> None:
    """A cancelled or interrupted group stays a group that ``except*`` takes apart."""
    exc = BaseExceptionGroup("stop", [KeyboardInterrupt(), SystemExit(VALUE)])

    shown = redacted_exception(exc, matcher)

    assert isinstance(shown, BaseExceptionGroup)
    assert not isinstance(shown, ExceptionGroup)
    assert isinstance(shown.exceptions[0], KeyboardInterrupt)
    assert isinstance(shown.exceptions[1], SystemExit)
    assert VALUE not in shown_by(shown)


def test_a_group_with_a_message_that_is_no_text_is_shown(matcher: Matcher) -> None:
    """A subclass may call anything its message."""

    class OddError(ExceptionGroup[Exception]):
        message = Client(VALUE)  # type: ignore[assignment]

    shown = redacted_exception(OddError("odd", [ValueError(VALUE)]), matcher)

    assert isinstance(shown, ExceptionGroup)
    assert shown.message == f"client of {MASK}"
    assert VALUE not in shown_by(shown)


def test_a_syntax_error_tells_no_line_of_what_was_parsed(matcher: Matcher) -> None:
    """A value that was parsed as Python is not printed as the faulty line."""
    with pytest.raises(SyntaxError) as caught:
        compile(f"{VALUE} is", "<given>", "eval")

    assert caught.value.text is not None
    assert VALUE in shown_by(caught.value)

    shown = redacted_exception(caught.value, matcher)

    assert VALUE not in f"{shown_by(shown)} {vars(shown)!r}"
    assert shown_by(shown).splitlines()[-1] == f"SyntaxError: {caught.value.msg}"
    assert f"    {MASK} is" in shown_by(shown)


def test_a_chain_that_leads_to_itself_has_an_end(matcher: Matcher) -> None:
    """Errors that are each other's context are shown, once each."""
    one, two = ValueError(VALUE), KeyError(VALUE)
    one.__context__, two.__context__ = two, one

    shown = redacted_exception(one, matcher)

    assert shown.__context__ is not None
    assert isinstance(shown.__context__, KeyError)
    assert shown.__context__.__context__ is shown
    assert VALUE not in shown_by(shown)


def test_a_group_that_is_the_context_of_its_member_has_an_end(matcher: Matcher) -> None:
    """A member that was raised while its own group was handled is shown."""
    member = ValueError(VALUE)
    group = ExceptionGroup("several", [member])
    member.__context__ = group

    shown = redacted_exception(group, matcher)

    assert isinstance(shown, ExceptionGroup)
    assert VALUE not in f"{shown_by(shown)} {shown.exceptions!r}"
    context = shown.exceptions[0].__context__
    assert context is not None
    assert type(context).__name__ == "ExceptionGroup"


def test_one_error_in_two_places_gets_one_stand_in(matcher: Matcher) -> None:
    """What was one error before is one afterwards."""
    both = ValueError(VALUE)
    shown = redacted_exception(ExceptionGroup("twice", [both, both]), matcher)

    assert isinstance(shown, ExceptionGroup)
    assert shown.exceptions[0] is shown.exceptions[1]


def test_an_error_that_cannot_speak_is_named(matcher: Matcher) -> None:
    """Of an error whose own text fails, the class remains."""
    exc = SilentError(VALUE)

    shown = redacted_exception(exc, matcher)

    assert isinstance(shown, ValueError)
    assert str(shown) == UNPRINTABLE
    assert repr(shown) == f"SilentError('{MASK}')"
    assert VALUE not in shown_by(shown)


def test_what_interrupts_while_an_error_speaks_goes_on() -> None:
    """A person who presses Ctrl-C is not ignored."""

    def interrupt(_: object) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        as_text(ValueError(), interrupt)


def test_everything_that_an_error_says_is_looked_at() -> None:
    """Causes, contexts, members, notes and a parsed line all count as said."""
    exc = ExceptionGroup("group", [SyntaxError("odd", ("file", 1, 1, "line of text", 1, 2))])
    exc.add_note("a note")
    exc.__cause__ = ValueError("cause")
    exc.__cause__.__context__ = KeyError("context")

    said = "\n".join(exception_texts(exc))

    for word in ("group", "odd", "line of text", "a note", "cause", "context"):
        assert word in said


def test_an_object_that_tells_a_value_is_replaced(matcher: Matcher) -> None:
    """An argument says and shows the same as before, with stars."""
    shown = redacted_object(Client(VALUE), matcher)

    assert str(shown) == f"client of {MASK}"
    assert repr(shown) == f"Client(key='{MASK}')"
    assert VALUE not in repr(vars(shown))


def test_an_object_that_tells_no_value_is_itself(matcher: Matcher) -> None:
    """An argument without a secret is passed on as it is."""
    client, silent = Client("fake-other"), SilentError()

    assert redacted_object(client, matcher) is client
    assert redacted_object(silent, matcher) is silent
    assert redacted_object(4711, matcher) == 4711
