"""The syntax that python-dotenv documents, case by case, and what it passes over in silence."""

import logging
import os
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hive_boot.secrets.sources.dotenv import DotenvFile, read_dotenv
from hive_boot.secrets.sources.files import LIMIT
from tests.fixtures.cases import case
from tests.support import as_ordinary_user

PEM = """\
-----BEGIN FAKE KEY-----
ZmFrZS1rZXktbGluZS0xZmFrZS1rZXktbGluZS0x
ZmFrZS1rZXktbGluZS0y/+ZmFrZQ
ZmFrZQ==
-----END FAKE KEY-----
"""


@pytest.fixture
def env(tmp_path: Path) -> Path:
    """Give the place of the file."""
    return tmp_path / ".env"


def parse(path: Path, content: str | bytes) -> DotenvFile:
    """Write a file, and read it."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_dotenv(str(path))


def values(result: DotenvFile) -> dict[str, str]:
    """Give the plain values of a file that was read without a problem."""
    assert result.problems == []
    return {name: value.reveal() for name, value in result.values.items()}


DOCUMENTED: dict[str, tuple[str, dict[str, str]]] = {
    "unquoted": ("A=fake", {"A": "fake"}),
    "unquoted, with spaces inside": ("A=fake and more", {"A": "fake and more"}),
    "spaces around": ("  A  =  fake  ", {"A": "fake"}),
    "tabs around": ("\tA\t=\tfake\t", {"A": "fake"}),
    "single quotes": ("A='fake'", {"A": "fake"}),
    "double quotes": ('A="fake"', {"A": "fake"}),
    "spaces in quotes": ("A=' fake '\nB=\" fake \"", {"A": " fake ", "B": " fake "}),
    "double quotes in single ones": ("A='\"fake\"'", {"A": '"fake"'}),
    "single quotes in double ones": ("A=\"'fake'\"", {"A": "'fake'"}),
    "quotes inside a bare value": ("A=fa'k\"e", {"A": "fa'k\"e"}),
    "a key in single quotes": ("'A'=fake", {"A": "fake"}),
    "a key with spaces in quotes": ("'a b'=fake", {"a b": "fake"}),
    "a key with dots and dashes": ("a.b-c=fake", {"a.b-c": "fake"}),
    "export": ("export A=fake", {"A": "fake"}),
    "export with more space": ("  export \t A = 'fake'", {"A": "fake"}),
    "a key called export": ("export=fake", {"export": "fake"}),
    "a key that begins with export": ("exported=fake", {"exported": "fake"}),
    "a comment line": ("# A=no\n  # B=no\nC=fake", {"C": "fake"}),
    "an inline comment": ("A=fake # comment", {"A": "fake"}),
    "an inline comment after a tab": ("A=fake\t# comment", {"A": "fake"}),
    "a hash in a bare value": ("A=fake#kept", {"A": "fake#kept"}),
    "a hash in quotes": ("A='fake # kept'\nB=\"fake # kept\"", dict.fromkeys("AB", "fake # kept")),
    "a comment after quotes": ("A='fake' # no\nB=\"fake\"# no", {"A": "fake", "B": "fake"}),
    "a hash first": ("A=#fake", {"A": "#fake"}),
    "a comment instead of a value": ("A= # comment", {"A": ""}),
    "an equals sign in a value": ("A=fake=a==\nB='x=y'", {"A": "fake=a==", "B": "x=y"}),
    "an equals sign at the end": ("A==", {"A": "="}),
    "an empty value": ("A=\nB=''\nC=\"\"", {"A": "", "B": "", "C": ""}),
    "an empty value in the last line": ("A=", {"A": ""}),
    "no equals sign": ("A\nB=fake\nexport C", {"B": "fake"}),
    "escapes in double quotes": (
        r'A="\\ \' \" a\ab\bf\fn\nr\rt\tv\v"',
        {"A": "\\ ' \" a\ab\bf\fn\nr\rt\tv\v"},
    ),
    "no escapes in double quotes": (r'A="\d \$ \u0041 \x41 \0"', {"A": r"\d \$ \u0041 \x41 \0"}),
    "escapes in single quotes": (r"A='\\ \''", {"A": r"\ '"}),
    "no escapes in single quotes": (r"A='\n \t \" \a'", {"A": r"\n \t \" \a"}),
    "no escapes in a bare value": (r"A=\n\t\\", {"A": r"\n\t\\"}),
    "several lines in double quotes": ('A="one\ntwo\n\nfour"', {"A": "one\ntwo\n\nfour"}),
    "several lines in single quotes": ("A='one\ntwo'\nB=x", {"A": "one\ntwo", "B": "x"}),
    "a variable left as it is": ("A=x\nB=${A}\nC=$A", {"A": "x", "B": "${A}", "C": "$A"}),
    "a variable in double quotes left as it is": ('A=x\nB="${A}"', {"A": "x", "B": "${A}"}),
    "a variable in single quotes left as it is": ("A='${HOME:-x}'", {"A": "${HOME:-x}"}),
    "a byte order mark": ("\ufeffA=fake", {"A": "fake"}),
    "Windows line ends": ("A=fake\r\nB='x'\r\n\r\nC=\r\n", {"A": "fake", "B": "x", "C": ""}),
    "old Mac line ends": ("A=fake\rB=x", {"A": "fake", "B": "x"}),
    "one name twice": ("A=first\nA=second", {"A": "second"}),
    "one name twice, then empty": ("A=first\nA=", {"A": ""}),
    "beyond ASCII": ("A=fäke-\U0001f511\nÄ=x", {"A": "fäke-\U0001f511", "Ä": "x"}),
    "empty lines": ("\n\nA=fake\n\n\n", {"A": "fake"}),
    "white space only": (" \n\t\n ", {}),
    "comments only": ("# nothing\n", {}),
}


def test_the_documented_syntax(env: Path) -> None:
    """A file that works elsewhere means the same here."""
    for label, (text, expected) in DOCUMENTED.items():
        with case(label):
            result = parse(env, text)

            assert values(result) == expected
            assert result.exists
            assert result.ignored == []


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="AB= '\"#\\n$\n\r\t{}", max_size=30))
def test_it_agrees_with_python_dotenv(text: str) -> None:
    """Whatever it can read python-dotenv reads alike, and what that passes over is a problem."""
    fd = os.memfd_create("env")
    try:
        os.write(fd, text.encode())
        result = read_dotenv(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    theirs = dotenv_values(stream=StringIO(text), interpolate=False)
    ours = {name: value.reveal() for name, value in result.values.items()}

    assert set(ours) <= set(theirs)
    for name, value in theirs.items():
        assert value is None or ours[name] == value


def test_a_line_that_cannot_be_read_is_named_by_its_number(
    env: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What python-dotenv passes over is a problem, told without a word of the line."""
    cases: list[tuple[str, int]] = [
        ("fake secret of mine", 1),
        ("A=x\nfake secret of mine\nB=x", 2),
        ("A=x\n\n\nfake secret of mine\nB=x", 4),
        ("A=x\r\n\r\nfake secret of mine\r\nB=x", 3),
        ("# comment\nA=x\n   fake secret of mine", 3),
        ('A=x\nB="fake', 2),
        ("A=x\nB='fake", 2),
        ("A='fake' secret\nB=x", 1),
        ('A="two\nlines"\nfake secret of mine', 3),
        ("A=x\n=fake", 2),
        ("A=x\n'fake=x", 2),
    ]
    for text, line in cases:
        with case(text, line):
            caplog.set_level(logging.DEBUG)
            result = parse(env, text)
            (problem,) = result.problems

            assert problem.name == f"{env}:{line}"
            assert problem.kind == "dotenv"
            assert "NAME=value" in problem.fix
            assert "fake" not in repr(result)
            assert caplog.text == ""


