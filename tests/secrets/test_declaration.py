"""What a declaration may say, and what is refused when its class is made."""

from __future__ import annotations

import re
import sys
import textwrap
import types
from typing import TYPE_CHECKING, Any, ClassVar, Optional, Union

import pytest

import hive_boot
from hive_boot import DeclarationError, Secret, SecretBytes, SecretSet, secret
from hive_boot.secrets.inventory import plain_field
from tests.support import look, run_child, values_of

if TYPE_CHECKING:
    from pathlib import Path

    from hive_boot.secrets.field import Field


def fields_of(declared: type[SecretSet]) -> dict[str, Field]:
    """Give the fields of a declaration, by attribute."""
    return declared._inventory.fields  # noqa: SLF001  (what a load reads)


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
    assert (field.lead, field.grace, field.previous) == (0.0, 0.0, None)


def test_everything_that_a_field_can_say_is_kept() -> None:
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
            lead=120,
            grace=3600.5,
            previous="JWT_SECRET_PREVIOUS",
            description="signs the sessions",
        )

    field = fields_of(Keys)["jwt"]

    assert field.name == "JWT_SECRET"
    assert field.candidates == ("auth/jwt", "auth/jwt.txt")
    assert field.required_in == {"production", "test"}
    assert (field.min_length, field.max_length) == (4, 64)
    assert (field.lead, field.grace) == (120, 3600.5)
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


@pytest.mark.parametrize(
    ("annotation", "kind", "required"),
    [
        ("Secret", Secret, True),
        ("SecretBytes", SecretBytes, True),
        ("Secret | None", Secret, False),
        ("None | SecretBytes", SecretBytes, False),
        ("Optional[Secret]", Secret, False),
        ("Union[None, SecretBytes]", SecretBytes, False),
        ("hive_boot.Secret", Secret, True),
        ("hive_boot.SecretBytes | None", SecretBytes, False),
    ],
)
@pytest.mark.parametrize("future", [False, True], ids=["evaluated", "future"])
@pytest.mark.parametrize("quotes", ["", "'"], ids=["bare", "quoted"])
def test_annotations_say_type_and_need(
    annotation: str, kind: type, *, required: bool, future: bool, quotes: str
) -> None:
    """Secret and SecretBytes are required, `| None` is optional, however it is written."""
    keys = declare(f"api_key: {quotes}{annotation}{quotes}", future=future)
    field = fields_of(keys)["api_key"]

    assert (field.kind, field.required) == (kind, required)


@pytest.mark.parametrize("future", [False, True], ids=["evaluated", "future"])
def test_a_class_variable_is_no_field(*, future: bool) -> None:
    """A constant of the class, annotated as one, is left alone."""
    keys = declare("limit: ClassVar[int] = 3\nbare: ClassVar = 4", future=future, ClassVar=ClassVar)

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
        "print([(f.name, f.kind.__name__, f.required) for f in Keys._inventory.every])\n"
    )

    assert child.stderr == ""
    assert child.stdout == "[('A', 'Secret', True), ('B_KEY', 'SecretBytes', False)]\n"


def test_what_is_no_annotation_is_no_field() -> None:
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


def test_a_field_is_no_attribute_of_its_class() -> None:
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


@pytest.mark.parametrize("given", ["production", "prod", ["production"], {"PROD"}, ("production",)])
def test_staging_is_held_to_production(given: Any) -> None:  # noqa: ANN401  (any of these)
    """What production requires staging requires too; the other profiles do not."""
    field = fields_of(declare("key: Secret | None = secret(required_in=given)", given=given))["key"]

    assert field.required_for("production")
    assert field.required_for("staging")
    assert not field.required_for("test")
    assert not field.required_for("development")


