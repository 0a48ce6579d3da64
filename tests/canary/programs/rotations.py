"""Rotations that are accepted, rejected and recovered: ``rotations SCENARIO BACKEND``.

The volume is at ``VOLUME``. The next contents are in the directories ``1`` and ``2``
below ``NEXT``, each of which holds another value for every secret.
"""

import asyncio
import json
import logging
import os
import pickle
import pprint
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Never

import anyio
import trio
from anyio.lowlevel import checkpoint

from hive_boot import Bootstrap, Change, Secret, SecretBytes, SecretSet, secret
from hive_boot.exceptions import ProblemsError
from hive_boot.runtime import file_events
from hive_boot.runtime.status import Status
from hive_boot.secrets import watch_targets
from hive_boot.secrets.store import Store
from hive_boot.testing import MountedVolume
from tests.canary.frames import frames
from tests.canary.programs.declared import Canaries
from tests.canary.programs.telling import all_of, everything, log_to_files, plainly
from tests.fixtures.package import OURS
from tests.fixtures.timings import set_timings

Boot = Bootstrap[Any, Any]

log = logging.getLogger("app")

PATIENCE = 60
"""Timeout of each wait, in seconds."""


class Tracker(logging.Handler):
    """A log handler that writes what an error tracker sends: the record, and frame variables."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.path = directory / "tracker.txt"
        self.errors = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, and the variables of its exception."""
        # The exception is written separately: its repr would escape its text again.
        self.write(json.dumps({**vars(record), "exc_info": None}, default=str))
        if record.exc_info and record.exc_info[1]:
            self.tell(record.exc_info[1])
        self.errors += record.levelno >= logging.ERROR

    def tell(self, exc: BaseException) -> None:
        """Write the variables of hive_boot's frames."""
        for where, variables in frames(exc):
            self.write(f"{where}: {variables}")

    def write(self, text: str) -> None:
        """Write one line."""
        with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{text}\n")


class OddError(Exception):
    """An error whose text contains a value that is not in its arguments."""

    def __init__(self, held: str) -> None:
        super().__init__()
        self.held = held

    def __str__(self) -> str:
        return f"it holds {self.held}"


class SpeechlessError(Exception):
    """An error whose ``__str__`` fails with the value."""

    def __init__(self, held: str) -> None:
        super().__init__()
        self.held = held

    def __str__(self) -> str:
        raise OddError(self.held)


volume = MountedVolume(os.environ["VOLUME"])
START = volume.content


def following(number: int) -> dict[str, bytes]:
    """Return the content of a later generation, by file name."""
    directory = Path(os.environ["NEXT"], str(number))
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def texts(files: dict[str, bytes]) -> str:
    """Return one text with all values of a volume in all encoded forms."""
    values = [raw if name == "keystore" else raw.decode() for name, raw in files.items()]
    return " | ".join(map(everything, values))


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    with anyio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110  (whatever it is about)
            await anyio.sleep(0.002)


def _as_json(change: Change) -> str:
    return json.dumps(change.as_dict())


def tell_change(change: Change) -> None:
    """Log and print a change in every form."""
    told = [repr(change), str(change), f"{change} {change!r}", pprint.pformat(change, width=40)]
    told += [
        str(change.as_dict()),
        json.dumps(change, default=str),
        f"{dir(change)} {[*change.as_dict().values()]}",
    ]
    told += [f"{each} {each!r}" for each in (change.old, change.new)]
    ways: list[Callable[[Any], object]] = [_as_json, pickle.dumps, vars]
    for way in ways:
        try:
            told.append(str(way(change)))
        except TypeError as exc:
            told.append(f"{exc!r} {exc.__context__!r}")
    log.info("a change: %s %s %r", "\n".join(told), change, change, extra={"change": change})
    print(*told, sep="\n")  # noqa: T201  (no redaction reaches it, and none is needed)


def tell_status(status: Status) -> None:
    """Log and print a status in every form; what is printed is not redacted."""
    log.info("the status: %s", status, extra={"status": status})
    print(repr(status), pprint.pformat(status), f"{status}")  # noqa: T201


