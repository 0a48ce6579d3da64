"""Older names of a field: where they are read, what precedes them, and what is reported."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from hive_boot import Bootstrap, DeclarationError, Secret, SecretBytes, SecretSet, secret
from hive_boot.runtime.log_messages import warning_text
from hive_boot.testing import override
from tests.fixtures.cases import case, empty_machines
from tests.support import look, report_of, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hive_boot.secrets.load_result import LoadResult

ONE = "fake-one-0123456789-0123456789"
TWO = "fake-two-9876543210-9876543210"
THREE = "fake-three-55555555555-55555555"


class Orders(SecretSet, prefix="ORDERS_"):
    """A field that had two other names before."""

    db_password: Secret = secret(aliases=("DB_PASSWORD", "PGPASSWORD"), min_length=8)


class Optional(SecretSet):
    """A field that may be absent, and one without text."""

    token: Secret | None = secret(aliases="OLD_TOKEN")
    keystore: SecretBytes | None = secret(aliases=["OLD_KEYSTORE"])


def loaded_from(
    declared: type[SecretSet],
    root: Path,
    files: Mapping[str, str],
    environ: Mapping[str, str],
    **options: Any,  # noqa: ANN401  (the arguments of SourceOptions)
) -> LoadResult:
    """Write files below the root, and load the declaration on this machine."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    where = {"HIVE_BOOT_SECRETS_DIR": f"{root}/named"} if (root / "named").exists() else {}
    given = {name: value.replace("ROOT", str(root)) for name, value in environ.items()}
    return look(declared, root, {**where, **given}, **options)


def test_an_older_name_is_read_wherever_a_name_is(tmp_path: Path) -> None:
    """A variable, its ``_FILE``, ``.env`` and a file of every spelling provide the value."""
    machines = empty_machines(tmp_path)
    table: list[tuple[dict[str, str], dict[str, str], str]] = [
        ({}, {"DB_PASSWORD": ONE}, "environment variable DB_PASSWORD"),
        ({}, {"PGPASSWORD": ONE}, "environment variable PGPASSWORD"),
        ({"cwd/.env": f"DB_PASSWORD={ONE}\n"}, {}, "cwd/.env"),
        ({"else/p": ONE}, {"DB_PASSWORD_FILE": "ROOT/else/p"}, "DB_PASSWORD_FILE=ROOT/else/p"),
        ({"named/DB_PASSWORD": ONE}, {}, "named/DB_PASSWORD"),
        ({"named/db-password.txt": ONE}, {}, "named/db-password.txt"),
        ({"named/pgpassword": ONE}, {}, "named/pgpassword"),
        ({"named/pgpassword": ONE, "named/orders_db_password": ""}, {}, "named/pgpassword"),
        ({"named/x": ""}, {"DB_PASSWORD": ONE, "HIVE_BOOT_ENV_FALLBACK": "1"}, "variable DB_PASS"),
    ]
    for files, environ, place in table:
        root = next(machines)
        with case(files, environ):
            loaded = loaded_from(Orders, root, files, environ)
            assert not loaded.problems, report_of(loaded)
            assert values_of(loaded) == {"db_password": ONE}
            (warning,) = [each for each in loaded.warnings if each.kind == "alias"]
            assert warning.names[0] == "ORDERS_DB_PASSWORD"
            assert place.replace("ROOT", str(root)) in warning_text(warning)
            assert ONE not in warning_text(warning)


