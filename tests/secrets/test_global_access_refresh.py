"""The standalone store: which options it uses, and how it follows changed sources."""

import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from urllib.request import urlopen

import pytest

from hive_boot import (
    Bootstrap,
    DeclarationError,
    Secret,
    SecretBytes,
    SecretSet,
    SourceError,
    get_secret,
    has_secret,
    require_secret,
    secret,
)
from hive_boot import secrets as applications
from hive_boot._timings import DEFAULTS
from hive_boot.exceptions import MissingSecretError
from hive_boot.secrets import loader
from hive_boot.secrets.global_access import StandaloneStore
from hive_boot.secrets.loader import load
from hive_boot.secrets.sources.directories import ReadPolicy
from hive_boot.testing import MountedVolume
from tests.fixtures.cases import case, empty_machines
from tests.support import SETTLED, as_ordinary_user, run_child, started_child, wait_until

FAKE = "fake-jwt-secret-0123456789-0123456789"
OTHER = "fake-other-secret-9876543210-9876543210"
THIRD = "fake-third-secret-5555555555-5555555555"

WAITS = 20
"""Timeout of a waiting test, in seconds."""


class Clock:
    """A monotonic clock that a test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def advance(self) -> None:
        """Advance to the next refresh."""
        self.now += DEFAULTS.refresh_interval


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Install a standalone store whose clock the test advances, and let new files be settled."""
    clock = Clock()
    monkeypatch.setattr(loader, "load", partial(load, policy=SETTLED))
    monkeypatch.setattr(applications, "standalone_store", StandaloneStore(clock=clock))
    return clock


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Configure an empty directory of secrets."""
    directory = tmp_path / "named"
    directory.mkdir()
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(directory))
    return directory


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that gets an entry for each read of the sources."""
    reads: list[object] = []
    before = vars(loader)["load"]

    def counted(*args: object, **more: object) -> object:
        reads.append(args)
        return before(*args, **more)

    monkeypatch.setattr(loader, "load", counted)
    return reads


# Refreshes


def test_a_new_value_is_used_when_two_refreshes_agree(named: Path, clock: Clock) -> None:
    """The known value is served until then, and at most one refresh happens in a second."""
    (named / "jwt_secret").write_text(FAKE)
    assert get_secret("JWT_SECRET") == FAKE
    (named / "jwt_secret").write_text(OTHER)
    clock.now += DEFAULTS.refresh_interval - 0.001
    assert get_secret("JWT_SECRET") == FAKE  # not due
    clock.advance()
    assert get_secret("JWT_SECRET") == FAKE  # seen once
    assert get_secret("JWT_SECRET") == FAKE  # not due
    clock.advance()
    assert get_secret("JWT_SECRET") == require_secret("JWT_SECRET") == OTHER


def test_a_value_that_changes_at_each_refresh_is_not_used(named: Path, clock: Clock) -> None:
    """A file that is being written looks different each time."""
    (named / "jwt_secret").write_text(FAKE)
    assert get_secret("JWT_SECRET") == FAKE
    for content in (OTHER[:9], OTHER[:19], OTHER[:29], OTHER):
        (named / "jwt_secret").write_text(content)
        clock.advance()
        assert get_secret("JWT_SECRET") == FAKE
    clock.advance()
    assert get_secret("JWT_SECRET") == OTHER


def test_a_value_that_came_back_is_not_a_change(named: Path, clock: Clock) -> None:
    """Two equal refreshes with the old value between them do not agree."""
    for step in (FAKE, OTHER, FAKE, OTHER, FAKE):
        (named / "jwt_secret").write_text(step)
        clock.advance()
        assert get_secret("JWT_SECRET") == FAKE


