"""What a declaration may say, and what is refused when its class is made."""

from __future__ import annotations

import re
import sys
import textwrap
import traceback
import types
from typing import TYPE_CHECKING, Any, ClassVar, Optional, Union

import pytest

import hive_boot
from hive_boot import DeclarationError, Secret, SecretBytes, SecretSet, secret
from hive_boot.secrets.fields import undeclared_field
from tests.fixtures.cases import case, empty_machines
from tests.support import look, run_child, values_of

if TYPE_CHECKING:
    from pathlib import Path

    from hive_boot.secrets.fields import Field


def fields_of(declared: type[SecretSet]) -> dict[str, Field]:
    """Return the fields of a declaration, by attribute."""
    return declared._field_index.fields


def declare(
    body: str,
    *,
    future: bool = False,
    **known: Any,  # noqa: ANN401  (anything may be wrong)
) -> type[SecretSet]:
    """Make the class ``Keys`` of the source of its body, in a module of its own."""
    module = types.ModuleType("somewhere")
    vars(module).update(known, SecretSet=SecretSet, Secret=Secret, SecretBytes=SecretBytes)
    vars(module).update(secret=secret, hive_boot=hive_boot, Optional=Optional, Union=Union)
    flags = annotations.compiler_flag if future else 0
    source = "class Keys(SecretSet):\n" + textwrap.indent(body, "    ")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "somewhere", module)
        code = compile(source, "somewhere.py", "exec", flags=flags, dont_inherit=True)
        exec(code, vars(module))  # noqa: S102  (the source is in this file)
    declared: type[SecretSet] = module.Keys
    return declared


def test_an_annotation_alone_is_a_required_field() -> None:
    """The shortest declaration is a name and a type."""

    class Keys(SecretSet):
        api_key: Secret

    field = fields_of(Keys)["api_key"]

    assert (field.name, field.kind, field.required) == ("API_KEY", Secret, True)
    assert field.candidates == (
        "API_KEY",
        "api_key",
        "api-key",
        "API_KEY.txt",
        "api_key.txt",
        "api-key.txt",
    )
    assert not field.used_by
    assert not field.description
    assert (field.activate_after, field.accept_old_for, field.previous) == (0.0, 0.0, None)


def test_all_arguments_of_a_field_are_kept() -> None:
    """What is written into secret() is what the loading goes by."""

    def judge(value: str) -> bool:
        return value.isascii()

    class Keys(SecretSet):
        jwt: Secret = secret(
            "JWT_SECRET",
            file="auth/jwt",
            used_by="user-auth",
            required_in=("production", "test"),
            dev_default="dev-only-fake",
            min_length=4,
            max_length=64,
            pattern="[a-z-]+",
            check=judge,
            activate_after=120,
            accept_old_for=3600.5,
            previous="JWT_SECRET_PREVIOUS",
            description="signs the sessions",
        )

    field = fields_of(Keys)["jwt"]

    assert field.name == "JWT_SECRET"
    assert field.candidates == ("auth/jwt", "auth/jwt.txt")
    assert field.required_in == {"production", "test"}
    assert (field.min_length, field.max_length) == (4, 64)
    assert (field.activate_after, field.accept_old_for) == (120, 3600.5)
    assert (field.used_by, field.description) == ("user-auth", "signs the sessions")
    assert field.check is judge
    assert field.previous == "JWT_SECRET_PREVIOUS"
    assert field.dev_default == "dev-only-fake"


def test_file_names_are_tried_in_the_promised_order(tmp_path: Path) -> None:
    """The exact name, lower case, kebab case, then each with .txt; each of them is found."""
    names = ["API_KEY", "api_key", "api-key", "API_KEY.txt", "api_key.txt", "api-key.txt"]

    class Keys(SecretSet):
        api_key: Secret

    assert list(fields_of(Keys)["api_key"].candidates) == names
    for number, name in enumerate(names):
        room = tmp_path / str(number)
        room.mkdir()
        (room / name).write_text(f"fake-{name}")
        loaded = look(Keys, tmp_path, secrets_dirs=room)
        assert values_of(loaded) == {"api_key": f"fake-{name}"}


