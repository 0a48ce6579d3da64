"""Runs that go wrong: ``main(SCENARIO, HOW)`` in a process of :mod:`.forked`.

HOW is ``asyncio`` or ``trio`` for ``boot.run``; ``lifespan`` or ``asgi`` for ``boot.lifespan``
or ``boot.asgi`` under uvicorn. The messages to systemd and the responses of the probes are
written below ``LOG_DIR``.
"""

import logging
import os
import pprint
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
from anyio.lowlevel import checkpoint

from hive_boot import Bootstrap
from tests.canary.frames import frames
from tests.canary.programs.declared import Canaries
from tests.canary.programs.telling import all_of, log_to_files, plainly
from tests.fixtures.timings import set_timings

Boot = Bootstrap[Any, Any]

log = logging.getLogger("app")


def log_dir() -> Path:
    """Return the directory of all output files."""
    return Path(os.environ["LOG_DIR"])


class OddError(Exception):
    """An error whose text contains a value that is not in its arguments."""

    def __init__(self, held: str) -> None:
        super().__init__()
        self.held = held

    def __str__(self) -> str:
        return f"it holds {self.held}"


class Tracker(logging.Handler):
    """A log handler that writes what an error tracker sends: variables of hive_boot's frames."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the variables of the frames of the record's exception."""
        if record.exc_info and record.exc_info[1]:
            with (log_dir() / "tracker.txt").open("a", encoding="utf-8") as file:
                for where, variables in frames(record.exc_info[1]):
                    file.write(f"{where}: {variables}\n")


async def fail(text: str) -> None:
    """Raise an error with a cause and a note."""
    await checkpoint()
    error = OddError(text)
    error.add_note(text)
    raise error from ValueError(text)


def declare_resources(boot: Boot) -> None:
    """Declare two resources whose values contain secrets; the second needs the first."""

    @boot.resource
    async def plain(secrets: Canaries) -> AsyncIterator[str]:
        yield plainly(secrets)

    @boot.resource
    async def text(plain: str, secrets: Canaries) -> str:
        await checkpoint()
        return f"{plain} {all_of(secrets)}"

    HANDLES[:] = [plain, text]


HANDLES: list[object] = []
"""The handles of the declared resources."""


# Failures


def resource_fails(boot: Boot) -> None:
    """Declare a resource that fails at its start."""

    @boot.resource
    async def failing(text: str) -> AsyncIterator[str]:
        await fail(text)
        yield text


def resources_fail(boot: Boot) -> None:
    """Declare two resources that fail at the same moment."""
    resource_fails(boot)

    @boot.resource
    async def failing_too(text: str) -> None:
        await fail(text)


def resource_hangs(boot: Boot) -> None:
    """Declare a resource that exceeds its timeout, and fails when it is cancelled."""

    @boot.resource(timeout=0.2)
    async def hanging(text: str) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await fail(text)


def resource_crashes(boot: Boot) -> None:
    """Declare a resource that fails once the application is ready."""

    @boot.resource
    async def crashing(text: str) -> AsyncIterator[str]:
        async def crash() -> None:
            while not boot.status().ready:  # noqa: ASYNC110  (there is no event for it)
                await anyio.sleep(0.001)
            await fail(text)

        async with anyio.create_task_group() as group:
            group.start_soon(crash)
            yield text


def service_crashes(boot: Boot) -> None:
    """Declare a service that exhausts its restarts."""

    @boot.service(max_restarts=1)
    async def crashing(text: str) -> None:
        await fail(text)


def stops_fail(boot: Boot) -> None:
    """Declare two resources that fail when they stop, after a main that has failed."""

    @boot.resource
    async def failing(text: str) -> AsyncIterator[str]:
        yield text
        await fail(text)

    @boot.resource
    async def failing_too(failing: str) -> AsyncIterator[str]:
        yield failing
        await fail(failing)

    @boot.main
    async def main(text: str) -> None:
        await fail(text)


def never_ends(boot: Boot) -> None:
    """Declare a resource that never stops."""

    @boot.resource
    async def hanging(plain: str) -> AsyncIterator[str]:
        yield plain
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()


def thread_hangs(boot: Boot) -> None:
    """Declare a main that leaves a thread behind whose name contains the values."""

    @boot.main
    async def main(text: str) -> None:
        threading.Thread(target=threading.Event().wait, name=text).start()
        await checkpoint()


def forced(boot: Boot) -> None:
    """Declare a main that is stopped by a second signal."""

    @boot.main
    async def main(plain: str) -> None:
        signal.raise_signal(signal.SIGTERM)
        try:
            await anyio.sleep_forever()
        finally:
            log.info("in the middle of %s", plain)
            signal.raise_signal(signal.SIGINT)


# Checks, output and probes


def asked_again(boot: Boot) -> None:
    """Declare a check that fails twice and is retried."""
    tries: list[int] = []

    @boot.check
    async def ask(secrets: Canaries) -> None:
        await checkpoint()
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError(all_of(secrets)) from OddError(plainly(secrets))


