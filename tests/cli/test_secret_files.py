"""Secret files: what is written for a value is read back as that value."""

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hive_boot import Secret, SecretBytes
from hive_boot.cli.secret_files import decode_value, encode_value
from hive_boot.secrets.fields import Field, ValueProblem
from hive_boot.secrets.sources.files import LIMIT, read_files
from hive_boot.secrets.validation import placeholder

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
    return batch.hits["key"][0].result


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(texts)
def test_a_text_is_read_back_exactly(text: str) -> None:
    """Newlines at the end and byte order marks included, and a pipe is decoded as a file."""
    if text and "\0" not in text:
        value = Secret("KEY", text)
        assert read(encode_value(value), TEXT) == value
    piped, found = decode_value(text.encode(), TEXT), read(text.encode(), TEXT)
    assert piped == found or not text.lstrip("\ufeff").strip()


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(min_size=1))
def test_bytes_are_read_back_exactly(raw: bytes) -> None:
    """Nothing is added to them or removed."""
    value = SecretBytes("KEY", raw)

    assert encode_value(value) == raw
    assert read(raw, BYTES) == value == decode_value(raw, BYTES)


def test_content_that_is_not_a_value_is_a_problem() -> None:
    """As in a file; the largest possible value is one."""
    for raw, field, kind in (
        (b"", TEXT, "empty"),
        (b"\n", TEXT, "empty"),
        (b"", BYTES, "empty"),
        (b" \n\n", TEXT, "empty"),
        (b"a\0", TEXT, "nul"),
        (b"\xff", TEXT, "not-utf-8"),
        ("a".encode("utf-16"), TEXT, "not-utf-8"),
        (placeholder("KEY").encode(), TEXT, "placeholder"),
        (placeholder("KEY").encode(), BYTES, "placeholder"),
        (b"a" * LIMIT + b"\n", TEXT, "too-large"),
        (b"a" * (LIMIT + 1), BYTES, "too-large"),
    ):
        problem = decode_value(raw, field)
        assert isinstance(problem, ValueProblem), kind
        assert problem.kind == kind
    for raw, field in ((b"a" * LIMIT, TEXT), (b"\xff", BYTES), (b" ", BYTES), (b"changeme", TEXT)):
        assert not isinstance(decode_value(raw, field), ValueProblem)
