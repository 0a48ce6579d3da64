"""Pages of docs/reference, compared with the code that they describe."""

import ast
import re
from typing import Any, Literal, get_args

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from hive_boot.cli.doctor_checks.configuration import _FIXES
from hive_boot.cli.fleet import COMMANDS as FLEET_COMMANDS
from hive_boot.cli.main import COMMANDS, main
from hive_boot.exceptions import BootError
from hive_boot.lifecycle.readiness import ContributorStatus
from hive_boot.runtime.log_messages import _NOTES, _WARNINGS
from hive_boot.runtime.status import Status, UseStatus
from hive_boot.secrets.platform import DEVELOPMENT_CONTAINERS, PLATFORM_VARIABLES
from hive_boot.serving.metrics import expose
from tests.docs.log_events import as_text, log_events
from tests.docs.reading import read_page
from tests.docs.test_architecture import rows, section
from tests.fixtures.golden import assert_generated
from tests.support import ROOT

PACKAGE = ROOT / "hive_boot"
SOURCE = "\n".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
ENVIRONMENT = read_page("docs/reference/environment.md")


def kinds(module: str, name: str) -> set[str]:
    """Return the texts of a Literal that a module declares for type checkers only."""
    known: dict[str, Any] = {"Literal": Literal}
    for block in ast.parse((PACKAGE / module).read_text("utf-8")).body:
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            for each in block.body:
                if isinstance(each, ast.Assign):
                    exec(ast.unparse(each), known)  # noqa: S102  (a part of the package)
    return set(get_args(known[name]))


PROBLEM_KINDS = kinds("exceptions.py", "ProblemKind")
WARNING_KINDS = kinds("secrets/load_result.py", "WarningKind")


