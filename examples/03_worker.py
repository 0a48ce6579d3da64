"""A worker that completes the job in hand when it is stopped.

API_KEY=fake-key-0123456789 python examples/03_worker.py &
kill %1; wait
"""

from itertools import count

import anyio

from hive_boot import Bootstrap, Secret, SecretSet, secret


class WorkerSecrets(SecretSet):
    """The secrets of the worker."""

    api_key: Secret = secret(used_by="jobs", min_length=12)


boot = Bootstrap(WorkerSecrets)


@boot.service
async def heartbeat() -> None:
    """Run beside the jobs; a failure of a service is logged, and it is started again."""
    while True:
        print("the worker is alive", flush=True)
        await anyio.sleep(10)


@boot.main(grace_period=20)
async def main(secrets: WorkerSecrets) -> None:
    """Process jobs until a stop is requested, which does not interrupt a job."""
    for job in count(1):
        print("job", job, "begins with", secrets.api_key, flush=True)
        await anyio.sleep(0.5)
        print("job", job, "is complete", flush=True)
        if boot.stopping.is_set():
            return


if __name__ == "__main__":
    boot.run()
