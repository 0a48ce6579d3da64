"""What the page for people says, and what it never says."""

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from hive_boot._timings import DEFAULTS
from hive_boot.bootstrap.status import Status
from hive_boot.bootstrap.tally import RotationStatus
from hive_boot.lifecycle.states import State
from hive_boot.lifecycle.timeline import Step
from hive_boot.serving.endpoints import answer
from hive_boot.serving.page import HEADERS, page
from tests.serving.situations import (
    crowded,
    degraded,
    ready,
    secret_status,
    secrets,
    starting,
    stopping,
)

VOID = {"meta", "link", "wbr", "br"}

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


class Reader(HTMLParser):
    """Reads a page as strictly as no browser does."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "something is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Hold it against the one that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note what can be read."""
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All that can be read, in one line."""
        return re.sub(r"\s+", " ", "".join(self.texts))

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        """Give the attributes of every such tag."""
        return (attributes for name, attributes in self.tags if name == tag)


@pytest.mark.parametrize("status", SITUATIONS)
def test_it_is_one_sound_document_that_asks_for_nothing(status: Status) -> None:
    """A page that is read in an outage needs no script, no network, and no other server."""
    read = Reader(page("hive", status))
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
    told = dict(answer("GET", "/boot", ready()).headers)
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
        timeline=(Step(name=evil, kind="part", start=0.0, outcome="waiting", waits_for=(evil,)),),
    )
    text = page(evil, status)
    assert "onload='" not in text
    assert "<b onload" not in text
    assert Reader(text).text.count(evil) == 15


def test_a_path_need_not_be_unicode() -> None:
    """A file whose name is no text is no reason to show nothing."""
    status = ready(secrets=(secret_status("A", place="/run/\udcff"),))
    assert b"/<wbr>run/<wbr>?" in answer("GET", "/boot", status).body


@pytest.mark.parametrize(
    ("status", "badge", "title"),
    [
        (Status(), "busy", "armed"),
        (starting(), "busy", "starting"),
        (ready(), "good", "ready"),
        (degraded(), "warn", "ready, degraded"),
        (ready(state=State.DRAINING, ready=False), "", "draining"),
        (stopping(), "bad", "stopping, failed"),
    ],
)
def test_how_it_is_is_seen_first(status: Status, badge: str, title: str) -> None:
    """The state stands in the title of the tab and beside the name, in words and in a colour."""
    text = page("hive", status)
    assert f"<title>{title}: hive</title>" in text
    assert f'<h1>hive</h1><span class="badge {badge}">{title}</span>' in text


@pytest.mark.parametrize("status", SITUATIONS)
def test_only_a_start_is_looked_at_again(status: Status) -> None:
    """While it starts the page follows by itself; afterwards it stands still to be read."""
    again = [each for each in Reader(page("hive", status)).all("meta") if "http-equiv" in each]
    assert bool(again) is (status.state in {State.ARMED, State.LOADING, State.STARTING})
    assert all(each["content"] == f"{DEFAULTS.page_refresh_interval:g}" for each in again)


def test_what_is_wrong_is_told() -> None:
    """Reasons, a failure and a fork stand above everything else, each with its heading."""
    read = Reader(page("hive", replace(degraded(), failed="agents", forked=True)))
    assert "Failed" in read.text
    assert "agents has failed, and the application ends." in read.text
    assert "Degraded" in read.text
    assert "generation 5 was refused: JWT_SECRET length" in read.text
    assert "This process was forked" in read.text
    many = Reader(page("hive", ready(degraded=True, reasons=("the hook x fails",) * 60)))
    assert many.text.count("the hook x fails") == 50
    assert "and 10 more" in many.text


def test_what_was_decided_is_told_with_the_reason() -> None:
    """Mode, profile, generation, age and watcher are there, and why they are so."""
    read = Reader(page("hive", ready())).text
    for fact in (
        "Readyyes",
        "Up for2 h 30 min",
        "Generation4",
        "Last change40 s ago",
        "Last good read12 s ago",
        "Watcherinotifyby the kernel's events",
        "ModekubernetesKUBERNETES_SERVICE_HOST is set",
        "Profileproductionnothing else is said",
    ):
        assert fact in read
    bare = Reader(page("hive", Status())).text
    assert "Last changenever" in bare
    assert "Modenot decided" in bare
    assert "Generationnone yet" in bare


def test_secrets_are_told_by_name_and_never_by_value() -> None:
    """Each declared secret has a row: whether it is there, from where, since when."""
    read = Reader(page("hive", degraded())).text
    assert "7 of 8 declared secrets are present." in read
    for row in (
        "OPENAI_API_KEYsemantic-memory, agentspresent requiredfile/run/secrets/hive/",
        "/run/secrets/hive/OPENAI_API_KEY2 h 13 min1stale mount: restart",
        "/run/secrets/hive/HIVE_API_KEY2 h 13 min1pinned",
        "/run/secrets/hive/JWT_SECRET40 s4newer in 1 min 20 s newest refused",
        "SENTRY_DSNsemantic-memory, agentsabsent optionalGITHUB_TOKEN",
    ):
        assert row in read
    missing = secret_status("A", present=False, source="", place="", used_by="")
    assert 'class="badge bad">absent' in page("hive", ready(secrets=(missing,)))


def test_before_the_first_set_no_secrets_are_told() -> None:
    """While it loads, the page says that nothing is accepted yet."""
    assert "No secrets are accepted yet." in Reader(page("hive", starting())).text


def test_rotations_are_told() -> None:
    """The last rotations have a row each: when, what became of it, which secrets."""
    read = Reader(page("hive", ready())).text
    assert "40 s ago" in read
    assert re.search(r"UTCrefusedJWT_SECRET320 ms", read)
    assert "There were none." in Reader(page("hive", Status())).text
    names = tuple(f"S{number}" for number in range(30))
    many = ready(
        rotations=tuple(
            RotationStatus(at=1.0, generation=n, verdict="accepted", names=names, duration=0.1)
            for n in range(60)
        )
    )
    read = Reader(page("hive", many)).text
    assert "S9 and 20 more" in read
    assert "10 more rotations are not shown." in read


def test_a_thousand_of_anything_is_a_page_still() -> None:
    """However much there is, the page stays one that a phone can show."""
    text = page("hive", replace(crowded(), secrets=secrets(1_000)))
    read = Reader(text)
    assert "500 more secrets are not shown." in read.text
    assert "800 more steps are not shown; 800 of them are done." in read.text
    assert len(text) < 400_000
