"""Regressions: declarations, locations, and texts that contained a value."""

import threading
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from hive_boot import (
    Bootstrap,
    DeclarationError,
    Secret,
    SecretBytes,
    SecretSet,
    get_secret,
    mask_secret,
    secret,
)
from hive_boot.redaction.registry import scrub
from hive_boot.secrets import fix_hints
from hive_boot.secrets.fields import undeclared_field
from hive_boot.secrets.loader import load
from hive_boot.secrets.sources.directories import ReadPolicy
from hive_boot.testing import MountedVolume
from tests.fixtures.cases import case, empty_machines
from tests.support import (
    FakeClock,
    as_ordinary_user,
    everything_told,
    look,
    report_of,
    run_child,
    values_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FAKE = "fake-jwt-secret-0123456789-0123456789"

OTHER = "fake-other-secret-9876543210-9876543210"

HANGS = 20
"""Timeout of each wait, in seconds."""


class Two(SecretSet):
    """A required and an optional secret."""

    jwt_secret: Secret
    sentry_dsn: Secret | None


class Optional(SecretSet):
    """An optional secret."""

    sentry_dsn: Secret | None


# Declarations


class Annotated:
    """A mixin that annotates a secret."""

    api_key: Secret


class Quoted:
    """A mixin that annotates a secret with a string."""

    api_key: "Secret | None"


class Bytes:
    """A mixin that annotates secret bytes."""

    api_key: SecretBytes


class Specified:
    """A mixin that specifies a secret and has no annotation."""

    api_key = secret()


class Full:
    """A mixin that annotates and specifies a secret."""

    api_key: Secret = secret(min_length=32)


class Above(Full):
    """A mixin that inherits a secret from another one."""


def test_a_secret_of_a_plain_mixin_is_refused() -> None:
    """A secret in a mixin would be ignored, so it is an error that names the mixin."""
    cases: list[tuple[type, str]] = [
        (Annotated, "Annotated"),
        (Quoted, "Quoted"),
        (Bytes, "Bytes"),
        (Specified, "Specified"),
        (Full, "Full"),
        (Above, "Full"),
    ]
    for mixin, blamed in cases:
        for first in (True, False):
            with case(mixin, blamed, first):
                bases = (mixin, SecretSet) if first else (SecretSet, mixin)
                with pytest.raises(DeclarationError, match=rf"\b{blamed}\b"):
                    type("Mixed", bases, {"__module__": __name__})


def test_a_plain_mixin_without_secrets_is_welcome() -> None:
    """A mixin with methods and other annotations is not part of the declaration."""

    class Helpful:
        """A mixin with a method and an attribute."""

        port: int = 3000

        def doubled(self) -> int:
            """Return the doubled port."""
            return 2 * self.port

    class Mixed(Helpful, SecretSet):
        """A set with one secret and the mixin."""

        api_key: Secret

    assert list(Mixed._field_index.fields) == ["api_key"]
    assert Mixed(api_key=Secret("API_KEY", FAKE)).doubled() == 6000


class Base(SecretSet):
    """The base of a diamond."""

    jwt: Secret | None


class Strict(Base):
    """A base that makes the secret required."""

    jwt: Secret = secret(min_length=32)


class Further(Base):
    """A base that adds a secret."""

    api_key: Secret


class Diamond(Further, Strict):
    """A set with both bases."""


def test_a_diamond_follows_the_order_of_its_bases(tmp_path: Path) -> None:
    """A secret that one base makes required stays required if another base only inherits it."""
    fields = Diamond._field_index.fields
    assert set(fields) == {"jwt", "api_key"}
    assert (fields["jwt"].required, fields["jwt"].min_length) == (True, 32)

    absent = look(Diamond, tmp_path, {"API_KEY": OTHER}, mode="environment")
    assert [(each.name, each.kind) for each in absent.problems] == [("JWT", "missing")]
    short = look(Diamond, tmp_path, {"API_KEY": OTHER, "JWT": "fake-short"}, mode="environment")
    assert [(each.name, each.kind) for each in short.problems] == [("JWT", "length")]


# Locations


def freshened(directory: Path) -> FakeClock:
    """Change the directory, and return a clock by which only its files are settled."""
    settled = max(path.stat().st_ctime for path in directory.iterdir())
    while directory.stat().st_ctime < settled + 0.02:
        time.sleep(0.005)
        (directory / "passing").write_text("")
        (directory / "passing").unlink()
    middle = (settled + directory.stat().st_ctime) / 2
    return FakeClock(middle + ReadPolicy().settled_age)


def test_a_complete_fresh_directory_is_not_waited_for(tmp_path: Path) -> None:
    """If every secret is in a fresh directory with settled files, the read does not wait."""
    directory = tmp_path / "run/secrets"
    directory.mkdir(parents=True)
    (directory / "jwt_secret").write_text(FAKE)
    (directory / "sentry_dsn").write_text(OTHER)
    clock = freshened(directory)
    loaded = look(Two, tmp_path, policy=clock.policy())
    assert values_of(loaded) == {"jwt_secret": FAKE, "sentry_dsn": OTHER}
    assert clock.slept == []


def test_a_volume_that_may_not_be_read_is_named_if_a_secret_is_missing() -> None:
    """An unreadable mount is named in the report if a required secret is missing."""
    for declared in (Two, Optional):
        for host in ("", "10.0.0.1"):
            with case(declared, host):
                with as_ordinary_user() as root:
                    volume = root / "run/secrets/app"
                    MountedVolume(volume).publish({"jwt_secret": FAKE, "sentry_dsn": OTHER})
                    volume.chmod(0o000)
                    try:
                        environ = {"KUBERNETES_SERVICE_HOST": host} if host else {}
                        loaded = look(declared, root, environ, policy=FakeClock().policy())
                    finally:
                        volume.chmod(0o700)
                report = report_of(loaded)
                assert (str(volume) in report) is (declared is Two), report
                assert [each.kind for each in loaded.problems] == ["missing"] * (declared is Two)


def test_bytes_of_a_dotenv_file_are_utf_8_in_any_locale(tmp_path: Path) -> None:
    """The bytes of a value in a .env are UTF-8, also in a container without a locale."""
    text = "fäke-schlüssel-0123456789"
    (tmp_path / ".env").write_text(f"KEY={text}\n", encoding="utf-8")
    source = """
import anyio
from hive_boot import Bootstrap, SecretBytes, SecretSet

class Keys(SecretSet):
    key: SecretBytes

async def main():
    async with Bootstrap(Keys).running() as keys:
        print(keys.key.reveal().hex())

anyio.run(main)
"""
    child = run_child(
        source,
        cwd=tmp_path,
        HIVE_BOOT_MODE="development",
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    )
    assert child.stdout.strip() == text.encode().hex(), child.stderr


# Without an application


@pytest.fixture
def plain_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a script on a platform that injects variables, one of which is a secret."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    monkeypatch.setenv("KNOWN", FAKE)


@pytest.mark.usefixtures("plain_process")
def test_a_known_value_does_not_wait_for_a_slow_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one thread waits for the writer of a file, another one gets a value that is known."""
    fresh = tmp_path / "fresh"
    fresh.write_text(OTHER)
    monkeypatch.setenv("SLOW_FILE", str(fresh))
    waits, go_on, clock = threading.Event(), threading.Event(), FakeClock()

    def sleep(seconds: float) -> None:
        waits.set()
        assert go_on.wait(HANGS)
        clock.now += seconds

    policy = ReadPolicy(wall=time.time, monotonic=lambda: clock.now, sleep=sleep)
    monkeypatch.setattr("hive_boot.secrets.loader.load", partial(load, policy=policy))
    assert get_secret("KNOWN") == FAKE
    order: list[str | None] = []
    slow = threading.Thread(target=lambda: order.append(get_secret("SLOW")), daemon=True)
    quick = threading.Thread(target=lambda: order.append(get_secret("KNOWN")), daemon=True)
    slow.start()
    try:
        assert waits.wait(HANGS)
        quick.start()
        quick.join(3)
        assert order == [FAKE]
    finally:
        go_on.set()
        slow.join(HANGS)
        quick.join(HANGS)
    assert order == [FAKE, OTHER]


def test_a_signal_handler_may_ask_for_a_secret(tmp_path: Path) -> None:
    """A signal handler that calls ``get_secret`` while the main thread is in it does not hang."""
    # The sleep is the wait for the writer of a file just written: the signal comes within it.
    source = """
import faulthandler, os, signal, sys, time

faulthandler.dump_traceback_later(40, exit=True)
really_sleep = time.sleep
armed, got = [], []

def handle(number, frame):
    got.append(get_secret(asked))

def sleep(seconds):
    if not armed:
        armed.append(True)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while not got:
            really_sleep(0.01)
    really_sleep(seconds)

time.sleep = sleep
from hive_boot import get_secret

signal.signal(signal.SIGALRM, handle)
get_secret("KNOWN")
for slow, asked in (("S1", "KNOWN"), ("S2", "S2"), ("S3", "ABSENT"), ("S4", "OTHER")):
    path = os.path.join(sys.argv[1], slow)
    with open(path, "w") as file:
        file.write(slow)
    os.environ[f"{slow}_FILE"] = path
    armed.clear()
    got.clear()
    value = get_secret(slow)
    assert armed, "nothing was waited for"
    print(asked, got[0], value)
"""
    child = run_child(
        source, str(tmp_path), HIVE_BOOT_MODE="environment", KNOWN=FAKE, OTHER="fake-third"
    )
    expected = [f"KNOWN {FAKE} S1", "S2 S2 S2", "ABSENT None S3", "OTHER fake-third S4"]
    assert child.stdout.splitlines() == expected, child.stderr


# Texts that contained a value


@pytest.mark.anyio
async def test_a_value_in_the_place_of_a_name_is_in_no_chain() -> None:
    """A value that is passed as a name is in no part of the error or of its chain."""
    for ending in ("/+", "\n", "=="):
        with pytest.MonkeyPatch.context() as monkeypatch, case(ending):
            monkeypatch.setenv("JWT_SECRET", FAKE)
            async with Bootstrap(Two, mode="environment").running():
                with pytest.raises(DeclarationError) as caught:
                    get_secret(FAKE + ending)
            exc = caught.value
            chained = [exc.__cause__, exc.__context__]
            assert FAKE not in "".join(f"{link!r} {link}" for link in chained)
            assert FAKE not in "".join(traceback.format_exception(exc))


def test_a_secret_gives_no_state_away() -> None:
    """``__getstate__`` of a secret raises an error without the value."""
    cases: list[Secret | SecretBytes] = [
        Secret("JWT_SECRET", FAKE),
        SecretBytes("TLS_KEY", FAKE.encode()),
    ]
    for sealed in cases:
        with case(sealed):
            with pytest.raises(TypeError) as caught:
                cast("Any", sealed).__getstate__()
            assert FAKE not in everything_told(caught.value)


def test_an_escaped_quote_hides_no_value() -> None:
    """A value with a quote is redacted in a repr that escapes the quote."""
    cases: list[str] = ["fake'quote-0123456789", "it's a fake 'value' 0123456789"]
    for value in cases:
        with case(value):
            told = repr(f'the value "{value}" is refused')
            assert "\\'" in told
            assert scrub(told, [value]) == "'the value \"***\" is refused'"


LINE = "ZmFrZWZha2VmYWtlZmFrZQ=="

SHORTEST = "ZmFrZS1mYWtlLXgx"

ARMOUR = ["-----BEGIN FAKE KEY-----", "-----END FAKE KEY-----"]


def test_one_line_of_a_key_is_as_secret_as_the_whole() -> None:
    """A single line of a PEM block is redacted like the whole block."""
    for line in (LINE, SHORTEST):
        for end in ("\n", "\r\n"):
            for as_bytes in (False, True):
                with case(line, end, as_bytes):
                    text = end.join([ARMOUR[0], LINE, SHORTEST, ARMOUR[1], ""])
                    value = text.encode() if as_bytes else text
                    assert scrub(f"cannot read {line} here", [value]) == "cannot read *** here"
                    assert scrub(f"cannot read {text} here", [value]) == "cannot read *** here"


def test_the_armour_of_a_key_is_left() -> None:
    """The BEGIN and END lines of a PEM block are not redacted."""
    for armour in ARMOUR:
        with case(armour):
            value = "\n".join([ARMOUR[0], LINE, ARMOUR[1], ""])
            assert scrub(f"expected {armour} here", [value]) == f"expected {armour} here"


def test_what_is_no_name_is_no_near_miss() -> None:
    """Only a valid name is suggested, because any other text may contain a value."""
    cases: list[str] = [
        "STRIPE_WEBHOOK_SECRET:aB3d",
        "STRIPE_WEBHOOK_SECRET:",
        "STRIPE_WEBHOOK_SECRET=aB",
        "STRIPE_WEBHOOK_SECRET aB",
        "STRIPE_WEBHOOK_SECRET\n",
        "'STRIPE_WEBHOOK_SECRET'",
        "1STRIPE_WEBHOOK_SECRET",
        "STRIPE_WEBHOOK_SECRÉT",
    ]
    for name in cases:
        with case(name):
            field = undeclared_field("STRIPE_WEBHOOK_SECRET")
            assert fix_hints.near_misses(field, [name, "STRIPE-WEBHOOK.SECRETS"]) == [
                "STRIPE-WEBHOOK.SECRETS"
            ]


class Webhook(SecretSet):
    """A required secret."""

    stripe_webhook_secret: Secret


def test_a_line_with_a_colon_is_not_echoed(tmp_path: Path) -> None:
    """A line of .env with a colon instead of an equals sign is not quoted in a report or log."""
    cases: list[str] = [
        "STRIPE_WEBHOOK_SECRET:aB3d==",
        "HIVE_BOOT_TOKEN:aB3dfakevalue=",
        "HIVE_BOOT_TOKEN:aB3dfakevalue=x",
    ]
    machines = empty_machines(tmp_path)
    for line in cases:
        with case(line):
            root = next(machines)
            (root / "cwd").mkdir(exist_ok=True)
            (root / "cwd/.env").write_text(f"{line}\n")
            loaded = look(Webhook, root, mode="development", profile="development")
            assert any(each.name == "STRIPE_WEBHOOK_SECRET" for each in loaded.problems)
            told = [report_of(loaded), *map(repr, loaded.warnings), *map(repr, loaded.notes)]
            assert "aB3d" not in "\n".join(told)


def wrong_mask() -> None:
    """Pass bytes to ``mask_secret``."""
    mask_secret(cast("Any", FAKE.encode()))


def wrong_secret() -> None:
    """Pass bytes to ``Secret``."""
    Secret("JWT_SECRET", cast("Any", FAKE.encode()))


def wrong_bytes() -> None:
    """Pass text to ``SecretBytes``."""
    SecretBytes("JWT_SECRET", cast("Any", FAKE))


def wrong_set() -> None:
    """Pass text for a required secret of a set."""
    Two(jwt_secret=cast("Any", FAKE), sentry_dsn=None)


def wrong_optional() -> None:
    """Pass text for an optional secret of a set."""
    Two(jwt_secret=Secret("JWT_SECRET", OTHER), sentry_dsn=cast("Any", FAKE))


def test_our_frames_show_no_value_to_an_error_tracker() -> None:
    """A traceback with the variables of hive_boot's frames contains no value."""
    cases: list[Callable[[], None]] = [
        wrong_mask,
        wrong_secret,
        wrong_bytes,
        wrong_set,
        wrong_optional,
    ]
    for call in cases:
        with case(call):
            with pytest.raises(TypeError) as caught:
                call()
            assert FAKE not in everything_told(caught.value)
