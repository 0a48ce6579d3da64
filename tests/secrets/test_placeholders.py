"""What stands where a value has to be put."""

import yaml

from hive_boot import Secret, SecretBytes
from hive_boot.secrets.placeholders import is_placeholder, placeholder


def test_a_placeholder_says_whose_value_is_wanted() -> None:
    """Whoever opens the file reads what to do, and every tool reads the same."""
    text = placeholder("JWT_SECRET")
    assert "JWT_SECRET" in text
    assert text.isascii()
    assert yaml.safe_load(f'"{text}"') == text


def test_it_is_known_again_as_text_and_as_bytes() -> None:
    """A value is not."""
    assert is_placeholder(Secret("A", placeholder("A")))
    assert is_placeholder(SecretBytes("A", placeholder("A").encode()))
    assert not is_placeholder(Secret("A", "fake-value"))
    assert not is_placeholder(SecretBytes("A", b"fake-value"))
    assert not is_placeholder(Secret("A", ""))
