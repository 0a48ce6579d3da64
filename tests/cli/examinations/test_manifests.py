"""What manifests say about a stop, in all the ways in which they say it."""

import math
from pathlib import Path

import pytest

from hive_boot.cli.examinations.manifests import (
    graces,
    named_manifests,
    seconds_of,
    usual_manifests,
)
from tests.cli.examinations.patients import write

DEPLOYMENT = """\
# terminationGracePeriodSeconds: 1
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 25  # 5 + 5 + 8 + 1, and some
      containers:
        - name: hive
          lifecycle:
            preStop:
{pre_stop}
          livenessProbe: {{exec: {{command: [sleep, "99"]}}}}
"""


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("20", 20),
        ("10s", 10),
        ('"1m30s"', 90),
        ("1min 30s", 90),
        ("2 minutes", 120),
        ("500ms", 0.5),
        ("1h", 3600),
        ("1.5m", 90),
        ("3secs", 3),
        ("infinity", math.inf),
        ("{{ .Values.grace }}", None),
        ("5 apples", None),
        ("", None),
    ],
)
def test_time_spans_are_read_as_each_platform_writes_them(said: str, seconds: float | None) -> None:
    """Compose writes 1m30s, systemd 1min 30s, Kubernetes 90."""
    assert seconds_of(said) == seconds


LISTED = """\
              exec:
                command:
                  - sleep
                  - "5"
"""


@pytest.mark.parametrize(
    "pre_stop",
    [
        "              sleep:\n                seconds: 5",
        "              sleep: {seconds: 5}",
        '              exec: {command: ["sleep", "5"]}',
        '              exec:\n                command: ["/bin/sh", "-c", "sleep 5"]',
        LISTED,
        '              exec: {command: [python, -c, "import time; time.sleep(5)"]}',
    ],
)
def test_a_deployment_says_its_grace_and_its_pre_stop(tmp_path: Path, pre_stop: str) -> None:
    """Every usual way to wait before the signal counts towards the grace period."""
    file = write(tmp_path / "deployment.yaml", DEPLOYMENT.format(pre_stop=pre_stop))

    (grace,) = graces(file)

    assert (grace.platform, grace.seconds, grace.before) == ("kubernetes", 25, 5)
    assert grace.where == f"{file}:7"
    assert grace.said


def test_a_pre_stop_without_a_sleep_takes_no_time_that_is_known(tmp_path: Path) -> None:
    """What a request to a hook takes is in no manifest."""
    pre_stop = "              httpGet: {path: /stop, port: 80}"

    (grace,) = graces(write(tmp_path / "d.yaml", DEPLOYMENT.format(pre_stop=pre_stop)))

    assert grace.before == 0


def test_a_pod_that_says_nothing_has_the_default(tmp_path: Path) -> None:
    """It is 30 s, and what makes no pod has none."""
    service = "kind: Service\nspec: {}\n"
    patch = "kind: Deployment\nspec: {replicas: 2}\n"
    pod = "kind: Pod\nspec:\n  containers:\n    - name: hive\n"
    file = write(tmp_path / "all.yaml", f"{service}---\n{patch}---\n{pod}")

    (grace,) = graces(file)

    assert (grace.seconds, grace.said) == (30, False)
    assert grace.where == f"{file}:7"


def test_of_several_workloads_ours_is_judged(tmp_path: Path) -> None:
    """The database beside it stops as it likes."""
    pod = "kind: Pod\nspec:\n  terminationGracePeriodSeconds: {}\n  containers:\n    - image: {}\n"
    file = write(
        tmp_path / "all.yaml", f"{pod.format(1, 'postgres')}---\n{pod.format(40, 'hive-boot-app')}"
    )

    assert [grace.seconds for grace in graces(file)] == [40]


def test_json_is_read_too(tmp_path: Path) -> None:
    """Some tools write it."""
    text = (
        '{\n "kind": "Pod",\n "spec": {\n  "terminationGracePeriodSeconds": 12,\n'
        '  "containers": []\n }\n}\n'
    )

    assert [grace.seconds for grace in graces(write(tmp_path / "pod.json", text))] == [12]


def test_a_compose_file_says_it_for_each_service(tmp_path: Path) -> None:
    """A service that is built here is ours; the others are not judged."""
    text = """\
services:
  # the database
  db:
    image: postgres
    stop_grace_period: 1s
  app:
    build: .
    stop_grace_period: "1m30s"  # enough
  worker:
    build: .
secrets:
  api_key: {file: secrets/api_key}
"""
    file = write(tmp_path / "docker-compose.yml", text)

    app, worker = graces(file)

    assert (app.platform, app.seconds, app.where) == ("docker", 90, f"{file}:8")
    assert (worker.seconds, worker.said, worker.where) == (10, False, f"{file}:9")


def test_a_compose_service_that_inherits_is_passed_over(tmp_path: Path) -> None:
    """What it inherits is written somewhere else."""
    text = "services:\n  app:\n    <<: *base\n    image: app\n"

    assert graces(write(tmp_path / "compose.yaml", text)) == []


def test_a_compose_file_without_services_says_nothing(tmp_path: Path) -> None:
    """It is the beginning of one."""
    assert graces(write(tmp_path / "compose.yaml", "services:\n")) == []


def test_a_unit_says_it_in_seconds(tmp_path: Path) -> None:
    """Comments do not count, the last line does, and 0 is no bound."""
    text = "[Unit]\nDescription=x\n[Service]\n;TimeoutStopSec=1\n# TimeoutStopSec=2\n{}"
    file = tmp_path / "hive.service"

    write(file, text.format("TimeoutStopSec=1min 30s\n"))
    assert [(grace.seconds, grace.where) for grace in graces(file)] == [(90, f"{file}:6")]
    write(file, text.format("TimeoutSec=5\nTimeoutStopSec=0\n"))
    assert [grace.seconds for grace in graces(file)] == [math.inf]
    write(file, text.format(""))
    assert [(grace.seconds, grace.said) for grace in graces(file)] == [(90, False)]
    write(file, "[Socket]\n")
    assert graces(file) == []


def test_a_template_is_passed_over(tmp_path: Path) -> None:
    """What Helm puts in is not known here."""
    text = "kind: Pod\nspec:\n  terminationGracePeriodSeconds: {{ .x }}\n  containers:\n"

    assert graces(write(tmp_path / "pod.yaml", text)) == []


def test_manifests_are_found_where_they_usually_lie(tmp_path: Path) -> None:
    """``deploy`` with all below it, and the Compose files beside it."""
    names = [
        "compose.yaml",
        "deploy/docker-compose.yml",
        "deploy/k8s/deployment.yaml",
        "deploy/systemd/hive.service",
        "docker-compose.override.yml",
    ]
    for name in [*names, "deploy/README.md", "other/k8s.yaml"]:
        write(tmp_path / name, "")

    assert usual_manifests(tmp_path) == [tmp_path / name for name in names]
    assert usual_manifests(tmp_path / "other") == []


def test_manifests_are_named_one_by_one_or_by_their_directory(tmp_path: Path) -> None:
    """A file that is named is read, whatever it is called."""
    for name in ("k8s/a.yaml", "k8s/b.yml", "c.txt"):
        write(tmp_path / name, "")

    assert named_manifests([tmp_path / "k8s", tmp_path / "c.txt"]) == [
        tmp_path / "k8s/a.yaml",
        tmp_path / "k8s/b.yml",
        tmp_path / "c.txt",
    ]
