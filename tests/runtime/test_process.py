"""Applications that own a process: what main is given, exit statuses, signals, hang-ups."""

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path

import pytest

from hive_boot import Bootstrap, Secret, SecretSet
from hive_boot.testing import MountedVolume
from tests.fixtures.owned_processes import (
    BACKENDS,
    FORCED,
    ORDERLY,
    STATUS_OF,
    STOPS,
    VALUE,
    OwnedProcess,
    ended,
    errors_of,
    side_by_side,
    started,
    started_fresh,
)
from tests.support import child_environment, run_child

EACH = [(backend,) for backend in BACKENDS]

DECLARED = f"""
{STATUS_OF}
import anyio
from hive_boot import LifecycleError, SecretBytes

boot = Bootstrap(Needs)
"""


# What main is given, and what it returns

GIVEN = f"""
{DECLARED}
import sniffio

class Settings:
    port = 3000

async def everything(secrets: Needs, application: Bootstrap[Needs, None]):
    assert secrets is boot.secrets and application is boot and boot.status().ready
    print(secrets, len(secrets.jwt_secret.reveal()), sniffio.current_async_library())

async def settings(config: Settings, secrets: Needs) -> int:
    return config.port - 2958

print(status_of(boot, everything))
print(status_of(Bootstrap(Needs, config=Settings), settings))

for answer in (0, 3, None, "text"):
    async def main():
        return answer

    print(status_of(Bootstrap(Needs), main))

boot = Bootstrap(Needs)

@boot.main
async def unless_another_is_chosen() -> None:
    import asyncio
    assert asyncio.current_task()

boot.run()
"""


def test_what_main_is_given_and_what_it_returns(tmp_path: Path) -> None:
    """Main runs on the chosen backend; the number that it returns is the exit status."""

    def scenario(backend: str, path: Path) -> None:
        code, out, err = ended(GIVEN, backend, cwd=path)
        assert code == 0, err
        first, *statuses = out
        assert first == f"Needs(jwt_secret=Secret('JWT_SECRET', '***')) {len(VALUE)} {backend}"
        assert statuses == ["0", "42", "0", "3", "0", "0"]

    side_by_side(tmp_path, scenario, EACH)


RAISING = f"""
{DECLARED}
class Keys(SecretSet):
    key: SecretBytes

class Short(SecretSet):
    word: Secret
    eight: Secret

async def nested(secrets: Needs) -> None:
    try:
        {{}}[secrets.jwt_secret.reveal()]
    except KeyError as cause:
        error = RuntimeError(f"no user for {{secrets.jwt_secret.reveal()}}")
        error.add_note(secrets.jwt_secret.reveal().encode().hex())
        raise error from cause

async def bytes_too(keys: Keys) -> None:
    raise RuntimeError(repr(keys.key.reveal()))

async def short() -> None:
    raise RuntimeError("the words: runtime, 8letters")

print(status_of(boot, nested), status_of(Bootstrap(Keys), bytes_too))
print(status_of(Bootstrap(Short), short))
"""


def test_a_main_that_raises_leaves_a_traceback_without_secrets(tmp_path: Path) -> None:
    """The author sees where it failed, and the log has no value: 70.

    A value of seven characters may be a word of the traceback itself, which stays readable.
    """
    variables = {"KEY": "fake-bytes-0123456789", "WORD": "runtime", "EIGHT": "8letters"}

    def scenario(backend: str, path: Path) -> None:
        code, out, err = ended(RAISING, backend, cwd=path, **variables)
        assert (code, out) == (0, ["70 70", "70"]), err
        nested, of_bytes, short = errors_of(err)
        assert "Traceback (most recent call last):" in nested
        assert "in nested" in nested
        assert "KeyError: '***'" in nested
        assert "RuntimeError: no user for ***\n***\n" in nested
        assert VALUE not in err
        assert VALUE.encode().hex() not in err
        assert "RuntimeError: b'***'" in of_bytes
        assert "fake-bytes" not in err
        assert short.rstrip().endswith("RuntimeError: the words: runtime, ***")

    side_by_side(tmp_path, scenario, EACH)


