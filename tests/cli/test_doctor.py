"""``hive-boot doctor``: its report, its exit status, and the values that it never shows."""

import json
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hive_boot.cli.doctor_checks import Finding
from hive_boot.cli.main import main
from hive_boot.secrets.platform import HostEnvironment
from tests.cli.doctor_checks.contexts import write
from tests.fixtures.golden import assert_golden
from tests.support import as_ordinary_user, move_to, run_child

APP = "tests.cli.doctor_checks.declared:boot"

Doctor = Callable[..., tuple[int, str, str]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the root of an empty machine, whose working directory is ``cwd``."""
    move_to(tmp_path, monkeypatch)
    monkeypatch.setattr(
        "hive_boot.cli.doctor.HostEnvironment",
        partial(HostEnvironment, root=str(tmp_path), pid=4711),
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


@pytest.fixture
def doctor(machine: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Return a function that runs the command: exit status, stdout and stderr."""
    assert machine.is_dir()

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["doctor", APP, *arguments])
        return status, *capsys.readouterr()

    return run


def findings_of(doctor: Doctor, *arguments: str) -> list[dict[str, Any]]:
    """Return the findings that the command prints as JSON."""
    load_result: list[dict[str, Any]] = json.loads(doctor("--json", *arguments)[1])["findings"]
    return load_result


def test_an_application_without_findings_exits_with_0(machine: Path, doctor: Doctor) -> None:
    """After the table of ``check``."""
    write(machine / "run/secrets/api_key", "fake-value-of-the-key")
    write(machine / "run/secrets/jwt_secret", "fake-value-of-jwt")

    status, out, err = doctor()

    assert (status, err) == (0, "")
    assert "API_KEY" in out
    assert findings_of(doctor) == []