def test_the_name_precedes_an_older_one_in_every_source(tmp_path: Path) -> None:
    """Another value of an older name is not used, and is a warning; an equal one is neither."""
    machines = empty_machines(tmp_path)
    name, old, oldest = "ORDERS_DB_PASSWORD", "DB_PASSWORD", "PGPASSWORD"
    table: list[tuple[dict[str, str], dict[str, str], list[tuple[str, str]]]] = [
        ({}, {name: ONE, old: TWO}, [("alias-differs", old)]),
        ({}, {name: ONE, old: ONE}, []),
        ({}, {name: ONE, old: TWO, oldest: ONE}, [("alias-differs", old)]),
        ({"cwd/.env": f"{name}={ONE}"}, {old: TWO}, [("alias-differs", old)]),
        ({}, {old: ONE, oldest: TWO}, [("alias", old), ("alias-differs", oldest)]),
        ({}, {oldest: ONE}, [("alias", oldest)]),
        (
            {"named/orders_db_password": ONE, "named/pgpassword": TWO},
            {},
            [("alias-differs", oldest)],
        ),
        ({"named/orders_db_password": ONE}, {old: TWO}, [("alias-differs", old)]),
        # A file precedes a variable, which is a copy.
        ({"named/pgpassword": ONE}, {name: TWO}, [("alias", oldest), ("environment-copy", name)]),
        (
            {"named/pgpassword": ONE},
            {oldest: TWO},
            [("alias", oldest), ("environment-copy", oldest)],
        ),
        ({"named/pgpassword": ONE}, {old: TWO}, [("alias", oldest), ("alias-differs", old)]),
        # What cannot be read under an older name does not matter when there is a value.
        ({"named/orders_db_password": ONE}, {f"{old}_FILE": "ROOT/nowhere/x"}, []),
        (
            {},
            {name: ONE, old: TWO, f"{old}_FILE": "ROOT/nowhere/x"},
            [("alias-differs", old)],
        ),
        ({"named/orders_db_password": ONE, "named/db_password": ""}, {}, []),
        ({"named/orders_db_password": ONE, "named/db_password": "fake\0nul"}, {}, []),
    ]
    for files, environ, warnings in table:
        with case(files, environ):
            loaded = loaded_from(Orders, next(machines), files, environ)
            assert not loaded.problems, report_of(loaded)
            assert values_of(loaded) == {"db_password": ONE}
            assert [(each.kind, each.names[-1]) for each in loaded.warnings] == warnings
            hidden = {value.reveal() for value in loaded.unused_values}
            assert (TWO in hidden) == (TWO in str([files, environ]))


def test_a_problem_of_an_older_name_is_one_of_the_field(tmp_path: Path) -> None:
    """It names the field, where the value was found, and how to change it there."""
    machines = empty_machines(tmp_path)
    name, old = "ORDERS_DB_PASSWORD", "DB_PASSWORD"
    table: list[tuple[dict[str, str], dict[str, str], str, str, str]] = [
        ({}, {old: "short"}, name, "length", f"change the environment variable {old}"),
        ({"cwd/.env": f"{old}=short"}, {}, name, "length", f"change {old}=... in"),
        ({"else/p": "s"}, {f"{old}_FILE": "ROOT/else/p"}, name, "length", f"change {old}_FILE"),
        ({"named/db_password": "short"}, {}, name, "length", "named/db_password"),
        ({"named/x": ""}, {old: ONE}, name, "environment-only", f"older name {old}"),
        ({}, {}, name, "missing", f"No value was found under {old}, PGPASSWORD either."),
        ({}, {f"{old}_FILE": "ROOT/nowhere/x"}, name, "missing", f"{old}_FILE"),
        ({}, {old: ONE, f"{old}_FILE": "ROOT/nowhere/x"}, name, "missing", f"{old}_FILE"),
        (
            {"named/db_password": ONE, "named/db-password": TWO},
            {},
            name,
            "conflict",
            "named/db-password",
        ),
        ({"named/orders_db_password": ""}, {}, name, "empty", "named/orders_db_password"),
    ]
    for files, environ, subject, kind, text in table:
        with case(files, environ):
            loaded = loaded_from(Orders, next(machines), files, environ, profile="production")
            report = report_of(loaded)
            assert [(each.name, each.kind) for each in loaded.problems] == [(subject, kind)], report
            assert text in report
            assert not {ONE, TWO} & set(report.split())


def test_an_older_name_of_an_optional_field_is_read(tmp_path: Path) -> None:
    """Both kinds of fields are optional under every name."""
    machines = empty_machines(tmp_path)
    assert values_of(loaded_from(Optional, next(machines), {}, {})) == {}
    loaded = loaded_from(Optional, next(machines), {"named/old_keystore": ONE}, {})
    assert values_of(loaded) == {"keystore": ONE.encode()}
    loaded = loaded_from(Optional, next(machines), {}, {"OLD_TOKEN": ONE, "OLD_KEYSTORE": TWO})
    assert values_of(loaded) == {"token": ONE, "keystore": TWO.encode()}


