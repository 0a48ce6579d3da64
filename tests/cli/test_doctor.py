"""``hive-boot doctor``: what it shows, what it ends with, and what it keeps to itself."""

import json
import re
import resource
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from resource import RLIMIT_CORE, RLIMIT_NOFILE
from typing import Any

import pytest

from hive_boot.cli.examinations.patient import Symptom
from hive_boot.cli.examinations.told import warnings_of_the_check
from hive_boot.cli.main import main
from hive_boot.secrets.surroundings import Surroundings
from tests.cli.examinations.patients import mounted, write
from tests.support import move_to, run_child

APP = "tests.cli.examinations.declared:boot"

Asked = Callable[..., tuple[int, str, str]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be on an empty machine, in its directory ``cwd``."""
    move_to(tmp_path, monkeypatch)
    monkeypatch.setattr(
        "hive_boot.cli.doctor.Surroundings", partial(Surroundings, root=str(tmp_path), pid=4711)
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    limits = {kind: resource.getrlimit(kind) for kind in (RLIMIT_CORE, RLIMIT_NOFILE)}
    resource.setrlimit(RLIMIT_CORE, (0, limits[RLIMIT_CORE][1]))
    yield tmp_path
    for kind, limit in limits.items():
        resource.setrlimit(kind, limit)


@pytest.fixture
def ask(machine: Path, capsys: pytest.CaptureFixture[str]) -> Asked:
    """Give what asks the doctor: the exit status, stdout and stderr."""
    assert machine.is_dir()

    def ask(*arguments: str, app: str = APP) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["doctor", app, *arguments])
        return status, *capsys.readouterr()

    return ask


def test_a_sound_application_ends_with_0(machine: Path, ask: Asked) -> None:
    """The table of ``check``, and one sentence that says so."""
    write(machine / "run/secrets/api_key", "fake-value-of-the-key")
    write(machine / "run/secrets/jwt_secret", "fake-value-of-jwt")

    status, out, err = ask()

    assert (status, err) == (0, "")
    assert "API_KEY" in out
    assert "warning" not in out


def test_a_remark_alone_is_no_illness(machine: Path, ask: Asked) -> None:
    """CI may run the doctor, and fail for what matters only."""
    write(machine / "run/secrets/api_key", "fake-value-of-the-key")
    write(machine / "run/secrets/other")

    status, out, _ = ask()

    assert status == 0
    assert out.endswith("\n1 remark\n")


def test_warnings_end_with_1_and_are_counted(machine: Path, ask: Asked) -> None:
    """Each with what, where and how to mend it; the worst first."""
    write(machine / "run/secrets/api_key", "fake-value-of-the-key")
    write(machine / "run/secrets/api_key.bak", "fake-old-value")
    write(machine / "run/secrets/other")
    write(machine / "run/secrets/sentry_dsn", " fake-value")

    status, out, _ = ask()

    assert status == 1
    assert f"where  {machine}/run/secrets/api_key.bak" in out
    assert f"mend  rm {machine}/run/secrets/api_key.bak" in out
    assert out.index("warning  ") < out.index("remark  ")
    assert out.endswith("\n2 warnings, 1 remark\n")


def test_what_the_check_refuses_ends_with_78(machine: Path, ask: Asked) -> None:
    """The report of a failed start, and what else was seen."""
    write(machine / "run/secrets/sentry_dsn", " fake-value")

    status, out, err = ask()

    assert status == 78
    assert "SENTRY_DSN begins or ends with white space" in out
    assert "1 problem with Needs" in err


def test_a_variable_that_means_nothing_ends_with_78(
    ask: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows where to look, so nothing is examined."""
    monkeypatch.setenv("HIVE_BOOT_MODE", "kubernets")

    status, out, err = ask()
    assert (status, out) == (78, "")
    assert "HIVE_BOOT_MODE has a value that means nothing" in err

    status, out, err = ask("--json")
    facts = json.loads(out)
    assert (status, err, facts["ok"], facts["findings"]) == (78, "", False, [])
    assert facts["check"]["problems"][0]["name"] == "HIVE_BOOT_MODE"


def test_json_says_the_same_to_programs(machine: Path, ask: Asked) -> None:
    """What ``check --json`` says, the findings, and their numbers."""
    write(machine / "run/secrets/api_key", "fake-value-of-the-key ")

    status, out, err = ask("--json")

    facts = json.loads(out)
    assert (status, err, facts["ok"]) == (1, "", False)
    assert facts["check"]["secrets"][0]["name"] == "API_KEY"
    assert facts["counts"] == {"error": 0, "warning": 1, "remark": 0}
    assert facts["findings"] == [
        {
            "severity": "warning",
            "kind": "space-around",
            "what": "API_KEY begins or ends with white space; only one final line end is taken "
            "away",
            "where": f"{machine}/run/secrets/api_key",
            "mend": "write it again without (printf '%s', not echo; one newline at the end is "
            "harmless)",
        }
    ]


def kinds(ask: Asked, *arguments: str) -> list[tuple[str, str, str]]:
    """Ask for the kinds of what is found, and what mends it."""
    _, out, _ = ask("--json", *arguments)
    found: list[dict[str, Any]] = json.loads(out)["findings"]
    return [(each["severity"], each["kind"], each["mend"]) for each in found]


def test_every_warning_of_the_check_comes_with_its_mend(
    machine: Path, ask: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``check`` says what it is; the doctor says what to do, and says it once."""
    write(machine / "run/secrets/api_key", "short")
    write(machine / "run/secrets/sentry_dsn", "")
    monkeypatch.setenv("API_KEY", "short")

    found = kinds(ask)

    assert {kind for _, kind, _ in found} == {"short-value", "environment-copy", "empty"}
    assert all(severity == "warning" and mend for severity, _, mend in found)
    assert ask()[1].count("Too short to be taken out of logs") == 1


def test_development_is_warned_of_settings_and_told_of_defaults(machine: Path, ask: Asked) -> None:
    """A default is what it is for; a setting in ``.env`` does nothing at all."""
    write(machine / "cwd/.env", "API_KEY=fake-value-of-the-key\nHIVE_BOOT_MODE=docker\n")

    found = kinds(ask)

    assert [(severity, kind) for severity, kind, _ in found] == [
        ("warning", "dotenv-setting"),
        ("remark", "development-default"),
    ]
    assert all(mend for *_, mend in found)


def test_a_warning_that_is_new_is_not_lost(machine: Path) -> None:
    """Whatever ``check`` learns to say is told, with or without a mend."""
    patient = mounted(machine)
    patient.findings.warnings.append("Something else is odd")

    (symptom,) = warnings_of_the_check(patient)

    assert symptom == ("warning", "check", "Something else is odd", "", "")


def test_manifests_are_found_or_named(machine: Path, ask: Asked) -> None:
    """Those of ``./deploy`` by themselves, others by ``--manifests``."""
    write(machine / "run/secrets/api_key", "fake-value-of-the-key")
    pod = "kind: Pod\nspec:\n  terminationGracePeriodSeconds: {}\n  containers:\n"
    write(machine / "cwd/deploy/pod.yaml", pod.format(5))
    write(machine / "cwd/other/pod.yaml", pod.format(50))

    assert "where  deploy/pod.yaml:3" in ask()[1]
    assert ask("--manifests", "other")[0] == 0


def test_a_manifest_that_is_not_there_is_a_slip(ask: Asked) -> None:
    """It is said before anything is imported or read."""
    status, out, err = ask("--manifests", "gone.yaml")

    assert (status, out) == (64, "")
    assert "gone.yaml" in err


def test_what_cannot_be_looked_at_is_a_remark(machine: Path, ask: Asked) -> None:
    """A doctor who faints helps nobody: the other examinations go on."""
    write(machine / "run/secrets/api_key", "fake-value-of-the-key ")
    # Nobody can read it from its beginning, not even root.
    found = kinds(ask, "--manifests", "/proc/self/mem")

    assert [(severity, kind) for severity, kind, _ in found] == [
        ("warning", "space-around"),
        ("remark", "not-examined"),
    ]


def test_text_fits_80_columns(machine: Path, ask: Asked) -> None:
    """A terminal at night is narrow; only what cannot be broken is longer."""
    write(machine / "run/secrets/api_key", '"fake-value-of-the-key" ')

    _, out, _ = ask()

    lines = [line for line in out.splitlines() if str(machine) not in line]
    assert max(map(len, lines)) <= 80


def test_a_sentence_that_begins_like_a_command_is_wrapped_too(
    machine: Path, ask: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is to be copied stays whole."""
    symptom = Symptom("warning", "x", f"git {'tracks what holds secrets ' * 9}", mend="nothing")
    monkeypatch.setattr("hive_boot.cli.doctor.CHECKS", (lambda _: [symptom],))
    write(machine / "run/secrets/api_key", "fake-value-of-the-key")

    _, out, _ = ask()

    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_terminal_is_used_as_it_is(
    machine: Path, ask: Asked, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """Narrow ones too; a line over 100 columns is read by nobody."""
    write(machine / "run/secrets/api_key", '"fake-value-of-the-key" ')
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")

    _, out, _ = ask()

    assert "\x1b[33m  warning\x1b[0m" in out
    plain = re.sub(r"\x1b\[\d+m", "", out[out.index("A start would go on.") :])
    lines = [line for line in plain.splitlines() if str(machine) not in line]
    assert max(map(len, lines)) <= min(columns, 100)


def test_no_value_is_in_any_output(machine: Path, ask: Asked) -> None:
    """Not even masked, beyond what ``check`` shows."""
    values = [
        "fake-first-value-AAAA ",
        '"fake-second-value-BBBB"',
        "-fake-third\r\nvalue-CCCC-",
    ]
    for name, value in zip(("api_key", "jwt_secret", "sentry_dsn"), values, strict=True):
        write(machine / "run/secrets" / name, value)

    for arguments in ([], ["--json"]):
        _, out, err = ask(*arguments)
        told = out.partition("A start would go on.")[2] or out.partition('"findings"')[2]
        assert told
        assert not re.search("AAA|BBB|CCC|fake", told + err)


def test_help_shows_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    """An example is worth more than a list of options."""
    with pytest.raises(SystemExit, match="0"):
        main(["doctor", "--help"])

    out = capsys.readouterr().out
    assert "hive-boot doctor app:boot --manifests deploy/k8s" in out
    assert max(map(len, out.splitlines())) <= 80


def test_it_runs_on_a_real_machine(tmp_path: Path) -> None:
    """Whatever this machine is: an answer, no traceback, no exit status of its own."""
    write(tmp_path / "secrets/api_key", "fake-value-of-the-key")
    source = "import sys; from hive_boot.cli.main import main; sys.exit(main(sys.argv[1:]))"

    done = run_child(
        source,
        "doctor",
        "tests.cli.examinations.declared:watched",
        cwd=tmp_path,
        HIVE_BOOT_SECRETS_DIR=str(tmp_path / "secrets"),
    )

    assert done.returncode in {0, 1}, done.stderr
    assert done.stderr == ""
    assert "Traceback" not in done.stdout