def test_the_other_lines_are_read_all_the_same(env: Path) -> None:
    """One bad line is one problem, and no reason to ask for the secrets of the others."""
    result = parse(env, "A=x\nfake secret\nB=y\nanother fake\nC=z")

    assert [problem.name for problem in result.problems] == [f"{env}:2", f"{env}:4"]
    assert {name: value.reveal() for name, value in result.values.items()} == {
        "A": "x",
        "B": "y",
        "C": "z",
    }


def test_a_pem_block_without_quotes_is_one_problem(env: Path) -> None:
    """A key pasted without quotes is told once, by its line; none of its lines is a name."""
    cases: list[tuple[str, int]] = [("", 1), ("A=x\n", 2), ("A=x\n\n# a key\n", 4)]
    for before, line in cases:
        for start in ("KEY=", "KEY=  ", "export KEY=", "'KEY'=", ""):
            with case(before, line, start):
                result = parse(env, f"{before}{start}{PEM}B=y\n")
                (problem,) = result.problems

                assert problem.name == f"{env}:{line}"
                assert problem.kind == "dotenv"
                assert "PEM" in problem.message
                assert 'NAME="-----BEGIN' in problem.fix
                assert set(result.values) == ({"A", "B"} if before else {"B"})
                assert "ZmFrZ" not in repr(result)


