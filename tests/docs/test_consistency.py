"""The program of docs/consistency.md, and the numbers that its argument depends on."""

import re
from pathlib import Path

from hive_boot._timings import DEFAULTS
from hive_boot.secrets.sources.directories import ReadPolicy
from tests.docs.reading import blocks_of, python_files, read_page, write_files
from tests.support import ROOT, run_python

TEXT = read_page("docs/consistency.md")


def test_no_set_is_torn(tmp_path: Path) -> None:
    """The program prints what the page shows, in a volume that is rotated 300 times."""
    place = write_files(tmp_path, python_files(TEXT))
    done = run_python(str(place / "pairs.py"), str(tmp_path / "volume"), cwd=place)
    (shown,) = [block.text for block in blocks_of(TEXT) if block.language == "text"]

    assert done.returncode == 0, done.stderr
    assert done.stdout == shown


def test_the_numbers_are_right() -> None:
    """The seconds and tries of the page are those of the code."""
    policy = ReadPolicy()
    assert f"up to\n   {policy.tries} times" in TEXT
    assert f"{policy.quiet_interval:g} s apart" in TEXT
    assert f"older than {policy.settled_age:g} s" in TEXT
    assert f"for up to {policy.missing_timeout:g} s" in TEXT
    assert f"nothing for {DEFAULTS.writer_silence_timeout:g} s" in TEXT


def test_every_block_is_tried() -> None:
    """The page has the program and its output, and names a file that exists."""
    assert [block.language for block in blocks_of(TEXT)] == ["python", "text"]
    for path in re.findall(r"`(hive_boot/[\w/.]+)`", TEXT):
        assert (ROOT / path).is_file()
