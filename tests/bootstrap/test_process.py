"""A process that is ours: real children, real signals, real exit codes."""

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from hive_boot import Bootstrap, Secret, SecretSet
from hive_boot.testing import MountedVolume
from tests.support import child_environment, run_child, started_child

VALUE = "fake-jwt-secret-0123456789-0123456789"

HEAD = """
import signal, sys, threading, time
import anyio
from hive_boot import Bootstrap, LifecycleError, Secret, SecretBytes, SecretSet, secret

backend = sys.argv[1]
"""

DECLARED = (
    HEAD
    + """
class HiveSecrets(SecretSet):
    '''What the application needs.'''
    jwt_secret: Secret = secret(min_length=32, used_by="user-auth")

boot = Bootstrap(HiveSecrets)
"""
)

WAITING = (
    DECLARED
    + """
@boot.main
async def main() -> None:
    try:
        print("ready")
        {wait}
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0)
        print("finally")

boot.run(backend=backend)
"""
)

CHECKING = (
    HEAD
    + """
def block(value):
    print("ready")
    threading.Event().wait()

async def wait(value):
    print("ready")
    try:
        await anyio.sleep_forever()
    finally:
        print("finally")

class HiveSecrets(SecretSet):
    '''What the application needs.'''
    jwt_secret: Secret = secret(check={check})

boot = Bootstrap(HiveSecrets)

@boot.main
async def main() -> None:
    print("main")

boot.run(backend=backend)
"""
)

ENVIRONMENT = {"HIVE_BOOT_MODE": "environment", "JWT_SECRET": VALUE}

STOPS = [signal.SIGTERM, signal.SIGINT]


