"""Secret files: what is written for a value is read back as that value."""

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hive_boot import Secret, SecretBytes
from hive_boot.cli.secret_files import decode_value, encode_value, value_problem
from hive_boot.secrets.fields import Field
from hive_boot.secrets.placeholders import placeholder
from hive_boot.secrets.sources.files import LIMIT, read_files

TEXT = Field(attribute="key", name="KEY")
BYTES = Field(attribute="key", name="KEY", kind=SecretBytes)

texts = st.text(alphabet="a=\"'# $\\\n\r\t\ufeff\x00\u2028é\U0001f511", max_size=6) | st.text()


def read(raw: bytes, field: Field) -> object:
    """Return what a start reads from a file with this content."""
    fd = os.memfd_create("secret")
    try:
        os.write(fd, raw)
        path = f"/proc/self/fd/{fd}"
        batch = read_files([path], {path: ("key", "KEY", field.kind is Secret)})
    finally:
        os.close(fd)
    return batch.values.get("key") or batch.unresolved["key"][0].result


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(texts)
def test_a_text_is_read_back_exactly(text: str) -> None:
    """Newlines at the end and byte order marks included, and a pipe is decoded as a file."""
    value = Secret("KEY", text)
    if value_problem(value) is None:
        assert read(encode_value(value), TEXT) == value
    else:
        assert not text.strip() or "\0" in text
    piped = decode_value(text.encode(), TEXT)
    assert piped is not None
    if value_problem(piped) is None:
        assert read(text.encode(), TEXT) == piped


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(min_size=1))
def test_bytes_are_read_back_exactly(raw: bytes) -> None:
    """Nothing is added to them or removed."""
    value = SecretBytes("KEY", raw)

    assert value_problem(value) is None
    assert encode_value(value) == raw
    assert read(raw, BYTES) == value == decode_value(raw, BYTES)


def test_bytes_that_are_not_utf_8_are_not_a_text() -> None:
    """Only SecretBytes takes them."""
    assert decode_value(b"\xff", TEXT) is None


def test_a_value_that_no_file_can_hold_is_refused() -> None:
    """Before anything is written; the largest possible value has a file."""
    for value, kind in (
        (Secret("KEY", ""), "empty"),
        (SecretBytes("KEY", b""), "empty"),
        (Secret("KEY", "a\0"), "nul"),
        (Secret("KEY", placeholder("KEY")), "placeholder"),
        (SecretBytes("KEY", placeholder("KEY").encode()), "placeholder"),
        (Secret("KEY", "a" * LIMIT + "b"), "too-large"),
        (Secret("KEY", "a" * (LIMIT - 1) + "\n"), "too-large"),
        (SecretBytes("KEY", b"a" * (LIMIT + 1)), "too-large"),
    ):
        problem = value_problem(value)
        assert problem is not None, kind
        assert problem.kind == kind
    largest = Secret("KEY", "a" * LIMIT)
    assert value_problem(largest) is None
    assert read(encode_value(largest), TEXT) == largest