WRONG = f"""
{DECLARED}
from pydantic_settings import BaseSettings

class Strict(SecretSet):
    jwt_secret: Secret = secret(min_length=32, used_by="user-auth")

class Settings(BaseSettings):
    port: int = 3000

async def main() -> None:
    print("main")

async def lost(pool: int) -> None: ...

async def unhappy() -> None:
    raise LifecycleError("the author says so")

os.environ["JWT_SECRET"] = "fake-too-short"
print(status_of(Bootstrap(Strict), main))
os.environ["JWT_SECRET"] = ""
print(status_of(Bootstrap(Strict, config=Settings), main))
print(status_of(Bootstrap(Strict), None))
print(status_of(Bootstrap(Strict), lost))
os.environ["JWT_SECRET"] = "fake-jwt-secret-0123456789"
print(status_of(boot, unhappy))
"""


def test_a_start_that_fails_is_one_report_and_no_traceback(tmp_path: Path) -> None:
    """Faults of the deployment are one report: 78. A mistake in the code is one line: 70."""

    def scenario(backend: str, path: Path) -> None:
        code, out, err = ended(WRONG, backend, cwd=path, PORT="no-port-but-apples")
        assert (code, out) == (0, ["78", "78", "70", "70", "70"]), err
        one, two, no_main, lost, unhappy = errors_of(err)
        report = one[one.index("hive_boot: Strict has 1 problem;") :]
        for datum in ("Strict", "environment", "JWT_SECRET", "14", "32", "user-auth"):
            assert datum in report
        assert report.count("user-auth") == 1
        assert "hive_boot: Strict has 2 problems;" in two
        assert "1. JWT_SECRET" in two
        assert "2. Settings.port" in two
        assert "no-port-but-apples" not in err
        assert "fake-too-short" not in err
        # Nothing is looked for when main cannot be called: each of these is the only line.
        assert len(no_main.splitlines()) == len(lost.splitlines()) == 1
        for text in ("DeclarationError", "Bootstrap(Strict)", "@boot.main"):
            assert text in no_main
        for text in ("DeclarationError", "lost()", "'pool'", "Strict", "Bootstrap"):
            assert text in lost
        # An error that main raises has its line, and no frame of hive_boot.
        assert err.count("Traceback") == 1
        *_, head, line, last = unhappy.splitlines()
        assert head.startswith("Traceback")
        assert line.strip().endswith("in unhappy")
        assert last == "hive_boot: LifecycleError: the author says so"

    side_by_side(tmp_path, scenario, EACH)


AGAIN = f"""
{DECLARED}
numbers = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
before = [*map(signal.getsignal, numbers)]
codes = []

class Strict(SecretSet):
    jwt_secret: Secret = secret(min_length=16)

boot = Bootstrap(Strict)

@boot.main
async def main() -> int:
    for number, handler in zip(numbers, before):
        assert signal.getsignal(number) is not handler
    if len(codes) == 1:
        signal.raise_signal(signal.SIGTERM)
        await anyio.sleep_forever()
    return len(codes)

for value in ("fake-too-short", os.environ["JWT_SECRET"], os.environ["JWT_SECRET"]):
    os.environ["JWT_SECRET"] = value
    codes.append(status_of(boot, None))
    assert [*map(signal.getsignal, numbers)] == before
print(codes)
"""


def test_it_can_be_run_again_in_the_same_process(tmp_path: Path) -> None:
    """Each run is a fresh one, also after a failure and a signal; handlers are put back."""

    def scenario(backend: str, path: Path) -> None:
        code, out, err = ended(AGAIN, backend, cwd=path)
        assert (code, out) == (0, ["[78, 0, 2]"]), err

    side_by_side(tmp_path, scenario, EACH)


