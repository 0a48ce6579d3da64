"""Signals in the middle of everything: real applications, in processes of their own."""

import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.bootstrap.lives import (
    ENVIRONMENT,
    HEAD,
    MAIN,
    POOL,
    RUN,
    STOPS,
    Life,
    lived,
    living,
)
from tests.support import child_environment


class Moment(NamedTuple):
    """A moment at which the first signal comes.

    Attributes:
        source: prints ``here`` when it is there, and ``held`` when the signal was handled;
            then it stands at the gate.
        before: what is printed before ``here``.
        after: what is printed when the gate is open.
        state: where a second signal finds it.
        tracebacks: how many there are, of failures of the author's.
    """

    source: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    state: str
    tracebacks: int = 0


PLAIN = f"""
boot = Bootstrap(Needs)
{POOL}
"""

MOMENTS = {
    "import": Moment(
        f"""
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "anyio":
            sys.meta_path.remove(self)
            block()

assert "anyio" not in sys.modules
sys.meta_path.insert(0, Slow())
{PLAIN}{MAIN}{RUN}""",
        (),
        (),
        "armed",
    ),
    "loading": Moment(
        f"""
async def ask(value):
    try:
        await stay()
    finally:
        print("the check ends")

class Needs(SecretSet):
    jwt_secret: Secret = secret(check=ask)
{PLAIN}{MAIN}{RUN}""",
        (),
        ("the check ends",),
        "loading",
    ),
    "starting": Moment(
        f"""
{PLAIN}
@boot.part
async def hangs(pool: str):
    try:
        await stay()
    finally:
        print("the start is given up")
    yield
{MAIN}{RUN}""",
        ("pool starts",),
        ("the start is given up", "pool stops"),
        "stopping",
    ),
    "ready": Moment(
        f"""
{PLAIN}
@boot.service
async def works():
    import anyio

    print("service begins")
    try:
        await anyio.sleep_forever()
    finally:
        print("service ends")

@boot.main
async def main(pool: str) -> None:
    import anyio

    await anyio.wait_all_tasks_blocked()
    block()
    try:
        await anyio.sleep_forever()
    finally:
        print("main ends")
{RUN}""",
        ("pool starts", "service begins"),
        ("main ends", "service ends", "pool stops"),
        "ready",
    ),
    "reloading": Moment(
        f"""
from hive_boot.testing import MountedVolume

volume = MountedVolume(sys.argv[2])
volume.publish({{"jwt_secret": "fake-jwt-secret-1"}})
boot = Bootstrap(Needs, mode="kubernetes", secrets_dirs=volume.path)
{POOL}
@boot.check
async def ask(secrets: Needs) -> None:
    import anyio

    if secrets.jwt_secret.reveal() == "fake-jwt-secret-2":
        block()
        try:
            await anyio.sleep_forever()
        finally:
            print("the check ends")

@boot.on_rotate()
async def tell(change) -> None:
    print("rotated")

@boot.main
async def main(pool: str) -> None:
    import anyio

    volume.publish({{"jwt_secret": "fake-jwt-secret-2"}})
    try:
        await boot.reload()
        await anyio.sleep_forever()
    finally:
        print("main ends")
{RUN}""",
        ("pool starts",),
        ("main ends", "the check ends", "pool stops"),
        "reloading",
    ),
    "draining": Moment(
        f"""
boot = Bootstrap(Needs, drain=60)
{POOL}
@boot.main
async def main(pool: str) -> None:
    import anyio

    print("here")
    while boot.status().state != "draining":
        await anyio.sleep(0.005)
    assert not boot.status().ready
    await hold()
    print("main ends")
{RUN}""",
        ("pool starts",),
        ("main ends", "pool stops"),
        "draining",
    ),
    "stopping": Moment(
        f"""
{PLAIN}
@boot.part
async def slow(pool: str):
    import anyio

    yield
    print("here")
    while not pulled():
        await anyio.sleep(0.005)
    await hold()
    print("the slow stop ends")

@boot.main
async def main(pool: str) -> None:
    print("main ends")
{RUN}""",
        ("pool starts", "main ends"),
        ("the slow stop ends", "pool stops"),
        "stopping",
    ),
    "a service's backoff": Moment(
        f"""
from hive_boot._timings import Timings
{PLAIN}
boot._plan.timings = Timings(service_restart_delay=1000, max_service_restart_delay=1000)

@boot.service
async def flaky():
    print("service begins")
    raise RuntimeError("it is flaky")

@boot.main
async def main(pool: str) -> None:
    import anyio

    while not boot.status().failing_services:
        await anyio.sleep(0.005)
    try:
        await stay()
    finally:
        print("main ends")
{RUN}""",
        ("pool starts", "service begins"),
        ("main ends", "pool stops"),
        "stopping",
        tracebacks=1,
    ),
}
"""Every moment at which a signal may come; in each of them it is the first one."""


