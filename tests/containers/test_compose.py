"""The Compose files: each setting that they declare has its effect in a container."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.asking import answers, ask
from tests.containers.compose import files_of, options_of
from tests.containers.conftest import FILES
from tests.containers.podman import Container, Podman
from tests.support import ROOT, child_environment

PRODUCTION = ROOT / "deploy" / "docker-compose.yml"
DEVELOPMENT = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of secret files that ``hive-boot migrate`` has created from a ``.env``."""
    place = tmp_path_factory.mktemp("compose")
    lines = [f"{name.upper()}={value}\n" for name, value in FILES.items()]
    (place / ".env").write_text("".join(lines))
    arguments = ("migrate", "examples.hive.app:boot", "--env-file", ".env", "--to", "secrets")
    hive_boot(*arguments, cwd=place)
    return place / "secrets"


@pytest.fixture(scope="module")
def service(podman: Podman, image: str, secrets: Path) -> Iterator[Container]:
    """Yield a running container with the options of the Compose file for production."""
    with podman.started(image, *options_of(PRODUCTION, secrets)) as container:
        container.until(lambda: answers(container.url, "/readyz"))
        yield container


def hive_boot(*arguments: str, cwd: Path, text: str = "") -> None:
    """Run ``hive-boot`` on the host, and fail unless it succeeds."""
    done = subprocess.run(
        [sys.executable, "-m", "hive_boot", *arguments],
        env=child_environment(),
        cwd=cwd,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def write(service: Container, path: str) -> str:
    """Try to open a file of the container for writing, and return the error message."""
    return service.execute("python3", "-c", f"open('{path}', 'a')").stderr


def test_the_service_can_do_little(service: Container) -> None:
    """The service has no capability and gets none, and can only write to its tmpfs."""
    told = service.execute("cat", "/proc/1/status").stdout
    status = dict(line.split(":\t", 1) for line in told.splitlines())
    assert {int(status[f"Cap{which}"], 16) for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert "0" not in status["Uid"].split()
    for place in ("/app", "/venv", "/etc"):
        assert "Read-only file system" in write(service, f"{place}/new")
    assert "Permission denied" in write(service, "/run/secrets/jwt_secret")
    assert write(service, "/tmp/new") == ""  # noqa: S108  (in the container)


def test_its_health_is_checked_as_the_file_says(service: Container) -> None:
    """The health check of the image passes, and ``/health`` answers 200."""
    assert service.check_health() == 0
    assert ask(service.url, "/health")[0] == 200


def test_a_secret_rotated_on_the_host_is_in_use(service: Container, secrets: Path) -> None:
    """``hive-boot rotate`` is enough: no restart, and the old key is rejected."""
    before = service.inspect("State")["StartedAt"]
    old, new = FILES["hive_api_key"], "fake-hive-key-after-the-rotation"
    assert ask(service.url, "/inventory", key=old)[0] == 200
    hive_boot("rotate", "HIVE_API_KEY", "--to", str(secrets), cwd=secrets.parent, text=f"{new}\n")
    service.until(lambda: answers(service.url, "/inventory", key=new))
    assert ask(service.url, "/inventory", key=old)[0] == 401
    assert service.inspect("State")["StartedAt"] == before


def test_it_stops_in_the_time_that_the_file_gives(service: Container) -> None:
    """``docker compose down`` waits until the service has stopped; SIGKILL is not needed."""
    service.podman.do("stop", service.name)
    assert service.wait() == 0, service.output


def test_the_file_for_development_starts_too(podman: Podman, image: str, secrets: Path) -> None:
    """With the Compose file for development a container starts with fewer secrets."""
    assert set(files_of(DEVELOPMENT)) <= set(FILES)
    with podman.started(image, *options_of(DEVELOPMENT, secrets)) as container:
        container.until(lambda: answers(container.url, "/readyz"))
        assert "Profile: development" in container.output
