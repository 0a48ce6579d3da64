"""How an application that owns its process ends, when something is in its way."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bootstrap.lives import MAIN, POOL, RUN, STOPS, lived, living

PLAIN = f"""
boot = Bootstrap(Needs)
{POOL}
"""

SHORT = """
from hive_boot._timings import Timings

SHORT = Timings(forced_exit_delay=0.6, resource_cancel_timeout=0.1, service_restart_delay=0.02)

def bang(*whose):
    raise RuntimeError("bang of " + " ".join(whose))

async def swallow():
    import anyio

    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()

async def swallow_more():
    import anyio

    while True:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            pass
"""
"""Waits that are cut short, and ways to misbehave."""

BOOT = f"""
{SHORT}
boot = Bootstrap(Needs, stop_timeout=float(sys.argv[2]))
boot._plan.timings = SHORT
{POOL}
@boot.part
async def other():
    print("other starts")
    try:
        yield
    finally:
        print("other stops")
"""

ENDING_MAIN = """
@boot.main
async def main(pool: str) -> None:
    print("main ends")
"""

FAREWELL = "hive_boot: not everything has stopped in time; exit 70"

HANG = """
    import anyio
    await anyio.sleep_forever()"""

RAISE = """
    bang("culprit")"""

SWALLOW = """
    await swallow()"""

BRIEF, LONG = "0.4", "20"
"""Seconds of the stop: where something hangs in it for good, and where nothing does."""


def stop_timeout(how: str) -> str:
    """Give the seconds that a stop may take."""
    return BRIEF if how is SWALLOW else LONG


AT_START = (
    BOOT
    + """
@boot.part(timeout=0.2)
async def culprit(pool: str):{how}
    yield
"""
    + MAIN
    + RUN
)

AT_STOP = (
    BOOT
    + """
@boot.part(timeout=0.2)
async def culprit(pool: str):
    yield{how}
"""
    + ENDING_MAIN
    + RUN
)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (HANG, ("hive_boot: StartupFailed: ", "it takes more than 0.2 s", "in culprit")),
        (RAISE, ("RuntimeError: bang of culprit", "hive_boot: StartupFailed: ", "RuntimeError")),
        (
            SWALLOW,
            (
                "The part culprit goes on although it was cancelled:",
                FAREWELL,
                "in swallow",
            ),
        ),
    ],
    ids=["hangs", "raises", "swallows"],
)
def test_a_part_that_cannot_start(anyio_backend: str, how: str, told: tuple[str, ...]) -> None:
    """The culprit is named, main never runs, what has started is stopped: 70, in its time."""
    ended = lived(AT_START.format(how=how), anyio_backend, stop_timeout(how))
    assert ended.code == 70, ended.err
    assert sorted(ended.out[:2]) == ["other starts", "pool starts"]
    assert sorted(ended.out[2:]) == ["other stops", "pool stops"]
    for text in told:
        assert text in ended.err
    assert ended.err.count("Traceback") == (how is RAISE)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (HANG, ("hive_boot: ShutdownTimeout: ", "culprit")),
        (RAISE, ("RuntimeError: bang of culprit", "(raised by the part culprit)")),
        (
            SWALLOW,
            (
                "The part culprit goes on although it was cancelled:",
                FAREWELL,
                "in swallow",
            ),
        ),
    ],
    ids=["hangs", "raises", "swallows"],
)
def test_a_part_that_cannot_stop(anyio_backend: str, how: str, told: tuple[str, ...]) -> None:
    """The culprit is named, and those that it has needed are stopped all the same: 70."""
    ended = lived(AT_STOP.format(how=how), anyio_backend, stop_timeout(how))
    assert ended.code == 70, ended.err
    assert sorted(ended.out[:2]) == ["other starts", "pool starts"]
    assert ended.out[2] == "main ends"
    assert sorted(ended.out[3:]) == ["other stops", "pool stops"]
    for text in told:
        assert text in ended.err
    assert ended.err.count("Traceback") == (how is RAISE)


def test_two_parts_that_fail_at_once_are_both_told(anyio_backend: str) -> None:
    """Nobody mends one fault only to find the other: both are told, the rest is stopped: 70."""
    source = f"""
{BOOT}
@boot.part
async def first(pool: str):
    bang("first")
    yield

