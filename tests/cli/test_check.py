"""``hive-boot check``: what a start would say, without a start."""

import json
from pathlib import Path

import pytest

from hive_boot.cli.main import main

VALUE = "fake-jwt-secret-0123456789"


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have secrets be variables, in a profile that asks for little."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "environment")
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "test")
    monkeypatch.setenv("JWT_SECRET", VALUE)


def check(app: str, *more: str) -> int:
    """Ask about one of the declared applications."""
    return main(["check", f"tests.cli.declared:{app}", *more])


@pytest.mark.parametrize("app", ["boot", "Needs"])
def test_a_table_shows_every_secret_and_no_value(
    app: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Name, need, source and a mask of each, the one after a rotation too; exit 0."""
    assert check(app) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "Needs",
        "  mode      environment (HIVE_BOOT_MODE)",
        "  profile   test (HIVE_BOOT_PROFILE)",
        "",
        "NAME                 REQUIRED  SOURCE       VALUE       PROBLEM",
        "JWT_SECRET           yes       environment  fake...789  -",
        "JWT_SECRET_PREVIOUS  no        -            -           -",
        "CLIENT_KEY           no        -            -           -",
        "SENTRY_DSN           no        -            -           -",
        "",
        "A start would go on.",
    ]
    assert err == ""


def test_bytes_are_masked_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what may be no text nothing is shown."""
    monkeypatch.setenv("CLIENT_KEY", "fake-client-key-0123456789")
    assert check("boot") == 0
    assert "CLIENT_KEY           no        environment  ***         -" in capsys.readouterr().out


def test_all_problems_are_reported_as_a_start_would(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table has a word for each, stderr has the report, and the exit status is 78."""
    monkeypatch.setenv("JWT_SECRET", "fake")
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "production")
    assert check("boot") == 78
    out, err = capsys.readouterr()
    assert "JWT_SECRET           yes       -       -      length" in out
    assert "CLIENT_KEY           yes       -       -      missing" in out
    assert "hive_boot: 2 problems with Needs, so the service does not start" in err
    assert "JWT_SECRET has 4 characters, and at least 12 are needed" in err


def test_settings_are_judged_with_the_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no number is in the same report as what is missing."""
    monkeypatch.setenv("WORKERS", "several")
    monkeypatch.delenv("JWT_SECRET")
    assert check("configured") == 78
    err = capsys.readouterr().err
    assert "1. JWT_SECRET is missing" in err
    assert "Settings.workers is not valid" in err


def test_what_deserves_a_warning_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that no log can be searched for is named, and a start would go on."""
    monkeypatch.setenv("SENTRY_DSN", "short")
    assert check("boot") == 0
    assert "warning: Too short to be taken out of logs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("app", "value", "blamed"),
    [
        ("Checked", "fake-jwt-secret-of-no-use", "Checked"),
        ("Checked", "fake-jwt-secret-\N{BLACK SUN WITH RAYS}", "JWT_SECRET"),
        ("Awaited", "fake", "JWT_SECRET"),
        ("judged", "fake-jwt-secret-0123456789", "knows_the_door"),
    ],
)
def test_every_check_of_the_authors_is_asked(
    app: str,
    value: str,
    blamed: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a field, of the set, of the application, whether it has to be awaited or not."""
    monkeypatch.setenv("JWT_SECRET", value)
    assert check(app) == 78
    err = capsys.readouterr().err
    assert f"1. {blamed} was refused by its check" in err
    assert value not in err


@pytest.mark.parametrize(
    ("app", "value"),
    [
        ("Checked", "fake-good-jwt-secret"),
        ("Awaited", "fake-long-jwt-secret"),
        ("judged", "open-fake-jwt-secret"),
    ],
)
def test_what_passes_every_check_would_start(
    app: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no part is started for it."""
    monkeypatch.setenv("JWT_SECRET", value)
    assert check(app) == 0


def test_a_program_gets_the_same_in_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fact of the table and of the report, and no value."""
    monkeypatch.setenv("HIVE_BOOT_PROFILE", "production")
    assert check("boot", "--json") == 78
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert (facts["ok"], facts["mode"], facts["profile"]) == (False, "environment", "production")
    assert facts["secrets"][0] == {
        "name": "JWT_SECRET",
        "attribute": "jwt_secret",
        "required": True,
        "present": True,
        "source": "environment",
        "place": "JWT_SECRET",
        "masked": "fake...789",
        "used_by": "logins",
        "problems": [],
    }
    assert [(each["name"], each["problems"]) for each in facts["secrets"][2:]] == [
        ("CLIENT_KEY", ["missing"]),
        ("SENTRY_DSN", []),
    ]
    assert facts["problems"][0]["hint"] == "set the variable CLIENT_KEY"
    assert VALUE not in out
    assert err == ""


def test_a_set_that_is_right_is_so_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """`ok` is what a program asks."""
    assert check("boot", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["ok"], facts["problems"], facts["advice"]) == (True, [], [])


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_mode_that_means_nothing_is_a_problem(
    more: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be looked for then, and the report says why."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "kubernets")
    assert check("boot", *more) == 78
    out, err = capsys.readouterr()
    assert "HIVE_BOOT_MODE" in (out if more else err)
    assert "near to it is 'kubernetes'" in (out if more else err)


@pytest.mark.parametrize(
    ("app", "told"),
    [("unwired", "nobody_knows"), ("tangled", "first")],
)
def test_what_cannot_be_wired_is_a_fault_of_the_code(
    app: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts that ask for each other, a parameter that nothing fills: exit 70, as a start."""
    assert check(app) == 70
    err = capsys.readouterr().err
    assert "hive_boot: DeclarationError:" in err
    assert told in err


def test_the_files_of_a_mount_are_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a mounted mode the source is the file."""
    (tmp_path / "jwt_secret").write_text(VALUE, "utf-8")
    monkeypatch.delenv("JWT_SECRET")
    monkeypatch.setenv("HIVE_BOOT_MODE", "docker")
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(tmp_path))
    assert check("boot") == 0
    assert "JWT_SECRET           yes       file    fake...789  -" in capsys.readouterr().out