def test_a_name_is_read_at_most_once_in_a_second(
    named: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is known of it: a value, its absence or a problem."""
    (named / "jwt_secret").write_text(FAKE)
    (named / "broken").write_bytes(b"fake-\xff-0123456789")
    reads = count_reads(monkeypatch)
    for name in ("JWT_SECRET", "SENTRY_DSN", "BROKEN"):
        with case(name):
            del reads[:]
            for second in range(1, 5):
                for _ in range(100):
                    try:
                        has_secret(name)
                    except SourceError as exc:
                        assert exc.problem.kind == "not-utf-8"  # noqa: PT017
                assert len(reads) == second
                clock.advance()


def test_a_refresh_does_not_wait_for_a_writer(
    named: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A young file is read at once: the second refresh replaces the waiting."""
    (named / "jwt_secret").write_text(FAKE)
    assert get_secret("JWT_SECRET") == FAKE

    def sleep(seconds: float) -> None:
        pytest.fail(f"a refresh waited for {seconds} s")

    monkeypatch.setattr(loader, "load", load)
    monkeypatch.setitem(ReadPolicy.field_defaults, "sleep", sleep)
    changes: list[Callable[[], object]] = [
        lambda: (named / "jwt_secret").write_text(OTHER),
        lambda: (named / "jwt_secret").chmod(0),
        (named / "jwt_secret").unlink,
        lambda: (named / "jwt_secret").symlink_to("nowhere"),
        lambda: (named / "..data").symlink_to("nowhere"),
    ]
    for change in changes:
        change()
        clock.advance()
        assert has_secret("JWT_SECRET")


def test_every_source_is_followed(tmp_path: Path, clock: Clock) -> None:
    """A kubelet volume, a plain directory, .env, NAME_FILE, and a variable."""
    monkeypatch: pytest.MonkeyPatch

    def volume(root: Path) -> Callable[[str], object]:
        published = MountedVolume(root / "volume")
        published.publish({"jwt_secret": FAKE})
        monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(root / "volume"))
        return lambda value: published.publish({"jwt_secret": value})

    def plain(root: Path) -> Callable[[str], object]:
        (root / "plain").mkdir()
        monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(root / "plain"))
        return (root / "plain/jwt_secret").write_text

    def dotenv(root: Path) -> Callable[[str], object]:
        monkeypatch.chdir(root / "cwd")
        return lambda value: Path(".env").write_text(f"JWT_SECRET={value}\n", "utf-8")

    def pointer(root: Path) -> Callable[[str], object]:
        monkeypatch.setenv("JWT_SECRET_FILE", str(root / "pointed"))
        return (root / "pointed").write_text

    def variable(_: Path) -> Callable[[str], object]:
        return lambda value: monkeypatch.setenv("JWT_SECRET", value)

    machines = empty_machines(tmp_path)
    for source in (volume, plain, dotenv, pointer, variable):
        with case(source.__name__), pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setenv("HIVE_BOOT_MODE", "development")
            if source in (volume, plain):
                monkeypatch.setenv("HIVE_BOOT_MODE", "docker")
            monkeypatch.setattr(applications, "standalone_store", StandaloneStore(clock=clock))
            publish = source(next(machines))
            publish(FAKE)
            assert get_secret("JWT_SECRET") == FAKE
            publish(OTHER)
            for _ in range(2):
                clock.advance()
                assert has_secret("JWT_SECRET")
            assert get_secret("JWT_SECRET") == OTHER


