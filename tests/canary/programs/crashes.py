"""Programs whose main crashes: ``main(SCENARIO, BACKEND, HOW)`` in a process of :mod:`.forked`.

HOW is ``logged`` if the application has configured logging, ``quiet`` if it has not, and
``inside`` for a crash in the block of ``boot.running``, whose caller logs it.
"""

import asyncio
import atexit
import gc
import logging
import signal
import sys
import threading
import traceback
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Never

import anyio
from anyio.lowlevel import checkpoint

from hive_boot import Bootstrap, get_secret
from tests.canary.programs.declared import Canaries
from tests.canary.programs.telling import all_of, log_to_files, plainly, revealed, spellings

boot = Bootstrap(Canaries, shutdown_timeout=60)

log = logging.getLogger("app")

Main = Callable[[str, str], Coroutine[Any, Any, None]]
"""A main that takes all secrets in every encoded form, and unencoded for what escapes them."""


class OddError(Exception):
    """An error whose text contains a value that is not in its arguments."""

    def __init__(self, held: str) -> None:
        super().__init__()
        self.held = held

    def __str__(self) -> str:
        return f"it holds {self.held}"


class SpeechlessError(Exception):
    """An error whose ``__str__`` and ``__repr__`` fail with the value."""

    def __init__(self, held: str) -> None:
        super().__init__()
        self.held = held

    def __str__(self) -> str:
        raise OddError(self.held)

    __repr__ = __str__


async def fail(text: str) -> Never:
    """Raise an error with ``text`` after one step of the event loop."""
    await checkpoint()
    raise ValueError(text)


def fail_at_once(text: str) -> Never:
    """Raise an error with ``text``."""
    raise ValueError(text)


async def plain(text: str, _: str) -> None:
    """Raise an error."""
    await fail(text)


async def each_alone(_: str, __: str) -> None:
    """Raise a group with one error for each encoded form of each value."""
    texts = [text for value in revealed(boot.secrets) for text in spellings(value)]
    message = "each of them"
    raise ExceptionGroup(message, [ValueError(text) for text in texts])


async def plain_functions(_: str, __: str) -> None:
    """Raise the values that ``get_secret`` returns."""
    raise RuntimeError(get_secret("PASSPHRASE"), [get_secret("DATABASE_URL")])


async def chained(text: str, raw: str) -> None:
    """Raise an error with a cause, which has a context; the first two have a note."""
    try:
        try:
            raise KeyError(raw)  # noqa: TRY301  (people do)
        except KeyError:
            await fail(raw)
    except ValueError as cause:
        error = OddError(text)
        error.add_note(f"note: {raw}")
        cause.add_note(f"note: {raw}")
        raise error from cause


async def group(text: str, raw: str) -> None:
    """Raise in two tasks of a group, one of them in a nested group."""

    async def inner() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail, raw)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(inner)
        tasks.start_soon(fail, text)


async def speechless(text: str, _: str) -> None:
    """Raise an error that cannot be shown."""
    raise SpeechlessError(text)


async def syntax(_: str, __: str) -> None:
    """Raise an error whose traceback shows a source line with a value."""
    compile(f"'{get_secret('OPENAI_API_KEY')}", "settings", "exec")


async def exit_text(text: str, _: str) -> None:
    """Exit with a value as the message."""
    sys.exit(text)


async def exit_object(text: str, raw: str) -> None:
    """Exit with an object as the message."""
    sys.exit([raw, OddError(text)])  # type: ignore[arg-type]


async def interrupted(text: str, _: str) -> None:
    """Raise KeyboardInterrupt with a value."""
    raise KeyboardInterrupt(text)


async def stopped(text: str, _: str) -> None:
    """Stop by a signal, and raise in the ``finally`` block."""
    try:
        signal.raise_signal(signal.SIGTERM)
        await anyio.sleep_forever()
    finally:
        raise OddError(text)


async def thread(text: str, raw: str) -> None:
    """Raise in a thread of the application."""
    worker = threading.Thread(target=fail_at_once, args=[text], name="worker")
    worker.start()
    worker.join()
    raise LookupError(raw)


async def worker_thread(text: str, _: str) -> None:
    """Raise in a worker thread of the event loop."""
    await anyio.to_thread.run_sync(fail_at_once, text)


async def finalizer(text: str, raw: str) -> None:
    """Raise in a finalizer and in a weakref callback, where the error cannot be caught."""

    class Watched:
        pass

    watched = Watched()
    reference = weakref.ref(watched, lambda _: fail_at_once(text))
    Doomed(raw)
    del watched
    gc.collect()
    assert reference() is None
    raise LookupError(raw)


class Doomed:
    """An object whose finalizer raises."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Doomed({self.text})"

    def __del__(self) -> None:
        raise OddError(self.text)


async def last_finalizer(text: str, raw: str) -> None:
    """Raise in a finalizer that runs while the interpreter exits."""
    LEFT.append(Doomed(text))
    raise LookupError(raw)


async def printed(text: str, raw: str) -> None:
    """Print a traceback, to stderr and to stdout."""
    try:
        await chained(text, raw)
    except OddError:
        traceback.print_exc()
        traceback.print_exc(file=sys.stdout)
        raise


async def warned(text: str, raw: str) -> None:
    """Issue warnings with a value, to stderr and to the log."""
    warnings.warn(text, stacklevel=1)
    logging.captureWarnings(capture=True)
    warnings.warn(f"again {raw}", stacklevel=1)
    raise LookupError(raw)


async def unawaited_task(_: str, raw: str) -> None:
    """Leave a failed task, callback and future to the exception handler of the loop."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(fail(raw), name=f"task for {raw}")
    future = loop.create_future()
    future.set_exception(ValueError(raw))
    loop.call_soon(fail_at_once, raw)
    loop.call_exception_handler({"message": f"by hand: {raw}", "found": [raw]})
    await asyncio.wait([task])
    del task, future
    gc.collect()
    raise LookupError(raw)


