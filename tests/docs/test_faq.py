"""The answers of docs/faq.md are short, and name what exists; so do the guides and the tutorial."""

import re

import pytest

from hive_boot.cli.main import COMMANDS
from tests.docs.reading import read_page
from tests.support import ROOT

PAGE = read_page("docs/faq.md")

ANSWERS = dict(re.findall(r"^### (.*)\n\n((?:(?!#).*\n)*)", PAGE, re.MULTILINE))

PAGES = ["docs/faq.md", "docs/tutorial.md", "examples/README.md"]
PAGES += sorted(f"docs/guides/{path.name}" for path in (ROOT / "docs" / "guides").glob("*.md"))


def sentences(answer: str) -> list[str]:
    """Return the sentences of an answer, without the dots in code and in addresses."""
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)", "", answer)
    return [text for text in re.split(r"[.?!](?:\s+|$)", prose) if text.strip()]


def test_an_answer_has_at_most_five_sentences() -> None:
    """Who wants to know more follows a link."""
    assert len(ANSWERS) == PAGE.count("\n### ") >= 20
    for question, answer in ANSWERS.items():
        assert question.endswith("?") or "Why" in question, question
        assert 1 <= len(sentences(answer)) <= 5, question


def test_most_answers_have_a_link() -> None:
    """An answer without a link is complete by itself."""
    complete = [question for question, answer in ANSWERS.items() if "](" not in answer]
    assert len(complete) <= 6, complete


@pytest.mark.parametrize("page", PAGES)
def test_the_names_exist(page: str) -> None:
    """Variables are read by the package, and commands are those of the command line."""
    text = read_page(page)
    source = "".join(path.read_text("utf-8") for path in (ROOT / "hive_boot").rglob("*.py"))
    for name in set(re.findall(r"HIVE_BOOT_[A-Z_]+", text)):
        assert name in source, name
    for command in set(re.findall(r"hive-boot ([a-z-]+)", text)):
        assert command in COMMANDS, command