@boot.part
async def second(pool: str):
    bang("second")
    yield
{MAIN}{RUN}"""
    ended = lived(source, anyio_backend, LONG)
    assert ended.code == 70
    assert sorted(ended.out[2:]) == ["other stops", "pool stops"]
    for name in ("first", "second"):
        assert f"RuntimeError: bang of {name}\n" in ended.err
        assert f"{name}: RuntimeError" in ended.err or f"part {name}" in ended.err


def test_two_stops_that_fail_are_both_told(anyio_backend: str) -> None:
    """A stop that fails keeps no other from being tried: 70."""
    source = f"""
{BOOT}
@boot.part
async def first(pool: str):
    yield
    bang("first")

@boot.part
async def second(pool: str):
    yield
    bang("second")
{ENDING_MAIN}{RUN}"""
    ended = lived(source, anyio_backend, LONG)
    assert ended.code == 70
    assert sorted(ended.out[3:]) == ["other stops", "pool stops"]
    for name in ("first", "second"):
        assert f"RuntimeError: bang of {name}\n" in ended.err
        assert f"(raised by the part {name})" in ended.err
    assert "ExceptionGroup" in ended.err


# What main does

SERVICE = """
@boot.service
async def works():
    import anyio

    print("service begins")
    try:
        await anyio.sleep_forever()
    finally:
        print("service ends")
"""

SYSTEM_EXIT = """
    async def leave():
        sys.exit(3)

    async with anyio.create_task_group() as group:
        group.start_soon(leave)
        await anyio.sleep_forever()"""


@pytest.mark.parametrize(
    ("does", "code", "told"),
    [
        ("return None", 0, ""),
        ("return 3", 3, ""),
        ("bang('main')", 70, "RuntimeError: bang of main\n"),
        ("sys.exit(3)", 3, ""),
        (SYSTEM_EXIT, 3, ""),
    ],
    ids=["ends", "returns 3", "raises", "leaves", "leaves in a task group"],
)
def test_the_end_of_main_ends_the_rest(anyio_backend: str, does: str, code: int, told: str) -> None:
    """Services end and parts stop, in order, however main ends; its status is the process's."""
    source = f"""
{SHORT}{PLAIN}{SERVICE}
boot._plan.timings = SHORT
@boot.main
async def main(pool: str) -> int:
    import anyio

    await anyio.wait_all_tasks_blocked()
    {does}
{RUN}"""
    ended = lived(source, anyio_backend)
    assert ended.out == ["pool starts", "service begins", "service ends", "pool stops"]
    assert ended.code == code, ended.err
    assert told in ended.err
    assert ended.err.count("Traceback") == bool(told)


JOB = f"""
{PLAIN}
@boot.main(must_finish=True)
async def main(pool: str) -> int:
    import anyio

    print("ready")
    try:
        while not pulled():
            await anyio.sleep(0.005)
        {{then}}
    finally:
        print("main ends")
{RUN}"""


