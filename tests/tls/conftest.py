"""Certificates for the tests of TLS contexts, and a volume with one of them."""

from pathlib import Path

import pytest

from hive_boot.testing import MountedVolume
from tests.fixtures.certificates import issue, make_certificate, make_old_certificate
from tests.tls.pairs import Pairs, publish


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Return certificates and keys by name; most are signed by ``ca``."""
    directory = tmp_path_factory.mktemp("certificates")
    made = {"ca": make_certificate(directory, "ca"), "ca2": make_certificate(directory, "ca2")}
    made["rsa"] = make_certificate(directory, "rsa", "RSA")
    for name in ("one", "two", "three"):
        made[name] = issue(directory, name, "ca")
    made["stranger"] = issue(directory, "stranger", "ca2")
    made["expired"] = issue(directory, "expired", "ca", days=(-2, -1))
    made["early"] = issue(directory, "early", "ca", days=(1, 2))
    made["long"] = issue(directory, "long", "ca", days=(-1, 20000))
    made["v1"] = make_old_certificate(directory, days=5)
    made["quarter"] = issue(directory, "quarter", "ca", days=(-60, 31))
    return made


@pytest.fixture
def volume(tmp_path: Path, pairs: Pairs) -> MountedVolume:
    """Return a volume with the pair ``one``."""
    volume = MountedVolume(tmp_path / "secrets")
    publish(volume, *pairs["one"])
    return volume
