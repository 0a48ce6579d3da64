"""The syntax that python-dotenv documents, case by case, and what it passes over in silence."""

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


@pytest.fixture
def env(tmp_path: Path) -> Path:
    """Return the place of the file."""
    return tmp_path / ".env"


def parse(path: Path, content: str | bytes, *wanted: str) -> DotenvFile:
    """Write a file, and read it."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_dotenv(str(path), wanted=wanted)


def values(result: DotenvFile) -> dict[str, str]:
    """Return the plain values of a file that was read without a problem."""
    assert (result.problem, result.problems, result.value_problems) == (None, [], {})
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
    "no escapes in double quotes": (r'A="\d \u0041 \x41 \0"', {"A": r"\d \u0041 \x41 \0"}),
    "escapes in single quotes": (r"A='\\ \''", {"A": r"\ '"}),
    "no escapes in single quotes": (r"A='\n \t \" \a'", {"A": r"\n \t \" \a"}),
    "no escapes in a bare value": (r"A=\n\t\\", {"A": r"\n\t\\"}),
    "several lines in double quotes": ('A="one\ntwo\n\nfour"', {"A": "one\ntwo\n\nfour"}),
    "several lines in single quotes": ("A='one\ntwo'\nB=x", {"A": "one\ntwo", "B": "x"}),
    "a variable without braces": ('A=x\nB=$A\nC="$A"', {"A": "x", "B": "$A", "C": "$A"}),
    "a reference in single quotes": ("A='${HOME:-x}'", {"A": "${HOME:-x}"}),
    "Windows line ends in quotes": ('A="one\r\ntwo\r\n"\r\n', {"A": "one\ntwo\n"}),
    "an escaped line end in quotes": ('A="one\\r\\ntwo"\r\n', {"A": "one\r\ntwo"}),
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
@given(st.text(alphabet="AB= '\"#\\n$\n\r\t{}:-", max_size=30))
def test_it_agrees_with_python_dotenv(text: str) -> None:
    """Whatever it can read python-dotenv reads alike, and what that passes over is a problem."""
    fd = os.memfd_create("env")
    try:
        os.write(fd, text.encode())
        result = read_dotenv(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    theirs = dotenv_values(stream=StringIO(text, newline=None), interpolate=False)
    ours = {name: value.reveal() for name, value in result.values.items()}

    assert ours.keys() | result.value_problems.keys() <= theirs.keys()
    for name, value in theirs.items():
        expands = value is not None and ("${" in value or "\\$" in value)
        assert value is None or expands or ours[name] == value


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
            problem = result.problem

            assert problem is not None
            assert problem.name == str(env)
            assert problem.kind == kind
            assert problem.places == (str(env),)
            assert result.exists
            assert result.values == {}
            assert "fake" not in repr(result)


def test_a_path_without_a_file_is_a_problem(env: Path) -> None:
    """A directory, a device and links to nothing are problems with fitting fixes."""
    cases: list[tuple[str | None, str, str]] = [
        (None, "not-a-file", "env_file="),
        ("/dev/null", "not-a-file", "env_file="),
        ("nowhere", "broken-link", "link"),
        (".env", "broken-link", "link"),
    ]
    for number, (target, kind, fix) in enumerate(cases):
        with case(target):
            place = env.with_name(str(number))
            (place if target else place / ".env").mkdir(parents=True)
            if target:
                (place / ".env").symlink_to(target)
            result = read_dotenv(str(place / ".env"))
            assert result.problem is not None
            assert (result.problem.kind, result.exists) == (kind, True)
            assert fix in result.problem.fix


def test_a_file_without_permission_is_a_problem() -> None:
    """The fix for a `.env` of another user names the permission."""
    with as_ordinary_user() as place:
        result_of = parse(place / ".env", "A=fake")
        (place / ".env").chmod(0o000)
        problem = read_dotenv(str(place / ".env")).problem

    assert values(result_of) == {"A": "fake"}
    assert problem is not None
    assert problem.kind == "unreadable"
    assert "readable by the user" in problem.fix
