"""Everything that people put where a secret belongs, each as a whole start."""

import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from hive_boot import (
    Bootstrap,
    DeclarationError,
    Secret,
    SecretBytes,
    SecretSet,
    get_secret,
    secret,
)
from hive_boot.exceptions import ProblemsError
from hive_boot.secrets.loader import load
from tests.fixtures.cases import case, empty_machines
from tests.fixtures.files import make_loop, make_socket
from tests.support import FakeClock, as_ordinary_user, everything_told, failed_start, move_to

FAKE = "fake-jwt-secret-0123456789-0123456789"
OTHER = "fake-other-secret-9876543210-9876543210"
PEM = "-----BEGIN FAKE-----\nZmFrZQ==\n-----END FAKE-----\n"
MIB = 1 << 20


class Two(SecretSet):
    """A text and bytes."""

    jwt_secret: Secret = secret(used_by="user-auth")
    tls_key: SecretBytes | None = secret(used_by="TLS")


def mounted_machine(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory that starts read, on a machine of our own in docker mode."""
    move_to(root, monkeypatch)
    directory = root / "run/secrets"
    directory.mkdir(parents=True)
    monkeypatch.setenv("HIVE_BOOT_MODE", "docker")
    return directory


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory that starts read, on a machine of our own in docker mode."""
    return mounted_machine(tmp_path, monkeypatch)


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return such directories, a machine for each."""
    return (mounted_machine(root, monkeypatch) for root in empty_machines(tmp_path))


def write(path: Path, content: str | bytes) -> None:
    """Write what a person would have written before the start."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)


async def refused(boot: Bootstrap[Any, Any], *values: str) -> ProblemsError:
    """Start, see that nothing tells a value, and give the error."""
    failure = await failed_start(boot)
    told = everything_told(failure) + failure.report(color=True)
    assert not [value for value in (FAKE, OTHER, *values) if value in told]
    return failure


async def only_problem(*values: str) -> tuple[str, str]:
    """Start, and return name and kind of the one problem that there is."""
    failure = await refused(Bootstrap(Two), *values)
    assert len(failure.problems) == 1, str(failure)
    problem = failure.problems[0]
    return problem.name, problem.kind


# Contents of a file


@pytest.mark.anyio
async def test_a_bad_content(mounts: Iterator[Path]) -> None:
    """Each content that is no text is refused with its own reason, and none of it is shown."""
    cases: list[tuple[bytes, str]] = [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"\r\n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (FAKE.encode() + b"\xff", "not-utf-8"),
        (b"\xff\xfe" + FAKE.encode("utf-16-le"), "not-utf-8"),
        (FAKE.encode("utf-16-le"), "not-utf-8"),
        (FAKE.encode("utf-16-be"), "not-utf-8"),
        (b"\0\0", "nul"),
        (FAKE.encode() + b"\0", "nul"),
        (FAKE.encode() + b"\xed\xa0\x80", "not-utf-8"),
        (FAKE.encode().ljust(MIB + 1, b"-"), "too-large"),
    ]
    for content, kind in cases:
        with case(content, kind):
            mount = next(mounts)
            (mount / "jwt_secret").write_bytes(content)
            assert await only_problem(FAKE[:20]) == ("JWT_SECRET", kind)


@pytest.mark.anyio
async def test_missing(mount: Path) -> None:
    """Without a file the secret is missing."""
    (mount / "another-file").write_text(OTHER)
    assert await only_problem() == ("JWT_SECRET", "missing")


@pytest.mark.anyio
async def test_an_odd_content(mounts: Iterator[Path]) -> None:
    """One BOM and one final newline are removed; spaces and everything else are the value's."""
    cases: list[tuple[bytes, str]] = [
        (b"\xef\xbb\xbf" + FAKE.encode(), FAKE),
        (FAKE.encode() + b"\r\n", FAKE),
        (FAKE.encode() + b"\n", FAKE),
        (FAKE.encode() + b"\n\n", f"{FAKE}\n"),
        (FAKE.encode() + b"\r", f"{FAKE}\r"),
        (f"  {FAKE}\t ".encode(), f"  {FAKE}\t "),
        (f"\n{FAKE}".encode(), f"\n{FAKE}"),
        ("gehe\u00efm-\U0001f510".encode(), "gehe\u00efm-\U0001f510"),
        (FAKE.encode().ljust(MIB, b"-"), FAKE.ljust(MIB, "-")),
    ]
    for content, value in cases:
        with case(content, value):
            mount = next(mounts)
            (mount / "jwt_secret").write_bytes(content)
            async with Bootstrap(Two).running() as secrets:
                assert secrets.jwt_secret.reveal() == value


@pytest.mark.anyio
async def test_bytes_are_taken_raw(mounts: Iterator[Path]) -> None:
    """SecretBytes are the file's bytes, whatever they are."""
    for content in (b"\n", b"\0\xff", b"\xef\xbb\xbfx\r\n", b"x" * MIB):
        with case(content):
            mount = next(mounts)
            (mount / "jwt_secret").write_text(FAKE)
            (mount / "tls_key").write_bytes(content)
            async with Bootstrap(Two).running() as secrets:
                assert secrets.tls_key is not None
                assert secrets.tls_key.reveal() == content


@pytest.mark.anyio
async def test_too_many_bytes(mount: Path) -> None:
    """SecretBytes have the same limit."""
    (mount / "jwt_secret").write_text(FAKE)
    (mount / "tls_key").write_bytes(OTHER.encode().ljust(MIB + 1))
    assert await only_problem() == ("TLS_KEY", "too-large")


@pytest.mark.anyio
async def test_a_huge_file_is_not_read(mount: Path) -> None:
    """A file of a terabyte, which has no blocks, is refused at once."""
    with (mount / "jwt_secret").open("wb") as file:
        file.truncate(1 << 40)
    assert await only_problem() == ("JWT_SECRET", "too-large")


# What is no file


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a FIFO": (os.mkfifo, "not-a-file"),
    "a directory": (Path.mkdir, "not-a-file"),
    "a socket": (make_socket, "not-a-file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "not-a-file"),
    "a dangling link": (lambda path: path.symlink_to("no-such-file"), "broken-link"),
    "a loop of links": (make_loop, "broken-link"),
}


@pytest.mark.anyio
async def test_what_is_no_file(mounts: Iterator[Path]) -> None:
    """A FIFO, a directory, a socket, a device or a broken link is named, and nothing hangs."""
    for what, (make, kind) in NO_FILES.items():
        with case(what):
            mount = next(mounts)
            make(mount / "jwt_secret")
            assert await only_problem() == ("JWT_SECRET", kind)


@pytest.mark.anyio
async def test_a_permission_is_missing(mount: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its reader may not read is a problem, once it was waited for an fsGroup to apply."""
    # Whatever a start imports is imported before, by a user who may read it.
    await failed_start(Bootstrap(Two))
    (mount / "jwt_secret").write_text(FAKE)
    async with Bootstrap(Two).running():
        pass
    for what in ("file", "directory"):
        clock = FakeClock()
        patient = partial(load, policy=clock.policy())
        monkeypatch.setattr("hive_boot.runtime.load_pipeline.load", patient)
        with case(what), as_ordinary_user() as root:
            named = root / "named"
            named.mkdir()
            (named / "jwt_secret").write_text(FAKE)
            (named / "jwt_secret" if what == "file" else named).chmod(0)
            failure = await failed_start(Bootstrap(Two, secrets_dirs=named))
            named.chmod(0o700)
            assert 2 <= sum(clock.slept) < 3
            assert failure.problems[0].kind == "unreadable"
            assert failure.problems[0].name == ("JWT_SECRET" if what == "file" else str(named))
            assert FAKE not in everything_told(failure)


# Contradictions


@pytest.mark.anyio
async def test_name_and_name_file(
    mount: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NAME_FILE beside a mounted file that differs is refused, and neither text is shown."""
    (mount / "jwt_secret").write_text(FAKE)
    (tmp_path / "key").write_text(OTHER)
    monkeypatch.setenv("JWT_SECRET", OTHER)
    monkeypatch.setenv("JWT_SECRET_FILE", str(tmp_path / "key"))
    assert await only_problem() == ("JWT_SECRET", "conflict")


@pytest.mark.anyio
async def test_a_value_in_name_file(mounts: Iterator[Path]) -> None:
    """A value that was put into NAME_FILE is told, and not shown."""
    cases: list[str] = [
        FAKE,
        f"/{FAKE}",
        f"../{FAKE}",
        "fake/jwt/0123456789",
        f"-----BEGIN-----\n{FAKE}/\n",
    ]
    for value in cases:
        with pytest.MonkeyPatch.context() as monkeypatch, case(value):
            mount = next(mounts)
            (mount / "jwt_secret").write_text(OTHER)
            monkeypatch.setenv("JWT_SECRET_FILE", value)
            failure = await refused(Bootstrap(Two), value)
            assert [(each.name, each.kind) for each in failure.problems] == [
                ("JWT_SECRET", "missing")
            ]
            assert "JWT_SECRET_FILE" in failure.problems[0].places[0]


@pytest.mark.anyio
async def test_two_files_that_differ(mount: Path) -> None:
    """Two files of one name have to agree."""
    (mount / "jwt_secret").write_text(FAKE)
    (mount / "jwt-secret.txt").write_text(OTHER)
    failure = await refused(Bootstrap(Two))
    assert [each.kind for each in failure.problems] == ["conflict"]
    assert f"{mount}/jwt-secret.txt" in str(failure)


@pytest.mark.anyio
async def test_only_in_the_environment(mount: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable in a mounted mode is refused by name; its text stays where it is."""
    (mount / "another-file").write_text(OTHER)
    monkeypatch.setenv("JWT_SECRET", FAKE)
    assert (await only_problem())[1] == "environment-only"


# Defaults


@pytest.mark.anyio
async def test_a_default_in_production(mounts: Iterator[Path]) -> None:
    """In production a development default is refused, from the code and from a file."""
    for provided in (False, True):
        with case(provided):
            mount = next(mounts)

            class Defaulted(SecretSet):
                """A secret with a harmless value."""

                jwt_secret: Secret = secret(dev_default=FAKE)

            if provided:
                (mount / "jwt_secret").write_text(FAKE)
            failure = await failed_start(Bootstrap(Defaulted, profile="production"))
            assert [each.kind for each in failure.problems] == [
                "dev-default" if provided else "missing"
            ]
            assert FAKE not in str(failure)
            async with Bootstrap(Defaulted, profile="development").running() as secrets:
                assert secrets.jwt_secret.reveal() == FAKE


# .env


@pytest.fixture
def dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the .env that starts read, on a workplace of our own."""
    move_to(tmp_path, monkeypatch)
    return tmp_path / "cwd/.env"


@pytest.mark.anyio
async def test_a_line_of_dotenv(dotenv: Path) -> None:
    """The usual forms of a line give their value, with references replaced."""
    cases: list[tuple[str, str]] = [
        (f"JWT_SECRET={FAKE}", FAKE),
        (f"export JWT_SECRET={FAKE}", FAKE),
        (f'JWT_SECRET="{FAKE}"', FAKE),
        (f"JWT_SECRET='{FAKE}'", FAKE),
        (f"JWT_SECRET={FAKE} # a comment", FAKE),
        (f"# a comment\n\nJWT_SECRET = {FAKE}", FAKE),
        (f"JWT_SECRET={FAKE}==", f"{FAKE}=="),
        (f"A={FAKE}\nJWT_SECRET=${{A}}-$A", f"{FAKE}-$A"),
        (f"JWT_SECRET=${{NOWHERE_SET:-{FAKE}}}", FAKE),
        (f'JWT_SECRET="{PEM}"', PEM),
    ]
    for line, value in cases:
        with case(line, value):
            write(dotenv, f"{line}\n")
            async with Bootstrap(Two).running() as secrets:
                assert secrets.jwt_secret.reveal() == value


@pytest.mark.anyio
async def test_a_line_that_cannot_be_read(dotenv: Path) -> None:
    """A line that may hide a secret is named by its number, and nothing of it is shown."""
    cases: list[tuple[str, int]] = [
        (f"OTHER=x\nJWT_SECRET {FAKE} is no line\n", 2),
        (f"JWT_SECRET='{FAKE}\n", 1),
        (f"JWT_SECRET=-----BEGIN FAKE-----\n{FAKE}\n{OTHER}=x\n-----END FAKE-----\n", 1),
    ]
    for text, line in cases:
        with case(text, line):
            write(dotenv, text)
            failure = await refused(Bootstrap(Two))
            assert failure.problems[0].name == f"{dotenv}:{line}"
            assert failure.problems[0].kind == "dotenv"


@pytest.mark.anyio
async def test_a_dotenv_that_is_no_text(dotenv: Path) -> None:
    """A .env that is no text is one problem, which names what is missing for want of it."""
    for content in (FAKE.encode() + b"\xff", FAKE.encode() + b"\0"):
        with case(content):
            write(dotenv, b"JWT_SECRET=" + content)
            failure = await refused(Bootstrap(Two))
            (problem,) = failure.problems
            assert problem.name == str(dotenv)
            assert "JWT_SECRET" in problem.details[0]


# Settings


@pytest.mark.anyio
async def test_foreign_entries(
    dotenv: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A /run/secrets with only a platform's entries is none: it is development, and is said."""
    caplog.set_level("INFO", "hive_boot")
    write(dotenv, f"JWT_SECRET={FAKE}\n")
    for entry in ("kubernetes.io", "rhsm"):
        with case(entry):
            caplog.clear()
            (tmp_path / "run/secrets" / entry).mkdir(parents=True)
            async with Bootstrap(Two).running() as secrets:
                assert secrets.jwt_secret.reveal() == FAKE
            assert "development (/run/secrets " in caplog.text
            assert FAKE not in caplog.text


@pytest.mark.anyio
@pytest.mark.usefixtures("mount")
async def test_unknown_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that mean nothing are all reported; a value in their place is not shown."""
    for variable in ("HIVE_BOOT_MODE", "HIVE_BOOT_PROFILE", "HIVE_BOOT_ENV_FALLBACK"):
        monkeypatch.setenv(variable, FAKE)
    failure = await refused(Bootstrap(Two))
    assert [(each.name, each.kind) for each in failure.problems] == [
        ("HIVE_BOOT_MODE", "setting"),
        ("HIVE_BOOT_PROFILE", "setting"),
        ("HIVE_BOOT_ENV_FALLBACK", "setting"),
    ]


@pytest.mark.anyio
@pytest.mark.usefixtures("mount")
async def test_an_error_about_settings_shows_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a setting is wrong, an error tracker gets no other variable's text either."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "dokcer")
    monkeypatch.setenv("JWT_SECRET", FAKE)
    failure = await refused(Bootstrap(Two))
    assert "'docker'" in failure.problems[0].message


def test_an_unknown_mode_in_the_code() -> None:
    """A mode or a profile that does not exist is a bug, found where it is declared."""
    with pytest.raises(DeclarationError) as caught:
        Bootstrap(Two, mode="dokcer")  # type: ignore[arg-type]
    assert "'dokcer'" in str(caught.value)
    with pytest.raises(DeclarationError) as caught:
        Bootstrap(Two, profile="produktion")
    assert "'produktion'" in str(caught.value)


@pytest.mark.anyio
async def test_a_name_that_is_a_path(mount: Path) -> None:
    """A path in the place of a name opens nothing, and is not repeated."""
    (mount / "jwt_secret").write_text(FAKE)
    async with Bootstrap(Two).running():
        with pytest.raises(DeclarationError) as caught:
            get_secret("../../etc/passwd")
        assert "passwd" not in str(caught.value) + repr(caught.value)


# Everything that a check can do wrong


@pytest.mark.anyio
async def test_a_check_misbehaves(mount: Path, release: threading.Event) -> None:
    """Whatever a check does with the value it is given, the start ends, and shows nothing."""
    (mount / "jwt_secret").write_text(FAKE)

    def check(misdeed: str, value: str) -> object:
        if misdeed == "raises":
            raise ValueError(value, {"token": value})
        if misdeed == "hangs":
            release.wait(60)
        return later(misdeed, value) if misdeed.endswith("later") else value

    async def later(misdeed: str, value: str) -> None:
        try:
            int(value)
        except ValueError as exc:
            if misdeed == "raises later":
                raise KeyError(value) from exc
        await anyio.sleep_forever()

    for misdeed in ("raises", "returns", "hangs", "raises later", "hangs later"):

        class Checked(SecretSet):
            """A secret whose check cannot be trusted."""

            jwt_secret: Secret = secret(check=partial(check, misdeed))

        with case(misdeed):
            failure = await refused(Bootstrap(Checked, startup_timeout=0.2))
            (problem,) = failure.problems
            kind = "unavailable" if misdeed.startswith("hangs") else "check"
            assert (problem.name, problem.kind) == ("JWT_SECRET", kind)


@pytest.mark.anyio
async def test_settings_misbehave(mount: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A factory of settings that fails, and tells a secret, is reported beside the secrets."""
    (mount / "jwt_secret").write_text(FAKE)
    monkeypatch.setenv("TLS_KEY", OTHER)

    def settings() -> object:
        message = f"cannot connect with {FAKE}"
        raise ConnectionError(message)

    failure = await refused(Bootstrap(Two, config=settings))
    assert [(each.name, each.kind) for each in failure.problems] == [
        ("TLS_KEY", "environment-only"),
        ("settings", "config"),
    ]
    assert "ConnectionError: cannot connect with ***" in failure.problems[1].message
