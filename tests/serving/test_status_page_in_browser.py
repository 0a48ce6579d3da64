"""The status page in a browser: its text, its layout and colours, and how it refreshes."""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from hive_boot._timings import Timings
from hive_boot.lifecycle.states import State, TimelineEntry
from hive_boot.runtime.status import RotationStatus, Status
from hive_boot.serving import status_page
from hive_boot.serving.probe_server import serve_probes
from hive_boot.serving.status_page import status_as_json
from tests.fixtures.golden import assert_golden
from tests.serving.statuses import (
    STARTED,
    crowded,
    degraded,
    ready,
    secret_status,
    secrets,
    starting,
    stopping,
    unready,
)
from tests.support import wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(DRIVER is None, reason="chromedriver is not installed"),
]

SIZES = {"phone": (390, 844), "tablet": (768, 1024), "screen": (1280, 800)}

DEVICES = (("phone", "dark"), ("tablet", "dark"), ("screen", "light"))
"""Every size once, and both colour schemes: for statuses that only are longer."""

ENOUGH = 4.5
"""The contrast of a text that WCAG 2 asks for at level AA: https://www.w3.org/TR/WCAG22/."""

OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # Chromium has no sandbox for root
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)

CONTRASTS = """
const channels = (text) => {
  const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
  return [r, g, b, a];
};
const over = ([r, g, b, a], [r2, g2, b2]) => [r, g, b].map(
  (each, i) => each * a + [r2, g2, b2][i] * (1 - a));
const luminance = (color) => {
  const [r, g, b] = color.map((each) => each / 255).map(
    (each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const papers = new Map();
const paper = (element) => {
  if (!element) return [255, 255, 255];
  if (!papers.has(element)) {
    const own = channels(getComputedStyle(element).backgroundColor);
    papers.set(element, over(own, paper(element.parentElement)));
  }
  return papers.get(element);
};
const contrast = (color, below) => {
  const [dark, light] = [luminance(over(channels(color), below)), luminance(below)].sort(
    (a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const text = walker.currentNode.data;
  if (text.trim()) {
    found.push([text, contrast(getComputedStyle(element).color, paper(element))]);
  }
}
for (const element of document.querySelectorAll("td")) {
  const before = getComputedStyle(element, "::before");
  if (before.content !== "none") {
    found.push([before.content, contrast(before.color, paper(element))]);
  }
}
return found;
"""

DEVICE = "return [innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]"

SPILLED = """
const width = document.documentElement.clientWidth;
const wide = [...document.querySelectorAll("body *")].filter(
  (each) => each.getBoundingClientRect().right > width + 0.5 && !each.closest(".bar, thead"));
const full = [...document.querySelectorAll("section, li, td, th")].filter(
  (each) => each.scrollWidth > each.clientWidth + 1 && !each.closest("thead"));
const page = document.documentElement.scrollWidth > width ? [document.documentElement] : [];
return [...page, ...wide, ...full].map((each) => `${each.tagName} ${each.textContent}`);
"""


@dataclass
class Host:
    """A worker that serves its status page on the loopback interface."""

    name: str = "hive <hive>"
    port: int = 0
    status: Status = field(default_factory=Status)
    requests: int = 0

    def describe(self) -> Status:
        """Return the status, and count the request."""
        self.requests += 1
        return self.status

    @property
    def url(self) -> str:
        """The address of its page."""
        return f"http://127.0.0.1:{self.port}/boot"


@contextmanager
def hosted(refresh: float, port: int = 0) -> Iterator[Host]:
    """Serve the page of an application whose status the test sets.

    Args:
        refresh: seconds between two refreshes during a start.
        port: the port; 0 for any free one.
    """
    host = Host()
    timings = Timings(page_refresh_interval=refresh)
    with start_blocking_portal() as portal:
        served, host.port = portal.start_task(serve_probes, host.describe, host.name, port, timings)
        yield host
        served.cancel()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Serve a page that does not refresh while a test looks at it."""
    with hosted(refresh=3600) as host:
        yield host


@pytest.fixture(scope="module")
def chrome(host: Host) -> Iterator[webdriver.Chrome]:
    """Start one browser that resolves no name, so it reaches this machine only."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the path of the driver, selenium searches and downloads nothing.
    chrome = webdriver.Chrome(options=options, service=Service(executable_path=str(DRIVER)))
    try:
        chrome.set_page_load_timeout(60)
        # The first page of a browser is its own.
        chrome.get(host.url)
        yield chrome
    finally:
        chrome.quit()


