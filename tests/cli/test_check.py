"""``hive-boot check``: the problems of a start, without a start."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hive_boot.cli.main import main
from hive_boot.secrets.fields import VERSION_RULE
from tests.fixtures.golden import assert_golden

VALUE = "fake-jwt-secret-0123456789"


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set secrets as variables, in a profile that requires little."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "test")
    monkeypatch.setenv("JWT_SECRET", VALUE)


def check(app: str, *more: str) -> int:
    """Run the command on one of the declared applications."""
    return main(["check", f"tests.cli.declared:{app}", *more])


Facts = Callable[..., dict[str, Any]]


@pytest.fixture
def facts(capsys: pytest.CaptureFixture[str]) -> Facts:
    """Return what runs the command and returns its report for programs."""

    def facts(app: str, *, status: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert check(app, "--json") == status
        out, err = capsys.readouterr()
        assert err == ""
        assert VALUE not in out
        answer: dict[str, Any] = json.loads(out)
        return answer

    return facts


def test_a_valid_set_is_a_table_and_exit_0(capsys: pytest.CaptureFixture[str]) -> None:
    """The table has the length of each secret, and a row for each previous one."""
    assert check("boot") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert_golden("check_ok", out)
    assert check("Needs") == 0
    assert capsys.readouterr().out == out


def test_all_problems_of_secrets_and_settings_are_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table has their kinds, stderr has the report, and the exit status is 78."""
    monkeypatch.setenv("JWT_SECRET", "fake")
    monkeypatch.setenv("WORKERS", "several")
    monkeypatch.setenv("SENTRY_DSN", "short")
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "production")
    assert check("configured") == 78
    out, err = capsys.readouterr()
    assert_golden("check_report", f"{out}\n--- stderr ---\n{err}")


def test_only_the_length_of_a_value_is_shown(
    facts: Facts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in characters, or in bytes for SecretBytes; no part of the value is shown."""
    for text, length, size in (("qxzöjqk-7q9z-vxw", 16, 17), ("€" * 1000, 1000, 3000)):
        monkeypatch.setenv("JWT_SECRET", text)
        monkeypatch.setenv("CLIENT_KEY", text)
        assert [each["length"] for each in facts("boot")["secrets"]] == [length, None, size, None]
        assert check("boot") == 0
        rows = capsys.readouterr().out.splitlines()
        assert f"  {length} characters  " in rows[5]
        assert f"  {size} bytes  " in rows[7]
        parts = {text[at : at + 3] for at in range(len(text))}
        assert not [part for part in parts if part in "".join(rows)]
    monkeypatch.setenv("SENTRY_DSN", "x")
    assert check("boot") == 0
    assert "  1 character  " in capsys.readouterr().out


def test_every_check_of_the_application_is_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks of fields, of the set and of the application are called; no resource is started."""
    for app, value, name in (
        ("Checked", "fake-jwt-secret-of-no-use", "Checked"),
        ("Checked", "fake-jwt-secret-\N{BLACK SUN WITH RAYS}", "JWT_SECRET"),
        ("Awaited", "fake", "JWT_SECRET"),
        ("judged", "fake-jwt-secret-0123456789", "knows_the_door"),
    ):
        monkeypatch.setenv("JWT_SECRET", value)
        assert check(app, "--json") == 78, app
        out = capsys.readouterr().out
        problems = json.loads(out)["problems"]
        assert [(each["name"], each["kind"]) for each in problems] == [(name, "check")]
        assert value == "fake" or value not in out
    for app, value in (
        ("Checked", "fake-good-jwt-secret"),
        ("Awaited", "fake-long-jwt-secret"),
        ("judged", "open-fake-jwt-secret"),
    ):
        monkeypatch.setenv("JWT_SECRET", value)
        assert check(app) == 0, app


def test_a_check_that_cannot_connect_is_exit_75(
    facts: Facts, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is retried until the timeout of a start."""
    (problem,) = facts("unreached", status=75)["problems"]
    assert (problem["name"], problem["kind"]) == ("database_answers", "unavailable")
    assert check("unreached") == 75
    assert "could not be reached" in capsys.readouterr().err


def test_json_has_the_facts_of_the_table_and_the_report(
    facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It contains no value."""
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "production")
    answer = facts("boot", status=78)
    assert (answer["ok"], answer["mode"], answer["profile"]) == (False, "environment", "production")
    assert answer["secrets"][0] == {
        "name": "JWT_SECRET",
        "attribute": "jwt_secret",
        "required": True,
        "present": True,
        "source": "environment",
        "place": "JWT_SECRET",
        "length": 26,
        "used_by": "logins",
        "problems": [],
    }
    assert [(each["name"], each["problems"]) for each in answer["secrets"][2:]] == [
        ("CLIENT_KEY", ["missing"]),
        ("SENTRY_DSN", []),
    ]
    assert "CLIENT_KEY" in answer["problems"][0]["fix"]
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "test")
    answer = facts("boot")
    assert (answer["ok"], answer["problems"], answer["advice"]) == (True, [], [])


