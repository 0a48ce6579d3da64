"""Signal handlers that a library installs in an owned process: both are called."""

import signal
import subprocess
from contextlib import suppress
from itertools import product
from pathlib import Path

from tests.fixtures.owned_processes import (
    ENVIRONMENT,
    FORCED,
    HEAD,
    ORDERLY,
    RUN,
    VALUE,
    OwnedProcess,
    side_by_side,
    started,
)
from tests.support import started_child

LOOPS = ("asyncio", "uvloop")

HEADER = """
import anyio

os.setsid()

class Library:
    def handle(self, *arguments):
        print("library is called")
        with open("value", "a") as file:
            file.write("2")

library = Library()

async def installed_again(number):
    '''Wait until the handler of the library is not the one that Python calls.'''
    while signal.getsignal(number) in {library.handle, signal.SIG_DFL, signal.SIG_IGN}:
        await anyio.sleep(0.005)

boot = Bootstrap(Needs)

@boot.on_rotate()
async def tell(change) -> None:
    print("rotated")

@boot.main
async def main() -> None:
    import asyncio
    loop = asyncio.get_running_loop() if backend != "trio" else None
"""

WAIT = """
    print("ready")
    try:
        await anyio.sleep_forever()
    finally:
        print("main ends")
"""

ON_LOOP = """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, library.handle)
"""

REMOVED = f"""{ON_LOOP}
        loop.remove_signal_handler(number)
        assert signal.getsignal(number).__self__.first_signal is None
"""

BY_SIGNAL = """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, library.handle)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        await installed_again(number)
"""


def program(installs: str, then: str = WAIT) -> str:
    """Return an application whose main installs handlers."""
    return HEADER + installs + then + RUN


def assert_reported_once(err: str, name: str) -> None:
    """Assert that one line of the log names a handler."""
    (line,) = [line for line in err.splitlines() if name in line]
    assert "installed again" in line


def test_the_handler_of_a_library_is_called_too(tmp_path: Path) -> None:
    """The application stops in order, the library learns of the signal, and the log names it."""

    def scenario(backend: str, installs: str, number: signal.Signals, path: Path) -> None:
        with started(program(installs), backend, cwd=path) as process:
            assert process.read_line() == "ready"
            process.send(number)
            code, out, err = process.wait()
        assert code == ORDERLY[number], err
        assert sorted(out) == ["library is called", "main ends"]
        assert_reported_once(err, "__main__.Library.handle")

    side_by_side(
        tmp_path,
        scenario,
        [
            *product(LOOPS, [ON_LOOP, BY_SIGNAL], ORDERLY),
            ("trio", BY_SIGNAL, signal.SIGTERM),
        ],
    )


def test_the_second_signal_is_that_of_hive_boot(tmp_path: Path) -> None:
    """It ends a blocked process at once, whoever has installed a handler."""

    def scenario(backend: str, installs: str, path: Path) -> None:
        with started(program(installs, "    block()"), backend, cwd=path) as process:
            assert process.read_line() == "here"
            process.send(signal.SIGTERM)
            while process.read_line() != "held":
                pass
            process.send(signal.SIGINT)
            code, _, err = process.wait()
        assert code == FORCED[signal.SIGINT], err
        assert "while ready: forced" in err

    cells = [*product(LOOPS, [ON_LOOP, BY_SIGNAL]), ("trio", BY_SIGNAL)]
    side_by_side(tmp_path, scenario, cells)


WAYS = {
    "ends the process": "sys.exit(5)",
    "leaves what it has interrupted": "raise LookupError",
    "ignores further signals": "signal.signal(number, signal.SIG_IGN)",
    "restores the default": "signal.signal(number, signal.SIG_DFL)",
    "calls what it has replaced, late": "time.sleep(0.2), before(number, frame)",
    "installs itself again": "signal.signal(number, handle)",
}
"""What the handler of a library does."""

HANDLING = """
    def handle(number, frame):
        print("library is called")
        {way}

    before = signal.signal(signal.SIGTERM, handle)
    while signal.getsignal(signal.SIGTERM) is handle:
        await anyio.sleep(0.005)
"""


