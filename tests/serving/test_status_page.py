"""What the page for people says, and what it never says."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

import pytest

from hive_boot._timings import DEFAULTS
from hive_boot.lifecycle.states import State, TimelineEntry
from hive_boot.runtime.status import RotationStatus, Status
from hive_boot.serving.endpoints import handle_request
from hive_boot.serving.status_page import HEADERS, page
from tests.fixtures.golden import assert_golden
from tests.serving.statuses import (
    crowded,
    degraded,
    ready,
    secret_status,
    secrets,
    starting,
    stopping,
)

VOID = {"meta", "link", "wbr", "br"}

INLINE = {"b", "code", "small", "span", "wbr"}
"""Tags that do not start a new line."""

SITUATIONS = [
    Status(),
    starting(),
    ready(),
    ready(200),
    degraded(),
    stopping(),
    crowded(),
    ready(forked=True, watcher="off"),
]


@dataclass
class Row:
    """A row of a table: the text of each cell, and the class of each badge."""

    cells: list[str] = field(default_factory=list)
    badges: list[str] = field(default_factory=list)


class Reader(HTMLParser):
    """Reads a page as strictly as no browser does."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.rows: list[Row] = []
        self.feed(text)
        self.close()
        assert self.open == [], "something is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append(Row())
        elif tag in {"td", "th"}:
            self.rows[-1].cells.append("")
        elif "tr" in self.open and (kind := dict(attrs).get("class") or "").startswith("badge"):
            self.rows[-1].badges.append(kind)
        if tag in {"b", "small", "span"}:
            self.handle_data(" ")
        if tag not in INLINE:
            self.texts.append("\n")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Hold it against the one that was opened last."""
        assert self.open.pop() == tag
        if tag in {"td", "th"}:
            self.rows[-1].cells[-1] = " ".join(self.rows[-1].cells[-1].split())

    def handle_data(self, data: str) -> None:
        """Note what can be read."""
        if self.open[-1:] == ["style"]:
            return
        self.texts.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1].cells[-1] += data

    @property
    def text(self) -> str:
        """All that can be read, in one line."""
        return " ".join("".join(self.texts).split())

    @property
    def lines(self) -> list[str]:
        """The visible text, one line for each block element."""
        lines = (" ".join(line.split()) for line in "".join(self.texts).splitlines())
        return [line for line in lines if line]

    def row(self, name: str) -> Row:
        """Find the row that begins with a name."""
        (found,) = [row for row in self.rows if row.cells[0].split()[:1] == [name]]
        return found

    @property
    def notices(self) -> list[str]:
        """The class of each notice above everything else."""
        kinds = [each.get("class") or "" for each in self.all("section")]
        return [kind for kind in kinds if kind.startswith("notice ")]

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        """Give the attributes of every such tag."""
        return (attributes for name, attributes in self.tags if name == tag)


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the wall clock, by which the page tells how long ago something was."""
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0)


def test_it_is_one_sound_document_that_asks_for_nothing() -> None:
    """A page that is read in an outage needs no script, no network, and no other server."""
    for status in SITUATIONS:
        assert_sound(Reader(page("hive", status)))


def assert_sound(read: Reader) -> None:
    """Assert that a document is whole, refers to nothing outside, and is labelled."""
    names = {tag for tag, _ in read.tags}
    assert names.isdisjoint({"script", "img", "iframe", "object", "form", "video", "base"})
    assert next(read.all("html"))["lang"] == "en"
    assert any(each.get("name") == "viewport" for each in read.all("meta"))
    assert [str(each["href"])[:5] for each in read.all("link")] == ["data:"]
    assert {str(each["href"]) for each in read.all("a")} == {
        "#timeline",
        "#secrets",
        "#rotations",
        "health",
        "metrics",
    }
    assert len(list(read.all("h1"))) == 1
    assert all(each["scope"] in {"col", "row"} for each in read.all("th"))
    assert len(list(read.all("caption"))) == len(list(read.all("table")))
    known = {each["id"] for _, each in read.tags if "id" in each}
    assert {"timeline", "secrets", "rotations"} <= known
    assert {each["aria-labelledby"] for _, each in read.tags if "aria-labelledby" in each} <= known


