"""Ask the command line: an init container waits for a check, a health check for a probe."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.measuring import take_turns
from benchmarks.tables import Table
from benchmarks.workplace import HIVE, Interpreters, wait_until_settled, write_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHECK_BOUND = 5.0
PROBE_BOUND = 3.0
"""How many bare interpreters each may take."""

_ROUNDS = 40

_MODULE = (
    "from hive_boot import Bootstrap, Secret, SecretSet, secret\n"
    "class HiveSecrets(SecretSet):\n"
    + "".join(f"    {name}: Secret\n" for name in HIVE)
    + "boot = Bootstrap(HiveSecrets, watch=True)\n"
)

_TYPED = """\
import sys
sys.argv = ["hive-boot", {words}]
from hive_boot.cli.main import entry_point
entry_point()
"""

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"


def measure(base: Path) -> Table:
    """Measure, with files below ``base``, an empty directory."""
    table = Table(
        f"command: the whole process of hive-boot, docker mode, {len(HIVE)} secrets",
        ("floor: a bare interpreter. The probe is answered, by a socket of this process.",),
    )
    directory = base / "secrets"
    write_directory(directory, HIVE)
    wait_until_settled(directory)
    start = Interpreters(base, {"HIVE_BOOT_SECRETS_DIR": str(directory)})
    (base / "cwd" / "app.py").write_text(_MODULE, encoding="utf-8")
    with _answered() as port:
        for name, words, bound in (
            ("hive-boot check app:boot", '"check", "app:boot"', CHECK_BOUND),
            ("hive-boot probe --port …", f'"probe", "--port", "{port}"', PROBE_BOUND),
        ):
            programs = {"floor": "pass", "ours": _TYPED.format(words=words)}
            sides = {side: start.measure(program) for side, program in programs.items()}
            table.add(name, take_turns(sides, _ROUNDS), "ours", "floor", bound)
    return table


@contextmanager
def _answered() -> Iterator[int]:
    """Answer every request that comes, and give the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                connection, _ = server.accept()
                with connection:
                    if not connection.recv(1 << 16):
                        return
                    connection.sendall(_ANSWER)

        thread = threading.Thread(target=serve)
        thread.start()
        port: int = server.getsockname()[1]
        try:
            yield port
        finally:
            # One that says nothing is the end.
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join()
