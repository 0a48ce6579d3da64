"""A script with one required and one optional secret.

API_KEY=fake-key-0123456789 python examples/01_script.py
"""

from hive_boot import Bootstrap, Secret, SecretSet, secret


class ScriptSecrets(SecretSet):
    """The secrets of the script."""

    api_key: Secret = secret(used_by="the report", min_length=12)
    sentry_dsn: Secret | None = secret(used_by="error monitoring")


boot = Bootstrap(ScriptSecrets)


def main() -> None:
    """Load for a block: a wrong secret is a report and the exit status 78."""
    with boot.loaded() as secrets:
        print("Secret:", secrets.api_key)
        print("Length of the value:", len(secrets.api_key.reveal()))
        print("Error monitoring:", "on" if secrets.sentry_dsn else "off")


if __name__ == "__main__":
    main()
