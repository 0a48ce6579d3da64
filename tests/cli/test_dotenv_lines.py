"""Lines become comments, and every other byte stays."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hive_boot.cli.dotenv_lines import comment_out, refuse_losses
from hive_boot.cli.usage import Refusal
from hive_boot.secrets.sources.dotenv import DotenvFile, read_dotenv

NAMES = {"A", "A_FILE"}

CASES: dict[str, tuple[str, str, int]] = {
    "one line": ("A=x\n", "# A=x\n", 1),
    "no final newline": ("A=x", "# A=x", 1),
    "another name": ("B=x\nAA=x\n", "B=x\nAA=x\n", 0),
    "a pointer": ("A_FILE=/x\n", "# A_FILE=/x\n", 1),
    "twice": ("A=x\nB=y\nA=z\n", "# A=x\nB=y\n# A=z\n", 2),
    "export": ("  export A=x # y\n", "#   export A=x # y\n", 1),
    "a key in quotes": ("'A'=x\n", "# 'A'=x\n", 1),
    "several lines": ('A="x\n\ny"\nB=z\n', '# A="x\n# \n# y"\nB=z\n', 3),
    "Windows": ('A="x\r\ny"\r\nB=z\r\n', '# A="x\r\n# y"\r\nB=z\r\n', 2),
    "old Mac": ("A='x\ry'\rB=z\r", "# A='x\r# y'\rB=z\r", 2),
    "empty lines before": ("B=y\n\n \n\tA=x\n\n", "B=y\n\n \n# \tA=x\n\n", 1),
    "old empty lines before": ("\r\rA=x\r", "\r\r# A=x\r", 1),
    "a byte order mark": ("\ufeffA=x\n", "\ufeff# A=x\n", 1),
    "two byte order marks": ("\ufeff\ufeffA=x\n", "\ufeff\ufeff# A=x\n", 1),
    "a comment": ("# A=x\n", "# A=x\n", 0),
    "only mentioned": ("A\nexport A\n", "A\nexport A\n", 0),
    "empty": ("A=\n", "# A=\n", 1),
    "nothing": ("", "", 0),
}


def read(raw: bytes) -> DotenvFile:
    """Read a file that holds ``raw``."""
    fd = os.memfd_create("env")
    try:
        os.write(fd, raw)
        return read_dotenv(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


@pytest.mark.parametrize(("text", "expected", "lines"), CASES.values(), ids=CASES.keys())
def test_each_line_of_a_binding_becomes_a_comment(text: str, expected: str, lines: int) -> None:
    """Line ends, empty lines and marks are what they were."""
    assert comment_out(text.encode(), NAMES) == (expected.encode(), lines)


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(st.text(alphabet="AB='\"#\\n\n\r\t \ufeff\x0b\x85", max_size=40))
def test_the_rest_means_what_it_meant(text: str) -> None:
    """Whatever can be read: the other names are set as before, and these are not."""
    before = read(text.encode())
    assume(not before.problems)
    content, lines = comment_out(text.encode(), NAMES)
    after = read(content)

    refuse_losses(before, after, NAMES)
    assert not NAMES & after.values.keys()
    assert len(content) == len(text.encode()) + 2 * lines
    assert comment_out(content, NAMES) == (content, 0)


@pytest.mark.parametrize(
    "after", ["A=x\nB=y", "# A=x\nB=z", "# A=x", "# A=x\nB=y\nHIVE_BOOT_MODE=docker", "B=y\n'"]
)
def test_a_file_that_would_mean_something_else_is_refused(after: str, tmp_path: Path) -> None:
    """It is read once more before it counts."""
    path = tmp_path / ".env"
    path.write_text("A=x\nB=y")
    before = read_dotenv(str(path))
    path.write_text(after)

    with pytest.raises(Refusal, match="would not mean the same afterwards"):
        refuse_losses(before, read_dotenv(str(path)), NAMES)
