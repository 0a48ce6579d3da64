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
    """Yield a Secret volume in a tmpfs, as the kubelet mounts it, with one generation."""
    place = tmp_path_factory.mktemp("volume")
    with tmpfs(place):
        volume = MountedVolume(place)
        volume.publish(FILES)
        yield volume


@pytest.fixture
def service(podman: Podman, image: str, volume: MountedVolume) -> Iterator[Container]:
    """Yield HIVE in a container with the volume and the environment of a pod."""
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
    """The service uses a Secret that was changed in the cluster, without a restart."""
    before = service.inspect("State")["StartedAt"]
    old, new = FILES["hive_api_key"], "fake-hive-key-of-the-next-generation"
    assert ask(service.url, "/inventory", key=old)[0] == 200
    volume.publish({**FILES, "hive_api_key": new})
    service.until(lambda: answers(service.url, "/inventory", key=new))
    assert ask(service.url, "/inventory", key=old)[0] == 401
    assert '"generation":2' in ask(service.url, "/health")[1]
    assert service.inspect("State")["StartedAt"] == before


def test_a_stop_costs_no_request(service: Container) -> None:
    """A rollout is invisible: each client behind a load balancer gets every response.

    So does a client whose request takes longer than the shutdown delay.
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