async def loop_that_ends(_: str, raw: str) -> None:
    """Leave an async generator and a task that raise when the loop closes."""

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            fail_at_once(raw)

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            fail_at_once(raw)

    generator = generate()
    await anext(generator)
    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    LEFT.extend([generator, task])
    raise LookupError(raw)


async def debugged_loop(_: str, raw: str) -> None:
    """Make asyncio's debug mode report slow callbacks."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    ended = asyncio.Event()
    loop.call_soon(len, raw)
    loop.call_soon(lambda _: ended.set(), raw)
    await ended.wait()
    raise LookupError(raw)


async def own_loop_handler(_: str, raw: str) -> None:
    """Install an exception handler of the loop that logs its whole context."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: log.error("the loop: %s", context))
    loop.call_soon(fail_at_once, raw)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    raise LookupError(raw)


async def at_exit(text: str, raw: str) -> None:
    """Raise, log and warn while the process exits."""
    atexit.register(fail_at_once, text)
    atexit.register(log.error, "at exit: %s", raw)
    atexit.register(warnings.warn, f"at exit: {raw}")
    threading.Thread(target=_fail_late, args=[text]).start()


def _fail_late(text: str) -> None:
    threading.main_thread().join()
    raise ValueError(text)


async def kept(text: str, _: str) -> None:
    """Keep a text; ``crash`` raises it after ``boot.run``."""
    KEPT.append(text)


KEPT: list[str] = []

LEFT: list[object] = []
"""Objects that live until the process exits."""


async def own_hooks(_: str, raw: str) -> None:
    """Raise in every place whose errors go to a hook of the application."""
    worker = threading.Thread(target=fail_at_once, args=[raw])
    worker.start()
    worker.join()
    Doomed(raw)
    KEPT.append(raw)


def show_by_oneself() -> None:
    """Install hooks as error trackers do, before hive_boot installs its own."""

    def show(
        kind: type[BaseException], exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        traceback.print_exception(kind, exc, tb)
        sys.stderr.write(f"tracked: {exc!r} {exc} {getattr(exc, 'args', ())}\n")

    def show_thread(args: threading.ExceptHookArgs) -> None:
        show(args.exc_type, args.exc_value, args.exc_traceback)

    def show_unraisable(args: "sys.UnraisableHookArgs") -> None:
        sys.stderr.write(f"tracked: {args.err_msg} {args.object!r}\n")
        show(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)

    sys.excepthook = show
    threading.excepthook = show_thread
    sys.unraisablehook = show_unraisable


SCENARIOS: dict[str, Main] = {
    "plain": plain,
    "each alone": each_alone,
    "plain functions": plain_functions,
    "chained": chained,
    "group": group,
    "speechless": speechless,
    "syntax": syntax,
    "exit with a text": exit_text,
    "exit with an object": exit_object,
    "interrupted": interrupted,
    "stopped": stopped,
    "thread": thread,
    "worker thread": worker_thread,
    "finalizer": finalizer,
    "last finalizer": last_finalizer,
    "printed": printed,
    "warned": warned,
    "at exit": at_exit,
    "caller": kept,
    "own hooks": own_hooks,
    "unawaited task": unawaited_task,
    "loop that ends": loop_that_ends,
    "debugged loop": debugged_loop,
    "own loop handler": own_loop_handler,
}

ASYNCIO_ONLY = {"unawaited task", "loop that ends", "debugged loop", "own loop handler"}

OUTSIDE: dict[str, Main] = {"plain": plain, "chained": chained, "group": group}
"""Scenarios that crash inside ``boot.running``, whose caller logs the error."""


def crash(scenario: str, backend: str) -> None:
    """Crash under ``boot.run``; for the scenario "caller" the caller fails too."""

    @boot.main
    async def main(secrets: Canaries) -> None:
        log.info("The process %s", "is about to crash")
        await SCENARIOS[scenario](all_of(secrets), plainly(secrets))

    try:
        boot.run(backend=backend)
    except SystemExit:
        for text in KEPT:
            raise RuntimeError(text) from None
        raise


async def crash_inside(scenario: str) -> None:
    """Crash in the block of ``boot.running``, and log the error in its caller."""
    try:
        async with boot.running() as secrets:
            await OUTSIDE[scenario](plainly(secrets), plainly(secrets))
    except BaseException as exc:
        log.exception("It crashed")
        log.error("It crashed: %s", exc)  # noqa: TRY400  (people do)
        log.error("It crashed: %r", exc)  # noqa: TRY400
        log.error(traceback.format_exc())  # noqa: TRY400
        raise


def main(scenario: str, backend: str, how: str) -> None:
    """Run a scenario."""
    if scenario == "own hooks":
        show_by_oneself()
    if how == "logged":
        log_to_files()
    if how == "inside":
        log_to_files()
        anyio.run(crash_inside, scenario, backend=backend)
    else:
        crash(scenario, backend)
