"""Redaction of a run: its beginning, its end, and what stays patched afterwards."""

import functools
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest

from hive_boot import Secret, redact
from hive_boot.redaction import MASK, hooks, registry
from hive_boot.redaction.hooks import PATCHED_FUNCTIONS, Redaction
from tests.fixtures.cases import case
from tests.redaction.log_output import VALUE
from tests.support import run_child

OTHER = "fake-other-9876543210"

FUNCTIONS: dict[str, tuple[Any, str]] = {
    "callHandlers": (logging.Logger, "callHandlers"),
    "setattr": (logging.Handler, "__setattr__"),
    "filter": (logging.Handler, "filter"),
    "format": (logging.Handler, "format"),
    "handleError": (logging.Handler, "handleError"),
    "sys.excepthook": (sys, "excepthook"),
    "threading.excepthook": (threading, "excepthook"),
    "sys.unraisablehook": (sys, "unraisablehook"),
    "traceback.print_exception": (traceback, "print_exception"),
    "TracebackException.print": (traceback.TracebackException, "print"),
    "warnings.formatwarning": (warnings, "formatwarning"),
}


_started: list[Redaction] = []
"""The redactions that a test has opened; they are closed at its end, also after a failure."""


def current() -> dict[str, object]:
    """Return the functions that are in place now."""
    return {each: getattr(owner, name) for each, (owner, name) in FUNCTIONS.items()}


@contextmanager
def restored() -> Iterator[None]:
    """Restore, at the end, the functions that the block has patched."""
    known = [(owner, name, vars(owner).get(name)) for owner, name in FUNCTIONS.values()]
    yield
    while _started:
        _started.pop().close()
    for owner, name, before in known:
        if before is not None:
            setattr(owner, name, before)
        elif name in vars(owner):
            delattr(owner, name)


@pytest.fixture(autouse=True)
def _unwrapped() -> Iterator[None]:
    """Restore, at the end, the functions that a test has patched."""
    with restored():
        yield


class Line:
    """A logger whose written lines a test compares."""

    def __init__(self) -> None:
        self.log = logging.Logger("app")  # noqa: LOG001  (no other code uses it)

    def log_values(self, *values: str) -> str:
        """Log the values, and return the written line."""
        stream = StringIO()
        handler = logging.StreamHandler(stream)
        self.log.addHandler(handler)
        self.log.error(" ".join(values))
        self.log.removeHandler(handler)
        return stream.getvalue().removesuffix("\n")

    def log_invalid_template(self, value: str) -> None:
        """Log a value that does not match its template."""
        handler = logging.StreamHandler(StringIO())
        handler.handle(logging.makeLogRecord({"msg": "%d", "args": (value,)}))


