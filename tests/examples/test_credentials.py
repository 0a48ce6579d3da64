"""HIVE as systemd starts it from ``deploy/systemd/hive.service``, without systemd.

``systemd-run --property=LoadCredential=…`` and a unit both create a directory with a file for
each credential, which only the service can read, and name the directory in a variable.
https://systemd.io/CREDENTIALS/
"""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.examples.service import FAKES, Service, started
from tests.support import ROOT

UNIT = (ROOT / "deploy" / "systemd" / "hive.service").read_text("utf-8")

CREDENTIALS = re.findall(r"(?m)^LoadCredential=([^:]+):", UNIT)

SECRETS = {name.lower(): value for name, value in FAKES.items()}

HOW = ("hive_boot", "run", "-m", "examples.hive")


def settings(home: Path) -> dict[str, str]:
    """Return the variables of the unit, with paths and a port of this test."""
    told = dict(re.findall(r"(?m)^Environment=(\w+)=(.*)$", UNIT))
    return {**told, "BIND_HOST": "127.0.0.1", "PORT": "0", "DATABASE_PATH": str(home / "hive.db")}


def lay_out(place: Path, values: dict[str, str]) -> Path:
    """Write credentials as systemd does: read-only, for the owner alone."""
    place.mkdir(mode=0o700)
    for name in CREDENTIALS:
        (place / name).write_text(values[name])
        (place / name).chmod(0o400)
    place.chmod(0o500)
    return place


@pytest.fixture
def credentials(home: Path) -> Path:
    """Return the directory that CREDENTIALS_DIRECTORY names."""
    return lay_out(home / "credentials", SECRETS)


@contextmanager
def notified(home: Path) -> Iterator[socket.socket]:
    """Yield the socket to which a service of ``Type=notify`` sends its state."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(home / "notify"))
        receiver.settimeout(60)
        yield receiver


def is_accepted(service: Service, key: str) -> bool:
    """Return whether the service accepts an API key."""
    answer = httpx2.get(f"{service.url}/inventory", headers={"X-API-Key": key})
    return answer.status_code == 200


def test_the_unit_is_enough(home: Path, credentials: Path) -> None:
    """The credentials that the unit loads are enough for a start in production.

    Newer versions of systemd replace the directory at a reload: no restart is needed.
    """
    new = "fake-hive-key-after-the-reload"
    variables = {**settings(home), "CREDENTIALS_DIRECTORY": str(credentials)}
    with (
        notified(home) as receiver,
        started(home, *HOW, NOTIFY_SOCKET=str(home / "notify"), **variables) as service,
    ):
        assert httpx2.get(f"{service.url}/readyz").status_code == 200
        assert httpx2.get(f"{service.url}/health").json()["mode"] == "systemd"
        assert is_accepted(service, SECRETS["hive_api_key"])
        said = receiver.recv(4096)
        while b"READY=1" not in said:
            said = receiver.recv(4096)
        fresh = lay_out(home / "fresh", {**SECRETS, "hive_api_key": new})
        credentials.rename(home / "old")
        fresh.rename(credentials)
        service.wait_for(lambda: is_accepted(service, new))
        assert not is_accepted(service, SECRETS["hive_api_key"])
        assert service.stop() == 0
    assert re.search("Profile: production", service.output)
    assert new not in service.output
    assert not [value for value in SECRETS.values() if value in service.output]


def test_credentials_are_found_by_themselves(home: Path, credentials: Path) -> None:
    """Under ``systemd-run`` the mode is detected, and the log names the variable behind it."""
    with started(home, *HOW, CREDENTIALS_DIRECTORY=str(credentials)) as service:
        assert is_accepted(service, SECRETS["hive_api_key"])
        assert service.stop() == 0
    assert "🔐 Secrets mode: systemd (CREDENTIALS_DIRECTORY is set)" in service.output


def test_a_forgotten_credential_ends_the_start(home: Path, credentials: Path) -> None:
    """The journal names the missing ``LoadCredential=``, and systemd does not start HIVE again."""
    credentials.chmod(0o700)
    (credentials / "openai_api_key").unlink()
    variables = {**settings(home), "CREDENTIALS_DIRECTORY": str(credentials)}
    with started(home, *HOW, **variables) as service:
        assert service.process.wait(60) == 78
    assert "OPENAI_API_KEY" in service.output
    assert "LoadCredential=" in service.output
    assert "RestartPreventExitStatus=78" in UNIT
