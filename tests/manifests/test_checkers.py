"""The files of the example, judged by the tools that others judge theirs by. No network is used.

The tools are in an environment of their own, which ``make test`` makes.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hive_boot import Secret, SecretBytes, SecretSet, secret
from hive_boot.manifests.rendering import TARGETS, render
from tests.manifests.deployments import Versioned
from tests.manifests.deployments import deployment as deploy
from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Tool = Callable[..., subprocess.CompletedProcess[str]]

TOOLS = Path(sys.prefix) / "tools" / "bin"
COMPOSE = ("docker-compose.yml", "deploy/docker-compose.yml")
KUBERNETES = tuple(
    f"deploy/k8s/{name}.yaml"
    for name in ("deployment", "service", "poddisruptionbudget", "networkpolicy", "secret")
)
UNIT = "deploy/systemd/hive.service"

_YAMLLINT = """\
extends: default
rules:
  line-length: {max: 110}
  document-start: disable
  # Lines that wait behind a # are where they belong without it.
  comments-indentation: disable
  # 0400 is what everybody writes for a mode.
  octal-values: disable
"""


def call(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a tool in a copy of the repository's deployment; skip where there is none."""
    path = TOOLS / program if (TOOLS / program).exists() else shutil.which(program)
    if path is None or (path != TOOLS / program and not program.startswith(("kubectl", "systemd"))):
        pytest.skip(f"no {program} here: make test installs those of PyPI into .venv/tools")
    try:
        return subprocess.run(
            [str(path), *arguments],
            cwd=cwd,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=100,
            check=False,
        )
    except OSError as exc:
        pytest.skip(f"{program} is for another machine: {exc.strerror}")


def kubernetes_validate(
    place: Path, files: Sequence[str] = KUBERNETES
) -> subprocess.CompletedProcess[str]:
    """Judge by the schemas of Kubernetes, in which nothing unknown may stand."""
    return call("kubernetes-validate", "--strict", *files, cwd=place)


def hadolint(
    place: Path, files: Sequence[str] = ("deploy/Dockerfile",)
) -> subprocess.CompletedProcess[str]:
    """Judge the Dockerfile, and the shell in it."""
    return call("hadolint", "--no-color", *files, cwd=place)


def compose_schema(place: Path, files: Sequence[str] = COMPOSE) -> subprocess.CompletedProcess[str]:
    """Judge by the schema of the Compose specification."""
    return call("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files, cwd=place)


def compose_config(place: Path, *, file: str) -> subprocess.CompletedProcess[str]:
    """Read it as ``docker compose config`` does."""
    done = call("docker-compose", "--file", file, "config", "--quiet", cwd=place)
    if "Exec format error" in done.stderr:
        pytest.skip("the docker-compose that PyPI has is for another machine")
    # The package's wrapper ends with 0 in any case.
    done.returncode = done.returncode or len(done.stderr)
    return done


def yamllint(
    place: Path, files: Sequence[str] = (*COMPOSE, "deploy/k8s")
) -> subprocess.CompletedProcess[str]:
    """Judge the form of YAML."""
    return call("yamllint", "--strict", "--config-data", _YAMLLINT, *files, cwd=place)


def kustomize(place: Path) -> subprocess.CompletedProcess[str]:
    """Put the resources together as ``kubectl apply -k`` does."""
    return call("kubectl", "kustomize", "deploy/k8s", cwd=place)


def systemd_verify(place: Path) -> subprocess.CompletedProcess[str]:
    """Read the unit as systemd does, with a program where it wants one."""
    unit = place / UNIT
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text()))
    done = call("systemd-analyze", "verify", "--man=no", UNIT, cwd=place)
    # An unknown name is a warning to it, and here a mistake.
    told = [line for line in done.stderr.splitlines() if "hive.service" in line]
    done.returncode = done.returncode or len(told)
    return done


def systemd_security(place: Path) -> subprocess.CompletedProcess[str]:
    """Judge how much the unit is exposed: 10 is everything."""
    options = ("--offline=true", "--threshold=15", "--no-pager")
    return call("systemd-analyze", "security", *options, UNIT, cwd=place)


_CONFIGS = {f"compose_config {file}": partial(compose_config, file=file) for file in COMPOSE}
CHECKS: dict[str, Tool] = {
    "kubernetes-validate": kubernetes_validate,
    "hadolint": hadolint,
    "compose schema": compose_schema,
    **_CONFIGS,
    "yamllint": yamllint,
    "kubectl kustomize": kustomize,
    "systemd-analyze verify": systemd_verify,
    "systemd-analyze security": systemd_security,
}

