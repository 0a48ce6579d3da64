"""The programs of docs/frameworks.md; tests/frameworks runs them with their libraries."""

import re

from tests.docs.reading import blocks_of
from tests.frameworks.programs import PAGE, PROGRAMS
from tests.frameworks.test_celery import CELERY
from tests.frameworks.test_frameworks import TABLE


def test_every_block_is_tried() -> None:
    """Every block is a program that is run, or the module that the programs share."""
    assert PROGRAMS.keys() - {"app.py"} == {*TABLE, CELERY}
    assert len(blocks_of(PAGE)) == len(PROGRAMS)


def test_every_library_has_a_row() -> None:
    """The table at the top has the sections of the page, in their order."""
    rows = re.findall(r"^\| (\[[^|]*) \|", PAGE, re.MULTILINE)
    listed = re.findall(r"\[([^]]*)\]", " ".join(rows))
    assert listed == re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