class Keeper(logging.Handler):
    """A handler that keeps the messages of records."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.kept.append(record.getMessage())


@pytest.fixture
def line() -> Iterator[Line]:
    """Yield a logger that no other code uses."""
    one = Line()
    yield one
    registry.unregister(one)


def started(*values: str) -> Redaction:
    """Open a redaction that hides the values."""
    redaction = Redaction()
    _started.append(redaction)
    redaction.open()
    redaction.register(Secret("A", value) for value in values)
    return redaction


def test_this_module_covers_every_patched_function() -> None:
    """The table of functions is the same as that of the package."""
    own = {entry[:2] for entry in PATCHED_FUNCTIONS if not isinstance(entry[0], str)}
    assert own == set(FUNCTIONS.values())


def test_functions_are_patched_at_a_start_and_restored_at_the_end() -> None:
    """Each function is replaced during a run, and restored afterwards."""
    for label, (owner, name) in FUNCTIONS.items():
        with case(label), restored():
            before = getattr(owner, name)

            redaction = started(VALUE)
            wrapped = getattr(owner, name)
            redaction.close()

            assert wrapped is not before
            assert getattr(owner, name) is before


def test_no_attribute_stays_on_a_patched_class() -> None:
    """A class that inherited a patched method inherits it again afterwards."""
    assert "filter" not in vars(logging.Handler)

    redaction = started(VALUE)
    assert "filter" in vars(logging.Handler)
    redaction.close()

    assert "filter" not in vars(logging.Handler)
    assert registry.matcher is None


def test_a_module_is_patched_only_after_its_import() -> None:
    """A start does not import asyncio; the next start patches it if it was imported meanwhile."""
    child = run_child(
        "import sys\n"
        "from hive_boot.redaction.hooks import Redaction\n"
        "first, second, third = Redaction(), Redaction(), Redaction()\n"
        "first.open()\n"
        "print('asyncio' in sys.modules)\n"
        "import asyncio.base_tasks\n"
        "second.open()\n"
        "wrapper = asyncio.base_tasks.print\n"
        "third.open()\n"
        "print(wrapper is print, asyncio.base_tasks.print is wrapper)\n"
        "for each in (first, second, third): each.close()\n"
        "print(hasattr(asyncio.base_tasks, 'print'))\n"
    )
    assert child.stdout.split() == ["False", "False", "True", "False"], child.stderr


def test_the_import_patches_no_function() -> None:
    """The import of hive_boot patches no function."""
    child = run_child(
        "import logging, sys, threading, traceback, warnings\n"
        "import hive_boot.redaction.hooks\n"
        "shown = [sys.excepthook, sys.unraisablehook, threading.excepthook]\n"
        "shown += [logging.Logger.callHandlers, logging.Handler.format, logging.Handler.filter]\n"
        "shown += [logging.Handler.handleError, traceback.print_exception]\n"
        "print(*(each.__module__ for each in [*shown, warnings.formatwarning]))\n"
    )

    assert child.stdout.split() == [
        "sys",
        "sys",
        "_thread",
        *["logging"] * 4,
        "traceback",
        "warnings",
    ]


def test_log_lines_are_redacted_from_the_start_to_the_end(line: Line) -> None:
    """A value is hidden during a run, and no longer."""
    assert line.log_values(VALUE) == VALUE

    redaction = started(VALUE)
    assert line.log_values(VALUE) == MASK
    redaction.close()

    assert line.log_values(VALUE) == VALUE


def test_a_run_without_values_changes_no_log_line(line: Line) -> None:
    """An application without secrets logs as before."""
    keeper = Keeper()
    line.log.addHandler(keeper)
    redaction = started()

    assert line.log_values(VALUE) == VALUE
    assert keeper.kept == [VALUE]

    redaction.close()


def test_the_hidden_values_are_those_registered_last(line: Line) -> None:
    """Each ``register`` replaces the hidden values, so a rotation registers the old ones again."""
    redaction = started(VALUE)
    redaction.register([Secret("A", OTHER)])
    assert line.log_values(VALUE, OTHER) == f"{VALUE} {MASK}"
    redaction.register([Secret("A", VALUE), Secret("A", OTHER)])

    assert line.log_values(VALUE, OTHER) == f"{MASK} {MASK}"

    redaction.close()
    assert line.log_values(VALUE, OTHER) == f"{VALUE} {OTHER}"


@pytest.mark.parametrize("first", [0, 1])
def test_each_of_two_runs_hides_its_own_values(line: Line, first: int) -> None:
    """In whatever order two runs end, the other one still hides its values."""
    before = current()
    runs, values = [started(VALUE), started(OTHER)], [VALUE, OTHER]
    assert line.log_values(VALUE, OTHER) == f"{MASK} {MASK}"

    runs.pop(first).close()

    shown_value, kept = values.pop(first), values[0]
    assert line.log_values(kept, shown_value) == f"{MASK} {shown_value}"
    assert current() != before

    runs.pop().close()
    assert current() == before
    assert line.log_values(VALUE, OTHER) == f"{VALUE} {OTHER}"


def test_a_value_of_two_runs_is_hidden_until_both_end(line: Line) -> None:
    """A value of two runs is hidden until both have ended."""
    one, two = started(VALUE), started(VALUE)

    one.close()
    assert line.log_values(VALUE) == MASK
    two.close()

    assert line.log_values(VALUE) == VALUE


def test_a_second_close_has_no_effect(line: Line) -> None:
    """A second close of one redaction does not close another one."""
    one, two = started(VALUE), started(OTHER)

    one.close()
    one.close()

    assert line.log_values(OTHER) == MASK
    two.close()
    two.close()
    assert line.log_values(OTHER) == OTHER


def test_closing_a_redaction_that_was_not_opened_has_no_effect() -> None:
    """A redaction that was never opened can be closed."""
    before = current()

    Redaction().close()
    Redaction().close(linger=True)

    assert current() == before


def test_a_closed_redaction_can_be_opened_again(line: Line) -> None:
    """After the second opening values are hidden again, until the second close."""
    redaction = started(VALUE)
    redaction.close()

    redaction.open()
    redaction.register([Secret("A", VALUE)])
    assert line.log_values(VALUE) == MASK
    redaction.close()

    assert line.log_values(VALUE) == VALUE


def test_a_lingering_redaction_ends_with_the_next_start(line: Line) -> None:
    """With ``linger=True`` values stay hidden after the end, until the next start."""
    before = current()
    failed = started(VALUE)
    failed.close(linger=True)
    assert line.log_values(VALUE) == MASK
    assert redact(VALUE) == MASK

    after = started(OTHER)

    assert line.log_values(VALUE, OTHER) == f"{VALUE} {MASK}"
    after.close()
    assert current() == before


def test_a_lingering_redaction_is_not_ended_by_the_end_of_another_run(line: Line) -> None:
    """If one of two runs lingers, the end of the other one does not reveal its values."""
    one, two = started(VALUE), started(OTHER)

    one.close(linger=True)
    two.close()

    assert line.log_values(VALUE, OTHER) == f"{MASK} {OTHER}"
    one.close()
    assert line.log_values(VALUE) == VALUE


def test_a_redaction_can_be_closed_with_linger_twice(line: Line) -> None:
    """A second close with ``linger=True`` changes nothing."""
    redaction = started(VALUE)

    redaction.close(linger=True)
    redaction.close(linger=True)
    assert line.log_values(VALUE) == MASK

    redaction.close()
    assert line.log_values(VALUE) == VALUE


def wrap(owner: Any, name: str) -> Callable[..., Any]:  # noqa: ANN401  (a module or a class)
    """Wrap a patched function, as another library does."""
    before = getattr(owner, name)

    def foreign(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  (whatever it is)
        return before(*args, **kwargs)

    setattr(owner, name, foreign)
    return foreign


def test_a_wrapper_that_another_library_installs_during_a_run_stays() -> None:
    """The end of a run restores only functions whose outermost wrapper is that of hive_boot."""
    for label, (owner, name) in FUNCTIONS.items():
        with case(label), restored():
            before = current()
            redaction = started(VALUE)
            foreign = wrap(owner, name)

            redaction.close()

            assert getattr(owner, name) is foreign
            rest = {each: it for each, it in current().items() if it is not foreign}
            assert rest == {each: before[each] for each in rest}
            assert len(rest) == len(before) - 1


def test_a_wrapper_that_another_library_installed_before_a_run_is_restored() -> None:
    """The function after the run is the wrapper of the other library."""
    for label, (owner, name) in FUNCTIONS.items():
        with case(label), restored():
            foreign = wrap(owner, name)

            started(VALUE).close()

            assert getattr(owner, name) is foreign


def test_a_patch_below_a_foreign_wrapper_redacts_nothing_after_the_end(
    line: Line, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A patch that another library has wrapped cannot be removed, so it becomes inactive."""
    redaction = started(VALUE)
    for owner, name in FUNCTIONS.values():
        wrap(owner, name)
    redaction.close()
    # The value is hidden by another run: a closed redaction must not use it.
    registry.register(line, [Secret("A", VALUE)])
    keeper = Keeper()
    line.log.addHandler(keeper)
    monkeypatch.setattr(logging, "raiseExceptions", True)

    assert line.log_values(VALUE) == VALUE
    assert keeper.kept == [VALUE]
    assert VALUE in warnings.formatwarning(VALUE, UserWarning, "app.py", 1, "line")
    line.log_invalid_template(VALUE)
    assert f"Arguments: ('{VALUE}',)" in capsys.readouterr().err
    sys.excepthook(ValueError, ValueError(VALUE), None)
    assert VALUE in capsys.readouterr().err
    traceback.print_exception(ValueError(VALUE))
    assert VALUE in capsys.readouterr().err