def test_required_in_one_profile_says_nothing_about_another() -> None:
    """What the tests need production may do without."""
    field = fields_of(declare("key: Secret | None = secret(required_in=['test', 'dev'])"))["key"]

    assert [
        field.required_for(profile) for profile in ("development", "test", "staging", "production")
    ] == [True, True, False, False]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("min_length=4", "fake", "fak"),
        ("max_length=4", "fake", "fakes"),
        ("pattern='fa[a-z]+'", "fake", "fake1"),
        ("pattern=re.compile('FAKE', re.IGNORECASE)", "fake", "fakes"),
    ],
)
@pytest.mark.parametrize("kind", ["Secret", "SecretBytes"])
def test_a_rule_holds_for_the_whole_value(
    tmp_path: Path, rule: str, good: str, bad: str, kind: str
) -> None:
    """Length and pattern judge a value from its first character to its last."""
    keys = declare(f"key: {kind} = secret({rule})", re=re)

    (tmp_path / "key").write_text(good)
    assert look(keys, tmp_path, secrets_dirs=tmp_path).problems == []

    (tmp_path / "key").write_text(bad)
    (problem,) = look(keys, tmp_path, secrets_dirs=tmp_path).problems
    assert problem.kind in {"length", "pattern"}
    assert bad not in problem.message


def test_a_previous_name_is_an_optional_field_behind_the_scenes(tmp_path: Path) -> None:
    """The value before a rotation is read where it is, and nobody has to give it."""
    keys = declare("jwt: Secret = secret(previous='JWT_OLD', min_length=4)")
    (tmp_path / "jwt").write_text("fake-new")

    assert list(fields_of(keys)) == ["jwt"]
    assert look(keys, tmp_path, secrets_dirs=tmp_path).problems == []

    (tmp_path / "jwt-old").write_text("fake-old")
    loaded = look(keys, tmp_path, secrets_dirs=tmp_path)
    assert values_of(loaded) == {"jwt": "fake-new", "jwt.previous": "fake-old"}


