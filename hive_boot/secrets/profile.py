"""How strict a deployment is: development, test, staging, production."""

from typing import Literal

Profile = Literal["development", "test", "staging", "production"]

PROFILES: dict[str, Profile] = {
    "development": "development",
    "develop": "development",
    "dev": "development",
    "local": "development",
    "test": "test",
    "testing": "test",
    "staging": "staging",
    "stage": "staging",
    "production": "production",
    "prod": "production",
}
"""Every accepted spelling, and the profile that it means."""


def parse_profile(text: str) -> Profile | None:
    """Give the profile that ``text`` means, or None when nothing is called so."""
    return PROFILES.get(text.strip().lower())
