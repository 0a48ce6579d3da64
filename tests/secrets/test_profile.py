"""The four profiles, and what people write for them."""

import pytest

from hive_boot.secrets.profile import parse_profile


@pytest.mark.parametrize(
    ("text", "profile"),
    [
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
    ],
)
def test_the_usual_spellings_mean_a_profile(text: str, profile: str) -> None:
    """What people write into APP_ENV is understood, in any case."""
    assert parse_profile(text) == profile


@pytest.mark.parametrize("text", ["", "produktion", "prod uction", "live", "p"])
def test_nothing_else_means_one(text: str) -> None:
    """A spelling that nobody agreed on is not guessed at."""
    assert parse_profile(text) is None
