"""An application that logs and raises values in every placement, for uvicorn's command line.

``LOG_DIR`` says where its log files are.
"""

import json
import logging
import logging.handlers
import os
import queue
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Never

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from hive_boot import Bootstrap
from tests.canary.programs.declared import Canaries
from tests.canary.programs.telling import KINDS, plainly, spellings

boot = Bootstrap(Canaries, shutdown_timeout=60)
log = logging.getLogger("app.routes")
alone = logging.getLogger("app.alone")
DIRECTORY = Path(os.environ["LOG_DIR"])


class Held:
    """An object that says what it holds."""

    def __init__(self, held: str) -> None:
        self.held = held

    def __str__(self) -> str:
        return f"<it holds {self.held}>"

    __repr__ = __str__


class JSONFormatter(logging.Formatter):
    """Writes a record as JSON, with all that somebody added to it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write it down."""
        super().format(record)
        return json.dumps(vars(record), default=str)


class Remembering(logging.Handler):
    """Writes down all of a record, as trackers of errors do, and formats nothing."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write it down, or complain on stderr."""
        try:
            self._write(record)
        except (TypeError, ValueError):
            self.handleError(record)

    def _write(self, record: logging.LogRecord) -> None:
        path = DIRECTORY / "tracker.txt"
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            exc = record.exc_info and record.exc_info[1]
            while exc:
                file.write(f"{exc} {getattr(exc, '__notes__', ())}\n")
                for member in getattr(exc, "exceptions", ()):
                    file.write(f"{member} {member.args}\n")
                exc = exc.__cause__ or exc.__context__
            known = {**vars(record), "exc_info": None, "message": record.getMessage()}
            file.writelines(f"{name}={_text(it)}\n" for name, it in known.items())


def _text(it: object) -> str:
    """Write down what somebody added: text as it is, also that in a structure."""
    if isinstance(it, dict):
        return "\n".join(map(_text, [*it, *it.values()]))
    if isinstance(it, list | tuple):
        return "\n".join(map(_text, it))
    return it.decode("latin-1") if isinstance(it, bytes) else str(it)


class Failing(logging.Handler):
    """Cannot write anything down; ``logging`` complains of it on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Fail, and say with what."""
        try:
            message = f"cannot write {record.getMessage()}"
            raise OSError(message)  # noqa: TRY301  (people do)
        except OSError:
            self.handleError(record)


class FailingFormatter(logging.Formatter):
    """Fails, and says with what."""

    def format(self, record: logging.LogRecord) -> Never:
        """Fail."""
        message = f"cannot format {record.getMessage()}"
        raise ValueError(message)


class Adding(logging.Filter):
    """Adds to a record what it is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add."""
        record.added = getattr(record, "to_add", "")
        return True


def set_up() -> None:
    """Log to stderr and to files, by handlers of every kind."""
    root = logging.getLogger()
    root.setLevel("DEBUG")
    listed: list[logging.Handler] = [
        logging.StreamHandler(),
        logging.FileHandler(DIRECTORY / "plain.txt", encoding="utf-8"),
        logging.handlers.RotatingFileHandler(DIRECTORY / "rotating.txt", encoding="utf-8"),
        logging.handlers.WatchedFileHandler(DIRECTORY / "watched.txt", encoding="utf-8"),
        Remembering(),
    ]
    as_json = logging.FileHandler(DIRECTORY / "json.txt", encoding="utf-8")
    as_json.setFormatter(JSONFormatter())
    listed.append(as_json)
    with_extra = logging.FileHandler(DIRECTORY / "extra.txt", encoding="utf-8")
    with_extra.setFormatter(logging.Formatter("{message} {added}", style="{"))
    with_extra.addFilter(Adding())
    listed.append(with_extra)
    behind = logging.FileHandler(DIRECTORY / "queue.txt", encoding="utf-8")
    waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    listed.append(logging.handlers.QueueHandler(waiting))
    logging.handlers.QueueListener(waiting, behind).start()
    later = logging.FileHandler(DIRECTORY / "memory.txt", encoding="utf-8")
    listed.append(logging.handlers.MemoryHandler(10_000, target=later))
    for handler in listed:
        root.addHandler(handler)
    alone.propagate = False
    alone.addHandler(logging.FileHandler(DIRECTORY / "alone.txt", encoding="utf-8"))
    logging.captureWarnings(capture=True)


def as_message(text: str) -> None:
    """Write it into the message."""
    log.info(f"it is {text}")  # noqa: G004  (people do)


def as_argument(text: str) -> None:
    """Hand it over as arguments, which are filled in later."""
    log.debug("it is %s and %s", text, [os.fsencode(text)])


def as_object(text: str) -> None:
    """Hand over an object that says it."""
    log.info("it is %s and %r", Held(text), Held(text))
    log.info(Held(text))


def as_extra(text: str) -> None:
    """Add it to the record."""
    log.info("it", extra={"it": text, "raw": os.fsencode(text), "deep": [{"it": text}]})
    log.info("it", extra={"to_add": text})