def test_a_hook_below_a_foreign_wrapper_passes_the_exception_on_after_the_end(line: Line) -> None:
    """The original exception arrives unchanged at the hook below."""
    got: list[Any] = []
    sys.excepthook = lambda *args: got.append(args[1])
    threading.excepthook = lambda args: got.append(args.exc_value)
    sys.unraisablehook = lambda args: got.append(args.exc_value)
    redaction = started(VALUE)
    for owner, name in FUNCTIONS.values():
        wrap(owner, name)
    redaction.close()
    registry.register(line, [Secret("A", VALUE)])
    exc = ValueError(VALUE)
    args = threading.ExceptHookArgs((ValueError, exc, None, None))

    sys.excepthook(ValueError, exc, None)
    threading.excepthook(args)
    sys.unraisablehook(args)  # type: ignore[arg-type]

    assert got == [exc, exc, exc]


def test_the_next_start_patches_functions_that_other_libraries_have_wrapped(line: Line) -> None:
    """A wrapper that was installed during one run does not prevent the next one from redacting."""
    first = started(VALUE)
    for owner, name in FUNCTIONS.values():
        wrap(owner, name)
    on_top = current()
    first.close()
    keeper = Keeper()
    line.log.addHandler(keeper)

    second = started(OTHER)

    assert line.log_values(VALUE, OTHER) == f"{VALUE} {MASK}"
    assert keeper.kept == [f"{VALUE} {MASK}"]
    second.close()
    assert current() == on_top


