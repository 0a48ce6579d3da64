"""Messages to systemd, through real sockets, and failures of the socket."""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hive_boot.lifecycle.states import State, StateMachine, SystemdNotifier
from hive_boot.redaction import registry
from tests.fixtures.systemd import listening, notify_path, received
from tests.support import run_child

EVERYTHING: list[Callable[[SystemdNotifier], None]] = [
    lambda notify: notify.send("READY=1"),
    lambda notify: notify.send("READY=1", "a line"),
    lambda notify: notify.send("", "a line"),
]


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the path of a socket that NOTIFY_SOCKET names."""
    with notify_path() as path:
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield path


@pytest.fixture
def reader(path: str) -> Iterator[socket.socket]:
    """Yield the socket that NOTIFY_SOCKET names."""
    with listening(path) as reader:
        yield reader


def test_every_message_is_a_datagram_of_its_own(reader: socket.socket) -> None:
    """Each message is a separate datagram, in order."""
    notify = SystemdNotifier()
    notify.send("", "Starting")
    notify.send("READY=1", "8 secrets")
    notify.send("WATCHDOG=1")
    notify.send("STOPPING=1", "Draining")
    assert received(reader) == [
        "STATUS=Starting",
        "READY=1\nSTATUS=8 secrets",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=Draining",
    ]


def test_a_reload_names_its_time_in_the_same_datagram(reader: socket.socket) -> None:
    """A reload sends its time by systemd's clock, in microseconds."""
    states = StateMachine()
    for state in (State.LOADING, State.STARTING, State.READY):
        states.transition(state)
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    states.transition(State.RELOADING)
    after = time.clock_gettime(time.CLOCK_MONOTONIC)
    first, moment, _ = received(reader)[-1].splitlines()
    assert first == "RELOADING=1"
    assert before - 0.001 <= int(moment.removeprefix("MONOTONIC_USEC=")) / 1e6 <= after


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract sockets")
def test_an_abstract_socket_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """An abstract socket, whose name begins with @, works too."""
    name = f"hive_boot/tests/{os.getpid()}"
    with listening(f"\0{name}") as reader:
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        SystemdNotifier().send("READY=1")
        assert received(reader) == ["READY=1"]


def test_without_a_socket_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without systemd, or with an unsupported address, no socket is created."""
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    # No socket is created.
    monkeypatch.setattr(socket, "socket", None)
    for named in (None, "", "@", "/", "vsock:2:1234", "relative/path", "x"):
        if named is not None:
            monkeypatch.setenv("NOTIFY_SOCKET", named)
        notify = SystemdNotifier()
        assert notify.interval is None, named
        for send in EVERYTHING:
            send(notify)


def test_a_socket_that_is_not_there_is_harmless(path: str) -> None:
    """If the socket does not exist, nothing happens."""
    for send in EVERYTHING:
        send(SystemdNotifier())
        assert not Path(path).exists()


def test_a_reader_that_is_gone_is_harmless(path: str) -> None:
    """If systemd goes away, nothing happens; when it is back, messages arrive again."""
    for send in EVERYTHING:
        notify = SystemdNotifier()
        with listening(path) as reader:
            notify.send("WATCHDOG=1")
            assert received(reader) == ["WATCHDOG=1"]
        send(notify)
        Path(path).unlink()
        send(notify)
        with listening(path) as reader:
            notify.send("WATCHDOG=1")
            assert received(reader) == ["WATCHDOG=1"]
        Path(path).unlink()


def test_a_full_socket_holds_nobody(reader: socket.socket, path: str) -> None:
    """If the socket is full, messages are dropped without a wait."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as flood:
        flood.settimeout(0)
        flood.connect(path)
        sent = 0
        with suppress(OSError):
            while flood.send(b"x"):
                sent += 1
        notify = SystemdNotifier()
        for send in EVERYTHING:
            send(notify)
        assert received(reader) == ["x"] * sent
    notify.send("WATCHDOG=1")
    assert received(reader) == ["WATCHDOG=1"]