def run_main(backend: str, body: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run an application with this main, all its secrets provided, and wait for its end."""
    return run_child(f"{DECLARED}\n{body}", backend, cwd=None, **{**ENVIRONMENT, **variables})


MAIN = """
@boot.main
async def main({parameters}) -> {returns}:
    {body}

boot.run(backend=backend)
print("not reached")
"""


def test_a_main_that_ends_is_a_success(anyio_backend: str) -> None:
    """Main runs with the live secrets on the backend that was asked for; then the exit is 0."""
    body = """
@boot.main
async def main(secrets: HiveSecrets, application: Bootstrap[HiveSecrets, None]) -> None:
    import sniffio
    assert secrets is boot.secrets and application is boot and boot.status().ready
    print(secrets, len(secrets.jwt_secret.reveal()), sniffio.current_async_library())

boot.run(backend=backend)
print("not reached")
"""
    child = run_main(anyio_backend, body)
    assert child.returncode == 0, child.stderr
    shown = f"HiveSecrets(jwt_secret=Secret('JWT_SECRET', '***')) {len(VALUE)} {anyio_backend}\n"
    assert child.stdout == shown


def test_an_unknown_backend_is_told_in_one_line() -> None:
    """A backend that there is not is a bug of the application, told clearly: 70."""
    child = run_main("curio", MAIN.format(parameters="", returns="None", body="pass"))
    assert child.returncode == 70
    told = "hive_boot: DeclarationError: backend='curio' is none of asyncio, trio, uvloop\n"
    assert child.stderr == told


def test_settings_reach_main(anyio_backend: str) -> None:
    """Main is given the settings by their class."""
    body = """
class Settings:
    port = 3000

boot = Bootstrap(HiveSecrets, config=Settings)

@boot.main
async def main(config: Settings, secrets: HiveSecrets) -> int:
    return config.port - 2958

boot.run(backend=backend)
"""
    assert run_main(anyio_backend, body).returncode == 42


@pytest.mark.parametrize(("answer", "code"), [("0", 0), ("3", 3), ("None", 0), ("'text'", 0)])
def test_the_number_that_main_returns_is_the_exit_status(
    anyio_backend: str, answer: str, code: int
) -> None:
    """Main decides the exit status by a number; anything else is no failure."""
    body = MAIN.format(parameters="", returns="int", body=f"return {answer}")
    child = run_main(anyio_backend, body)
    assert (child.returncode, child.stdout) == (code, ""), child.stderr


def test_asyncio_is_the_backend_unless_another_is_said() -> None:
    """Whoever says nothing gets asyncio."""
    body = """
@boot.main
async def main() -> None:
    import asyncio
    assert asyncio.current_task()

boot.run()
"""
    child = run_main("", body)
    assert child.returncode == 0, child.stderr


def test_a_main_that_raises_leaves_a_traceback_without_secrets(anyio_backend: str) -> None:
    """The author sees where it failed, whoever reads the log sees no value: 70."""
    body = MAIN.format(
        parameters="secrets: HiveSecrets",
        returns="None",
        body="""
    try:
        {}[secrets.jwt_secret.reveal()]
    except KeyError as cause:
        error = RuntimeError(f"no user for {secrets.jwt_secret.reveal()}")
        error.add_note(secrets.jwt_secret.reveal().encode().hex())
        raise error from cause
""",
    )
    child = run_main(anyio_backend, body)
    assert (child.returncode, child.stdout) == (70, "")
    assert "Traceback (most recent call last):" in child.stderr
    assert "in main" in child.stderr
    assert "KeyError: '***'" in child.stderr
    assert "RuntimeError: no user for ***\n***\n" in child.stderr
    assert VALUE not in child.stderr
    assert VALUE.encode().hex() not in child.stderr


def test_bytes_are_taken_out_of_a_traceback_too(anyio_backend: str) -> None:
    """A key that is bytes is as secret as one that is text."""
    body = """
class Keys(SecretSet):
    key: SecretBytes

boot = Bootstrap(Keys)

@boot.main
async def main(keys: Keys) -> None:
    raise RuntimeError(repr(keys.key.reveal()))

boot.run(backend=backend)
"""
    child = run_main(anyio_backend, body, KEY="fake-bytes-0123456789")
    assert child.returncode == 70
    assert "RuntimeError: b'***'" in child.stderr
    assert "fake-bytes" not in child.stderr


def test_a_short_value_does_not_garble_a_traceback(anyio_backend: str) -> None:
    """A value of seven characters may be a word of the traceback itself, which stays readable."""
    body = """
class Short(SecretSet):
    word: Secret
    eight: Secret

boot = Bootstrap(Short)

@boot.main
async def main() -> None:
    raise RuntimeError("the words: runtime, 8letters")

boot.run(backend=backend)
"""
    child = run_main(anyio_backend, body, WORD="runtime", EIGHT="8letters")
    assert child.stderr.rstrip().endswith("RuntimeError: the words: runtime, ***")


def test_a_failed_start_is_one_report_and_no_traceback(anyio_backend: str) -> None:
    """The deployment's fault is told once, to a person, on stderr: 78."""
    body = MAIN.format(parameters="", returns="None", body="print('main')")
    child = run_main(anyio_backend, body, JWT_SECRET="fake-too-short")
    assert (child.returncode, child.stdout) == (78, "")
    report = child.stderr[child.stderr.index("hive_boot: 1 problem") :]
    assert report.splitlines() == [
        "hive_boot: 1 problem with HiveSecrets, so the service does not start",
        "  mode      environment (HIVE_BOOT_MODE)",
        "  profile   production (the default in environment mode)",
        "",
        "  1. JWT_SECRET has 14 characters, and at least 32 are needed",
        "     looked in the variable JWT_SECRET",
        "     used by   user-auth",
        "     mend      change the variable JWT_SECRET",
    ]
    assert child.stderr.count("JWT_SECRET has") == 1
    assert "Traceback" not in child.stderr
    assert "fake-too-short" not in child.stderr


def test_all_problems_are_in_the_one_report(anyio_backend: str) -> None:
    """Secrets and settings are told together, and no input is shown."""
    body = """
from pydantic_settings import BaseSettings

class Settings(BaseSettings):
    port: int = 3000

boot = Bootstrap(HiveSecrets, config=Settings)

@boot.main
async def main() -> None: ...

boot.run(backend=backend)
"""
    child = run_main(anyio_backend, body, JWT_SECRET="", PORT="no-port-but-apples")
    assert (child.returncode, child.stdout) == (78, "")
    assert "hive_boot: 2 problems with HiveSecrets" in child.stderr
    assert "  1. JWT_SECRET is missing" in child.stderr
    assert "  2. Settings.port is not valid: Input should be a valid integer" in child.stderr
    assert "no-port-but-apples" not in child.stderr


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            "boot.run(backend=backend)",
            (
                "hive_boot: DeclarationError: Bootstrap(HiveSecrets) has no main: "
                "decorate an async def with @boot.main"
            ),
        ),
        (
            MAIN.format(parameters="pool: int", returns="None", body="print('main')"),
            (
                "hive_boot: DeclarationError: main() has a parameter 'pool' that nothing fills: "
                "annotate it with one of HiveSecrets, Bootstrap, or give it a default"
            ),
        ),
        (
            MAIN.format(
                parameters="", returns="None", body="raise LifecycleError('the author says so')"
            ),
            "hive_boot: LifecycleError: the author says so",
        ),
    ],
)
def test_a_mistake_in_the_code_is_one_line(body: str, line: str) -> None:
    """The author's mistake is named without a traceback of ours: 70."""
    child = run_main("asyncio", body)
    assert (child.returncode, child.stdout) == (70, "")
    assert child.stderr.splitlines()[-1] == line
    assert "Traceback" not in child.stderr


