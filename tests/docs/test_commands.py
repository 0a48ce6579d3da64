"""Commands and options of docs/commands.md, compared with a real run."""

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


def test_the_output_is_as_shown(tmp_path: Path) -> None:
    """The commands of the page, run in order, print exactly what it shows."""
    place, laptop = make_workplace(tmp_path), make_laptop(tmp_path)
    (place / ".env").write_text(DOTENV, "utf-8")
    for text in CONSOLE:
        shown = replay(text, place, laptop)
        assert shown.replace(str(place), "/srv/app") == text


def test_every_block_is_tried() -> None:
    """Every block is covered by a test of this module."""
    assert len(CONSOLE) + 1 == len(BLOCKS)


def test_every_command_is_in_the_table() -> None:
    """The table has every command, in the order of the help."""
    documented = dict(re.findall(r"^\| `(\w+) \w+` \| (.*) \|$", PAGE, re.MULTILINE))
    assert list(documented) == list(COMMANDS)


def test_the_named_options_exist() -> None:
    """Every option in the paragraph of a command is an option of the command."""
    for parser in (manifests(), probe(), run()):
        known = set(re.findall(r"--[a-z-]+", parser.format_help()))
        name = parser.prog.split()[1]
        documented = [
            option
            for paragraph in PAGE.split("\n\n")
            if paragraph.startswith(f"`hive-boot {name} ")
            for option in re.findall(r"`(--[a-z-]+)", paragraph)
        ]
        assert documented, name
        assert set(documented) <= known
