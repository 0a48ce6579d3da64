"""``hive-boot rotate`` with a declared version: it is written after the value."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hive_boot.cli import rotate
from hive_boot.cli.main import main
from tests.cli.keys import Versioned
from tests.fixtures.cases import case
from tests.fixtures.trees import contents
from tests.support import look

APP = ("--app", "tests.cli.keys:Versioned")

Pipe = Callable[[bytes], None]


@pytest.fixture
def secrets() -> Path:
    """Return a directory with a secret and its version."""
    place = Path("secrets")
    place.mkdir(0o700)
    (place / "api_key").write_text("fake-old-key")
    (place / "secrets-version").write_text("v1\n")
    return place


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Pipe:
    """Return what sets the content of stdin."""
    return lambda raw: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))


def rotated(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, Any]:
    """Rotate, and return the facts."""
    assert main(["rotate", "API_KEY", *APP, "--json", *arguments]) == status
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def test_the_version_is_written_after_the_value(
    secrets: Path, pipe: Pipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a process never finds the new version beside the old value."""
    order: list[tuple[str, dict[str, bytes]]] = []
    write = rotate._write  # noqa: SLF001  (there is no other step to look between)

    def record(field: Any, *rest: Any) -> None:  # noqa: ANN401
        order.append((field.name, contents(secrets)))
        write(field, *rest)

    monkeypatch.setattr(rotate, "_write", record)
    pipe(b"fake-new-key")
    assert rotated(capsys, "--set-version", "v2")["version"] == "v2"
    assert order == [
        ("API_KEY", {"api_key": b"fake-old-key", "secrets-version": b"v1\n"}),
        ("SECRETS_VERSION", {"api_key": b"fake-new-key", "secrets-version": b"v1\n"}),
    ]
    assert contents(secrets) == {"api_key": b"fake-new-key", "secrets-version": b"v2"}
    loaded = look(Versioned, Path.cwd(), {"HIVE_BOOT_SECRETS_DIR": str(secrets.absolute())})
    assert loaded.version == "v2"


def test_the_time_is_the_default(
    secrets: Path, pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each rotation has another one, also of a directory that has had none."""
    (secrets / "secrets-version").unlink()
    found = set()
    for number in range(3):
        pipe(b"fake-new-key-%d" % number)
        version = rotated(capsys)["version"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", version)
        assert (secrets / "secrets-version").read_text() == version
        found.add(version)
    assert len(found) == 3


def test_an_existing_file_of_the_version_is_used(
    secrets: Path, pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also under another of its names; a secret below a directory has its version above it."""
    (secrets / "secrets-version").rename(secrets / "secrets-version.txt")
    pipe(b"fake-certificate")
    (secrets / "tls").mkdir()
    assert main(["rotate", "TLS_CERT", *APP, "--create", "--set-version", "v2"]) == 0
    assert (secrets / "secrets-version.txt").read_text() == "v2"
    assert not (secrets / "tls/secrets-version").exists()
    assert "The version of the secrets is v2 now." in capsys.readouterr().out


def test_without_a_new_value_there_is_no_new_version(
    secrets: Path, pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless it is given; a dry run writes neither."""
    before = contents(secrets)
    pipe(b"fake-old-key")
    facts = rotated(capsys)
    assert (facts["state"], facts["version"]) == ("unchanged", None)
    pipe(b"fake-new-key")
    facts = rotated(capsys, "--dry-run", "--set-version", "v2")
    assert (facts["state"], facts["version"]) == ("rotated", "v2")
    assert contents(secrets) == before
    pipe(b"fake-old-key")
    facts = rotated(capsys, "--set-version", "v2")
    assert (facts["state"], facts["version"]) == ("unchanged", "v2")
    assert contents(secrets) == before | {"secrets-version": b"v2"}


def test_a_version_that_cannot_be_written_is_an_error(
    secrets: Path, pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is written, where it is known before."""
    before = contents(secrets)
    (secrets / "secrets-version").unlink()
    (secrets / "secrets-version").symlink_to("elsewhere")
    pipe(b"fake-new-key")
    assert main(["rotate", "API_KEY", *APP]) == 1
    assert "symbolic link" in capsys.readouterr().err
    (secrets / "secrets-version").unlink()
    (secrets / "secrets-version").write_bytes(before["secrets-version"])
    wrong: list[tuple[list[str], int, str]] = [
        (["API_KEY", *APP, "--set-version", "two words"], 64, "1 to 64 letters"),
        (["API_KEY", *APP, "--set-version", ""], 64, "1 to 64 letters"),
        (["API_KEY", "--set-version", "v2"], 64, "requires --app APP"),
        (["API_KEY", "--app", "tests.cli.keys:Keys", "--set-version", "v2"], 64, "version="),
        (["API_KEY", *APP, "--set-version", "fake-new-key"], 1, "must not equal the version"),
    ]
    for arguments, status, reason in wrong:
        with case(arguments):
            pipe(b"fake-new-key")
            assert main(["rotate", *arguments]) == status
            assert reason in capsys.readouterr().err
            assert contents(secrets) == before


def test_a_version_that_fails_after_the_value_says_so(
    secrets: Path,
    pipe: Pipe,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The value is rotated, and the version has to be written by hand."""
    write = rotate._write  # noqa: SLF001  (there is no other step to look between)

    def fail(field: Any, *rest: Any) -> None:  # noqa: ANN401
        if field.name == "SECRETS_VERSION":
            raise OSError(28, "fake", "secrets-version")
        write(field, *rest)

    monkeypatch.setattr(rotate, "_write", fail)
    pipe(b"fake-new-key")
    assert main(["rotate", "API_KEY", *APP]) == 1
    assert "API_KEY was rotated, but its version is missing: " in capsys.readouterr().err
    assert (secrets / "api_key").read_bytes() == b"fake-new-key"


def test_one_kubectl_command_sets_value_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    """A pod then sees both or neither, and the owner of the fields is that of both."""
    facts = rotated(capsys, "--kubernetes", "my-app", "--set-version", "v2")
    assert facts == {
        "name": "API_KEY",
        "command": "kubectl create secret generic my-app --from-file=api_key=/dev/stdin "
        "--from-literal=secrets-version=v2 --dry-run=client -o yaml | kubectl apply "
        "--server-side --force-conflicts --field-manager=hive-boot-api_key-secrets-version -f -",
        "reads": "stdin",
        "version": "v2",
    }
    assert re.search(
        r"--from-literal=secrets-version=2\S+Z ", rotated(capsys, "--kubernetes")["command"]
    )