def test_a_run_in_another_thread_leaves_the_signals_alone(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Python allows no handler it runs without one, and gives its exit code."""
    monkeypatch.setenv("JWT_SECRET", VALUE)

    class HiveSecrets(SecretSet):
        """One secret."""

        jwt_secret: Secret

    boot = Bootstrap(HiveSecrets, mode="environment")
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    @boot.main
    async def main() -> int:
        seen.append(signal.getsignal(signal.SIGTERM))
        return 3

    def work() -> None:
        with pytest.raises(SystemExit) as caught:
            boot.run(backend=anyio_backend)
        seen.append(caught.value.code)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before, 3]


# Signals

WAITING = """
import anyio

boot = Bootstrap(Needs)

@boot.main
async def main() -> None:
    try:
        print("ready")
        {wait}
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0)
        {then}

boot.run(backend=backend)
"""

FOREVER = "await anyio.sleep_forever()"

CHECKING = """
def block(value):
    print("ready")
    threading.Event().wait()

class Judged(SecretSet):
    jwt_secret: Secret = secret(check=block)

boot = Bootstrap(Judged)

@boot.main
async def main() -> None:
    print("main")

boot.run(backend=backend)
"""

BEFORE_THE_LOOP = f"""
{DECLARED}
run = anyio.run

def run_after_a_signal(*args, **kwargs):
    signal.raise_signal(signal.SIGTERM)
    return run(*args, **kwargs)

anyio.run = run_after_a_signal

@boot.main
async def main() -> None:
    print("main")

boot.run(backend=backend)
"""

IN_MAIN = f"""
{DECLARED}
@boot.main
async def main() -> None:
    signal.raise_signal(signal.SIGTERM)
    await anyio.sleep_forever()

boot.run(backend=backend)
"""

IN_A_THREAD = f"""
{DECLARED}
@boot.main
async def main() -> None:
    def take():
        time.sleep(0.1)   # until the loop waits
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        threading.Event().wait()
    threading.Thread(target=take, daemon=True).start()
    await anyio.sleep_forever()

boot.run(backend=backend)
"""


def test_a_signal_stops_in_order(tmp_path: Path) -> None:
    """It is never lost, whenever it comes and whichever thread takes it, and is no failure."""

    def while_it_waits(backend: str, number: signal.Signals, check: object, path: Path) -> None:
        source = CHECKING if check else WAITING.format(wait=FOREVER, then="print('finally')")
        with started(source, backend, cwd=path) as process:
            assert process.read_line() == "ready"
            process.send(number)
            code, out, err = process.wait()
        # A check that hangs in a thread holds nothing, and main is never called.
        assert (code, out) == (ORDERLY[number], [] if check else ["finally"]), err
        assert "Traceback" not in err
        assert "never awaited" not in err

    def by_itself(backend: str, source: str, path: Path) -> None:
        code, out, err = ended(source, backend, cwd=path)
        assert (code, out) == (0, []), err
        assert "Traceback" not in err

    cells = [*product(["asyncio"], STOPS, [False, True])]
    cells += product(["trio"], [signal.SIGTERM], [False, True])
    side_by_side(tmp_path, while_it_waits, cells)
    sources = (BEFORE_THE_LOOP, IN_MAIN, IN_A_THREAD)
    side_by_side(tmp_path, by_itself, product(BACKENDS, sources))


def test_an_error_while_stopping_is_an_error(tmp_path: Path) -> None:
    """What fails in main's last steps is written, and the exit is no success: 70."""
    source = WAITING.format(wait=FOREVER, then="raise RuntimeError('cannot flush')")

    def scenario(backend: str, path: Path) -> None:
        with started(source, backend, cwd=path) as process:
            assert process.read_line() == "ready"
            process.send(signal.SIGTERM)
            code, _, err = process.wait()
        assert code == 70
        assert "RuntimeError: cannot flush" in err

    side_by_side(tmp_path, scenario, EACH)


BLOCKS = {
    "sleep": "time.sleep(60)",
    "lock": "threading.Event().wait()",
    "python": "exec('while True: pass')",
}


def send_until_obeyed(process: OwnedProcess, number: signal.Signals) -> None:
    """Send a signal again and again until the process ends, as a person presses Ctrl-C.

    A signal that comes just before main blocks finds its handler waiting for main.
    """
    while process.process.poll() is None:
        process.send(number)
        with suppress(subprocess.TimeoutExpired):
            process.process.wait(0.06)


