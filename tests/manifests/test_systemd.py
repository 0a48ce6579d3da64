"""The unit, line by line."""

import re

from hive_boot import Bootstrap, Secret, SecretSet, secret
from hive_boot.manifests import Deployment
from tests.manifests.deployments import Renamed, ShopSecrets, text_of
from tests.manifests.deployments import deployment as deploy


def settings(made: Deployment) -> dict[str, list[str]]:
    """Return what the unit says, by name."""
    found: dict[str, list[str]] = {}
    for line in text_of(made, "deploy/systemd/shop.service").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_each_required_secret_is_a_credential() -> None:
    """Those of production are loaded, and each of the others waits behind a ``#``."""
    store = "/etc/credstore/shop"
    assert settings(deploy())["LoadCredential"] == [
        f"{name}:{store}/{name}" for name in ("api_key", "signing_key", "jwt_secret")
    ]
    text = text_of(deploy(), "deploy/systemd/shop.service")
    assert f"\n# LoadCredential=sentry_dsn:{store}/sentry_dsn\n" in text
    assert settings(deploy())["Environment"][0] == "HIVE_BOOT_MODE=systemd"


def test_a_credential_of_another_name_is_pointed_to() -> None:
    """A file below a directory can be no credential, so a variable says where it is.

    In the store it lies where ``hive-boot rotate`` and ``migrate`` write it.
    """
    found = settings(deploy(Renamed))
    assert found["LoadCredential"][0] == (
        "tls-certificate.pem:/etc/credstore/shop/tls/certificate.pem"
    )
    assert "CERTIFICATE_FILE=%d/tls-certificate.pem" in found["Environment"]
    text = text_of(deploy(Renamed), "deploy/systemd/shop.service")
    assert "\n# LoadCredential=hidden-file:/etc/credstore/shop/..hidden file\n" in text
    assert "\n# Environment=HIDDEN_FILE=%d/hidden-file\n" in text


def test_what_a_line_cannot_say_is_not_said() -> None:
    """A name with a line end in it, for one: then the file is called as the credential is."""
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


def test_it_is_run_as_it_should_be() -> None:
    """The system is told when it is ready, and does not start again what cannot start."""
    found = settings(deploy())
    assert found["Type"] == ["notify"]
    assert (found["Restart"], found["RestartPreventExitStatus"]) == (["on-failure"], ["78"])
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert found["ExecStart"] == [
        "/opt/shop/.venv/bin/hive-boot run shop.app:boot --serve shop.app:web"
    ]
    assert found["DynamicUser"] == ["yes"]
    assert found["ProtectSystem"] == ["strict"]


def test_it_has_the_time_that_was_declared() -> None:
    """Neither a start nor a stop is broken off before its own bound."""
    slow = Bootstrap(
        ShopSecrets, wait_for_files=1.5, startup_timeout=60, shutdown_delay=2, shutdown_timeout=0.5
    )
    for boot, start, stop in ((Bootstrap(ShopSecrets), "35", "9"), (slow, "67", "4")):
        found = settings(deploy(boot=boot))
        assert (found["TimeoutStartSec"], found["TimeoutStopSec"]) == ([start], [stop])


def test_what_waits_for_a_database_is_started_again_for_ever() -> None:
    """Five starts that fail at their timeout take longer than the time that limits five."""
    for seconds in (2, 5, 30, 600):
        found = settings(deploy(boot=Bootstrap(ShopSecrets, startup_timeout=seconds)))
        (interval,), (burst,) = found["StartLimitIntervalSec"], found["StartLimitBurst"]
        (pause,) = found["RestartSec"]
        assert int(interval) < (int(burst) - 1) * (seconds + int(pause))


def test_what_it_writes_has_a_place() -> None:
    """A directory of its state is made for it, and another is let in."""
    found = settings(deploy(writable=("/var/lib/shop", "/srv/shop%data", "/var/lib/a/b")))
    assert found["StateDirectory"] == ["shop"]
    assert found["ReadWritePaths"] == ["/srv/shop%%data", "/var/lib/a/b"]


def test_words_and_settings_are_what_was_said() -> None:
    """Neither a specifier nor a variable is put into them."""
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
