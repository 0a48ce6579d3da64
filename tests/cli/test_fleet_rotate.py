"""``hive-boot fleet rotate``: the steps of a rotation, and the waits that ``--run`` executes."""

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hive_boot.cli.main import main
from tests.cli.fleets import Fleet, Process, fleet
from tests.fixtures.golden import assert_golden
from tests.support import child_environment

assert fleet  # a fixture

APP = ("--app", "tests.cli.rotated:Versioned", "--set-version", "v2")
PROMETHEUS = ("--prometheus", "http://prometheus:9090", "--selector", 'job="shop"')


def plan(capsys: pytest.CaptureFixture[str], *typed: str) -> list[dict[str, Any]]:
    """Return the steps of a plan."""
    sources = () if "--target" in typed else PROMETHEUS
    assert main(["fleet", "rotate", *typed, *APP, *sources, "--json"]) == 0
    steps: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return steps


def stages(steps: list[dict[str, Any]]) -> list[str]:
    """Return the stage of each wait, and ``change`` for each change."""
    return [step["wait"][2] if step["wait"] else "change" for step in steps]


def test_the_steps_depend_on_the_declaration(capsys: pytest.CaptureFixture[str]) -> None:
    """Each revocation comes after the wait that proves it."""
    for name, wanted in (
        # The old value is saved, written, accepted, current, replaced, quiet, deleted, revoked.
        ("JWT_SECRET", "change change accepted current change quiet change change"),
        ("WEBHOOK_SECRET", "change change accepted current change quiet change change"),
        ("SIGNING_KEY", "change accepted current change"),
        ("API_KEY", "change current change"),
    ):
        assert stages(plan(capsys, name)) == wanted.split(), name


def test_the_waits_have_the_options_of_the_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a timeout that the slowest step does not exceed."""
    (tmp_path / "token").write_text("fake-token", "utf-8")
    token = str(tmp_path / "token")
    steps = plan(capsys, "JWT_SECRET", "--expect", "3", "--credentials-file", token)
    _, _, accepted, current, _, quiet, _, _ = (step["wait"] for step in steps)
    common = [*PROMETHEUS, "--credentials-file", token, "--expect", "3"]
    assert accepted == ["v2", "--stage", "accepted", *common, "--timeout", "600"]
    assert current == ["v2", "--stage", "current", *common, "--timeout", "720"]
    named = ["--timeout", "7800", "--secret", "JWT_SECRET"]
    assert quiet == ["v2", "--stage", "quiet", *common, *named]
    # Without accept_old_for the default quiet time would be 0.
    assert plan(capsys, "WEBHOOK_SECRET")[5]["wait"][-2:] == ["--quiet-for", "3600"]


def test_only_the_last_change_has_the_version_of_the_waits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Values that change under the same version make it unknown."""
    first, second = plan(capsys, "API_KEY", "SIGNING_KEY")[0]["commands"]
    assert "--set-version" not in first
    assert second.endswith("--set-version v2")


def test_the_plan_is_text_for_an_operator(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbered steps with their commands, from the given one on."""
    typed = ["fleet", "rotate", "JWT_SECRET", *APP, *PROMETHEUS]
    assert main(typed) == 0
    files = capsys.readouterr().out
    assert main([*typed, "--kubernetes", "shop-secrets"]) == 0
    assert_golden("fleet_plan", f"{files}\n{capsys.readouterr().out}")
    assert main([*typed, "--from-step", "6"]) == 0
    assert files.endswith(capsys.readouterr().out)


def test_the_commands_for_files_do_what_the_steps_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a shell, with the new value on stdin."""
    secrets = tmp_path / "some secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "jwt_secret").write_text("fake-jwt-secret-1", "utf-8")
    steps = plan(capsys, "JWT_SECRET", "--to", str(secrets))
    program = tmp_path / "hive-boot"
    program.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m hive_boot "$@"\n', "utf-8"
    )
    program.chmod(0o755)
    environment = child_environment()
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    contents = []
    for step in steps:
        for command in step["commands"]:
            subprocess.run(
                ["sh", "-c", command],  # noqa: S607  (the shell of the PATH)
                input="fake-jwt-secret-2",
                env=environment,
                text=True,
                check=True,
                capture_output=True,
                timeout=60,
            )
            contents.append({each.name: each.read_text("utf-8") for each in secrets.iterdir()})
    old, new = "fake-jwt-secret-1", "fake-jwt-secret-2"
    written = {"jwt_secret": new, "jwt_before": old, "secrets-version": "v2"}
    assert contents == [
        {"jwt_secret": old, "jwt_before": old, "secrets-version": "v2-saved"},
        written,
        {"jwt_secret": new, "secrets-version": "v2"},
        {"jwt_secret": new, "secrets-version": "v2-deleted"},
    ]


class Terminal(io.StringIO):
    """A stdin that is a terminal."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True


def test_run_executes_the_waits_and_asks_for_the_changes(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It makes no change itself."""
    server = fleet.serve(Process(id="a1"))
    typed = ["fleet", "rotate", "API_KEY", *APP, "--target", server.url, "--run"]
    monkeypatch.setattr("hive_boot.cli.fleet.time.sleep", lambda _: None)
    monkeypatch.setattr("sys.stdin", Terminal("yes\ny\n"))
    assert main(typed) == 0
    out, err = capsys.readouterr()
    assert "v2 is in use in 1 process." in out
    assert err.count("Enter yes when this is done: ") == 2
    monkeypatch.setattr("sys.stdin", Terminal("no\n"))
    server.requests.clear()
    assert main(typed) == 75
    assert server.requests == []
    assert capsys.readouterr().out.endswith("To continue later, add --from-step 1.\n")


def test_run_ends_at_a_wait_without_proof(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its exit status, before the next step."""
    server = fleet.serve(Process(id="a1", current="v1"))
    monkeypatch.setattr("hive_boot.cli.fleet._TIMEOUT", 0.0)
    monkeypatch.setattr("sys.stdin", Terminal())
    typed = ["--target", server.url, "--run", "--from-step", "2"]
    assert main(["fleet", "rotate", "API_KEY", *APP, *typed]) == 75
    out = capsys.readouterr().out
    assert out.endswith("To continue later, add --from-step 2.\n")
    assert "3. Revoke" not in out


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (["API_KEY", "--set-version", "v2", *PROMETHEUS], "--app"),
        (["API_KEY", *APP], "--prometheus"),
        (["API_KEY", "--app", "tests.cli.rotated:Versioned", *PROMETHEUS], "--set-version"),
        (["API_KEY", *APP, "--set-version", "v 2", *PROMETHEUS], "--set-version"),
        (["OTHER", *APP, *PROMETHEUS], "does not declare OTHER"),
        (["API_KEY", *APP, *PROMETHEUS, "--from-step", "0"], "from 1 to 3"),
        (["API_KEY", *APP, *PROMETHEUS, "--from-step", "4"], "from 1 to 3"),
        (["API_KEY", *APP, *PROMETHEUS, "--run"], "terminal"),
        (["API_KEY", *APP, *PROMETHEUS, "--run", "--json"], "terminal"),
        (
            ["JWT_SECRET", *APP, "--app", "tests.cli.declared:Needs", *PROMETHEUS],
            "declares no version",
        ),
    ],
)
def test_bad_use_is_64(typed: list[str], shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before a step is printed."""
    assert main(["fleet", "rotate", *typed]) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert shown in err
