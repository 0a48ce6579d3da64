"""What deploy/README.md tells people to type is what there is to type."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
import yaml

from hive_boot.cli.main import main
from tests.manifests.test_checkers import call
from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

TEXT = (ROOT / "deploy/README.md").read_text("utf-8")
LINES = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]
COMMANDS = [[*shlex.split(part)] for line in LINES for part in line.split(" | ")]
VALUES = {
    "OPENAI_API_KEY": "fake-openai-key-0123456789",
    "HIVE_API_KEY": "fake-hive-key-0123456789",
    "JWT_SECRET": "fake-jwt-secret-0123456789-0123456789",
}


def of(program: str) -> list[list[str]]:
    """Return the commands of one program."""
    found = [command[1:] for command in COMMANDS if command[0] == program]
    assert found
    return found


def test_every_command_of_ours_is_understood() -> None:
    """Each option that is shown exists."""
    for name, *words in of("hive-boot"):
        parsed = import_module(f"hive_boot.cli.{name}").parser().parse_args(words)
        assert parsed.app == "examples.hive.app:boot"


def test_no_other_program_is_asked_for() -> None:
    """What is shown are ordinary tools, those of the platforms, and ours."""
    assert {command[0] for command in COMMANDS} == {
        *("cp", "docker", "hive-boot", "install", "kubectl", "openssl", "python3", "systemctl"),
        "/opt/hive/.venv/bin/pip",
    }
    told = {command[1] for command in COMMANDS if command[0] == "docker"}
    assert told == {"build", "compose", "push"}


@pytest.mark.parametrize("directory", ["deploy/secrets", "/etc/credstore/hive"])
def test_the_secrets_are_made_as_it_says(
    directory: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Typed in this order, each platform has a file for every secret that it needs."""
    target = tmp_path / directory.strip("/")
    asked = []
    for program, *words in COMMANDS:
        if directory not in words:
            continue
        here = [str(target) if word == directory else word for word in words]
        if program == "install":
            subprocess.run([program, *here], check=True, timeout=60)
        elif program == "hive-boot":
            asked.append(words[1])
            value = f"{VALUES[words[1]]}-{len(asked)}"
            stdin = io.TextIOWrapper(io.BytesIO(value.encode()))
            monkeypatch.setattr(sys, "stdin", stdin)
            assert main(here) == 0
            assert value not in "".join(capsys.readouterr())
    assert asked == [*VALUES, "JWT_SECRET"]
    held = {path.name: path.read_text() for path in target.iterdir()}
    assert held == {
        name.lower(): f"{value}-{4 if name == 'JWT_SECRET' else at}"
        for at, (name, value) in enumerate(VALUES.items(), 1)
    }
    unit = (ROOT / "deploy/systemd/hive.service").read_text()
    compose = yaml.safe_load((ROOT / "deploy/docker-compose.yml").read_text())
    assert set(compose["secrets"]) == set(held)
    assert set(re.findall(r"(?m)^LoadCredential=.*/etc/credstore/hive/(\S+)$", unit)) == set(held)


def test_a_cluster_gets_a_secret_of_these_files(tmp_path: Path) -> None:
    """Its keys are what the pods look for."""
    (tmp_path / "deploy/secrets").mkdir(parents=True)
    for name, value in VALUES.items():
        (tmp_path / "deploy/secrets" / name.lower()).write_text(value)
    (words,) = [words for words in of("kubectl") if words[0] == "create"]
    done = call("kubectl", *words, "--dry-run=client", "--output=yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["data"]) == {name.lower() for name in VALUES}
    (name,) = [words[-1] for words in of("hive-boot") if "--kubernetes" in words]
    assert name == words[3]
    text = (ROOT / "deploy/k8s/deployment.yaml").read_text("utf-8")
    assert f"secretName: {name}\n" in text


def test_the_image_that_is_pushed_is_the_one_that_is_used() -> None:
    """It is built from the file that is here, and the overlay names it as it was pushed."""
    build, push = [words for words in of("docker") if words[0] != "compose"]
    assert build == ["build", "--file", "deploy/Dockerfile", "--tag", push[1], "."]
    assert push[0] == "push"
    assert push[1] == "registry.example/hive:1"


COMPOSE = [words for words in of("docker") if words[0] == "compose"]


@pytest.mark.parametrize(
    ("program", "commands"),
    [("kubectl", of("kubectl")), ("docker-compose", [words[1:] for words in COMPOSE])],
    ids=["kubectl", "docker-compose"],
)
def test_the_tools_of_the_platforms_know_the_options(
    program: str, commands: list[list[str]]
) -> None:
    """With ``--help`` behind it nothing is done, and an option that is unknown is refused."""
    for words in commands:
        done = call(program, *words, "--help", cwd=ROOT)
        assert done.returncode == 0, done.stderr
        assert "unknown" not in done.stderr


def test_an_overlay_is_what_it_says(tmp_path: Path) -> None:
    """The example of one puts namespace and image into what was rendered."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    shutil.copytree(ROOT / "deploy/k8s", tmp_path / "deploy/k8s")
    (tmp_path / "deploy/production").mkdir()
    (tmp_path / "deploy/production/kustomization.yaml").write_text(block)
    done = call("kubectl", "kustomize", "deploy/production", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "image: registry.example/hive:1\n" in done.stdout
    assert "namespace: hive\n" in done.stdout
    kinds = {document["kind"] for document in yaml.safe_load_all(done.stdout)}
    assert kinds == {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"}


def test_every_file_that_is_named_is_there() -> None:
    """The table of the files is of this repository."""
    for name in re.findall(r"(?m)^\| `([^`]+)`", TEXT.partition("## Compose")[0]):
        assert (ROOT / "deploy" / name).exists(), name
