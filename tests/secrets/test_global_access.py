"""Plain functions such as ``get_secret``, with and without a running application."""

import threading
from pathlib import Path
from typing import Any

import pytest

from hive_boot import (
    Bootstrap,
    DeclarationError,
    InvalidSecretsError,
    LifecycleError,
    MissingSecretError,
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
from hive_boot.secrets.fields import FieldIndex
from hive_boot.secrets.load_result import LoadResult
from hive_boot.secrets.loader import load
from hive_boot.secrets.platform import SourceContext
from hive_boot.secrets.sources.files import FifoReader
from hive_boot.testing import MountedVolume
from tests.fixtures.cases import case, empty_machines
from tests.support import everything_told, move_to

FAKE = "fake-jwt-secret-0123456789-0123456789"
OTHER = "fake-other-secret-9876543210-9876543210"

BAD_NAMES: list[Any] = [
    "../../etc/passwd",
    "/etc/passwd",
    "",
    " ",
    "JWT SECRET",
    "1JWT_SECRET",
    "JWT_SECRET\n",
    "JWT\0SECRET",
    ".env",
    "jwt/secret",
    "fäke",
    None,
    b"JWT_SECRET",
    7,
    ["JWT_SECRET"],
]


class Hive(SecretSet):
    """The declaration of the tests."""

    jwt_secret: Secret = secret(used_by="user-auth", previous="JWT_SECRET_PREVIOUS")
    tls_key: SecretBytes | None
    sentry_dsn: Secret | None
    renamed: Secret | None = secret(name="GITHUB_TOKEN")


@pytest.fixture
def injected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a platform that injects variables, one of which is a secret."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    monkeypatch.setenv("JWT_SECRET", FAKE)


# With an application


@pytest.mark.anyio
@pytest.mark.usefixtures("injected")
async def test_they_read_the_running_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """While an application runs, the functions return its values, by their declared names."""
    monkeypatch.setenv("GITHUB_TOKEN", OTHER)
    async with Bootstrap(Hive).running():
        monkeypatch.setenv("JWT_SECRET", "fake-later")
        assert get_secret("JWT_SECRET") == require_secret("JWT_SECRET") == FAKE
        assert get_secret("GITHUB_TOKEN") == OTHER
        assert (has_secret("JWT_SECRET"), has_secret("SENTRY_DSN")) == (True, False)
        assert get_secret("SENTRY_DSN") is None


@pytest.mark.anyio
@pytest.mark.usefixtures("injected")
async def test_an_absent_optional_one_is_required_by_the_caller() -> None:
    """``require_secret`` raises for a declared secret that is absent, and names the variable."""
    async with Bootstrap(Hive).running():
        with pytest.raises(MissingSecretError) as caught:
            require_secret("SENTRY_DSN")
    assert caught.value.name == "SENTRY_DSN"
    assert "SENTRY_DSN" in caught.value.fix
    assert caught.value.exit_code == 78


@pytest.mark.anyio
async def test_missing_in_a_mount_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a mounted mode the text of MissingSecretError names the file."""
    (tmp_path / "named").mkdir()
    (tmp_path / "named/jwt_secret").write_text(FAKE)
    move_to(tmp_path, monkeypatch)
    boot = Bootstrap(Hive, secrets_dirs=tmp_path / "named")
    async with boot.running():
        with pytest.raises(MissingSecretError) as caught:
            require_secret("SENTRY_DSN")
    assert f"{tmp_path}/named/sentry_dsn" in str(caught.value)


@pytest.mark.anyio
@pytest.mark.usefixtures("injected")
async def test_a_near_miss_is_suggested() -> None:
    """Each function rejects an undeclared name, and suggests the declared one."""
    cases: list[tuple[str, str]] = [
        ("JWT_SECRT", "JWT_SECRET"),
        ("jwt_secret", "JWT_SECRET"),
        ("SENTRY-DSN", "SENTRY_DSN"),
        ("jwt-secret.txt", "JWT_SECRET"),
    ]
    for name, meant in cases:
        with case(name, meant):
            async with Bootstrap(Hive).running():
                for function in (get_secret, require_secret, has_secret):
                    with pytest.raises(DeclarationError) as caught:
                        function(name)
                    assert meant in str(caught.value)


@pytest.mark.anyio
@pytest.mark.usefixtures("injected")
async def test_other_names_are_refused() -> None:
    """An undeclared name is rejected, even if a variable of this name exists."""
    cases: list[str] = ["STRIPE_SECRET_KEY", "PATH", "renamed", "JWT_SECRET_PREVIOUS"]
    for name in cases:
        with case(name):
            async with Bootstrap(Hive).running():
                with pytest.raises(DeclarationError) as caught:
                    get_secret(name)
                assert "Hive" in str(caught.value)


@pytest.mark.anyio
@pytest.mark.usefixtures("injected")
async def test_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a SecretBytes field is rejected, with the attribute to use instead."""
    monkeypatch.setenv("TLS_KEY", "fake-key-0123456789")
    async with Bootstrap(Hive).running():
        for function in (get_secret, require_secret, has_secret):
            with pytest.raises(DeclarationError) as caught:
                function("TLS_KEY")
            assert "boot.secrets.tls_key" in str(caught.value)


@pytest.mark.anyio
@pytest.mark.usefixtures("injected")
async def test_a_bad_name_with_an_application() -> None:
    """An invalid name is rejected while an application runs, and is not repeated in the error."""
    for name in BAD_NAMES:
        with case(name):
            async with Bootstrap(Hive).running():
                for function in (get_secret, require_secret, has_secret):
                    with pytest.raises(DeclarationError) as caught:
                        function(name)
                    assert (
                        not isinstance(name, str) or len(name) < 2 or name not in str(caught.value)
                    )


@pytest.mark.anyio
@pytest.mark.usefixtures("injected")
async def test_two_applications() -> None:
    """With two running applications the functions raise; with one left they work again."""
    one, two = Bootstrap(Hive), Bootstrap(Hive)
    async with one.running():
        async with two.running():
            for function in (get_secret, require_secret, has_secret):
                with pytest.raises(LifecycleError) as caught:
                    function("JWT_SECRET")
                assert "boot.secrets" in str(caught.value)
            assert two.secrets.jwt_secret.reveal() == FAKE
        assert get_secret("JWT_SECRET") == FAKE
        with pytest.raises(DeclarationError):
            get_secret("STRIPE_SECRET_KEY")
    # No application runs any more, and two are declared.
    assert get_secret("STRIPE_SECRET_KEY") is None


# Without an application


@pytest.mark.usefixtures("injected")
def test_a_script_needs_no_declaration() -> None:
    """Without an application, any valid name is looked up in the detected mode."""
    assert get_secret("JWT_SECRET") == require_secret("JWT_SECRET") == FAKE
    assert has_secret("JWT_SECRET")
    assert get_secret("STRIPE_SECRET_KEY") is None
    assert not has_secret("STRIPE_SECRET_KEY")


@pytest.mark.usefixtures("injected")
def test_unusual_names() -> None:
    """A name may contain the characters of a Kubernetes key."""
    for name in ("_x", "a.b-c", "lower_case"):
        with pytest.MonkeyPatch.context() as monkeypatch, case(name):
            monkeypatch.setenv(name, FAKE)
            assert get_secret(name) == FAKE


@pytest.mark.usefixtures("injected")
def test_a_bad_name_without_an_application() -> None:
    """An invalid name is rejected, opens no file, and is not repeated in the error."""
    for name in BAD_NAMES:
        with case(name):
            for function in (get_secret, require_secret, has_secret):
                with pytest.raises(DeclarationError) as caught:
                    function(name)
                assert not isinstance(name, str) or len(name) < 2 or name not in str(caught.value)


def test_missing_in_each_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In development the text of MissingSecretError names the line of the .env."""
    move_to(tmp_path, monkeypatch)
    with pytest.raises(MissingSecretError) as caught:
        require_secret("JWT_SECRET")
    assert f"JWT_SECRET=... to {tmp_path}/cwd/.env" in str(caught.value)
    assert (caught.value.name, caught.value.exit_code) == ("JWT_SECRET", 78)


def test_missing_in_a_named_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In docker mode the text of MissingSecretError names the file."""
    (tmp_path / "named").mkdir()
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(tmp_path / "named"))
    with pytest.raises(MissingSecretError) as caught:
        require_secret("JWT_SECRET")
    assert f"{tmp_path}/named/jwt_secret" in str(caught.value)


