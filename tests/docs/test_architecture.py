"""docs/architecture.md names every module, and docs/glossary.md defines every term once."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.docs.reading import read_page
from tests.support import ROOT

ARCHITECTURE = read_page("docs/architecture.md")
GLOSSARY = read_page("docs/glossary.md")

PACKAGE = ROOT / "hive_boot"

# Metaphors of the first version, none of which names anything in the code.
BANNED = ("part", "life", "door", "room", "house", "wing")


def section(page: str, heading: str) -> str:
    """Return the text below a heading of the second level, up to the next one."""
    (text,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    return str(text)


def rows(text: str) -> list[list[str]]:
    """Return the cells of every row of the tables in a text, without the heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rules = [number for number, line in enumerate(lines) if line.startswith("|---")]
    heads = {number - offset for number in rules for offset in (0, 1)}
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for number, line in enumerate(lines)
        if number not in heads
    ]


def quoted(text: str) -> list[str]:
    """Return everything in backquotes."""
    return re.findall(r"`([^`]+)`", text)


def listed_modules() -> Iterator[Path]:
    """Return the module of each row under the heading of its package."""
    modules = section(ARCHITECTURE, "Modules")
    for package, text in re.findall(
        r"^### (\S+)\n(.*?)(?=^### |\Z)", modules, re.DOTALL | re.MULTILINE
    ):
        for module, contents in rows(text):
            assert contents, module
            (name,) = quoted(module)
            yield ROOT / package / name


def test_every_module_has_one_row() -> None:
    """The tables list every module once, under its package, and nothing else."""
    modules = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]

    assert sorted(listed_modules()) == sorted(modules)


def test_every_question_is_answered_by_a_file() -> None:
    """The answer is one file that exists, and no question is asked twice."""
    answers = rows(section(ARCHITECTURE, "Where things are"))

    assert len(answers) >= 25
    assert len({question for question, _ in answers}) == len(answers)
    for question, answer in answers:
        (file,) = quoted(answer)
        assert (ROOT / file).is_file(), question


def test_every_path_exists() -> None:
    """What the text names by its path is in the repository."""
    paths = re.findall(r"`((?:tests|examples|hive_boot)/[\w/.]*)`", ARCHITECTURE)
    below = re.findall(
        r"`((?:cli|runtime|secrets|lifecycle|redaction|serving)/[\w/.]+)`", ARCHITECTURE
    )

    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [path for path in below if not (PACKAGE / path).exists()] == []


def has_import_in_function(path: Path) -> bool:
    """Return whether a function of a module contains an import."""
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    inside = [node for function in functions for node in ast.walk(function)]
    return any(isinstance(node, ast.Import | ast.ImportFrom) for node in inside)


def test_every_import_in_a_function_is_at_a_seam() -> None:
    """The table of seams names every module with such an import, and no other."""
    seams = rows(section(ARCHITECTURE, "Imports inside functions"))
    named = {PACKAGE / module for _, modules, _ in seams for module in quoted(modules)}

    assert named == set(filter(has_import_in_function, PACKAGE.rglob("*.py")))


def test_every_term_is_defined_once() -> None:
    """No term has two rows, and none is without a meaning."""
    terms = [
        term.strip() for entry, meaning in rows(GLOSSARY) if meaning for term in entry.split(",")
    ]

    assert len(terms) >= len(rows(GLOSSARY)) > 0
    assert [term for term, times in Counter(terms).items() if times > 1] == []


def test_no_metaphor_is_used() -> None:
    """Both pages use the words of the field."""
    pattern = re.compile(rf"\b(?:{'|'.join(BANNED)})s?\b", re.IGNORECASE)

    assert pattern.findall(ARCHITECTURE) == []
    assert pattern.findall(GLOSSARY) == []


def test_the_page_can_be_read_at_once() -> None:
    """The architecture has fewer than 350 lines."""
    assert len(ARCHITECTURE.splitlines()) < 350
