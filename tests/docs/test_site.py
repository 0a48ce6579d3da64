"""The documentation as a site and on a code host: its structure, its links, and the API."""

import re
import runpy
import tomllib
from collections import Counter
from pathlib import Path

import pytest

import hive_boot
from hive_boot import Bootstrap, testing
from hive_boot.tls import client_context, server_context
from tests.support import ROOT

DOCS = ROOT / "docs"
CONF = runpy.run_path(str(DOCS / "conf.py"))
INDEX = (DOCS / "index.md").read_text("utf-8")
LLMS = (DOCS / "llms.txt").read_text("utf-8")

PAGES = sorted(
    path.relative_to(DOCS).with_suffix("").as_posix()
    for path in DOCS.rglob("*.md")
    if path != DOCS / "index.md"
)
"""The pages of the site, except its first one."""

TEXTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("deploy/**/*.md")]
    if path.is_file()
)
"""Pages whose links are tried."""


def links_of(text: str) -> list[str]:
    """Return the targets of the links of a page, except addresses."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\((?!\w+:)([^)\s]+)\)", re.sub(r"`[^`\n]+`", "", prose))


def anchors_of(text: str) -> set[str]:
    """Return the anchors of the headings of a page, as a code host and MyST derive them."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    plain = [re.sub(r"\]\([^)]*\)|[\[`*]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    """The file of each link exists, and has the heading that the link names."""
    for link in links_of(page.read_text("utf-8")):
        file, _, anchor = link.partition("#")
        target = (page.parent / file) if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target.read_text("utf-8")), link


def test_the_index_lists_every_page_once() -> None:
    """The list that a code host shows, and the menu of the site, have the same pages in order."""
    shown = [CONF["page_of_link"](link, DOCS / "index.md") for link in links_of(INDEX)]
    menu = re.findall(r"^[^`\n]+ <([\w/-]+)>$", INDEX, re.MULTILINE)

    assert shown == menu
    assert sorted(menu) == PAGES


def test_the_short_list_for_programs_has_every_page() -> None:
    """llms.txt has a line for each page, and its links lead somewhere."""
    links = links_of(LLMS)

    assert [link for link in links if not (DOCS / link).exists()] == []
    assert [page for page in PAGES if LLMS.count(f"]({page}.md): ") != 1] == []


def test_a_link_out_of_the_documentation_stays_readable() -> None:
    """In the site it leads to the page that shows the file, or the path is shown as text."""
    sources, deploying = map(CONF["text_of_page"], ("sources", "deploying"))
    assert "examples/sources" in sources
    assert "](../" not in sources
    assert deploying.startswith("# Deploying a service")
    assert "[Commands](commands.md)" in deploying


def test_a_page_of_another_file_names_it() -> None:
    """On a code host a page that the site fills has a link to the file."""
    for page, path in CONF["PAGES"].items():
        text = (DOCS / f"{page}.md").read_text("utf-8")
        assert [(DOCS / link).resolve() for link in links_of(text)] == [path]
        assert len(text.splitlines()) < 5


def test_the_api_has_every_public_name_once() -> None:
    """The page of the API documents the names of the public modules, and no other function."""
    page = (DOCS / "reference" / "api.md").read_text("utf-8")
    found = Counter(re.findall(r"^\.\. auto\w+:: ([\w.]+)", page, re.MULTILINE))
    public = {f"hive_boot.{name}" for name in hive_boot.__all__}
    public |= {f"hive_boot.testing.{name}" for name in testing.__all__}
    public |= {f"hive_boot.tls.{each.__name__}" for each in (server_context, client_context)}

    methods = re.findall(r"^   \.\. auto(?:method|property):: (\w+)$", page, re.MULTILINE)

    assert sorted(methods) == sorted(each for each in vars(Bootstrap) if not each.startswith("_"))
    assert public - found.keys() == set()
    assert set(found.values()) == {1}
    internal = {name.rpartition(".")[2] for name in found.keys() - public}
    statuses = {"ContributorStatus", "HookStatus", "TimelineEntry"}
    assert internal == statuses | {"Collector", "instrument", "plugin"}


def test_the_version_has_a_section_in_the_changelog() -> None:
    """The newest section with a number is that of the version in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    sections = re.findall(r"^## \[(.+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

    assert sections[:2] == ["Unreleased", project["version"]]


def test_the_tree_of_errors_is_that_of_the_classes() -> None:
    """Each line has a class, below the nearest one that it derives from, and its exit status."""
    page = (DOCS / "reference" / "api.md").read_text("utf-8")
    found = re.findall(r"^((?:  )*)(\w+Error) +(\d\d)\b", page, re.MULTILINE)
    above: dict[int, str] = {}
    for indent, name, status in found:
        error = getattr(hive_boot, name)
        above[len(indent)] = name
        assert error.exit_code == int(status)
        shown = [each.__name__ for each in error.__mro__ if hasattr(hive_boot, each.__name__)]
        parents = [above[level] for level in range(len(indent), -1, -2)]
        assert shown == parents, name

    assert {name for _, name, _ in found} == {
        name for name in hive_boot.__all__ if name.endswith("Error")
    }
