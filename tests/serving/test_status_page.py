"""The status page without a browser: its static files, its headers, and the status as JSON."""

import json
import os
import re
import shutil
import socket
import subprocess
import tomllib
from dataclasses import fields, replace
from html.parser import HTMLParser
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import hive_boot
from hive_boot import Bootstrap, Secret, SecretSet
from hive_boot._timings import DEFAULTS, Timings
from hive_boot.lifecycle.states import State, TimelineEntry
from hive_boot.runtime.status import RotationStatus, SecretStatus, Status
from hive_boot.serving import status_page
from hive_boot.serving.endpoints import Response, handle_request
from tests.serving.statuses import (
    crowded,
    degraded,
    ready,
    secret_status,
    starting,
    stopping,
    unready,
)
from tests.support import ROOT

PATHS = ("/boot", "/boot.css", "/boot.js")

DIRECTORY = files("hive_boot.serving.status_page")

HTML = (DIRECTORY / "page.html").read_text("utf-8")

CSS = (DIRECTORY / "page.css").read_text("utf-8")

SCRIPT = (DIRECTORY / "page.js").read_text("utf-8")

VOID = {"meta", "link", "wbr", "br"}


class Reader(HTMLParser):
    """Reads a document and fails when an element is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Store an element."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Compare an end tag with the element that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Store the text of elements that a Content-Security-Policy would block."""
        if self.open[-1:] in (["script"], ["style"]):
            self.inline += data.strip()

    def values(self, attribute: str) -> list[str]:
        """Return the value of an attribute of every element that has it."""
        return [str(each[attribute]) for _, each in self.tags if attribute in each]


PAGE = Reader(HTML)


def request(path: str, status: Status | None = None, **more: Any) -> Response:  # noqa: ANN401
    """Request a path of an application."""
    return handle_request("GET", path, status or ready(), name="hive <hive>", **more)


