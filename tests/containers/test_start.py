"""The image started by hand, as by ``podman run`` or ``docker run``."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.asking import answers, ask
from tests.containers.conftest import FILES
from tests.containers.podman import PORT, Container, Podman

NEVER_READY = """
import anyio
from hive_boot import Bootstrap, SecretSet

class Nothing(SecretSet):
    pass

boot = Bootstrap(Nothing, mode="environment", probe_port={port}, startup_timeout=1000)

@boot.resource
async def slow() -> None:
    await anyio.sleep_forever()

@boot.main
async def main() -> None:
    pass
"""


@pytest.fixture(scope="module")
def service(podman: Podman, image: str) -> Iterator[Container]:
    """Yield a running container of HIVE with secrets that podman mounts."""
    with (
        podman.secrets(FILES) as options,
        podman.started(image, *options) as container,
    ):
        container.until(lambda: answers(container.url, "/readyz"))
        yield container


def test_without_secrets_it_does_not_start(podman: Podman, image: str) -> None:
    """Without secrets the exit status is 78, and a report in the log names each missing secret."""
    with podman.started(image, "--env=HIVE_API_KEY=") as container:
        assert container.wait() == 78
        output = container.output
    for name in FILES:
        assert f"{name.upper()} is missing" in output
    assert "; the service does not start." in output
    assert "Traceback" not in output


def test_a_report_shows_no_value(podman: Podman, image: str) -> None:
    """The report of a missing secret contains no value of the secrets that exist."""
    there = {name: value for name, value in FILES.items() if name != "openai_api_key"}
    with (
        podman.secrets(there) as options,
        podman.started(image, *options) as container,
    ):
        assert container.wait() == 78
        output = container.output
    assert "OPENAI_API_KEY is missing" in output
    assert "HIVE_API_KEY" not in output
    assert not [value for value in FILES.values() if value in output]


def test_it_starts_with_mounted_secrets(service: Container) -> None:
    """``--secret`` is enough, and the log names the mode."""
    assert "🔐 Secrets mode: docker (" in service.output
    assert not [value for value in FILES.values() if value in service.output]


def test_it_is_the_first_process_and_not_root(service: Container) -> None:
    """The service is PID 1, so it gets the signals; it has no root user, group or capability."""
    told = service.execute("cat", "/proc/1/status", "/proc/1/cmdline").stdout
    status = dict(line.split(":\t", 1) for line in told.splitlines() if ":\t" in line)
    assert "examples.hive" in told.replace("\0", " ")
    assert status["NSpid"].split()[-1] == "1"
    for identity in ("Uid", "Gid"):
        assert "0" not in status[identity].split()
    assert status["Groups"].split() in ([], status["Gid"].split()[:1])
    assert int(status["CapEff"], 16) == 0


def test_it_answers_outside(service: Container) -> None:
    """A published port leads to the probes and to the service."""
    assert ask(service.url, "/readyz")[0] == 200
    assert ask(service.url, "/livez")[0] == 200
    assert '"mode":"docker"' in ask(service.url, "/health")[1]
    assert ask(service.url, "/inventory", key=FILES["hive_api_key"])[0] == 200


def test_a_probe_needs_nothing_but_the_package(service: Container) -> None:
    """An image without curl can report its health, by hand and to the platform."""
    assert service.execute("hive-boot", "probe", "--port", str(PORT)).returncode == 0
    assert service.check_health() == 0


def test_a_probe_tells_that_it_is_not_ready(podman: Podman, image: str, tmp_path: Path) -> None:
    """During startup the health check fails, and the service keeps running."""
    (tmp_path / "never_ready.py").write_text(NEVER_READY.format(port=PORT))
    tmp_path.chmod(0o755)
    options = (
        f"--volume={tmp_path}:/application:ro",
        "--workdir=/application",
        '--entrypoint=["hive-boot", "run"]',
    )
    with podman.started(image, *options, command=("never_ready:boot",)) as container:
        container.until(lambda: answers(container.url, "/livez"))
        probe = container.execute("hive-boot", "probe", "--port", str(PORT))
        assert probe.returncode == 1
        assert ": 503 " in probe.stdout
        assert container.check_health() == 1
        assert container.is_running
