"""Rotations of a fleet: no rejected token, no removal before proof, and each fault is named."""

from pathlib import Path
from typing import Any

import pytest

from examples.fleet.__main__ import FAULTS, Report, main, new_key, run
from examples.fleet.load import Load
from examples.fleet.processes import PROMETHEUS, Fleet, wait_until
from tests.docs.reading import blocks_of, dashboard_expressions, read_page

ROTATIONS = 10

NEEDS_PROMETHEUS = pytest.mark.skipif(
    PROMETHEUS is None, reason="Prometheus is not installed (Debian: prometheus)"
)

BOTH_SOURCES = pytest.mark.parametrize(
    "prometheus",
    [
        pytest.param(True, id="prometheus", marks=NEEDS_PROMETHEUS),
        pytest.param(False, id="targets"),
    ],
)


def assert_nothing_was_lost(report: Report, load: Load) -> None:
    """Compare the results with what is promised."""
    assert load.account.rejected == []
    assert report.before_proof == []
    assert report.unnamed == []
    assert load.account.verified > 100


@NEEDS_PROMETHEUS
def test_ten_rotations_of_twenty_instances_lose_no_token(tmp_path: Path) -> None:
    """Each of them replaces the key, and removes the old one, under load."""
    report, load = run(tmp_path, 20, ROTATIONS, "none", prometheus=True)

    assert_nothing_was_lost(report, load)
    assert len(load.keys) == ROTATIONS + 1
    assert {len(seconds) for seconds in report.stages.values()} == {ROTATIONS}


@NEEDS_PROMETHEUS
def test_every_expression_of_the_dashboard_can_be_asked(tmp_path: Path) -> None:
    """A real Prometheus evaluates each, and what every instance exports has a result."""
    fleet = Fleet(tmp_path, 2, {}, prometheus=True, interval=0.5)
    assert fleet.prometheus is not None
    query = fleet.prometheus.query
    try:
        fleet.start({"jwt_secret": new_key(), "keys-version": "1"})
        wait_until(lambda: query("count(count_over_time(hive_boot_ready[1m]) > 3) == 2"), "scrapes")
        found = {expression: bool(query(expression)) for expression in dashboard_expressions()}
    finally:
        fleet.stop()

    empty = [expression for expression, has_result in found.items() if not has_result]
    subjects = ("> 0", "== 0", "== 1", "expiry", "hook_failures", "restarts", "< on (job)")
    assert [each for each in empty if not any(subject in each for subject in subjects)] == []
    assert len(found) - len(empty) > 10


def test_the_example_prints_what_the_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """The block of docs/fleet.md has the lines of a run, whose figures are others."""
    blocks = blocks_of(read_page("docs/fleet.md"))
    (block,) = [each.text for each in blocks if each.language == "text"]

    status = main(["--instances", "3", "--targets"])

    printed = capsys.readouterr().out.splitlines()
    assert status == 0
    assert [line[:23] for line in block.splitlines()[1:]] == [line[:23] for line in printed]


@BOTH_SOURCES
@pytest.mark.parametrize("fault", [*FAULTS][1:])
def test_the_old_key_stays_until_the_fault_is_gone(
    tmp_path: Path,
    fault: str,
    prometheus: bool,  # noqa: FBT001  (a parameter)
) -> None:
    """A wait names the instance, and the removal comes after it was healed."""
    report, load = run(tmp_path, 5, 1, fault, prometheus=prometheus)

    assert_nothing_was_lost(report, load)


def test_a_removal_without_proof_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If every wait ended at once, the example itself would report what went wrong."""

    def wait(*_arguments: object) -> tuple[int, dict[str, Any]]:
        return 0, {"stragglers": []}

    monkeypatch.setattr(Fleet, "wait", wait)

    report, _load = run(tmp_path, 3, 1, "pinned", prometheus=False)

    assert any(each.startswith("proof in spite of") for each in report.before_proof)
    assert any(each.endswith("signs with the old key") for each in report.before_proof)


def test_a_rotation_without_a_second_key_rejects_tokens(tmp_path: Path) -> None:
    """The load notices it, so that 0 rejected tokens means something."""
    settings = {"ACTIVATE_AFTER": "0", "ACCEPT_OLD_FOR": "0", "TOKEN_LIFETIME": "3"}
    fleet = Fleet(tmp_path, 3, settings, prometheus=False, interval=1)
    load = Load(fleet, lifetime=3)
    load.keys += [new_key(), new_key()]
    try:
        fleet.start({"jwt_secret": load.keys[0], "keys-version": "0"})
        load.start()
        try:
            wait_until(lambda: load.account.verified, "a token")
            fleet.publish({"jwt_secret": load.keys[1], "keys-version": "1"}, 3)
            wait_until(lambda: load.account.rejected, "a rejected token")
        finally:
            load.stop()
    finally:
        fleet.stop()
