"""Output of Python itself, such as tracebacks and warnings, while values are hidden."""

import asyncio
import gc
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest

from hive_boot import Secret
from hive_boot.redaction import MASK, registry
from hive_boot.redaction.hooks import Redaction
from hive_boot.redaction.registry import REDACTION_FAILED
from tests.fixtures.cases import case
from tests.redaction.log_output import VALUE, Broken, Client, start
from tests.support import run_child

# Hooks for uncaught exceptions.


def hooks_of_python(redaction: Redaction) -> None:
    """Restore Python's own hooks, and start a redaction."""
    sys.excepthook = sys.__excepthook__
    threading.excepthook = threading.__excepthook__
    sys.unraisablehook = sys.__unraisablehook__
    start(redaction)


def failed(text: str = VALUE) -> ValueError:
    """Return an exception that was raised."""
    with pytest.raises(ValueError, match=text) as caught:
        raise ValueError(text)
    return caught.value


def test_the_traceback_of_a_crash_is_redacted(
    closed: Redaction, capsys: pytest.CaptureFixture[str]
) -> None:
    """The traceback of a crash is redacted."""
    hooks_of_python(closed)
    exc = failed()

    sys.excepthook(type(exc), exc, exc.__traceback__)

    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last):\n")
    assert told.endswith(f"ValueError: {MASK}\n")


def thread_args(
    exc: BaseException | None, thread: threading.Thread | None
) -> threading.ExceptHookArgs:
    """Return the argument of ``threading.excepthook``."""
    trace = None if exc is None else exc.__traceback__
    return threading.ExceptHookArgs((type(exc or ValueError()), exc, trace, thread))


def test_the_traceback_of_a_crashed_thread_is_redacted(
    closed: Redaction, capsys: pytest.CaptureFixture[str]
) -> None:
    """The traceback of a crashed thread is redacted, and names the thread."""
    hooks_of_python(closed)

    threading.excepthook(thread_args(failed(), threading.Thread(name="worker")))
    threading.excepthook(thread_args(failed(), None))

    told = capsys.readouterr().err
    assert told.startswith("Exception in thread worker:\nTraceback (most recent call last):\n")
    assert f"Exception in thread {threading.get_ident()}:\n" in told
    assert told.count(f"ValueError: {MASK}\n") == 2
    assert VALUE not in told


def test_sys_exit_in_a_thread_prints_nothing(
    closed: Redaction, capsys: pytest.CaptureFixture[str]
) -> None:
    """``sys.exit`` in a thread ends it without output, as without hive_boot."""
    hooks_of_python(closed)

    threading.excepthook(thread_args(SystemExit(VALUE), threading.Thread(name="worker")))

    assert capsys.readouterr().err == ""


def unraisable(exc: BaseException | None, message: str | None = None, what: object = None) -> Any:  # noqa: ANN401  (what Python hands over cannot be made)
    """Return an argument of ``sys.unraisablehook``."""
    return SimpleNamespace(
        exc_type=type(exc),
        exc_value=exc,
        exc_traceback=None if exc is None else exc.__traceback__,
        err_msg=message,
        object=what,
    )