def test_the_server_forbids_what_the_page_does_not_need() -> None:
    """Should a name ever bring markup, the browser is told to run and fetch nothing."""
    told = dict(handle_request("GET", "/boot", ready()).headers)
    policy = told[b"content-security-policy"].decode()
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert set(HEADERS) <= set(told.items())
    assert told[b"content-type"] == b"text/html; charset=utf-8"


def test_no_name_is_markup() -> None:
    """Whatever a name, a path or a reason holds is shown as it is."""
    evil = "<b onload='x'>\"&</b>"
    status = ready(
        degraded=True,
        reasons=(evil,),
        failed=evil,
        mode=evil,
        mode_reason=evil,
        profile=evil,
        profile_reason=evil,
        secrets=(secret_status(evil, used_by=evil, source=evil, place=evil),),
        rotations=(
            RotationStatus(at=1.0, generation=2, verdict="accepted", names=(evil,), duration=0.1),
        ),
        timeline=(
            TimelineEntry(
                name=evil, kind="resource", start=0.0, outcome="waiting", waits_for=(evil,)
            ),
        ),
    )
    text = page(evil, status)
    assert "onload='" not in text
    assert "<b onload" not in text
    assert Reader(text).text.count(evil) == 15


def test_a_path_need_not_be_unicode() -> None:
    """A file whose name is no text is no reason to show nothing."""
    status = ready(secrets=(secret_status("A", place="/run/\udcff"),))
    assert b"/<wbr>run/<wbr>?" in handle_request("GET", "/boot", status).body


def test_how_it_is_is_seen_first() -> None:
    """The state stands in the title of the tab and beside the name, in words and in a colour."""
    for status, badge, title in (
        (Status(), "busy", "armed"),
        (starting(), "busy", "starting"),
        (ready(), "good", "ready"),
        (degraded(), "warn", "ready, degraded"),
        (ready(state=State.DRAINING, ready=False), "", "draining"),
        (stopping(), "bad", "stopping, failed"),
    ):
        text = page("hive", status)
        assert f"<title>{title}: hive</title>" in text
        assert f'<h1>hive</h1><span class="badge {badge}">{title}</span>' in text


def test_only_a_start_is_looked_at_again() -> None:
    """While it starts the page follows by itself; afterwards it stands still to be read."""
    for status in SITUATIONS:
        again = [each for each in Reader(page("hive", status)).all("meta") if "http-equiv" in each]
        assert bool(again) is (status.state in {State.ARMED, State.LOADING, State.STARTING})
        assert all(each["content"] == f"{DEFAULTS.page_refresh_interval:g}" for each in again)


def test_the_page_is_worded() -> None:
    """The text of the page while it starts, and while everything is wrong."""
    told = ""
    for status in (starting(), replace(degraded(), failed="agents", forked=True)):
        told += "\n".join(Reader(page("hive", status)).lines) + "\n\n"
    assert_golden("status_page_text", told)


def test_what_is_wrong_is_told() -> None:
    """Failure, reasons and fork are shown above everything else, each in its own notice."""
    status = replace(degraded(), failed="agents", forked=True)
    read = Reader(page("hive", status))
    assert read.notices == ["notice bad", "notice warn", "notice busy"]
    assert read.lines.index("Degraded") < read.lines.index("Ready")
    assert all(reason in read.lines for reason in status.reasons)
    assert any("agents" in line for line in read.lines[: read.lines.index("Degraded")])
    assert Reader(page("hive", ready())).notices == []
    many = Reader(page("hive", ready(degraded=True, reasons=("the hook x fails",) * 60)))
    assert many.text.count("the hook x fails") == 50
    assert "10" in many.lines[many.lines.index("Ready") - 1]