@pytest.mark.parametrize("number", STOPS)
def test_a_job_that_was_stopped_has_not_finished(
    anyio_backend: str, number: signal.Signals, tmp_path: Path
) -> None:
    """Kubernetes counts 0 as done: a job that a signal has ended is run again, by 128 + n."""
    then = "await anyio.sleep_forever()"
    with living(JOB.format(then=then), anyio_backend, cwd=tmp_path) as life:
        assert [life.line(), life.line()] == ["pool starts", "ready"]
        life.send(number)
        ended = life.end()
    assert (ended.code, ended.out) == (128 + number, ["main ends", "pool stops"])
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("told", [False, True], ids=["untold", "told to stop"])
def test_a_job_that_has_finished_says_how(anyio_backend: str, code: int, *, told: bool) -> None:
    """A job that comes to its end, be it while it drains, gives its own status."""
    source = f"""
boot = Bootstrap(Needs, drain=60)
{POOL}
@boot.main(must_finish=True)
async def main(pool: str) -> int:
    import anyio

    if {told}:
        signal.raise_signal(signal.SIGTERM)
        while boot.status().state != "draining":
            await anyio.sleep(0.005)
    return {code}
{RUN}"""
    ended = lived(source, anyio_backend)
    assert (ended.code, ended.out) == (code, ["pool starts", "pool stops"]), ended.err


CHILDREN = {
    "shielded": """
    async def child():
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            print("the child ends")

    async with anyio.create_task_group() as group:
        group.start_soon(child)
        print("ready")""",
    "native": """
    import asyncio

    async def child():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            print("the child ends")

    async with asyncio.TaskGroup() as group:
        group.create_task(child())
        await asyncio.sleep(0)
        print("ready")""",
}


@pytest.mark.parametrize(
    ("backend", "child"), [("asyncio", "shielded"), ("asyncio", "native"), ("trio", "shielded")]
)
def test_what_a_child_awaits_at_its_end_is_completed(
    backend: str, child: str, tmp_path: Path
) -> None:
    """A task of main's that has to say goodbye does so before the parts are gone."""
    source = f"""
{PLAIN}
@boot.main
async def main(pool: str) -> None:
    import anyio
{CHILDREN[child]}
{RUN}"""
    with living(source, backend, cwd=tmp_path) as life:
        assert [life.line(), life.line()] == ["pool starts", "ready"]
        life.send(signal.SIGTERM)
        ended = life.end()
    assert (ended.code, ended.out) == (0, ["the child ends", "pool stops"]), ended.err
    assert "Traceback" not in ended.err


# What holds the process

HELD = {
    "a main that swallows": ("print('ready'); await swallow()", ("running   main", "in swallow")),
    "a main that swallows again and again": (
        "print('ready'); await swallow_more()",
        ("running   main",),
    ),
    "a main that blocks the loop": (
        "print('ready'); time.sleep(3600)",
        ("running   main", "in main"),
    ),
    "a main that blocks at its end": (
        """
    print("ready")
    try:
        await anyio.sleep_forever()
    finally:
        time.sleep(3600)""",
        ("running   main", "in main"),
    ),
    "a thread that main waits for": (
        "await anyio.to_thread.run_sync(hang)",
        ("running   main", "in main"),
    ),
}


@pytest.mark.parametrize("name", HELD)
def test_a_main_that_does_not_end_holds_nobody(
    anyio_backend: str, name: str, tmp_path: Path
) -> None:
    """One signal is enough: when the time of the stop is over it is named, and left behind: 70."""
    does, told = HELD[name]
    source = f"""
{BOOT}
def hang():
    print("ready")
    time.sleep(3600)

@boot.main
async def main(pool: str) -> None:
    import anyio

    {does}
{RUN}"""
    with living(source, anyio_backend, BRIEF, cwd=tmp_path) as life:
        assert [life.line() for _ in range(3)][-1] == "ready"
        life.send(signal.SIGTERM)
        ended = life.end()
    assert (ended.code, ended.out) == (70, [])
    _, farewell, lines = ended.err.partition(FAREWELL)
    assert farewell, ended.err
    for text in told:
        assert text in lines
    assert "Traceback" not in ended.err


THREADS = {
    "own": "threading.Thread(target=hang, name='the culprit').start()",
    "anyio": """
    async with anyio.create_task_group() as group:
        async def work():
            await anyio.to_thread.run_sync(hang, abandon_on_cancel=True)
        group.start_soon(work)
        await started()
        group.cancel_scope.cancel()""",
    "asyncio": """
    import asyncio
    task = asyncio.create_task(asyncio.to_thread(hang))
    await started()
    task.cancel()""",
}