@pytest.fixture
def browser(chrome: webdriver.Chrome) -> webdriver.Chrome:
    """Return the browser with empty logs and the size of a screen."""
    # The page of the test before would go on refreshing.
    chrome.get("about:blank")
    show(chrome, "screen", "light")
    logged(chrome, "browser")
    logged(chrome, "performance")
    return chrome


def show(browser: webdriver.Chrome, size: str, scheme: str) -> None:
    """Emulate a device and its colour scheme."""
    width, height = SIZES[size]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size != "screen"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def logged(browser: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    """Return what the browser has logged since the last call."""
    entries: list[dict[str, Any]] = browser.get_log(kind)  # type: ignore[no-untyped-call]
    return entries


def requested(browser: webdriver.Chrome) -> list[str]:
    """Return every address that the browser has requested since the last call."""
    log = logged(browser, "performance")
    events = [json.loads(entry["message"])["message"] for entry in log]
    urls = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    # The icon is a data: URL, and a browser has pages of its own.
    return [url for url in urls if not url.startswith(("data:", "chrome:", "about:"))]


def open_page(browser: webdriver.Chrome, host: Host, status: Status | None = None) -> None:
    """Open the page of an application, and wait until it shows the status."""
    host.status = status or host.status
    browser.get(host.url)
    wait(lambda: browser.title.endswith(": hive <hive>"))


def text_of(browser: webdriver.Chrome, selector: str) -> str:
    """Return the visible text of the first element that matches."""
    text: str = browser.execute_script(
        "return document.querySelector(arguments[0]).innerText", selector
    )
    return text


def is_visible(browser: webdriver.Chrome, selector: str) -> bool:
    """Return whether the first element that matches is rendered."""
    script = "return document.querySelector(arguments[0]).checkVisibility()"
    return bool(browser.execute_script(script, selector))


def rows_of(browser: webdriver.Chrome, table: str) -> list[list[str]]:
    """Return the text of every cell in the body of a table."""
    rows: list[list[str]] = browser.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map("
        "(row) => [...row.cells].map((cell) => cell.innerText))",
        table,
    )
    return rows


def charts(browser: webdriver.Chrome, status: Status) -> list[dict[str, Any]]:
    """Return the charts that the script of the open page computes for a status."""
    loaded = json.loads(status_as_json("hive", status, Timings()))
    found: list[dict[str, Any]] = browser.execute_script(
        "return timelineCharts(arguments[0])", loaded
    )
    return found


def bars(chart: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Return where each bar of a chart begins and how long it is, in percent."""
    return {
        f"{row['name']} {row['kind']}": (round(row["left"], 2), round(row["width"], 2))
        for row in chart["rows"]
    }


def wait(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition; after so many seconds the test has failed."""

    async def until() -> None:
        with anyio.fail_after(seconds):
            while not condition():  # noqa: ASYNC110  (no event is set)
                await anyio.sleep(0.02)

    anyio.run(until)


def test_the_page_is_readable(host: Host, browser: webdriver.Chrome) -> None:
    """The page fits and can be read on every device, in every state and both colour schemes."""
    for make in (starting, ready, degraded):
        look_at(make(8), product(SIZES, ("light", "dark")), host, browser)
        look_at(make(200), DEVICES, host, browser)


def test_the_page_is_readable_in_bad_times(host: Host, browser: webdriver.Chrome) -> None:
    """The page stays readable when everything is wrong, numerous or long."""
    for status in (
        stopping(),
        unready(),
        crowded(),
        replace(degraded(), failed="agents", forked=True),
        replace(ready(), mode_reason="x" * 200, reasons=("y" * 400,), degraded=True),
    ):
        look_at(status, DEVICES, host, browser)


def look_at(
    status: Status, devices: Iterable[tuple[str, str]], host: Host, browser: webdriver.Chrome
) -> None:
    """Open the page, and check layout, contrast, requests and the browser's log on devices."""
    open_page(browser, host, status)
    for size, scheme in devices:
        where = (status.state, len(status.secrets), size, scheme)
        show(browser, size, scheme)
        wait_for_device(browser, size, scheme)
        check_layout(browser, where)
    files = [host.url, *(f"{host.url}.{kind}" for kind in ("css", "js", "json"))]
    assert sorted(requested(browser)) == sorted(files), status.state
    # A violation of the policy would be an entry.
    assert logged(browser, "browser") == [], status.state


def wait_for_device(browser: webdriver.Chrome, size: str, scheme: str) -> None:
    """Wait until the open page is rendered for a device and a colour scheme."""
    wait(lambda: browser.execute_script(DEVICE) == [SIZES[size][0], scheme == "dark"])


def check_layout(browser: webdriver.Chrome, where: object, least: int = 50) -> None:
    """Assert that nothing leaves its box, and that the contrast of every text is enough."""
    assert browser.execute_script(SPILLED) == [], where
    contrasts: Any = browser.execute_script(CONTRASTS)
    assert len(contrasts) > least, where
    assert [each for each in contrasts if each[1] < ENOUGH] == [], where


def test_the_text_of_the_page(browser: webdriver.Chrome, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wording of the page during a start, and when everything is wrong."""
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0)
    process = {"host": "hive-1", "pod": "shop/hive-1", "pid": 7, "hive_boot": "0.1.0"}
    monkeypatch.setattr(status_page, "_describe_process", lambda: process)
    text = ""
    with hosted(refresh=2) as host:
        for status in (starting(), replace(degraded(), failed="agents", forked=True)):
            open_page(browser, host, status)
            lines = re.split(r"[\n\t]+", f"{browser.title}\n{text_of(browser, 'body')}")
            text += "\n".join(line for line in lines if line.strip()) + "\n\n"
    assert_golden("status_page_text", text)


def test_the_state_comes_first(host: Host, browser: webdriver.Chrome) -> None:
    """The title of the tab and the badge beside the name show the state, in words and a colour."""
    for status, color, text in (
        (Status(), "badge busy", "armed"),
        (starting(), "badge busy", "starting"),
        (ready(), "badge good", "ready"),
        (degraded(), "badge warn", "ready, degraded"),
        (ready(state=State.DRAINING, ready=False), "badge", "draining"),
        (stopping(), "badge bad", "stopping, failed"),
        (unready(), "badge bad", "ready, unready"),
    ):
        open_page(browser, host, status)
        assert browser.title == f"{text}: hive <hive>"
        assert text_of(browser, "h1") == "hive <hive>"
        assert text_of(browser, "#state") == text
        badge = browser.execute_script("return document.getElementById('state').className")
        assert badge == color
        icon = browser.execute_script("return document.querySelector('link[rel=icon]').href")
        assert icon.startswith("data:image/svg+xml,")


def test_problems_are_shown_first(host: Host, browser: webdriver.Chrome) -> None:
    """Failure, reasons and fork are shown above everything else, each in its own notice."""
    open_page(browser, host, replace(degraded(), failed="agents", forked=True))
    notices = browser.execute_script(
        "return [...document.querySelectorAll('#notices section')].map("
        "(each) => [each.className, ...each.innerText.split('\\n').filter(Boolean)])"
    )
    assert [each[:2] for each in notices] == [
        ["notice bad", "Failed"],
        ["notice warn", "Degraded"],
        ["notice busy", "Forked"],
    ]
    refused = next(each for each in degraded().rotations if each.verdict == "refused")
    assert notices[1][2:] == [*degraded().reasons, refused.reason]
    open_page(browser, host, ready())
    assert text_of(browser, "#notices") == ""
    open_page(browser, host, ready(degraded=True, reasons=("the hook x fails",) * 60))
    assert text_of(browser, "#notices").count("the hook x fails") == 50
    assert "10 more" in text_of(browser, "#notices")


def test_the_rows_of_secrets(host: Host, browser: webdriver.Chrome) -> None:
    """Each declared secret has a row: whether it is present, its source, its age."""
    open_page(browser, host, degraded())
    rows = {row[0].split("\n")[0]: row for row in rows_of(browser, "secrets-table")}
    assert rows.keys() == {each.name for each in degraded().secrets}
    for name, age, generation, notes in (
        ("OPENAI_API_KEY", "2 h 13 min", "1", "stale mount: restart"),
        ("HIVE_API_KEY", "2 h 13 min", "1", "pinned mount"),
        ("JWT_SECRET", "40 s", "4", "newer value in 1 min 20 s newest value rejected"),
        ("GITHUB_TOKEN", "2 h 13 min", "1", ""),
    ):
        row = rows[name]
        assert row[0].split("\n")[1] == "semantic-memory, agents"
        assert row[1:] == [
            "present required",
            f"file\n/run/secrets/hive/{name}",
            age,
            generation,
            notes,
        ]
    assert rows["SENTRY_DSN"][1:] == ["absent optional", "", "", "", ""]
    missing = secret_status("A", present=False, source="", place="", used_by="")
    open_page(browser, host, ready(secrets=(missing,)))
    assert rows_of(browser, "secrets-table") == [["A", "absent required", "", "", "", ""]]
    open_page(browser, host, starting())
    assert not is_visible(browser, "#secrets-table")


def test_the_rows_of_rotations(host: Host, browser: webdriver.Chrome) -> None:
    """Each of the last rotations has a row: when, its result, its secrets, why it was refused."""
    refused = ready().rotations[1]
    open_page(browser, host, ready())
    rows = rows_of(browser, "rotations-table")
    assert [row[1:] for row in rows] == [
        ["accepted", "jwt_secret", "4", "21 ms"],
        ["refused", f"JWT_SECRET\n{refused.reason}", "candidate", "20 ms"],
        ["in-use", "sentry_dsn", "2", "3.0 s"],
    ]
    assert re.match(r"4\d s ago\n2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d UTC", rows[0][0])
    names = tuple(f"S{number}" for number in range(30))
    rotation = RotationStatus(at=1.0, generation=2, verdict="accepted", names=names, duration=0.1)
    open_page(browser, host, ready(rotations=(rotation,) * 60, secrets=secrets(1_000)))
    rows = rows_of(browser, "rotations-table")
    assert len(rows) == 50
    assert rows[0][2] == f"{' '.join(names[:10])} and 20 more"
    assert text_of(browser, "#rotations-more").startswith("10 more ")
    assert len(rows_of(browser, "secrets-table")) == 500
    assert text_of(browser, "#secrets-more").startswith("500 more ")


def test_the_rows_of_components(host: Host, browser: webdriver.Chrome) -> None:
    """Each check, service, hook, readiness contributor and certificate has its last result."""
    now = time.time()
    certificates = {"TLS_CERT": now + 90 * 86400, "OLD_CERT": now - 60, "NEXT_CERT": now + 86400}
    open_page(browser, host, unready(certificates=certificates))
    rows = {row[0]: row[1:] for row in rows_of(browser, "components-table")}
    expiry = [rows.pop(f"{name}\ncertificate") for name in certificates]
    assert rows == {
        "stripe_secret_key\ncheck": ["passed", "2 h 29 min ago", ""],
        "heartbeat\nservice": ["running", "", "1 restart"],
        "poll\nservice": ["failing", "", "3 restarts"],
        "warm_up\nservice": ["returned", "", "0 restarts"],
        "reconnect\nhook": ["succeeded", rows["reconnect\nhook"][1], ""],
        "agents\nhook": ["not called", "", ""],
        "database\nreadiness": ["passes", "1.0 s ago", "returned False"],
        "queue\nreadiness": ["fails", "3.0 s ago", "TimeoutError"],
        "cache\nreadiness": ["not passed yet", "", ""],
    }
    assert re.fullmatch(r"4\d s ago", rows["reconnect\nhook"][1])
    assert [row[0] for row in expiry] == ["valid", "expired", "expires soon"]
    assert all(row[2].startswith("expires 2") for row in expiry)
    open_page(browser, host, degraded())
    rows = {row[0]: row[1:] for row in rows_of(browser, "components-table")}
    assert rows["reconnect\nhook"][0] == "failing"
    assert rows["reconnect\nhook"][2] == "ConnectionError: refused; failed calls: 7"
    open_page(browser, host, Status())
    assert not is_visible(browser, "#components-table")
    assert is_visible(browser, "#no-components")


def test_a_name_is_never_markup(host: Host, browser: webdriver.Chrome) -> None:
    """Names, paths and reasons that contain markup are shown as they are."""
    evil = "<img src=x onerror='document.title=1'>\"&</b>"
    rotation = RotationStatus(at=1.0, generation=2, verdict="accepted", names=(evil,), duration=0.1)
    step = TimelineEntry(
        name=evil, kind="resource", start=0.0, outcome="waiting", waits_for=(evil,)
    )
    status = ready(
        degraded=True,
        reasons=(evil,),
        failed=evil,
        mode=evil,
        mode_reason=evil,
        profile=evil,
        profile_reason=evil,
        secrets=(secret_status(evil, used_by=evil, source=evil, place=evil),),
        rotations=(rotation,),
        timeline=(step,),
    )
    open_page(browser, host, status)
    assert text_of(browser, "body").count(evil) == 13
    assert browser.execute_script("return document.images.length") == 0
    assert logged(browser, "browser") == []


def test_durations_are_shown_in_words(host: Host, browser: webdriver.Chrome) -> None:
    """A duration has at most two units, and is rounded to the next unit."""
    open_page(browser, host, ready())
    for seconds, text in (
        (-3, "0 ms"),
        (0, "0 ms"),
        (0.0854, "85 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (250, "4 min 10 s"),
        (3_599.7, "1 h"),
        (3 * 3_600 + 300, "3 h 5 min"),
        (86_400, "1 d"),
        (86_400 * 31 + 7_200, "31 d 2 h"),
    ):
        assert browser.execute_script("return formatDuration(arguments[0])", seconds) == text


def test_long_names_are_broken(host: Host, browser: webdriver.Chrome) -> None:
    """A name may continue on the next line after an underscore or a slash."""
    open_page(browser, host, ready())
    script = "return code(arguments[0]).outerHTML"
    assert browser.execute_script(script, "/run/A_B") == ("<code>/<wbr>run/<wbr>A_<wbr>B</code>")


def test_bars_are_where_the_steps_were(host: Host, browser: webdriver.Chrome) -> None:
    """A step that took half of the start has half of the width."""
    open_page(browser, host, ready())
    assert charts(browser, Status()) == []
    steps = (
        TimelineEntry(name="starting", kind="phase", start=0.0, end=2.0, outcome="done"),
        TimelineEntry(name="half", kind="resource", start=1.0, end=2.0, outcome="done"),
        TimelineEntry(name="later", kind="service", start=2.0),
    )
    status = Status(state=State.READY, started=True, uptime=500.0, timeline=steps)
    (start,) = charts(browser, status)
    assert bars(start) == {
        "starting phase": (0, 100),
        "half resource": (50, 50),
        "later service": (99, 0),
    }
    assert [row["when"] for row in start["rows"]] == [
        "at 0 ms, took 2.0 s",
        "at 1.0 s, took 1.0 s",
        "at 2.0 s, for 8 min 18 s",
    ]
    open_page(browser, host, status)
    styles = browser.execute_script(
        "return [...document.querySelectorAll('.bar i')].map("
        "(bar) => [bar.style.left, bar.style.width])"
    )
    assert styles == [["0%", "100%"], ["50%", "50%"], ["99%", "0%"]]


def test_open_steps_reach_to_now(host: Host, browser: webdriver.Chrome) -> None:
    """During a start, a step that is not done is drawn to the right edge."""
    open_page(browser, host, starting())
    (start,) = charts(browser, starting())
    assert bars(start)["database resource"] == (2.14, 97.86)
    (waiting,) = [row for row in start["rows"] if row["outcome"] == "waiting"]
    assert waiting["open"]
    assert waiting["when"] == "at 90 ms, for 4.1 s, waits for database"
    outcomes = {row["outcome"] for row in start["rows"]}
    assert outcomes == {"done", "running", "waiting", "overdue"}
    names = tuple(f"part{number}" for number in range(100))
    step = TimelineEntry(
        name="last", kind="resource", start=0.0, outcome="waiting", waits_for=names
    )
    (start,) = charts(browser, Status(state=State.STARTING, uptime=1.0, timeline=(step,)))
    assert start["rows"][0]["when"].endswith("part0, part1, part2, part3, part4 and 95 more")


def test_start_and_stop_have_their_own_scales(host: Host, browser: webdriver.Chrome) -> None:
    """After weeks of service the start and the stop can still be read."""
    open_page(browser, host, ready())
    assert [chart["id"] for chart in charts(browser, ready())] == ["start"]
    found = charts(browser, stopping())
    assert [chart["id"] for chart in found] == ["start", "since", "stop"]
    assert bars(found[2])["stopping phase"] == (0, 100)
    assert bars(found[2])["database stop"][0] > 30
    # Without a phase, the end of the start is the end of the last resource.
    resources = tuple(step for step in STARTED if step.kind == "resource")
    (start,) = charts(browser, replace(ready(), timeline=resources))
    assert bars(start)["agents resource"] == (52.5, 47.5)
    lone = TimelineEntry(name="lone", kind="service", start=0.0)
    (start,) = charts(browser, replace(ready(), timeline=(lone,)))
    assert bars(start) == {"lone service": (0, 0)}


def test_open_and_failed_steps_come_before_done_ones(host: Host, browser: webdriver.Chrome) -> None:
    """Of more than 200 steps those that matter are drawn; of later ones, the newest."""
    open_page(browser, host, crowded())
    (start,) = charts(browser, crowded())
    assert (len(start["rows"]), start["hidden"], start["hiddenDone"]) == (200, 800, 800)
    assert next(iter(bars(start))) == "part_900 resource"
    assert "800 more" in text_of(browser, "#timeline")
    crashes = tuple(
        TimelineEntry(
            name=f"try{number}", kind="service", start=number, end=number + 0.5, outcome="failed"
        )
        for number in range(2, 1_002)
    )
    since = charts(browser, replace(ready(), timeline=(*STARTED[:-1], *crashes)))[1]
    assert "try1001 service" in bars(since)
    assert "try2 service" not in bars(since)
    assert (since["hidden"], since["hiddenDone"]) == (800, 0)


def test_a_start_is_followed_until_it_is_over(browser: webdriver.Chrome) -> None:
    """The page shows the end of a start without being loaded again."""
    with hosted(refresh=0) as host:
        open_page(browser, host, starting())
        requests = host.requests
        wait(lambda: host.requests > requests + 1)
        host.status = ready()
        wait(lambda: browser.title == "ready: hive <hive>")
        assert requested(browser).count(host.url) == 1
        assert logged(browser, "browser") == []


def test_a_refresh_keeps_scroll_position_focus_and_selection(browser: webdriver.Chrome) -> None:
    """A reader who has scrolled, focused a link and selected a text is not disturbed."""
    with hosted(refresh=0) as host:
        open_page(browser, host, ready(200))
        browser.execute_script(
            "document.documentElement.style.scrollBehavior = 'auto';"
            "document.querySelector('footer a').focus({ preventScroll: true });"
            "const row = document.querySelectorAll('#secrets-rows tr')[50];"
            "row.scrollIntoView();"
            "getSelection().selectAllChildren(row.querySelector('th code'));"
        )
        place = "return [scrollY, document.activeElement.textContent, String(getSelection())]"
        before: Any = browser.execute_script(place)
        assert before[0] > 1000
        assert before[1:] == ["boot.json", "PARTNER_50_API_KEY"]
        host.status = degraded(200, reasons=(), certificates={})
        wait(lambda: browser.title == "ready, degraded: hive <hive>")
        requests = host.requests
        wait(lambda: host.requests > requests + 1)
        after: Any = browser.execute_script(place)
        # The new notice is above; the rows that are read stay where they are on the screen.
        assert after[1:] == before[1:]
        assert abs(after[0] - before[0]) < 200


def test_an_application_that_does_not_respond_is_reported(browser: webdriver.Chrome) -> None:
    """When the application ends, the page says so and keeps the last status; later it recovers."""
    with hosted(refresh=0) as host:
        open_page(browser, host, ready())
        port = host.port
    wait(lambda: browser.title == "not reachable: hive <hive>")
    notice = text_of(browser, "#connection")
    assert re.search(r"No status.*every 2 s.*from 2\d{3}-\d\d-\d\d", notice, re.DOTALL)
    assert len(rows_of(browser, "secrets-table")) == 8
    for size, scheme in product(SIZES, ("light", "dark")):
        show(browser, size, scheme)
        wait_for_device(browser, size, scheme)
        check_layout(browser, (size, scheme))
    with hosted(refresh=0, port=port) as host:
        host.status = ready()
        wait(lambda: browser.title == "ready: hive <hive>")
        assert text_of(browser, "#connection") == ""


def test_an_address_with_a_password_is_enough(host: Host, browser: webdriver.Chrome) -> None:
    """The page reads its status when a user and a password are in its address."""
    host.status = ready()
    browser.get(host.url.replace("http://", "http://any:fake-password@"))
    wait(lambda: browser.title == "ready: hive <hive>")


def test_a_server_error_is_reported(browser: webdriver.Chrome) -> None:
    """A response that is not the status is reported, also before the first status."""
    with hosted(refresh=0) as host:
        host.status = replace(ready(), uptime=float("nan"))  # not valid JSON
        browser.get(host.url)
        wait(lambda: browser.title == "not reachable: Status page")
        check_layout(browser, "no status", least=5)
        assert not is_visible(browser, "#content")
        host.status = ready()
        wait(lambda: browser.title == "ready: hive <hive>")


def test_the_browser_enforces_the_policy(host: Host, browser: webdriver.Chrome) -> None:
    """Markup from a script and inline styles are refused, whatever a later change does."""
    open_page(browser, host, ready())
    assert logged(browser, "browser") == []
    refused = browser.execute_script(
        "document.body.setAttribute('style', 'padding: 77px');"
        "try { document.body.innerHTML = '<b>x</b>'; }"
        "catch (error) { return [error.name, getComputedStyle(document.body).padding]; }"
    )
    assert refused[0] == "TypeError"
    assert refused[1] != "77px"
    messages = " ".join(entry["message"] for entry in logged(browser, "browser"))
    assert "Content Security Policy" in messages


def test_motion_is_reduced_on_request(host: Host, browser: webdriver.Chrome) -> None:
    """Bars move only when the reader has not asked for less motion."""
    open_page(browser, host, ready())
    script = "return getComputedStyle(document.querySelector('.bar i')).transitionDuration"
    for preference, durations in (("reduce", {"0s"}), ("no-preference", {"0.3s", "0.3s, 0.3s"})):
        feature = {"name": "prefers-reduced-motion", "value": preference}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        assert browser.execute_script(script) in durations


def test_without_javascript_the_page_says_where_the_json_is(
    host: Host, browser: webdriver.Chrome
) -> None:
    """A browser without JavaScript shows a link to the status and no empty tables."""

    def shown() -> str:
        """Return the texts of the page, as a screen reader has them."""
        nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        return " ".join(node["name"]["value"] for node in nodes if "name" in node)

    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(host.url)
        wait_until(lambda: "JavaScript is disabled" in shown())
        text = shown()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "boot.json" in text
    assert "Rotations" not in text
    assert requested(browser) == [host.url, f"{host.url}.css"]