def as_error(text: str) -> None:
    """Log an error that says it, and one that it comes from."""
    try:
        try:
            raise LookupError(text)  # noqa: TRY301  (people do)
        except LookupError as cause:
            error = RuntimeError(text)
            error.add_note(text)
            raise error from cause
    except RuntimeError:
        log.exception("it failed")


def as_group(text: str) -> None:
    """Log an error of several."""
    try:
        message = "several"
        raise ExceptionGroup(message, [LookupError(text), RuntimeError(text)])  # noqa: TRY301  (people do)
    except ExceptionGroup:
        log.warning("it failed", exc_info=True)


def with_stack(text: str) -> None:
    """Log where it stands, in code that says it."""
    source = f"log.warning('here', stack_info=True)  # {text!r}"
    exec(compile(source, "made", "exec"), {"log": log})  # noqa: S102  (code that is made)
    log.warning("it is %s", text, stack_info=True)


def elsewhere(text: str) -> None:
    """Log by a logger that does not propagate, one of warnings, one of another thread."""
    alone.warning("it is %s", text)
    warnings.warn(text, stacklevel=1)
    worker = threading.Thread(target=log.warning, args=["a thread has %s", text])
    worker.start()
    worker.join()


def by_adapter(text: str) -> None:
    """Log by an adapter, and a record made by hand."""
    logging.LoggerAdapter(log, {"it": text}).info("it is %s", text)
    by_hand = {"msg": "it is %s", "args": (text,), "name": text, "levelno": 30, "levelname": text}
    log.handle(logging.makeLogRecord(by_hand))


def as_mapping(text: str) -> None:
    """Hand it over in a dict, filled in by name."""
    log.info("it is %(it)s", {"it": text, "more": Held(text)})


def to_a_late_handler(text: str) -> None:
    """Log to a handler that was added a moment ago."""
    late = logging.FileHandler(DIRECTORY / "late.txt", encoding="utf-8")
    log.addHandler(late)
    log.info("it is %s", text)
    log.removeHandler(late)


def by_failing(text: str) -> None:
    """Log what cannot be written down; stderr is told why."""
    log.info("it is %d", text)
    log.info("it is %s and %s", text)  # noqa: PLE1206  (the mistake is the point)
    failing = Failing()
    formatting = logging.StreamHandler()
    formatting.setFormatter(FailingFormatter())
    for handler in (failing, formatting):
        log.addHandler(handler)
        log.info("it is %s", text)
        log.removeHandler(handler)


def in_a_thread(text: str) -> None:
    """Fail in a thread."""

    def fail() -> Never:
        raise ValueError(text)

    worker = threading.Thread(target=fail)
    worker.start()
    worker.join()


def in_a_finalizer(text: str) -> None:
    """Fail where nobody can catch it."""

    class Doomed:
        def __del__(self) -> None:
            raise ValueError(text)

    Doomed()


PLACEMENTS: dict[str, Callable[[str], None]] = {
    "message": as_message,
    "argument": as_argument,
    "object": as_object,
    "extra": as_extra,
    "error": as_error,
    "group": as_group,
    "stack": with_stack,
    "elsewhere": elsewhere,
    "adapter": by_adapter,
    "mapping": as_mapping,
    "late": to_a_late_handler,
    "failing": by_failing,
    "thread": in_a_thread,
    "finalizer": in_a_finalizer,
}


def _texts(name: str) -> Iterator[str]:
    """Return every text to log: of what escapes a text once more, only the plain ones."""
    if name in {"argument", "extra", "stack", "failing", "mapping"}:
        yield plainly(boot.secrets)
    else:
        for kind in KINDS:
            yield from spellings(getattr(boot.secrets, kind).reveal())


async def log_it(request: Request) -> Response:
    """Log in one placement."""
    name = request.path_params["placement"]
    for text in _texts(name):
        PLACEMENTS[name](text)
    sys.stderr.flush()
    return PlainTextResponse("logged")


async def raise_it(request: Request) -> Response:
    """Raise what says a value: alone, chained, in a group, in a thread, or amid an answer."""
    text = plainly(boot.secrets)
    kind = request.path_params["kind"]
    if kind == "late":
        return StreamingResponse(_break_off(text))
    if kind == "group":
        async with anyio.create_task_group() as group:
            group.start_soon(_fail, text)
            group.start_soon(_fail, text)
    if kind == "thread":
        await anyio.to_thread.run_sync(as_value, text)
    if kind == "chained":
        try:
            raise KeyError(text)  # noqa: TRY301  (people do)
        except KeyError as cause:
            raise RuntimeError(text) from cause
    raise RuntimeError(text)


async def _fail(text: str) -> Never:
    raise ValueError(text)


async def _break_off(text: str) -> AsyncIterator[str]:
    yield "it begins"
    raise ValueError(text)


def as_value(text: str) -> int:
    """Take it for a number."""
    return int(text)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Log an end that holds a value."""
    async with boot.lifespan(app):
        yield
        log.warning("the end: %s", plainly(boot.secrets))


set_up()
app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/log/{placement}", log_it),
        Route("/raise/{kind}", raise_it),
    ],
)