@pytest.mark.parametrize(
    ("backend", "does", "name"),
    [
        (backend, THREADS[thread], name)
        for backend, thread, name in (
            ("asyncio", "own", "the culprit"),
            ("trio", "own", "the culprit"),
            ("asyncio", "anyio", "AnyIO worker thread"),
            ("trio", "anyio", None),  # its threads are daemons
            ("asyncio", "asyncio", "asyncio_0"),
        )
    ],
    ids=["asyncio-own", "trio-own", "asyncio-anyio", "trio-anyio", "asyncio-executor"],
)
def test_a_thread_that_hangs_holds_nobody(backend: str, does: str, name: str | None) -> None:
    """Everything has stopped but a thread: it is named, with its line, and left behind: 70."""
    source = f"""
{SHORT}
has_begun = threading.Event()

def hang():
    has_begun.set()
    time.sleep(3600)

async def started():
    import anyio

    while not has_begun.is_set():
        await anyio.sleep(0.005)

boot = Bootstrap(Needs, stop_timeout={5 if name is None else 0.5})
boot._plan.timings = SHORT
{POOL}
@boot.main
async def main(pool: str) -> None:
    import anyio

    {does}
    print("main ends")
{RUN}"""
    ended = lived(source, backend)
    assert ended.out == ["pool starts", "main ends", "pool stops"]
    if name is None:
        assert ended.code == 0, ended.err
        return
    assert ended.code == 70, ended.err
    _, farewell, lines = ended.err.partition(FAREWELL)
    assert farewell, ended.err
    assert any(name in line and " in hang" in line for line in lines.splitlines()), lines
    assert "Traceback" not in ended.err


def test_a_thread_that_ends_is_waited_for(anyio_backend: str) -> None:
    """Work that a thread brings to its end costs nothing: the exit is what main has said."""
    source = f"""
{PLAIN}
@boot.part
async def worker(pool: str):
    ends = threading.Event()
    thread = threading.Thread(target=lambda: (ends.wait(), time.sleep(0.05), print("thread ends")))
    thread.start()
    yield
    ends.set()

@boot.main
async def main(worker: object) -> int:
    return 3
{RUN}"""
    ended = lived(source, anyio_backend)
    assert (ended.code, ended.out) == (3, ["pool starts", "pool stops", "thread ends"]), ended.err
    assert "Traceback" not in ended.err


# What fails at run time

FAILING = {
    "a service": (
        """
@boot.service(budget=2)
async def culprit():
    print("service begins")
    bang("culprit")
""",
        ["service begins"] * 3,
        "(raised by the service culprit)",
    ),
    "a service that is never restarted": (
        """
@boot.service(restart="never")
async def culprit():
    bang("culprit")
""",
        [],
        "(raised by the service culprit)",
    ),
    "a part's task group": (
        """
@boot.part
async def culprit(pool: str):
    import anyio

    async def crash():
        while boot.status().state != "ready":
            await anyio.sleep(0.005)
        bang("culprit")

    async with anyio.create_task_group() as group:
        group.start_soon(crash)
        yield
    print("not reached")
""",
        [],
        "culprit has failed, and the application cannot go on",
    ),
}


@pytest.mark.parametrize("drain", [0, 0.05])
@pytest.mark.parametrize("name", FAILING)
def test_what_fails_for_good_ends_the_application(
    anyio_backend: str, name: str, drain: float
) -> None:
    """Main ends and the parts stop, in order; the traceback says whose it was: 70."""
    declared, printed, told = FAILING[name]
    source = f"""
{SHORT}
boot = Bootstrap(Needs, drain={drain})
boot._plan.timings = SHORT
{POOL}{declared}
@boot.main
async def main(pool: str) -> None:
    import anyio

    try:
        await anyio.sleep_forever()
    finally:
        print("main ends", boot.status().failed.rpartition(".")[2])
{RUN}"""
    ended = lived(source, anyio_backend)
    assert ended.code == 70, ended.err
    assert ended.out == ["pool starts", *printed, "main ends culprit", "pool stops"]
    assert told in ended.err
    assert "RuntimeError: bang of culprit\n" in ended.err


