"""``hive-boot rotate`` and ``migrate`` write whole files, never the members of a JSON file."""

import io
import json
from pathlib import Path

import pytest

from hive_boot import Secret, SecretSet, secret
from hive_boot.cli.main import main
from tests.fixtures.trees import contents

APP = "tests.cli.test_members:Database"


class Database(SecretSet):
    """Members of a file, one of them below a directory."""

    user: Secret | None = secret(file="rds.json#user")
    password: Secret | None = secret(file="rds.json#password")
    key: Secret | None = secret(file="tls/all.json#key")
    token: Secret | None


@pytest.fixture
def secrets() -> Path:
    """Return a directory with the file."""
    place = Path("secrets")
    place.mkdir(0o700)
    (place / "rds.json").write_text('{"user": "fake-user", "password": "fake-old"}')
    return place


def test_rotate_refuses_a_member(secrets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before it reads the value; also for Kubernetes, and if the file does not exist."""
    before = contents(secrets)
    for arguments in (
        ("PASSWORD",),
        ("PASSWORD", "--create", "--dry-run"),
        ("PASSWORD", "--kubernetes"),
        ("KEY", "--create"),
        ("KEY", "--to", "none"),
    ):
        assert main(["rotate", *arguments, "--app", APP]) == 64
        err = capsys.readouterr().err
        assert "members" in err
        assert err.count("\n") == 1
    assert contents(secrets) == before


def test_migrate_refuses_a_member(secrets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them are named, and nothing is written."""
    for env, names in (
        ("KEY=fake-key\n", ["KEY", "all.json"]),
        ("TOKEN=fake-token\nUSER=fake-user\nPASSWORD=fake-old\nKEY=fake-key\n", ["KEY"]),
    ):
        Path(".env").write_text(env)
        before = contents(Path())
        for arguments in ((), ("--dry-run",)):
            assert main(["migrate", APP, "--to", str(secrets), *arguments]) == 1
            err = capsys.readouterr().err
            assert all(name in err for name in names)
            assert "fake" not in err
            assert contents(Path()) == before


def test_migrate_accepts_members_that_hold_the_values(
    secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their file is unchanged, and is no file of other secrets."""
    Path(".env").write_text("USER=fake-user\nPASSWORD=fake-old\nTOKEN=fake-token\n")
    secrets.chmod(0o755)
    assert main(["migrate", APP, "--to", str(secrets), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [(each["file"], each["state"]) for each in facts["secrets"]] == [
        ("secrets/rds.json", "unchanged"),
        ("secrets/rds.json", "unchanged"),
        ("secrets/token", "new"),
    ]
    assert facts["tightened"]
    Path(".env").write_text("PASSWORD=fake-other\n")
    assert main(["migrate", APP, "--to", str(secrets)]) == 1
    assert "rds.json" in capsys.readouterr().err


def test_a_whole_file_beside_the_members_is_rotated(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose name ends in the character that separates a member."""
    (secrets / "token").write_text("fake-old")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"fake-new")))
    assert main(["rotate", "TOKEN", "--app", APP]) == 0
    assert (secrets / "token").read_text() == "fake-new"
