"""The page for people, opened in a browser: on a phone and a screen, by day and by night."""

import json
import shutil
from collections.abc import Callable, Iterator
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
from hive_boot.runtime.status import Status
from hive_boot.serving.probe_server import serve_probes
from tests.serving.statuses import crowded, degraded, ready, starting, stopping

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(DRIVER is None, reason="chromedriver is not installed"),
]

SIZES = {"phone": (390, 844), "tablet": (768, 1024), "screen": (1280, 800)}

ENOUGH = 4.5
"""The contrast of a text that WCAG 2 asks for at level AA: https://www.w3.org/TR/WCAG22/."""

OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # tests may be run by root, whom Chromium gives no sandbox
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
    """A worker that serves its page on loopback."""

    port: int = 0
    status: Status = field(default_factory=Status)
    asked: int = 0

    def describe(self) -> Status:
        """Say how it is, and count who asks."""
        self.asked += 1
        return self.status

    @property
    def url(self) -> str:
        """Where its page is."""
        return f"http://127.0.0.1:{self.port}/boot"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Serve the page of an application that the test makes up.

    A page that follows a start waits until it has been looked at.
    """
    with hosted(refresh=3600) as host:
        yield host


@contextmanager
def hosted(refresh: float) -> Iterator[Host]:
    """Serve a page that a browser loads again so many seconds after, during a start."""
    host = Host()
    timings = Timings(page_refresh_interval=refresh)
    with start_blocking_portal() as portal:
        served, host.port = portal.start_task(
            serve_probes, host.describe, "hive <hive>", 0, timings
        )
        yield host
        served.cancel()


@pytest.fixture(scope="module")
def browser(host: Host) -> Iterator[webdriver.Chrome]:
    """Have one browser, which resolves no name and so reaches nothing but this machine."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # The driver is named, so that nothing is looked for, or fetched.
    chrome = webdriver.Chrome(options=options, service=Service(executable_path=str(DRIVER)))
    try:
        chrome.set_page_load_timeout(60)
        # The page that a browser begins with is left before anything is looked at.
        chrome.get(host.url)
        yield chrome
    finally:
        chrome.quit()


def show(browser: webdriver.Chrome, size: str, scheme: str) -> None:
    """Be a phone, a tablet or a screen, by day or by night."""
    width, height = SIZES[size]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size != "screen"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def logged(browser: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    """Give what the browser has logged since the last time."""
    entries: list[dict[str, Any]] = browser.get_log(kind)  # type: ignore[no-untyped-call]
    return entries


def requested(browser: webdriver.Chrome) -> list[str]:
    """Give every address that the browser has asked for since the last time."""
    log = logged(browser, "performance")
    events = [json.loads(entry["message"])["message"] for entry in log]
    urls = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    # The icon is in the page, and a browser has pages of its own.
    return [url for url in urls if not url.startswith(("data:", "chrome:", "about:"))]


def test_the_page_is_readable(host: Host, browser: webdriver.Chrome) -> None:
    """On every device, and at any hour, the page asks once, fits, and can be read."""
    for make, count in product((starting, ready, degraded), (8, 200)):
        for size, scheme in product(("phone", "screen"), ("light", "dark")):
            look_at(make(count), size, scheme, host, browser)


def test_the_page_is_readable_in_bad_times(host: Host, browser: webdriver.Chrome) -> None:
    """The page stays readable when everything is wrong, numerous or long."""
    for status in (
        stopping(),
        crowded(),
        replace(degraded(), failed="agents", forked=True),
        replace(ready(), mode_reason="x" * 200, reasons=("y" * 400,), degraded=True),
    ):
        for size, scheme in (("phone", "dark"), ("tablet", "dark"), ("screen", "light")):
            look_at(status, size, scheme, host, browser)


def look_at(status: Status, size: str, scheme: str, host: Host, browser: webdriver.Chrome) -> None:
    """Open the page of an application, and look at it closely."""
    where = (status.state, len(status.secrets), size, scheme)
    host.status = status
    show(browser, size, scheme)
    logged(browser, "performance")
    asked = host.asked
    browser.get(host.url)
    assert browser.title.endswith(": hive <hive>")
    wait(lambda: browser.execute_script(DEVICE) == [SIZES[size][0], scheme == "dark"])
    assert browser.execute_script(SPILLED) == [], where
    contrasts: Any = browser.execute_script(CONTRASTS)
    assert len(contrasts) > 50, where
    assert [each for each in contrasts if each[1] < ENOUGH] == [], where
    assert requested(browser) == [host.url], where
    assert host.asked == asked + 1, where
    assert logged(browser, "browser") == [], where


def test_a_start_is_followed_until_it_is_over(browser: webdriver.Chrome) -> None:
    """Who looks at a start sees it end, without a finger on the screen."""
    with hosted(refresh=0) as host:
        host.status = starting()
        browser.get("about:blank")
        browser.get(host.url)
        asked = host.asked
        wait(lambda: host.asked > asked)
        host.status = ready()
        wait(lambda: browser.title == "ready: hive <hive>")


def wait(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition; after so many seconds the test has failed."""

    async def until() -> None:
        with anyio.fail_after(seconds):
            while not condition():  # noqa: ASYNC110  (what is waited for sets no event)
                await anyio.sleep(0.02)

    anyio.run(until)