# What drains, and what is beside it


@pytest.mark.parametrize("parts", [POOL, ""], ids=["with a part", "bare"])
def test_main_goes_on_while_it_drains(anyio_backend: str, parts: str, tmp_path: Path) -> None:
    """Whoever asks is told to go elsewhere, what is at work has its time; then it stops."""
    source = f"""
boot = Bootstrap(Needs, drain=0.3)
{parts}
@boot.main
async def main() -> None:
    import anyio

    print("ready")
    try:
        while boot.status().ready:
            await anyio.sleep(0.005)
        await anyio.sleep(0.01)
        print(boot.status().state, boot.status().ready)
        await anyio.sleep_forever()
    finally:
        print("main ends,", boot.status().state)
{RUN}"""
    with living(source, anyio_backend, cwd=tmp_path) as life:
        while life.line() != "ready":
            pass
        life.send(signal.SIGTERM)
        ended = life.end()
    stops = ["pool stops"] if parts else []
    assert (ended.code, ended.out) == (0, ["draining False", "main ends, stopping", *stops])
    assert "SIGTERM: draining for 0.3 s, then stopping" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
def test_a_task_that_nobody_awaits_can_leave(backend: str) -> None:
    """Python lets it end the loop under everybody's feet; here the rest ends in order."""
    source = f"""
{PLAIN}{SERVICE}
@boot.main
async def main(pool: str) -> None:
    import asyncio

    async def leave():
        sys.exit(3)

    await asyncio.sleep(0)
    task = asyncio.create_task(leave())
    try:
        await asyncio.sleep(3600)
    finally:
        print("main ends")
{RUN}"""
    ended = lived(source, backend)
    assert ended.code == 3, ended.err
    assert ended.out == ["pool starts", "service begins", "main ends", "service ends", "pool stops"]


def test_two_applications_after_each_other(anyio_backend: str) -> None:
    """A process can own one, then another one on another loop, also after a failure."""
    source = f"""
{SHORT}
def handlers():
    return [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]

def run(boot, backend):
    try:
        boot.run(backend=backend)
    except SystemExit as exc:
        print("exit", exc.code, handlers() == before, boot.status().state)

before = handlers()
{PLAIN}
@boot.main
async def main(pool: str) -> None:
    import anyio

    signal.raise_signal(signal.SIGTERM)
    await anyio.sleep_forever()

class Others(SecretSet):
    jwt_secret: Secret

failing, another = Bootstrap(Others), Bootstrap(Others)

@failing.part
async def broken():
    bang("broken")
    yield

@failing.main
async def never() -> None: ...

@another.main
async def last(others: Others) -> int:
    from hive_boot import get_secret

    return len(get_secret("JWT_SECRET")) - len(others.jwt_secret.reveal()) + 4

for each in (boot, failing, another, boot):
    run(each, backend)
    backend = "trio" if backend == "asyncio" else "asyncio"
"""
    ended = lived(source, anyio_backend)
    stopped = ["pool starts", "pool stops", "exit 0 True armed"]
    failed, other = "exit 70 True armed", "exit 4 True armed"
    assert (ended.code, ended.out) == (0, [*stopped, failed, other, *stopped]), ended.err