@contextmanager
def at(moment: Moment, backend: str, path: Path, number: signal.Signals) -> Iterator[Life]:
    """Send a signal at a moment, and give the process when the signal was handled."""
    with living(moment.source, backend, str(path / "volume"), cwd=path) as life:
        assert [life.line() for _ in moment.before] == list(moment.before)
        assert life.line() == "here"
        life.send(number)
        assert life.line() == "held"
        yield life


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("name", MOMENTS)
def test_the_first_signal_stops_in_order(
    anyio_backend: str, name: str, number: signal.Signals, tmp_path: Path
) -> None:
    """Whenever it comes, what has begun ends in order, nothing else begins, and it is exit 0."""
    moment = MOMENTS[name]
    with at(moment, anyio_backend, tmp_path, number) as life:
        life.open_gate()
        ended = life.end()
    assert (ended.code, ended.out) == (0, list(moment.after)), ended.err
    assert ended.err.count("Traceback") == moment.tracebacks
    assert f"{number.name}: " in ended.err
    assert "forced" not in ended.err


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("name", MOMENTS)
def test_the_second_signal_ends_the_process_at_once(
    anyio_backend: str, name: str, number: signal.Signals, tmp_path: Path
) -> None:
    """Whatever does not end is left behind, and the last word says where it stood: 128 + n."""
    moment = MOMENTS[name]
    second = next(each for each in STOPS if each is not number)
    with at(moment, anyio_backend, tmp_path, number) as life:
        life.send(second)
        ended = life.end()
    word = f"hive_boot: a second signal, {second.name}, while {moment.state}: forced"
    assert (ended.code, ended.out) == (128 + second, [])
    assert ended.err.splitlines()[-1] == word
    assert ended.err.count("Traceback") == moment.tracebacks


@pytest.mark.parametrize("number", STOPS)
def test_a_wait_for_a_file_is_broken_off(
    anyio_backend: str, number: signal.Signals, tmp_path: Path
) -> None:
    """An application that waits for its secrets is stopped like any other, and reports nothing."""
    source = f"""
boot = Bootstrap(Needs, mode="docker", secrets_dirs=sys.argv[2], wait=3600)
{POOL}{MAIN}{RUN}"""
    with living(source, anyio_backend, str(tmp_path), cwd=tmp_path, JWT_SECRET="") as life:
        life.until_told("Waiting up to 3600 s for JWT_SECRET")
        life.send(number)
        ended = life.end()
    assert (ended.code, ended.out) == (0, [])
    assert ended.err.splitlines() == [f"INFO hive_boot: {number.name}: stopping"]


TWICE = f"""
boot = Bootstrap(Needs, drain=0.2)
{POOL}
@boot.main
async def main(pool: str) -> None:
    import anyio

    try:
        while boot.status().state != "draining":
            if not pulled():
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGTERM)
            await anyio.sleep(0.005)
        signal.raise_signal(signal.SIGTERM)
        print("draining")
        await anyio.sleep_forever()
    finally:
        print("main ends")
{RUN}"""


def test_a_signal_that_is_repeated_at_once_is_the_same(anyio_backend: str) -> None:
    """A terminal and a parent that both tell it, also while it drains, force nothing: exit 0."""
    # A machine that is busy may put more than 100 ms between the first and the last: it gets
    # more tries.
    for _ in range(3):
        ended = lived(TWICE, anyio_backend)
        if ended.code != 128 + signal.SIGTERM:
            break
    assert (ended.code, ended.out) == (0, ["pool starts", "draining", "main ends", "pool stops"])
    assert ended.err.count("SIGTERM: draining for 0.2 s, then stopping") == 1
    assert "Traceback" not in ended.err


WAITING = f"""
{PLAIN}{MAIN}{RUN}"""