def test_absence_and_problems_keep_the_value_and_warn_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing or unusable file is named in one warning; a later one has a warning of its own."""
    machines = empty_machines(tmp_path)

    def directory(file: Path) -> None:
        file.unlink()
        file.mkdir()

    def fifo(file: Path) -> None:
        file.unlink()
        os.mkfifo(file)

    def without_the_directory(file: Path) -> None:
        file.unlink()
        file.parent.rmdir()

    troubles: list[Callable[[Path], object]] = [
        Path.unlink,
        lambda file: file.write_text(""),
        lambda file: file.write_bytes(b"fake-\xff-0123456789"),
        lambda file: file.write_bytes(b"fake-\0-0123456789"),
        lambda file: file.write_bytes(b"f" * ((1 << 20) + 1)),
        directory,
        fifo,
        without_the_directory,
    ]
    for number, trouble in enumerate(troubles):
        with case(number), pytest.MonkeyPatch.context() as monkeypatch:
            named = next(machines) / "named"
            named.mkdir()
            file = named / "jwt_secret"
            file.write_text(FAKE)
            monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(named))
            monkeypatch.setattr(applications, "standalone_store", StandaloneStore(clock=clock))
            assert get_secret("JWT_SECRET") == FAKE
            caplog.clear()
            trouble(file)
            for _ in range(5):
                clock.advance()
                assert get_secret("JWT_SECRET") == FAKE
            (record,) = caplog.records
            assert (record.levelno, record.name) == (logging.WARNING, "hive_boot")
            assert "JWT_SECRET" in record.getMessage()
            assert "fake-" not in record.getMessage()


def test_the_warning_is_repeated_after_a_recovery(
    named: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """After the same or a new value, the next failure is logged again."""
    file = named / "jwt_secret"
    file.write_text(FAKE)
    assert get_secret("JWT_SECRET") == FAKE
    for number, value in enumerate((FAKE, OTHER), 1):
        file.unlink()
        for _ in range(3):
            clock.advance()
            assert get_secret("JWT_SECRET") == FAKE
        file.write_text(value)
        for _ in range(3):
            clock.advance()
            assert has_secret("JWT_SECRET")
        assert get_secret("JWT_SECRET") == value
        assert len(caplog.records) == number


def test_a_file_that_is_gone_for_a_moment_is_not_warned_of(
    named: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """One refresh may come between the unlink and the rename of a writer."""
    file = named / "jwt_secret"
    file.write_text(FAKE)
    assert get_secret("JWT_SECRET") == FAKE
    file.unlink()
    clock.advance()
    assert get_secret("JWT_SECRET") == FAKE
    file.write_text(FAKE)
    clock.advance()
    assert get_secret("JWT_SECRET") == FAKE
    assert caplog.records == []


def test_an_absent_or_unusable_secret_is_found_later(named: Path, clock: Clock) -> None:
    """Before the first value, absence and the problem are answered until two refreshes agree."""
    (named / "broken").write_bytes(b"fake-\xff-0123456789")
    assert get_secret("SENTRY_DSN") is None
    with pytest.raises(SourceError):
        get_secret("BROKEN")
    (named / "sentry_dsn").write_text(FAKE)
    (named / "broken").write_text(OTHER)
    clock.advance()
    assert not has_secret("SENTRY_DSN")
    with pytest.raises(SourceError):
        get_secret("BROKEN")
    clock.advance()
    assert get_secret("SENTRY_DSN") == FAKE
    assert get_secret("BROKEN") == OTHER


def test_an_absent_secret_may_become_a_problem(named: Path, clock: Clock) -> None:
    """A file that cannot be used, and that never could, is not absence."""
    assert get_secret("SENTRY_DSN") is None
    (named / "sentry_dsn").write_bytes(b"fake-\xff-0123456789")
    clock.advance()
    assert get_secret("SENTRY_DSN") is None
    clock.advance()
    with pytest.raises(SourceError):
        get_secret("SENTRY_DSN")


def test_a_variable_beside_a_mount_causes_no_read(
    named: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a mode that reads variables reads one that was just set, and at once."""
    del clock, named
    reads = count_reads(monkeypatch)
    monkeypatch.setenv("HIVE_BOOT_ENV_FALLBACK", "0")
    assert get_secret("SENTRY_DSN") is None
    monkeypatch.setenv("SENTRY_DSN", "")
    assert get_secret("SENTRY_DSN") is None
    assert get_secret("SENTRY_DSN") is None
    assert len(reads) == 1


