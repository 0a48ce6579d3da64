"""The processes of a fleet: instances with a volume each, and Prometheus in front of them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hive_boot.testing import MountedVolume

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).parent.parent.parent
TIMEOUT = 120.0
"""Seconds after which a condition that does not come is an error."""

REQUEST_TIMEOUT = 2.0
PROMETHEUS = shutil.which("prometheus")


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_until(condition: Callable[[], object], about: str) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not become true.
    """
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(about)
        time.sleep(0.05)


def request(port: int, path: str, body: str | None = None) -> tuple[int, str]:
    """Return the status and the text of a response; status 0 if nothing answers in time."""
    connection = HTTPConnection("127.0.0.1", port, timeout=REQUEST_TIMEOUT)
    try:
        connection.request("GET" if body is None else "POST", path, body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, HTTPException):
        return 0, ""
    finally:
        connection.close()


class Instance:
    """One process of the fleet, with its volume.

    Args:
        name: the name.
        directory: where the volume and the log are.
        settings: environment variables of the service.

    Attributes:
        name: the name.
        port: the port of the service.
        scraped_port: the port at which its metrics are looked for.
        volume: the mounted volume.
        broken_hook: while this file exists, the rotation hook fails.
        started: when the process was started, in seconds of the monotonic clock.
    """

    def __init__(self, name: str, directory: Path, settings: Mapping[str, str]) -> None:
        directory.mkdir()
        self.name = name
        self.port = self.scraped_port = free_port()
        self.volume = MountedVolume(directory / "volume")
        self.broken_hook = directory / "broken-hook"
        self.started = 0.0
        self._log = directory / "log"
        self._environment = {
            **os.environ,
            **settings,
            "HIVE_BOOT_MODE": "kubernetes",
            "HIVE_BOOT_SECRETS_DIR": str(self.volume.path),
            "BROKEN_HOOK": str(self.broken_hook),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; it is not ready yet."""
        self.started = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "examples.fleet.service", str(self.port)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def is_ready(self) -> bool:
        """Return whether the service accepts requests.

        Raises:
            RuntimeError: the process has ended.
        """
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self.name} has ended: {self._log.read_text('utf-8')[-2000:]}")
        return request(self.port, "/readyz")[0] == 200  # noqa: PLR2004  (it is the code of HTTP)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """End the process, also if it was suspended."""
        self.send_signal(signal.SIGTERM)
        self.send_signal(signal.SIGCONT)
        if self._process is not None:
            self._process.wait(TIMEOUT)

    def token(self) -> str:
        """Return a token that the instance signs now; empty if it does not answer."""
        return request(self.port, "/token")[1]

    def verdicts(self, tokens: Sequence[str]) -> list[bool]:
        """Return whether each token is accepted; empty if the instance does not answer."""
        status, text = request(self.port, "/verify", json.dumps(list(tokens)))
        return json.loads(text) if status == 200 else []  # noqa: PLR2004


class Prometheus:
    """A Prometheus whose targets are the instances.

    Args:
        directory: where its configuration and its data are.
        interval: seconds between two scrapes of an instance.
    """

    def __init__(self, directory: Path, interval: float) -> None:
        directory.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._directory = directory
        self._interval = interval
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        interval = f"{1000 * self._interval:.0f}ms"
        config = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval},
            "scrape_configs": [
                {"job_name": "fleet", "file_sd_configs": [{"files": ["targets.json"]}]}
            ],
        }
        file = self._directory / "prometheus.yml"
        file.write_text(json.dumps(config), "utf-8")  # JSON is YAML
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    PROMETHEUS or "prometheus",
                    f"--config.file={file}",
                    f"--storage.tsdb.path={self._directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: request(self.port, "/-/ready")[0] == 200, "Prometheus")  # noqa: PLR2004

    def set_targets(self, groups: Sequence[Mapping[str, object]]) -> None:
        """Replace the targets, which are groups of ``file_sd_configs``."""
        written = self._directory / "targets.json.new"
        written.write_text(json.dumps(groups), "utf-8")
        written.replace(self._directory / "targets.json")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an expression; empty if it does not come in time.

        Raises:
            ValueError: the expression cannot be evaluated.
        """
        escaped = quote(expression, safe="")
        status, text = request(self.port, f"/api/v1/query?query={escaped}")
        if status not in {0, 200}:
            raise ValueError(f"{expression}: {text}")
        result: list[dict[str, Any]] = json.loads(text)["data"]["result"] if status else []
        return result

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(TIMEOUT)


class Fleet:
    """All instances, and the way in which ``hive-boot fleet`` sees them.

    Args:
        directory: an existing, empty directory.
        size: the number of instances.
        settings: environment variables of the services.
        prometheus: whether they are behind Prometheus; otherwise each is asked directly.
        interval: seconds between two samples of an instance.

    Attributes:
        instances: the instances.
        content: what is mounted in the volume of an instance that starts now.
        prometheus: the Prometheus; None without one.
    """

    def __init__(
        self,
        directory: Path,
        size: int,
        settings: Mapping[str, str],
        *,
        prometheus: bool,
        interval: float,
    ) -> None:
        self.instances: list[Instance] = []
        self.content: Mapping[str, str] = {}
        self._directory = directory
        self._settings = settings
        self._size = size
        self._interval = interval
        self.prometheus = Prometheus(directory / "prometheus", interval) if prometheus else None

    def start(self, content: Mapping[str, str]) -> None:
        """Start all instances with the same content, and wait until they are ready."""
        self.content = content
        for _each in range(self._size):
            self.add()
        for each in self.instances:
            wait_until(each.is_ready, each.name)
        if self.prometheus is not None:
            self.prometheus.start()

    def stop(self) -> None:
        """End all processes."""
        if self.prometheus is not None:
            self.prometheus.stop()
        for each in self.instances:
            each.stop()

    def add(self) -> Instance:
        """Start one more instance; it is not ready yet."""
        name = f"instance-{len(self.instances) + 1:02}"
        added = Instance(name, self._directory / name, self._settings)
        added.volume.publish(self.content)
        added.start()
        self.instances.append(added)
        self.update_targets()
        return added

    def replace(self, instance: Instance) -> None:
        """Stop an instance, and start it again with what is mounted now."""
        instance.stop()
        instance.volume.publish(self.content)
        instance.start()

    def update_targets(self) -> None:
        """Pass the ports of all instances to Prometheus."""
        if self.prometheus is not None:
            self.prometheus.set_targets(
                [
                    {
                        "targets": [f"127.0.0.1:{each.scraped_port}"],
                        "labels": {"instance": each.name},
                    }
                    for each in self.instances
                ]
            )

    def publish(
        self,
        content: Mapping[str, str],
        delay: float,
        *,
        pinned: Instance | None = None,
        halfway: Callable[[], None] = lambda: None,
    ) -> None:
        """Mount new content in every volume, each at its own moment within a delay.

        Args:
            content: the content.
            delay: the longest delay, in seconds.
            pinned: an instance whose volume does not change.
            halfway: called when half of the volumes have changed.
        """
        self.content = content
        waiting = list(self.instances)
        secrets.SystemRandom().shuffle(waiting)
        for number, each in enumerate(waiting):
            if number == len(waiting) // 2:
                halfway()
            time.sleep(delay / len(waiting))
            if each is not pinned:
                each.volume.publish(content)

    def name_of(self, instance: Instance) -> str:
        """Return the name of an instance in the output of ``hive-boot fleet``."""
        if self.prometheus is not None:
            return instance.name
        return f"http://127.0.0.1:{instance.scraped_port}/metrics"

    def ask(self, *arguments: str) -> tuple[int, str]:
        """Run ``hive-boot fleet``, and return its exit status and its output."""
        command = [sys.executable, "-m", "hive_boot", "fleet", *arguments]
        if self.prometheus is not None:
            command += ["--prometheus", self.prometheus.url, "--selector", 'job="fleet"']
        else:
            for each in self.instances:
                command += ["--target", f"http://127.0.0.1:{each.scraped_port}/metrics"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        return done.returncode, done.stdout + done.stderr

    def wait(
        self, version: str, stage: str, timeout: float, quiet_for: float | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Run ``hive-boot fleet wait``, and return its exit status and its report.

        Args:
            version: the version.
            stage: the stage.
            timeout: seconds to wait.
            quiet_for: the quiet time in seconds; None for the largest ``accept_old_for``.
        """
        arguments = ["wait", version, "--stage", stage, "--expect", str(len(self.instances))]
        arguments += ["--interval", f"{self._interval:g}", "--timeout", f"{timeout:g}", "--json"]
        if quiet_for is not None:
            arguments += ["--quiet-for", f"{quiet_for:g}"]
        status, output = self.ask(*arguments)
        with suppress(json.JSONDecodeError):
            return status, json.loads(output)
        raise RuntimeError(output)
