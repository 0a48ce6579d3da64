"""``hive-boot rotate`` refuses a placeholder, of which ``migrate`` warns: a start rejects it."""

import io
import json
from pathlib import Path

import pytest

from hive_boot import Secret, SecretBytes, SecretSet, secret
from hive_boot.cli import migrate as _migrate  # noqa: F401  (another user cannot import it)
from hive_boot.cli import rotate as _rotate  # noqa: F401  (the same)
from hive_boot.cli.main import main
from tests.support import as_ordinary_user

APP = "tests.cli.test_placeholders:Shop"

PLACEHOLDERS = (
    "changeme",
    "<your-api-key>",
    "${API_KEY}",
    "xxxxxxxx",
    "op://vault/item/field",
    "None",
    "postgres://user:changeme@db/shop",
)


class Shop(SecretSet):
    """A field for each rule."""

    api_key: Secret | None = secret(aliases=("OLD_KEY",))
    raw: SecretBytes | None
    literal: Secret | None = secret(allow_placeholder=True)


@pytest.fixture
def secrets() -> Path:
    """Return a directory with the file of each secret."""
    place = Path("secrets")
    place.mkdir(0o700)
    for name in ("api_key", "raw", "literal"):
        (place / name).write_text("fake-old")
    return place


def rotate(monkeypatch: pytest.MonkeyPatch, value: str, *arguments: str) -> int:
    """Run the command with a piped value."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(value.encode())))
    return main(["rotate", *arguments])


def test_rotate_refuses_what_a_start_refuses(
    secrets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With and without ``--app``, which knows the exceptions; without it, ``--app`` is named."""
    for value in PLACEHOLDERS:
        for name in ("API_KEY", "RAW"):
            for app in ((), ("--app", APP)):
                assert rotate(monkeypatch, value, name, *app) == 1, value
                err = capsys.readouterr().err
                assert ("--app" in err, value in err) == (not app, False)
                assert (secrets / name.lower()).read_text() == "fake-old"
        assert rotate(monkeypatch, value, "LITERAL", "--app", APP) == 0, value
        assert (secrets / "literal").read_text() == value
    for value in ("a ${API_KEY} inside", "apikey", "vault:v1:ZmFrZQ=="):
        assert rotate(monkeypatch, value, "API_KEY") == 0, value


def test_migrate_warns_of_what_a_start_refuses(
    secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The value is migrated without a change, as for broken constraints."""
    for value in (each.replace("$", r"\$") for each in PLACEHOLDERS):
        for file in secrets.iterdir():
            file.unlink()
        Path(".env").write_text(f'API_KEY="{value}"\nRAW="{value}"\nLITERAL="{value}"\n')
        assert main(["migrate", APP, "--to", str(secrets), "--json"]) == 0
        warnings = json.loads(capsys.readouterr().out)["warnings"]
        found = [each.split()[0] for each in warnings if "rejects this value" in each]
        assert found == ["API_KEY", "RAW"], (value, warnings)
        assert value not in str(warnings)


def test_a_directory_that_cannot_be_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that can be opened is rotated; else the message names the path, in one line."""
    with as_ordinary_user() as place:
        to = place / "above" / "secrets"
        to.mkdir(0o700, parents=True)
        (to / "api_key").write_text("fake-old")
        (place / ".env").write_text("API_KEY=fake-other\nRAW=fake-raw\n")
        arguments = ("API_KEY", "--to", str(to))
        to.chmod(0o300)
        assert rotate(monkeypatch, "fake-new", *arguments) == 0
        assert rotate(monkeypatch, "fake-new", "RAW", "--to", str(to), "--create") == 0
        assert rotate(monkeypatch, "fake-new", "TOKEN", "--to", str(to)) == 64
        (to / "..data").symlink_to("..1")
        assert rotate(monkeypatch, "fake-newer", *arguments) == 1
        assert "Kubernetes volume" in capsys.readouterr().err
        (to / "..data").unlink()
        migrate = ("--to", str(to), "--env-file", str(place / ".env"))
        for above, mode in ((0o700, 0o000), (0o700, 0o400), (0o700, 0o600), (0o000, 0o700)):
            to.chmod(mode)
            to.parent.chmod(above)
            assert rotate(monkeypatch, "fake-newest", *arguments) == 1, mode
            assert rotate(monkeypatch, "fake-newest", *arguments, "--create") == 1, mode
            err = capsys.readouterr().err
            assert err.count(str(to)) == err.lower().count("permission denied") == 2
            assert main(["migrate", APP, *migrate]) == 1
            assert "permission denied" in capsys.readouterr().err.lower()
            to.parent.chmod(0o700)
            to.chmod(0o700)
        assert (to / "api_key").read_text() == "fake-new"