def test_values_registered_after_the_close_are_not_hidden() -> None:
    """No matcher is created by a closed redaction."""
    redaction = Redaction()
    redaction.open()
    redaction.close()
    redaction.register([Secret("A", VALUE)])
    assert registry.matcher is None


def test_a_wrapper_with_copied_attributes_is_not_removed() -> None:
    """`functools.wraps` copies the attributes by which hive_boot identifies its own wrappers."""
    cases: list[tuple[Any, str]] = [(logging.Logger, "callHandlers"), (sys, "excepthook")]
    for owner, name in cases:
        with case(owner, name):
            redaction = Redaction()
            redaction.open()
            ours = getattr(owner, name)

            @functools.wraps(ours)
            def foreign(*args: object, ours: Callable[..., object] = ours) -> None:
                ours(*args)

            setattr(owner, name, foreign)
            redaction.close()
            redaction.open()
            redaction.close()
            assert getattr(owner, name) is foreign


def test_nothing_is_shown_if_the_redaction_code_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the end of a process an import can fail; then log lines and tracebacks are dropped."""

    def fail(*_: object) -> None:
        message = "sys.meta_path is None, Python is likely shutting down"
        raise ImportError(message)

    monkeypatch.setattr(hooks, "load_wrapper", fail)
    redaction = Redaction()
    redaction.open()
    redaction.register([Secret("A", VALUE)])
    logging.getLogger("tests.redaction.end").error("it is %s", VALUE)
    sys.excepthook(ValueError, ValueError(VALUE), None)
    redaction.close()
    assert capsys.readouterr().err == ""


def test_a_log_record_without_values_imports_no_redaction_code() -> None:
    """The modules are imported when a value can be in a record."""
    source = """
import logging, sys
from hive_boot.redaction.hooks import Redaction
redaction = Redaction()
redaction.open()
logging.warning("no value is known")
print(*(name for name in sys.modules if name in
        ("hive_boot.redaction.patches", "hive_boot.redaction.patches")))
"""
    child = run_child(source)
    assert child.stderr == "WARNING:root:no value is known\n"
    assert child.stdout == "\n"


def test_a_closed_hook_that_another_library_restores_is_removed_later() -> None:
    """The hook of hive_boot is removed at the next end."""
    before = sys.excepthook
    redaction = Redaction()
    redaction.open()
    ours = sys.excepthook
    sys.excepthook = print
    redaction.close()
    sys.excepthook = ours
    redaction.open()
    redaction.close()
    assert sys.excepthook is before


def show_everything(log: logging.Logger) -> None:
    """Show the value by a hook, a printed traceback and a failed log call."""
    error = ValueError(VALUE)
    sys.excepthook(ValueError, error, None)
    traceback.print_exception(error)
    log.error("%d", VALUE)


def test_a_run_without_values_shows_everything_after_the_end_of_another_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values of the run that has ended are no longer hidden."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    log = logging.Logger("app")  # noqa: LOG001  (no other code uses it)
    log.addHandler(logging.StreamHandler(StringIO()))
    first, second = Redaction(), Redaction()
    first.open()
    second.open()
    first.register([Secret("A", VALUE)])
    show_everything(log)
    hidden_then = capsys.readouterr().err
    first.close()
    show_everything(log)
    second.close()
    shown = capsys.readouterr().err
    assert VALUE not in hidden_then
    assert hidden_then.count("ValueError: ***") == shown.count(f"ValueError: {VALUE}") == 2
    assert f"Arguments: ('{VALUE}',)" in shown