def names_in(cells: list[str]) -> set[str]:
    """Return what is in backquotes in some cells."""
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_the_help_texts_are_current(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page has what `--help` prints, for hive-boot and for each command."""
    monkeypatch.setenv("COLUMNS", "80")
    parts = []
    for command in ("", *COMMANDS, *(f"fleet {each}" for each in FLEET_COMMANDS)):
        with pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        heading = f"hive-boot {command}".strip()
        parts.append(f"## {heading}\n\n```text\n{capsys.readouterr().out.rstrip()}\n```")
    text = "\n\n".join(parts)
    assert_generated("docs/reference/cli.md", "commands", text, ignore_spaces=True)


def test_the_variables_of_platforms_are_current() -> None:
    """The page has every platform that is detected, with its variables."""
    lines = [
        f"| {platform} | {', '.join(f'`{name}`' for name in variables.split())} |"
        for platform, variables in PLATFORM_VARIABLES.items()
    ]
    table = "\n".join(["| platform | variables |", "|---|---|", *lines])
    assert_generated("docs/reference/environment.md", "platforms", table)


def test_every_variable_that_is_read_is_named() -> None:
    """Each variable that a line of the package reads is on the page, and each named one is read."""
    calls = r'(?:variable|environ\.get|getenv|first_set|variables\(\)\.get)\(\(?\[?"(\w+)"'
    read = set(re.findall(calls, SOURCE)) | set(re.findall(r'"(HIVE_BOOT_[A-Z_]+)"', SOURCE))
    named = names_in([row[0] for row in rows(ENVIRONMENT)])
    named |= names_in([row[1] for row in rows(ENVIRONMENT)])

    assert {"HIVE_BOOT_MODE", "NO_COLOR", "APP_ENV"} <= read
    assert (read | {*DEVELOPMENT_CONTAINERS}) - named == set()
    upper = {name for name in named if re.fullmatch(r"[A-Z][A-Z_]{3,}", name)}
    unread = {name for name in upper if not re.search(rf"\b{name}\b", SOURCE)}
    assert unread == set()


def test_every_exit_status_is_explained() -> None:
    """The tables have the status of each error and of each failure of a command."""
    page = read_page("docs/reference/exit-codes.md")
    of_errors = {str(kind.exit_code) for kind in all_subclasses(BootError)}
    of_commands = set(re.findall(r"^EXIT_\w+ = (\d+)$", SOURCE, re.MULTILINE))
    application, command = (
        {row[0] for row in rows(section(page, heading))}
        for heading in ("Of an application", "Of hive-boot")
    )

    numbers = {text for text in application if text.isdigit()}
    assert numbers == of_errors | {"0"}
    assert {text for text in command if text.isdigit()} == of_errors | of_commands | {"0"}


def all_subclasses(kind: type[BootError]) -> set[type[BootError]]:
    """Return a class and everything below it."""
    return {kind}.union(*(all_subclasses(each) for each in kind.__subclasses__()))


def test_every_log_event_is_explained() -> None:
    """The tables have the text of every line that the package can log, and no other."""
    page = read_page("docs/reference/log-events.md")
    table = [re.sub(r"^(`+)(.*?) ?\1$", r"\2", row[1]) for row in rows(page)]
    logged = log_events() | {as_text(each) for each in (*_WARNINGS.values(), *_NOTES.values())}
    # RotationLog joins them from parts.
    verbs = re.findall(r'f"(\w+) \{_join\(names\)\}', SOURCE)
    joined = {f"{verb} …: generation …" for verb in verbs}

    assert len(joined) == 2
    assert sorted(logged | joined) == sorted(table)


def test_every_warning_has_its_kind() -> None:
    """The kinds of warnings and notes are in the tables, with the text of each."""
    page = read_page("docs/reference/log-events.md")
    table = {
        row[0]: row[1].strip("`") for row in rows(section(page, "Warnings and notes of a load"))
    }

    assert _WARNINGS.keys() == WARNING_KINDS
    assert table == {kind: as_text(text) for kind, text in (_WARNINGS | _NOTES).items()}


PROBLEMS = read_page("docs/reference/problems.md")


def test_every_problem_has_a_cause_and_a_fix() -> None:
    """The page has a heading with two sentences or more for each kind, and no other."""
    found = re.findall(r"^### (\S+)\n\n(.*?)(?=\n^#|\Z)", PROBLEMS, re.DOTALL | re.MULTILINE)

    assert sorted(kind for kind, _ in found) == sorted(PROBLEM_KINDS)
    assert [kind for kind, text in found if len(re.findall(r"[.:] ", text)) < 1] == []


def test_every_kind_of_problem_can_occur() -> None:
    """A kind that no line of the package produces would be explained in vain."""
    makers = r"""(?:Problem|problem|_lost)\(\s*(?:[^()"]*,\s*)?|kind(?:: \w+)? ?= ?|else """
    produced = set(re.findall(rf'(?:{makers})"([a-z-0-9]+)"|"([a-z-]+)" if ', SOURCE))
    produced = {first or second for first, second in produced} & PROBLEM_KINDS
    assert produced == PROBLEM_KINDS


def test_every_finding_of_doctor_is_explained() -> None:
    """The table has the kinds that the checks produce, besides those of warnings."""
    checks = "\n".join(
        path.read_text("utf-8") for path in (PACKAGE / "cli" / "doctor_checks").glob("*.py")
    )
    makers = r'(?:kind ?= ?(?:.*, )?|yield |_finding\(\s*)"([a-z-]+)"'
    produced = set(re.findall(makers, checks))
    table = {row[0] for row in rows(section(PROBLEMS, "Findings of doctor"))}

    assert table - produced == set()
    assert produced - table == set()
    assert set(_FIXES) == WARNING_KINDS


def test_every_metric_and_alert_is_explained() -> None:
    """The first table has each metric with its labels and type, and the last one each alert."""
    page = read_page("docs/reference/metrics.md")
    status = Status(
        hook_failures={"reconnect": 0},
        service_restarts={"poll": 0},
        contributors=(ContributorStatus("broker"),),
        certificates={"TLS_CRT": 1.0},
        secrets_version="1",
        secrets_version_in_use="1",
        process_id="f00dfeedc0ffee42",
        uses=(UseStatus(name="KEY", accept_old_for=1, current=0, pending=0, old=0, old_use_age=0),),
    )
    found = {
        sample.name: (set(sample.labels), family.type)
        for family in text_string_to_metric_families(expose(status)[1].decode())
        for sample in family.samples
        if sample.name.startswith("hive_boot_")
    }
    shown = re.findall(r"^\| `(hive_boot_\w+)(?:\{([\w,]+)\})?` \| (\w+) \|", page, re.MULTILINE)
    (rules,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    alerts = [rule["alert"] for rule in yaml.safe_load(rules)["groups"][0]["rules"]]

    labels = {name: ({*filter(None, label.split(","))}, kind) for name, label, kind in shown}
    assert labels == found
    assert set(re.findall(r"hive_boot_\w+", rules)) <= found.keys()
    assert [row[0].strip("`") for row in rows(section(page, "Alerts"))] == alerts