def test_another_application_runs_in_another_loop(anyio_backend: str, tmp_path: Path) -> None:
    """Two live side by side, each in its loop; the plain functions cannot tell whose is meant."""
    source = f"""
import anyio
from hive_boot import LifecycleError, get_secret
{PLAIN}
class Others(SecretSet):
    other_key: Secret

other = Bootstrap(Others)
runs, ends = threading.Event(), threading.Event()

async def live():
    async with other.running() as secrets:
        runs.set()
        while not ends.is_set():
            await anyio.sleep(0.005)
        print(secrets.other_key.reveal(), boot.status().state, other.status().state)
    print("the other one has stopped")

@boot.main
async def main(pool: str) -> None:
    thread = threading.Thread(target=anyio.run, args=(live,))
    thread.start()
    while not runs.is_set():
        await anyio.sleep(0.005)
    try:
        get_secret("JWT_SECRET")
    except LifecycleError as exc:
        print("boot.secrets" in str(exc))
    print("ready")
    try:
        await anyio.sleep_forever()
    finally:
        ends.set()
        thread.join()
        print(len(get_secret("JWT_SECRET")))
{RUN}"""
    with living(source, anyio_backend, cwd=tmp_path, OTHER_KEY="fake-other") as life:
        assert [life.line() for _ in range(3)] == ["pool starts", "True", "ready"]
        life.send(signal.SIGTERM)
        ended = life.end()
    assert ended.code == 0, ended.err
    assert ended.out == [
        "fake-other stopping ready",
        "the other one has stopped",
        str(len("fake-jwt-secret-0123456789")),
        "pool stops",
    ]
    assert "Traceback" not in ended.err


# The service manager


@contextmanager
def manager(path: Path) -> Iterator[socket.socket]:
    """Listen as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.settimeout(30)
        ours.bind(str(path))
        yield ours


def told_to(ours: socket.socket) -> list[str]:
    """Give what has been told until now, a datagram each, without the times."""
    ours.settimeout(0)
    told = []
    try:
        while True:
            told.append(without_time(ours.recv(4096).decode()))
    except BlockingIOError:
        return told


def without_time(datagram: str) -> str:
    """Take out what differs."""
    lines = datagram.splitlines()
    return "|".join("MONOTONIC_USEC" if "MONOTONIC_USEC=" in line else line for line in lines)


STATES = ["STATUS=Loading", "STATUS=Starting", "READY=1|STATUS=Ready"]
RELOADED = ["RELOADING=1|MONOTONIC_USEC", "READY=1|STATUS=Ready"]
STOPPED = ["STOPPING=1|STATUS=Draining", "STATUS=Stopping", "STATUS=Stopped"]


def test_systemd_is_told_every_step(anyio_backend: str, memory: Path) -> None:
    """It hears that the service is ready, reloads, stops, each once and in this order."""
    source = f"""
from hive_boot.testing import MountedVolume

volume = MountedVolume(sys.argv[2])
volume.publish({{"jwt_secret": "fake-jwt-secret-1"}})
boot = Bootstrap(Needs, mode="kubernetes", secrets_dirs=volume.path)
{POOL}
@boot.main
async def main(pool: str) -> None:
    import anyio

    volume.publish({{"jwt_secret": "fake-jwt-secret-2"}})
    await boot.reload()
    signal.raise_signal(signal.SIGTERM)
    await anyio.sleep_forever()
{RUN}"""
    with manager(memory / "notify") as ours:
        where = str(memory / "volume")
        ended = lived(source, anyio_backend, where, NOTIFY_SOCKET=str(memory / "notify"))
        told = told_to(ours)
    assert (ended.code, ended.out) == (0, ["pool starts", "pool stops"]), ended.err
    assert told == [*STATES, *RELOADED, *STOPPED]


@pytest.mark.parametrize(
    ("fails", "code"), [("jwt_secret", 78), ("part", 70)], ids=["a secret", "a part"]
)
def test_systemd_never_hears_of_readiness_when_a_start_fails(
    anyio_backend: str, fails: str, code: int, memory: Path
) -> None:
    """What others start after this service is not started: no READY=1 on a failed start."""
    source = f"""
{SHORT}{PLAIN}
boot._plan.timings = SHORT

