"""Lines of a `.env` file that python-dotenv skips, and lines that set a name again."""

import logging
from pathlib import Path

import pytest

from hive_boot.secrets.sources.dotenv import DotenvFile, read_dotenv
from tests.fixtures.cases import case

WANTED = ("A", "B", "API_KEY")

PEM = """\
-----BEGIN FAKE KEY-----
ZmFrZS1rZXktbGluZS0xZmFrZS1rZXktbGluZS0x
ZmFrZS1rZXktbGluZS0y/+ZmFrZQ
ZmFrZQ==
-----END FAKE KEY-----
"""


@pytest.fixture
def env(tmp_path: Path) -> Path:
    """Return the path of the file."""
    return tmp_path / ".env"


def parse(path: Path, content: str, *wanted: str) -> DotenvFile:
    """Write a file, and read it with the names that no stronger source has provided."""
    path.write_text(content, newline="")
    return read_dotenv(str(path), wanted=wanted or WANTED)


def plain(result: DotenvFile) -> dict[str, str]:
    """Return the plain values of a file."""
    return {name: value.reveal() for name, value in result.values.items()}


def test_an_unreadable_line_that_concerns_no_declared_secret(
    env: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its number is recorded; the other lines are read; python-dotenv logs nothing."""
    cases: list[tuple[str, list[int]]] = [
        ("A=x\nfake secret of mine\nB=x", [2]),
        ("A=x\n\n\nfake secret of mine\nB=x", [4]),
        ("A=x\r\n\r\nfake secret of mine\r\nB=x", [3]),
        ("# comment\nA=x\n   fake secret of mine\nB=x", [3]),
        ("A=\"x\" # y\nOTHER='x' y\nB=x", [2]),
        ('X="two\nlines"\nfake secret of mine\nA=x\nB=x', [3]),
        ("A=x\n=fake\nB=x", [2]),
        ("A=x\n'fake=x\nB=x", [2]),
        ("--- A ---\nA=x\nB=x\n*** B ***", [1, 4]),
        ("// A B\n; A B\n-- A\nA=x\nB=x", [1, 2, 3]),
        ("<<<<<<< HEAD\nA=y\n=======\nA=x\n>>>>>>> other\nB=x", [1, 3, 5]),
        ("if [ -f A ]; then\n export A=x\nfi\nset -a\nB=x", [1, 4]),
        ("A: later\nA=x\nB=x", [1]),
        ("A\nexport B\nAPI_KEY\n[API_KEY]\nA=x\nB=x", []),
        ("A=x\nB=x\nOTHER='tis", [3]),
        ("A=x\nOTHER='one\nA=fake'\nB=x", []),
        (f"A=x\nOTHER={PEM}B=x", [2]),
        (f"A=x\n{PEM}B=x", [2]),
        (f'A=x\nOTHER="{PEM}B=x', [2]),
        (f"A=x\nB=x\nOTHER={PEM.partition('-----END')[0]}", [3]),
    ]
    caplog.set_level(logging.DEBUG)
    for text, lines in cases:
        with case(text):
            result = parse(env, text)
            assert result.problems == []
            assert result.unreadable_lines == lines
            assert {name: plain(result)[name] for name in ("A", "B")} == {"A": "x", "B": "x"}
            assert caplog.text == ""


def test_an_unreadable_line_that_may_concern_a_declared_secret(env: Path) -> None:
    """It is a problem, which names the line and the secret, and no other word of the line."""
    cases: list[tuple[str, int, str]] = [
        ("API_KEY: fake-key", 1, "API_KEY"),
        ("API_KEY fake-key", 1, "API_KEY"),
        ("export API_KEY: fake-key", 1, "API_KEY"),
        ("API_KEY:fake-key", 1, "API_KEY"),
        ('{"API_KEY": "fake-key"}', 1, "API_KEY"),
        ('{"API_KEY":"fake-key"}', 1, "API_KEY"),
        ("declare -x API_KEY=fake-key", 1, "API_KEY"),
        ("- API_KEY=fake-key", 1, "API_KEY"),
        ('"API_KEY": "fake-key",', 1, "API_KEY"),
        ('API_KEY="fake" "key"', 1, "API_KEY"),
        ("X=x\n\nAPI_KEY='fake-key'junk", 3, "API_KEY"),
        # Quotes.
        ('X=x\nAPI_KEY="fake-key\n', 2, "API_KEY"),
        ("X='tis\nAPI_KEY=fake-key", 1, "API_KEY"),
        ("X='tis\nAPI_KEY=fake-key\nY='x'", 1, "API_KEY"),
        ("X='tis\nAPI_KEY=fake-key\nY='", 1, "API_KEY"),
        ('X="a\nAPI_KEY="fake-key"', 1, "API_KEY"),
        ('X="a\\\n\nAPI_KEY=fake-key', 1, "API_KEY"),
        ("X='tis\nA=x\nB=x\nAPI_KEY=fake", 1, "A, API_KEY, B"),
        # PEM blocks.
        (f"API_KEY={PEM}", 1, "API_KEY"),
        (f"API_KEY=  {PEM}", 1, "API_KEY"),
        (f"export API_KEY={PEM}", 1, "API_KEY"),
        (f"'API_KEY'={PEM}", 1, "API_KEY"),
        (f'X=x\nAPI_KEY="{PEM}', 2, "API_KEY"),
        (f"X=x\nAPI_KEY=\n{PEM}", 3, "API_KEY"),
        (f"X={PEM.partition('-----END')[0]}API_KEY=fake-key", 1, "API_KEY"),
    ]
    for text, line, names in cases:
        with case(text):
            (problem,) = parse(env, text).problems
            assert (problem.name, problem.kind) == (f"{env}:{line}", "dotenv")
            assert problem.details == (f"It may concern {names}.",)
            assert problem.fix
            assert "fake" not in repr(problem)
            assert "ZmFrZ" not in repr(problem)


def test_a_name_that_a_stronger_source_provides_is_not_concerned(env: Path) -> None:
    """A line about a secret that the environment has is only recorded."""
    for text in ("API_KEY: fake", "API_KEY='fake", f"API_KEY={PEM}"):
        with case(text):
            result = parse(env, text, "A")
            assert (result.problems, result.unreadable_lines) == ([], [1])


def test_the_lines_of_a_pem_block_are_no_names(env: Path) -> None:
    """A block without quotes is one problem, and none of its lines is a variable."""
    result = parse(env, f"A={PEM}X=x\nB={PEM}Y=y\n")
    assert [problem.name for problem in result.problems] == [f"{env}:1", f"{env}:7"]
    assert plain(result) == {"X": "x", "Y": "y"}

    result = parse(env, f"A={PEM.partition('-----END')[0]}X=x\n")
    assert result.values == {}


def test_a_pem_block_in_quotes_is_a_value(env: Path) -> None:
    """A key in quotes is read whole, with real line ends or escaped ones, also without its end."""
    written = [f'"{PEM}"', f"'{PEM}'", '"' + PEM.replace("\n", "\\n") + '"']
    for text in written:
        with case(text):
            result = parse(env, f"A=x\nAPI_KEY={text}\nB=y")
            assert plain(result) == {"A": "x", "API_KEY": PEM, "B": "y"}
            assert (result.problems, result.unreadable_lines) == ([], [])
    beginning = PEM.partition("-----END")[0]
    result = parse(env, f'API_KEY="{beginning}"\nB=y')
    assert plain(result) == {"API_KEY": beginning, "B": "y"}


def test_a_name_that_is_set_again(env: Path) -> None:
    """The line is recorded, with the name only if it is declared."""
    result = parse(env, "A=1\nX=1\nA=2\nX=2\nB=1\nHIVE_BOOT_MODE=x\nA=\nB\n")
    assert result.repeated == {3: "A", 4: "", 7: "A"}
    assert plain(result) == {"A": "", "X": "2", "B": "1"}


def test_a_line_of_blanks_takes_linear_time(env: Path) -> None:
    """A pattern that tries each split of a million blanks would take hours."""
    result = parse(env, " " * 1_000_000 + "!\nA=fake-value-0123456789\n")
    assert plain(result) == {"A": "fake-value-0123456789"}
