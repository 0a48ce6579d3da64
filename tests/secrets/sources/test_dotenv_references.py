"""References such as ``${NAME}`` in the values of a `.env` file."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from hive_boot.secrets.sources.dotenv import DotenvFile, parse_dotenv, read_dotenv
from hive_boot.secrets.sources.files import LIMIT
from hive_boot.secrets.value import Secret
from tests.fixtures.cases import case

ENVIRONMENT = {"HOST": "db.example", "EMPTY": "", "MORE": "a\\$b ${HOST} #'\"\n"}


@pytest.fixture
def env(tmp_path: Path) -> Path:
    """Return the path of the file."""
    return tmp_path / ".env"


def parse(path: Path, content: str, *scopes: Mapping[str, str | Secret]) -> DotenvFile:
    """Write a file, and read it with the variables of stronger sources."""
    path.write_text(content, newline="")
    return read_dotenv(str(path), scopes=scopes or [ENVIRONMENT])


def test_a_reference_that_is_replaced(env: Path) -> None:
    """In values without quotes and in double quotes, `${NAME}` and its default are replaced."""
    cases: dict[str, str] = {
        "A=${HOST}": "db.example",
        "export A = http://${HOST}:80/ # comment": "http://db.example:80/",
        'A="${HOST}" # comment': "db.example",
        "A='${HOST}'": "${HOST}",
        "A='${HOST' # ${HOST}": "${HOST",
        "'A'='${NOWHERE}'": "${NOWHERE}",
        "A='\\${HOST}'": "\\${HOST}",
        "A=${HOST}${HOST}": "db.exampledb.example",
        "A=$HOST $ $$ $1 $(x) $": "$HOST $ $$ $1 $(x) $",
        'A="$HOST"': "$HOST",
        # The default.
        "A=${HOST:-x}": "db.example",
        "A=${NOWHERE:-x}": "x",
        "A=${NOWHERE:-}": "",
        "A=${EMPTY:-x}": "x",
        "A=a${EMPTY}b": "ab",
        'A="${NOWHERE:-a b}"': "a b",
        'A="${NOWHERE:-a\\nb}"': "a\nb",
        'A="${NOWHERE:-a\nb}"': "a\nb",
        'A="${NOWHERE:-\\"x\\"}"': '"x"',
        "A=${NOWHERE:-a:-b}": "a:-b",
        "A=${NOWHERE:-$HOST}": "$HOST",
        "A=${NOWHERE:-\\$x}": "$x",
        "A=${NOWHERE:-{x}}": "{x}",
        # Escapes.
        "A=\\${HOST}": "${HOST}",
        "A=pa\\$word": "pa$word",
        "A=\\\\${HOST}": "\\\\db.example",
        "A=\\\\\\${HOST}": "\\\\${HOST}",
        "A=a\\nb$": "a\\nb$",
        'A="\\${HOST}"': "${HOST}",
        'A="\\\\${HOST}"': "\\db.example",
        'A="\\\\\\${HOST}"': "\\${HOST}",
        'A="\\n\\d$"': "\n\\d$",
        "A=$\\{HOST}": "$\\{HOST}",
        # What a variable contains is not parsed again.
        "A=${MORE}": ENVIRONMENT["MORE"],
        'A="${MORE}"': ENVIRONMENT["MORE"],
        # Earlier lines.
        "B=x\nA=${B}": "x",
        "B=x\nA=${B}\nB=y": "x",
        "B=x\nB=${B}y\nA=${B}": "xy",
        "B='${HOST}'\nA=${B}": "${HOST}",
        "b.c-d=x\nA=${b.c-d}": "x",
        "HIVE_BOOT_MODE=x\nA=${HIVE_BOOT_MODE}": "x",
        "HOST=other\nA=${HOST}": "db.example",
        "EMPTY=x\nA=${EMPTY}": "x",
        "A=x\nA=${A}y": "xy",
        "A=${A-x}\nA=y": "y",
        "HOST=${fake}\nHOST=x\nA=${HOST}": "db.example",
        'A="${HOST}\r\n${HOST}"\r\n': "db.example\ndb.example",
    }
    for text, value in cases.items():
        with case(text):
            result = parse(env, text)
            assert (result.value_problems, result.unreadable_lines) == ({}, [])
            assert result.values["A"].reveal() == value


def test_a_reference_that_cannot_be_replaced(env: Path) -> None:
    """It is a problem of its variable, with the line and without a word of the value."""
    cases: list[str] = [
        "${fake}",
        "${}",
        "${",
        "${fake",
        "${fake:-${HOST}}",
        "${HOST:-${fake}}",
        "${HOST:-fake${HOST}}",
        "${fake-x}",
        "${HOST-x}",
        "${HOST:?fake}",
        "${HOST:+fake}",
        "${HOST:=fake}",
        "${HOST:0:4}",
        "${HOST%fake}",
        "${#HOST}",
        "${!HOST}",
        "${HOST }",
        "${HÖST}",
        "${1}",
        "${{ secrets.fake }}",
        "fake${HOST}$\\${fake}${fake}",
        "${LATER}",
        "${A}",
        "${SELF}",
        "${UNSET}",
        "${BROKEN}",
        "${BROKEN:-x}",
    ]
    for text in cases:
        for quote in ("", '"'):
            with case(text, quote):
                content = (
                    f"UNSET\nBROKEN=${{fake}}\nA={quote}{text}{quote}\nLATER=x\nSELF=${{SELF}}"
                )
                result = parse(env, content)
                assert result.value_problems["A"].kind == "dotenv"
                assert "(line 3)" in result.value_problems["A"].message
                assert "fake" not in repr(result.value_problems)
                assert "A" not in result.values
                assert result.problems == []


def test_an_earlier_value_does_not_count_beside_a_problem(env: Path) -> None:
    """The last line of a name counts, also if its reference cannot be replaced."""
    result = parse(env, "A=x\nA=${fake}\nB=${A}")
    assert (result.values, set(result.value_problems)) == ({}, {"A", "B"})


def test_the_strongest_source_with_a_value_counts(env: Path) -> None:
    """The environment comes before `.env.local`, and both before earlier lines."""
    local = {"A": Secret("A", "local"), "B": Secret("B", "local"), "D": Secret("D", "")}
    environment = {"A": "environment", "C": "", "D": ""}
    text = "A=here\nB=here\nC=here\nX=${A} ${B} ${C} ${D}-${D:-none}"
    result = parse(env, text, environment, local)
    assert result.values["X"].reveal() == "environment local here -none"


def test_a_problem_of_a_weaker_source_does_not_matter(env: Path) -> None:
    """A variable that the environment has is not looked for in the file."""
    result = parse(env, "HOST=${fake}\nA=${HOST}")
    assert result.values["A"].reveal() == "db.example"
    assert result.value_problems.keys() == {"HOST"}


def test_references_do_not_multiply_a_file(env: Path) -> None:
    """Values that double from line to line end as a problem, not in all of the memory."""
    lines = ["V0=fake", *(f"V{n}=${{V{n - 1}}}${{V{n - 1}}}" for n in range(1, 60))]
    result = parse(env, "\n".join(lines))
    assert sum(len(value.reveal()) for value in result.values.values()) < 2 * LIMIT
    assert "V59" in result.value_problems
    assert str(LIMIT) in next(iter(result.value_problems.values())).message


PIECES = st.sampled_from(
    ["${A}", "${B}", "${A:-x}", "${B:-}", "${NOWHERE:-y z}", "$A", "{", "}", "-", ":", " ", "é"]
)

VALUE = st.lists(PIECES, max_size=6).map("".join)


@given(st.lists(st.tuples(st.sampled_from("AB"), VALUE, st.booleans()), max_size=6))
def test_they_are_what_python_dotenv_makes_of_them(lines: list[tuple[str, str, bool]]) -> None:
    """Where no rule says otherwise: with values that are not empty, and that exist."""
    text = "A=a\nB=b\n"
    for name, value, is_quoted in lines:
        text += f'{name}="x{value}"\n' if is_quoted else f"{name}=x{value}\n"
    result = DotenvFile(".env")
    parse_dotenv(result, lambda: text, scopes=[])
    theirs = dotenv_values(stream=StringIO(text), interpolate=True)
    assert {name: value.reveal() for name, value in result.values.items()} == theirs
    assert result.value_problems == {}
