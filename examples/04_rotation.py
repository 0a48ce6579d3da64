"""A client that is created again when its key is rotated.

mkdir -p secrets && echo fake-first-key-0123456789 > secrets/api_key
HIVE_BOOT_SECRETS_DIR=secrets python examples/04_rotation.py &
echo fake-second-key-0123456789 | hive-boot rotate API_KEY --to secrets
"""

from collections.abc import AsyncIterator

import anyio

from hive_boot import Bootstrap, ResourceHandle, Secret, SecretSet, secret


class PaymentSecrets(SecretSet):
    """The secrets of the service."""

    api_key: Secret = secret(used_by="payments", min_length=12)


class Client:
    """A client of a payment provider, which stores its key."""

    def __init__(self, key: str) -> None:
        self.user = key.split("-")[1]


boot = Bootstrap(PaymentSecrets, watch=True)


@boot.resource(rebuild_on="api_key", overlap=1)
async def client(secrets: PaymentSecrets) -> AsyncIterator[Client]:
    """Open a client before the switch to a new key, and close the old one after it."""
    opened = Client(secrets.api_key.reveal())
    print("opened the client of the", opened.user, "key", flush=True)
    yield opened
    print("closed the client of the", opened.user, "key", flush=True)


@boot.main
async def main(client: ResourceHandle[Client]) -> None:
    """Use the current client, which is not closed before the end of the block."""
    seen = ""
    while True:
        async with client.use() as current:
            if current.user != seen:
                seen = current.user
                print("paying with the", seen, "key", flush=True)
        await anyio.sleep(0.05)


if __name__ == "__main__":
    boot.run()
