"""The four profiles, and what people write for them."""

from hive_boot.secrets.fields import parse_profile
from tests.fixtures.cases import case


def test_the_usual_spellings_mean_a_profile() -> None:
    """What people write into APP_ENV is understood, in any case."""
    cases: list[tuple[str, str]] = [
        ("development", "development"),
        ("develop", "development"),
        ("dev", "development"),
        ("local", "development"),
        ("test", "test"),
        ("testing", "test"),
        ("staging", "staging"),
        ("stage", "staging"),
        ("production", "production"),
        ("prod", "production"),
        ("PROD", "production"),
        (" Production\n", "production"),
    ]
    for text, profile in cases:
        with case(text, profile):
            assert parse_profile(text) == profile


def test_nothing_else_means_one() -> None:
    """An unknown spelling is not guessed."""
    for text in ("", "produktion", "prod uction", "live", "p"):
        with case(text):
            assert parse_profile(text) is None