def test_a_name_without_case_or_underscores_is_tried_once() -> None:
    """No file is opened twice because two spellings are the same."""

    class Keys(SecretSet):
        token: Secret = secret("token")

    assert fields_of(Keys)["token"].candidates == ("token", "token.txt")


def test_a_declared_file_is_the_only_one_tried() -> None:
    """`file=` replaces the usual names, and .txt is still tried."""

    class Keys(SecretSet):
        api_key: Secret = secret(file="keys/api.v2")

    assert fields_of(Keys)["api_key"].candidates == ("keys/api.v2", "keys/api.v2.txt")


def test_an_annotation_determines_type_and_requirement() -> None:
    """Secret and SecretBytes are required, `| None` is optional, however it is written."""
    cases: list[tuple[str, type, bool]] = [
        ("Secret", Secret, True),
        ("SecretBytes", SecretBytes, True),
        ("Secret | None", Secret, False),
        ("None | SecretBytes", SecretBytes, False),
        ("Optional[Secret]", Secret, False),
        ("Union[None, SecretBytes]", SecretBytes, False),
        ("hive_boot.Secret", Secret, True),
        ("hive_boot.SecretBytes | None", SecretBytes, False),
    ]
    for annotation, kind, required in cases:
        for future in (False, True):
            for quotes in ("", "'"):
                with case(annotation, kind, required, future, quotes):
                    keys = declare(f"api_key: {quotes}{annotation}{quotes}", future=future)
                    field = fields_of(keys)["api_key"]

                    assert (field.kind, field.required) == (kind, required)


def test_a_class_variable_is_not_a_field() -> None:
    """A constant of the class, annotated as one, is left alone."""
    for future in (False, True):
        with case(future):
            keys = declare(
                "limit: ClassVar[int] = 3\nbare: ClassVar = 4", future=future, ClassVar=ClassVar
            )

            assert fields_of(keys) == {}
            assert vars(keys)["limit"] == 3


def test_a_class_whose_module_is_unknown_is_read_all_the_same() -> None:
    """Annotations that are text name Secret and SecretBytes wherever a class was made."""
    names: dict[str, Any] = {"SecretSet": SecretSet, "__name__": "nowhere"}
    exec("class Keys(SecretSet):\n    a: 'Secret | None'\n    b: 'SecretBytes'", names)  # noqa: S102  (two fields)

    assert [field.kind for field in fields_of(names["Keys"]).values()] == [Secret, SecretBytes]


def test_annotations_of_a_module_with_the_future_import() -> None:
    """This module's annotations are all text; its declarations work like any other."""

    class Keys(SecretSet):
        first: Secret
        second: Secret | None
        third: hive_boot.SecretBytes | None = secret("THIRD_KEY")
        fourth: Optional[Secret]  # noqa: UP045  (this way, too)
        limit: ClassVar[int] = 3

    assert {name: field.required for name, field in fields_of(Keys).items()} == {
        "first": True,
        "second": False,
        "third": False,
        "fourth": False,
    }
    assert Keys.limit == 3


def test_imports_under_type_checking_are_understood() -> None:
    """A module that imports Secret for the type checker only declares all the same."""
    child = run_child(
        "from __future__ import annotations\n"
        "from typing import TYPE_CHECKING\n"
        "from hive_boot import SecretSet, secret\n"
        "if TYPE_CHECKING:\n"
        "    from hive_boot import Secret, SecretBytes\n"
        "class Keys(SecretSet):\n"
        "    a: Secret\n"
        "    b: SecretBytes | None = secret('B_KEY')\n"
        "print([(f.name, f.kind.__name__, f.required) for f in Keys._field_index.all_fields])\n"
    )

    assert child.stderr == ""
    assert child.stdout == "[('A', 'Secret', True), ('B_KEY', 'SecretBytes', False)]\n"


