"""Secrets that the plan of a rotation is printed for."""

from hive_boot import Secret, SecretSet, secret


class Versioned(SecretSet, version="secrets-version"):
    """Secrets that are rotated in each way, with a version."""

    jwt_secret: Secret = secret(activate_after=120, accept_old_for=3600, previous="JWT_BEFORE")
    signing_key: Secret = secret(activate_after=60)
    webhook_secret: Secret = secret(previous="WEBHOOK_BEFORE")
    client_key: Secret = secret(accept_old_for=3600)
    api_key: Secret = secret()
