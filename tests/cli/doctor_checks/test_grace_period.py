"""Grace periods of manifests, compared with the time that a shutdown can take."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hive_boot import Bootstrap
from hive_boot.cli.doctor_checks import Finding
from hive_boot.cli.doctor_checks.grace_period import (
    expand_manifests,
    find_manifests,
    grace_periods,
    parse_time_span,
    short_grace_period,
)
from tests.cli.doctor_checks.contexts import Needs, context_of, kinds, write

DEPLOYMENT = """\
# terminationGracePeriodSeconds: 1
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 25  # 5 + 5 + 8 + 1, and a reserve
      containers:
        - name: hive
          lifecycle:
            preStop:
{pre_stop}
          livenessProbe: {{exec: {{command: [sleep, "99"]}}}}
"""

SLEEP_AS_LIST = """\
              exec:
                command:
                  - sleep
                  - "5"
"""

POD = """\
kind: Pod
spec:
  terminationGracePeriodSeconds: {}
  containers:
    - lifecycle: {{preStop: {{sleep: {{seconds: 5}}}}}}
"""


def findings_for(directory: Path, name: str, text: str, **options: Any) -> list[Finding]:  # noqa: ANN401  (options of Bootstrap)
    """Return the findings for an application with one manifest."""
    file = write(directory / name, text)
    return list(short_grace_period(context_of(directory, manifests=[file], **options)))


def test_a_short_grace_period_is_reported_with_the_sum(tmp_path: Path) -> None:
    """The kubelet counts preStop, delay and shutdown together."""
    (finding,) = findings_for(tmp_path, "pod.yaml", POD.format(18))

    assert kinds([finding]) == [("warning", "grace-period")]
    assert finding.names == ("terminationGracePeriodSeconds",)
    assert finding.locations == (f"{tmp_path / 'pod.yaml'}:3",)
    assert (
        "19 s (preStop 5 + shutdown_delay 5 + shutdown_timeout 8 + forced exit 1)"
        in finding.message
    )
    assert "terminationGracePeriodSeconds: 20" in finding.fix
    assert findings_for(tmp_path, "pod.yaml", POD.format(19)) == []


def test_a_hook_of_any_length_is_compared(tmp_path: Path) -> None:
    """A number of 400 digits is cut off."""
    text = POD.format(18).replace("seconds: 5", f"seconds: {'9' * 400}")
    assert kinds(findings_for(tmp_path, "pod.yaml", text)) == [("warning", "grace-period")]


def test_an_application_with_a_main_has_no_default_delay(tmp_path: Path) -> None:
    """A worker has no clients."""
    boot = Bootstrap(Needs)

    @boot.main
    async def main() -> None: ...

    file = write(tmp_path / "pod.yaml", POD.format(14))
    context = context_of(tmp_path, manifests=[file])
    declarations = boot._declaration

    assert kinds(short_grace_period(context)) == [("warning", "grace-period")]
    assert not list(short_grace_period(replace(context, declarations=declarations)))


def test_the_grace_periods_of_the_application_count(tmp_path: Path) -> None:
    """The longest one of main and services passes together with the shutdown delay."""
    for main, service, delay, total, term in (
        (20, 0, 5, 29, "grace_period 20"),
        (3, 30, 5, 39, "grace_period 30"),
        (3, 4, 5, 14, "shutdown_delay 5"),
        (5, 5, 5, 14, "shutdown_delay 5"),
        (7, 0, None, 16, "grace_period 7"),
    ):
        boot = Bootstrap(Needs, shutdown_delay=delay)

        @boot.main(grace_period=main)
        async def work() -> None: ...

        @boot.service(grace_period=service)
        async def consume() -> None: ...

        @boot.service
        async def poll() -> None: ...

        declarations = boot._declaration
        for seconds, count in ((total - 1, 1), (total, 0)):
            file = write(tmp_path / "x.service", f"[Service]\nTimeoutStopSec={seconds}\n")
            context = context_of(tmp_path, manifests=[file])
            found = list(short_grace_period(replace(context, declarations=declarations)))
            assert len(found) == count, (main, service, delay)
            for finding in found:
                assert f"{total} s ({term} + shutdown_timeout 8" in finding.message
                assert f"{term.split()[0]}=" in finding.fix


def test_the_fix_is_the_line_to_write(tmp_path: Path) -> None:
    """In the form of each platform, rounded up."""
    manifests = {
        "compose.yaml": ("services:\n  app:\n    image: x\n", "stop_grace_period: 35s"),
        "x.service": ("[Service]\nTimeoutStopSec=20\n", "TimeoutStopSec=35"),
    }
    for name, (text, line) in manifests.items():
        (finding,) = findings_for(tmp_path, name, text, shutdown_timeout=20, shutdown_delay=10)

        assert "31 s (shutdown_delay 10 + shutdown_timeout 20 + forced exit 1)" in finding.message
        assert line in finding.fix


def test_without_a_manifest_the_default_of_the_platform_counts(tmp_path: Path) -> None:
    """Docker waits 10 s, Kubernetes 30 s, systemd 90 s; an unknown platform is not judged."""
    longest = {"docker": 9, "kubernetes": 24, "systemd": 89}
    for mode, seconds in longest.items():
        assert not list(
            short_grace_period(context_of(tmp_path, mode=mode, shutdown_timeout=seconds))
        )
        (finding,) = short_grace_period(
            context_of(tmp_path, mode=mode, shutdown_timeout=seconds + 0.5)
        )
        assert (finding.kind, finding.locations) == ("grace-period", ()), mode
    assert not list(
        short_grace_period(context_of(tmp_path, mode="environment", shutdown_timeout=900))
    )


def test_time_spans_are_parsed_in_the_form_of_each_platform() -> None:
    """Compose writes 1m30s, systemd 1min 30s, Kubernetes 90."""
    expected = {
        "20": 20,
        "10s": 10,
        '"1m30s"': 90,
        "1min 30s": 90,
        "2 minutes": 120,
        "500ms": 0.5,
        "1h": 3600,
        "1.5m": 90,
        "3secs": 3,
        "infinity": math.inf,
        "{{ .Values.grace }}": None,
        "5 apples": None,
        "": None,
    }
    assert {text: parse_time_span(text) for text in expected} == expected


def test_a_pre_stop_hook_counts_towards_the_grace_period(tmp_path: Path) -> None:
    """In every usual form of a sleep; the time of a request is not known."""
    hooks = {
        "              sleep:\n                seconds: 5": 5,
        "              sleep: {seconds: 5}": 5,
        '              exec: {command: ["sleep", "5"]}': 5,
        '              exec:\n                command: ["/bin/sh", "-c", "sleep 5"]': 5,
        SLEEP_AS_LIST: 5,
        '              exec: {command: [python, -c, "import time; time.sleep(5)"]}': 5,
        "              httpGet: {path: /stop, port: 80}": 0,
        f"              exec: {{command: [sleep, {'9' * 400}]}}": 999_999_999,
    }
    for pre_stop, seconds in hooks.items():
        file = write(tmp_path / "deployment.yaml", DEPLOYMENT.format(pre_stop=pre_stop))

        (grace,) = grace_periods(file)

        assert (grace.platform, grace.seconds, grace.explicit) == ("kubernetes", 25, True)
        assert (grace.pre_stop, grace.location) == (seconds, f"{file}:7"), pre_stop


def test_a_pod_without_a_setting_has_the_default(tmp_path: Path) -> None:
    """A document that creates no pod is skipped."""
    service = "kind: Service\nspec: {}\n"
    patch = "kind: Deployment\nspec: {replicas: 2}\n"
    pod = "kind: Pod\nspec:\n  containers:\n    - name: hive\n"
    file = write(tmp_path / "all.yaml", f"{service}---\n{patch}---\n{pod}")

    (grace,) = grace_periods(file)

    assert (grace.seconds, grace.explicit, grace.location) == (30, False, f"{file}:7")


def test_a_workload_that_names_hive_boot_is_preferred(tmp_path: Path) -> None:
    """The database in the same file is not judged."""
    pod = "kind: Pod\nspec:\n  terminationGracePeriodSeconds: {}\n  containers:\n    - image: {}\n"
    documents = [pod.format(1, "postgres"), pod.format(40, "hive-boot-app")]
    file = write(tmp_path / "all.yaml", "---\n".join(documents))

    assert [grace.seconds for grace in grace_periods(file)] == [40]


def test_json_manifests_are_read(tmp_path: Path) -> None:
    """Some tools write JSON."""
    text = (
        '{\n "kind": "Pod",\n "spec": {\n  "terminationGracePeriodSeconds": 12,\n'
        '  "containers": []\n }\n}\n'
    )

    assert [grace.seconds for grace in grace_periods(write(tmp_path / "pod.json", text))] == [12]
    probe, hook = '"exec": {"command": ["sleep", "99"]}', '"preStop": {"sleep": {"seconds": 5}}'
    containers = f'"containers": [{{{probe}, "lifecycle": {{{hook}}}, {probe}}}]'
    (grace,) = grace_periods(write(tmp_path / "x.json", f'{{\n"kind": "Pod",\n{containers}}}'))
    assert (grace.seconds, grace.pre_stop) == (30, 5)


def test_a_compose_file_has_one_for_each_service(tmp_path: Path) -> None:
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

    app, worker = grace_periods(file)

    assert (app.platform, app.seconds, app.location) == ("docker", 90, f"{file}:8")
    assert (worker.seconds, worker.explicit, worker.location) == (10, False, f"{file}:9")


def test_a_unit_has_a_timeout(tmp_path: Path) -> None:
    """Comments do not count, the last line does, and 0 means no limit."""
    text = "[Unit]\nDescription=x\n[Service]\n;TimeoutStopSec=1\n# TimeoutStopSec=2\n{}"
    file = tmp_path / "hive.service"

    write(file, text.format("TimeoutStopSec=1min 30s\n"))
    assert [(grace.seconds, grace.location) for grace in grace_periods(file)] == [(90, f"{file}:6")]
    write(file, text.format("TimeoutSec=5\nTimeoutStopSec=0\n"))
    assert [grace.seconds for grace in grace_periods(file)] == [math.inf]
    write(file, text.format(""))
    assert [(grace.seconds, grace.explicit) for grace in grace_periods(file)] == [(90, False)]


def test_what_cannot_be_known_is_skipped(tmp_path: Path) -> None:
    """A template, a service that inherits, a file without a service."""
    pod = "kind: Pod\nspec:\n  terminationGracePeriodSeconds: {{ .x }}\n  containers:\n"
    files = {
        "pod.yaml": pod,
        "compose.yaml": "services:\n  app:\n    <<: *base\n    image: app\n",
        "docker-compose.yaml": "services:\n",
        "hive.service": "[Socket]\n",
    }
    for name, text in files.items():
        assert grace_periods(write(tmp_path / name, text)) == [], name


def test_manifests_are_found_in_the_usual_locations(tmp_path: Path) -> None:
    """``deploy`` with its subdirectories, and Compose files."""
    names = [
        "compose.yaml",
        "deploy/docker-compose.yml",
        "deploy/k8s/deployment.yaml",
        "deploy/systemd/hive.service",
        "docker-compose.override.yml",
    ]
    for name in [*names, "deploy/README.md", "other/k8s.yaml"]:
        write(tmp_path / name, "")

    assert find_manifests(tmp_path) == [tmp_path / name for name in names]
    assert find_manifests(tmp_path / "other") == []


def test_manifests_are_given_as_files_or_directories(tmp_path: Path) -> None:
    """A given file is read whatever its name is."""
    files = [write(tmp_path / name, "") for name in ("k8s/a.yaml", "k8s/b.yml", "c.txt")]

    assert expand_manifests([tmp_path / "k8s", tmp_path / "c.txt"]) == files


@pytest.mark.parametrize("name", ["a.yaml", "a.service"])
@pytest.mark.parametrize(
    "line",
    [
        "# a comment\n",
        "\n",
        " ",
        "preStop:\n",
        "---\nkind: Pod\n",
        "  a:\n",
        "sleep\n",
        "[Service]\n",
        "preStop: ",
        f"preStop: sleep:{' ' * 10_000}\n",
        f"preStop: sleep: #{'x' * 10_000}\n",
    ],
)
def test_a_manifest_of_the_maximum_size_is_searched(tmp_path: Path, name: str, line: str) -> None:
    """A search whose time grows with the square of the size would take hours."""
    head = "[Service]\n" if name == "a.service" else "kind: Pod\ncontainers:\n"
    file = write(tmp_path / name, head + line * (((1 << 20) - len(head)) // len(line)))

    assert {each.explicit for each in grace_periods(file)} == {False}


def test_hooks_below_hooks_are_searched_once(tmp_path: Path) -> None:
    """Each line belongs to one hook; the time does not grow with the depth."""
    hooks = "".join(f"{' ' * depth}preStop:\n" for depth in range(1400))
    file = write(tmp_path / "a.yaml", f"kind: Pod\ncontainers:\n{hooks}{' ' * 1400}sleep 5\n")

    assert [each.pre_stop for each in grace_periods(file)] == [5]


def test_a_larger_manifest_is_not_read(tmp_path: Path) -> None:
    """The limit is 1 MiB."""
    with pytest.raises(OSError, match="is larger"):
        grace_periods(write(tmp_path / "a.yaml", "#" * ((1 << 20) + 1)))
