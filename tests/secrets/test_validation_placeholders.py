"""The placeholder of rendered files."""

import yaml

from hive_boot import Secret, SecretBytes
from hive_boot.secrets.validation import PLACEHOLDER, content_problem, placeholder


def test_a_placeholder_says_whose_value_is_wanted() -> None:
    """The text names the secret, and YAML reads it unchanged."""
    text = placeholder("JWT_SECRET")
    assert "JWT_SECRET" in text
    assert text.isascii()
    assert yaml.safe_load(f'"{text}"') == text


def test_it_is_known_again_as_text_and_as_bytes() -> None:
    """Both types recognise it, and other values are not placeholders."""
    assert content_problem(Secret("A", placeholder("A"))) is PLACEHOLDER
    assert content_problem(SecretBytes("A", placeholder("A").encode())) is PLACEHOLDER
    for value in (Secret("A", "fake-value"), SecretBytes("A", b"fake-value"), Secret("A", "")):
        assert content_problem(value) is None


def test_the_password_of_a_url_is_examined_and_not_one_inside_a_document() -> None:
    """A long text is not one URL: what is in it is the business of the program that reads it."""
    url = "https://db.example.com/app?user=app&password=changeme&ssl=true"
    problem = content_problem(Secret("A", url))

    assert problem is not None
    assert problem.kind == "placeholder"
    assert content_problem(Secret("A", "\n".join([url] * 100))) is None
