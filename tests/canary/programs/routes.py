"""An application that logs and raises values in every placement, for uvicorn's command line.

Its log files are in the directory ``LOG_DIR``.

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
    """An object whose text contains a value."""

    def __init__(self, held: str) -> None:
        self.held = held

    def __str__(self) -> str:
        return f"<it holds {self.held}>"

    __repr__ = __str__


class JSONFormatter(logging.Formatter):
    """A formatter that writes a record with all its attributes as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        super().format(record)
        return json.dumps(vars(record), default=str)


class Remembering(logging.Handler):
    """A handler that writes every attribute of a record unformatted, as error trackers do."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or report a failure on stderr."""
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
    """Return an added attribute as text, without escapes, also from a structure."""
    if isinstance(it, dict):
        return "\n".join(map(_text, [*it, *it.values()]))
    if isinstance(it, list | tuple):
        return "\n".join(map(_text, it))
    return it.decode("latin-1") if isinstance(it, bytes) else str(it)


class Failing(logging.Handler):
    """A handler that fails, so that ``logging`` reports the record on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Raise and handle an error with the message."""
        try:
            message = f"cannot write {record.getMessage()}"
            raise OSError(message)  # noqa: TRY301  (people do)
        except OSError:
            self.handleError(record)


class FailingFormatter(logging.Formatter):
    """A formatter that fails with the message."""

    def format(self, record: logging.LogRecord) -> Never:
        """Raise an error with the message."""
        message = f"cannot format {record.getMessage()}"
        raise ValueError(message)


class Adding(logging.Filter):
    """A filter that adds an attribute to a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the attribute."""
        record.added = getattr(record, "to_add", "")
        return True


def set_up() -> None:
    """Configure handlers of every kind, for stderr and files."""
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
    """Log a value in the message."""
    log.info(f"it is {text}")  # noqa: G004  (people do)


def as_argument(text: str) -> None:
    """Log a value as an argument."""
    log.debug("it is %s and %s", text, [os.fsencode(text)])


def as_object(text: str) -> None:
    """Log an object that contains a value."""
    log.info("it is %s and %r", Held(text), Held(text))
    log.info(Held(text))


def as_extra(text: str) -> None:
    """Log a value in ``extra``."""
    log.info("it", extra={"it": text, "raw": os.fsencode(text), "deep": [{"it": text}]})
    log.info("it", extra={"to_add": text})


def as_error(text: str) -> None:
    """Log an error with a value, and its cause."""
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
    """Log an exception group."""
    try:
        message = "several"
        raise ExceptionGroup(message, [LookupError(text), RuntimeError(text)])  # noqa: TRY301  (people do)
    except ExceptionGroup:
        log.warning("it failed", exc_info=True)


def with_stack(text: str) -> None:
    """Log with a stack whose source contains a value."""
    source = f"log.warning('here', stack_info=True)  # {text!r}"
    exec(compile(source, "made", "exec"), {"log": log})  # noqa: S102  (code that is made)
    log.warning("it is %s", text, stack_info=True)


def elsewhere(text: str) -> None:
    """Log by a logger that does not propagate, by a warning, and in another thread."""
    alone.warning("it is %s", text)
    warnings.warn(text, stacklevel=1)
    worker = threading.Thread(target=log.warning, args=["a thread has %s", text])
    worker.start()
    worker.join()


def by_adapter(text: str) -> None:
    """Log by an adapter, and with a record that was created by hand."""
    logging.LoggerAdapter(log, {"it": text}).info("it is %s", text)
    by_hand = {"msg": "it is %s", "args": (text,), "name": text, "levelno": 30, "levelname": text}
    log.handle(logging.makeLogRecord(by_hand))


def as_mapping(text: str) -> None:
    """Log with a dict of arguments."""
    log.info("it is %(it)s", {"it": text, "more": Held(text)})


def to_a_late_handler(text: str) -> None:
    """Log to a handler that was just added."""
    late = logging.FileHandler(DIRECTORY / "late.txt", encoding="utf-8")
    log.addHandler(late)
    log.info("it is %s", text)
    log.removeHandler(late)


def by_failing(text: str) -> None:
    """Log records that cannot be written, which are reported on stderr."""
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
    """Raise in a thread."""

    def fail() -> Never:
        raise ValueError(text)

    worker = threading.Thread(target=fail)
    worker.start()
    worker.join()


def in_a_finalizer(text: str) -> None:
    """Raise in a finalizer, where the error cannot be caught."""

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
    """Yield the texts for a placement; only the plain values where the placement escapes them."""
    if name in {"argument", "extra", "stack", "failing", "mapping"}:
        yield plainly(boot.secrets)
    else:
        for kind in KINDS:
            yield from spellings(getattr(boot.secrets, kind).reveal())


async def log_it(request: Request) -> Response:
    """Log every text in a placement."""
    name = request.path_params["placement"]
    for text in _texts(name):
        PLACEMENTS[name](text)
    sys.stderr.flush()
    return PlainTextResponse("logged")


async def raise_it(request: Request) -> Response:
    """Raise an error with a value: alone, chained, in a group, in a thread, or in a response."""
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
    """Convert a value to a number."""
    return int(text)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Log a record with a value at the end."""
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