VALIDATE, KUSTOMIZE = "kubernetes-validate", "kubectl kustomize"
K8S = "deploy/k8s"
DEPLOYMENT = f"{K8S}/deployment.yaml"

TYPOS = {
    VALIDATE: [
        (DEPLOYMENT, "readOnlyRootFilesystem", "readOnlyRootFilesytem"),
        (DEPLOYMENT, "securityContext:", "securtyContext:"),
        (DEPLOYMENT, "preStop:", "prestop:"),
        (f"{K8S}/service.yaml", "targetPort", "targetport"),
        (f"{K8S}/poddisruptionbudget.yaml", "maxUnavailable", "maxUnavailible"),
        (f"{K8S}/networkpolicy.yaml", "policyTypes", "policyType"),
        (f"{K8S}/secret.yaml", "stringData", "stringdata"),
    ],
    "hadolint": [
        ("deploy/Dockerfile", "RUN python3", "RNU python3"),
        ("deploy/Dockerfile", "HEALTHCHECK", "HEALTCHECK"),
        ("deploy/Dockerfile", "slim AS build", "slim AS build\nMAINTAINER nobody"),
    ],
    "compose schema": [
        ("docker-compose.yml", "healthcheck:", "heathcheck:"),
        ("deploy/docker-compose.yml", "cap_drop:", "cap_dorp:"),
    ],
    "yamllint": [(f"{K8S}/secret.yaml", "type: Opaque", "type:  Opaque")],
    "compose_config docker-compose.yml": [("docker-compose.yml", "read_only:", "readonly:")],
    "compose_config deploy/docker-compose.yml": [
        ("deploy/docker-compose.yml", "- jwt_secret\n", "- jwt_secert\n")
    ],
    KUSTOMIZE: [
        (f"{K8S}/kustomization.yaml", "resources:", "resourses:"),
        (f"{K8S}/kustomization.yaml", "- service.yaml", "- services.yaml"),
    ],
    "systemd-analyze verify": [
        (UNIT, "RestartPreventExitStatus", "RestartPreventExitCode"),
        (UNIT, "LoadCredential=", "LoadCredentials="),
    ],
    "systemd-analyze security": [(UNIT, "DynamicUser", "DynamicUsers")],
}
"""By tool: a file, a text in it, and the misspelled text that replaces it."""

NAMING = (VALIDATE, "hadolint", "compose schema", "yamllint")
"""The tools that take several files at once, and name those that are wrong."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a copy of the files of the repository."""
    copy = tmp_path / "repository"
    shutil.copytree(ROOT / "deploy", copy / "deploy")
    shutil.copy(ROOT / "docker-compose.yml", copy)
    return copy


@pytest.mark.parametrize("name", CHECKS)
def test_a_checker_has_no_objection(name: str, place: Path) -> None:
    """What the repository holds is what these tools would let anybody deploy."""
    done = CHECKS[name](place)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["kubernetes-validate", "yamllint"])
def test_a_checker_has_no_objection_to_the_job(name: str, place: Path) -> None:
    """It is not among the files of the repository, whose example has no version."""
    made = deploy(Versioned, fleet_wait="http://prometheus:9090", fleet_selector='job="shop"')
    path = "deploy/k8s/fleet-wait.yaml"
    (place / path).write_text(render(made, ["kubernetes"])[path], "utf-8")
    done = CHECKS[name](place, [path])
    assert done.returncode == 0, done.stdout + done.stderr


def misspell(file: Path, right: str, wrong: str, to: Path) -> None:
    """Write a copy of a file in which one word is misspelled."""
    text = file.read_text("utf-8")
    assert right in text
    to.write_text(text.replace(right, wrong, 1), "utf-8")


@pytest.mark.parametrize("name", NAMING)
def test_a_typo_in_a_file_is_caught(name: str, place: Path) -> None:
    """Each tool that reads single files fails on a misspelled word, and names the file."""
    files = []
    for number, (path, right, wrong) in enumerate(TYPOS[name]):
        file = place / path
        copy = file.with_stem(f"{file.stem}-{number}")
        misspell(file, right, wrong, to=copy)
        files.append(str(copy.relative_to(place)))
    done = CHECKS[name](place, files)
    assert done.returncode != 0
    told = [line for line in (done.stdout + done.stderr).splitlines() if line[:4] != "INFO"]
    assert [file for file in files if not any(file in line for line in told)] == [], told


