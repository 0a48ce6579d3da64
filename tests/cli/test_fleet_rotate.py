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
    """Return the version and the stage of each wait, and ``change`` for each change."""
    return [f"{step['wait'][0]} {step['wait'][2]}" if step["wait"] else "change" for step in steps]


def test_the_steps_depend_on_the_declaration(capsys: pytest.CaptureFixture[str]) -> None:
    """A value is accepted everywhere before its use, and unused before its revocation."""
    announced = (
        "change",  # announced
        "v2-announced accepted",
        "change",  # exchanged
        "v2 current",
        "change",  # replaced in the clients
        "v2 quiet",
        "change",  # deleted
        "v2-deleted accepted",
        "change",  # revoked
    )
    for names, wanted in (
        (["JWT_SECRET"], announced),
        (["WEBHOOK_SECRET"], announced),
        (["JWT_SECRET", "WEBHOOK_SECRET", "API_KEY"], announced),
        (["CLIENT_KEY"], ("change", "v2 accepted", "v2 current", "change", "v2 quiet", "change")),
        (["SIGNING_KEY"], ("change", "v2 accepted", "v2 current", "change")),
        (["API_KEY"], ("change", "v2 current", "change")),
    ):
        assert stages(plan(capsys, *names)) == [*wanted], names


def test_the_waits_have_the_options_of_the_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a timeout that the slowest step does not exceed."""
    (tmp_path / "token").write_text("fake-token", "utf-8")
    token = str(tmp_path / "token")
    steps = plan(capsys, "JWT_SECRET", "--expect", "3", "--credentials-file", token)
    accepted, current, quiet, deleted = (step["wait"] for step in steps if step["wait"])
    common = [*PROMETHEUS, "--credentials-file", token, "--expect", "3"]
    for wait, version in ((accepted, "v2-announced"), (deleted, "v2-deleted")):
        assert wait == [version, "--stage", "accepted", *common, "--timeout", "600"]
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


KUBECTL = r"""
import base64, json, re, sys

def read(file):
    return open(file).read()

path, (verb, *_) = STORE, sys.argv[1:]
if verb == "create":
    key, given, literal = sys.argv[5].split("=")[1], sys.stdin.read(), sys.argv[6].split("=", 1)[1]
    print(json.dumps({key: given, **dict([literal.split("=", 1)])}))
    sys.exit()
data = json.loads(read(path))
encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
if verb == "get":
    template = sys.argv[-1].removeprefix("go-template=")
    print(re.sub(r'\{\{index .data "([^"]+)"\}\}', lambda found: encoded[found[1]], template))
    sys.exit()
if verb == "apply":
    data |= json.load(sys.stdin)
elif "--type=merge" in sys.argv:
    encoded |= json.loads(sys.argv[-1])["data"]
    encoded = {key: value for key, value in encoded.items() if value is not None}
else:
    assert sys.argv[-1] == "--patch-file=/dev/stdin"
    for change in json.load(sys.stdin):
        key = change["path"].removeprefix("/data/")
        if change["op"] == "test" and encoded[key] != change["value"]:
            sys.exit("the server rejected our request: testing value failed")
        encoded[key] = change["value"]
if verb == "patch":
    data = {key: base64.b64decode(value).decode() for key, value in encoded.items()}
open(path, "w").write(json.dumps(data))
"""
"""A stand-in for kubectl with the options of a plan; the values of the Secret are in a file."""


def programs(directory: Path, store: Path) -> dict[str, str]:
    """Return the environment of a shell that finds ``hive-boot``, and a kubectl."""
    kubectl = directory / "kubectl.py"
    kubectl.write_text(KUBECTL.replace("STORE", repr(str(store))), "utf-8")
    for name, words in (("hive-boot", ["-m", "hive_boot"]), ("kubectl", [str(kubectl)])):
        program = directory / name
        command = shlex.join([sys.executable, *words])
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n', "utf-8")
        program.chmod(0o755)
    environment = child_environment(TMPDIR=str(directory))
    return {**environment, "PATH": f"{directory}:{environment['PATH']}"}


def execute(command: str, environment: dict[str, str], given: str) -> str:
    """Run a command in a shell, with a value on stdin, and return its output."""
    return subprocess.run(
        ["sh", "-c", command],  # noqa: S607  (the shell of the PATH)
        input=given,
        env=environment,
        text=True,
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout


OLD, NEW = "fake-jwt-secret-1", "fake-jwt-secret-2"
CONTENTS = [
    {"jwt_secret": OLD, "jwt_before": NEW, "secrets-version": "v2-announced"},
    {"jwt_secret": NEW, "jwt_before": OLD, "secrets-version": "v2"},
    {"jwt_secret": NEW, "secrets-version": "v2-deleted"},
]
"""The mounted values after each change, as in the table of docs/fleet.md."""


def test_the_commands_for_files_do_what_the_steps_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a shell, with the new value on stdin; an exchange that is repeated changes nothing."""
    secrets, temporary = tmp_path / "some secrets", tmp_path / "temporary"
    secrets.mkdir(mode=0o700)
    temporary.mkdir()
    (secrets / "jwt_secret").write_text(OLD, "utf-8")
    environment = programs(temporary, tmp_path)
    before = {*temporary.iterdir()}
    steps = plan(capsys, "JWT_SECRET", "--to", str(secrets))
    contents = []
    for step in (each for each in steps if each["commands"]):
        for command in step["commands"]:
            execute(command, environment, NEW)
        if step["title"].startswith("Exchange"):
            with pytest.raises(subprocess.CalledProcessError):
                execute(step["commands"][0], environment, NEW)
        contents.append({each.name: each.read_text("utf-8") for each in secrets.iterdir()})
    assert contents == CONTENTS
    assert {*temporary.iterdir()} == before


