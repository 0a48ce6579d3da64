"""The output and the rule of docs/fleet.md."""

import re
from pathlib import Path

from examples.fleet.__main__ import FAULTS
from examples.fleet.simulation import LIFETIME, Kubelet, shortest_safe
from tests.docs.reading import blocks_of, make_laptop, read_page, replay
from tests.support import ROOT

TEXT = read_page("docs/fleet.md")


def test_the_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    """The same seed gives the same table."""
    (block,) = [block for block in blocks_of(TEXT) if block.language == "console"]

    assert replay(block.text, ROOT, make_laptop(tmp_path)) == block.text


def test_the_table_has_every_way_to_break_an_instance() -> None:
    """The first column has the values of ``--fault``; `make test-fleet` runs each."""
    table = TEXT[TEXT.index("| `--fault` |") :]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [*FAULTS][1:]


def test_the_numbers_are_those_of_the_simulation() -> None:
    """The delay of a volume is the sum of the parts in the table."""
    watch, cache = Kubelet(), Kubelet(cache_ttl=60)

    assert f"**{watch.longest:g} s**" in TEXT
    assert f"and {cache.longest:g} s in a cluster" in TEXT
    assert f"a random age of up to {LIFETIME:g} s" in TEXT
    activate_after, accept_old_for = shortest_safe(LIFETIME, watch)
    assert re.search(rf"^ +{activate_after:g} s +{accept_old_for:g} s +0\.0$", TEXT, re.MULTILINE)