def test_names_that_two_fields_would_share_are_refused() -> None:
    """A variable, its ``_FILE`` and each file belong to one field, under every name."""

    def declare(aliases: Any) -> None:  # noqa: ANN401  (anything may be wrong)
        class Keys(SecretSet):
            token: Secret = secret(aliases=aliases, previous="TOKEN_BEFORE")
            other_key: Secret = secret(aliases=("OLD_KEY",), file="keys/other")

    shared: list[Any] = ["OTHER_KEY", ["other_key", "OTHER_KEY_FILE"], ("OLD_KEY",), "old-key"]
    twice: list[Any] = ["TOKEN", ("A", "A"), "TOKEN_FILE", ("A", "A_FILE")]
    invalid: list[Any] = ["", "two words", b"OLD", ("OLD", ""), 3, (None,), {"a/b": 1}]
    for aliases in shared:
        with case(aliases), pytest.raises(DeclarationError, match=r"Keys\.other_key conflicts"):
            declare(aliases)
    for aliases in twice:
        with case(aliases), pytest.raises(DeclarationError, match="the same name twice"):
            declare(aliases)
    for aliases in invalid:
        with case(aliases), pytest.raises(DeclarationError, match=r"Keys\.token has an invalid"):
            declare(aliases)
    with pytest.raises(DeclarationError, match=r"Keys\.token.*TOKEN_BEFORE"):
        declare("TOKEN_BEFORE")
    declare(())
    declare(("token", "TOKEN2"))


def test_an_alias_that_shares_its_file_with_the_name_adds_only_a_variable(tmp_path: Path) -> None:
    """The file is that of the name, and the variable in the other spelling is an older name."""

    class Keys(SecretSet):
        api_key: Secret = secret(aliases=("api_key", "api-key"))

    machines = empty_machines(tmp_path)
    loaded = loaded_from(Keys, next(machines), {"named/api-key": ONE}, {})
    assert (values_of(loaded), loaded.warnings) == ({"api_key": ONE}, ())
    loaded = loaded_from(Keys, next(machines), {}, {"api_key": ONE})
    assert values_of(loaded) == {"api_key": ONE}
    assert [each.kind for each in loaded.warnings] == ["alias"]


@pytest.mark.anyio
async def test_an_override_replaces_every_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test makes absent is absent, although a source has a value under an older name."""
    monkeypatch.setenv("OLD_TOKEN", ONE)
    boot = Bootstrap(Optional, mode="environment")
    async with boot.running() as secrets:
        assert secrets.token is not None
    with override(boot, token=None):
        async with boot.running() as secrets:
            assert secrets.token is None


@pytest.mark.anyio
async def test_child_processes_inherit_no_older_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """``unset_env`` removes the variables of all names, and the end of the run restores them."""
    monkeypatch.setenv("OLD_TOKEN", ONE)
    boot = Bootstrap(Optional, mode="environment", unset_env=True)
    async with boot.running():
        assert "OLD_TOKEN" not in os.environ
    assert os.environ["OLD_TOKEN"] == ONE


@pytest.mark.anyio
async def test_a_value_may_move_to_its_new_name_while_the_application_runs(tmp_path: Path) -> None:
    """Neither the new file nor the loss of the old directory is a rotation or a problem."""
    before, after = tmp_path / "before", tmp_path / "after"
    for directory in (before, after):
        directory.mkdir()
        (directory / "note").write_text("no secret")
    (before / "db_password").write_text(ONE)
    boot = Bootstrap(Orders, secrets_dirs=[before, after])
    async with boot.running() as secrets:
        assert boot.status().secrets[0].place == f"{before}/db_password"
        (after / "orders_db_password").write_text(ONE)
        assert await boot.reload() is None
        shutil.rmtree(before)
        before.mkdir()
        (after / "orders_db_password").write_text(TWO)
        change = await boot.reload()
        assert change is not None
        assert (change.names, secrets.db_password.reveal()) == (("db_password",), TWO)
        assert not boot.status().degraded


def test_a_line_of_an_older_name_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    """The field is not missing as well, because its value may be in this line."""
    files = {"cwd/.env": 'DB_PASSWORD="open\n'}
    machines = empty_machines(tmp_path)
    loaded = loaded_from(Orders, next(machines), files, {})
    assert [problem.kind for problem in loaded.problems] == ["dotenv"]
    # A variable of the name overrides the file, so the line does not matter.
    loaded = loaded_from(Orders, next(machines), files, {"ORDERS_DB_PASSWORD": ONE})
    assert (loaded.problems, values_of(loaded)) == ((), {"db_password": ONE})
