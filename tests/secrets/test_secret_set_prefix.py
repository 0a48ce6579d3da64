"""The prefix of a declaration, and optional fields with ``= None``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hive_boot import DeclarationError, Secret, SecretBytes, SecretSet, secret
from tests.fixtures.cases import case, empty_machines
from tests.support import look, values_of

if TYPE_CHECKING:
    from pathlib import Path

ONE = "fake-one-0123456789-0123456789"


class Orders(SecretSet, prefix="ORDERS_"):
    """Some names are derived, and some are not."""

    db_password: Secret
    api_key: Secret | None = secret("STRIPE_KEY", aliases=("OLD_KEY",))
    tls_key: Secret | None = secret(file="tls/key.pem", previous="TLS_BEFORE")


def names_of(declared: type[SecretSet]) -> dict[str, str]:
    """Return the name of each field, and of each ``previous=``, by attribute."""
    fields = declared._field_index.all_fields
    return {field.attribute: field.name for field in fields}


def test_a_prefix_precedes_derived_names_only(tmp_path: Path) -> None:
    """The variable, its ``_FILE`` and the file get it; arguments of ``secret()`` do not."""
    assert names_of(Orders) == {
        "db_password": "ORDERS_DB_PASSWORD",
        "api_key": "STRIPE_KEY",
        "tls_key": "ORDERS_TLS_KEY",
        "tls_key.previous": "TLS_BEFORE",
    }
    machines = empty_machines(tmp_path)
    for name in ("ORDERS_DB_PASSWORD", "orders_db_password", "orders-db-password.txt"):
        with case(name):
            root = next(machines)
            (root / "named/tls").mkdir(parents=True)
            (root / "named" / name).write_text(ONE)
            (root / "named/db_password").write_text("fake-unprefixed")
            (root / "named/tls/key.pem").write_text(ONE)
            loaded = look(Orders, root, {"HIVE_BOOT_SECRETS_DIR": f"{root}/named"})
            assert values_of(loaded) == {"db_password": ONE, "tls_key": ONE}
    root = next(machines)
    (root / "key").write_text(ONE)
    environ = {"ORDERS_DB_PASSWORD_FILE": f"{root}/key", "OLD_KEY": ONE, "DB_PASSWORD": "fake"}
    assert values_of(look(Orders, root, environ)) == {"db_password": ONE, "api_key": ONE}


def test_a_prefix_belongs_to_the_fields_of_its_own_class_statement() -> None:
    """Inherited fields keep their names, and a subclass does not inherit the prefix."""

    class More(Orders):
        token: Secret

    class Billing(Orders, prefix="BILLING_"):
        token: Secret

    class Redeclared(Orders, prefix="NEW_"):
        db_password: Secret = secret(min_length=3)

    class Both(More, Billing): ...

    inherited = names_of(Orders)
    assert names_of(More) == {**inherited, "token": "TOKEN"}
    assert names_of(Billing) == {**inherited, "token": "BILLING_TOKEN"}
    assert names_of(Redeclared)["db_password"] == "NEW_DB_PASSWORD"
    assert names_of(Both)["token"] == "TOKEN"


def test_an_invalid_prefix_is_refused() -> None:
    """The names that begin with it would be invalid."""
    invalid: list[Any] = ["1_", "MY ", "_é", "A/", 3, None, b"A_", ("A_",)]
    for prefix in invalid:
        with case(prefix), pytest.raises(DeclarationError, match="invalid prefix="):

            class Keys(SecretSet, prefix=prefix):
                token: Secret

    class Lower(SecretSet, prefix="app."):
        token: Secret

    class Empty(SecretSet, prefix=""):
        token: Secret

    assert (names_of(Lower), names_of(Empty)) == ({"token": "app.TOKEN"}, {"token": "TOKEN"})


def test_an_optional_field_may_be_none_in_the_code(tmp_path: Path) -> None:
    """``= None`` means the same as ``| None``, and is not an attribute of the class."""

    class Keys(SecretSet, prefix="APP_"):
        token: Secret | None = None
        keystore: SecretBytes | None = None
        needed: Secret

    assert names_of(Keys) == {
        "token": "APP_TOKEN",
        "keystore": "APP_KEYSTORE",
        "needed": "APP_NEEDED",
    }
    assert not hasattr(Keys, "token")
    root = next(empty_machines(tmp_path))
    loaded = look(Keys, root, {"APP_NEEDED": ONE})
    assert (values_of(loaded), loaded.problems) == ({"needed": ONE}, ())
    assert Keys(needed=Secret("APP_NEEDED", ONE)).token is None
    with pytest.raises(TypeError, match=r"missing: needed$"):
        Keys(token=None)  # type: ignore[call-arg]


def test_a_required_field_cannot_be_none_in_the_code() -> None:
    """The message shows how the field becomes optional, and other values are refused as before."""
    with pytest.raises(DeclarationError, match=r"token: SecretBytes \| None"):

        class Keys(SecretSet):
            token: SecretBytes = None  # type: ignore[assignment]

    for value in ("fake", Secret("TOKEN", "fake"), 0, False):
        with case(value), pytest.raises(DeclarationError, match="must not have a value"):

            class Others(SecretSet):
                token: Secret | None = value  # type: ignore[assignment]
