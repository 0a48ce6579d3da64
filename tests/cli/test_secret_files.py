"""What is written for a value is read back as that value."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hive_boot import Secret, SecretBytes
from hive_boot.cli.secret_files import content_of, fault_of, file_name, value_in
from hive_boot.secrets.field import Field
from hive_boot.secrets.placeholder import placeholder
from hive_boot.secrets.sources.reading import LIMIT, read_files

TEXT = Field(attribute="key", name="KEY")
BYTES = Field(attribute="key", name="KEY", kind=SecretBytes)

texts = st.text(alphabet="a=\"'# $\\\n\r\t\ufeff\x00\u2028é\U0001f511", max_size=6) | st.text()


def read(raw: bytes, field: Field) -> object:
    """Read a file that holds ``raw`` as a start does."""
    fd = os.memfd_create("secret")
    try:
        os.write(fd, raw)
        path = f"/proc/self/fd/{fd}"
        batch = read_files([path], {path: ("key", "KEY", field.kind is Secret)})
    finally:
        os.close(fd)
    return batch.values.get("key") or batch.odd["key"][0].held


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(texts)
def test_a_text_is_read_back_exactly(text: str) -> None:
    """Newlines at the end and byte order marks included; what cannot be, is said before."""
    value = Secret("KEY", text)
    if fault_of(value) is None:
        assert read(content_of(value), TEXT) == value
    else:
        assert not text or "\0" in text


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(min_size=1))
def test_bytes_are_read_back_exactly(raw: bytes) -> None:
    """Nothing is added to them, and nothing taken away."""
    value = SecretBytes("KEY", raw)

    assert fault_of(value) is None
    assert content_of(value) == raw
    assert read(raw, BYTES) == value == value_in(raw, BYTES)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(texts)
def test_a_pipe_is_read_as_a_file_is(text: str) -> None:
    """The value of ``rotate < file`` is the one that the file would be read as."""
    value = value_in(text.encode(), TEXT)

    assert value is not None
    if fault_of(value) is None:
        assert read(text.encode(), TEXT) == value


def test_what_is_no_text_is_no_value() -> None:
    """Bytes that are not UTF-8 are none of a Secret's."""
    assert value_in(b"\xff", TEXT) is None


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Secret("KEY", ""), "empty"),
        (SecretBytes("KEY", b""), "empty"),
        (Secret("KEY", "a\0"), "nul"),
        (Secret("KEY", placeholder("KEY")), "placeholder"),
        (SecretBytes("KEY", placeholder("KEY").encode()), "placeholder"),
        (Secret("KEY", "a" * LIMIT + "b"), "too-large"),
        (Secret("KEY", "a" * (LIMIT - 1) + "\n"), "too-large"),
        (SecretBytes("KEY", b"a" * (LIMIT + 1)), "too-large"),
    ],
    ids=[
        "empty",
        "no-bytes",
        "nul",
        "placeholder",
        "bytes-of-one",
        "large",
        "large-with-newline",
        "many-bytes",
    ],
)
def test_what_no_file_can_hold_is_known(value: Secret | SecretBytes, kind: str) -> None:
    """It is found before anything is written, and told without the value."""
    fault = fault_of(value)

    assert fault is not None
    assert fault.kind == kind


def test_the_largest_value_has_a_file() -> None:
    """The limit is the one that a start reads up to."""
    value = Secret("KEY", "a" * LIMIT)

    assert fault_of(value) is None
    assert read(content_of(value), TEXT) == value


def test_a_file_is_named_as_it_was_declared() -> None:
    """Else after the variable, in lower case."""
    assert file_name(TEXT) == "key"
    assert file_name(TEXT._replace(file="tls/key.pem")) == "tls/key.pem"
