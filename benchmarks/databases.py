"""PostgreSQL and Redis of the machine, in a temporary directory, with logins by password."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
"""The directories of the programs of PostgreSQL, on Debian."""

ARE_INSTALLED = bool(BINARIES) and shutil.which("redis-server") is not None
"""Whether the machine has both."""

MISSING = "PostgreSQL and Redis are not installed (Debian: postgresql redis-server)"

_TIMEOUT = 30.0
_ACCESS = "local all owner trust\nlocal all all scram-sha-256\n"


class Databases:
    """Both servers, on Unix sockets.

    Args:
        root: a directory that the user of PostgreSQL can enter.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.redis_socket = root / "redis.sock"

    def postgresql_url(self, user: str, password: str = "") -> str:
        """Return the URL of the database for a role."""
        login = f"{user}:{password}" if password else user
        return f"postgresql://{login}@/postgres?host={self._root}"

    def redis_url(self, user: str, password: str) -> str:
        """Return the URL of Redis for a user of its access control list."""
        return f"unix://{user}:{password}@{self.redis_socket}"

    def sql(self, statement: str) -> str:
        """Run a statement as the owner of the database, and return what it prints."""
        return self.sql_as(self.postgresql_url("owner"), statement)

    def sql_as(self, url: str, statement: str) -> str:
        """Run a statement with a login, and return what it prints."""
        return _output(["psql", "-X", "-w", "-v", "ON_ERROR_STOP=1", "-Atc", statement, url])

    def redis(self, *command: str) -> str:
        """Run a command of Redis as its administrator, and return what it prints."""
        return _output(["redis-cli", "-e", "-s", str(self.redis_socket), *command])

    def redis_clients(self, user: str) -> set[str]:
        """Return the ids of the connections of a user of Redis."""
        lines = self.redis("CLIENT", "LIST").splitlines()
        return {line.split()[0] for line in lines if f" user={user} " in line}

    def refused_logins(self) -> int:
        """Return how many logins PostgreSQL has refused because of their password."""
        return (self._root / "log").read_text("utf-8").count("password authentication failed")


def _output(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        message = f"{command[0]} has failed: {result.stderr or result.stdout}"
        raise RuntimeError(message)
    return result.stdout.strip()


@contextmanager
def running_databases() -> Iterator[Databases]:
    """Run both servers for the block, as a user that is not root."""
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        options |= {"user": 65534, "group": 65534}
    with TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o777)
        data = root / "data"
        initdb = [str(BINARIES[-1] / "initdb"), "-D", str(data), "-A", "trust", "-U", "owner"]
        subprocess.run([*initdb, "--no-sync"], check=True, **options)
        (data / "pg_hba.conf").write_text(_ACCESS, "utf-8")
        database = [str(BINARIES[-1] / "postgres"), "-D", str(data), "-k", name, "-h", "", "-F"]
        cache = ["redis-server", "--port", "0", "--unixsocket", str(root / "redis.sock")]
        cache += ["--save", "", "--dir", name]
        started = []
        with (root / "log").open("w") as log:
            try:
                started.append(subprocess.Popen(database, stderr=log, **options))
                started.append(subprocess.Popen(cache, stderr=log, **options))
                databases = Databases(root)
                _wait_until_both_answer(databases)
                yield databases
            finally:
                for process in started:
                    process.terminate()
                for process in started:
                    process.wait()


def _wait_until_both_answer(databases: Databases) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while True:
        try:
            databases.sql("SELECT 1")
            databases.redis("ping")
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
