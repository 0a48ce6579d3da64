"""Fleet benchmark: thousands of simulated instances behind a real Prometheus.

``python -m benchmarks.fleet PORT`` serves the metrics of simulated instances: those of number N at
``/N``. ``/break/N`` makes the rotation hook of one of them fail, and answers with the time of the
monotonic clock at which the broken one before was scraped first; 0 if it was not.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.peers import MISSING
from benchmarks.tables import Table
from benchmarks.timing import alternate, limited, timed
from examples.fleet.processes import PROMETHEUS, Prometheus, free_port, request, wait_until
from hive_boot.cli.fleet_judgement import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.timing import Measure

STATUS_LIMIT = 5.0
"""Maximum seconds of ``hive-boot fleet status``, and of one round of ``hive-boot fleet wait``."""

NAMED_LIMIT = 15.0
"""Maximum seconds from the scrape of a straggler to the output that names it."""

SIZE = 5_000
FEW = 50
"""Number of instances where the figures do not count."""

_INTERVAL = 10.0
_SHORT_INTERVAL = 1.0
_ROUNDS = 5
_SAMPLES = 3
"""Samples in a row from which ``hive-boot fleet`` knows that a target is one process."""

_SECRETS = ("JWT_SECRET", "CSRF_SECRET", "WEBHOOK_SECRET", "PARTNER_KEY", "CLIENT_KEY")
"""The secrets of each instance that may have several values."""

METRICS = """\
hive_boot_ready 1
hive_boot_degraded 0
hive_boot_generation 2
hive_boot_pinned_files 0
hive_boot_build_info{{version="0.2.0"}} 1
hive_boot_process_info{{id="{number:016x}",worker="false",endpoint="app"}} 1
hive_boot_uptime_seconds {uptime:.3f}
hive_boot_secrets_info{{version="2",stage="accepted"}} 1
hive_boot_secrets_info{{version="2",stage="current"}} 1
hive_boot_pending_hooks 0
hive_boot_failed_hooks {failed}
hive_boot_resources_on_old 0
hive_boot_rotation_seconds 0.012
hive_boot_last_read_timestamp_seconds 1796108036
hive_boot_last_change_timestamp_seconds 1796108036
hive_boot_rotations_total{{result="accepted"}} 1
hive_boot_rotations_total{{result="refused"}} 0
""" + "".join(
    f"""\