def test_a_second_signal_ends_a_blocked_main_at_once(tmp_path: Path) -> None:
    """Although the loop does not turn, it ends the process, also when it is the same."""

    def scenario(
        backend: str, block: str, first: signal.Signals, second: signal.Signals, path: Path
    ) -> None:
        source = WAITING.format(wait=BLOCKS[block], then="print('finally')")
        with started(source, backend, cwd=path) as process:
            assert process.read_line() == "ready"
            if first is not second:
                process.send(first)
            send_until_obeyed(process, second)
            code, out, err = process.wait()
        # Two signals that are pending together are delivered in the order of their numbers.
        assert code in {FORCED[first], FORCED[second]}
        assert out == []
        assert "Traceback" not in err

    orders = list(product(STOPS, STOPS))
    cells = [("asyncio", block, *order) for block in BLOCKS for order in orders]
    cells += [("trio", "sleep", *STOPS)]
    side_by_side(tmp_path, scenario, cells)


# The report on a terminal

RED = "\x1b[31m"

FAILING = """
from hive_boot import Bootstrap, Secret, SecretSet

class HiveSecrets(SecretSet):
    jwt_secret: Secret

boot = Bootstrap(HiveSecrets)

@boot.main
async def main() -> None: ...

boot.run()
"""


def on_a_terminal(**variables: str) -> str:
    """Start what cannot start with a terminal for its stderr, and return what that received."""
    master, slave = pty.openpty()
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", FAILING],
            env=child_environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=slave,
        )
        os.close(slave)
        sent = b""
        # Linux tells the end of a terminal by an error.
        with suppress(OSError):
            while more := os.read(master, 4096):
                sent += more
        assert child.wait(60) == 78
    finally:
        os.close(master)
    return sent.decode().replace("\r\n", "\n")


def test_a_report_is_coloured_on_a_terminal_and_plain_elsewhere() -> None:
    """A person sees colours; a log, and whoever sets NO_COLOR, sees the same text without."""
    coloured = on_a_terminal(HIVE_BOOT_MODE="environment")
    refused = on_a_terminal(HIVE_BOOT_MODE="environment", NO_COLOR="1")
    empty = on_a_terminal(HIVE_BOOT_MODE="environment", NO_COLOR="")
    piped = run_child(FAILING, HIVE_BOOT_MODE="environment").stderr
    assert RED in coloured
    assert RED in empty
    assert "\x1b" not in refused + piped
    assert refused == piped


# The hang-up

RELOADING = """
if os.environ.pop("UNDER_NOHUP", ""):
    os.execvp("nohup", ["nohup", *sys.orig_argv])
os.setsid()
if "WITH_A_TERMINAL" in os.environ:
    master, slave = os.openpty()
    # What a session without a terminal opens first becomes its controlling one.
    os.open(os.ttyname(slave), os.O_RDWR)

import anyio

def wait(value):
    print("judging")
    while not os.path.exists("gate"):
        time.sleep(0.005)

class HiveSecrets(SecretSet):
    '''One secret.'''
    jwt_secret: Secret = secret(check=wait if "AT_A_GATE" in os.environ else None)

watch = "WATCHING" in os.environ
boot = Bootstrap(HiveSecrets, mode="kubernetes", secrets_dirs=sys.argv[2], watch=watch)

@boot.on_rotate("jwt_secret")
async def tell(change) -> None:
    print(change.generation, change.new["jwt_secret"].reveal()[-3:])

@boot.main
async def main() -> None:
    print("ready")
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0)
        if "HUNG_UP_AT_THE_END" in os.environ:
            for _ in range(3):
                signal.raise_signal(signal.SIGHUP)
        print("finally")

boot.run(backend=backend)
"""


def publish(path: Path, number: int) -> None:
    """Publish the value with a number."""
    MountedVolume(path / "volume").publish({"jwt_secret": f"{VALUE}-{number:03}"})