def test_an_error_of_a_refresh_keeps_the_value(
    named: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller of a known value gets it, whatever fails; the next refresh comes a second later."""
    (named / "jwt_secret").write_text(FAKE)
    assert get_secret("JWT_SECRET") == FAKE
    tried = []

    def fail(*_: object, **__: object) -> None:
        tried.append(1)
        raise MemoryError

    monkeypatch.setattr(loader, "load", fail)
    clock.advance()
    for _ in range(3):
        assert get_secret("JWT_SECRET") == FAKE
    assert len(tried) == 1


def test_a_directory_that_is_replaced_during_each_read_is_read_later(
    named: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A writer is at work: the next refresh will see what it has written."""
    (named / "jwt_secret").write_text(FAKE)
    assert get_secret("JWT_SECRET") == FAKE
    real = os.fstat

    def replaced(fd: int) -> os.stat_result:
        if os.path.realpath(f"/proc/self/fd/{fd}") == str(named):
            named.rename(named.with_name("gone"))
            named.mkdir()
            (named / "jwt_secret").write_text(OTHER)
            shutil.rmtree(named.with_name("gone"))
        return real(fd)

    with monkeypatch.context() as busy:
        busy.setattr(os, "fstat", replaced)
        for _ in range(3):
            clock.advance()
            assert get_secret("JWT_SECRET") == FAKE
    assert caplog.records == []
    for _ in range(2):
        clock.advance()
        assert has_secret("JWT_SECRET")
    assert get_secret("JWT_SECRET") == OTHER


def test_a_removed_working_directory_keeps_the_value(
    named: Path, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files with absolute paths are still followed."""
    (named / "jwt_secret").write_text(FAKE)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    assert get_secret("JWT_SECRET") == FAKE
    gone.rmdir()
    (named / "jwt_secret").write_text(OTHER)
    for _ in range(2):
        clock.advance()
        assert has_secret("JWT_SECRET")
    assert get_secret("JWT_SECRET") == OTHER


# Threads, signals, forks


def test_one_thread_refreshes_and_no_other_one_waits(
    named: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a refresh hangs in a file system, other threads get the known value."""
    (named / "jwt_secret").write_text(FAKE)
    assert get_secret("JWT_SECRET") == FAKE
    hangs, go_on = threading.Event(), threading.Event()
    reads: list[object] = []

    def slow(*args: object, **more: object) -> object:
        reads.append(args)
        hangs.set()
        assert go_on.wait(WAITS)
        return load(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(loader, "load", slow)
    clock.advance()
    thread = threading.Thread(target=get_secret, args=("JWT_SECRET",), daemon=True)
    thread.start()
    try:
        assert hangs.wait(WAITS)
        for _ in range(3):
            clock.advance()
            assert get_secret("JWT_SECRET") == FAKE
    finally:
        go_on.set()
        thread.join(WAITS)
    assert len(reads) == 1


def test_a_thread_that_comes_second_does_not_confirm(named: Path, clock: Clock) -> None:
    """It compared the clock before the first one had finished: a second has not passed."""
    (named / "jwt_secret").write_text(FAKE)
    assert get_secret("JWT_SECRET") == FAKE
    (named / "jwt_secret").write_text(OTHER)
    store = applications.standalone_store
    assert store is not None
    known = store._known["JWT_SECRET"]  # noqa: SLF001
    clock.advance()
    for _ in range(2):
        store._refresh(known)  # noqa: SLF001
    assert get_secret("JWT_SECRET") == FAKE


def test_a_signal_handler_during_a_refresh_gets_the_known_value(
    named: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It interrupts the thread that refreshes."""
    (named / "jwt_secret").write_text(FAKE)
    assert get_secret("JWT_SECRET") == FAKE
    seen: list[str | None] = []

    def handle(_number: int, _frame: FrameType | None) -> None:
        seen.append(get_secret("JWT_SECRET"))

    def interrupted(*args: object, **more: object) -> object:
        signal.raise_signal(signal.SIGUSR1)
        return load(*args, **more)  # type: ignore[arg-type]

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        monkeypatch.setattr(loader, "load", interrupted)
        clock.advance()
        assert get_secret("JWT_SECRET") == FAKE
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [FAKE]


_FORK = """
import os, threading
from pathlib import Path
from hive_boot import get_secret
from hive_boot import secrets as applications
from hive_boot.secrets.global_access import StandaloneStore

now = [0.0]
store = applications.standalone_store = StandaloneStore(clock=lambda: now[0])
file = Path(os.environ["HIVE_BOOT_SECRETS_DIR"], "jwt_secret")
assert get_secret("JWT_SECRET") == "fake-before-the-fork"
held, go_on = threading.Event(), threading.Event()

def hold():
    with applications.creation_lock, applications.load_lock, store._lock:
        with store._known["JWT_SECRET"].lock:
            held.set()
            go_on.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
if child := os.fork():
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    go_on.set()
else:
    file.unlink()
    for _ in range(3):
        now[0] += 1
        assert get_secret("JWT_SECRET") == "fake-before-the-fork"
    file.write_text("fake-after-the-fork")
    for _ in range(2):
        now[0] += 1
        get_secret("JWT_SECRET")
    assert get_secret("JWT_SECRET") == "fake-after-the-fork"
    assert get_secret("SENTRY_DSN") is None
    with applications.creation_lock, applications.load_lock:
        os._exit(7)
"""


def test_a_forked_child_keeps_its_values_and_follows_changes(named: Path) -> None:
    """Locks that another thread held at the fork do not stop it."""
    (named / "jwt_secret").write_text("fake-before-the-fork")
    done = run_child(_FORK)
    assert (done.stdout, done.returncode) == ("7\n", 0), done.stderr


# The options of the only declared application


class Hive(SecretSet):
    """What the tests declare."""

    jwt_secret: Secret = secret(file="keys/jwt", min_length=12, previous="JWT_SECRET_PREVIOUS")
    tls_key: SecretBytes | None
    demo: Secret = secret(dev_default="fake-demo-default")


def test_the_options_of_the_only_bootstrap_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each option that selects sources, before any start."""
    (tmp_path / "mounted/keys").mkdir(parents=True)
    (tmp_path / "mounted/keys/jwt").write_text(FAKE)
    (tmp_path / "own.env").write_text(f"JWT_SECRET={OTHER}\n")
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "production")
    boot = Bootstrap(Hive, secrets_dirs=tmp_path / "mounted")
    assert get_secret("JWT_SECRET") == FAKE
    assert get_secret("DEMO") is None
    del boot
    boot = Bootstrap(Hive, mode="development", profile="development", env_file=tmp_path / "own.env")
    assert get_secret("JWT_SECRET") == OTHER
    assert get_secret("DEMO") == "fake-demo-default"
    del boot
    monkeypatch.setenv("JWT_SECRET", THIRD)
    boot = Bootstrap(Hive, mode="environment")
    assert require_secret("JWT_SECRET") == THIRD
    del boot
    (tmp_path / "empty").mkdir()
    boot = Bootstrap(Hive, secrets_dirs=tmp_path / "empty", env_fallback=True)
    assert require_secret("JWT_SECRET") == THIRD
    assert get_secret("STRIPE_SECRET_KEY") is None  # not declared, and looked up all the same
    del boot


def test_the_declaration_of_the_only_bootstrap_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its constraints apply, a required secret may be absent, and SecretBytes are refused."""
    boot = Bootstrap(Hive, mode="environment", profile="production")
    assert get_secret("JWT_SECRET") is None
    assert get_secret("JWT_SECRET_PREVIOUS") is None
    with pytest.raises(MissingSecretError):
        require_secret("DEMO")
    with pytest.raises(DeclarationError, match=r"boot\.secrets\.tls_key"):
        get_secret("TLS_KEY")
    monkeypatch.setenv("JWT_SECRET", "fake-short")
    with pytest.raises(SourceError) as caught:
        get_secret("JWT_SECRET")
    assert caught.value.problem.kind == "length"
    del boot


def test_the_options_of_two_declared_applications_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several, the defaults are used; with one left, a new store uses its options."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    monkeypatch.setenv("JWT_SECRET", THIRD)
    (tmp_path / "jwt_secret").write_text(FAKE)
    one = Bootstrap(Hive, mode="environment")
    two = Bootstrap(SecretSet, mode="docker", secrets_dirs=tmp_path)
    assert get_secret("JWT_SECRET") == THIRD
    del one, two
    only = Bootstrap(SecretSet, mode="docker", secrets_dirs=tmp_path)
    assert get_secret("JWT_SECRET") == FAKE
    del only


# Real programs


_SERVER = """
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from hive_boot import get_secret

class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

class Quiet(WSGIRequestHandler):
    def log_message(self, *args): pass

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [(get_secret("JWT_SECRET") or "absent").encode()]

server = make_server("127.0.0.1", 0, application, Server, Quiet)
print(server.server_port, flush=True)
server.serve_forever()
"""


def test_a_synchronous_server_sees_rotations(named: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A WSGI application with threads, as under Flask or Django, and a kubelet that writes."""
    volume = MountedVolume(named / "volume")
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(named / "volume"))
    volume.publish({"jwt_secret": FAKE})
    with started_child(_SERVER) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())

        def served() -> str:
            with urlopen(f"http://127.0.0.1:{port}", timeout=WAITS) as response:
                text: str = response.read().decode()
                return text

        assert served() == FAKE
        volume.publish({"jwt_secret": OTHER})
        wait_until(lambda: served() == OTHER)
        volume.publish({})
        with started_child(_SERVER) as new:
            assert new.stdout is not None
            port, before = int(new.stdout.readline()), port
            assert served() == "absent"
        port = before
        assert served() == OTHER


def test_a_log_handler_may_ask_for_a_secret(
    named: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It gets the known value while the warning about this secret is logged."""
    (named / "jwt_secret").write_text(FAKE)
    assert get_secret("JWT_SECRET") == FAKE
    seen: list[str | None] = []

    class Asking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            del record
            seen.append(get_secret("JWT_SECRET"))

    handler = Asking()
    logging.getLogger("hive_boot").addHandler(handler)
    try:
        (named / "jwt_secret").unlink()
        for _ in range(3):
            clock.advance()
            assert get_secret("JWT_SECRET") == FAKE
    finally:
        logging.getLogger("hive_boot").removeHandler(handler)
    assert seen == [FAKE]
    assert len(caplog.records) == 1


def test_a_lost_permission_keeps_the_value(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that has given up its privileges continues with what it has read before."""
    with as_ordinary_user() as parent:
        directory = parent / "named"
        directory.mkdir()
        file = directory / "jwt_secret"
        file.write_text(FAKE)
        monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(directory))
        assert get_secret("JWT_SECRET") == FAKE
        for locked in (file, directory):
            mode = locked.stat().st_mode
            locked.chmod(0)
            for _ in range(3):
                clock.advance()
                assert get_secret("JWT_SECRET") == FAKE
            locked.chmod(mode)
            clock.advance()
            assert get_secret("JWT_SECRET") == FAKE
        assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


_EXHAUSTED = """
import os, resource
from hive_boot import get_secret
from hive_boot import secrets as applications
from hive_boot.secrets.global_access import StandaloneStore

now = [0.0]
applications.standalone_store = StandaloneStore(clock=lambda: now[0])
assert get_secret("JWT_SECRET") == "fake-before-0123456789"
highest = os.open("/dev/null", os.O_RDONLY)
os.close(highest)
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (highest, limits[1]))
for _ in range(3):
    now[0] += 1
    assert get_secret("JWT_SECRET") == "fake-before-0123456789"
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
now[0] += 1
assert get_secret("JWT_SECRET") == "fake-before-0123456789"
print("survived")
"""


def test_exhausted_descriptors_keep_the_value(named: Path) -> None:
    """Nothing can be opened for a while."""
    (named / "jwt_secret").write_text("fake-before-0123456789")
    done = run_child(_EXHAUSTED)
    assert done.stdout == "survived\n", done.stderr
    assert "fake-" not in done.stderr
