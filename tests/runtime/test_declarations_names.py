"""Names that are misspelled in a declaration or in its use, and what the messages suggest."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from hive_boot import Bootstrap, Change, DeclarationError, LifecycleError, Secret, SecretSet, secret
from tests.fixtures.cases import case
from tests.support import child_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


class Keys(SecretSet):
    """Fields whose names differ from their attributes."""

    jwt_secret: Secret
    api_key: Secret | None = secret("STRIPE_KEY", aliases="OLD_KEY")


def test_a_misspelled_attribute_has_a_suggestion() -> None:
    """The message names the class and the similar field; another name may be a value."""
    secrets = Keys(jwt_secret=Secret("JWT_SECRET", "fake"), api_key=None)
    for name, text in (
        ("jwt_secrt", "Keys has no field 'jwt_secrt'. Did you mean 'jwt_secret'?"),
        ("JWT_SECRET", "Did you mean 'jwt_secret'?"),
        ("api_kye", "Did you mean 'api_key'?"),
        ("database", "Keys has no field of this name. Its fields: jwt_secret, api_key."),
        ("check", "Its fields"),
    ):
        with case(name), pytest.raises(AttributeError) as caught:
            getattr(secrets, name)
        assert text in str(caught.value)
    with pytest.raises(AttributeError) as caught:
        getattr(secrets, "fake-value-by-mistake")
    assert "fake" not in str(caught.value)
    assert not hasattr(secrets, "__fspath__")
    assert not hasattr(secrets, "_repr_html_")


def test_a_field_without_a_value_yet_is_not_a_misspelled_one() -> None:
    """The live set exists before its first values."""
    with pytest.raises(AttributeError, match=r"Keys\.api_key has no value yet"):
        _ = Keys.__new__(Keys).api_key


def test_an_absent_check_costs_no_suggestion(tmp_path: Path) -> None:
    """A start of a set without a check does not import the module that compares names."""
    source = """
import sys
import anyio
from hive_boot import Bootstrap, Secret, SecretSet
class Keys(SecretSet):
    token: Secret
async def main():
    async with Bootstrap(Keys, mode="environment").running():
        assert "difflib" not in sys.modules
anyio.run(main)
"""
    command = [sys.executable, "-c", source]
    environ = child_environment(TOKEN="fake-token-0123456789")
    subprocess.run(command, cwd=tmp_path, env=environ, check=True)


@pytest.mark.anyio
async def test_hooks_and_checks_name_fields_by_attribute_or_declared_name() -> None:
    """Both names mean the same field."""
    boot = Bootstrap(Keys)

    @boot.on_rotate("JWT_SECRET", "api_key", "STRIPE_KEY")
    async def hook(_: Change) -> None: ...

    @boot.check("STRIPE_KEY")
    async def check() -> None: ...

    (registered,) = boot._declaration.hooks
    assert registered.names == {"jwt_secret", "api_key"}
    assert boot._declaration.checks[0].names == {"api_key"}
    for name, text in (
        ("jwt_secrt", "Keys does not declare jwt_secrt. Did you mean 'jwt_secret'?"),
        ("JWT_SECRT", "Did you mean 'jwt_secret'?"),
        ("API_KEY", "Did you mean 'api_key'?"),
        ("OLD_KEY", "Keys does not declare OLD_KEY."),
        ("", "Keys does not declare ."),
    ):
        for decorator in (boot.on_rotate, boot.check):
            with case(name, decorator), pytest.raises(DeclarationError) as caught:
                decorator(name, "api_key")
            assert text in str(caught.value)


def test_an_attribute_precedes_the_declared_name_of_another_field() -> None:
    """A name that is both means the field of this attribute."""

    class Crossed(SecretSet):
        one: Secret = secret("two")
        two: Secret = secret("one")

    boot = Bootstrap(Crossed)

    @boot.on_rotate("one")
    async def hook(_: Change) -> None: ...

    assert boot._declaration.hooks[0].names == {"one"}


def test_an_unknown_argument_of_bootstrap_has_a_suggestion() -> None:
    """The message names Bootstrap and the similar argument, and shows no value."""
    table: list[tuple[dict[str, Any], str]] = [
        ({"startup_timout": "fake-file"}, "Did you mean 'startup_timeout'?"),
        ({"profil": "test"}, "Did you mean 'profile'?"),
        ({"secret_dir": "x"}, "Did you mean 'secrets_dirs'?"),
        ({"zzz": 3}, "Known: config, watch"),
    ]
    for options, text in table:
        with case(options), pytest.raises(DeclarationError) as caught:
            Bootstrap(Keys, **options)
        (name,) = options
        assert str(caught.value).startswith(f"Bootstrap has no argument {name!r}.")
        assert text in str(caught.value)
        assert "fake-file" not in str(caught.value)


def test_secrets_outside_a_run_say_how_a_run_begins() -> None:
    """At import time, without the lifespan and without a block of the test client."""
    boot = Bootstrap(Keys)

    @boot.resource
    async def pool() -> AsyncIterator[int]:
        yield 1

    reads: list[Any] = [
        lambda: boot.secrets,
        lambda: boot.config,
        lambda: boot.accepted("api_key"),
        lambda: pool.value,
        lambda: anyio.run(boot.reload),
    ]
    for read in reads:
        with pytest.raises(LifecycleError) as caught:
            read()
        for text in ("lifespan=boot.lifespan", "with TestClient(", "import time"):
            assert text in str(caught.value)


def test_a_name_means_one_resource_or_service() -> None:
    """Messages and the status show only the name: another function of any kind is refused it."""

    async def worker() -> None: ...

    kinds: dict[str, Callable[..., Any]] = {
        "resource": Bootstrap.resource,
        "service": Bootstrap.service,
    }
    for first, declare in kinds.items():
        for again in kinds.values():
            boot = Bootstrap(Keys)
            declare(boot, worker)
            with pytest.raises(DeclarationError, match=rf"^A {first} named 'worker' "):
                again(boot, worker)
