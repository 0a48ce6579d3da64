"""Settings and scripts."""

from app import crud
from app.core.config import Settings, settings
from app.initial_data import main
from migrations.upgrade import VERSIONS, upgrade


def test_settings_have_their_values() -> None:
    """They come from the environment, or from .env."""
    assert isinstance(settings, Settings)
    assert settings.ENVIRONMENT == "local"
    assert len(settings.SECRET_KEY) >= 32
    assert settings.SMTP_PASSWORD is None
    assert not settings.emails_enabled


def test_scripts_can_run_twice() -> None:
    """The schema and the first user exist already."""
    assert upgrade() == len(VERSIONS)
    main()
    assert crud.authenticate(settings.FIRST_SUPERUSER, settings.FIRST_SUPERUSER_PASSWORD)
    assert not crud.authenticate("unknown@example.com", settings.FIRST_SUPERUSER_PASSWORD)
