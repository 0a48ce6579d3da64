"""Settings beside secrets, and a connection string of both that follows a rotation.

DB_PASSWORD=fake-password DB_HOST=db.example python examples/09_settings.py
"""

from urllib.parse import quote

from pydantic import Field
from pydantic_settings import BaseSettings

from hive_boot import Bootstrap, Secret, SecretSet, secret


class AppSecrets(SecretSet):
    """The secrets of the service."""

    db_password: Secret = secret(used_by="the database", min_length=8)


class Settings(BaseSettings):
    """Everything else. Its errors are in the same report as those of the secrets."""

    db_host: str = "localhost"
    workers: int = Field(default=2, ge=1)
    password: str = Field(exclude=True, repr=False)

    @property
    def dsn(self) -> str:
        """The connection string."""
        return f"postgresql://app:{quote(self.password, safe='')}@{self.db_host}/orders"


def make_settings(secrets: AppSecrets) -> Settings:
    """Create the settings, at the start and again before each switch to new secrets."""
    return Settings(password=secrets.db_password.reveal())


boot = Bootstrap(AppSecrets, config=make_settings, watch=True)


@boot.main
async def main(settings: Settings) -> None:
    """Connect."""
    print(settings.workers, "workers connect to", settings.dsn.rpartition("@")[2])


if __name__ == "__main__":
    boot.run()