def test_a_pem_block_that_does_not_end_takes_no_line_for_a_name(env: Path) -> None:
    """A key that was cut off is one problem, whatever follows it."""
    result = parse(env, "KEY=" + PEM.partition("-----END")[0])
    (problem,) = result.problems

    assert problem.name == f"{env}:1"
    assert result.values == {}


def test_a_pem_block_after_a_quote_that_is_never_closed_is_one_problem(env: Path) -> None:
    """A quote that was forgotten at the end of a key is told once."""
    result = parse(env, f'A=x\nKEY="{PEM}B=y\n')

    assert [problem.name for problem in result.problems] == [f"{env}:2"]
    assert "ZmFrZ" not in repr(result)
    assert set(result.values) == {"A", "B"}


def test_two_pem_blocks_without_quotes_are_two_problems(env: Path) -> None:
    """Each key that needs quotes is named."""
    result = parse(env, f"KEY={PEM}A=x\nCERT={PEM}B=y\n")

    assert [problem.name for problem in result.problems] == [f"{env}:1", f"{env}:7"]
    assert set(result.values) == {"A", "B"}


def test_a_pem_block_in_quotes_is_a_value(env: Path) -> None:
    """A key in quotes is read whole, with real line ends or escaped ones."""
    cases: list[str] = [f'"{PEM}"', f"'{PEM}'", '"' + PEM.replace("\n", "\\n") + '"']
    for written in cases:
        with case(written):
            assert values(parse(env, f"A=x\nKEY={written}\nB=y")) == {
                "A": "x",
                "KEY": PEM,
                "B": "y",
            }


def test_our_own_settings_are_named_and_not_taken(env: Path) -> None:
    """Mode and profile are no matter of a file, and who puts them there is told."""
    result = parse(env, "HIVE_BOOT_MODE=docker\nA=x\nexport HIVE_BOOT_PROFILE='test'\nHIVE_BOOT_X")

    assert values(result) == {"A": "x"}
    assert result.ignored == ["HIVE_BOOT_MODE", "HIVE_BOOT_PROFILE"]


def test_the_environment_is_left_alone(env: Path) -> None:
    """Reading a file sets no variable, so no child process inherits the secrets."""
    before = dict(os.environ)
    parse(env, "FAKE_TOKEN_OF_THE_TEST=fake")

    assert dict(os.environ) == before


def test_values_show_their_names_only(env: Path) -> None:
    """What was read can be printed."""
    result = parse(env, "TOKEN=fake-token-0123456789")

    assert repr(result.values["TOKEN"]) == "Secret('TOKEN', '***')"
    assert "fake-token" not in repr(result)


def test_an_absent_file_is_no_problem(env: Path) -> None:
    """A developer may have no file, and is told where it was looked for."""
    result = read_dotenv(str(env))

    assert not result.exists
    assert values(result) == {}


def test_an_empty_file_is_no_problem(env: Path) -> None:
    """A file without a line is there, and says nothing."""
    for content in (b"", b"\n", b"\xef\xbb\xbf"):
        with case(content):
            result = parse(env, content)

            assert result.exists
            assert values(result) == {}


def test_a_file_that_is_no_text_is_a_problem(env: Path) -> None:
    """A file that cannot be read whole is not read in part."""
    cases: list[tuple[bytes, str]] = [
        (b"A=fake\nB=\xff", "not-utf-8"),
        ("A=fake".encode("utf-16"), "not-utf-8"),
        (b"A=fake\0", "nul"),
        (b"#" * (LIMIT + 1), "too-large"),
    ]
    for content, kind in cases:
        with case(content, kind):
            result = parse(env, content)
            (problem,) = result.problems

            assert problem.name == str(env)
            assert problem.kind == kind
            assert problem.places == (str(env),)
            assert result.exists
            assert result.values == {}
            assert "fake" not in repr(result)


def test_what_is_no_file_is_a_problem(env: Path) -> None:
    """A directory, a FIFO and a broken link in its place are told, and nothing hangs."""
    env.mkdir()
    (directory,) = read_dotenv(str(env)).problems
    env.rmdir()
    os.mkfifo(env)
    (fifo,) = read_dotenv(str(env)).problems
    env.unlink()
    env.symlink_to("nowhere")
    (link,) = read_dotenv(str(env)).problems

    assert [each.kind for each in (directory, fifo, link)] == [
        "not-a-file",
        "not-a-file",
        "broken-link",
    ]


def test_a_file_that_is_closed_to_us_is_a_problem() -> None:
    """A `.env` of another user is told of."""
    with as_ordinary_user() as place:
        result_of = parse(place / ".env", "A=fake")
        (place / ".env").chmod(0o000)
        (problem,) = read_dotenv(str(place / ".env")).problems

    assert values(result_of) == {"A": "fake"}
    assert problem.kind == "unreadable"