@pytest.mark.usefixtures("injected")
def test_a_variable_that_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that a script sets after a first read is found."""
    assert get_secret("SENTRY_DSN") is None
    monkeypatch.setenv("SENTRY_DSN", OTHER)
    assert get_secret("SENTRY_DSN") == OTHER


def test_an_unusable_file_is_an_error(tmp_path: Path) -> None:
    """A file that cannot be used raises SourceError; None and False mean absent."""
    cases: list[tuple[bytes, str]] = [
        (b"fake-\xff-0123456789", "not-utf-8"),
        (b"fake-\0-0123456789", "nul"),
    ]
    machines = empty_machines(tmp_path)
    for content, kind in cases:
        with pytest.MonkeyPatch.context() as monkeypatch, case(content, kind):
            root = next(machines)
            MountedVolume(root / "named").publish({"jwt_secret": content})
            monkeypatch.setattr(applications, "standalone_store", None)
            monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(root / "named"))
            for function in (get_secret, require_secret, has_secret):
                with pytest.raises(SourceError) as caught:
                    function("JWT_SECRET")
                assert caught.value.problem.kind == kind
                assert f"{root}/named/jwt_secret" in str(caught.value)
                assert "0123456789" not in everything_told(caught.value)


def test_a_source_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing directory raises an error; it does not mean an absent secret."""
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(tmp_path / "gone"))
    with pytest.raises(SourceError) as caught:
        get_secret("JWT_SECRET")
    problem = caught.value.problem
    assert (problem.name, problem.kind) == (str(tmp_path / "gone"), "directory")
    assert "HIVE_BOOT_SECRETS_DIR" in problem.message