def test_the_version_is_shown_if_the_declaration_has_one(
    facts: Facts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report has the version, or that it is unknown, with the reason if there is one."""
    missing = "it is missing; write it beside the values, after them"
    wrong = f"it must be {VERSION_RULE}"
    for profile, text, version, reason, shown in (
        ("test", "v7", "v7", "", "v7"),
        ("test", None, "", "", "unknown"),
        ("production", None, "", missing, f"unknown ({missing})"),
        ("production", "v 7", "", wrong, f"unknown ({wrong})"),
    ):
        monkeypatch.setenv("API_KEY", VALUE)
        monkeypatch.setenv("HIVE_BOOT_PROFILE", profile)
        monkeypatch.delenv("SECRETS_VERSION", raising=False)
        if text is not None:
            monkeypatch.setenv("SECRETS_VERSION", text)
        found = facts("Versioned")
        assert (found["secrets_version"], found["secrets_version_reason"]) == (version, reason)
        assert check("Versioned") == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[3] == f"  version   {shown}"
    found = facts("Awaited")
    assert (found["secrets_version"], found["secrets_version_reason"]) == (None, "")


def test_an_invalid_mode_is_a_problem(
    facts: Facts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No source is read, and the report names a similar valid mode."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "kubernets")
    (problem,) = facts("boot", status=78)["problems"]
    assert problem["name"] == "HIVE_BOOT_MODE"
    assert check("boot") == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert "'kubernetes'" in err


def test_parameters_that_cannot_be_filled_are_exit_70(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A cycle of resources is such an error too."""
    for app, data in (("unwired", "nobody_knows"), ("tangled", "first")):
        assert check(app) == 70
        err = capsys.readouterr().err
        assert "DeclarationError" in err
        assert data in err


def test_the_files_of_a_mount_are_read(
    tmp_path: Path, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a mounted mode the source is the file."""
    (tmp_path / "jwt_secret").write_text(VALUE, "utf-8")
    monkeypatch.delenv("JWT_SECRET")
    monkeypatch.setenv("HIVE_BOOT_MODE", "docker")
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(tmp_path))
    first = facts("boot")["secrets"][0]
    assert (first["source"], first["place"]) == ("file", str(tmp_path / "jwt_secret"))


def test_a_required_secret_behind_another_problem_is_missing(
    facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report has the unreadable `.env`, and the table has the missing secret."""
    os.mkfifo(".env")
    monkeypatch.delenv("JWT_SECRET")
    monkeypatch.setenv("HIVE_BOOT_MODE", "development")
    found = facts("boot", status=78)
    assert [each["problems"] for each in found["secrets"]] == [["missing"], [], [], []]
    assert [each["kind"] for each in found["problems"]] == ["unreadable"]