def test_a_name_that_no_socket_can_have_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is too long for a socket is ignored."""
    for named in ("/" + "x" * 200, "@" + "x" * 200):
        monkeypatch.setenv("NOTIFY_SOCKET", named)
        for send in EVERYTHING:
            send(SystemdNotifier())


def test_a_file_that_is_no_socket_is_harmless(path: str) -> None:
    """A file that is not a socket is not written to."""
    for send in EVERYTHING:
        Path(path).write_text("a file")
        send(SystemdNotifier())
        assert Path(path).read_text() == "a file"


def test_a_stream_socket_is_harmless(path: str) -> None:
    """A socket of another type is ignored."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        SystemdNotifier().send("READY=1")


def test_a_status_is_one_line_that_systemd_takes(reader: socket.socket) -> None:
    """A text cannot inject another state, break the datagram, or be too long for it."""
    for text, line in (
        ("two\nlines", "two lines"),
        ("READY=1\r\n\r\nSTOPPING=1", "READY=1 STOPPING=1"),
        ("one\x0bother\x85third\u2028last", "one other third last"),
        ("a \0 zero and \x1b[31mred", "a zero and [31mred"),
        ("  around  ", "around"),
        ("prêt 🐝", "prêt 🐝"),
        ("half a pair \ud800", "half a pair"),
        ("x" * 5000, "x" * 512),
        ("🐝" * 5000, "🐝" * 512),
    ):
        SystemdNotifier().send("", text)
        assert received(reader) == [f"STATUS={line}"]


def test_a_status_shows_no_secret(reader: socket.socket) -> None:
    """A status, which `systemctl status` shows to all users, is redacted."""

    class Sealed:
        """A value of a test."""

        def reveal(self) -> str:
            """Return the value."""
            return "fake-value-of-a-test"

    owner = object()
    registry.register(owner, [Sealed()])
    try:
        SystemdNotifier().send("READY=1", "failed with fake-value-of-a-test")
    finally:
        registry.unregister(owner)
    (told,) = received(reader)
    assert told.startswith("READY=1\nSTATUS=failed with ")
    assert "fake-value" not in told


@pytest.mark.usefixtures("path")
def test_the_watchdog_is_fed_twice_as_often_as_it_bites(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval between pings is half of the watchdog's timeout, if it is for this process."""
    told: tuple[tuple[dict[str, str], float | None], ...] = (
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "1"}, 0.0000005),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "{pid}"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": ""}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1{pid}"}, None),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "me"}, None),
        ({"WATCHDOG_PID": "{pid}"}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "1.5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
        ({"WATCHDOG_USEC": "18446744073709551615"}, None),
        ({}, None),
    )
    for watchdog, interval in told:
        with monkeypatch.context() as variables:
            for name, value in watchdog.items():
                variables.setenv(name, value.format(pid=os.getpid()))
            assert SystemdNotifier().interval == interval, watchdog


def test_the_environment_stays(reader: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is not changed, so child processes get the same variables."""
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    before = dict(os.environ)
    SystemdNotifier().send("READY=1")
    assert dict(os.environ) == before
    assert received(reader) == ["READY=1"]


FORKED = """
import os
from hive_boot.lifecycle.states import SystemdNotifier

notify = SystemdNotifier()
notify.send("READY=1", "parent")
child = os.fork()
if not child:
    notify.send("WATCHDOG=1")
    notify.send("STOPPING=1", "child")
    os._exit(1)
assert os.waitpid(child, 0)[1] == 1 << 8
notify.send("WATCHDOG=1")
"""


def test_a_forked_child_does_not_speak_for_its_parent(reader: socket.socket, path: str) -> None:
    """A forked child sends no messages for its parent."""
    child = run_child(FORKED, NOTIFY_SOCKET=path)
    assert (child.returncode, child.stderr) == (0, "")
    assert received(reader) == ["READY=1\nSTATUS=parent", "WATCHDOG=1"]


UNHEARD = """
import sys

sys.modules.pop("socket", None)  # what measures the tests imports it
from hive_boot.lifecycle.states import SystemdNotifier

notify = SystemdNotifier()
notify.send("READY=1", "nobody")
notify.send("WATCHDOG=1")
print("socket" in sys.modules)
"""


def test_a_service_without_systemd_does_not_import_sockets() -> None:
    """Without systemd, the module socket is not imported."""
    child = run_child(UNHEARD, NOTIFY_SOCKET="")
    assert (child.stdout, child.stderr) == ("False\n", "")
