"""The image with a volume that is written as the kubelet writes it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from hive_boot.testing import MountedVolume
from tests.containers.asking import Traffic, Unfinished, answers, ask, is_refused
from tests.containers.conftest import FILES
from tests.containers.podman import Container, Podman, until
from tests.examples.service import DEMO
from tests.support import tmpfs


@pytest.fixture
def volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountedVolume]:
    """Have a Secret's volume, in memory as the kubelet's are."""
    place = tmp_path_factory.mktemp("volume")
    with tmpfs(place):
        volume = MountedVolume(place)
        volume.publish(FILES)
        yield volume


@pytest.fixture
def service(podman: Podman, image: str, volume: MountedVolume) -> Iterator[Container]:
    """Have HIVE running as a pod's container has it."""
    options = (
        f"--volume={volume.path}:/run/secrets/hive:ro",
        "--env=HIVE_BOOT_MODE=kubernetes",
        "--env=HIVE_BOOT_SECRETS_DIR=/run/secrets/hive",
        "--env=DEMO_USER=true",
    )
    with podman.started(image, *options) as container:
        container.until(lambda: answers(container.url, "/readyz"))
        yield container


def test_a_swapped_volume_is_in_use(service: Container, volume: MountedVolume) -> None:
    """A Secret that is changed in the cluster is what the service goes by, without a restart."""
    before = service.inspect("State")["StartedAt"]
    old, new = FILES["hive_api_key"], "fake-hive-key-of-the-next-generation"
    assert ask(service.url, "/inventory", key=old)[0] == 200
    volume.publish({**FILES, "hive_api_key": new})
    service.until(lambda: answers(service.url, "/inventory", key=new))
    assert ask(service.url, "/inventory", key=old)[0] == 401
    assert '"generation":2' in ask(service.url, "/health")[1]
    assert service.inspect("State")["StartedAt"] == before


def test_a_stop_costs_no_request(service: Container) -> None:
    """A rollout is seen by nobody: each client behind a balancer gets every answer.

    That of a client whose request takes longer than the drain as well.
    """
    traffic = Traffic(service.url, DEMO)
    with ThreadPoolExecutor() as pool:
        with traffic.flowing():
            service.until(lambda: traffic.is_flowing)
            unfinished = Unfinished(service.url, DEMO)
            status = pool.submit(service.stop)
        assert traffic.failures == [], service.output
        until(lambda: is_refused(service.url), tell=lambda: service.output)
        assert unfinished.finish()[0] == 200
        assert status.result() == 0, service.output
    assert "SIGTERM: draining for up to 5 s" in service.output
