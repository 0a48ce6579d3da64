"""Whether the platform waits as long as a stop may take."""

from pathlib import Path
from typing import Any

import pytest

from hive_boot import Bootstrap
from hive_boot.cli.examinations.patient import Symptom
from hive_boot.cli.examinations.stopping import killed_too_soon
from tests.cli.examinations.patients import Needs, kinds, patient_of, write

POD = """\
kind: Pod
spec:
  terminationGracePeriodSeconds: {}
  containers:
    - lifecycle: {{preStop: {{sleep: {{seconds: 5}}}}}}
"""


def judged(tmp_path: Path, name: str, text: str, **options: Any) -> list[Symptom]:  # noqa: ANN401  (what Bootstrap takes)
    """Judge an application by one manifest."""
    file = write(tmp_path / name, text)
    return killed_too_soon(patient_of(tmp_path, manifests=[file], **options))


def test_a_grace_period_that_is_too_short_is_named_with_the_sum(tmp_path: Path) -> None:
    """The kubelet counts preStop, drain and stop together, and kills at the end."""
    (symptom,) = judged(tmp_path, "pod.yaml", POD.format(18))

    assert (symptom.severity, symptom.kind) == ("warning", "grace-period")
    assert "19 s (preStop 5 + drain 5 + stop 8 + 1)" in symptom.what
    assert symptom.where == f"{tmp_path / 'pod.yaml'}:3"
    assert symptom.mend.startswith("terminationGracePeriodSeconds: 20,")


def test_a_grace_period_that_is_long_enough_is_all_right(tmp_path: Path) -> None:
    """To the second."""
    assert judged(tmp_path, "pod.yaml", POD.format(19)) == []


def test_what_has_a_main_does_not_drain_by_itself(tmp_path: Path) -> None:
    """A worker has no clients that could be told to go elsewhere."""
    boot = Bootstrap(Needs)

    @boot.main
    async def main() -> None: ...

    file = write(tmp_path / "pod.yaml", POD.format(14))
    patient = patient_of(tmp_path, manifests=[file])
    plan = boot._plan  # noqa: SLF001  (as the command does)

    assert kinds(killed_too_soon(patient)) == [("warning", "grace-period")]
    assert killed_too_soon(patient._replace(plan=plan)) == []


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("compose.yaml", "services:\n  app:\n    image: x\n", "stop_grace_period: 35s"),
        ("x.service", "[Service]\nTimeoutStopSec=20\n", "TimeoutStopSec=35"),
    ],
)
def test_a_long_stop_needs_a_word_in_each_manifest(
    tmp_path: Path, name: str, text: str, line: str
) -> None:
    """The mend is the line to write."""
    (symptom,) = judged(tmp_path, name, text, stop_timeout=20, drain=10)

    assert "31 s (drain 10 + stop 20 + 1)" in symptom.what
    assert symptom.mend.startswith(f"{line},")


@pytest.mark.parametrize(
    ("mode", "stop", "bad"),
    [
        ("docker", 9, False),
        ("docker", 9.5, True),
        ("kubernetes", 24, False),
        ("kubernetes", 25, True),
        ("systemd", 89, False),
        ("systemd", 90, True),
        ("environment", 900, False),
    ],
)
def test_without_a_manifest_the_platforms_default_counts(
    tmp_path: Path, mode: str, stop: float, *, bad: bool
) -> None:
    """Docker waits 10 s, Kubernetes 30 s, systemd 90 s."""
    symptoms = killed_too_soon(patient_of(tmp_path, mode=mode, stop_timeout=stop))

    assert bool(symptoms) is bad
    assert all(f"{mode}'s default" in symptom.what for symptom in symptoms)
