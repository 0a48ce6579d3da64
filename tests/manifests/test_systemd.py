"""Rendered systemd unit."""

import re

from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.manifests import Deployment
from tests.manifests.deployments import Renamed, ShopSecrets, text_of
from tests.manifests.deployments import deployment as deploy


def settings(made: Deployment) -> dict[str, list[str]]:
    """Return the values of each setting of the unit, by name."""
    found: dict[str, list[str]] = {}
    for line in text_of(made, "deploy/systemd/shop.service").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_each_required_secret_is_a_credential() -> None:
    """The secrets of production are loaded, and the optional ones are commented out."""
    store = "/etc/credstore/shop"
    assert settings(deploy())["LoadCredential"] == [
        f"{name}:{store}/{name}" for name in ("api_key", "signing_key", "jwt_secret")
    ]
    text = text_of(deploy(), "deploy/systemd/shop.service")
    assert f"\n# LoadCredential=sentry_dsn:{store}/sentry_dsn\n" in text
    assert settings(deploy())["Environment"][0] == "HIVE_BOOT_MODE=systemd"


def test_a_variable_has_the_path_of_a_credential_with_another_name() -> None:
    """A credential cannot be in a subdirectory, so a variable contains its path.

    In the store the file has the path to which ``hive-boot rotate`` and ``migrate`` write.
    """
    found = settings(deploy(Renamed))
    assert found["LoadCredential"][0] == (
        "tls-certificate.pem:/etc/credstore/shop/tls/certificate.pem"
    )
    assert "CERTIFICATE_FILE=%d/tls-certificate.pem" in found["Environment"]
    text = text_of(deploy(Renamed), "deploy/systemd/shop.service")
    assert "\n# LoadCredential=hidden-file:/etc/credstore/shop/..hidden file\n" in text
    assert "\n# Environment=HIDDEN_FILE=%d/hidden-file\n" in text


def test_a_file_name_that_a_unit_cannot_contain_is_replaced() -> None:
    """With a line end in the name, for example, the file has the name of the credential."""
    for file, path in (
        ("a b%/c.key", "a b%%/c.key"),
        ("a\nb", "a-b"),
        ("a\\", "a-"),
        ("b ", "b-"),
    ):

        class Odd(SecretSet):
            one: Secret = secret(file=file)

        key = re.sub("[^a-z.]+", "-", file)
        assert settings(deploy(Odd))["LoadCredential"] == [f"{key}:/etc/credstore/shop/{path}"]


def test_the_unit_has_the_type_and_the_restart_policy_of_hive_boot() -> None:
    """The service manager waits for READY, and does not restart a service with invalid secrets."""
    found = settings(deploy())
    assert found["Type"] == ["notify"]
    assert (found["Restart"], found["RestartPreventExitStatus"]) == (["on-failure"], ["78"])
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert found["ExecStart"] == [
        "/opt/shop/.venv/bin/hive-boot run shop.app:boot --serve shop.app:web"
    ]
    assert found["DynamicUser"] == ["yes"]
    assert found["ProtectSystem"] == ["strict"]


def test_the_timeouts_of_the_unit_follow_the_declaration() -> None:
    """The service manager does not end a start or a stop before the timeout of hive_boot."""
    slow = Bootstrap(
        ShopSecrets, wait_for_files=1.5, startup_timeout=60, shutdown_delay=2, shutdown_timeout=0.5
    )
    for boot, start, stop in ((Bootstrap(ShopSecrets), "35", "9"), (slow, "67", "4")):
        found = settings(deploy(boot=boot))
        assert (found["TimeoutStartSec"], found["TimeoutStopSec"]) == ([start], [stop])


def test_starts_that_fail_at_their_timeout_are_restarted_forever() -> None:
    """Such starts take longer than the interval of the start limit."""
    for seconds in (2, 5, 30, 600):
        found = settings(deploy(boot=Bootstrap(ShopSecrets, startup_timeout=seconds)))
        (interval,), (burst,) = found["StartLimitIntervalSec"], found["StartLimitBurst"]
        (pause,) = found["RestartSec"]
        assert int(interval) < (int(burst) - 1) * (seconds + int(pause))


def test_writable_directories_are_state_directories_or_write_paths() -> None:
    """A directory in `/var/lib` is created, and others become writable."""
    found = settings(deploy(writable=("/var/lib/shop", "/srv/shop%data", "/var/lib/a/b")))
    assert found["StateDirectory"] == ["shop"]
    assert found["ReadWritePaths"] == ["/srv/shop%%data", "/var/lib/a/b"]


def test_words_and_settings_are_escaped() -> None:
    """No specifier and no variable is expanded in them."""
    made = deploy(
        command=("/usr/bin/env", "a b", "100%", "$HOME", 'say "so"'),
        env={"A": "50% $x", "B": 'a "b" \\ c', "C": ""},
    )
    found = settings(made)
    assert found["ExecStart"] == [
        '/usr/bin/env "a b" 100%% $$HOME "say \\"so\\""',
    ]
    assert found["Environment"][3:] == [
        '"A=50%% $x"',
        '"B=a \\"b\\" \\\\ c"',
        "C=",
    ]