def test_a_name_without_an_annotation_is_not_a_field() -> None:
    """Class variables, constants and methods of a declaration are left alone."""

    class Keys(SecretSet):
        api_key: Secret
        count: ClassVar[int] = 3
        bare: ClassVar = "x"
        limit = 5

        def length(self) -> int:
            return len(self.api_key.reveal())

    keys = Keys(api_key=Secret("API_KEY", "fake"))

    assert list(fields_of(Keys)) == ["api_key"]
    assert (Keys.count, Keys.bare, Keys.limit, keys.length()) == (3, "x", 5, 4)


def test_a_class_without_annotations_of_its_own_is_fine() -> None:
    """A declaration may be empty, and a subclass may add nothing."""

    class Nothing(SecretSet):
        """Needs nothing."""

    class Keys(SecretSet):
        api_key: Secret

    class Same(Keys):
        """Needs what Keys needs."""

    assert fields_of(Nothing) == {}
    assert fields_of(Same) == fields_of(Keys)


def test_a_field_is_not_an_attribute_of_its_class() -> None:
    """The class does not pretend to hold a value."""

    class Keys(SecretSet):
        api_key: Secret = secret(used_by="tests")

    assert not hasattr(Keys, "api_key")


def test_subclassing_adds_fields_and_replaces_them() -> None:
    """A library ships its secrets, and an application adds its own and is stricter."""

    class Library(SecretSet):
        url: Secret
        token: Secret | None = secret(used_by="the library")

    class Application(Library):
        token: Secret = secret(used_by="the application")
        key: Secret

    assert list(fields_of(Application)) == ["url", "token", "key"]
    assert fields_of(Application)["token"].required
    assert fields_of(Application)["token"].used_by == "the application"
    assert not fields_of(Library)["token"].required
    assert list(fields_of(Library)) == ["url", "token"]


def test_mixins_bring_their_fields_together() -> None:
    """Two declarations make one; the first of them wins, as everywhere in Python."""

    class Billing(SecretSet):
        stripe: Secret
        shared: Secret = secret(used_by="billing")

    class Tracing(SecretSet):
        sentry: Secret | None
        shared: Secret = secret(used_by="tracing")

    class Plain:
        version = 3

    class Keys(Billing, Tracing, Plain):
        jwt: Secret

    assert set(fields_of(Keys)) == {"stripe", "sentry", "shared", "jwt"}
    assert fields_of(Keys)["shared"].used_by == "billing"
    assert Keys.version == 3


def test_staging_is_held_to_production() -> None:
    """What production requires staging requires too; the other profiles do not."""
    cases: list[Any] = ["production", "prod", ["production"], {"PROD"}, ("production",)]
    for given in cases:
        with case(given):
            field = fields_of(
                declare("key: Secret | None = secret(required_in=given)", given=given)
            )["key"]

            assert field.required_for("production")
            assert field.required_for("staging")
            assert not field.required_for("test")
            assert not field.required_for("development")


def test_required_in_one_profile_is_optional_in_another() -> None:
    """What the tests need production may do without."""
    field = fields_of(declare("key: Secret | None = secret(required_in=['test', 'dev'])"))["key"]

    assert [
        field.required_for(profile) for profile in ("development", "test", "staging", "production")
    ] == [True, True, False, False]


def test_a_rule_holds_for_the_whole_value(tmp_path: Path) -> None:
    """Length and pattern judge a value from its first character to its last."""
    cases: list[tuple[str, str, str]] = [
        ("min_length=4", "fake", "fak"),
        ("max_length=4", "fake", "fakes"),
        ("pattern='fa[a-z]+'", "fake", "fake1"),
        ("pattern=re.compile('FAKE', re.IGNORECASE)", "fake", "fakes"),
    ]
    machines = empty_machines(tmp_path)
    for rule, good, bad in cases:
        for kind in ("Secret", "SecretBytes"):
            with case(rule, good, bad, kind):
                root = next(machines)
                keys = declare(f"key: {kind} = secret({rule})", re=re)

                (root / "key").write_text(good)
                assert look(keys, root, secrets_dirs=root).problems == ()

                (root / "key").write_text(bad)
                (problem,) = look(keys, root, secrets_dirs=root).problems
                assert problem.kind in {"length", "pattern"}
                assert bad not in problem.message