def tell_error(error: BaseException) -> None:
    """Log and print an error in every form."""
    log.error("refused: %s %r %s", error, error, error.args, exc_info=error)
    log.error(error, extra={"error": error})
    print(error, repr(error), error.args)  # noqa: T201  (no redaction reaches it)
    tracker.tell(error)


@asynccontextmanager
async def running(boot: Boot) -> Any:  # noqa: ANN401  (an iterator of what it gives)
    """Publish the first generation, and run the application."""
    volume.publish(START)
    async with boot.running() as secrets:
        yield secrets


def declare(declared: type[SecretSet] = Canaries, **more: Any) -> Boot:  # noqa: ANN401  (what Bootstrap takes)
    """Declare an application whose secrets are in the volume."""
    return Bootstrap(declared, mode="kubernetes", secrets_dirs=volume.path, **more)


# Accepted rotations


async def accepted() -> None:
    """Rotate twice, with a value that comes into use later, and log every value that was valid."""

    class Slow(Canaries):
        """A set in which one secret has ``activate_after`` and ``accept_old_for``."""

        jwt_secret: Secret = secret(
            activate_after=3600, accept_old_for=3600, previous="JWT_SECRET_PREVIOUS"
        )

    boot = declare(Slow, watch=True)
    heard: list[Change] = []

    @boot.on_rotate()
    async def hear(change: Change) -> None:
        await checkpoint()
        log.info("old and new: %s", " | ".join(map(_both, change.names, [change] * 99)))
        tell_change(change)
        heard.append(change)

    async with running(boot) as secrets:
        volume.publish(following(1))
        await until(lambda: len(heard) == 1)
        tell_status(boot.status())
        log.info("later: %s", " | ".join(map(_revealed, boot.accepted("jwt_secret"))))
        volume.publish(following(2))
        await until(lambda: len(heard) == 2)
        tell_status(boot.status())
        change = await boot.reload(now=True)
        assert change is not None
        assert change.names == ("jwt_secret",)
        tell_change(change)
        await until(lambda: len(heard) == 3)
        for files in (START, following(1), following(2)):
            log.info("was valid: %s", texts(files))
        print(repr(secrets), repr(boot.accepted("jwt_secret")))  # noqa: T201
        log.info("done: %s", all_of(secrets))


def _both(name: str, change: Change) -> str:
    return f"{_revealed(change.old[name])} {_revealed(change.new[name])}"


def _raw(value: Secret | SecretBytes | None) -> str:
    return "nothing" if value is None else os.fsdecode(value.reveal())


def _revealed(value: Secret | SecretBytes | None) -> str:
    return "nothing" if value is None else everything(value.reveal())


# Rejected rotations


class Strict:
    """Switch that makes checks reject."""

    on = False


def refusing(refuse: Callable[[Any], object], startup_timeout: float = 30) -> Boot:
    """Declare an application whose field checks call ``refuse``, but only after the start."""

    def check(value: str | bytes) -> object:
        return refuse(value) if Strict.on else None

    def rule(**more: Any) -> Any:  # noqa: ANN401  (what secret takes, and says)
        return secret(check=check, **more)

    class Judged(Canaries):
        """A set with checks of a word, of bytes, and of a value that has many encoded forms."""

        jwt_secret: Secret = rule(previous="JWT_SECRET_PREVIOUS")
        keystore: SecretBytes = rule()
        passphrase: Secret = rule()

    return declare(Judged, startup_timeout=startup_timeout)


def refuse_plainly(value: str | bytes) -> Never:
    """Reject with a message that contains the value."""
    raise ValueError(everything(value))


async def refuse_later(value: str | bytes) -> Never:
    """Reject in the event loop, with a cause and a note."""
    await checkpoint()
    try:
        raise KeyError(value)  # noqa: TRY301  (people do)
    except KeyError as cause:
        error = OddError(everything(value))
        error.add_note(f"note: {value!r}")
        raise error from cause


async def refuse_in_a_group(value: str | bytes) -> None:
    """Reject with an exception group."""
    async with anyio.create_task_group() as group:
        group.start_soon(refuse_later, value)
        group.start_soon(refuse_later, value)


def refuse_without_words(value: str | bytes) -> Never:
    """Reject with an error that cannot be shown."""
    raise SpeechlessError(everything(value))


