"""Secrets in environment variables although files are read."""

from pathlib import Path

from hive_boot.cli.doctor_checks.configuration import container_env_copies, used_env_fallback
from tests.cli.doctor_checks.contexts import context_of, kinds, mounted, write


def test_a_copy_in_the_environment_of_pid_1_is_reported(machine: Path) -> None:
    """Only in a container, only where files are read, and not what the load has reported."""
    marker = write(machine / ".dockerenv")
    write(machine / "secrets/api_key")
    write(machine / "proc/1/environ", "PATH=/bin\0API_KEY=fake-value\0SENTRY_DSN=\0")

    (finding,) = container_env_copies(mounted(machine))

    assert kinds([finding]) == [("warning", "environment-copy")]
    assert (finding.names, finding.locations) == (("API_KEY",), ("/proc/1/environ",))
    assert "fake-value" not in str(finding)
    assert not list(container_env_copies(mounted(machine, environ={"API_KEY": "fake"})))
    assert not list(container_env_copies(context_of(machine, mode="environment")))
    marker.unlink()
    assert not list(container_env_copies(mounted(machine)))


def test_a_used_fallback_is_a_warning(machine: Path) -> None:
    """The secrets that need it are named."""
    write(machine / "secrets/sentry_dsn")
    environ = {"API_KEY": "fake", "HIVE_BOOT_ENV_FALLBACK": "1"}

    (finding,) = used_env_fallback(mounted(machine, environ=environ))

    assert kinds([finding]) == [("warning", "env-fallback")]
    assert finding.names == ("API_KEY",)


def test_an_unused_fallback_is_a_note(machine: Path) -> None:
    """It can be removed; without it there is no finding."""
    write(machine / "secrets/api_key")

    (finding,) = used_env_fallback(mounted(machine, env_fallback=True))

    assert (finding.severity, finding.names, finding.locations) == ("note", (), ())
    assert not list(used_env_fallback(mounted(machine)))