def test_a_previous_name_is_an_optional_field_behind_the_scenes(tmp_path: Path) -> None:
    """The value before a rotation is read like any other, and is optional."""
    keys = declare("jwt: Secret = secret(previous='JWT_OLD', min_length=4)")
    (tmp_path / "jwt").write_text("fake-new")

    assert list(fields_of(keys)) == ["jwt"]
    assert look(keys, tmp_path, secrets_dirs=tmp_path).problems == ()

    (tmp_path / "jwt-old").write_text("fake-old")
    loaded = look(keys, tmp_path, secrets_dirs=tmp_path)
    assert values_of(loaded) == {"jwt": "fake-new", "jwt.previous": "fake-old"}


REFUSED: dict[str, tuple[str, tuple[str, ...]]] = {
    "one name twice": (
        "first: Secret = secret('TOKEN')\nsecond: Secret = secret('TOKEN')",
        ("Keys.second", "first", "'TOKEN'"),
    ),
    "one name in two cases": ("token: Secret\nToken: Secret", ("Keys.Token", "token", "'TOKEN'")),
    "one file for two": (
        "first: Secret = secret(file='both')\nsecond: Secret = secret(file='both')",
        ("Keys.second", "first", "'both'"),
    ),
    "names that differ in case": (
        "first: Secret = secret('token')\nsecond: Secret = secret('TOKEN')",
        ("Keys.second", "first", "'token'"),
    ),
    "a name and a pointer": (
        "first: Secret = secret('TOKEN')\nsecond: Secret = secret('TOKEN_FILE')",
        ("Keys.second", "first", "'TOKEN_FILE'"),
    ),
    "a previous that is a field": (
        "first: Secret = secret(previous='SECOND')\nsecond: Secret",
        ("Keys.second", "first.previous", "'SECOND'"),
    ),
    "a previous that is itself": (
        "first: Secret = secret(previous='FIRST')",
        ("Keys.first.previous", "'FIRST'"),
    ),
    "an unknown profile": (
        "a: Secret | None = secret(required_in='prodction')",
        ("Keys.a", "'prodction'"),
    ),
    "an unknown profile among others": (
        "a: Secret | None = secret(required_in=['test', 'live'])",
        ("Keys.a", "'live'"),
    ),
    "a profile that is no text": (
        "a: Secret | None = secret(required_in=[True])",
        ("Keys.a", "True"),
    ),
    "profiles that are none": ("a: Secret | None = secret(required_in=5)", ("Keys.a", "5")),
    "the name current": ("current: Secret", ("Keys.current", "name=")),
    "the name check": ("check: Secret = secret()", ("Keys.check", "name=")),
    "a leading underscore": ("_token: Secret", ("Keys._token", "name=")),
    "a value in the code": ("token: Secret = 'fake-value-in-code'", ("Keys.token", "dev_default=")),
    "None in the code": ("token: Secret = None", ("Keys.token", "| None")),
    "no annotation": ("token = secret()", ("Keys.token", "secret(")),
    "a name that is none": ("token: Secret = secret('API KEY')", ("Keys.token", "name=")),
    "a name that is a path": ("token: Secret = secret('../token')", ("Keys.token", "name=")),
    "a name with a digit first": ("token: Secret = secret('1A')", ("Keys.token", "name=")),
    "a name with a line end": ("token: Secret = secret('A\\n')", ("Keys.token", "name=")),
    "an empty name": ("token: Secret = secret('')", ("Keys.token", "name=")),
    "a name that is no text": ("token: Secret = secret(5)", ("Keys.token", "name=")),
    "a name beyond ASCII": ("tokän: Secret", ("Keys.tokän", "name=")),
    "an absolute file": ("token: Secret = secret(file='/etc/token')", ("Keys.token", "file=")),
    "a file above": ("a: Secret = secret(file='../token')", ("Keys.a", "file=")),
    "a file above, inside": ("a: Secret = secret(file='a/../b')", ("Keys.a", "file=")),
    "a file that is here": ("a: Secret = secret(file='./token')", ("Keys.a", "file=")),
    "a file with NUL": ("a: Secret = secret(file='a\\0b')", ("Keys.a", "file=")),
    "an empty file": ("a: Secret = secret(file='')", ("Keys.a", "file=")),
    "an empty component": ("a: Secret = secret(file='a//b')", ("Keys.a", "file=")),
    "a file that is no text": ("a: Secret = secret(file=b'a')", ("Keys.a", "file=")),
    "a negative length": ("a: Secret = secret(min_length=-1)", ("Keys.a", "min_length=")),
    "a length that is no number": ("a: Secret = secret(max_length='8')", ("Keys.a", "max_length=")),
    "a placeholder that is no truth": (
        "a: Secret = secret(allow_placeholder='no')",
        ("Keys.a", "allow_placeholder="),
    ),
    "a file variable that is no truth": (
        "a: Secret = secret(file_variable=0)",
        ("Keys.a", "file_variable="),
    ),
    "parts that are no truth": (
        "a: Secret = secret(redact_parts=0)",
        ("Keys.a", "redact_parts="),
    ),
    "a length that is a truth": ("a: Secret = secret(min_length=True)", ("Keys.a", "min_length=")),
    "lengths that exclude all": (
        "a: Secret = secret(min_length=9, max_length=8)",
        ("Keys.a", "min_length=", "max_length="),
    ),
    "a negative lead": ("a: Secret = secret(activate_after=-1)", ("Keys.a", "activate_after=")),
    "an endless grace": (
        "a: Secret = secret(accept_old_for=float('inf'))",
        ("Keys.a", "accept_old_for="),
    ),
    "a grace that is no number": (
        "a: Secret = secret(accept_old_for='1h')",
        ("Keys.a", "accept_old_for="),
    ),
    "a lead that is not a number": (
        "a: Secret = secret(activate_after=float('nan'))",
        ("Keys.a", "activate_after="),
    ),
    "a broken pattern": ("a: Secret = secret(pattern='fake[')", ("Keys.a", "pattern=")),
    "a broken pattern for bytes": (
        "a: SecretBytes = secret(pattern='(?u)fake')",
        ("Keys.a", "pattern="),
    ),
    "a pattern of bytes": ("a: SecretBytes = secret(pattern=b'fake')", ("Keys.a", "pattern=")),
    "a pattern that is a number": ("a: Secret = secret(pattern=5)", ("Keys.a", "pattern=")),
    "a check that is none": ("a: Secret = secret(check='length')", ("Keys.a", "check=")),
    "a previous that is no name": ("a: Secret = secret(previous='A OLD')", ("Keys.a", "previous=")),
    "a previous that is a path": ("a: Secret = secret(previous='a/b')", ("Keys.a", "previous=")),
    "an empty previous": ("a: Secret = secret(previous='')", ("Keys.a", "previous=")),
    "a previous that is no text": ("a: Secret = secret(previous=5)", ("Keys.a", "previous=")),
    "a default of another type": (
        "a: Secret = secret(dev_default=b'fake-default')",
        ("Keys.a", "dev_default="),
    ),
    "a default of another type, for bytes": (
        "a: SecretBytes = secret(dev_default='fake-default')",
        ("Keys.a", "dev_default="),
    ),
    "an empty default": ("a: Secret = secret(dev_default='')", ("Keys.a", "dev_default=")),
    "a default that is too short": (
        "a: Secret = secret(dev_default='fake-default', min_length=32)",
        ("Keys.a", "dev_default=", "12"),
    ),
    "a default that is too long": (
        "a: SecretBytes = secret(dev_default=b'fake-default', max_length=8)",
        ("Keys.a", "dev_default=", "12"),
    ),
    "a default that does not match": (
        "a: Secret = secret(dev_default='fake-default', pattern='[0-9]+')",
        ("Keys.a", "dev_default="),
    ),
    "a check of the set without async": (
        "a: Secret\ndef check(self): return True",
        ("Keys.check",),
    ),
    "a file below nothing": ("a: Secret = secret(file='a/.')", ("Keys.a", "file=")),
    "a file that is above": ("a: Secret = secret(file='..')", ("Keys.a", "file=")),
    "a file that is a directory": ("a: Secret = secret(file='a/')", ("Keys.a", "file=")),
    "a name with NUL": ("a: Secret = secret('a\\0b')", ("Keys.a", "name=")),
    "two spellings of one name": (
        "first: Secret = secret('A-B')\nsecond: Secret = secret('A_B')",
        ("Keys.second", "first"),
    ),
    "a field that another names by its file": (
        "first: Secret = secret('JWT')\nsecond: Secret = secret(file='jwt')",
        ("Keys.second", "first"),
    ),
    "a field that is called like a pointer": (
        "jwt: Secret\njwt_file: Secret",
        ("Keys.jwt_file", "jwt"),
    ),
}
"""Wrong declarations, and what the error has to name."""


