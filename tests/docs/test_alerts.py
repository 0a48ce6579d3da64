"""The rules for Prometheus and the dashboard for Grafana, judged by Prometheus itself."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.reading import DASHBOARD, dashboard_expressions, read_page
from tests.support import ROOT

RULES = ROOT / "deploy" / "prometheus" / "hive_boot.rules.yml"
CASES = RULES.with_name("hive_boot.rules.test.yml")
METRICS = set(
    re.findall(
        r"^\| `(hive_boot_\w+)(?:\{.*?\})?` \|",
        read_page("docs/reference/metrics.md"),
        re.MULTILINE,
    )
)

PROMTOOL = shutil.which("promtool")
NEEDS_PROMTOOL = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)"
)


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run promtool with a subcommand and a file."""
    return subprocess.run(
        [PROMTOOL or "promtool", *arguments], capture_output=True, text=True, check=False
    )


def alerts() -> dict[str, dict[str, Any]]:
    """Return the rules by the name of their alert."""
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


@NEEDS_PROMTOOL
def test_prometheus_accepts_the_rules() -> None:
    """Each expression and template can be parsed."""
    done = promtool("check", "rules", str(RULES))

    assert done.returncode == 0, done.stderr
    assert f"{len(alerts())} rules found" in done.stdout


@NEEDS_PROMTOOL
def test_each_alert_fires_for_what_it_is_for() -> None:
    """Each is tried at a moment when it is silent, and at one when it names the instance."""
    tried = [
        (case["alertname"], "exp_alerts" in case)
        for test in yaml.safe_load(CASES.read_text("utf-8"))["tests"]
        for case in test["alert_rule_test"]
    ]
    assert set(tried) == {(name, fires) for name in alerts() for fires in (True, False)}

    done = promtool("test", "rules", str(CASES))

    assert done.returncode == 0, done.stdout + done.stderr


@NEEDS_PROMTOOL
def test_a_case_of_promtool_can_fail(tmp_path: Path) -> None:
    """With a rule that waits longer its case fails, so that the file is really read."""
    text = RULES.read_text("utf-8").replace("for: 5m", "for: 30m", 1)
    (tmp_path / RULES.name).write_text(text, "utf-8")
    shutil.copy(CASES, tmp_path)

    done = promtool("test", "rules", str(tmp_path / CASES.name))

    assert done.returncode == 1
    assert "ServiceNotReady" in done.stdout + done.stderr


def test_the_page_shows_the_rules_and_explains_each() -> None:
    """The block of docs/reference/metrics.md is the file, and its table has every alert."""
    page = read_page("docs/reference/metrics.md")
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)

    assert block == RULES.read_text("utf-8")
    table = page[page.index("| alert |") :]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(alerts())


def test_rules_and_dashboard_use_metrics_that_exist() -> None:
    """Each name is in the table of the page, and each metric of a fleet is in the dashboard."""
    used = {"rules": RULES.read_text("utf-8"), "dashboard": "\n".join(dashboard_expressions())}
    for text in used.values():
        assert set(re.findall(r"hive_boot_\w+", text.replace(RULES.name, ""))) <= METRICS

    unused = METRICS - set(re.findall(r"hive_boot_\w+", used["dashboard"]))
    assert unused == {
        "hive_boot_generation",  # differs between instances with the same secrets
        "hive_boot_last_change_timestamp_seconds",  # the same as the drawn versions
        "hive_boot_last_read_timestamp_seconds",  # an alert
    }


@NEEDS_PROMTOOL
def test_prometheus_accepts_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    """Each is a recording rule of a file that promtool parses."""
    rules = [
        {"record": f"panel:{number}", "expr": expr}
        for number, expr in enumerate(dashboard_expressions())
    ]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), "utf-8")

    done = promtool("check", "rules", str(file))

    assert done.returncode == 0, done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    """Each has a title, a description and a number of its own, and lies in the grid of 24."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["description"].endswith(".")
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not taken & cells, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