@pytest.mark.parametrize("watch", [False, True])
def test_a_terminal_that_is_closed_stops_in_order(
    anyio_backend: str, tmp_path: Path, *, watch: bool
) -> None:
    """Who closes the window, or loses the connection, stops what runs in it, in order."""
    source = f"""
os.setsid()
# What a session without a terminal opens first becomes its controlling one.
os.open(sys.argv[2], os.O_RDWR)
boot = Bootstrap(Needs, watch={watch})
{POOL}{MAIN}{RUN}"""
    master, slave = pty.openpty()
    try:
        with living(source, anyio_backend, os.ttyname(slave), cwd=tmp_path) as life:
            assert [life.line(), life.line()] == ["pool starts", "ready"]
            os.close(slave)
            os.close(master)
            master = -1
            ended = life.end()
    finally:
        if master >= 0:
            os.close(master)
            os.close(slave)
    assert (ended.code, ended.out) == (0, ["main ends", "pool stops"])
    assert "SIGHUP: stopping" in ended.err
    assert "Traceback" not in ended.err


def test_a_signal_to_a_forked_child_is_not_ours(anyio_backend: str, tmp_path: Path) -> None:
    """A child that the application forks dies of its signal, and the application goes on."""
    source = f"""
import warnings
warnings.simplefilter("ignore")   # Python 3.12 advises against a fork beside threads
{PLAIN}
@boot.main
async def main(pool: str) -> None:
    import anyio

    child = os.fork()
    if not child:
        print(os.getpid())
        time.sleep(60)
        os._exit(1)
    while not (found := os.waitpid(child, os.WNOHANG))[0]:
        await anyio.sleep(0.005)
    print(os.waitstatus_to_exitcode(found[1]), boot.status().state, pulled())
    try:
        await anyio.sleep_forever()
    finally:
        print("main ends")
{RUN}"""
    with living(source, anyio_backend, cwd=tmp_path) as life:
        assert life.line() == "pool starts"
        os.kill(int(life.line()), signal.SIGTERM)
        assert life.line() == f"{-signal.SIGTERM} ready False"
        life.send(signal.SIGTERM)
        ended = life.end()
    assert (ended.code, ended.out) == (0, ["main ends", "pool stops"])
    assert "Traceback" not in ended.err


# As PID 1

ALONE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def no_namespace() -> str:
    """Say why no process can be the first of its kind here; nothing when one can."""
    if shutil.which(ALONE[0]) is None:
        return "there is no unshare here"
    tried = subprocess.run(
        [*ALONE, sys.executable, "-c", ""],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return f"unshare refuses: {tried.stderr.strip()}" if tried.returncode else ""


@pytest.fixture(scope="module")
def namespace() -> None:
    """Skip what needs a PID namespace, where there is none to be had."""
    if why := no_namespace():
        pytest.skip(why)


@contextmanager
def as_first(source: str, backend: str, path: Path) -> Iterator[tuple[Life, int]]:
    """Run an application as PID 1, as in a container; give it, and its number out here."""
    process = subprocess.Popen(
        [*ALONE, sys.executable, "-u", "-c", HEAD + source, backend],
        env=child_environment(**ENVIRONMENT),
        cwd=path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with process:
        try:
            life = Life(process, path)
            assert life.line() == "1"
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            yield life, int(children.read_text())
        finally:
            process.kill()


@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize("number", STOPS)
def test_the_first_process_of_a_container_stops_in_order(
    anyio_backend: str, number: signal.Signals, tmp_path: Path
) -> None:
    """PID 1, which no signal ends by itself, ends when the container is told to stop: exit 0."""
    source = f"""
print(os.getpid())
{PLAIN}{MAIN}{RUN}"""
    with as_first(source, anyio_backend, tmp_path) as (life, pid):
        assert [life.line(), life.line()] == ["pool starts", "ready"]
        os.kill(pid, number)
        ended = life.end()
    assert (ended.code, ended.out) == (0, ["main ends", "pool stops"])
    assert "Traceback" not in ended.err


@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize(("first", "second"), [STOPS, STOPS[::-1]])
def test_the_first_process_of_a_container_is_forced(
    anyio_backend: str, first: signal.Signals, second: signal.Signals, tmp_path: Path
) -> None:
    """The second signal ends a PID 1 whose loop is blocked, too: 128 + n."""
    source = f"""
print(os.getpid())
{MOMENTS["ready"].source}"""
    with as_first(source, anyio_backend, tmp_path) as (life, pid):
        while life.line() != "here":
            pass
        os.kill(pid, first)
        assert life.line() == "held"
        os.kill(pid, second)
        ended = life.end()
    assert (ended.code, ended.out) == (128 + second, [])
    word = f"hive_boot: a second signal, {second.name}, while ready: forced"
    assert ended.err.splitlines()[-1] == word