def leave(value: str | bytes) -> Never:
    """Exit with the value as the message."""
    sys.exit(everything(value))


def hang(value: str | bytes) -> None:
    """Hang in a thread forever."""
    log.debug("%s has to be judged", value)
    threading.Event().wait()


HANGING = threading.Event()


def hang_silently(_: str | bytes) -> None:
    """Hang in a thread forever without a log call, whose frames would contain the value."""
    HANGING.set()
    threading.Event().wait()


async def sleep(value: str | bytes) -> None:
    """Hang in the event loop forever."""
    log.debug("%s has to be judged", value)
    await anyio.sleep_forever()


def set_check() -> Boot:
    """Declare an application whose set check raises an error with all values."""

    class Whole(Canaries):
        """A set with a check."""

        async def check(self) -> None:
            """Raise if checks reject."""
            if Strict.on:
                raise ValueError(all_of(self)) from KeyError(all_of(self))

    return declare(Whole)


def application_check() -> Boot:
    """Declare an application whose own check raises an error with all values."""
    boot = declare()

    @boot.check
    async def insist(secrets: Canaries) -> bool:
        await checkpoint()
        log.info("judging %s", all_of(secrets))
        if Strict.on:
            raise OddError(all_of(secrets))
        return True

    return boot


REFUSING: dict[str, Callable[[], Boot]] = {
    "plain": lambda: refusing(refuse_plainly),
    "later": lambda: refusing(refuse_later),
    "in a group": lambda: refusing(refuse_in_a_group),
    "without words": lambda: refusing(refuse_without_words),
    "leaving": lambda: refusing(leave),
    "false": lambda: refusing(lambda _: False),
    "odd": lambda: refusing(lambda value: value),
    "hanging": lambda: refusing(hang, startup_timeout=1),
    "sleeping": lambda: refusing(sleep, startup_timeout=1),
    "set": set_check,
    "application": application_check,
}
"""Applications that reject the next generation."""


async def refused() -> None:
    """Reject with checks of every kind; then accept the content from before, and another one."""
    for name, make in REFUSING.items():
        Strict.on = False
        boot = make()
        async with running(boot):
            Strict.on = True
            volume.publish(following(1))
            await be_refused(boot, name)
            values = following(1)
            log.info("it was refused: %s", texts(values) if name == "plain" else values)
            volume.publish(START)
            assert await boot.reload() is None
            assert not boot.status().degraded
            Strict.on = False
            if name == "hanging":
                # The check still hangs, and no other check runs meanwhile.
                continue
            volume.publish(following(2))
            assert await boot.reload()
        log.info("it was used: %s", name)


async def be_refused(boot: Boot, how: str) -> None:
    """Reload, and log the rejection."""
    try:
        await boot.reload()
    except ProblemsError as exc:
        log.info("It was refused, %s", how)
        tell_error(exc)
    assert boot.status().degraded, how
    tell_status(boot.status())


