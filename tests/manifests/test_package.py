"""What a deployment is called, and what it needs."""

from hive_boot import Secret, SecretSet, secret
from hive_boot.manifests import items_of, name_of
from tests.manifests.deployments import Nothing, ShopSecrets, text_of
from tests.manifests.deployments import deployment as deploy


def test_an_application_is_called_as_its_class() -> None:
    """A name is one that Kubernetes, Compose and systemd take."""
    for declared, module, name in (
        ("HiveSecrets", "hive.app", "hive"),
        ("OrderServiceSecrets", "shop", "order-service"),
        ("SHOP_SECRETS", "shop", "shop"),
        ("BillingSecret", "shop", "billing"),
        ("Secrets", "shop.app", "shop"),
        ("SecretSet", "my_shop.app", "my-shop"),
        ("Inventory", "__main__", "app"),
        ("Größe", "x", "gr-e"),
        ("_9", "__main__", "app"),
        ("A" * 80, "x", "a" * 50),
    ):
        assert name_of(type(declared, (SecretSet,), {"__module__": module})) == name


def test_no_two_secrets_share_a_key() -> None:
    """Also not where letters differ in their case alone."""

    class Near(SecretSet):
        """Files that look alike."""

        one: Secret = secret(file="a/b")
        two: Secret = secret(file="a b")
        three: Secret = secret(file="A-B")
        four: Secret = secret(file="..c")
        five: Secret = secret(file="...")
        six: Secret = secret(file="x" * 255)

    keys = [item.key for item in items_of(Near._field_index.all_fields)]
    assert keys == ["a-b", "a-b-2", "A-B-3", "c", "secret", "x" * 200]


def test_what_a_profile_needs() -> None:
    """A default of the declaration is enough for development alone."""
    made = deploy(ShopSecrets)
    assert [item.name for item in made.required("production")] == [
        "API_KEY",
        "SIGNING_KEY",
        "JWT_SECRET",
    ]
    assert [item.name for item in made.optional("development")] == [
        "JWT_SECRET",
        "JWT_BEFORE",
        "SENTRY_DSN",
    ]
    assert deploy(Nothing).required("production") == []


def test_an_optional_secret_that_is_used_is_where_the_required_ones_are() -> None:
    """It is asked for by name; a render without the name leaves it out again."""
    for path in (
        "deploy/docker-compose.yml",
        "docker-compose.yml",
        "deploy/k8s/secret.yaml",
        "deploy/systemd/shop.service",
        ".env.example",
    ):
        for used, there in ((frozenset(), False), (frozenset({"SENTRY_DSN"}), True)):
            text = text_of(deploy(used=used), path)
            lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
            assert any("sentry_dsn" in line.lower() for line in lines) is there
