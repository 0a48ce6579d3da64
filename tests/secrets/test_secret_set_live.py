"""The set that an application holds: typed, immutable, closed."""

import copy
import pickle
import pprint
from pathlib import Path

import pytest

from hive_boot import Secret, SecretBytes, SecretSet, secret
from hive_boot.secrets.store import Store
from tests.fixtures.cases import case
from tests.support import look

TEXT = "fake-api-key-0123456789"


class Keys(SecretSet):
    """Three kinds of fields."""

    api_key: Secret = secret(used_by="tests")
    keystore: SecretBytes | None
    dsn: Secret | None


def make() -> Keys:
    """Make a set as a test of an application would."""
    return Keys(api_key=Secret("API_KEY", TEXT), keystore=SecretBytes("KEYSTORE", b"k"), dsn=None)


def test_a_set_is_made_of_keywords() -> None:
    """A test passes every field, and reads it back."""
    keys = make()

    assert keys.api_key.reveal() == TEXT
    assert keys.keystore is not None
    assert keys.keystore.reveal() == b"k"
    assert keys.dsn is None


def test_fields_that_are_not_given_are_named() -> None:
    """The error names the fields that are missing; optional ones count too."""
    with pytest.raises(TypeError, match=r"dsn, keystore"):
        Keys(api_key=Secret("API_KEY", TEXT))  # type: ignore[call-arg]


def test_fields_that_are_not_declared_are_named() -> None:
    """A misspelled field is named, and nothing of its value."""
    with pytest.raises(TypeError, match="api_kay, token") as caught:
        Keys(  # type: ignore[call-arg]
            api_key=Secret("API_KEY", TEXT), keystore=None, dsn=None, token=TEXT, api_kay=TEXT
        )
    assert TEXT not in str(caught.value)


def test_a_value_of_another_type_is_named_by_its_type() -> None:
    """A plain text where a Secret belongs is refused, and not shown."""
    right: dict[str, object] = {"api_key": Secret("API_KEY", TEXT), "keystore": None, "dsn": None}
    cases: list[tuple[str, object, str]] = [
        ("api_key", TEXT, "str"),
        ("api_key", None, "NoneType"),
        ("api_key", SecretBytes("API_KEY", b"fake"), "SecretBytes"),
        ("dsn", TEXT, "str"),
        ("dsn", "", "str"),
        ("keystore", Secret("KEYSTORE", TEXT), "Secret"),
    ]
    for attribute, wrong, kind in cases:
        with case(attribute, wrong):
            with pytest.raises(TypeError) as caught:
                Keys(**right | {attribute: wrong})  # type: ignore[arg-type]

            assert f"Keys.{attribute} " in str(caught.value)
            assert f" {kind}:" in str(caught.value)
            assert TEXT not in str(caught.value)


def test_no_field_can_be_assigned_or_deleted() -> None:
    """Nobody can put another value into a set, or take one out of it."""
    keys = make()

    with pytest.raises(AttributeError, match=r"Keys\.api_key "):
        keys.api_key = Secret("API_KEY", "fake")  # type: ignore[misc]
    with pytest.raises(AttributeError, match=r"Keys\.other "):
        keys.other = 5
    with pytest.raises(AttributeError, match=r"Keys\.api_key "):
        del keys.api_key
    with pytest.raises(AttributeError):
        keys.current = keys  # type: ignore[misc]

    assert keys.api_key.reveal() == TEXT


def test_a_set_shows_names_only() -> None:
    """A printed set shows which fields are present, and no value."""
    keys = make()
    shown = (
        "Keys(api_key=Secret('API_KEY', '***'), keystore=SecretBytes('KEYSTORE', '***'), dsn=None)"
    )

    assert repr(keys) == shown
    assert str(keys) == shown
    assert f"{keys}" == shown
    assert TEXT not in pprint.pformat(vars(keys))


def test_a_copy_is_itself() -> None:
    """Copying a structure that holds the set makes no second one."""
    keys = make()

    assert copy.copy(keys) is keys
    assert copy.deepcopy([keys])[0] is keys


def test_a_set_cannot_be_pickled() -> None:
    """A set is not sent to another process or written to a cache."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with (
            case(protocol),
            pytest.raises(TypeError, match="Keys "),
        ):
            pickle.dumps(make(), protocol)


def test_an_unknown_attribute_is_missing() -> None:
    """A misspelled field is an AttributeError, not None."""
    with pytest.raises(AttributeError, match="api_kee"):
        make().api_kee  # type: ignore[attr-defined]  # noqa: B018  (reading it is what fails)


def test_current_of_a_made_set_is_itself() -> None:
    """A set that a test made has one generation only."""
    keys = make()

    assert keys.current is keys


def test_current_pins_one_generation(tmp_path: Path) -> None:
    """The live set shows the new values, a pinned one goes on showing the old ones."""
    file = tmp_path / "api_key"
    store = Store(Keys)
    live = store.view
    file.write_text("fake-first")
    store.accept(look(Keys, tmp_path, secrets_dirs=tmp_path))
    pinned = live.current
    file.write_text("fake-second")
    store.accept(look(Keys, tmp_path, secrets_dirs=tmp_path))

    assert live is store.view
    assert live.api_key.reveal() == "fake-second"
    assert pinned.api_key.reveal() == "fake-first"
    assert pinned.current is pinned
    assert isinstance(pinned, Keys)
    assert live.current is not pinned
    assert live.current.api_key.reveal() == "fake-second"
    assert repr(live) == repr(pinned)
    assert "_generation" not in repr(live)


def test_an_async_check_is_part_of_a_declaration() -> None:
    """The check of the whole set is a method, no field, and it is inherited."""

    class Pair(SecretSet):
        certificate: Secret
        key: Secret

        async def check(self) -> None:
            """Accept all."""

    class More(Pair):
        other: Secret | None

    assert list(More._field_index.fields) == ["certificate", "key", "other"]


def test_class_keywords_reach_the_other_bases() -> None:
    """A declaration can be combined with a base that takes keywords."""

    class Named:
        label = ""

        def __init_subclass__(cls, *, label: str = "", **kwargs: object) -> None:
            super().__init_subclass__(**kwargs)
            cls.label = label

    class Labelled(SecretSet, Named, label="keys"):
        token: Secret

    assert Labelled.label == "keys"
    assert Labelled(token=Secret("TOKEN", "fake")).token.matches("fake")