def test_a_wrong_declaration_is_found_before_anything_is_read() -> None:
    """Nothing is looked for when main cannot be called anyway."""
    body = MAIN.format(parameters="pool: int", returns="None", body="print('main')")
    child = run_main("asyncio", body, JWT_SECRET="")
    assert child.returncode == 70
    assert len(child.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_while_main_runs_stops_in_order(
    anyio_backend: str, number: signal.Signals
) -> None:
    """Main is cancelled, what it has to finish is finished, and the exit is a success."""
    source = WAITING.format(wait="await anyio.sleep_forever()")
    with started_child(source, anyio_backend, cwd=None, **ENVIRONMENT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        out, err = child.communicate()
    assert (child.returncode, out) == (0, "finally\n")
    assert "Traceback" not in err


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize(("check", "out"), [("wait", "finally\n"), ("block", "")])
def test_a_signal_while_loading_stops_in_order(
    anyio_backend: str, number: signal.Signals, check: str, out: str
) -> None:
    """A start can be broken off, also when a check hangs in a thread: main never runs, exit 0."""
    with started_child(
        CHECKING.format(check=check), anyio_backend, cwd=None, **ENVIRONMENT
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        told, err = child.communicate()
    assert (child.returncode, told) == (0, out)
    assert "Traceback" not in err
    assert "never awaited" not in err


@pytest.mark.parametrize("moment", ["before_the_loop", "in_main"])
def test_a_signal_is_never_lost(anyio_backend: str, moment: str) -> None:
    """A signal from before there is a loop, and one that main sends itself, stop it as well."""
    before = """
import anyio
run = anyio.run

def run_after_a_signal(*args, **kwargs):
    signal.raise_signal(signal.SIGTERM)
    return run(*args, **kwargs)

anyio.run = run_after_a_signal
"""
    body = MAIN.format(
        parameters="",
        returns="int",
        body="""
    signal.raise_signal(signal.SIGTERM)
    await anyio.sleep_forever()
""",
    )
    child = run_main(anyio_backend, (before if moment == "before_the_loop" else "") + body)
    assert (child.returncode, child.stdout) == (0, ""), child.stderr


def test_an_error_while_stopping_is_an_error(anyio_backend: str) -> None:
    """What fails in main's last steps is told, and the exit is no success: 70."""
    wait = "await anyio.sleep_forever()"
    source = WAITING.format(wait=wait).replace(
        'print("finally")', "raise RuntimeError('cannot flush')"
    )
    with started_child(source, anyio_backend, cwd=None, **ENVIRONMENT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate()
    assert child.returncode == 70
    assert "RuntimeError: cannot flush" in err


BLOCKS = {
    "sleep": "time.sleep(60)",
    "lock": "threading.Event().wait()",
    "python": "exec('while True: pass')",
}


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)],
)
def test_a_second_signal_ends_a_blocked_main_at_once(
    anyio_backend: str, block: str, first: signal.Signals, second: signal.Signals
) -> None:
    """Although the loop does not turn, the second signal ends the process: 128 + n."""
    source = WAITING.format(wait=BLOCKS[block])
    with started_child(source, anyio_backend, cwd=None, **ENVIRONMENT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(first)
        # A signal that comes just before main blocks finds its handler waiting for main:
        # so the second is sent until it is obeyed, as a person presses Ctrl-C.
        while child.poll() is None:
            child.send_signal(second)
            with suppress(subprocess.TimeoutExpired):
                child.wait(0.06)
        out, err = child.communicate()
    # Two signals that are pending together are delivered in the order of their numbers.
    assert child.returncode in {128 + first, 128 + second}
    assert out == ""
    assert "Traceback" not in err


@pytest.mark.parametrize("number", STOPS)
def test_the_same_signal_again_later_ends_a_blocked_main_at_once(
    anyio_backend: str, number: signal.Signals
) -> None:
    """A person who presses Ctrl-C once more is obeyed: 128 + n."""
    source = WAITING.format(wait="time.sleep(60)")
    with started_child(source, anyio_backend, cwd=None, **ENVIRONMENT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        while child.poll() is None:
            child.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                child.wait(0.06)
        out, _ = child.communicate()
    assert (child.returncode, out) == (128 + number, "")


def test_handlers_are_put_back(anyio_backend: str) -> None:
    """After a run the process reacts to signals as before, whoever catches the exit."""
    body = """
numbers = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
before = [*map(signal.getsignal, numbers)]

@boot.main
async def main() -> None:
    for number, handler in zip(numbers, before):
        assert signal.getsignal(number) is not handler

try:
    boot.run(backend=backend)
except SystemExit as exit:
    assert exit.code == 0
assert [*map(signal.getsignal, numbers)] == before
print("as before")
"""
    child = run_main(anyio_backend, body)
    assert child.stdout == "as before\n", child.stderr


def test_it_can_be_run_again_in_the_same_process(anyio_backend: str) -> None:
    """Each run is a fresh one, also after a failed one and after one that a signal ended."""
    body = """
import os
codes = []

@boot.main
async def main(secrets: HiveSecrets) -> int:
    if len(codes) == 1:
        signal.raise_signal(signal.SIGTERM)
        await anyio.sleep_forever()
    return len(codes)

for value in ("fake-too-short", os.environ["JWT_SECRET"], os.environ["JWT_SECRET"]):
    os.environ["JWT_SECRET"] = value
    try:
        boot.run(backend=backend)
    except SystemExit as exit:
        codes.append(exit.code)
print(codes)
"""
    child = run_main(anyio_backend, body)
    assert child.stdout == "[78, 0, 2]\n", child.stderr


def test_a_run_in_another_thread_leaves_the_signals_alone(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Python allows no handler it runs without one, and gives its exit code."""
    monkeypatch.setenv("JWT_SECRET", VALUE)

    class HiveSecrets(SecretSet):
        """What the application needs."""

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


FAILING = f"{DECLARED}\n{MAIN.format(parameters='', returns='None', body='print(1)')}"

RED = "\x1b[31m"


def on_a_terminal(**variables: str) -> str:
    """Let a start fail whose stderr is a terminal, and give what the terminal was sent."""
    master, slave = pty.openpty()
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", FAILING, "asyncio"],
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
    piped = run_child(FAILING, "asyncio", HIVE_BOOT_MODE="environment").stderr
    assert RED in coloured
    assert RED in empty
    assert "\x1b" not in refused + piped
    assert refused == piped


# The hang-up

RELOADING = (
    """
import os, sys
if os.environ.pop("UNDER_NOHUP", ""):
    os.execvp("nohup", ["nohup", *sys.orig_argv])
os.setsid()
if "WITH_A_TERMINAL" in os.environ:
    master, slave = os.openpty()
    # What a session without a terminal opens first becomes its controlling one.
    os.open(os.ttyname(slave), os.O_RDWR)
"""
    + HEAD
    + """
def wait(value):
    print("judging")
    while not os.path.exists("gate"):
        time.sleep(0.005)

class HiveSecrets(SecretSet):
    '''What the application needs.'''
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
)


@contextmanager
def reloading(
    backend: str, volume: MountedVolume, *said: str
) -> Iterator[tuple[subprocess.Popen[str], Callable[[], str]]]:
    """Run an application that tells what it rotates; give the process, and what reads a line."""
    publish(volume, 1)
    variables = dict.fromkeys(said, "yes")
    with started_child(
        RELOADING, backend, str(volume.path), cwd=volume.path.parent, **variables
    ) as child:
        assert child.stdout is not None
        yield child, child.stdout.readline


def publish(volume: MountedVolume, number: int) -> None:
    """Publish the value with a number."""
    volume.publish({"jwt_secret": f"{VALUE}-{number:03}"})


def stop(child: subprocess.Popen[str]) -> str:
    """Stop in order; give what was told meanwhile."""
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate()
    assert child.returncode == 0, err
    assert "Traceback" not in err
    return out


@pytest.mark.parametrize("said", [(), ("WATCHING",)])
def test_a_hang_up_reloads(anyio_backend: str, volume: MountedVolume, said: tuple[str]) -> None:
    """SIGHUP makes a daemon read its secrets, whether it watches them or not; it goes on."""
    with reloading(anyio_backend, volume, *said) as (child, line):
        assert line() == "ready\n"
        for number in (2, 3):
            publish(volume, number)
            child.send_signal(signal.SIGHUP)
            assert line() == f"{number} {number:03}\n"
        assert stop(child) == "finally\n"


def test_a_hang_up_while_it_starts_is_obeyed_when_it_has(
    anyio_backend: str, volume: MountedVolume
) -> None:
    """A reload that was asked for early is not lost: it takes place right after the start."""
    with reloading(anyio_backend, volume, "AT_A_GATE") as (child, line):
        assert line() == "judging\n"
        publish(volume, 2)
        child.send_signal(signal.SIGHUP)
        (volume.path.parent / "gate").touch()
        told = [line() for _ in range(3)]
        assert sorted(told) == ["2 002\n", "judging\n", "ready\n"]
        assert stop(child) == "finally\n"


@pytest.mark.parametrize("said", [(), ("WATCHING",)])
def test_many_hang_ups_are_harmless(
    anyio_backend: str, volume: MountedVolume, said: tuple[str]
) -> None:
    """Fifty in a row stop nothing, and are one reload or a few: each change is told of once."""
    with reloading(anyio_backend, volume, *said) as (child, line):
        assert line() == "ready\n"
        for _ in range(50):
            child.send_signal(signal.SIGHUP)
        publish(volume, 2)
        for _ in range(50):
            child.send_signal(signal.SIGHUP)
        assert line() == "2 002\n"
        assert stop(child) == "finally\n"


def test_a_hang_up_while_it_stops_changes_nothing(
    anyio_backend: str, volume: MountedVolume
) -> None:
    """A daemon that is stopping finishes what it does, and its end is a success."""
    with reloading(anyio_backend, volume, "HUNG_UP_AT_THE_END") as (child, line):
        assert line() == "ready\n"
        assert stop(child) == "finally\n"


def test_a_bad_set_survives_a_hang_up(anyio_backend: str, volume: MountedVolume) -> None:
    """What cannot be taken up is told in the log, and the service goes on as it was."""
    with reloading(anyio_backend, volume) as (child, line):
        assert line() == "ready\n"
        volume.publish({})
        child.send_signal(signal.SIGHUP)
        assert child.stderr is not None
        assert any("Rotation refused, generation 1 stays in use" in told for told in child.stderr)
        publish(volume, 2)
        child.send_signal(signal.SIGHUP)
        assert line() == "2 002\n"
        assert stop(child) == "finally\n"


def test_the_end_of_the_terminal_stops_in_order(anyio_backend: str, volume: MountedVolume) -> None:
    """Who closes the window of a service stops it, like who presses Ctrl-C: exit 0."""
    with reloading(anyio_backend, volume, "WITH_A_TERMINAL") as (child, line):
        assert line() == "ready\n"
        child.send_signal(signal.SIGHUP)
        out, err = child.communicate()
    assert (child.returncode, out) == (0, "finally\n")
    assert "Traceback" not in err


@pytest.mark.parametrize("said", [(), ("WITH_A_TERMINAL",)])
def test_nohup_is_respected(anyio_backend: str, volume: MountedVolume, said: tuple[str]) -> None:
    """What was started to survive its terminal is neither stopped nor reloaded by its end."""
    with reloading(anyio_backend, volume, "UNDER_NOHUP", *said) as (child, line):
        assert line() == "ready\n"
        publish(volume, 2)
        for _ in range(3):
            child.send_signal(signal.SIGHUP)
        assert stop(child) == "finally\n"


def test_a_signal_that_another_thread_takes_stops_in_order(anyio_backend: str) -> None:
    """The kernel may hand a signal to any thread, while the loop waits and runs no handler."""
    body = MAIN.format(
        parameters="",
        returns="None",
        body="""
    def take():
        time.sleep(0.1)   # until the loop waits
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        threading.Event().wait()
    threading.Thread(target=take, daemon=True).start()
    await anyio.sleep_forever()
""",
    )
    source = f"import anyio, signal, threading, time\n{DECLARED}\n{body}"
    child = run_child(source, anyio_backend, cwd=None, **ENVIRONMENT)
    assert (child.returncode, child.stdout) == (0, "")
    assert "Traceback" not in child.stderr
