"""HashiCorp Vault and OpenBao: the keys of one secret in a KV engine, version 2, read by httpx."""

import json
from collections.abc import Mapping, Sequence
from os import PathLike

import anyio
import httpx


class VaultSource:
    """One secret of a KV engine, version 2, whose keys are the names of the declared secrets.

    ``GET /v1/<mount>/data/<path>`` returns the newest version. The HTTP status of a refusal (403
    for a token that is not valid, 404 for a secret that does not exist or is deleted) or of an
    outage (429, 500, 503) is what a report of hive_boot shows.
    https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2

    Args:
        address: the address of the server, such as ``https://vault.example:8200``.
        path: the path of the secret in the engine, such as ``orders/production``.
        token_file: the file that contains the token. It is read again each time, because Vault
            Agent, for example, writes a new token before the old one expires.
        mount: the path of the engine. Default ``secret``.
        namespace: the namespace of the secret. Default: the root namespace.
        interval: seconds between two reloads. Default 60.
        name: the name of the source. An application that reads several secrets has a source for
            each one, and each source has a different name. Default ``vault``.
    """

    def __init__(  # noqa: PLR0913  (what the server distinguishes)
        self,
        address: str,
        path: str,
        *,
        token_file: str | PathLike[str],
        mount: str = "secret",
        namespace: str | None = None,
        interval: float = 60,
        name: str = "vault",
    ) -> None:
        self.name = name
        self.interval = interval
        self._url = f"{address.rstrip('/')}/v1/{mount}/data/{path}"
        self._token_file = anyio.Path(token_file)
        self._headers = {"X-Vault-Request": "true"}
        if namespace is not None:
            self._headers["X-Vault-Namespace"] = namespace

    async def load(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the keys of the secret that have one of these names.

        Raises:
            httpx.HTTPError: the server is not reachable, or refuses the request.
            OSError: the file with the token cannot be read.
        """
        token = (await self._token_file.read_text("utf-8")).strip()
        headers = {**self._headers, "X-Vault-Token": token}
        async with httpx.AsyncClient(headers=headers, timeout=5) as client:
            response = await client.get(self._url)
        response.raise_for_status()
        found = response.json()["data"]["data"]
        return {name: _text(found[name]) for name in names if name in found}


def _text(value: object) -> str:
    """Return a value of JSON as text: a port, for example, is a number there."""
    return value if isinstance(value, str) else json.dumps(value)