def test_a_dotenv_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """An unreadable .env raises an error, which does not quote it."""
    cases: list[bytes] = [b"JWT_SECRET=fake-\xff-0123456789\n", b"JWT_SECRET='fake\n", b"A=1\0\n"]
    machines = empty_machines(tmp_path)
    for content in cases:
        with pytest.MonkeyPatch.context() as monkeypatch, case(content):
            root = next(machines)
            monkeypatch.setattr(applications, "standalone_store", None)
            move_to(root, monkeypatch)
            monkeypatch.chdir(root / "cwd")
            (root / "cwd/.env").write_bytes(content)
            with pytest.raises(SourceError) as caught:
                get_secret("JWT_SECRET")
            assert f"{root}/cwd/.env" in str(caught.value)
            assert "fake" not in everything_told(caught.value)


@pytest.mark.usefixtures("injected")
def test_a_contradiction_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """NAME beside a NAME_FILE without a file raises, and shows neither value."""
    monkeypatch.setenv("JWT_SECRET_FILE", OTHER)
    with pytest.raises(SourceError) as caught:
        get_secret("JWT_SECRET")
    assert caught.value.problem.kind == "missing"
    assert len(caught.value.problem.places) == 2
    told = everything_told(caught.value)
    assert FAKE not in told
    assert OTHER not in told


@pytest.mark.usefixtures("injected")
def test_an_unknown_mode_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown mode is reported at the first call, without its value."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "nonsense-0123456789")
    with pytest.raises(InvalidSecretsError) as caught:
        get_secret("JWT_SECRET")
    (problem,) = caught.value.problems
    assert (problem.name, problem.kind) == ("HIVE_BOOT_MODE", "setting")
    assert "nonsense" not in str(caught.value)


def test_many_threads_read_each_secret_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that call at the same time all get the values, and no file is read twice."""
    MountedVolume(tmp_path / "named").publish({f"key_{n}": f"fake-{n}" for n in range(8)})
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(tmp_path / "named"))
    loads: list[str] = []

    def counted(
        field_index: FieldIndex, source_context: SourceContext, *, fifo_reader: FifoReader
    ) -> LoadResult:
        loads.extend(field_index.by_variable)
        return load(field_index, source_context, fifo_reader=fifo_reader)

    monkeypatch.setattr("hive_boot.secrets.loader.load", counted)
    together = threading.Barrier(16)
    seen: list[list[str | None]] = []

    def ask() -> None:
        together.wait(timeout=10)
        seen.append([get_secret(f"KEY_{n}") for n in range(8)])

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [[f"fake-{n}" for n in range(8)]] * 16
    assert sorted(loads) == [f"KEY_{n}" for n in range(8)]