def unlike(files: dict[str, bytes], name: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield every kind of invalid volume, with its name."""
    raw = files[name]
    without = {key: value for key, value in files.items() if key != name}
    yield "missing", without
    yield "empty", {**files, name: b""}
    yield "empty volume", {}
    yield "too short", {**files, name: raw[:30]}
    yield "not UTF-8", {**files, name: raw + b"\xff"}
    yield "NUL", {**files, name: raw + b"\0"}
    yield "too large", {**files, name: raw * 50_000}
    yield "in two places", {**files, name.upper(): raw * 2}
    yield "under the name of a value", {**without, raw.decode(): raw}
    yield "in a directory", {**without, f"{name}/{raw.decode()}": raw}


async def let_down() -> None:
    """Reject every kind of invalid volume."""

    class Long(Canaries):
        """A set in which one secret has a minimum length."""

        jwt_secret: Secret = secret(min_length=32, previous="JWT_SECRET_PREVIOUS")

    boot = declare(Long)
    async with running(boot):
        for how, files in unlike(following(1), "jwt_secret"):
            volume.publish(files)
            await be_refused(boot, how)
        log.info("they were refused: %s", texts(following(1)))
        volume.publish(START)
        assert await boot.reload() is None


# Hooks


Hook = Callable[[str], Awaitable[object]]


async def raise_plainly(text: str) -> Never:
    """Raise an error."""
    await checkpoint()
    raise ValueError(text)


async def raise_from(text: str) -> Never:
    """Raise from another error, with notes."""
    try:
        await raise_plainly(text)
    except ValueError as cause:
        cause.add_note(text)
        error = OddError(text)
        error.add_note(text)
        raise error from cause


async def raise_in_a_group(text: str) -> None:
    """Raise in two tasks of a group."""
    async with anyio.create_task_group() as group:
        group.start_soon(raise_from, text)
        group.start_soon(raise_plainly, text)


async def raise_without_words(text: str) -> Never:
    """Raise an error that cannot be shown."""
    await checkpoint()
    raise SpeechlessError(text)


async def hang_on(text: str) -> None:
    """Hang, and raise when cancelled."""
    try:
        await anyio.sleep_forever()
    finally:
        raise OddError(text)


async def hang_deaf(text: str) -> None:
    """Hang, and ignore a cancellation for a while."""
    with anyio.CancelScope(shield=True):
        log.info("Hanging with %s", text)
        await anyio.sleep(0.3)


HOOKS: dict[str, Hook] = {
    "plain": raise_plainly,
    "from another": raise_from,
    "in a group": raise_in_a_group,
    "without words": raise_without_words,
    "hanging": hang_on,
    "deaf": hang_deaf,
}


async def hooks() -> None:
    """Fail once in hooks of every kind, and succeed at the retry."""
    boot = declare()
    set_timings(boot, hook_retry_delay=0.01, hook_cancel_timeout=0.05)
    failed: set[str] = set()
    healed: set[str] = set()

    def register(name: str, fail: Hook) -> None:
        async def hook(change: Change) -> None:
            if name not in failed:
                failed.add(name)
                write = _revealed if name == "plain" else _raw
                both = [*change.old.values(), *change.new.values()]
                await fail(" | ".join(map(write, both)))
            healed.add(name)

        hook.__qualname__ = f"hook, {name}"
        boot.on_rotate(timeout=0.1)(hook)

    for name, fail in HOOKS.items():
        register(name, fail)
    async with running(boot):
        volume.publish(following(1))
        assert await boot.reload()
        await until(lambda: boot.status().degraded)
        while healed < HOOKS.keys():
            tell_status(boot.status())
            await until(lambda known=frozenset(healed): healed - known)  # type: ignore[misc]
        await until(lambda: not boot.status().degraded)


# The watcher and failures of hive_boot


@contextmanager
def failing(owner: object, name: str, error: Exception) -> Iterator[list[str]]:
    """Make a function raise at its first call; yield a list that contains its name afterwards."""
    real = getattr(owner, name)
    failures: list[str] = []

    def fail(*args: object, **kwargs: object) -> object:
        if not failures:
            failures.append(name)
            raise error
        return real(*args, **kwargs)

    setattr(owner, name, fail)
    try:
        yield failures
    finally:
        setattr(owner, name, real)


def tell_threads() -> None:
    """Write the variables of hive_boot's frames in every thread."""
    for number, top in sys._current_frames().items():
        frame = top
        while frame:
            if frame.f_code.co_filename.startswith(OURS):
                tracker.write(f"{number} {frame.f_code.co_qualname}: {frame.f_locals}")
            frame = frame.f_back  # type: ignore[assignment]


async def watched() -> None:
    """Make the watcher fail, fall back and recover, and write the variables of every thread."""
    boot = declare(watch=True)
    set_timings(
        boot,
        watch_retry_delay=0.05,
        poll_interval=0.05,
        resync_interval=0.05,
    )
    async with running(boot) as secrets:
        text = all_of(secrets)
        await until(lambda: boot.status().watcher == "inotify")
        with failing(watch_targets, "find_mounted_files", OddError(text)) as failures:
            volume.publish(following(1))  # the targets are searched after a change only
            await until(lambda: failures)
            tell_status(boot.status())
        await until(lambda: boot.status().generation == 2)
        await until(lambda: boot.status().watcher == "inotify")
        os.environ["WATCHFILES_FORCE_POLLING"] = text
        volume.path.rename(volume.path.with_name("away"))
        await until(lambda: boot.status().watcher == "poll" and boot.status().degraded)
        tell_status(boot.status())
        del os.environ["WATCHFILES_FORCE_POLLING"]
        volume.path.with_name("away").rename(volume.path)
        await until(lambda: boot.status().watcher == "inotify" and not boot.status().degraded)
        with failing(file_events.InotifyEvents, "wait", OSError(text)) as failures:
            await until(lambda: failures)
        volume.publish(following(2))
        await until(lambda: boot.status().generation == 3)
        await until(lambda: boot.status().watcher == "inotify")
        tell_threads()
    tell_threads()


async def threads() -> None:
    """Write the variables of every thread while a check hangs."""
    boot = refusing(hang_silently, startup_timeout=1)
    async with running(boot), anyio.create_task_group() as group:
        Strict.on = True
        volume.publish(following(1))
        group.start_soon(be_refused, boot, "hanging")
        await until(HANGING.is_set)
        tell_threads()
        log.info("the threads: %s", threading.enumerate())


async def broken() -> None:
    """Make a function deep inside a rotation raise an error with a value."""
    boot = declare(watch=True)
    async with running(boot) as secrets:
        for number, name in enumerate(("plan_acceptance", "plan_activation"), 1):
            known = tracker.errors
            with failing(Store, name, OddError(plainly(secrets))):
                volume.publish(following(number))
                await until(lambda known=known: tracker.errors > known)  # type: ignore[misc]
                tell_status(boot.status())


async def debugged() -> None:
    """Make asyncio's debug mode report slow callbacks; print the name of each task."""
    boot = declare(watch=True)
    names: list[str] = []

    @boot.on_rotate()
    async def look(_: Change) -> None:
        await checkpoint()
        names.extend(task_names())

    if sys.argv[2] == "asyncio":
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = 0
    async with running(boot):
        for number in (1, 2):
            volume.publish(following(number))
            await until(lambda number=number: boot.status().generation > number)  # type: ignore[misc]
        await until(lambda: names)
        names.extend(task_names())
        print(*names, sep="\n")  # noqa: T201  (no redaction reaches it)


def task_names() -> Iterable[str]:
    """Yield the description of every task, and where it waits."""
    if sys.argv[2] == "asyncio":
        for each in asyncio.all_tasks():
            yield f"{each!r} {each.get_stack()}"
        return
    root = trio.lowlevel.current_root_task()
    todo = [root]
    while todo:
        task = todo.pop()
        assert task is not None
        yield f"{task!r} {task.name} {task.coro}"
        todo += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


async def stopped() -> None:
    """Stop while a hook hangs, which then raises an error with every value."""
    boot = declare()
    going = anyio.Event()

    @boot.on_rotate()
    async def hook(_: Change, secrets: Canaries) -> None:
        going.set()
        await hang_on(all_of(secrets))

    async with running(boot):
        volume.publish(following(1))
        await boot.reload()
        await going.wait()


SCENARIOS: dict[str, Callable[[], Awaitable[None]]] = {
    "accepted": accepted,
    "refused": refused,
    "let down": let_down,
    "hooks": hooks,
    "watched": watched,
    "threads": threads,
    "broken": broken,
    "debugged": debugged,
    "stopped": stopped,
}


def crash(backend: str) -> None:
    """Own the process, reload by SIGHUP, and crash with the old and the new values."""
    boot = declare()
    volume.publish(START)

    @boot.main
    async def main(secrets: Canaries) -> None:
        before = plainly(secrets)
        volume.publish(following(1))
        signal.raise_signal(signal.SIGHUP)
        await until(lambda: boot.status().generation > 1)
        raise OddError(" | ".join([before, plainly(secrets)]))

    boot.run(backend=backend)


if __name__ == "__main__":
    log_to_files()
    tracker = Tracker(Path(os.environ["LOG_DIR"]))
    logging.getLogger().addHandler(tracker)
    _, chosen, on = sys.argv
    if chosen == "crash":
        crash(on)
    else:
        anyio.run(SCENARIOS[chosen], backend=on)
        log.info("The scenario has come to its end")
