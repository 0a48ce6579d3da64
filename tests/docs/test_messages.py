"""Mistakes of docs/reference/messages.md, made again."""

import re
from pathlib import Path

import pytest

from tests.docs.mistakes import APP, DOTENV, MISTAKES
from tests.docs.reading import make_laptop, read_page
from tests.fixtures.golden import assert_generated

PAGE = "docs/reference/messages.md"


@pytest.mark.parametrize("part", MISTAKES)
def test_the_messages_are_as_shown(part: str, tmp_path: Path) -> None:
    """Each mistake of a part, made in its own directory, prints what the page shows."""
    laptop = make_laptop(tmp_path)
    shown = [
        mistake.as_markdown(tmp_path / f"app{number}", laptop)
        for number, mistake in enumerate(MISTAKES[part])
    ]
    assert_generated(PAGE, part, "\n\n".join(shown))


def test_the_application_is_as_shown() -> None:
    """The page shows the files that every mistake has beside it."""
    assert_generated(PAGE, "app", f"```python\n{APP}```\n\n```sh\n{DOTENV}```")


def test_every_message_can_be_found() -> None:
    """The page has about forty mistakes or more, each under its own heading."""
    headings = re.findall(r"^### (.+)$", read_page(PAGE), re.MULTILINE)

    assert len(headings) >= 40
    assert len(set(headings)) == len(headings)