def status_of(status: Status, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return what ``/boot.json`` contains for a status."""
    found: dict[str, Any] = json.loads(request("/boot.json", status, **more).body)
    return found


def test_each_file_has_its_media_type() -> None:
    """The browser gets each file with the type that ``nosniff`` requires, and caches none."""
    types = ("text/html", "text/css", "text/javascript")
    for path, media_type, text in zip(PATHS, types, (HTML, CSS, SCRIPT), strict=True):
        response = request(path)
        headers = dict(response.headers)
        assert (response.status, response.body.decode()) == (200, text)
        assert headers[b"content-type"].decode() == f"{media_type}; charset=utf-8"
        assert headers[b"x-content-type-options"] == b"nosniff"
        assert headers[b"cache-control"] == b"no-store"
        assert handle_request("HEAD", path, ready()).body == b""
    assert dict(request("/boot.json").headers)[b"content-type"] == b"application/json"
    assert dict(request("/boot.json").headers)[b"cache-control"] == b"no-store"


def test_the_page_is_the_same_for_every_application() -> None:
    """The files contain nothing of the application; that is in ``/boot.json`` alone."""
    for path in PATHS:
        bodies = {request(path, status).body for status in (Status(), degraded(), crowded())}
        assert len(bodies) == 1


def test_a_port_without_the_page_has_none_of_its_files() -> None:
    """Where only the probes are answered, the files of the page do not exist either."""
    for path in (*PATHS, "/boot.json"):
        assert handle_request("GET", path, ready(), only=("/readyz",)).status == 404


def test_the_policy_allows_only_what_the_page_needs() -> None:
    """The browser may load the script, the style and the status, and nothing else."""
    headers = dict(request("/boot").headers)
    policy = headers[b"content-security-policy"].decode()
    directives = dict(each.split(" ", 1) for each in policy.split("; "))
    assert directives == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert headers[b"referrer-policy"] == b"no-referrer"


def test_the_page_has_nothing_inline() -> None:
    """Neither the document nor the script contains what the policy would block."""
    assert PAGE.inline == ""
    assert not [name for _, each in PAGE.tags for name in each if name.startswith("on")]
    assert PAGE.values("style") == []
    assert "url(" not in CSS
    assert "@import" not in CSS


def test_the_script_writes_text_and_no_markup() -> None:
    """No function that parses markup or code is used."""
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|Function\(|srcdoc"
    assert re.findall(forbidden, SCRIPT) == []
    assert re.findall(r"https?://\S+", HTML + CSS) == []
    assert re.findall(r"https?://[^\s\"]+", SCRIPT) == ["http://www.w3.org/2000/svg"]


def test_every_address_is_relative() -> None:
    """The page finds its files and the endpoints below any prefix."""
    addresses = {*PAGE.values("src"), *PAGE.values("href")}
    assert {each for each in addresses if not each.startswith("#")} == {
        "data:,",
        "boot.css",
        "boot.js",
        "boot.json",
        "health",
        "metrics",
    }
    assert re.findall(r"fetch\((\w+)", SCRIPT) == ["STATUS_URL"]
    assert re.findall(r'new URL\("([^"]*)"', SCRIPT) == ["boot.json"]
    for each in addresses & {"boot.css", "boot.js", "boot.json", "health", "metrics"}:
        assert request(f"/{each}").status == 200


def test_the_document_is_labelled() -> None:
    """Language, headings, captions, scopes and roles are set, and every reference exists."""
    ids = PAGE.values("id")
    assert len(ids) == len(set(ids))
    assert PAGE.values("lang") == ["en"]
    assert "width=device-width, initial-scale=1" in PAGE.values("content")
    tags = [tag for tag, _ in PAGE.tags]
    assert tags.count("h1") == 1
    assert tags.count("caption") == tags.count("table") == 3
    assert all(each.get("scope") == "col" for tag, each in PAGE.tags if tag == "th")
    roles = {"table", "rowgroup", "row", "columnheader", "status"}
    assert set(PAGE.values("role")) == roles
    anchors = [each[1:] for each in PAGE.values("href") if each.startswith("#")]
    assert {*anchors, *PAGE.values("aria-labelledby")} <= set(ids)


def test_the_script_fills_elements_that_exist() -> None:
    """Each identifier in the script is one of the document."""
    named = set(re.findall(r'(?:fill|setHidden|getElementById)\("([\w-]+)"', SCRIPT))
    tables = {
        name.replace("${id}", table)
        for name in re.findall(r"(?:fill|setHidden)\(`([^`]+)`", SCRIPT)
        for table in re.findall(r'fillTable\("(\w+)"', SCRIPT)
    }
    assert len(named) >= 8
    assert len(tables) == 12
    assert named | tables <= set(PAGE.values("id"))


def test_without_javascript_the_page_names_the_json() -> None:
    """A browser that runs no script shows where the status is."""
    (text,) = re.findall(r"<noscript>(.*?)</noscript>", HTML, re.DOTALL)
    assert "JavaScript" in text
    before = HTML[: HTML.index("<noscript>")]
    assert '<a href="boot.json">' in before[before.index("<main>") :]
    assert '<div id="content" hidden>' in HTML


def test_the_json_has_every_field_of_the_status() -> None:
    """``/boot.json`` has what ``Bootstrap.status()`` has, the name and the time."""
    for status in (Status(), starting(), unready(), ready(), degraded(), stopping()):
        found = status_of(status)
        assert [each["passing"] for each in found["contributors"]] == [
            each.passing for each in status.contributors
        ]
        names = {field.name for field in fields(Status)}
        assert found.keys() == names | {"name", "version", "process", "time", "refresh_interval"}
        assert found["name"] == "hive <hive>"
        assert found["state"] == status.state
        assert found["reasons"] == list(status.reasons)
        assert [each["name"] for each in found["secrets"]] == [e.name for e in status.secrets]
        assert [each["verdict"] for each in found["rotations"]] == [
            each.verdict for each in status.rotations
        ]
        assert [(each["name"], each["end"]) for each in found["timeline"]] == [
            (each.name, each.end) for each in status.timeline
        ]
    assert found["secrets"][0].keys() == {field.name for field in fields(SecretStatus)}
    assert found["rotations"][0].keys() == {field.name for field in fields(RotationStatus)}
    assert found["timeline"][0].keys() == set(TimelineEntry.field_names)
    assert found["hook_failures"] == {"reconnect": 0, "agents": 0}


def test_the_process_is_identified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The version of the application's package, and where it runs."""
    found = status_of(replace(ready(), package="prometheus_client"))
    assert found["version"] == version("prometheus-client")
    assert status_of(replace(ready(), package="not_installed"))["version"] == ""
    assert status_of(Status())["version"] == ""
    host = socket.gethostname()
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    known = {"host": host, "pod": "", "pid": os.getpid(), "hive_boot": hive_boot.__version__}
    assert status_of(ready())["process"] == known
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert status_of(ready())["process"] == known | {"pod": host}
    namespace = tmp_path / "namespace"
    namespace.write_text("shop\n", encoding="utf-8")
    monkeypatch.setattr(status_page, "_NAMESPACE", namespace)
    assert status_of(ready())["process"] == known | {"pod": f"shop/{host}"}


def test_the_script_reads_fields_that_exist() -> None:
    """Each field that the script reads is in ``/boot.json``."""
    found = status_of(degraded())
    for name, known in (
        ("status", found),
        ("secret", found["secrets"][0]),
        ("rotation", found["rotations"][0]),
        ("step", found["timeline"][0]),
    ):
        read = set(re.findall(rf"\b{name}\.(\w+)\b(?!\()", SCRIPT))
        assert len(read) >= 3
        assert read <= known.keys()


def test_a_start_is_refreshed_more_often() -> None:
    """The interval is the one of the timings during a start, and five times as long afterwards."""
    assert DEFAULTS.page_refresh_interval == 2
    for status, interval in (
        (Status(), 2),
        (starting(), 2),
        (ready(), 10),
        (stopping(), 10),
        (ready(state=State.LOADING), 2),
    ):
        assert status_of(status)["refresh_interval"] == interval
    timings = Timings(page_refresh_interval=0.5)
    assert status_of(starting(), timings=timings)["refresh_interval"] == 0.5


@pytest.mark.anyio
async def test_no_text_contains_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value is removed from every text, also one that equals the name of a field."""

    class Own(SecretSet):
        token: Secret

    value = "refresh_interval"
    monkeypatch.setenv("TOKEN", value)
    status = ready(
        reasons=(value,),
        failed=value,
        mode_reason=value,
        secrets=(secret_status("A", place=value, used_by=value),),
        timeline=(TimelineEntry(name=value, kind="check", start=0.0, waits_for=(value,)),),
    )
    async with Bootstrap(Own, mode="environment").running():
        found = status_of(status)
        text = request("/boot.json", status).body.decode()
    assert text.count("***") == 7
    assert text.count(value) == 1
    assert found["refresh_interval"] == 10
    assert found["secrets"][0]["place"] == "***"


def test_a_path_need_not_be_unicode() -> None:
    """A file name that is not Unicode is shown with a question mark."""
    status = ready(secrets=(secret_status("A", place="/run/\udcff"),))
    assert status_of(status)["secrets"][0]["place"] == "/run/?"


def test_a_status_of_thousands_is_small_enough_to_send() -> None:
    """A thousand steps and two hundred secrets are a few hundred kilobytes."""
    body = request("/boot.json", replace(crowded(), failed="x")).body
    assert len(json.loads(body)["timeline"]) == 1000
    assert len(body) < 400_000


def test_the_files_are_in_the_wheel() -> None:
    """The wheel has the whole directory, because git ignores none of the files."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]
    assert build == {
        "targets": {
            "wheel": {"packages": ["hive_boot"]},
            "sdist": {"include": build["targets"]["sdist"]["include"]},
        }
    }
    assert "/hive_boot" in build["targets"]["sdist"]["include"]
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("the repository is needed to see what git ignores")
    names = [f"hive_boot/serving/status_page/page.{kind}" for kind in ("html", "css", "js")]
    ignored = subprocess.run(
        [git, "check-ignore", *names], cwd=ROOT, capture_output=True, check=False
    )
    assert (ignored.returncode, ignored.stdout) == (1, b"")