REFUSED: dict[str, tuple[str, str]] = {
    "one name twice": (
        "a: Secret = secret('TOKEN')\nb: Secret = secret('TOKEN')",
        "Keys.b and a would both be read from 'TOKEN'",
    ),
    "one name in two cases": (
        "token: Secret\nToken: Secret",
        "Keys.Token and token would both be read from 'TOKEN'",
    ),
    "one file for two": (
        "a: Secret = secret(file='both')\nb: Secret = secret(file='both')",
        "Keys.b and a would both be read from 'both'",
    ),
    "names that differ in case": (
        "a: Secret = secret('token')\nb: Secret = secret('TOKEN')",
        "Keys.b and a would both be read from 'token'",
    ),
    "a name and a pointer": (
        "a: Secret = secret('TOKEN')\nb: Secret = secret('TOKEN_FILE')",
        "Keys.b and a would both be read from 'TOKEN_FILE'",
    ),
    "a previous that is a field": (
        "a: Secret = secret(previous='B')\nb: Secret",
        "Keys.b and a.previous would both be read from 'B'",
    ),
    "a previous that is itself": (
        "a: Secret = secret(previous='A')",
        "Keys.a.previous and a would both be read from 'A'",
    ),
    "an unknown profile": (
        "a: Secret | None = secret(required_in='prodction')",
        "Keys.a is required in 'prodction', which is no profile (development, ",
    ),
    "an unknown profile among others": (
        "a: Secret | None = secret(required_in=['test', 'live'])",
        "Keys.a is required in 'live', which is no profile (development, ",
    ),
    "a profile that is no text": (
        "a: Secret | None = secret(required_in=[True])",
        "Keys.a is required in True, which is no profile (development, ",
    ),
    "profiles that are none": (
        "a: Secret | None = secret(required_in=5)",
        "Keys.a is required in 5, which is no profile (development, ",
    ),
    "the name current": (
        "current: Secret",
        "Keys.current is a reserved name: call the field otherwise and give name=",
    ),
    "the name check": (
        "check: Secret = secret()",
        "Keys.check is a reserved name: call the field otherwise and give name=",
    ),
    "a leading underscore": (
        "_token: Secret",
        "Keys._token is a reserved name: call the field otherwise and give name=",
    ),
    "a value in the code": (
        "token: Secret = 'fake-value-in-code'",
        "Keys.token has its value in the code: use secret(dev_default=…)",
    ),
    "None in the code": (
        "token: Secret | None = None",
        "Keys.token has its value in the code: use secret(dev_default=…)",
    ),
    "no annotation": (
        "token = secret()",
        "Keys.token has no annotation: write token: Secret = secret(…)",
    ),
    "a name that is none": (
        "token: Secret = secret('API KEY')",
        "Keys.token has a name= that is no variable's name (A-Z, 0-9, '_', '.', '-')",
    ),
    "a name that is a path": ("token: Secret = secret('../token')", "Keys.token has a name= that "),
    "a name with a digit first": ("token: Secret = secret('1A')", "Keys.token has a name= that "),
    "a name with a line end": ("token: Secret = secret('A\\n')", "Keys.token has a name= that "),
    "an empty name": ("token: Secret = secret('')", "Keys.token has a name= that "),
    "a name that is no text": ("token: Secret = secret(5)", "Keys.token has a name= that "),
    "a name beyond ASCII": ("tokän: Secret", "Keys.tokän has a name= that is no variable's name"),
    "an absolute file": (
        "token: Secret = secret(file='/etc/token')",
        "Keys.token has a file= that is absolute, or holds '.', '..' or NUL",
    ),
    "a file above": ("a: Secret = secret(file='../token')", "Keys.a has a file= that is absolute"),
    "a file above, inside": ("a: Secret = secret(file='a/../b')", "Keys.a has a file= that is "),
    "a file that is here": ("a: Secret = secret(file='./token')", "Keys.a has a file= that is "),
    "a file with NUL": ("a: Secret = secret(file='a\\0b')", "Keys.a has a file= that is "),
    "an empty file": ("a: Secret = secret(file='')", "Keys.a has a file= that is "),
    "an empty component": ("a: Secret = secret(file='a//b')", "Keys.a has a file= that is "),
    "a file that is no text": ("a: Secret = secret(file=b'a')", "Keys.a has a file= that is "),
    "a negative length": (
        "a: Secret = secret(min_length=-1)",
        "Keys.a has a min_length= that is no whole number from 0 on",
    ),
    "a length that is no number": ("a: Secret = secret(max_length='8')", "Keys.a has a max_length"),
    "a length that is a truth": ("a: Secret = secret(min_length=True)", "Keys.a has a min_length"),
    "lengths that exclude all": (
        "a: Secret = secret(min_length=9, max_length=8)",
        "Keys.a has a min_length= of 9 over a max_length= of 8",
    ),
    "a negative lead": (
        "a: Secret = secret(lead=-1)",
        "Keys.a has a lead= that is no number of seconds from 0 on",
    ),
    "an endless grace": (
        "a: Secret = secret(grace=float('inf'))",
        "Keys.a has a grace= that is no number of seconds from 0 on",
    ),
    "a grace that is no number": ("a: Secret = secret(grace='1h')", "Keys.a has a grace= that is"),
    "a lead that is not a number": (
        "a: Secret = secret(lead=float('nan'))",
        "Keys.a has a lead= that is no number of seconds from 0 on",
    ),
    "a broken pattern": (
        "a: Secret = secret(pattern='fake[')",
        "Keys.a has a pattern= that is no regular expression: unterminated character set",
    ),
    "a broken pattern for bytes": (
        "a: SecretBytes = secret(pattern='(?u)fake')",
        "Keys.a has a pattern= that is no regular expression: ",
    ),
    "a pattern of bytes": (
        "a: SecretBytes = secret(pattern=b'fake')",
        "Keys.a has a pattern= that is no str: write it as text, for bytes too",
    ),
    "a pattern that is a number": ("a: Secret = secret(pattern=5)", "Keys.a has a pattern= that "),
    "a check that is none": (
        "a: Secret = secret(check='length')",
        "Keys.a has a check= that cannot be called",
    ),
    "a previous that is no name": (
        "a: Secret = secret(previous='A OLD')",
        "Keys.a has a previous= that is no variable's name",
    ),
    "a previous that is no text": ("a: Secret = secret(previous=5)", "Keys.a has a previous= that"),
    "a default of another type": (
        "a: Secret = secret(dev_default=b'fake-default')",
        "Keys.a has a dev_default= that is no str or empty",
    ),
    "a default of another type, for bytes": (
        "a: SecretBytes = secret(dev_default='fake-default')",
        "Keys.a has a dev_default= that is no bytes or empty",
    ),
    "an empty default": (
        "a: Secret = secret(dev_default='')",
        "Keys.a has a dev_default= that is no str or empty",
    ),
    "a default that is too short": (
        "a: Secret = secret(dev_default='fake-default', min_length=32)",
        "Keys.a has a dev_default= that it would refuse: it has 12 characters, and at least 32 ",
    ),
    "a default that is too long": (
        "a: SecretBytes = secret(dev_default=b'fake-default', max_length=8)",
        "Keys.a has a dev_default= that it would refuse: it has 12 bytes, and at most 8 are ",
    ),
    "a default that does not match": (
        "a: Secret = secret(dev_default='fake-default', pattern='[0-9]+')",
        "Keys.a has a dev_default= that it would refuse: it does not match the pattern",
    ),
    "a check of the set without async": (
        "a: Secret\ndef check(self): return True",
        "Keys.check has to be an async def",
    ),
}


