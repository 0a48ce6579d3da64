"""HIVE as systemd starts it: what ``deploy/systemd/hive.service`` says, without systemd.

``systemd-run --property=LoadCredential=…`` and a unit give a service the same: a directory of
its own with a file for each credential, which it alone can read, and the directory's name in a
variable. https://systemd.io/CREDENTIALS/
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
    """Return what the unit sets, with paths and a port that are ours."""
    told = dict(re.findall(r"(?m)^Environment=(\w+)=(.*)$", UNIT))
    return {**told, "BIND_HOST": "127.0.0.1", "PORT": "0", "DATABASE_PATH": str(home / "hive.db")}


def lay_out(place: Path, values: dict[str, str]) -> Path:
    """Write credentials as systemd does: read-only, and nobody else's."""
    place.mkdir(mode=0o700)
    for name in CREDENTIALS:
        (place / name).write_text(values[name])
        (place / name).chmod(0o400)
    place.chmod(0o500)
    return place


@pytest.fixture
def credentials(home: Path) -> Path:
    """Have the directory that the variable names."""
    return lay_out(home / "credentials", SECRETS)


@contextmanager
def notified(home: Path) -> Iterator[socket.socket]:
    """Have the socket at which systemd is told how a service of ``Type=notify`` is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(home / "notify"))
        receiver.settimeout(60)
        yield receiver


def is_accepted(service: Service, key: str) -> bool:
    """Return whether the service takes an API key."""
    answer = httpx2.get(f"{service.url}/inventory", headers={"X-API-Key": key})
    return answer.status_code == 200


def test_the_unit_is_enough(home: Path, credentials: Path) -> None:
    """The credentials that the unit loads are all that a start in production needs.

    Newer systemds put another directory in the place of the first at a reload: no restart.
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
    """Under ``systemd-run`` nobody has to say the mode, and the log says why it is this one."""
    with started(home, *HOW, CREDENTIALS_DIRECTORY=str(credentials)) as service:
        assert is_accepted(service, SECRETS["hive_api_key"])
        assert service.stop() == 0
    assert "🔐 Secrets mode: systemd (CREDENTIALS_DIRECTORY is set)" in service.output


def test_a_forgotten_credential_ends_the_start(home: Path, credentials: Path) -> None:
    """The journal says which ``LoadCredential=`` is missing, and systemd does not try again."""
    credentials.chmod(0o700)
    (credentials / "openai_api_key").unlink()
    variables = {**settings(home), "CREDENTIALS_DIRECTORY": str(credentials)}
    with started(home, *HOW, **variables) as service:
        assert service.process.wait(60) == 78
    assert "OPENAI_API_KEY" in service.output
    assert "LoadCredential=" in service.output
    assert "RestartPreventExitStatus=78" in UNIT