def test_whatever_the_handler_of_a_library_does(tmp_path: Path) -> None:
    """The first signal stops in order, and the second one ends the process at once."""

    def first(backend: str, way: str, path: Path) -> None:
        with started(program(HANDLING.format(way=WAYS[way])), backend, cwd=path) as process:
            assert process.read_line() == "ready"
            process.send(signal.SIGTERM)
            code, out, err = process.wait()
        assert (code, out) == (0, ["library is called", "main ends"]), err
        assert_reported_once(err, "main.<locals>.handle")
        assert "Traceback" not in err

    def second(backend: str, way: str, path: Path) -> None:
        blocks = "\n    block()\n"
        source = program(HANDLING.format(way=WAYS[way]), blocks)
        with started(source, backend, cwd=path) as process:
            assert process.read_line() == "here"
            process.send(signal.SIGTERM)
            assert [process.read_line() for _ in range(2)] == ["library is called", "held"]
            process.send(signal.SIGTERM)
            while process.process.poll() is None:
                process.send(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.process.wait(0.05)
            assert process.wait().code == FORCED[signal.SIGTERM]

    cells = [*product(("asyncio", "trio"), WAYS)]
    side_by_side(tmp_path, first, cells)
    side_by_side(tmp_path, second, [("asyncio", way) for way in WAYS])


SLOW_START = """
import anyio

boot = Bootstrap(Needs)

@boot.resource
async def slow():
    def handle(number, frame):
        print("library is called")

    signal.signal(signal.SIGTERM, handle)
    while signal.getsignal(signal.SIGTERM) is handle:
        await anyio.sleep(0.005)
    print("ready")
    await anyio.sleep_forever()
    yield

@boot.main
async def main(slow: None) -> None:
    print("main starts")
"""


def test_a_library_replaces_the_handler_during_a_start(tmp_path: Path) -> None:
    """A signal cancels a start that hangs, although a library has installed its handler."""

    def scenario(backend: str, path: Path) -> None:
        with started(SLOW_START + RUN, backend, cwd=path) as process:
            assert process.read_line() == "ready"
            process.send(signal.SIGTERM)
            code, out, err = process.wait()
        assert (code, out) == (0, ["library is called"]), err
        assert_reported_once(err, "slow.<locals>.handle")

    side_by_side(tmp_path, scenario, [("asyncio",), ("trio",)])


UVICORN = """
    import uvicorn

    async def app(scope, receive, send):
        pass

    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not hasattr(signal.getsignal(signal.SIGTERM), "handler"):
        await anyio.sleep(0.005)
    print("ready")
    try:
        await serving
        print("main ends")
    finally:
        await anyio.sleep(0.15)
"""


def test_a_server_that_raises_the_signal_again(tmp_path: Path) -> None:
    """A uvicorn in main does so when it has stopped, which is not the second signal."""
    source = program(UVICORN, "").replace("@boot.main", "@boot.main(grace_period=30)")
    with started(source, "asyncio", cwd=tmp_path) as process:
        assert process.read_line() == "ready"
        process.send(signal.SIGTERM)
        code, out, err = process.wait()
    assert (code, out) == (0, ["main ends"]), err
    assert_reported_once(err, "uvicorn.server.Server.handle_exit")


RESET = """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.{action})
    for number in (signal.SIGTERM, signal.SIGINT):
        await installed_again(number)
"""


def test_a_handler_that_is_reset_is_installed_again(tmp_path: Path) -> None:
    """A library that removes its handlers, or ignores a signal, does not keep us from a stop."""

    def scenario(backend: str, installs: str, name: str, path: Path) -> None:
        with started(program(installs), backend, cwd=path) as process:
            assert process.read_line() == "ready"
            process.send(signal.SIGTERM)
            code, out, err = process.wait()
        assert (code, out) == (0, ["main ends"]), err
        assert_reported_once(err, name)
        assert err.count("SIG_DFL") == (name == "SIG_DFL")

    actions = [(RESET.format(action=name), name) for name in ("SIG_DFL", "SIG_IGN")]
    cells = [(backend, *action) for backend in ("asyncio", "trio") for action in actions]
    cells += [(backend, REMOVED, "Library.handle") for backend in LOOPS]
    side_by_side(tmp_path, scenario, cells)


def test_a_hang_up_reloads_and_reaches_the_library(tmp_path: Path) -> None:
    """The library changes the file, which is read again."""

    def scenario(backend: str, installs: str, path: Path) -> None:
        (path / "value").write_text(VALUE)
        variables = {"JWT_SECRET": "", "JWT_SECRET_FILE": str(path / "value")}
        with started(program(installs), backend, cwd=path, **variables) as process:
            assert process.read_line() == "ready"
            process.send(signal.SIGHUP)
            assert [process.read_line(), process.read_line()] == ["library is called", "rotated"]
            process.send(signal.SIGTERM)
            assert process.wait().code == 0

    cells = [*product(LOOPS, [ON_LOOP, BY_SIGNAL]), ("trio", BY_SIGNAL)]
    side_by_side(tmp_path, scenario, cells)


RECEIVING = """
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        while not hasattr(signal.getsignal(signal.SIGTERM), "handler"):
            await anyio.sleep(0.005)
        print("ready")
        with anyio.CancelScope(shield=True):
            async for number in signals:
                print("received", number.name)
                break
        try:
            await anyio.sleep_forever()
        finally:
            print("main ends")
"""

CLOSED = f"""
    with anyio.open_signal_receiver(signal.SIGTERM):
        while not hasattr(signal.getsignal(signal.SIGTERM), "handler"):
            await anyio.sleep(0.005)
    assert not hasattr(signal.getsignal(signal.SIGTERM), "handler")
{WAIT}"""


def test_a_receiver_of_trio_works_and_leaves_nothing(tmp_path: Path) -> None:
    """An open one gets the signal; at its end it installs what it has replaced, which is ours."""

    def scenario(source: str, expected: list[str], path: Path) -> None:
        with started(program(source, ""), "trio", cwd=path) as process:
            assert process.read_line() == "ready"
            process.send(signal.SIGTERM)
            code, out, err = process.wait()
        assert (code, out) == (0, expected), err
        assert_reported_once(err, "trio.")

    cells = [(RECEIVING, ["received SIGTERM", "main ends"]), (CLOSED, ["main ends"])]
    side_by_side(tmp_path, scenario, cells)


def test_a_handler_that_an_import_installs_is_called_too(tmp_path: Path) -> None:
    """`hive-boot run` has installed its handlers before that import."""
    source = program("", WAIT).replace(RUN, "").replace("backend = sys.argv[1]", "backend = 0")
    source += """
signal.signal(signal.SIGTERM, library.handle)

@boot.resource
async def early() -> None:
    assert hasattr(signal.getsignal(signal.SIGTERM), "handler")
"""
    (tmp_path / "program.py").write_text(HEAD + source, "utf-8")
    run = "import sys; sys.argv[1:] = ['run', 'program:boot']; from hive_boot.cli.main import *"
    with started_child(f"{run}; entry_point()", cwd=tmp_path, **ENVIRONMENT) as child:
        process = OwnedProcess(child, tmp_path)
        assert process.read_line() == "ready"
        process.send(signal.SIGTERM)
        code, out, err = process.wait()
    assert (code, out) == (0, ["library is called", "main ends"]), err
    assert_reported_once(err, "program.Library.handle")
