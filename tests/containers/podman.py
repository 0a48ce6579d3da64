"""Podman with its own storage, and containers that are removed at the end of their test."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp

_PATIENCE = 60.0
"""Seconds after which something that is waited for has failed."""

_LIFE = "300"
"""Seconds after which podman kills a container, even if the tests have ended."""

_CONFIGURATION = """\
[containers]
log_driver = "k8s-file"
# Where a sandbox caps them, podman's own wishes are refused.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
"""

PORT = 3000
"""The port of HIVE in its container."""


class Podman:
    """Podman's commands, on a storage and a network that are separate from those of the user.

    Attributes:
        place: the directory of the storage.
        network: the network of the containers, which nothing else uses.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.network = place.name
        (place / "containers.conf").write_text(_CONFIGURATION)
        kept = {"driver": "overlay", "graphroot": place / "store", "runroot": place / "run"}
        lines = [f'{name} = "{value}"' for name, value in kept.items()]
        (place / "storage.conf").write_text("\n".join(["[storage]", *lines, ""]))
        # The user of the tests may have configured a remote engine.
        inherited = {name: it for name, it in os.environ.items() if name[:9] != "CONTAINER"}
        self._environ = {
            **inherited,
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
            "CONTAINERS_CONF": str(place / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(place / "storage.conf"),
            # No timers: the health checks are run by the tests.
            "DISABLE_HC_SYSTEMD": "true",
        }
        self._directories = [
            f"--tmpdir={place / 'tmp'}",
            f"--network-config-dir={place / 'networks'}",
        ]

    def attempt(
        self, *arguments: str, text: str = "", timeout: float = _PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with ``text`` as its stdin, and return the result, failed or not."""
        return subprocess.run(
            ["podman", *self._directories, *arguments],  # noqa: S607  (wherever it is)
            env=self._environ,
            input=text,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )

    def do(self, *arguments: str, text: str = "", timeout: float = _PATIENCE) -> str:
        """Run a command, fail unless it succeeds, and return its stdout."""
        done = self.attempt(*arguments, text=text, timeout=timeout)
        assert done.returncode == 0, f"podman {arguments[0]}: {done.stderr}{done.stdout}"
        return done.stdout.strip()

    @contextmanager
    def secrets(self, values: dict[str, str]) -> Iterator[list[str]]:
        """Create secrets for the time of the block, and yield the options that mount them."""
        try:
            for name, value in values.items():
                self.do("secret", "create", name, "-", text=value)
            yield [f"--secret={name}" for name in values]
        finally:
            for name in values:
                self.attempt("secret", "rm", name)

    @contextmanager
    def started(
        self, image: str, *options: str, command: tuple[str, ...] = ()
    ) -> Iterator["Container"]:
        """Start a container that publishes the port of HIVE; it is removed when the block ends."""
        asked = [f"--network={self.network}", f"--publish=127.0.0.1::{PORT}"]
        bounded = ["--pull=never", f"--timeout={_LIFE}"]
        made = self.do("create", *asked, *bounded, *options, image, *command)
        try:
            self.do("start", made)
            yield Container(self, made)
        finally:
            self.attempt("rm", "--force", "--time=0", made)


class Container:
    """A container that was started.

    Attributes:
        podman: the podman that has started it.
        name: the id of the container.
    """

    def __init__(self, podman: Podman, name: str) -> None:
        self.podman = podman
        self.name = name

    @property
    def output(self) -> str:
        """The text that the container has written to stdout and stderr."""
        told = self.podman.attempt("logs", self.name)
        return told.stdout + told.stderr

    @cached_property
    def url(self) -> str:
        """The URL of HIVE on this machine; podman can only look it up while the container runs."""
        return f"http://{self.podman.do('port', self.name, f'{PORT}/tcp')}"

    @property
    def is_running(self) -> bool:
        """Whether the first process of the container runs."""
        return self.inspect("State")["Running"] is True

    def inspect(self, part: str) -> dict[str, object]:
        """Return one section of ``podman inspect``: ``State``, ``Config``, …."""
        found = json.loads(self.podman.do("inspect", self.name))[0][part]
        assert isinstance(found, dict)
        return found

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run another command in the container, and return its result."""
        return self.podman.attempt("exec", self.name, *command)

    def check_health(self) -> int:
        """Run the health check of the image, and return its exit status."""
        return self.podman.attempt("healthcheck", "run", self.name).returncode

    def wait(self) -> int:
        """Wait until the container ends, and return its exit status."""
        return int(self.podman.do("wait", self.name))

    def stop(self, *, policy: int = 30) -> int:
        """Send SIGTERM, wait for the end, and return the exit status."""
        self.podman.do("stop", f"--time={policy}", self.name)
        return self.wait()

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition; fail if the container ends first."""
        until(condition, while_true=lambda: self.is_running, tell=lambda: self.output)


def until(
    condition: Callable[[], object],
    *,
    while_true: Callable[[], object] = lambda: True,
    tell: Callable[[], str],
) -> None:
    """Wait for a condition; fail when ``while_true`` becomes false first, or after a timeout."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert while_true(), tell()
        assert time.monotonic() < deadline, tell()
        time.sleep(0.02)


@contextmanager
def podman_of_its_own() -> Iterator[Podman]:
    """Yield a Podman with a temporary storage and network; remove both at the end."""
    place = Path(mkdtemp(prefix="hive-boot-"))
    with ExitStack() as stack:
        stack.callback(_remove, place)
        podman = Podman(place)
        podman.do("network", "create", "--disable-dns", podman.network)
        stack.callback(podman.attempt, "network", "rm", "--force", podman.network)
        yield podman


def _remove(place: Path) -> None:
    """Unmount everything that podman has mounted below a directory, and remove the directory."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed(mounted):
        if Path(point).is_relative_to(place):
            subprocess.run(["umount", "--lazy", point], timeout=_PATIENCE, check=False)  # noqa: S607
    shutil.rmtree(place)
