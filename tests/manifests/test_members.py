"""Secrets that are members of one JSON file, and files that no variable can name."""

from hive_boot import Secret, SecretSet, secret
from tests.manifests.deployments import deployment as deploy
from tests.manifests.deployments import read, text_of


class Database(SecretSet):
    """Members of one file, and a file for one secret."""

    reader: Secret | None = secret(file="rds.json#reader", used_by="reports")
    password: Secret = secret(file="rds.json#password", used_by="orders", previous="OLD_PASSWORD")
    nested: Secret | None = secret(file="tls/all.json#key", file_variable=True)
    token: Secret = secret()


def test_a_file_with_several_members_is_listed_once() -> None:
    """It is required if any of its members is, and the comments describe each of them."""
    made = deploy(Database)
    for path in ("deploy/docker-compose.yml", "docker-compose.yml"):
        compose = read(made, path)
        assert list(compose["secrets"]) == ["rds.json", "token"]
        assert compose["services"]["shop"]["secrets"] == ["rds.json", "token"]
    manifest = text_of(made, "deploy/k8s/secret.yaml")
    assert list(read(made, "deploy/k8s/secret.yaml")["stringData"]) == ["rds.json", "token"]
    unit = text_of(made, "deploy/systemd/shop.service")
    assert unit.count("LoadCredential=rds.json:/etc/credstore/shop/rds.json\n") == 1
    for text in (manifest, unit):
        assert "# used by reports\n" in text
        assert "# used by orders\n" in text
    items = read(made, "deploy/k8s/deployment.yaml")["spec"]["template"]["spec"]["volumes"][0]
    assert items["secret"]["items"] == [
        {"key": "rds.json", "path": "rds.json"},
        {"key": "token", "path": "token"},
    ]
    assert made.create_secret[-2:] == [
        "--from-file=rds.json=secrets/rds.json",
        "--from-file=token=secrets/token",
    ]


def test_a_document_names_each_member() -> None:
    """``.env.example`` has no files, so it has all of the secrets."""
    table = text_of(deploy(Database), "SECRETS.md")
    assert r"| `PASSWORD` | rds.json\#password | yes |" in table
    lines = text_of(deploy(Database), ".env.example").splitlines()
    assert [line for line in lines if line.endswith("=")] == [
        *("PASSWORD=", "TOKEN=", "# READER=", "# OLD_PASSWORD=", "# NESTED="),
    ]


def test_no_unit_has_a_variable_that_a_start_ignores() -> None:
    """Neither for a member, nor with ``file_variable=False``; a comment states the reason."""

    class Ignored(SecretSet):
        one: Secret = secret(file="tls/one.pem", file_variable=False)
        two: Secret = secret(file="tls/two.json#key")
        three: Secret | None = secret(file="a b", file_variable=False)
        four: Secret = secret(file="tls/four.pem")
        five: Secret = secret(file="five.pem", file_variable=False)

    unit = text_of(deploy(Ignored), "deploy/systemd/shop.service")
    assert [line for line in unit.splitlines() if "_FILE=" in line] == [
        "Environment=FOUR_FILE=%d/tls-four.pem"
    ]
    for key in ("tls-one.pem", "tls-two.json", "a-b"):
        assert f"declare file={key}." in unit
    assert "declare file=five.pem" not in unit