def test_a_wrong_declaration_is_refused_by_class_and_field() -> None:
    """A mistake in a declaration is found on import; the error names the class and the field."""
    for label, (body, named) in REFUSED.items():
        with case(label):
            with pytest.raises(DeclarationError) as caught:
                declare(body)

            told = str(caught.value)
            assert [each for each in named if each not in told] == []
            assert "fake-default" not in told
            assert "fake-value-in-code" not in told
            assert caught.value.exit_code == 70


def test_an_annotation_of_another_type_is_refused() -> None:
    """A setting in a declaration of secrets is sent to where settings belong."""
    cases: list[str] = [
        "int",
        "str",
        "Secret | int",
        "Secret | SecretBytes",
        "list[Secret]",
        "dict[str, Secret]",
        "type[Secret]",
        "None",
        "5",
        "'Unknown'",
        "'Secret |'",
        "'1 / 0'",
        "'list[Secret]'",
    ]
    for annotation in cases:
        with case(annotation):
            with pytest.raises(DeclarationError) as caught:
                declare(f"port: {annotation}")

            assert "Keys.port" in str(caught.value)
            assert "config=" in str(caught.value)


def test_a_collision_with_an_inherited_field_is_refused() -> None:
    """A field that a library declares already is not read twice."""

    class Library(SecretSet):
        token: Secret

    with pytest.raises(DeclarationError, match=r"Keys\.mine.* token.*'TOKEN'"):

        class Keys(Library):
            mine: Secret = secret("TOKEN")


