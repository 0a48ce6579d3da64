"""A job of Kubernetes or cron, which must complete: its exit status is the result.

API_KEY=fake-key-0123456789 python examples/10_job.py 3
"""

import sys

import anyio

from hive_boot import Bootstrap, Secret, SecretSet, secret


class JobSecrets(SecretSet):
    """The secrets of the job."""

    api_key: Secret = secret(used_by="the export", min_length=12)


boot = Bootstrap(JobSecrets)


@boot.main(must_complete=True)
async def main(secrets: JobSecrets) -> int:
    """Export some rows, and return the exit status; a stop before the end is a failure."""
    rows = int(sys.argv[1])
    for row in range(1, rows + 1):
        print("row", row, "of", rows, "with", secrets.api_key, flush=True)
        await anyio.sleep(0.1)
    return 0 if rows else 1


if __name__ == "__main__":
    boot.run()