def shown(boot: Boot) -> None:
    """Print everything that a run exposes while a service waits for a restart, unredacted."""

    @boot.service(max_restarts=100)
    async def failing(text: str) -> None:
        await fail(text)

    @boot.main
    async def main(secrets: Canaries) -> None:
        with anyio.fail_after(20):
            while not boot.status().failing_services:  # noqa: ASYNC110  (as above)
                await anyio.sleep(0.001)
        run = boot._run  # noqa: SLF001  (what a debugger shows)
        assert run is not None
        status, runner = boot.status(), run.runner
        told: list[object] = [
            boot,
            *HANDLES,
            status,
            *status.timeline,
            run,
            run.injection_context(secrets),
        ]
        told += [runner, run.states.timeline, runner.services, runner.resources, runner.pending()]
        for it in [*told, *vars(runner.resources)["_all"].values()]:
            print(it, repr(it), f"{it}", pprint.pformat(it))  # noqa: T201  (no redaction reaches it)


def probed(boot: Boot) -> None:
    """Declare a main that requests every probe, and paths with values, while a service fails."""

    @boot.service(max_restarts=100)
    async def failing(text: str) -> None:
        await fail(text)

    @boot.main
    async def main(text: str) -> None:
        with anyio.fail_after(20):
            while not boot.status().failing_services:  # noqa: ASYNC110  (as above)
                await anyio.sleep(0.001)
        await anyio.to_thread.run_sync(ask, PORTS.port, text)


def ask(port: int, text: str) -> None:
    """Send every request, and write down the responses."""
    path = quote(text[:2000].encode(errors="surrogateescape"))
    paths = ["/livez", "/readyz", "/startupz", "/health", "/boot", "/boot.json", "/metrics"]
    with (log_dir() / "answers.txt").open("wb") as file:
        for method, target in [
            *(("GET", each) for each in paths),
            *(("HEAD", each) for each in paths),
            ("GET", f"/{path}"),
            ("GET", f"/health?{path}"),
            ("POST", "/health"),
            ("DELETE", f"/{path}"),
        ]:
            client = HTTPConnection("127.0.0.1", port, timeout=20)
            client.request(method, target, headers={"X-Key": path})
            answer = client.getresponse()
            head = "".join(f"{name}: {value}\n" for name, value in answer.getheaders())
            place = target if target in paths else "elsewhere"
            file.write(f"{method} {place} {answer.status} {answer.reason}\n{head}\n".encode())
            file.write(answer.read())
            client.close()


class Ports(logging.Handler):
    """A log handler that keeps the port of the probe server."""

    port = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the port if this record names it."""
        if "Probe server listens" in str(record.msg):
            assert isinstance(record.args, tuple)
            self.port = int(str(record.args[0]))


PORTS = Ports()

SCENARIOS: dict[str, Callable[[Boot], None]] = {
    "resource fails": resource_fails,
    "resources fail": resources_fail,
    "resource hangs": resource_hangs,
    "resource crashes": resource_crashes,
    "service crashes": service_crashes,
    "stops fail": stops_fail,
    "never ends": never_ends,
    "thread hangs": thread_hangs,
    "forced": forced,
    "asked again": asked_again,
    "shown": shown,
    "probed": probed,
}

MORE: dict[str, dict[str, Any]] = {
    "never ends": {"shutdown_timeout": 0.2},
    "thread hangs": {"shutdown_timeout": 0.2},
    "probed": {"probe_port": 0},
}
"""Arguments of Bootstrap in some scenarios."""

ENDLESS = {"resource crashes", "service crashes"}
"""Scenarios in which main runs until the end."""


def declare(scenario: str) -> Boot:
    """Declare the application of a scenario."""
    boot: Boot = Bootstrap(Canaries, **{"shutdown_timeout": 60, **MORE.get(scenario, {})})
    set_timings(boot, last_output_timeout=20)  # what is written matters, not when
    declare_resources(boot)
    SCENARIOS[scenario](boot)
    if boot._declaration.main is None:

        @boot.main
        async def main(plain: str) -> None:
            log.info("main begins with %s", plain)
            await (anyio.sleep_forever() if scenario in ENDLESS else checkpoint())

    return boot


@contextmanager
def manager() -> Iterator[None]:
    """Simulate the socket of systemd, and write down the messages that the block has sent to it."""
    # The path of a socket has a maximum length, which that of a test may exceed.
    os.chdir(log_dir())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind("notify")
        os.environ["NOTIFY_SOCKET"] = str(log_dir() / "notify")
        try:
            yield
        finally:
            ours.setblocking(False)  # noqa: FBT003  (the standard library's)
            with (log_dir() / "told.txt").open("ab") as file:
                while True:
                    try:
                        file.write(ours.recv(65536) + b"\n")
                    except BlockingIOError:
                        break


def main(scenario: str, how: str) -> None:
    """Run a scenario; its caller logs what is raised."""
    log_to_files()
    logging.getLogger().addHandler(Tracker())
    logging.getLogger("hive_boot").addHandler(PORTS)
    boot = declare(scenario)
    if how in {"lifespan", "asgi"}:
        import uvicorn  # noqa: PLC0415  (it takes its time, and few use it)
        from starlette.applications import Starlette  # noqa: PLC0415

        app: Any = Starlette(lifespan=boot.lifespan)
        if how == "asgi":
            app = boot.asgi(Starlette())
        uvicorn.run(app, port=0)
    else:
        with manager():
            boot.run(backend=how)
