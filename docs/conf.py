"""Configuration of the documentation site, which `make docs` builds with Sphinx into build/docs.

A page is also read on a code host, so its links are paths of files in the repository. In the site
a link to a file outside docs/ leads to the page that shows this file, or becomes its path as text.
"""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from os.path import relpath
from pathlib import Path
from sys import stdlib_module_names
from typing import TYPE_CHECKING

import hive_boot

if TYPE_CHECKING:
    from docutils.nodes import Element, TextElement
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

DOCS = Path(__file__).parent
ROOT = DOCS.parent

PAGES = {
    "changelog": ROOT / "CHANGELOG.md",
    "conduct": ROOT / "CODE_OF_CONDUCT.md",
    "contributing": ROOT / "CONTRIBUTING.md",
    "deploying": ROOT / "deploy" / "README.md",
    "examples": ROOT / "examples" / "README.md",
    "reporting": ROOT / "SECURITY.md",
}
"""Pages that show a file outside docs/, which is where a code host expects it."""

project = "hive_boot"
copyright = "hive_boot contributors"  # noqa: A001  (Sphinx reads this name)
version = release = version_of("hive_boot")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
root_doc = "index"
nitpicky = True
suppress_warnings = ["misc.highlighting_failure"]  # `…` in an example is not valid Python

myst_heading_anchors = 4

autodoc_member_order = "bysource"
napoleon_attr_annotations = False  # autodoc shows the annotations
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"hive_boot {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["llms.txt"]
html_copy_source = False


def page_of_link(link: str, origin: Path) -> str | None:
    """Return the page of the site to which a link leads; None without one.

    Args:
        link: a path, relative to the file that contains the link.
        origin: this file.
    """
    target = (origin.parent / link).resolve()
    page_of = {path: page for page, path in PAGES.items()}
    if target in page_of:
        return page_of[target]
    if DOCS not in target.parents:
        return None
    return target.relative_to(DOCS).as_posix().removesuffix(".md")


def text_of_page(page: str) -> str:
    """Return the text of a page, in which every link that leads out of docs/ is replaced."""
    origin = PAGES.get(page, DOCS / f"{page}.md")

    def replace(match: re.Match[str]) -> str:
        text, link, anchor = match.groups()
        target = page_of_link(link, origin)
        if target is None:
            path = (origin.parent / link).resolve().relative_to(ROOT)
            names = {path.name, str(path)}
            return f"`{path}`" if text.strip("`") in names else f"{text} (`{path}`)"
        suffix = "" if Path(target).suffix else ".md"
        return f"[{text}]({relpath(target, Path(page).parent)}{suffix}{anchor or ''})"

    return re.sub(r"\[([^]]+)\]\((?!\w+:|#)([^)#]+)(#[^)]*)?\)", replace, origin.read_text("utf-8"))


def read_page(app: Sphinx, docname: str, content: list[str]) -> None:
    """Replace the text of a page before Sphinx parses it."""
    del app
    content[0] = text_of_page(docname)


def copy_markdown(app: Sphinx, failure: Exception | None) -> None:
    """Write each page as Markdown beside its HTML, for programs that read llms.txt."""
    for page in () if failure else app.env.found_docs:
        (Path(app.outdir) / f"{page}.md").write_text(text_of_page(page), "utf-8")


def resolve_reference(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: TextElement
) -> Element | None:
    """Resolve a type that is documented under its module, and show others without a link.

    The types of a signature include those of the standard library, variables and aliases. What a
    docstring names by a role, and a public name anywhere, is a warning without a target.
    """
    if node.get("refdomain") != "py":
        return None
    target, page = node["reftarget"], node["refdoc"]
    name = target.rpartition(".")[2]
    domain = env.domains.python_domain
    found = [key for key in domain.objects if key.rpartition(".")[2] == name]
    if len(found) == 1:
        return domain.resolve_xref(
            env, page, app.builder, node["reftype"], found[0], node, contnode
        )
    from docutils.nodes import literal  # noqa: PLC0415  (a test reads this file without it)

    is_role = isinstance(contnode, literal) and target.partition(".")[0] not in stdlib_module_names
    return None if is_role or name in hive_boot.__all__ else contnode


def setup(app: Sphinx) -> None:
    """Register the functions of this file."""
    app.connect("source-read", read_page)
    app.connect("missing-reference", resolve_reference)
    app.connect("build-finished", copy_markdown)