@pytest.mark.parametrize("name", [name for name in TYPOS if name not in NAMING])
def test_a_typo_is_caught(name: str, place: Path) -> None:
    """Each tool that reads the whole deployment fails on a single misspelled word."""
    for path, right, wrong in TYPOS[name]:
        copy = place.with_name(wrong.strip(" -:\n"))
        shutil.copytree(place, copy)
        misspell(copy / path, right, wrong, to=copy / path)
        done = CHECKS[name](copy)
        assert done.returncode != 0, done.stdout + done.stderr


class Odd(SecretSet):
    """Names that mean something to somebody."""

    one: Secret = secret(file="a b/$HOME/${X}.pem", used_by="a: b # c\n  d")
    two: SecretBytes = secret(file='"quoted" \\ back', used_by="- {{ e }}")
    three: Secret | None = secret(file="%d\u00e9")


ODD = {"A": "$HOME ${E} $(F) $$", "B": '50% "of" a\\b', "C": "yes", "D": "\u00e9 # no"}


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Return what is rendered of odd names."""
    deployment = deploy(Odd, env=ODD, copies=("a b",), writable=("/var/lib/shop",), name="hive")
    for path, text in render(deployment, TARGETS).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, "utf-8")
    return tmp_path


@pytest.mark.parametrize("name", [name for name in CHECKS if name != "yamllint"])
def test_odd_names_break_nothing(name: str, odd: Path) -> None:
    """Who calls files as nobody should has manifests all the same."""
    done = CHECKS[name](odd)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_finds_what_was_meant(odd: Path) -> None:
    """After all that Compose puts into texts, names and settings are those of the declaration."""
    options = ("--file", COMPOSE[1], "config", "--format", "json")
    done = call("docker-compose", *options, cwd=odd)
    if "Exec format error" in done.stderr:
        pytest.skip("the docker-compose that PyPI has is for another machine")
    found = json.loads(done.stdout)
    (service,) = found["services"].values()
    # What it prints can be read again, so a dollar sign is doubled.
    settings = {name: value.replace("$$", "$") for name, value in service["environment"].items()}
    assert {name: settings[name] for name in ODD} == ODD
    targets = [each["target"].replace("$$", "$") for each in service["secrets"]]
    assert targets == [f"/run/secrets/{item.file}" for item in deploy(Odd).items[:2]]
    files = [each["file"].replace("$$", "$") for each in found["secrets"].values()]
    assert {str(Path(file).relative_to(odd / "deploy/secrets")) for file in files} == {
        item.file for item in deploy(Odd).items[:2]
    }


UNSAFE = {
    "CKV_K8S_22": ("k8s/deployment.yaml", "readOnlyRootFilesystem", "readOnlyRootFilesytem"),
    "CKV_K8S_37": ("k8s/deployment.yaml", "drop: [ALL]", "drop: []"),
    "CKV_K8S_38": ("k8s/deployment.yaml", "automountServiceAccountToken", "automountToken"),
    "CKV_K8S_31": ("k8s/deployment.yaml", "seccompProfile:", "secompProfile:"),
    "CKV_DOCKER_8": ("Dockerfile", "USER 10001:10001", "USER root"),
    "CKV_DOCKER_2": ("Dockerfile", "HEALTHCHECK --interval=10s", "# --interval=10s"),
}


def test_checkov_has_no_objection_and_sees_what_is_unsafe(place: Path) -> None:
    """What is left out stands in a file, with the reason. It takes seconds, so it runs once."""
    for check, (path, right, wrong) in UNSAFE.items():
        copy = place / check
        shutil.copytree(place / "deploy", copy)
        text = (copy / path).read_text("utf-8")
        assert right in text
        (copy / path).write_text(text.replace(right, wrong, 1), "utf-8")
    config = str(ROOT / "deploy/.checkov.yaml")
    done = call(
        *("checkov", "--config-file", config, "--output", "json", "--directory", "."), cwd=place
    )
    found: dict[str, set[str]] = {}
    for report in json.loads(done.stdout):
        assert report["summary"]["parsing_errors"] == 0
        for failed in report["results"]["failed_checks"]:
            found.setdefault(failed["file_path"].split("/")[1], set()).add(failed["check_id"])
    assert found.get("deploy", set()) == set()
    assert {check for check in UNSAFE if check in found.get(check, set())} == set(UNSAFE)