def test_an_unraisable_exception_is_redacted(
    closed: Redaction, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error in ``__del__`` is redacted, and so is the description of the object."""
    hooks_of_python(closed)

    sys.unraisablehook(unraisable(failed(), what=Client()))
    sys.unraisablehook(unraisable(failed(), f"Ignored for {VALUE}", "it"))

    told = capsys.readouterr().err
    assert told.startswith(f"Exception ignored in: Client(key='{MASK}')\nTraceback")
    assert f"Ignored for {MASK}: 'it'\n" in told
    assert told.count(f"ValueError: {MASK}\n") == 2
    assert VALUE not in told


class Foreign:
    """Hooks of another library, which keep their arguments."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        sys.excepthook = self.crash
        threading.excepthook = self.keep
        sys.unraisablehook = self.keep

    def crash(self, *arguments: object) -> None:
        """Keep the arguments of ``sys.excepthook``."""
        self.keep(SimpleNamespace(exc_value=arguments[1], all=arguments))

    def keep(self, args: Any) -> None:  # noqa: ANN401  (of one hook or the other)
        """Keep the argument of the other hooks."""
        self.got.append(args)

    def told(self) -> str:
        """Return every traceback."""
        return "".join("".join(traceback.format_exception(args.exc_value)) for args in self.got)


def call_all_hooks(exc: BaseException | None) -> None:
    """Call each of the three hooks with an exception."""
    trace = None if exc is None else exc.__traceback__
    sys.excepthook(type(exc), exc, trace)  # type: ignore[arg-type]
    threading.excepthook(thread_args(exc, None))
    sys.unraisablehook(unraisable(exc))


def test_foreign_hooks_get_an_exception_without_the_value(closed: Redaction) -> None:
    """A hook of another library gets a redacted copy of the exception, with the traceback."""
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


def test_hooks_of_other_libraries_get_an_exception_without_a_value_unchanged(
    closed: Redaction,
) -> None:
    """An exception without a value is passed on unchanged."""
    foreign = Foreign()
    start(closed)
    exc = failed("refused")

    call_all_hooks(exc)

    assert [args.exc_value for args in foreign.got] == [exc, exc, exc]


def test_hooks_of_other_libraries_are_called_without_an_exception_too(closed: Redaction) -> None:
    """Hooks are called also without an exception."""
    foreign = Foreign()
    start(closed)

    threading.excepthook(thread_args(None, None))
    sys.unraisablehook(unraisable(None))

    assert [args.exc_value for args in foreign.got] == [None, None]


def test_hooks_get_the_original_exception_before_the_first_value(closed: Redaction) -> None:
    """Between the start and the first value, hooks get the original exception."""
    foreign = Foreign()
    closed.open()
    exc = failed()

    call_all_hooks(exc)

    assert [args.exc_value for args in foreign.got] == [exc, exc, exc]


def test_foreign_hooks_get_no_exception_that_cannot_be_scrubbed(
    closed: Redaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the redaction fails, hooks get a fixed text instead of the exception."""
    foreign = Foreign()
    start(closed)
    monkeypatch.setattr(registry, "matcher", Broken())

    call_all_hooks(failed())

    assert VALUE not in foreign.told()
    assert foreign.told().count(REDACTION_FAILED) == 3


def test_hooks_print_a_fixed_text_if_the_redaction_fails(
    closed: Redaction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the redaction fails, stderr gets a fixed text."""
    hooks_of_python(closed)
    monkeypatch.setattr(registry, "matcher", Broken())

    call_all_hooks(failed())

    assert capsys.readouterr().err == f"{REDACTION_FAILED}\n" * 3


@pytest.mark.usefixtures("redaction")
def test_the_report_of_an_exception_that_asyncio_never_retrieved_is_redacted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The report of asyncio about an exception that was never retrieved is redacted."""

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
    assert f"client: Client(key='{MASK}')" in caplog.text
    assert VALUE not in caplog.text


# Warnings.


@pytest.mark.usefixtures("redaction")
def test_the_text_of_a_warning_is_redacted() -> None:
    """The text and the source line of a warning are redacted."""
    text = warnings.formatwarning(f"it is {VALUE}", UserWarning, "app.py", 7, f"connect({VALUE})")

    assert text == f"app.py:7: UserWarning: it is {MASK}\n  connect({MASK})\n"


@pytest.mark.usefixtures("redaction")
def test_a_warning_that_logging_captures_is_redacted(caplog: pytest.LogCaptureFixture) -> None:
    """Warnings that logging captures are redacted."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        try:
            warnings.warn(f"it is {VALUE}", UserWarning, stacklevel=1)
        finally:
            logging.captureWarnings(capture=False)

    assert f"UserWarning: it is {MASK}" in caplog.text
    assert VALUE not in caplog.text


# Printed tracebacks.


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
def test_a_printed_traceback_is_redacted() -> None:
    """A traceback that a server or a process pool prints is redacted."""
    for name, show in PRINTED.items():
        with case(name):
            stream = StringIO()
            show(failed(), stream)

            assert stream.getvalue().startswith("Traceback (most recent call last):\n")
            assert stream.getvalue().endswith(f"ValueError: {MASK}\n")
            assert VALUE not in stream.getvalue()


@pytest.mark.usefixtures("redaction")
def test_a_printed_traceback_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """The traceback goes to stderr, and without the chain if the caller asks for that."""
    exc = failed()
    exc.__context__ = KeyError("context")

    traceback.print_exception(exc)
    traceback.print_exception(exc, chain=False)

    told = capsys.readouterr().err
    assert told.count(f"ValueError: {MASK}\n") == 2
    assert told.count("KeyError") == 1
    assert VALUE not in told


def test_a_printed_traceback_is_unchanged_before_the_first_value(
    closed: Redaction, stream: StringIO
) -> None:
    """Between the start and the first value, tracebacks are unchanged."""
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
    redaction.register([Secret("A", VALUE)])
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


def test_a_program_shows_no_value() -> None:
    """With redaction the output of a program on stderr is the same, except for the value."""
    for name, program in PROGRAMS.items():
        with case(name):
            shown = run_child(OPEN + program, HELD=VALUE, HIDDEN="")
            hidden_now = run_child(OPEN + program, HELD=VALUE, HIDDEN="1")

            assert VALUE in shown.stderr, "this program is no test"
            assert VALUE not in hidden_now.stderr + hidden_now.stdout
            assert MASK in hidden_now.stderr
            assert REDACTION_FAILED not in hidden_now.stderr
            assert hidden_now.returncode == shown.returncode
            if "crash" in name or name in {"a group", "a note"}:
                # A redacted traceback differs only in the mask.
                assert hidden_now.stderr == shown.stderr.replace(VALUE, MASK)


def test_a_crash_without_stderr_has_the_right_exit_status() -> None:
    """The exit status of a crash is right without stderr."""
    for how in ("sys.stderr = None", "sys.stderr.close()"):
        with case(how):
            child = run_child(
                f"{OPEN}\nimport sys\n{how}\nraise ValueError(VALUE)", HELD=VALUE, HIDDEN="1"
            )

            assert child.returncode == 1
            assert VALUE not in child.stderr


# Hooks of other libraries.


def fails(*_: object) -> None:
    """A hook that fails with the value in its message."""
    message = f"the tracker is down, with {VALUE}"
    raise RuntimeError(message)


@pytest.mark.usefixtures("closed")
def test_the_error_of_a_failing_hook_is_redacted(
    closed: Redaction, capsys: pytest.CaptureFixture[str]
) -> None:
    """If a hook of another library raises, both errors are shown, without the value."""
    sys.excepthook = fails
    start(closed)

    sys.excepthook(ValueError, ValueError(VALUE), None)

    shown = capsys.readouterr().err
    assert "RuntimeError: the tracker is down, with ***" in shown
    assert "ValueError: ***" in shown
    assert VALUE not in shown


def test_the_object_of_an_unraisable_exception_is_redacted(closed: Redaction) -> None:
    """``sys.unraisablehook`` of another library gets a redacted object and message."""
    got: list[Any] = []
    sys.unraisablehook = got.append
    start(closed)

    sys.unraisablehook(
        SimpleNamespace(
            exc_type=ValueError,
            exc_value=ValueError("fine"),
            exc_traceback=None,
            err_msg=f"Exception ignored for {VALUE}",
            object=Client(),
        )
    )

    assert f"{got[0].object!r} {got[0].err_msg}" == "Client(key='***') Exception ignored for ***"


def test_a_value_of_several_lines_is_redacted_in_the_traceback_of_a_group(
    closed: Redaction, capsys: pytest.CaptureFixture[str]
) -> None:
    """The traceback of a group indents each line; a value of several lines is redacted before."""
    value = "fake-one-11\nfake-two-22\nfake-three-33"
    sys.excepthook = sys.__excepthook__
    closed.open()
    closed.register([Secret("A", value)])

    for show in (sys.excepthook, traceback.print_exception):
        group = ExceptionGroup("both", [ValueError(value), KeyError("fine")])
        show(type(group), group, None)

    shown = capsys.readouterr().err
    assert "fake-two-22" not in shown
    assert shown.count("ValueError: ***") == 2


@pytest.mark.usefixtures("redaction")
def test_print_exception_without_an_exception_is_unchanged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """``print_exception`` without an exception is unchanged."""
    traceback.print_exception(None, None, None)

    assert capsys.readouterr().err == "NoneType: None\n"


def test_the_print_method_of_traceback_exception_is_redacted(
    redaction: Redaction, capsys: pytest.CaptureFixture[str]
) -> None:
    """``TracebackException.print`` is redacted, on stderr and in a file, also with locals."""
    exc = failed()
    exc.__cause__ = KeyError(VALUE)
    reports = [
        traceback.TracebackException.from_exception(exc),
        traceback.TracebackException.from_exception(exc, capture_locals=True),
        traceback.TracebackException.from_exception(ExceptionGroup("two", [exc])),
    ]
    for report in reports:
        with case(report):
            file = StringIO()
            report.print()
            report.print(file=file, chain=False)
            shown = capsys.readouterr().err
            assert f"ValueError: {MASK}" in shown
            assert f"ValueError: {MASK}" in file.getvalue()
            assert VALUE not in shown + file.getvalue()
    redaction.close()
    reports[0].print()
    assert f"ValueError: {VALUE}" in capsys.readouterr().err


def test_a_stack_of_a_task_shows_no_value(
    closed: Redaction, capsys: pytest.CaptureFixture[str]
) -> None:
    """``Task.print_stack`` is redacted for a failed, a running and a finished task."""

    async def fail() -> None:
        raise ValueError(VALUE)

    async def main() -> None:
        start(closed)
        loop = asyncio.get_running_loop()
        failing = loop.create_task(fail())
        waiting = loop.create_task(asyncio.sleep(60), name=f"for {VALUE}")
        await asyncio.wait([failing])
        file = StringIO()
        for task in (failing, waiting):
            task.print_stack()
            task.print_stack(file=file)
        captured = capsys.readouterr()
        for shown in (captured.out + captured.err, file.getvalue()):
            assert f"ValueError: {MASK}" in shown
            assert f"name='for {MASK}'" in shown
            assert VALUE not in shown
        waiting.cancel()
        closed.close()
        failing.print_stack()
        assert f"ValueError: {VALUE}" in capsys.readouterr().out

    asyncio.run(main())