def test_notes_exit_with_0(machine: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """CI can run the command, and fail only for warnings and errors."""
    write(machine / "run/secrets/api_key", "fake-value-of-the-key")
    monkeypatch.setenv("HIVE_BOOT_ENV_FALLBACK", "1")

    status, out, _ = doctor()

    assert status == 0
    assert [finding["severity"] for finding in findings_of(doctor)] == ["note"]
    assert out.endswith("\n1 note\n")


def test_warnings_exit_with_1(
    machine: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most severe findings come first, and are counted at the end."""
    write(machine / "run/secrets/api_key", "fake-value-of-the-key")
    write(machine / "run/secrets/sentry_dsn", "'fake-value'")
    pod = "kind: Pod\nspec:\n  terminationGracePeriodSeconds: 5\n  containers:\n"
    write(machine / "cwd/deploy/pod.yaml", pod)
    monkeypatch.setenv("HIVE_BOOT_ENV_FALLBACK", "1")
    monkeypatch.setenv("API_KEY", "fake-value-of-the-key")

    status, out, err = doctor()

    assert (status, err) == (1, "")
    assert_golden("doctor_report", out[out.index("warning: ") :], {str(machine): "/srv"})
    assert [(each["severity"], each["kind"]) for each in findings_of(doctor)] == [
        ("warning", "environment-copy"),
        ("warning", "quoted"),
        ("warning", "grace-period"),
        ("note", "env-fallback"),
    ]


def test_a_start_that_would_fail_exits_with_78(machine: Path, doctor: Doctor) -> None:
    """With the report of the failed start, and the findings."""
    write(machine / "run/secrets/sentry_dsn", " fake-value")

    status, out, err = doctor()

    assert status == 78
    assert "[space-around]" in out
    assert "API_KEY" in err


def test_an_invalid_mode_exits_with_78(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mode there are no sources, so nothing is checked."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "kubernets")

    status, out, err = doctor()
    assert (status, out) == (78, "")
    assert "HIVE_BOOT_MODE" in err

    status, out, err = doctor("--json")
    answer = json.loads(out)
    assert (status, err, answer["ok"], answer["findings"]) == (78, "", False, [])
    assert answer["check"]["problems"][0]["name"] == "HIVE_BOOT_MODE"


def test_json_has_the_check_the_findings_and_their_number(machine: Path, doctor: Doctor) -> None:
    """Every field of a finding is in it."""
    file = write(machine / "run/secrets/api_key", "fake-value-of-the-key ")

    status, out, err = doctor("--json")

    answer = json.loads(out)
    assert (status, err, answer["ok"]) == (1, "", False)
    assert answer["check"]["secrets"][0]["name"] == "API_KEY"
    assert answer["counts"] == {"error": 0, "warning": 1, "note": 0}
    (finding,) = answer["findings"]
    assert finding.keys() == {"severity", "kind", "message", "names", "locations", "fix"}
    assert (finding["severity"], finding["kind"]) == ("warning", "space-around")
    assert (finding["names"], finding["locations"]) == (["API_KEY"], [str(file)])


def test_warnings_of_the_check_are_reported_once(
    machine: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As findings with a fix, and not a second time above them."""
    write(machine / "run/secrets/api_key", "short")
    write(machine / "run/secrets/sentry_dsn", "")
    monkeypatch.setenv("API_KEY", "short")

    load_result = findings_of(doctor)
    _, out, _ = doctor()

    assert {each["kind"] for each in load_result} == {"short-value", "environment-copy", "empty"}
    assert all(each["severity"] == "warning" and each["fix"] for each in load_result)
    text = " ".join(out.split())
    assert [text.count(each["message"]) for each in load_result] == [1, 1, 1]


def test_settings_in_a_dotenv_file_and_defaults_are_reported(machine: Path, doctor: Doctor) -> None:
    """A setting has no effect there; a development default is a note."""
    write(machine / "cwd/.env", "API_KEY=fake-value-of-the-key\nHIVE_BOOT_MODE=docker\n")

    load_result = findings_of(doctor)

    assert [(each["severity"], each["kind"], each["names"]) for each in load_result] == [
        ("warning", "dotenv-setting", ["HIVE_BOOT_MODE"]),
        ("note", "development-default", ["JWT_SECRET"]),
    ]


def test_manifests_are_found_or_given(machine: Path, doctor: Doctor) -> None:
    """Those in ``./deploy``, or those of ``--manifests``."""
    write(machine / "run/secrets/api_key", "fake-value-of-the-key")
    pod = "kind: Pod\nspec:\n  terminationGracePeriodSeconds: {}\n  containers:\n"
    write(machine / "cwd/deploy/pod.yaml", pod.format(5))
    write(machine / "cwd/other/pod.yaml", pod.format(50))

    assert [each["locations"] for each in findings_of(doctor)] == [["deploy/pod.yaml:3"]]
    assert doctor("--manifests", "other")[0] == 0


def test_a_manifest_that_does_not_exist_exits_with_64(doctor: Doctor) -> None:
    """Before anything is imported or read."""
    status, out, err = doctor("--manifests", "gone.yaml")

    assert (status, out) == (64, "")
    assert "--manifests: gone.yaml" in err


def test_what_cannot_be_entered_is_no_crash(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest in a closed directory is a note, or 64 if it was named; so are loops of links."""
    with as_ordinary_user() as place:
        monkeypatch.chdir(place)
        api_key = write(place / "secrets/api_key", "fake-value-of-the-key")
        monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(api_key.parent))
        closed = write(place / "deploy/closed/pod.yaml").parent
        closed.chmod(0o400)
        found = findings_of(doctor)
        named = doctor("--manifests", "deploy/closed/pod.yaml")
        closed.chmod(0o700)
        (place / "loop").symlink_to("loop")
        looped = doctor("--manifests", "loop")
        monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", "loop")
        in_loop = main(["doctor", "tests.cli.doctor_checks.declared:watched"])
    assert [(each["kind"], each["locations"]) for each in found] == [
        ("manifest-unreadable", ["deploy/closed/pod.yaml"])
    ]
    assert (named[0], looped[0], in_loop) == (64, 64, 78)
    assert "Permission denied" in named[2]


def test_a_manifest_that_cannot_be_read_is_a_note(machine: Path, doctor: Doctor) -> None:
    """The other checks run, and the other manifests are compared."""
    write(machine / "run/secrets/api_key", "fake-value-of-the-key ")
    pod = write(machine / "pod.yaml", "kind: Pod\ncontainers:\nterminationGracePeriodSeconds: 5\n")
    os.mkfifo(machine / "docker-compose.yml")
    (machine / "endless.yaml").symlink_to("/dev/zero")
    # Even root cannot read the last one from its beginning.
    unreadable = [
        *(str(machine / name) for name in ("docker-compose.yml", "endless.yaml")),
        "/proc/self/mem",
    ]
    load_result = findings_of(doctor, "--manifests", *unreadable, str(pod))

    assert [(each["severity"], each["kind"]) for each in load_result] == [
        ("warning", "space-around"),
        ("warning", "grace-period"),
        *[("note", "manifest-unreadable")] * 3,
    ]
    assert [each["locations"] for each in load_result[2:]] == [[path] for path in unreadable]
    assert "is a FIFO" in load_result[2]["message"]


def test_lines_fit_80_columns_except_commands(
    machine: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command stays whole, to be copied; colours do not count."""
    command = f"chmod 600 {'x' * 90} {'y' * 20}"
    message = f"git {'tracks files of secrets ' * 9}".strip()
    finding = Finding(
        severity="warning",
        kind="x",
        message=message,
        locations=("/srv/a\nb",),
        fix=f"run `{command}` soon",
    )
    monkeypatch.setattr("hive_boot.cli.doctor.CHECKS", (lambda _: [finding],))
    monkeypatch.setenv("TERM", "xterm")
    write(machine / "run/secrets/api_key", "fake-value-of-the-key")
    _, out, _ = doctor()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    colored = doctor()[1]
    assert "\x1b[33mwarning:\x1b[0m git tracks" in colored

    for text in (out, colored):
        _, separator, report = re.sub(r"\x1b\[\d+m", "", text).partition("warning: ")
        lines = f"{separator}{report}".splitlines()
        assert [line for line in lines if command in line] == [f"    `{command}`"]
        assert r"  Location: /srv/a\nb" in lines
        others = [line for line in lines if command not in line]
        assert max(map(len, others)) <= 80
        assert message in " ".join(report.split())


def test_no_value_is_shown(machine: Path, doctor: Doctor) -> None:
    """Beyond what ``check`` shows, not even a masked value."""
    values = {
        "api_key": "fake-first-value-AAAA ",
        "jwt_secret": '"fake-second-value-BBBB"',
        "sentry_dsn": "-fake-third\r\nvalue-CCCC-",
    }
    for name, value in values.items():
        write(machine / "run/secrets" / name, value)

    _, out, err = doctor()
    report = out[out.index("warning: ") :]
    assert report.count("[") == 3
    answer = json.loads(doctor("--json")[1])
    assert len(answer["findings"]) == 3
    assert not re.search("AAA|BBB|CCC|fake", report + err + json.dumps(answer["findings"]))


def test_help_names_an_example_and_other_scanners(capsys: pytest.CaptureFixture[str]) -> None:
    """Doctor has only the checks that need the declaration."""
    with pytest.raises(SystemExit, match="0"):
        main(["doctor", "--help"])

    out = capsys.readouterr().out
    assert "hive-boot doctor app:boot --manifests deploy/k8s" in out
    for scanner in ("gitleaks", "trufflehog", "kube-linter", "checkov"):
        assert scanner in out
    assert max(map(len, out.splitlines())) <= 80


def test_it_runs_on_a_real_machine(tmp_path: Path) -> None:
    """In a process of its own, with the machine's own limits and mounts."""
    write(tmp_path / "secrets/api_key", "fake-value-of-the-key")
    source = "import sys; from hive_boot.cli.main import main; sys.exit(main(sys.argv[1:]))"

    done = run_child(
        source,
        "doctor",
        "tests.cli.doctor_checks.declared:watched",
        cwd=tmp_path,
        HIVE_BOOT_SECRETS_DIR=str(tmp_path / "secrets"),
    )

    assert done.returncode in {0, 1}, done.stderr
    assert done.stderr == ""
    assert "Traceback" not in done.stdout


FOLLOWING = """
from hive_boot import Bootstrap, Secret, SecretSet

class Needs(SecretSet):
    '''Secrets of the application.'''
    api_key: Secret

boot = Bootstrap(Needs, watch=True)

@boot.resource(rebuild_on="api_key")
async def pool(secrets: Needs) -> str:
    return secrets.api_key.reveal()

@boot.resource
async def cache(pool: str, secrets: Needs) -> str:
    return pool + secrets.api_key.reveal()

@boot.resource
async def mailer(secrets: Needs) -> str:
    return secrets.api_key.reveal()
"""


def test_a_resource_that_does_not_follow_is_named(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the secret that it reads; one that is rebuilt with what it takes is not."""
    write(machine / "run/secrets/api_key", "fake-value-of-the-key")
    write(machine / "cwd/following_app.py", FOLLOWING)

    assert main(["doctor", "following_app:boot", "--json"]) == 1

    findings = json.loads(capsys.readouterr().out)["findings"]
    found = [(each["kind"], each["names"]) for each in findings]
    assert found == [("no-rebuild", ["API_KEY", "mailer"])]
