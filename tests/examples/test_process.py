"""HIVE as its users start it, and as their platforms stop it."""

import shutil
import signal
import socket
from pathlib import Path

import httpx2
import pytest

from hive_boot.testing import MountedVolume
from tests.examples.service import DEMO, FAKES, Service, copy_example, started
from tests.fixtures.ports import free_port

MODULE = "examples.hive"
UVICORN = ("uvicorn", "examples.hive.app:app", "--port")
EXAMPLE_VALUES = ("fake-openai-api-key", "fake-hive-api-key", "fake-jwt-secret", DEMO["password"])


def write_env(home: Path) -> None:
    """Create the .env as ``make run`` does."""
    hive = home / "examples" / "hive"
    shutil.copy(hive / ".env.example", hive / ".env")


def use(service: Service, key: str) -> tuple[str, list[dict[str, object]]]:
    """Log in, call ``/me`` and ``/inventory``, and return the token and the inventory."""
    with httpx2.Client(base_url=service.url) as client:
        login = client.post("/login", json=DEMO)
        assert login.status_code == 200, login.text
        token: str = login.json()["access_token"]
        me = client.get("/me", headers={"Authorization": f"Bearer {token}"})
        assert me.json() == {"username": "demo"}
        field_index = client.get("/inventory", headers={"X-API-Key": key})
        assert field_index.status_code == 200, field_index.text
        entries: list[dict[str, object]] = field_index.json()
    return token, entries


@pytest.mark.parametrize(
    ("profile", "number"), [("development", signal.SIGINT), ("production", signal.SIGTERM)]
)
def test_the_example_env_file_is_enough(home: Path, profile: str, number: int) -> None:
    """The example .env is enough for a start; the stop is clean, and no output contains a value."""
    write_env(home)
    with started(home, MODULE, HIVE_BOOT_MODE="development", HIVE_BOOT_PROFILE=profile) as service:
        assert httpx2.get(f"{service.url}/health").json() == {
            "status": "ok",
            "mode": "development",
            "generation": 1,
        }
        token, entries = use(service, "fake-hive-api-key-for-development")
        assert service.stop(number) == (-2 if number == signal.SIGINT else 0), service.output
    env_file = str(home / "examples" / "hive" / ".env")
    assert {entry["place"] for entry in entries if entry["present"]} == {env_file}
    assert "🔐 Secrets mode: development (HIVE_BOOT_MODE)" in service.output
    assert "Traceback" not in service.output
    for secret in (*EXAMPLE_VALUES, token):
        assert secret not in service.output
        assert secret not in str(entries)


def test_settings_come_from_the_environment(home: Path) -> None:
    """The service listens on PORT, and LOG_LEVEL hides its access log."""
    write_env(home)
    port = free_port()
    with started(home, MODULE, PORT=str(port), LOG_LEVEL="warning") as service:

        def answers() -> bool:
            try:
                return httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
            except httpx2.ConnectError:
                return False

        service.wait_for(answers)
        assert httpx2.get(f"http://127.0.0.1:{port}/health").status_code == 200
        assert service.stop() == 0
    assert "🔐 Secrets mode: " in service.output
    assert "/health" not in service.output


def test_without_secrets_it_does_not_start(home: Path) -> None:
    """One report names every missing secret and the wrong setting, and no port is opened."""
    variables = {"HIVE_BOOT_MODE": "development", "HIVE_BOOT_PROFILE": "production"}
    with started(home, MODULE, PORT="no-number-at-all", **variables) as service:
        assert service.process.wait(60) == 78, service.output
    hive = home / "examples" / "hive"
    assert "HiveSecrets" in service.output
    for name in FAKES:
        assert f" add {name}=... to {hive}/.env" in service.output
    assert "Settings.port" in service.output
    for unwanted in ("Traceback", "Uvicorn running", "no-number-at-all"):
        assert unwanted not in service.output


def test_it_runs_under_a_foreign_server(home: Path) -> None:
    """``uvicorn examples.hive.app:app`` serves the same service."""
    write_env(home)
    with started(home, *UVICORN, "0") as service:
        use(service, "fake-hive-api-key-for-development")
        service.stop()
    assert "🔐 Secrets mode: " in service.output
    assert "Application shutdown complete" in service.output
    for secret in EXAMPLE_VALUES:
        assert secret not in service.output


def test_a_failed_start_under_a_foreign_server_never_serves(home: Path) -> None:
    """The server exits with the report in its log, and never accepts a connection."""
    port = free_port()
    connected = False
    with started(home, *UVICORN, str(port), HIVE_BOOT_MODE="environment") as service:
        while service.process.poll() is None:
            with socket.socket() as probe:
                connected |= probe.connect_ex(("127.0.0.1", port)) == 0
    assert not connected
    assert service.process.returncode != 0
    assert "OPENAI_API_KEY" in service.output
    assert "Application startup failed" in service.output
    assert "Uvicorn running" not in service.output


def test_it_reads_the_files_of_docker(home: Path, tmp_path: Path) -> None:
    """A directory of secret files is enough, and the .env is ignored."""
    write_env(home)
    directory = tmp_path / "secrets"
    directory.mkdir()
    for name, value in FAKES.items():
        (directory / f"{name.lower()}.txt").write_text(f"{value}\n")
    with started(home, MODULE, HIVE_BOOT_SECRETS_DIR=str(directory)) as service:
        assert httpx2.get(f"{service.url}/health").json()["mode"] == "docker"
        _, entries = use(service, FAKES["HIVE_API_KEY"])
        assert service.stop() == 0
    places = {entry["name"]: entry["place"] for entry in entries if entry["present"]}
    assert places == {name: str(directory / f"{name.lower()}.txt") for name in FAKES}
    for value in FAKES.values():
        assert value not in service.output


def test_it_reads_the_volume_of_a_cluster(home: Path, tmp_path: Path) -> None:
    """A pod with a mounted Secret serves, and logs the mode and its reason.

    Without the mount it exits with a fix, although the image contains a .env.
    """
    volume = tmp_path / "volume"
    MountedVolume(volume).publish({name.lower(): value for name, value in FAKES.items()})
    variables = {
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "HIVE_BOOT_SECRETS_DIR": str(volume),
        "DEMO_USER": "yes",
    }
    with started(home, MODULE, **variables) as service:
        assert httpx2.get(f"{service.url}/health").json()["mode"] == "kubernetes"
        _, entries = use(service, FAKES["HIVE_API_KEY"])
        service.process.send_signal(signal.SIGTERM)
        # It drains for some seconds: time for a second pod.
        assert_no_start_without_volume(tmp_path / "second")
        assert service.process.wait(60) == 0
    assert {entry["source"] for entry in entries if entry["present"]} == {"file"}
    assert "kubernetes (KUBERNETES_SERVICE_HOST is set)" in service.output
    for value in FAKES.values():
        assert value not in service.output


def assert_no_start_without_volume(home: Path) -> None:
    """Assert that a pod with a .env and without its volume exits with 78 and names both fixes."""
    home.mkdir()
    copy_example(home)
    write_env(home)
    missing = str(home / "nowhere")
    variables = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HIVE_BOOT_SECRETS_DIR": missing}
    with started(home, MODULE, **variables) as service:
        assert service.process.wait(60) == 78
    assert "HIVE_BOOT_MODE=environment" in service.output
    assert missing in service.output
    assert "Uvicorn running" not in service.output