@contextmanager
def reloading(backend: str, path: Path, *said: str) -> Iterator[OwnedProcess]:
    """Start an application that prints what it rotates, with these variables set."""
    publish(path, 1)
    variables = {"JWT_SECRET": "", **dict.fromkeys(said, "yes")}
    # A fork has no command line of its own, which nohup starts again.
    start = started_fresh if "UNDER_NOHUP" in said else started
    with start(RELOADING, backend, str(path / "volume"), cwd=path, **variables) as process:
        yield process


def stop(process: OwnedProcess) -> list[str]:
    """Stop in order, and return what was printed meanwhile."""
    process.send(signal.SIGTERM)
    code, out, err = process.wait()
    assert code == 0, err
    assert "Traceback" not in err
    return out


def test_a_hang_up_reloads(tmp_path: Path) -> None:
    """SIGHUP makes a daemon read its secrets, whether it watches them or not; it goes on."""

    def each_reloads(backend: str, said: tuple[str, ...], path: Path) -> None:
        with reloading(backend, path, *said) as process:
            assert process.read_line() == "ready"
            for number in (2, 3):
                publish(path, number)
                process.send(signal.SIGHUP)
                assert process.read_line() == f"{number} {number:03}"
            assert stop(process) == ["finally"]

    def many_are_one_or_a_few(backend: str, said: tuple[str, ...], path: Path) -> None:
        with reloading(backend, path, *said) as process:
            assert process.read_line() == "ready"
            for _ in range(50):
                process.send(signal.SIGHUP)
            publish(path, 2)
            for _ in range(50):
                process.send(signal.SIGHUP)
            assert process.read_line() == "2 002"
            assert stop(process) == ["finally"]

    def early_is_obeyed_after_the_start(backend: str, path: Path) -> None:
        with reloading(backend, path, "AT_A_GATE") as process:
            assert process.read_line() == "judging"
            publish(path, 2)
            process.send(signal.SIGHUP)
            process.open_gate()
            printed = [process.read_line() for _ in range(3)]
            assert sorted(printed) == ["2 002", "judging", "ready"]
            assert stop(process) == ["finally"]

    def a_bad_set_changes_nothing(backend: str, path: Path) -> None:
        with reloading(backend, path) as process:
            assert process.read_line() == "ready"
            MountedVolume(path / "volume").publish({})
            process.send(signal.SIGHUP)
            refusal = process.read_until("JWT_SECRET")
            assert "generation 1" in refusal.splitlines()[-1]
            publish(path, 2)
            process.send(signal.SIGHUP)
            assert process.read_line() == "2 002"
            assert stop(process) == ["finally"]

    side_by_side(tmp_path, each_reloads, product(BACKENDS, [(), ("WATCHING",)]))
    side_by_side(tmp_path, many_are_one_or_a_few, product(BACKENDS, [(), ("WATCHING",)]))
    side_by_side(tmp_path, early_is_obeyed_after_the_start, EACH)
    side_by_side(tmp_path, a_bad_set_changes_nothing, EACH)


def test_a_hang_up_that_does_not_reload(tmp_path: Path) -> None:
    """While it stops nothing changes; the end of the terminal stops it; nohup is respected."""

    def while_it_stops(backend: str, path: Path) -> None:
        with reloading(backend, path, "HUNG_UP_AT_THE_END") as process:
            assert process.read_line() == "ready"
            assert stop(process) == ["finally"]

    def the_end_of_the_terminal(backend: str, path: Path) -> None:
        with reloading(backend, path, "WITH_A_TERMINAL") as process:
            assert process.read_line() == "ready"
            process.send(signal.SIGHUP)
            code, out, err = process.wait()
        assert (code, out) == (0, ["finally"])
        assert "Traceback" not in err

    def under_nohup(backend: str, said: tuple[str, ...], path: Path) -> None:
        with reloading(backend, path, "UNDER_NOHUP", *said) as process:
            assert process.read_line() == "ready"
            publish(path, 2)
            for _ in range(3):
                process.send(signal.SIGHUP)
            assert stop(process) == ["finally"]

    side_by_side(tmp_path, while_it_stops, EACH)
    side_by_side(tmp_path, the_end_of_the_terminal, EACH)
    side_by_side(tmp_path, under_nohup, product(BACKENDS, [(), ("WITH_A_TERMINAL",)]))