def test_an_exchange_that_fails_names_the_file_with_the_old_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second file cannot be written, after the first one was."""
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "jwt_secret").write_text(OLD, "utf-8")
    environment = programs(tmp_path, tmp_path)
    announce, exchange, _ = (
        step["commands"][0]
        for step in plan(capsys, "JWT_SECRET", "--to", str(secrets))
        if step["commands"]
    )
    execute(announce, environment, NEW)
    program = tmp_path / "hive-boot"
    text = program.read_text("utf-8")
    program.write_text(text.replace("exec", '[ "$2" = JWT_SECRET ] && exec', 1), "utf-8")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        execute(exchange, environment, "")
    assert (secrets / "jwt_secret").read_text("utf-8") == NEW
    assert Path(failed.value.stderr.split()[-1]).read_text("utf-8") == OLD


def test_the_commands_for_kubernetes_do_what_the_steps_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``hive-boot rotate`` prints a command itself, and a repeated exchange is rejected."""
    store = tmp_path / "secret.json"
    store.write_text(json.dumps({"jwt_secret": OLD, "secrets-version": "v1"}), "utf-8")
    environment = programs(tmp_path, store)
    contents = []
    for step in plan(capsys, "JWT_SECRET", "--kubernetes", "shop"):
        for command in step["commands"]:
            printed = execute(command, environment, "")
            if command.startswith("hive-boot"):
                execute(printed, environment, NEW)
            contents.append(json.loads(store.read_text("utf-8")))
        if step["title"].startswith("Exchange"):
            pipeline = f"set -o pipefail; {step['commands'][0]}"
            with pytest.raises(subprocess.CalledProcessError):
                execute(f"bash -c {shlex.quote(pipeline)}", environment, "")
    assert contents == CONTENTS


def test_several_secrets_change_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under one version for each step, because a change under the same one makes it unknown."""
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    names = ("jwt_secret", "webhook_secret", "api_key")
    for name in names:
        (secrets / name).write_text(f"fake-old-{name}", "utf-8")
    environment = programs(tmp_path, tmp_path)
    announce, exchange, delete = (
        step["commands"]
        for step in plan(capsys, *map(str.upper, names), "--to", str(secrets))
        if step["commands"]
    )
    contents = []
    for commands in (announce, exchange, delete):
        for number, command in enumerate(commands):
            execute(command, environment, f"fake-new-{number}-0123456789")
        contents.append({each.name: each.read_text("utf-8") for each in secrets.iterdir()})
    first, second, third = contents
    assert [each["secrets-version"] for each in contents] == ["v2-announced", "v2", "v2-deleted"]
    assert first["jwt_secret"] == second["jwt_before"] == "fake-old-jwt_secret"
    assert first["jwt_before"] == second["jwt_secret"] == "fake-new-0-0123456789"
    assert first["webhook_secret"] == second["webhook_before"] == "fake-old-webhook_secret"
    assert first["webhook_before"] == third["webhook_secret"] == "fake-new-1-0123456789"
    assert second["api_key"] == third["api_key"] == "fake-new-1-0123456789"
    assert {*third} == {*names, "secrets-version"}


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
    monkeypatch.setattr("hive_boot.cli.rotate._WAIT_TIMEOUT", 0.0)
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
        (["API_KEY", *APP[:3], "v 2", *PROMETHEUS], "must be"),
        (["JWT_SECRET", *APP[:3], "v" * 55, *PROMETHEUS], "-announced"),
        (["OTHER", *APP, *PROMETHEUS], "does not declare this secret"),
        (["JWT_SECRETS", *APP, *PROMETHEUS], "Did you mean JWT_SECRET?"),
        (["JWT_BEFORE", *APP, *PROMETHEUS], "Fix: rotate JWT_SECRET"),
        (["API_KEY", *APP, *PROMETHEUS, "--from-step", "0"], "from 1 to 3"),
        (["API_KEY", *APP, *PROMETHEUS, "--from-step", "4"], "from 1 to 3"),
        (["API_KEY", *APP, *PROMETHEUS, "--run"], "terminal"),
        (["API_KEY", *APP, *PROMETHEUS, "--run", "--json"], "terminal"),
        (
            ["JWT_SECRET", "--app", "tests.cli.declared:Needs", *APP[2:], *PROMETHEUS],
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
