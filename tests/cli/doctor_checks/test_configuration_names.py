"""Near names, and stray characters around values."""

from pathlib import Path

from hive_boot import Secret, SecretSet, secret
from hive_boot.cli.doctor_checks.configuration import near_names, ordinary_words, stray_characters
from hive_boot.testing import MountedVolume
from tests.cli.doctor_checks.contexts import context_of, kinds, mounted, write


def test_a_file_whose_name_is_nearly_right_is_reported(machine: Path) -> None:
    """Only for an optional secret: for a required one the load reports it."""
    write(machine / "secrets/api_keys")
    near = write(machine / "secrets/sentry_dns")
    write(machine / "secrets/fake-0123456789")

    (finding,) = near_names(mounted(machine))

    assert kinds([finding]) == [("warning", "near-name")]
    assert (finding.names, finding.locations) == (("SENTRY_DSN",), (str(near),))
    assert "sentry_dsn" in finding.fix


def test_a_variable_whose_name_is_nearly_right_is_reported(machine: Path) -> None:
    """In the environment or in ``.env``, where a mode reads variables."""
    write(machine / "cwd/.env", "API_KEY=fake-value\nSENTRY_DNS=fake-value\n")

    (finding,) = near_names(context_of(machine))

    assert finding.names == ("SENTRY_DSN",)
    assert finding.locations == ("environment variable SENTRY_DNS",)
    assert "SENTRY_DSN" in finding.fix


def test_names_of_the_platform_are_not_near_names(machine: Path) -> None:
    """Links of a volume, and a volume in ``/run/secrets`` called nearly like a secret."""
    volume = MountedVolume(machine / "run/secrets/sentry_dns")
    volume.publish({"api_key": "fake-value"})

    assert not list(near_names(context_of(machine, mode="kubernetes")))


def test_stray_characters_are_reported(machine: Path) -> None:
    """With the name and the location, and without the value."""
    values = {
        " fake-value-1": "space-around",
        "fake-value-1\n\n": "space-around",
        '"fake-value-1"': "quoted",
        "'fake-value-1'\n": "quoted",
        "fake-1\rfake-2": "carriage-return",
        "/run/secrets/elsewhere": "path",
    }
    for value, kind in values.items():
        file = write(machine / "secrets/api_key", value)

        (finding,) = stray_characters(mounted(machine))

        assert kinds([finding]) == [("warning", kind)], repr(value)
        assert (finding.names, finding.locations) == (("API_KEY",), (str(file),))
        assert value.strip() not in str(finding)


def test_values_without_stray_characters_are_accepted(machine: Path) -> None:
    """White space around PEM and JSON, and a single final line end, are harmless."""
    values = [
        "fake-value-1",
        "fake-value-1\n",
        '"',
        "/etc/passwd",
        "-----BEGIN FAKE-----\r\nAAAA\r\n-----END FAKE-----",
        "-----BEGIN FAKE-----\nAAAA\n-----END FAKE-----\n\n",
        '{"fake": 1,\n "json": 2}',
        '{"fake": "-----BEGIN FAKE-----\\nAAAA"}\n\n',
    ]
    for value in values:
        write(machine / "secrets/api_key", value)
        assert not list(stray_characters(mounted(machine))), repr(value)


def test_bytes_may_contain_any_character(machine: Path) -> None:
    """A binary value is not text."""
    write(machine / "secrets/api_key")
    write(machine / "secrets/keystore", " fake \r\n")

    assert not list(stray_characters(mounted(machine)))


def test_the_variable_of_a_value_is_its_location(machine: Path) -> None:
    """A value from the environment has no file."""
    (finding,) = stray_characters(context_of(machine, {"API_KEY": " fake-value"}))

    assert finding.locations == ("environment variable API_KEY",)


def test_a_development_default_is_not_checked(machine: Path) -> None:
    """The author of the code wrote it."""

    class Defaults(SecretSet):
        """One secret with a default in quotes."""

        one: Secret = secret(dev_default="'fake-default'")

    assert not list(stray_characters(context_of(machine, declared=Defaults)))


def test_values_that_are_ordinary_words_are_reported(machine: Path) -> None:
    """Also a password in a URL, a host and a name; without the value."""
    for value in (
        "postgres",
        "production\n",
        "orders-service",
        "db-1.internal.example",
        "postgresql://app:postgres@db.internal/app",
        '{"password": "production"}',
    ):
        file = write(machine / "secrets/api_key", value)

        (finding,) = ordinary_words(mounted(machine))

        assert kinds([finding]) == [("warning", "ordinary-word")], value
        assert (finding.names, finding.locations) == (("API_KEY",), (str(file),))
        assert "postgres" not in str(finding)


def test_generated_values_are_no_ordinary_words(machine: Path) -> None:
    """Nor are short values, passphrases, and names that stand beside a secret."""
    for value in (
        "fake-value-0123",
        "short",
        "correct-horse-battery-staple",
        "kE9fakeXq2",
        "postgresql://postgres:fake-pass-0123@production.internal/postgres",
        '{"password": "fake-pass-0123", "environment": "production"}',
    ):
        write(machine / "secrets/api_key", value)
        assert not list(ordinary_words(mounted(machine))), value
