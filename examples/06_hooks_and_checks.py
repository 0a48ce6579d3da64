"""A check before each use of a password, a hook after each change, and a readiness contributor.

mkdir -p secrets && echo fake-password-1 > secrets/db_password
HIVE_BOOT_SECRETS_DIR=secrets python examples/06_hooks_and_checks.py &
echo fake-expired-2 | hive-boot rotate DB_PASSWORD --to secrets     # is refused
echo fake-password-3 | hive-boot rotate DB_PASSWORD --to secrets    # is accepted
"""

import anyio

from hive_boot import Bootstrap, Change, Secret, SecretSet, secret


class DatabaseSecrets(SecretSet):
    """The secrets of the service."""

    db_password: Secret = secret(used_by="the database", min_length=8)


boot = Bootstrap(DatabaseSecrets, watch=True)


@boot.check("db_password", timeout=3)
async def database_accepts(secrets: DatabaseSecrets) -> bool:
    """Log in with the candidate, which is not in use yet; False keeps the last good set."""
    return "expired" not in secrets.db_password.reveal()


@boot.on_rotate("db_password")
async def announce(change: Change) -> None:
    """Report a change; a hook that fails is called again."""
    print("generation", change.generation, "changed", *change.names, flush=True)


@boot.readiness("cache", interval=1)
async def cache_is_filled() -> bool:
    """Make /readyz answer 503 while this replica cannot serve."""
    return True


@boot.main
async def main() -> None:
    """Serve until a stop is requested."""
    print("serving", flush=True)
    await anyio.sleep_forever()


if __name__ == "__main__":
    boot.run()
