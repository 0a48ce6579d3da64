"""Settings, which every module of the application imports."""

from typing import Literal

from pydantic import computed_field
from pydantic_settings import BaseSettings, SettingsConfigDict

from hive_boot import Bootstrap, Secret, SecretSet, secret


class AppSecrets(SecretSet):
    """Secrets of the application, from mounted files; in development also from .env."""

    secret_key: Secret = secret(used_by="logins", min_length=32)
    first_superuser_password: Secret = secret(used_by="initial data")
    smtp_password: Secret | None


def create_settings() -> "Settings":
    """Return new settings; the class is defined below, because it reads secrets of boot."""
    return Settings()  # type: ignore[call-arg]


boot = Bootstrap(AppSecrets, config=create_settings, watch=True)


class Settings(BaseSettings):
    """Settings of the application, from the environment and from .env."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    API_V1: str = "/api/v1"
    ENVIRONMENT: Literal["local", "staging", "production"] = "local"
    PROJECT_NAME: str
    DATABASE_PATH: str
    ACCESS_TOKEN_MINUTES: int = 60
    SECRET_KEY = boot.as_property("secret_key")
    FIRST_SUPERUSER: str
    FIRST_SUPERUSER_PASSWORD = boot.as_property("first_superuser_password")
    SMTP_HOST: str | None = None
    SMTP_PASSWORD = boot.as_property("smtp_password")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def emails_enabled(self) -> bool:
        """Whether mails can be sent."""
        return bool(self.SMTP_HOST and self.SMTP_PASSWORD)


boot.load()
settings = boot.config
