"""Whatever bytes the sources hold: exactly those values, or a report without any of them."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hive_boot import Secret, SecretBytes, SecretSet, secret
from hive_boot.testing import MountedVolume
from tests.support import look, report_of, values_of


class Anything(SecretSet):
    """Texts and bytes, required and optional."""

    text: Secret = secret(used_by="the first part", allow_placeholder=True)
    more_text: Secret | None = secret(allow_placeholder=True)
    blob: SecretBytes = secret(used_by="the second part", allow_placeholder=True)
    more_blob: SecretBytes | None = secret(allow_placeholder=True)


NAMES = ("TEXT", "MORE_TEXT", "BLOB", "MORE_BLOB")
REQUIRED = ("TEXT", "BLOB")

BOM = b"\xef\xbb\xbf"

SEASONINGS = (
    b"",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\r",
    b" ",
    b"\0",
    b"\xff",
    BOM,
    b"\xed\xa0\x80",
    b"$A",
)

contents = st.builds(
    lambda before, middle, after: before + middle + after,
    st.sampled_from(SEASONINGS),
    st.one_of(
        st.binary(max_size=40),
        st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.from_regex(r"[ -~]{4,60}", fullmatch=True).map(str.encode),
    ),
    st.sampled_from(SEASONINGS),
)
files = st.dictionaries(st.sampled_from(NAMES), contents)


def expected_of_file(name: str, content: bytes) -> str | bytes | None:
    """Give the value that the rules make of a file: None when it is none."""
    if name.endswith("BLOB"):
        return content or None
    for ending in (b"\r\n", b"\n"):
        if content.endswith(ending):
            content = content[: -len(ending)]
            break
    content = content.removeprefix(BOM)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.strip() and "\0" not in text else None


def expected_of_variable(name: str, content: bytes) -> str | bytes | None:
    """Give the value that the rules make of a variable: None when it is none."""
    if name.endswith("BLOB"):
        return content or None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.strip() else None


def is_empty(name: str, content: bytes) -> bool:
    """Tell whether a file counts as empty, so that an optional secret is absent."""
    if name.endswith("BLOB"):
        return not content
    return content in {BOM[:count] + end for count in (0, 3) for end in (b"", b"\n", b"\r\n")}


def told_anyway(root: Path) -> str:
    """Give the words that reports have whatever the values are."""
    words = []
    for content in (b"", b"\0", b"\xff"):
        for mode in ("docker", "kubernetes"):
            here = Path(tempfile.mkdtemp(dir=root))
            environ = lay_out(here, mode, dict.fromkeys(NAMES, content))
            words.append(report_of(look(Anything, here, environ)).replace(str(here), ""))
    for pointers in (
        {},
        {f"{name}_FILE": "/" for name in NAMES},
        {"TEXT_FILE": "-", "BLOB_FILE": "="},
    ):
        environ = {"HIVE_BOOT_MODE": "environment"} | pointers
        words.append(report_of(look(Anything, root, environ)))
    return "\n".join(words)


@cache
def known_words() -> str:
    """Give what no report can be blamed for."""
    with tempfile.TemporaryDirectory() as root:
        return told_anyway(Path(root))


def lay_out(root: Path, mode: str, held: Mapping[str, bytes]) -> dict[str, str]:
    """Write the files of one mode, and give the environment that leads there."""
    if mode == "kubernetes":
        volume = root / "run/secrets/app"
        MountedVolume(volume).publish({name.lower(): content for name, content in held.items()})
        return {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    directory = root / "named"
    directory.mkdir()
    for name, content in held.items():
        (directory / f"{name.lower()}.txt").write_bytes(content)
    return {"HIVE_BOOT_SECRETS_DIR": str(directory)}


def judge(
    root: Path,
    environ: Mapping[str, str],
    held: Mapping[str, bytes],
    expected: Mapping[str, str | bytes],
    wrong: set[str],
) -> None:
    """Compare what a load gives with what the rules say."""
    loaded = look(Anything, root, environ)
    assert values_of(loaded) == {name.lower(): value for name, value in expected.items()}
    assert {each.name for each in loaded.problems} == wrong
    report = report_of(loaded).replace(str(root), "")
    shown = report + repr(loaded) + repr(loaded.warnings)
    for content in held.values():
        for form in {content.decode("utf-8", "replace"), repr(content)[2:-1], content.hex()}:
            value = form.strip()
            if len(value) >= 4 and value not in known_words():
                assert value not in report
                assert len(value) < 12 or value not in shown


everything = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@everything
@given(held=files, mode=st.sampled_from(["docker", "kubernetes"]))
@example(held={"TEXT": b"", "BLOB": b""}, mode="docker")
@example(held={"TEXT": BOM + b"fake-text\r\n", "BLOB": BOM + b"fake-blob\r\n"}, mode="docker")
@example(held={"TEXT": b"\n\n", "BLOB": b"\n"}, mode="kubernetes")
@example(held={"TEXT": BOM + BOM + b"\n", "BLOB": b"\0"}, mode="kubernetes")
@example(held={"TEXT": b"fake-text-0123456789\xff", "BLOB": b"\xff"}, mode="kubernetes")
@example(held={"TEXT": b"fake-text", "BLOB": b"x", "MORE_TEXT": b"fake-\0-text"}, mode="docker")
def test_files(held: dict[str, bytes], mode: str) -> None:
    """Files of any bytes give exactly their values, or a report that shows none of them."""
    root = Path(tempfile.mkdtemp())
    try:
        environ = lay_out(root, mode, held)
        values = {name: expected_of_file(name, content) for name, content in held.items()}
        expected = {name: value for name, value in values.items() if value is not None}
        wrong = {name for name in REQUIRED if name not in expected}
        wrong |= {
            name
            for name, content in held.items()
            if name not in expected and not is_empty(name, content)
        }
        judge(root, environ, held, expected, wrong)
    finally:
        shutil.rmtree(root)


variables = st.dictionaries(
    st.sampled_from(NAMES), contents.map(lambda content: content.replace(b"\0", b""))
)


@everything
@given(held=variables)
@example(held={"TEXT": b"", "BLOB": b""})
@example(held={"TEXT": BOM + b"fake-text\n", "BLOB": b"\xff\xfe"})
@example(held={"TEXT": b"fake-text-0123456789\xff", "MORE_TEXT": b"\xed\xa0\x80"})
def test_variables(held: dict[str, bytes]) -> None:
    """Variables of any bytes give exactly their values, or a report that shows none of them."""
    environ = {"HIVE_BOOT_MODE": "environment"}
    environ |= {name: os.fsdecode(content) for name, content in held.items()}
    values = {name: expected_of_variable(name, content) for name, content in held.items()}
    expected = {name: value for name, value in values.items() if value is not None}
    wrong = {name for name in REQUIRED if name not in expected}
    wrong |= {name for name, content in held.items() if name not in expected and content}
    judge(Path("/no/such/root"), environ, held, expected, wrong)


pointers = st.dictionaries(
    st.sampled_from(NAMES),
    contents.map(lambda content: content.replace(b"\0", b"")).filter(bool),
    min_size=1,
)


@everything
@given(held=pointers)
@example(held={"TEXT": b"fake/text/0123456789"})
@example(held={"TEXT": b"/fake-text-0123456789"})
@example(held={"TEXT": b"//", "BLOB": b"."})
@example(held={"TEXT": b"-----BEGIN FAKE KEY-----\nZmFr/ZQ==\n-----END FAKE KEY-----\n"})
@example(held={"TEXT": b"same-fake-value", "MORE_TEXT": b"same-fake-value"})
def test_values_in_the_place_of_paths(held: dict[str, bytes]) -> None:
    """Values that stand in NAME_FILE are problems by name, and never shown."""
    environ = {"HIVE_BOOT_MODE": "environment"}
    environ |= {f"{name}_FILE": os.fsdecode(content) for name, content in held.items()}
    loaded = look(Anything, Path("/no/such/root"), environ)
    assert values_of(loaded) == {}
    assert {each.name for each in loaded.problems} == {*REQUIRED, *held}
    report = report_of(loaded)
    for content in held.values():
        value = os.fsdecode(content).strip()
        assert len(value) < 4 or value in known_words() or value not in report
