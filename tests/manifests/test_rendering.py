"""Templates: where they come from, what replaces them, and how their errors are reported."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pytest
from jinja2 import nodes

from hive_boot.manifests import __path__ as package_path
from hive_boot.manifests.rendering import (
    FILTERS,
    MAX_TEMPLATE_SIZE,
    RENDERED,
    TARGETS,
    TemplateError,
    render,
)
from tests.manifests.deployments import deployment as deploy
from tests.support import ROOT, run_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIRECTORY = Path(package_path[0]) / "templates"

NAMES = sorted({template for files in TARGETS.values() for _, template, _ in files})

SAFE = {
    *(
        "user",
        "app.pre_stop",
        "app.replicas",
        "app.fleet_timeout",
        "start_limit",
        "app.port",
        "app.probe_port",
        "app.probed_port",
        "port",
    ),
    *("app.start_seconds", "app.grace", "loop.index", "header", "key"),
}
"""Numbers, and texts without a character that any format interprets."""


def dotted(node: nodes.Node) -> str:
    """Return the dotted name of an expression; empty for any other expression."""
    if isinstance(node, nodes.Call):
        return dotted(node.node)
    if isinstance(node, nodes.Getattr):
        return f"{dotted(node.node)}.{node.attr}"
    return node.name if isinstance(node, nodes.Name) else ""


def unquoted(node: nodes.Node) -> Iterator[nodes.Node]:
    """Return what an expression of a template prints without a quoting filter."""
    if isinstance(node, nodes.FilterBlock) and node.filter.name == "comment":
        return
    if isinstance(node, nodes.Output):
        for each in node.nodes:
            yield from without_filter(each)
        return
    for child in node.iter_child_nodes():
        yield from unquoted(child)


def without_filter(node: nodes.Node) -> Iterator[nodes.Node]:
    """Return the parts of an expression whose text is printed as it is."""
    if isinstance(node, nodes.CondExpr):
        yield from without_filter(node.expr1)
        if node.expr2 is not None:
            yield from without_filter(node.expr2)
    elif isinstance(node, nodes.Add | nodes.FloorDiv):
        yield from without_filter(node.left)
        yield from without_filter(node.right)
    elif not (
        isinstance(node, nodes.TemplateData | nodes.Const)
        or (isinstance(node, nodes.Filter) and node.name in FILTERS)
        or dotted(node) in SAFE
    ):
        yield node


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return an empty directory for templates."""
    made = tmp_path / "templates"
    made.mkdir()
    return made


def test_every_template_is_used() -> None:
    """Each template belongs to a file of a target, or is imported by such a template."""
    texts = [(DIRECTORY / name).read_text("utf-8") for name in NAMES]
    for path in DIRECTORY.iterdir():
        assert path.name in NAMES or any(f'from "{path.name}"' in text for text in texts)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_quoted(name: str) -> None:
    """Each expression ends in a quoting filter, or is a number or a constant."""
    source = (DIRECTORY / name).read_text("utf-8")
    environment = jinja2.Environment(autoescape=False)  # noqa: S701  (nothing is rendered)
    found = list(unquoted(environment.parse(source)))
    if name == "SECRETS.md.j2":  # the header inside an HTML comment, which has no quoting
        found = [node for node in found if not isinstance(node, nodes.Filter)]
    assert found == []


def test_the_documentation_lists_filters_and_variables() -> None:
    """The page names every filter, and only attributes that exist."""
    page = (ROOT / "docs/commands.md").read_text("utf-8").partition("## Manifests")[2]
    rows = dict(re.findall(r"(?m)^\| (`[a-z].*?) \| (.*) \|$", page))
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) >= FILTERS.keys()
    for names, owner in (("`app`", deploy()), ("`required`, `optional`", deploy().items[0])):
        attributes = re.findall(r"`(\w+)(?:\(\))?`", rows[names].partition(": ")[2])
        assert len(attributes) >= 6
        assert [name for name in attributes if not hasattr(owner, name)] == []


def test_the_templates_are_in_the_wheel() -> None:
    """An installed package renders the same as the repository."""
    wheel = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(ROOT))
    files = {file.distribution_path for file in wheel.recurse_included_files()}
    assert {f"hive_boot/manifests/templates/{name}" for name in NAMES} <= files


