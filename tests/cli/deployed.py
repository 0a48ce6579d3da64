"""Applications whose manifests are rendered."""

from hive_boot import Bootstrap, Secret, SecretSet, secret


class WorkerSecrets(SecretSet):
    """What the worker needs."""

    token: Secret = secret(used_by="the queue", aliases=("QUEUE_TOKEN",))


worker = Bootstrap(WorkerSecrets, probe_port=9000)
local = Bootstrap(WorkerSecrets, probe_port=9000, probe_host="127.0.0.1")
quiet = Bootstrap(WorkerSecrets)
served = Bootstrap(WorkerSecrets)


@worker.main
@local.main
@quiet.main
async def main() -> None:
    """Work."""


class VersionedSecrets(SecretSet, version="secrets-version"):
    """Secrets whose rotations can be proved."""

    token: Secret = secret(accept_old_for=60)


versioned = Bootstrap(VersionedSecrets)
