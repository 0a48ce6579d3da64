"""Rendered Compose files, parsed."""

from typing import Any

import yaml

from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.manifests import Deployment
from tests.manifests.deployments import Nothing, Optional, Renamed, ShopSecrets, read, text_of
from tests.manifests.deployments import deployment as deploy

DEVELOPMENT, PRODUCTION = "docker-compose.yml", "deploy/docker-compose.yml"


def service(made: Deployment, path: str = PRODUCTION) -> dict[str, Any]:
    """Return the one service of a file."""
    (found,) = read(made, path)["services"].values()
    assert isinstance(found, dict)
    return found


def test_a_container_has_few_permissions() -> None:
    """The user is not root, the file system is read-only, and no privilege can be gained."""
    for path in (DEVELOPMENT, PRODUCTION):
        found = service(deploy(), path)
        assert int(found["user"].partition(":")[0]) >= 10_000
        assert found["read_only"] is True
        assert found["cap_drop"] == ["ALL"]
        assert found["security_opt"] == ["no-new-privileges:true"]
        assert [each.partition(":")[0] for each in found["tmpfs"]] == ["/tmp"]  # noqa: S108  (in a container)
        assert found["environment"]["HIVE_BOOT_MODE"] == "docker"
        assert found["ports"] == ["127.0.0.1:8000:8000"]
        assert found["init"] is True
        assert ("mem_limit" in found) is (path == PRODUCTION)


def test_the_memory_limit_has_a_unit_of_compose() -> None:
    """The units of Kubernetes are converted."""
    for quantity, limit in (("512Mi", "512m"), ("2Gi", "2g"), ("900Ki", "900k")):
        assert service(deploy(memory=("1Ki", quantity)))["mem_limit"] == limit


def test_each_file_has_the_secrets_that_its_profile_requires() -> None:
    """Compose rejects a file that does not exist, so optional secrets are commented out."""
    development, production = read(deploy(), DEVELOPMENT), read(deploy(), PRODUCTION)
    assert set(development["secrets"]) == {"api_key", "signing_key"}
    assert set(production["secrets"]) == {"api_key", "signing_key", "jwt_secret"}
    for found in (development, production):
        (one,) = found["services"].values()
        assert set(one["secrets"]) == set(found["secrets"])
        for name, source in found["secrets"].items():
            assert source == {"file": f"./secrets/{name}"}
    assert development["services"]["shop"]["environment"]["HIVE_BOOT_PROFILE"] == "development"
    assert production["services"]["shop"]["environment"]["HIVE_BOOT_PROFILE"] == "production"
    assert development["name"] != production["name"]


def test_an_optional_secret_is_mounted_when_it_is_uncommented() -> None:
    """Two places have to be uncommented."""
    text = text_of(deploy(), PRODUCTION)
    for line in ("      # - sentry_dsn", "  # sentry_dsn:", "  #   file: ./secrets/sentry_dsn"):
        assert f"\n{line}\n" in text
        text = text.replace(f"\n{line}\n", f"\n{line.replace('# ', '', 1)}\n")
    found = yaml.safe_load(text)
    assert "sentry_dsn" in found["services"]["shop"]["secrets"]
    assert found["secrets"]["sentry_dsn"] == {"file": "./secrets/sentry_dsn"}


def test_a_service_without_required_secrets_has_no_secrets_section() -> None:
    """The file has no empty list, with optional secrets or without any."""
    for declared in (Nothing, Optional):
        found = read(deploy(declared), PRODUCTION)
        assert "secrets" not in found
        assert "secrets" not in found["services"]["shop"]
    text = text_of(deploy(Optional), PRODUCTION)
    assert "    # secrets:\n" in text
    assert "\n# secrets:\n  # token:\n" in text


def test_a_file_with_another_name_is_mounted_under_this_name() -> None:
    """The container and the host have the file at the declared path."""
    found = read(deploy(Renamed), PRODUCTION)
    assert found["services"]["shop"]["secrets"] == [
        {"source": "tls-certificate.pem", "target": "/run/secrets/tls/certificate.pem"},
        {"source": "tls-certificate.pem-2", "target": "/run/secrets/tls-certificate.pem"},
    ]
    assert found["secrets"]["tls-certificate.pem"] == {"file": "./secrets/tls/certificate.pem"}


def test_the_stop_grace_period_follows_the_declaration() -> None:
    """It replaces the ten seconds of Docker."""
    consuming = Bootstrap(ShopSecrets, shutdown_delay=3)

    @consuming.service(grace_period=30)
    async def consume() -> None:
        """Take jobs."""

    for boot, grace in (
        (Bootstrap(ShopSecrets), "9s"),
        (Bootstrap(ShopSecrets, shutdown_delay=3.5, shutdown_timeout=20), "25s"),
        (consuming, "39s"),
    ):
        assert service(deploy(boot=boot))["stop_grace_period"] == grace


def test_the_health_check_uses_the_port_of_the_probes() -> None:
    """The start period follows the declared timeouts of a start."""
    boot = Bootstrap(ShopSecrets, probe_port=9000, wait_for_files=60)
    check = service(deploy(boot=boot))["healthcheck"]
    assert check["test"] == ["CMD", "hive-boot", "probe", "--port", "9000"]
    assert check["start_period"] == "90s"
    assert service(deploy())["healthcheck"]["test"][-1] == "8000"
    assert "ports" not in service(deploy(boot=boot, port=None))


def test_writable_directories_are_volumes() -> None:
    """Their content is retained when the container is replaced."""
    found = read(deploy(writable=("/var/lib/shop", "/var/cache/shop")), PRODUCTION)
    mounts = found["services"]["shop"]["volumes"]
    assert [each["target"] for each in mounts] == ["/var/lib/shop", "/var/cache/shop"]
    assert [each["source"] for each in mounts] == list(found["volumes"])


def test_settings_are_escaped() -> None:
    """Compose expands no variable of the host in a value."""
    env = {"A": "${HOME} $x", "B": "no", "C": "1e3", "D": 'it\'s: "so"', "E": ""}
    found = service(deploy(env=env))["environment"]
    assert {name: found[name].replace("$$", "$") for name in env} == env
    assert "$" not in found["A"].replace("$$", "")


def test_a_secret_whose_name_begins_with_x_is_not_an_extension() -> None:
    """Compose ignores keys that begin with `x-`, so such a secret gets another key."""

    class Headers(SecretSet):
        one: Secret = secret(file="x-api-key")
        two: Secret = secret(file="_x-api-key")

    found = read(deploy(Headers), PRODUCTION)
    assert found["secrets"] == {
        "__x-api-key": {"file": "./secrets/x-api-key"},
        "_x-api-key": {"file": "./secrets/_x-api-key"},
    }
    assert service(deploy(Headers))["secrets"] == [
        {"source": "__x-api-key", "target": "/run/secrets/x-api-key"},
        "_x-api-key",
    ]
