"""Inventory: the secrets of HIVE, what uses each, and where it is required."""

from hive_boot import Secret, SecretSet, secret


class HiveSecrets(SecretSet):
    """The secrets of the HIVE service."""

    openai_api_key: Secret = secret(used_by="semantic-memory, agents")
    hive_api_key: Secret | None = secret(used_by="auth middleware", required_in="production")
    jwt_secret: Secret | None = secret(
        used_by="user-auth (JWT signing)",
        required_in="production",
        dev_default="dev-only-jwt-secret-0123456789abcdef",
        min_length=32,
        activate_after=120,
        accept_old_for=3600,
        previous="JWT_SECRET_PREVIOUS",
    )
    stripe_secret_key: Secret | None = secret(used_by="billing")
    stripe_webhook_secret: Secret | None = secret(used_by="billing webhooks")
    langsmith_api_key: Secret | None = secret(used_by="tracing")
    sentry_dsn: Secret | None = secret(used_by="error monitoring")
    github_token: Secret | None = secret(used_by="GitHub integrations")
