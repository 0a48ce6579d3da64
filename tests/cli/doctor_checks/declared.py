"""Applications for the tests of ``hive-boot doctor``."""

from hive_boot import Bootstrap, Secret, SecretSet, secret


class Needs(SecretSet):
    """Secrets of the applications."""

    api_key: Secret = secret(used_by="agents")
    jwt_secret: Secret | None = secret(dev_default="dev-only-jwt-secret", used_by="auth")
    sentry_dsn: Secret | None = secret()


boot = Bootstrap(Needs)

watched = Bootstrap(Needs, watch=True)
