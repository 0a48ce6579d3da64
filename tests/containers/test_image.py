"""The image that ``deploy/Dockerfile`` makes."""

import json
from mmap import ACCESS_READ, mmap
from pathlib import Path

from tests.containers import planting
from tests.containers.podman import Podman


def test_no_layer_holds_a_secret(podman: Podman, image: str, tmp_path: Path) -> None:
    """Whoever gets the image, or a layer of any stage of its build, has no secret in it."""
    everything = podman.do("images", "--all", "--quiet", "--no-trunc").split()
    assert len(everything) > 1
    archive = tmp_path / "layers.tar"
    podman.do("save", "--quiet", "--multi-image-archive", f"--output={archive}", image, *everything)
    with archive.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as layers:
        assert layers.find(planting.KNOWN) >= 0, "the search finds nothing"
        assert planting.found(layers) == []


def test_the_image_says_how_it_is_run(podman: Podman, image: str) -> None:
    """A platform sees that it is not root's and how its health is checked, and nothing secret."""
    config = json.loads(podman.do("image", "inspect", image))[0]
    user = config["Config"]["User"].partition(":")[0]
    assert user.isdecimal(), "Kubernetes verifies runAsNonRoot only with a number"
    assert int(user) > 0
    assert config["Config"]["Entrypoint"][:2] == ["hive-boot", "run"]
    check = config["HealthCheck"] if "HealthCheck" in config else config["Healthcheck"]
    assert check["Test"][:3] == ["CMD", "hive-boot", "probe"]
    assert not [text for text in config["Config"]["Env"] if "PIP_" in text or "KEY" in text]
