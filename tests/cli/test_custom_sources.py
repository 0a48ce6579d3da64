"""Commands and `sources=`: `check` asks them, as a start does; no other command does."""

import json
from pathlib import Path
from typing import Any

import pytest

from hive_boot.cli.main import main
from tests.cli import with_sources
from tests.fixtures.golden import assert_golden

APP = "tests.cli.with_sources:boot"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide one of three secrets as a variable, and forget earlier calls."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "production")
    monkeypatch.setenv("API_KEY", "fake-api-key-of-a-variable")
    monkeypatch.setattr(with_sources.vault, "asked", [])
    monkeypatch.setattr(with_sources, "checked", [])


def facts(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, Any]:
    """Run a command, and return what it prints as JSON."""
    capsys.readouterr()
    assert main([arguments[0], APP, "--json", *arguments[1:]]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_check_asks(capsys: pytest.CaptureFixture[str]) -> None:
    """It is a dry run of a start: the values are checked, and their source is in the table."""
    found = facts(capsys, "check")
    assert with_sources.vault.asked == [("JWT_SECRET", "SENTRY_DSN")]
    places = {each["name"]: (each["source"], each["place"]) for each in found["secrets"]}
    assert places["JWT_SECRET"] == ("source", "vault")
    assert with_sources.checked == ["set", "application"]
    assert main(["check", APP]) == 0
    out = capsys.readouterr().out
    assert "vault" in out
    assert "fake-jwt" not in out


def test_check_reports_a_source_that_refuses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a start does: exit 78, and the report names it."""
    monkeypatch.setattr(with_sources.vault, "answer", PermissionError(13, "fake-credential"))
    assert main(["check", APP]) == 78
    out, err = capsys.readouterr()
    assert "fake-credential" not in out + err
    assert_golden("check_source_failed", f"{out}\n--- stderr ---\n{err}")
    kinds = [each["problems"] for each in facts(capsys, "check", status=78)["secrets"]]
    assert kinds == [[], ["missing"], []]


def test_doctor_asks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """What only a source can provide is a note; the checks that need everything are left out."""
    found = facts(capsys, "doctor")
    assert with_sources.vault.asked == []
    assert with_sources.checked == []
    (note,) = [each for each in found["findings"] if each["kind"] == "not-asked"]
    assert (note["severity"], note["names"]) == ("note", ["JWT_SECRET", "SENTRY_DSN"])
    assert found["check"]["problems"] == []
    assert [each["problems"] for each in found["check"]["secrets"]] == [[], [], []]


def test_doctor_checks_what_is_complete_without_a_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When files and variables provide everything, nothing is left out."""
    monkeypatch.setenv("JWT_SECRET", "fake-jwt-secret-of-a-variable")
    monkeypatch.setenv("SENTRY_DSN", "fake-dsn-of-a-variable")
    found = facts(capsys, "doctor")
    assert with_sources.vault.asked == []
    assert with_sources.checked == ["set", "application"]
    assert not [each for each in found["findings"] if each["kind"] == "not-asked"]


def test_manifests_ask_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """They need the declaration only."""
    assert main(["manifests", APP, "--target", "env-example"]) == 0
    assert with_sources.vault.asked == []
    assert "JWT_SECRET" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [tmp_path / "cwd"]
