"""Tests of a service: its secrets, a fake client, and a rotation of its volume.

python -m pytest examples/07_testing.py
"""

from pathlib import Path

import pytest

from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.testing import MountedVolume, override


class ServiceSecrets(SecretSet):
    """The secrets of the service under test."""

    api_key: Secret = secret(used_by="payments", min_length=12)


boot = Bootstrap(ServiceSecrets)


@boot.resource
async def client(secrets: ServiceSecrets) -> str:
    """Connect to a payment provider, which tests cannot."""
    raise ConnectionRefusedError(secrets.api_key)


@pytest.fixture
def anyio_backend() -> str:
    """Run the tests on asyncio."""
    return "asyncio"


@pytest.mark.anyio
async def test_a_fake_client() -> None:
    """A test provides secrets and resources; no source is read."""
    with override(boot, api_key="fake-key-0123456789", resources={client: "fake client"}):
        async with boot.running() as secrets:
            assert secrets.api_key.matches("fake-key-0123456789")
            assert client.value == "fake client"


@pytest.mark.anyio
async def test_a_rotation(tmp_path: Path) -> None:
    """A volume changes as the kubelet changes it."""
    volume = MountedVolume(tmp_path / "volume")
    volume.publish({"api_key": "fake-key-0123456789"})
    service = Bootstrap(ServiceSecrets, mode="kubernetes", secrets_dirs=volume.path)
    async with service.running() as secrets:
        volume.publish({"api_key": "fake-key-9876543210"})
        await service.reload()
        assert secrets.api_key.matches("fake-key-9876543210")