def test_what_was_decided_is_told_with_the_reason() -> None:
    """Mode, profile, generation, age and watcher are there, and why they are so."""
    read = Reader(page("hive", ready()))
    for label, fact in (
        ("Up for", "2 h 30 min"),
        ("Generation", "4"),
        ("Last change", "40 s ago"),
        ("Last good read", "12 s ago"),
        ("Watcher", "inotify"),
        ("Mode", "kubernetes KUBERNETES_SERVICE_HOST is set"),
        ("Profile", "production nothing else is said"),
    ):
        assert read.lines[read.lines.index(label) + 1].startswith(fact), label
    bare = Reader(page("hive", Status()))
    for label in ("Last change", "Mode", "Generation"):
        assert not re.search(r"\d", bare.lines[bare.lines.index(label) + 1]), label


def test_secrets_are_told_by_name_and_never_by_value() -> None:
    """Each declared secret has a row: whether it is there, from where, since when."""
    read = Reader(page("hive", degraded()))
    assert "7 of 8" in read.text
    assert all(each.name in read.row(each.name).cells[0] for each in degraded().secrets)
    for name, age, generation, badges in (
        ("OPENAI_API_KEY", "2 h 13 min", "1", ["badge good", "badge bad"]),  # a stale mount
        ("HIVE_API_KEY", "2 h 13 min", "1", ["badge good", "badge"]),  # pinned
        ("JWT_SECRET", "40 s", "4", ["badge good", "badge busy", "badge bad"]),  # due, refused
        ("GITHUB_TOKEN", "2 h 13 min", "1", ["badge good"]),
    ):
        row = read.row(name)
        assert row.cells[0].endswith(" semantic-memory, agents")
        assert row.cells[1].split()[-1] == "required"
        assert row.cells[2] == f"file /run/secrets/hive/{name}"
        assert (*row.cells[3:5], row.badges) == (age, generation, badges)
    assert "1 min 20 s" in read.row("JWT_SECRET").cells[5]
    absent = read.row("SENTRY_DSN")
    assert (absent.cells[1].split()[-1], absent.badges) == ("optional", ["badge "])
    assert absent.cells[2:] == ["", "", "", ""]
    missing = secret_status("A", present=False, source="", place="", used_by="")
    assert Reader(page("hive", ready(secrets=(missing,)))).row("A").badges == ["badge bad"]


def test_before_the_first_set_no_secrets_are_told() -> None:
    """While it loads, there is no table of secrets."""
    tables = [each["class"] for each in Reader(page("hive", starting())).all("table")]
    assert "kept" not in tables


def test_rotations_are_told() -> None:
    """The last rotations have a row each: when, what became of it, which secrets."""
    read = Reader(page("hive", ready()))
    rows = [row.cells for row in read.rows[-3:]]
    assert [cells[1:] for cells in rows] == [
        ["accepted", "jwt_secret", "4", "21 ms"],
        ["refused", "JWT_SECRET", "3", "20 ms"],
        ["in-use", "sentry_dsn", "2", "3.0 s"],
    ]
    assert rows[0][0].startswith("40 s ago ")
    assert Reader(page("hive", Status())).rows == []
    names = tuple(f"S{number}" for number in range(30))
    many = ready(
        rotations=tuple(
            RotationStatus(at=1.0, generation=n, verdict="accepted", names=names, duration=0.1)
            for n in range(60)
        )
    )
    shown = Reader(page("hive", many))
    assert len([row for row in shown.rows if "accepted" in row.cells[1:2]]) == 50
    assert "S9" in shown.rows[-1].cells[2]
    assert "S10" not in shown.rows[-1].cells[2]
    assert "20" in shown.rows[-1].cells[2]
    assert any(line.startswith("10 more ") for line in shown.lines)


def test_a_thousand_of_anything_is_a_page_still() -> None:
    """However much there is, the page stays one that a phone can show."""
    text = page("hive", replace(crowded(), secrets=secrets(1_000)))
    read = Reader(text)
    assert any(line.startswith("500 more ") for line in read.lines)
    assert any(re.search(r"^800 more .*\b800 ", line) for line in read.lines)
    assert len(text) < 400_000