@pytest.mark.parametrize(("body", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_declaration_is_refused_by_class_and_field(body: str, said: str) -> None:
    """A mistake in a declaration is found on import, and the text says where and how to mend it."""
    with pytest.raises(DeclarationError) as caught:
        declare(body)

    assert str(caught.value).startswith(said)
    assert "fake-default" not in str(caught.value)
    assert "fake-value-in-code" not in str(caught.value)
    assert caught.value.exit_code == 70


@pytest.mark.parametrize(
    "annotation",
    [
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
    ],
)
def test_an_annotation_that_is_no_secret_is_refused(annotation: str) -> None:
    """A setting in a declaration of secrets is sent to where settings belong."""
    with pytest.raises(DeclarationError) as caught:
        declare(f"port: {annotation}")

    assert str(caught.value) == (
        "Keys.port is not annotated as Secret, SecretBytes, or one of them | None: "
        "a setting that is not secret belongs into config="
    )


def test_a_collision_with_an_inherited_field_is_refused() -> None:
    """A field that a library declares already is not read twice."""

    class Library(SecretSet):
        token: Secret

    with pytest.raises(DeclarationError, match=r"^Keys\.mine and token would both be read from"):

        class Keys(Library):
            mine: Secret = secret("TOKEN")


@pytest.mark.parametrize("name", ["TOKEN", "token", "_a", "tls.crt", "db-password", "A1"])
def test_plain_names_are_those_of_variables_and_keys(name: str) -> None:
    """The four functions take a variable's name, or a Kubernetes key."""
    field = plain_field(name)

    assert field.name == name
    assert not field.required
    assert field.candidates[0] == name


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "/etc/passwd", "a/b", "a b", "1a", ".a", "A\n", "ä", 5, None]
)
def test_a_name_that_can_be_none_is_not_repeated(name: Any) -> None:  # noqa: ANN401  (any of these)
    """What stands where a name belongs may be a value, so the error does not show it."""
    with pytest.raises(DeclarationError) as caught:
        plain_field(name)

    assert str(caught.value) == (
        "a secret's name is made of letters, digits, '_', '.' and '-'; this one is not"
    )
