"""An application with a source, for commands."""

from hive_boot import Bootstrap, Secret, SecretSet
from tests.fixtures.sources import Fake

vault = Fake(answer={"JWT_SECRET": "fake-jwt-secret-of-a-source"})

checked: list[str] = []


class Needs(SecretSet):
    """Three secrets."""

    api_key: Secret
    jwt_secret: Secret
    sentry_dsn: Secret | None

    async def check(self) -> None:
        """Record the check of the set."""
        checked.append("set")


boot = Bootstrap(Needs, sources=[vault])


@boot.check
async def check_application(secrets: Needs) -> None:
    """Record the check of the application."""
    assert secrets.jwt_secret.reveal().startswith("fake-jwt-secret")
    checked.append("application")
