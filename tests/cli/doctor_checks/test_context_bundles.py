"""The doctor on bundles, members of JSON files and subdirectories."""

from pathlib import Path

from hive_boot import Secret, SecretSet, secret
from hive_boot.cli.doctor_checks.configuration import load_warnings, near_names
from hive_boot.cli.doctor_checks.files import readable_by_others
from tests.cli.doctor_checks.contexts import context_of, kinds, mounted, write


class Needs(SecretSet):
    """Secrets with a file of their own, and a member of a JSON file."""

    api_key: Secret
    tls_key: Secret | None = secret(file="tls/key.pem")
    password: Secret | None = secret("DB_PASSWORD", file="rds.json#password")
    sentry_dsn: Secret | None


def test_the_file_of_a_bundle_is_a_secret_file(machine: Path) -> None:
    """Also if its members conflict, and if a member has only the name of its secret."""
    for text in (
        "API_KEY=fake-1\nTLS_KEY=fake-2\n",
        "API_KEY=fake-1\nTLS_KEY=fake-2\nTLS_KEY=fake-3\n",
        "API_KEY=fake-1\napi_key=fake-2\n",
    ):
        bundle = write(machine / "bundle", text, 0o644)
        context = context_of(machine, declared=Needs, secrets_dirs=bundle, mode="docker")
        assert list(context.secret_files) == [bundle]
        assert kinds(readable_by_others(context)) == [("warning", "readable-file")]
        assert "fake" not in str(list(readable_by_others(context)))


def test_the_file_of_a_member_is_a_secret_file(machine: Path) -> None:
    """The JSON file beside other secrets, and a file in a subdirectory."""
    rds = write(machine / "secrets/rds.json", '{"password": "fake-password"}')
    key = write(machine / "secrets/app/api_key")
    files = mounted(machine, declared=Needs).secret_files
    assert files.keys() == {rds, key}


def test_a_similar_name_in_a_bundle_is_reported(machine: Path) -> None:
    """Only for an optional secret, with the name that the bundle needs."""
    bundle = write(machine / "bundle", "API_KEY=fake-1\nSENTRY_DNS=fake-2\nset -a\n")
    context = context_of(machine, declared=Needs, secrets_dirs=bundle, mode="docker")
    (finding,) = near_names(context)
    assert (finding.names, finding.locations) == (("SENTRY_DSN",), (f"{bundle}#SENTRY_DNS",))
    (warning,) = load_warnings(context)
    assert (warning.kind, warning.locations) == ("dotenv-line", (f"{bundle}:3",))