@boot.part
async def culprit(pool: str):
    bang("culprit")
    yield
{MAIN}{RUN}"""
    with manager(memory / "notify") as ours:
        value = "" if fails == "jwt_secret" else "fake-jwt-secret-0123456789"
        where = str(memory / "notify")
        ended = lived(source, anyio_backend, JWT_SECRET=value, NOTIFY_SOCKET=where)
        told = told_to(ours)
    assert ended.code == code, ended.err
    stops = ["STATUS=Starting", "STOPPING=1|STATUS=Stopping"] if code == 70 else []
    assert told == ["STATUS=Loading", *stops, "STATUS=Stopped"]


def test_the_watchdog_hears_that_the_loop_turns(
    anyio_backend: str, memory: Path, tmp_path: Path
) -> None:
    """It beats from the start on, while nothing else happens, and until the end."""
    variables = {"NOTIFY_SOCKET": str(memory / "notify"), "WATCHDOG_USEC": "20000"}
    source = f"""
{PLAIN}{MAIN}{RUN}"""
    with (
        manager(memory / "notify") as ours,
        living(source, anyio_backend, cwd=tmp_path, **variables) as life,
    ):
        assert [life.line(), life.line()] == ["pool starts", "ready"]
        beats = 0
        while beats < 3:
            beats += ours.recv(4096) == b"WATCHDOG=1"
        life.send(signal.SIGTERM)
        told = ""
        while "STATUS=Stopped" not in told:
            told += ours.recv(4096).decode()
        ended = life.end()
    assert (ended.code, ended.out) == (0, ["main ends", "pool stops"])
    assert "STOPPING=1" in told


# The loop


@pytest.mark.parametrize("number", STOPS)
def test_uvloop_stops_in_order(number: signal.Signals, tmp_path: Path) -> None:
    """On the loop that is asked for everything is as it is on the other ones."""
    source = f"""
{PLAIN}
@boot.main
async def main(pool: str) -> None:
    import asyncio

    print(type(asyncio.get_running_loop()).__module__)
    try:
        await stay()
    finally:
        print("main ends")
{RUN}"""
    with living(source, "uvloop", cwd=tmp_path) as life:
        assert [life.line() for _ in range(3)] == ["pool starts", "uvloop", "here"]
        life.send(number)
        assert life.line() == "held"
        life.open_gate()
        ended = life.end()
    assert (ended.code, ended.out) == (0, ["main ends", "pool stops"])
    assert "Traceback" not in ended.err


def test_the_second_signal_ends_uvloop_at_once(tmp_path: Path) -> None:
    """A blocked uvloop is no excuse: 128 + n."""
    source = f"""
{PLAIN}
@boot.main
async def main(pool: str) -> None:
    block()
{RUN}"""
    with living(source, "uvloop", cwd=tmp_path) as life:
        assert [life.line(), life.line()] == ["pool starts", "here"]
        life.send(signal.SIGTERM)
        assert life.line() == "held"
        life.send(signal.SIGINT)
        ended = life.end()
    assert (ended.code, ended.out) == (130, [])
    word = "hive_boot: a second signal, SIGINT, while ready: forced"
    assert ended.err.splitlines()[-1] == word


@pytest.mark.parametrize("backend", ["uvloop", "trio"])
def test_a_loop_that_is_not_installed_is_told_in_one_line(backend: str) -> None:
    """Who asks for what is not there is told what to install, before anything is read: 70."""
    source = f"""
from importlib.machinery import PathFinder

class WithoutLoop(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == backend else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [WithoutLoop if each is PathFinder else each for each in sys.meta_path]
{PLAIN}{MAIN}{RUN}"""
    ended = lived(source, backend, JWT_SECRET="")
    assert (ended.code, ended.out) == (70, [])
    assert ended.err == (
        f"hive_boot: DeclarationError: backend='{backend}' needs the package {backend}: "
        f"pip install {backend}\n"
    )