def test_a_template_of_the_same_name_wins(directory: Path) -> None:
    """The other templates stay those of the package."""
    (directory / "service.yaml.j2").write_text("{{ header }}\nport: {{ app.image | yaml }}\n")
    ours, theirs = render(deploy(), TARGETS), render(deploy(), TARGETS, directory)
    assert theirs["deploy/k8s/service.yaml"].splitlines()[-1] == "port: shop:1"
    assert theirs["deploy/k8s/service.yaml"].startswith(f"# {RENDERED}")
    changed = [path for path, text in ours.items() if theirs[path] != text]
    assert changed == ["deploy/k8s/service.yaml"]


def test_a_directory_without_templates_changes_nothing(directory: Path) -> None:
    """An empty directory replaces no template."""
    assert render(deploy(), TARGETS, directory) == render(deploy(), TARGETS)


@pytest.mark.parametrize("name", ["service.yml.j2", "README.md", ".hidden", "service.yaml.j2~"])
def test_another_name_is_an_error(name: str, directory: Path) -> None:
    """The message has the file, and every name that would be right."""
    (directory / name).touch()
    with pytest.raises(TemplateError) as caught:
        render(deploy(), ["markdown"], directory)
    assert str(directory / name) in str(caught.value)
    assert all(each in str(caught.value) for each in NAMES)


def test_only_a_small_regular_file_is_a_template(tmp_path: Path) -> None:
    """A pipe would block the command, and a directory or a large file is a mistake."""
    makers: list[Callable[[Path], object]] = [
        os.mkfifo,
        Path.mkdir,
        lambda path: path.write_bytes(b" " * (MAX_TEMPLATE_SIZE + 1)),
        lambda path: path.symlink_to("nowhere"),
    ]
    for number, make in enumerate(makers):
        directory = tmp_path / str(number)
        directory.mkdir()
        make(directory / "SECRETS.md.j2")
        with pytest.raises(TemplateError, match=r"SECRETS\.md\.j2"):
            render(deploy(), ["markdown"], directory)


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        ("{{ header }}\n\n{{ app.imagee | yaml }}\n", ", line 3: .*imagee"),
        ("{{ header }}\n{{ imagee }}\n", ", line 2: .*imagee"),
        ("{{ header }}\n{% if %}\n", ", line 2: "),
        ("{{ header }}\n{{ app.image | quote }}\n", ", line 2: .*quote"),
        ("{{ header }}\n{{ 1 // 0 }}\n", ", line 2: .*zero"),
        ("{{ header }}\n{{ app.port | yaml }}\n", ", line 2: "),
        ('{% include "missing" %}', ", line 1: missing"),
        ("| name |\n", "{{ header }}"),
    ],
)
def test_a_mistake_in_a_template_is_reported_with_its_line(
    source: str, detail: str, directory: Path
) -> None:
    """Nothing is rendered as an empty text, and no traceback is needed to find the line."""
    (directory / "SECRETS.md.j2").write_text(source)
    with pytest.raises(TemplateError, match=rf"^template SECRETS\.md\.j2.*{detail}"):
        render(deploy(), ["markdown"], directory)


@pytest.mark.parametrize("name", sorted(FILTERS.keys() - {"comment_out"}))
def test_no_filter_accepts_an_undefined_value(name: str, directory: Path) -> None:
    """The message has the undefined name; ``comment_out`` is for blocks, which are texts."""
    (directory / "SECRETS.md.j2").write_text(f"{{{{ header }}}}{{{{ app.x | {name} }}}}")
    with pytest.raises(TemplateError, match="has no attribute 'x'"):
        render(deploy(), ["markdown"], directory)


def test_a_template_in_another_encoding_is_reported(directory: Path) -> None:
    """Templates are UTF-8."""
    (directory / "SECRETS.md.j2").write_bytes(b"{{ header }} \xff")
    with pytest.raises(TemplateError, match=r"SECRETS\.md\.j2.*utf-8"):
        render(deploy(), ["markdown"], directory)


def test_without_jinja2_the_message_has_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named in the form that a shell takes."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(TemplateError, match=r"pip install 'hive_boot\[deploy\]'$"):
        render(deploy(), ["markdown"], Path())  # the templates of the package are compiled already


def test_jinja2_is_imported_to_render_only() -> None:
    """The help of the command and the other commands work without it."""
    child = run_child(
        "import sys, hive_boot.cli.manifests, hive_boot.cli.rotate, hive_boot.cli.check\n"
        "print('jinja2' in sys.modules)"
    )
    assert child.stdout == "False\n", child.stderr
