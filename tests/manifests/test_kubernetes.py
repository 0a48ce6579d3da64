"""Rendered manifests of Kubernetes, parsed."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hive_boot import Bootstrap
from hive_boot.cli.fleet import parser as fleet_parser
from hive_boot.cli.main import main
from hive_boot.manifests import Deployment
from hive_boot.manifests.rendering import render
from hive_boot.secrets.validation import placeholder
from hive_boot.testing import MountedVolume
from tests.manifests.deployments import (
    Nothing,
    Optional,
    Renamed,
    ShopSecrets,
    Versioned,
    read,
    text_of,
)
from tests.manifests.deployments import deployment as deploy
from tests.support import ROOT


def pod(made: Deployment) -> dict[str, Any]:
    """Return the specification of the pods in the Deployment."""
    spec: dict[str, Any] = read(made, "deploy/k8s/deployment.yaml")["spec"]["template"]["spec"]
    return spec


def container(made: Deployment) -> dict[str, Any]:
    """Return the only container of the Deployment."""
    (found,) = pod(made)["containers"]
    assert isinstance(found, dict)
    return found


def volume(made: Deployment) -> dict[str, Any]:
    """Return the volume of the secrets."""
    (found,) = [each["secret"] for each in pod(made)["volumes"] if each["name"] == "secrets"]
    assert isinstance(found, dict)
    return found


def variables(made: Deployment) -> dict[str, str]:
    """Return the variables of the container, as the kubelet expands them."""
    return {
        each["name"]: re.sub(r"\$(\$|\(\w+\))", lambda match: match[1][:1], each["value"])
        for each in container(made)["env"]
    }


def test_a_pod_meets_the_restricted_standard() -> None:
    """It also has no token of the cluster."""
    spec = pod(deploy())
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] >= 10_000
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(deploy())["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container(deploy())["resources"]) == {"requests", "limits"}


def test_secrets_are_a_volume_that_the_process_can_read() -> None:
    """Only the group of the process can read it, and the pod waits until the Secret exists."""
    made = deploy()
    assert volume(made) == {
        "secretName": "shop-secrets",
        "optional": False,
        "defaultMode": 0o400,
    }
    assert pod(made)["securityContext"]["fsGroup"] == pod(made)["securityContext"]["runAsGroup"]
    mounts = {each["name"]: each for each in container(made)["volumeMounts"]}
    assert mounts["secrets"]["mountPath"] == "/run/secrets/shop"
    assert mounts["secrets"]["readOnly"] is True
    assert variables(made) == {
        "HIVE_BOOT_MODE": "kubernetes",
        "HIVE_BOOT_PROFILE": "production",
        "HIVE_BOOT_SECRETS_DIR": "/run/secrets/shop",
    }


def test_writable_directories_are_volumes() -> None:
    """The root file system is read-only, so ``/tmp`` and declared directories are volumes."""
    made = deploy(writable=("/var/lib/shop", "/var/cache/shop"))
    mounts = {each["mountPath"]: each["name"] for each in container(made)["volumeMounts"]}
    volumes = {each["name"]: each for each in pod(made)["volumes"]}
    for path in ("/tmp", "/var/lib/shop", "/var/cache/shop"):  # noqa: S108  (in a container)
        assert "emptyDir" in volumes[mounts[path]]
    assert len(set(mounts.values())) == 4


def test_the_grace_period_covers_a_stop() -> None:
    """The kubelet does not kill a pod before the end of its shutdown."""
    for boot, seconds in (
        (Bootstrap(ShopSecrets), 5 + 5 + 8 + 1),
        (Bootstrap(ShopSecrets, shutdown_delay=0, shutdown_timeout=2), 5 + 0 + 2 + 1),
        (Bootstrap(ShopSecrets, shutdown_delay=10.2, shutdown_timeout=20), 5 + 11 + 20 + 1),
    ):
        made = deploy(boot=boot)
        assert pod(made)["terminationGracePeriodSeconds"] == seconds
        assert container(made)["lifecycle"]["preStop"] == {"sleep": {"seconds": 5}}
        assert container(made)["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_a_pod_with_a_main_has_no_drain() -> None:
    """A worker is behind no load balancer, so it needs no delay and no Service."""
    boot = Bootstrap(ShopSecrets, probe_port=9000)

    @boot.main
    async def main() -> None:
        """Work."""

    made = deploy(boot=boot, port=None)
    assert pod(made)["terminationGracePeriodSeconds"] == 0 + 0 + 8 + 1
    assert "lifecycle" not in container(made)
    assert "service.yaml" not in text_of(made, "deploy/k8s/kustomization.yaml")
    assert container(made)["ports"] == [{"name": "probes", "containerPort": 9000}]
    assert read(made, "deploy/k8s/networkpolicy.yaml")["spec"]["ingress"] == []


def test_replicas_resources_and_egress_follow_the_arguments() -> None:
    """The egress has port 443 and DNS too."""
    made = deploy(replicas=3, cpu=("250m", "2"), memory=("1Gi", "1Gi"), egress=(5432, 6379))
    assert read(made, "deploy/k8s/deployment.yaml")["spec"]["replicas"] == 3
    resources = container(made)["resources"]
    assert (resources["requests"]["cpu"], resources["limits"]["cpu"]) == ("250m", "2")
    assert (resources["requests"]["memory"], resources["limits"]["memory"]) == ("1Gi", "1Gi")
    dns, others = read(made, "deploy/k8s/networkpolicy.yaml")["spec"]["egress"]
    assert {each["port"] for each in dns["ports"]} == {53}
    assert [(each["port"], each["protocol"]) for each in others["ports"]] == [
        (443, "TCP"),
        (5432, "TCP"),
        (6379, "TCP"),
    ]


def test_each_probe_has_its_endpoint() -> None:
    """A slow start and a draining process are not reported as dead."""
    paths = {"startup": "/startupz", "readiness": "/readyz", "liveness": "/livez"}
    for probe_port, port in ((None, "http"), (9000, "probes")):
        found = container(deploy(boot=Bootstrap(ShopSecrets, probe_port=probe_port)))
        for kind, path in paths.items():
            assert found[f"{kind}Probe"]["httpGet"] == {"path": path, "port": port}
        assert {"http"} <= {each["name"] for each in found["ports"]}


def test_the_startup_probe_waits_as_long_as_a_start_may_take() -> None:
    """The kubelet does not kill a pod that waits for the files of a sidecar."""
    for wait, startup_timeout in ((0, 30), (60, 45.5)):
        boot = Bootstrap(ShopSecrets, wait_for_files=wait, startup_timeout=startup_timeout)
        probe = container(deploy(boot=boot))["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] > wait + startup_timeout


def test_a_rollout_and_a_node_drain_leave_one_pod() -> None:
    """The selectors of all objects have the labels of the pod."""
    made = deploy()
    spec = read(made, "deploy/k8s/deployment.yaml")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = read(made, "deploy/k8s/poddisruptionbudget.yaml")["spec"]
    assert budget["maxUnavailable"] == 1
    labels = spec["template"]["metadata"]["labels"]
    service = read(made, "deploy/k8s/service.yaml")["spec"]
    policy = read(made, "deploy/k8s/networkpolicy.yaml")["spec"]
    assert spec["selector"]["matchLabels"] == labels
    assert budget["selector"]["matchLabels"] == labels
    assert service["selector"] == labels
    assert policy["podSelector"]["matchLabels"] == labels


def test_the_secret_contains_only_placeholders() -> None:
    """Secrets of production are set, text as text and bytes as base64; others are commented out."""
    found = read(deploy(), "deploy/k8s/secret.yaml")
    assert found["metadata"]["name"] == "shop-secrets"
    assert set(found["stringData"]) == {"api_key", "jwt_secret"}
    assert found["stringData"]["api_key"] == placeholder("API_KEY")
    assert set(found["data"]) == {"signing_key"}
    assert base64.b64decode(found["data"]["signing_key"]).decode() == placeholder("SIGNING_KEY")
    text = text_of(deploy(), "deploy/k8s/secret.yaml")
    assert re.search(r"\n  # .*\bbilling\b.*from the console\n", text)
    assert f'\n  # sentry_dsn: "{placeholder("SENTRY_DSN")}"\n' in text
    assert f'\n  # jwt_before: "{placeholder("JWT_BEFORE")}"\n' in text


def test_kustomize_does_not_apply_the_secret() -> None:
    """Otherwise placeholders would replace the values."""
    assert read(deploy(), "deploy/k8s/kustomization.yaml")["resources"] == [
        "deployment.yaml",
        "networkpolicy.yaml",
        "poddisruptionbudget.yaml",
        "service.yaml",
    ]


def test_a_file_name_that_is_not_a_valid_key_gets_a_key() -> None:
    """The volume maps each key to its file, and no two keys are the same."""
    made = deploy(Renamed)
    files = {
        "tls-certificate.pem": "tls/certificate.pem",
        "tls-certificate.pem-2": "tls-certificate.pem",
    }
    assert {each["key"]: each["path"] for each in volume(made)["items"]} == files
    assert set(read(made, "deploy/k8s/secret.yaml")["stringData"]) == set(files)
    text = text_of(made, "deploy/k8s/deployment.yaml")
    assert '              # - key: hidden-file\n              #   path: "..hidden file"\n' in text
    command = "kubectl create secret generic renamed --from-file=tls-certificate.pem=secrets/tls/"
    assert command in text_of(made, "deploy/k8s/secret.yaml").replace("\n#        ", "")


def test_a_service_without_secrets_has_an_empty_secret() -> None:
    """Optional secrets are commented out."""
    assert "stringData" not in read(deploy(Nothing), "deploy/k8s/secret.yaml")
    found = read(deploy(Optional), "deploy/k8s/secret.yaml")
    assert "stringData" not in found
    assert "# stringData:\n  # token: " in text_of(deploy(Optional), "deploy/k8s/secret.yaml")


def test_settings_are_escaped() -> None:
    """A dollar sign, a parenthesis and a word of YAML arrive unchanged."""
    env = {"A": "$(HOME) $$ $x", "B": "yes", "C": "0123", "D": 'a: "b" # c', "E": "", "YES": "1"}
    found = variables(deploy(env=env))
    assert {name: found[name] for name in env} == env


WAIT: dict[str, Any] = {
    "fleet_wait": "http://prometheus:9090/$path",
    "fleet_selector": 'job="shop", pod=~"shop-.*$"',
    "fleet_stage": "quiet",
}


def test_a_job_waits_for_the_version_of_the_secret() -> None:
    """The Job gets only the key of the version, and runs `hive-boot fleet wait`."""
    job = read(deploy(Versioned, **WAIT), "deploy/k8s/fleet-wait.yaml")
    (waiter,) = job["spec"]["template"]["spec"]["containers"]
    (variable,) = waiter["env"]
    assert variable == {
        "name": "VERSION",
        "valueFrom": {"secretKeyRef": {"name": "versioned", "key": "secrets-version"}},
    }
    assert waiter["command"] == ["hive-boot", "fleet", "wait"]
    # The kubelet expands $(NAME), and reads $$ as $.
    typed = [each.replace("$(VERSION)", "v2").replace("$$", "$") for each in waiter["args"]]
    arguments = fleet_parser().parse_args(["wait", *typed])
    assert arguments.version == "v2"
    assert arguments.stage == "quiet"
    assert arguments.prometheus == [WAIT["fleet_wait"]]
    assert arguments.selector == WAIT["fleet_selector"]
    assert arguments.timeout == 600 + 2 * 3720


def test_the_job_that_waits_is_restricted_and_runs_once() -> None:
    """It has the security context of the pods, and no volume."""
    made = deploy(Versioned, **WAIT)
    job = read(made, "deploy/k8s/fleet-wait.yaml")
    spec = job["spec"]["template"]["spec"]
    assert spec["restartPolicy"] == "Never"
    assert job["spec"]["backoffLimit"] == 0
    assert "volumes" not in spec
    assert spec["automountServiceAccountToken"] is False
    (waiter,) = spec["containers"]
    assert waiter["securityContext"] == container(made)["securityContext"]
    assert waiter["image"] == container(made)["image"]
    # No Service and no policy of the application selects its pod.
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels == {"app.kubernetes.io/name": "shop-fleet-wait"}


def test_the_job_is_rendered_only_with_fleet_wait() -> None:
    """Kustomize does not create it, because it applies all other files repeatedly."""
    assert "deploy/k8s/fleet-wait.yaml" not in render(deploy(), ["kubernetes"])
    made = deploy(Versioned, **WAIT)
    assert "deploy/k8s/fleet-wait.yaml" in render(made, ["kubernetes"])
    resources = read(made, "deploy/k8s/kustomization.yaml")["resources"]
    assert "fleet-wait.yaml" not in resources


def test_every_file_is_one_document_of_yaml() -> None:
    """Each file begins with the command that has rendered it."""
    made = deploy()
    for name in ("secret", "deployment", "service", "networkpolicy", "kustomization"):
        text = text_of(made, f"deploy/k8s/{name}.yaml")
        assert len(list(yaml.safe_load_all(text))) == 1
        assert re.match(r"# .*\bShopSecrets\b", text)
        assert "hive-boot manifests shop.app:boot --target kubernetes --write" in text


def test_a_start_with_the_placeholders_of_the_secret_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report names each secret whose value was not replaced."""
    held = yaml.safe_load((ROOT / "deploy/k8s/secret.yaml").read_text("utf-8"))["stringData"]
    volume = MountedVolume(tmp_path / "volume")
    volume.publish(held)
    monkeypatch.setenv("HIVE_BOOT_MODE", "kubernetes")
    monkeypatch.setenv("HIVE_BOOT_SECRETS_DIR", str(volume.path))
    assert main(["check", "examples.hive.app:boot", "--json"]) == 78
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert {(each["name"], each["kind"]) for each in problems} == {
        (name.upper(), "placeholder") for name in held
    }
