"""The design example, as text that a reader can copy.

It is text, because its lines and names do not follow the style of this repository. The tests
check and run :data:`POOL` followed by :data:`EXAMPLE`, unchanged.
"""

POOL = '''\
from types import TracebackType
from typing import Self


class AgentPool:
    """A pool of agents of a library, which prints when it is opened and closed."""

    def __init__(self, key: str) -> None:
        self.key = key

    async def __aenter__(self) -> Self:
        print("opened with", len(self.key))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        print("closed")


'''

EXAMPLE = '''\
from collections.abc import AsyncIterator
from hive_boot import Bootstrap, Change, Secret, SecretSet, secret

class HiveSecrets(SecretSet):
    """The secrets of the HIVE service."""
    openai_api_key: Secret = secret(used_by="semantic-memory, agents")
    jwt_secret: Secret = secret(used_by="user-auth", dev_default="dev-only-jwt-secret-0123456789abcdef",
                                min_length=32, activate_after=120, accept_old_for=3600)
    sentry_dsn: Secret | None = secret(used_by="error monitoring")

boot = Bootstrap(HiveSecrets, watch=True)

@boot.resource
async def agents(secrets: HiveSecrets) -> AsyncIterator[AgentPool]:   # start above the yield, stop below it
    async with AgentPool(secrets.openai_api_key.reveal()) as pool:
        yield pool

@boot.on_rotate("openai_api_key")
async def reconnect(change: Change, agents: AgentPool) -> None: ...

@boot.main
async def main(secrets: HiveSecrets, agents: AgentPool) -> None: ...

if __name__ == "__main__":
    boot.run()
'''  # noqa: E501  (the lines are for the reader)