hive_boot_secret_old_use_age_seconds{{{{secret="{name}"}}}} {{uptime:.3f}}
hive_boot_secret_uses_total{{{{secret="{name}",value="current"}}}} {{number}}
hive_boot_secret_uses_total{{{{secret="{name}",value="pending"}}}} 0
hive_boot_secret_uses_total{{{{secret="{name}",value="old"}}}} 1
hive_boot_accept_old_for_seconds{{{{secret="{name}"}}}} 60
"""
    for name in _SECRETS
)
"""The metrics of an instance, without a hook, a service or a certificate."""

_QUERY = """\
import json, urllib.request
json.load(urllib.request.urlopen({url!r}))
"""


def measure(base: Path) -> Table:
    """Return the measured table; files are written below ``base``, an empty directory."""
    size = limited(SIZE, FEW)
    table = Table(
        f"fleet: {size:,} instances behind one Prometheus",
        (
            "Simulated instances, which one process serves, scraped by a real Prometheus on the",
            f"same machine every {_INTERVAL:g} s. status: hive-boot fleet status, as a process.",
            f"Each has {len(_SECRETS)} secrets that may have several values. a round: one of",
            "hive-boot fleet wait, as a process, by its stage. a straggler: from the scrape of an",
            "instance whose hook has failed until the progress of hive-boot fleet wait --stage",
            "quiet, which has begun shortly before, names it. floor: an interpreter that asks",
            "Prometheus for the newest sample of each series, and parses the response.",
        ),
    )
    rounds = {f"a round, {stage}": stage for stage in STAGES}
    rows = [("status", STATUS_LIMIT), *((label, STATUS_LIMIT) for label in rounds)]
    rows += [("a straggler", NAMED_LIMIT)]
    if PROMETHEUS is None:
        for label, _limit in rows:
            table.add_missing(f"{label}: hive_boot", MISSING)
        return table
    interval = _INTERVAL if size == SIZE else _SHORT_INTERVAL
    with _fleet(base, size, interval) as (server, prometheus):
        query = f"{prometheus.url}/api/v1/query?query=%7B__name__%3D~%22hive_boot_.%2B%22%7D"
        command = [sys.executable, "-c", _QUERY.format(url=query)]
        figures = alternate(
            {
                "floor": timed(lambda: subprocess.run(command, check=True)),
                "status": timed(lambda: _status(prometheus, size)),
                **{
                    label: timed(partial(_round, prometheus, stage, size))
                    for label, stage in rounds.items()
                },
                "a straggler": _straggler(prometheus, server, size),
            },
            _ROUNDS,
        )
    for label, limit in rows:
        table.add(f"{label}: hive_boot", figures, label, "floor", tail=True, limit=limit)
    return table


@contextmanager
def _fleet(base: Path, size: int, interval: float) -> Iterator[tuple[int, Prometheus]]:
    """Run the simulated instances and a Prometheus, and return the port of the instances."""
    port, prometheus = free_port(), Prometheus(base / "prometheus", interval)
    command = [sys.executable, "-m", "benchmarks.fleet", str(port)]
    with subprocess.Popen(command) as server:
        try:
            prometheus.set_targets(
                [
                    {
                        "targets": [f"127.0.0.1:{port}"],
                        "labels": {"instance": _name(number), "__metrics_path__": f"/{number}"},
                    }
                    for number in range(size)
                ]
            )
            wait_until(lambda: request(port, "/0")[0], "the simulated instances")
            prometheus.start()
            enough = f"count(count_over_time(hive_boot_ready[1h]) > {_SAMPLES}) == {size}"
            wait_until(lambda: prometheus.query(enough), "the scrapes")
            yield port, prometheus
        finally:
            prometheus.stop()
            server.terminate()


def _name(number: int) -> str:
    return f"instance-{number:04}"


def _run(prometheus: Prometheus, *arguments: str) -> str:
    """Run ``hive-boot fleet``, and return its output."""
    command = [sys.executable, "-m", "hive_boot", "fleet", *arguments]
    command += ["--prometheus", prometheus.url]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout


def _status(prometheus: Prometheus, size: int) -> None:
    """Run ``hive-boot fleet status``.

    Raises:
        RuntimeError: an instance is not in its output.
    """
    output = _run(prometheus, "status")
    found = sum(line.startswith("instance-") for line in output.splitlines())
    if found != size:
        raise RuntimeError(f"{found} of {size} instances: {output[-500:]}")


def _round(prometheus: Prometheus, stage: str, size: int) -> None:
    """Run one round of ``hive-boot fleet wait``.

    Raises:
        RuntimeError: an instance is not in its output; all samples are from before the wait.
    """
    output = _run(prometheus, "wait", "2", "--stage", stage, "--timeout", "0", "--json")
    names = {each["name"] for each in json.loads(output)["stragglers"]}
    if len(names) < size:
        raise RuntimeError(f"{len(names)} of {size} instances: {output[-500:]}")


def _straggler(prometheus: Prometheus, port: int, size: int) -> Measure:
    """Return a measure that breaks another instance each time."""
    numbers = iter(range(size // 2, size))

    def measure() -> float:
        number = next(numbers)
        request(port, f"/break/{number}")
        reason = f"{_name(number)} (1 rotation hooks failed)"
        with _waiting(prometheus) as output, suppress(OSError):  # the terminal ends with an error
            for text in output:
                if reason in text:
                    return time.monotonic() - float(request(port, f"/break/{size}")[1])
        raise RuntimeError(f"{_name(number)} was not named")

    return measure


@contextmanager
def _waiting(prometheus: Prometheus) -> Iterator[Iterator[str]]:
    """Run ``hive-boot fleet wait`` in a terminal, which shows the progress, line by line."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hive_boot", "fleet", "wait", "2", "--interval", "1"]
    command += ["--stage", "quiet", "--prometheus", prometheus.url, "--timeout", "120"]
    with (
        os.fdopen(ours, encoding="utf-8", errors="replace") as output,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs) as process,
    ):
        os.close(theirs)
        try:
            yield output
        finally:
            process.terminate()


class _Instances:
    """The simulated instances."""

    def __init__(self) -> None:
        self._broken = -1
        self._scraped = 0.0
        self._started = time.monotonic()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ", 2)[1].decode()
                body = self._respond(path).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _respond(self, path: str) -> str:
        command, _, last = path[1:].rpartition("/")
        number, now = int(last), time.monotonic()
        if command == "break":
            before, self._broken, self._scraped = self._scraped, number, 0.0
            return f"{before:.6f}"
        failed = int(number == self._broken)
        if failed and not self._scraped:
            self._scraped = now
        return METRICS.format(number=number, uptime=now - self._started + 86400, failed=failed)


async def _serve(port: int) -> None:
    server = await asyncio.start_server(_Instances().answer, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
