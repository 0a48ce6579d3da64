"""Property tests of loading arbitrary bytes: the exact values, or a report without any value."""

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

    text: Secret = secret(used_by="the first component", allow_placeholder=True)
    more_text: Secret | None = secret(allow_placeholder=True)
    blob: SecretBytes = secret(used_by="the second component", allow_placeholder=True)
    more_blob: SecretBytes | None = secret(allow_placeholder=True)


NAMES = ("TEXT", "MORE_TEXT", "BLOB", "MORE_BLOB")
REQUIRED = ("TEXT", "BLOB")

BOM = b"\xef\xbb\xbf"

AFFIXES = (
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
    st.sampled_from(AFFIXES),
    st.one_of(
        st.binary(max_size=40),
        st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.from_regex(r"[ -~]{4,60}", fullmatch=True).map(str.encode),
    ),
    st.sampled_from(AFFIXES),
)
files = st.dictionaries(st.sampled_from(NAMES), contents)


def expected_of_file(name: str, content: bytes) -> str | bytes | None:
    """Return the value that a file with this content has; None if it is not a valid value."""
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
    """Return the value that a variable with this content has; None if it is not a valid value."""
    if name.endswith("BLOB"):
        return content or None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.strip() else None


def is_empty(name: str, content: bytes) -> bool:
    """Return whether a file counts as empty, so that an optional secret is absent."""
    if name.endswith("BLOB"):
        return not content
    return content in {BOM[:count] + end for count in (0, 3) for end in (b"", b"\n", b"\r\n")}


def text_without_values(root: Path) -> str:
    """Return the text of reports about sources that contain no value."""
    reports = []
    for content in (b"", b"\0", b"\xff"):
        for mode in ("docker", "kubernetes"):
            here = Path(tempfile.mkdtemp(dir=root))
            environ = write_sources(here, mode, dict.fromkeys(NAMES, content))
            reports.append(report_of(look(Anything, here, environ)).replace(str(here), ""))
    for pointers in (
        {},
        {f"{name}_FILE": "/" for name in NAMES},
        {"TEXT_FILE": "-", "BLOB_FILE": "="},
    ):
        environ = {"HIVE_BOOT_MODE": "environment"} | pointers
        reports.append(report_of(look(Anything, root, environ)))
    return "\n".join(reports)


@cache
def constant_text() -> str:
    """Return the text in which a match is not a leaked value."""
    with tempfile.TemporaryDirectory() as root:
        return text_without_values(Path(root))


def write_sources(root: Path, mode: str, written: Mapping[str, bytes]) -> dict[str, str]:
    """Write the files of a mode, and return the environment that selects them."""
    if mode == "kubernetes":
        volume = root / "run/secrets/app"
        MountedVolume(volume).publish({name.lower(): content for name, content in written.items()})
        return {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    directory = root / "named"
    directory.mkdir()
    for name, content in written.items():
        (directory / f"{name.lower()}.txt").write_bytes(content)
    return {"HIVE_BOOT_SECRETS_DIR": str(directory)}


def assert_load(
    root: Path,
    environ: Mapping[str, str],
    written: Mapping[str, bytes],
    expected: Mapping[str, str | bytes],
    wrong: set[str],
) -> None:
    """Load, and compare the values and the names of the problems with the expected ones."""
    loaded = look(Anything, root, environ)
    assert values_of(loaded) == {name.lower(): value for name, value in expected.items()}
    assert {each.name for each in loaded.problems} == wrong
    report = report_of(loaded).replace(str(root), "")
    shown = report + repr(loaded) + repr(loaded.warnings)
    for content in written.values():
        for form in {content.decode("utf-8", "replace"), repr(content)[2:-1], content.hex()}:
            value = form.strip()
            if len(value) >= 4 and value not in constant_text():
                assert value not in report
                assert len(value) < 12 or value not in shown


everything = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@everything
@given(written=files, mode=st.sampled_from(["docker", "kubernetes"]))
@example(written={"TEXT": b"", "BLOB": b""}, mode="docker")
@example(written={"TEXT": BOM + b"fake-text\r\n", "BLOB": BOM + b"fake-blob\r\n"}, mode="docker")
@example(written={"TEXT": b"\n\n", "BLOB": b"\n"}, mode="kubernetes")
@example(written={"TEXT": BOM + BOM + b"\n", "BLOB": b"\0"}, mode="kubernetes")
@example(written={"TEXT": b"fake-text-0123456789\xff", "BLOB": b"\xff"}, mode="kubernetes")
@example(
    written={"TEXT": b"fake-text", "BLOB": b"x", "MORE_TEXT": b"fake-\0-text"},
    mode="docker",
)
def test_files(written: dict[str, bytes], mode: str) -> None:
    """Files of arbitrary bytes have their exact values, or the report shows none of them."""
    root = Path(tempfile.mkdtemp())
    try:
        environ = write_sources(root, mode, written)
        values = {name: expected_of_file(name, content) for name, content in written.items()}
        expected = {name: value for name, value in values.items() if value is not None}
        wrong = {name for name in REQUIRED if name not in expected}
        wrong |= {
            name
            for name, content in written.items()
            if name not in expected and not is_empty(name, content)
        }
        assert_load(root, environ, written, expected, wrong)
    finally:
        shutil.rmtree(root)


variables = st.dictionaries(
    st.sampled_from(NAMES), contents.map(lambda content: content.replace(b"\0", b""))
)


@everything
@given(written=variables)
@example(written={"TEXT": b"", "BLOB": b""})
@example(written={"TEXT": BOM + b"fake-text\n", "BLOB": b"\xff\xfe"})
@example(written={"TEXT": b"fake-text-0123456789\xff", "MORE_TEXT": b"\xed\xa0\x80"})
def test_variables(written: dict[str, bytes]) -> None:
    """Variables of arbitrary bytes have their exact values, or the report shows none of them."""
    environ = {"HIVE_BOOT_MODE": "environment"}
    environ |= {name: os.fsdecode(content) for name, content in written.items()}
    values = {name: expected_of_variable(name, content) for name, content in written.items()}
    expected = {name: value for name, value in values.items() if value is not None}
    wrong = {name for name in REQUIRED if name not in expected}
    wrong |= {name for name, content in written.items() if name not in expected and content}
    assert_load(Path("/no/such/root"), environ, written, expected, wrong)


pointers = st.dictionaries(
    st.sampled_from(NAMES),
    contents.map(lambda content: content.replace(b"\0", b"")).filter(bool),
    min_size=1,
)


@everything
@given(written=pointers)
@example(written={"TEXT": b"fake/text/0123456789"})
@example(written={"TEXT": b"/fake-text-0123456789"})
@example(written={"TEXT": b"//", "BLOB": b"."})
@example(written={"TEXT": b"-----BEGIN FAKE KEY-----\nZmFr/ZQ==\n-----END FAKE KEY-----\n"})
@example(written={"TEXT": b"same-fake-value", "MORE_TEXT": b"same-fake-value"})
def test_values_instead_of_paths(written: dict[str, bytes]) -> None:
    """A value in NAME_FILE is a problem with the name of the field, and is never shown."""
    environ = {"HIVE_BOOT_MODE": "environment"}
    environ |= {f"{name}_FILE": os.fsdecode(content) for name, content in written.items()}
    loaded = look(Anything, Path("/no/such/root"), environ)
    assert values_of(loaded) == {}
    assert {each.name for each in loaded.problems} == {*REQUIRED, *written}
    report = report_of(loaded)
    for content in written.values():
        value = os.fsdecode(content).strip()
        assert len(value) < 4 or value in constant_text() or value not in report
