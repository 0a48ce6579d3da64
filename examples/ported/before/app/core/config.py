"""Settings, which every module of the application imports."""

from typing import Literal

from pydantic import computed_field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of the application, from the environment and from .env."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    API_V1: str = "/api/v1"
    ENVIRONMENT: Literal["local", "staging", "production"] = "local"
    PROJECT_NAME: str
    DATABASE_PATH: str
    ACCESS_TOKEN_MINUTES: int = 60
    SECRET_KEY: str
    FIRST_SUPERUSER: str
    FIRST_SUPERUSER_PASSWORD: str
    SMTP_HOST: str | None = None
    SMTP_PASSWORD: str | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def emails_enabled(self) -> bool:
        """Whether mails can be sent."""
        return bool(self.SMTP_HOST and self.SMTP_PASSWORD)


settings = Settings()  # type: ignore[call-arg]
