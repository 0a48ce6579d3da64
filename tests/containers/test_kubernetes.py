"""Manifests of ``deploy/k8s``, started by ``podman play kube``.

Podman is no cluster. It heeds the environment, the mounts, the security contexts and the
limits; it knows nothing of ``fsGroup`` and ``preStop``, turns a probe by HTTP into a curl that
the image has not, and leaves the modes of the secrets' files at 0644. Versions before 4.4 also
leave the values in base64: they are values all the same.
"""

import socket
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.containers.asking import answers, ask
from tests.containers.conftest import FILES
from tests.containers.podman import Container, Podman
from tests.support import ROOT

MANIFESTS = ROOT / "deploy" / "k8s"


def read(name: str) -> dict[str, Any]:
    """Read a manifest."""
    manifest: dict[str, Any] = yaml.safe_load((MANIFESTS / name).read_text("utf-8"))
    return manifest


def free_port() -> int:
    """Return a port on which nothing listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def filled(secret: dict[str, Any]) -> dict[str, Any]:
    """Replace each placeholder by a value, in the form that podman reads."""
    values = {key: b64encode(FILES[key].encode()).decode() for key in secret["stringData"]}
    return {**{key: it for key, it in secret.items() if key != "stringData"}, "data": values}


def for_one_machine(deployment: dict[str, Any], port: int) -> dict[str, Any]:
    """Replace what one machine cannot run: two pods with one port, and a Service before them."""
    deployment["spec"]["replicas"] = 1
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (listening,) = container["ports"]
    listening.update(hostIP="127.0.0.1", hostPort=port)
    return deployment


@pytest.fixture(scope="module")
def service(
    podman: Podman, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    """Yield the container of the pod that the manifests describe."""
    secret, deployment = read("secret.yaml"), read("deployment.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    named = f"localhost/{container['image']}"
    podman.do("tag", image, named)
    played = tmp_path_factory.mktemp("kubernetes") / "played.yaml"
    parts = [filled(secret), for_one_machine(deployment, free_port()), read("service.yaml")]
    played.write_text(yaml.safe_dump_all(parts))
    try:
        podman.do("play", "kube", f"--network={podman.network}", str(played))
        (name,) = podman.do("ps", "--quiet", f"--filter=ancestor={named}").split()
        service = Container(podman, name)
        service.until(lambda: answers(service.url, "/readyz"))
        yield service
    finally:
        podman.attempt("play", "kube", "--down", str(played))
        podman.attempt("secret", "rm", secret["metadata"]["name"])


def test_the_pod_is_ready_with_the_secret_of_the_cluster(service: Container) -> None:
    """The volume of the pod and the mount of its container have one name, so the pod serves."""
    assert '"mode":"kubernetes"' in ask(service.url, "/health")[1]
    assert "🔐 Secrets mode: kubernetes (HIVE_BOOT_MODE)" in service.output
    places = service.execute("ls", "/run/secrets/hive").stdout.split()
    assert sorted(places) == sorted(FILES)
    assert service.execute("hive-boot", "probe", "--port", "3000").returncode == 0


def test_the_pod_has_no_rights(service: Container) -> None:
    """The security contexts are applied, and the service works under them."""
    told = service.execute("cat", "/proc/1/status").stdout
    status = dict(line.split(":\t", 1) for line in told.splitlines())
    assert {int(status[f"Cap{which}"], 16) for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2", "no filter of system calls"
    wanted = read("deployment.yaml")["spec"]["template"]["spec"]["securityContext"]
    assert set(status["Uid"].split()) == {str(wanted["runAsUser"])}
    assert set(status["Gid"].split()) == {str(wanted["runAsGroup"])}
    refused = service.execute("python3", "-c", "open('/app/new', 'w')")
    assert "Read-only file system" in refused.stderr
    for place in ("/tmp", "/var/lib/hive"):  # noqa: S108  (in the container)
        assert service.execute("python3", "-c", f"open('{place}/new', 'w')").returncode == 0


def test_what_the_pod_logs_holds_no_value(service: Container) -> None:
    """No secret can be read in the logs of the cluster."""
    for value in FILES.values():
        assert value not in service.output
        assert b64encode(value.encode()).decode() not in service.output