def test_plain_names_are_those_of_variables_and_keys() -> None:
    """The four functions take a variable's name, or a Kubernetes key."""
    cases: list[str] = ["TOKEN", "token", "_a", "tls.crt", "db-password", "A1"]
    for name in cases:
        with case(name):
            field = undeclared_field(name)

            assert field.name == name
            assert not field.required
            assert field.candidates[0] == name


def test_a_name_that_can_be_none_is_not_repeated() -> None:
    """What stands where a name belongs may be a value, so the error does not show it."""
    cases: list[Any] = [
        "",
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "a b",
        "1a",
        ".a",
        "A\n",
        "ä",
        5,
        None,
    ]
    for name in cases:
        with case(name):
            with pytest.raises(DeclarationError) as caught:
                undeclared_field(name)

            assert len(str(name)) < 2 or str(name) not in str(caught.value)


@pytest.mark.core
def test_a_similar_name_is_suggested_once() -> None:
    """Python 3.12 and newer add a suggestion to an AttributeError, unless it names no attribute."""

    class Keys(SecretSet):
        api_key: Secret

    with pytest.raises(AttributeError) as caught:
        _ = Keys(api_key=Secret("API_KEY", "fake")).api_kay  # type: ignore[attr-defined]
    text = "".join(traceback.format_exception_only(caught.value))
    assert text == "AttributeError: Keys has no field 'api_kay'. Did you mean 'api_key'?\n"
