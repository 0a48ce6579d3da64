"""Whatever docs/commands.md shows is what happens."""

import re
from pathlib import Path

from hive_boot.cli.main import COMMANDS
from hive_boot.cli.manifests import parser as manifests
from hive_boot.cli.probe import parser as probe
from hive_boot.cli.run import parser as run
from tests.docs.reading import blocks_of, make_laptop, make_workplace, read_page, replay

PAGE = read_page("docs/commands.md")
BLOCKS = blocks_of(PAGE)
(DOTENV,) = [block.text for block in BLOCKS if block.language == "sh"]
CONSOLE = [block.text for block in BLOCKS if block.language == "console"]


def test_what_is_typed_is_answered_so(tmp_path: Path) -> None:
    """A reader who types the whole page, in order, sees exactly what it shows."""
    place, laptop = make_workplace(tmp_path), make_laptop(tmp_path)
    (place / ".env").write_text(DOTENV, "utf-8")
    for text in CONSOLE:
        shown = replay(text, place, laptop)
        assert shown.replace(str(place), "/srv/app") == text


def test_every_block_is_tried() -> None:
    """No block is of a kind that this module does not know."""
    assert len(CONSOLE) + 1 == len(BLOCKS)


def test_every_command_is_told_of() -> None:
    """The table has all of them, with the words of the help."""
    told = dict(re.findall(r"^\| `(\w+) \w+` \| (.*) \|$", PAGE, re.MULTILINE))
    assert list(told) == list(COMMANDS)


def test_the_options_that_are_named_exist() -> None:
    """An option in the text of a command is one that the command takes."""
    for parser in (manifests(), probe(), run()):
        known = set(re.findall(r"--[a-z-]+", parser.format_help()))
        name = parser.prog.split()[1]
        told = [
            option
            for paragraph in PAGE.split("\n\n")
            if paragraph.startswith(f"`hive-boot {name} ")
            for option in re.findall(r"`(--[a-z-]+)", paragraph)
        ]
        assert told, name
        assert set(told) <= known
