"""A secret that is used as if it were its plain value is a warning in development and test."""

import json
import logging
import warnings
from collections.abc import Callable
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

import anyio
import httpx
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from hive_boot import Bootstrap, Secret, SecretBytes, SecretSet
from hive_boot.secrets.value import misuse_warnings
from tests.fixtures.cases import case
from tests.support import run_child

KEY = Secret("API_KEY", "fake-key-0123456789")
DATA = SecretBytes("KEYSTORE", b"fake-keystore-0123")


@pytest.fixture(autouse=True)
def _enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enable the warnings, as a start in the development profile does."""
    monkeypatch.setattr(misuse_warnings, "owners", {object()})
    monkeypatch.setattr(misuse_warnings, "reported", set())


def url() -> URL:
    """Return a URL whose password is a secret."""
    return URL.create("postgresql+asyncpg", username="u", password=KEY)  # type: ignore[arg-type]


def matched(value: object) -> bool:
    """Return whether a value matches a text."""
    match value:
        case "fake-key":
            return True
    return False


def cookie() -> None:
    """Set a cookie to a secret."""
    SimpleCookie()["key"] = KEY  # type: ignore[assignment]


MISTAKES: dict[str, Callable[[], object]] = {
    "f-string": lambda: f"Bearer {KEY}",
    "f-string with a width": lambda: f"{KEY:>40}",
    "f-string with bytes": lambda: f"{DATA}",
    "format()": lambda: format(KEY),
    "str.format": lambda: "Bearer {}".format(KEY),  # noqa: UP032  (this is the operation)
    "str.format_map": lambda: "{key}".format_map({"key": KEY}),
    "equal to a text": lambda: KEY == "fake-key-0123456789",
    "a text is equal": lambda: "fake-key-0123456789" == KEY,  # noqa: SIM300  (this is the operation)
    "not equal to a text": lambda: KEY != "fake-key",
    "equal to bytes": lambda: KEY == b"fake-key",
    "bytes equal to bytes": lambda: DATA == b"fake-keystore-0123",
    "in a list": lambda: KEY in ["fake-key", "fake"],
    "index of a list": lambda: [KEY].count("fake"),  # type: ignore[arg-type]
    "SQLAlchemy's text of a URL": lambda: url().render_as_string(hide_password=False),
    "SQLAlchemy's arguments": lambda: url().translate_connect_args(),
    "psycopg's connection string": lambda: make_conninfo(password=KEY),  # type: ignore[arg-type]
    "query of httpx": lambda: httpx.URL("http://h", params={"key": KEY}),
    "form of httpx": lambda: httpx.Request("POST", "http://h", data={"key": KEY}),
    "cookie": cookie,
    "query of a URL": lambda: urlencode({"key": KEY}),
    "match statement": lambda: matched(KEY),
}
"""Operations that succeed, and do not use the value."""

CORRECT: dict[str, Callable[[], object]] = {
    "reveal": lambda: f"Bearer {KEY.reveal()}",
    "matches": lambda: KEY.matches("fake-key"),
    "str": lambda: str(KEY),
    "repr in an f-string": lambda: f"{KEY!r}",
    "in a container": lambda: f"{[KEY]} { ({'key': KEY}) }",
    "json": lambda: json.dumps({"key": KEY}, default=str),
    "equal to a secret": lambda: Secret("OTHER", "fake-other") == KEY,
    "equal to None": lambda: KEY == None,  # noqa: E711  (this is the operation)
    "equal to a number": lambda: KEY == 1,
    "key of a dict": lambda: {KEY: 1, "API_KEY": 2}[KEY],
    "log record": lambda: logging.getLogger("app").warning("the key is %s", KEY),
    "log record in braces": lambda: logging.Formatter("{key}", style="{").format(
        logging.makeLogRecord({"key": KEY})
    ),
    "SQLAlchemy's hidden password": lambda: str(url()),
    "psycopg with the value": lambda: make_conninfo(password=KEY.reveal()),
    "SQLAlchemy with the value": lambda: URL.create("sqlite", password=KEY.reveal()),
}


def test_a_mistake_is_one_warning_for_each_call_site() -> None:
    """The warning names the secret and the method, and stands in the file of the caller."""
    for name, mistake in MISTAKES.items():
        with case(name), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            mistake()
            mistake()
            (warning,) = caught
            assert warning.filename == __file__
            assert ".reveal()" in str(warning.message)
            assert ("API_KEY" in str(warning.message)) != ("KEYSTORE" in str(warning.message))
            assert "fake-" not in str(warning.message)


def test_what_shows_a_secret_on_purpose_is_no_mistake() -> None:
    """Reading the value, comparing two secrets and logging one do not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, use in CORRECT.items():
            with case(name):
                use()


def test_an_engine_of_sqlalchemy_is_reported_where_it_is_created() -> None:
    """The warning stands at the line of the application, not at one of SQLAlchemy."""
    with pytest.warns(UserWarning, match="sqlalchemy") as caught:
        create_async_engine(url())
    assert [each.filename for each in caught] == [__file__]


def test_two_call_sites_are_two_warnings() -> None:
    """A call site is a line of a file, whatever filters the program has."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            f"{KEY}"
            f"{KEY}"
    assert len(caught) == 2


def test_the_profile_decides() -> None:
    """A run warns in the profiles development and test only, and not after its end."""

    class Secrets(SecretSet):
        api_key: Secret

    async def use(profile: str) -> bool:
        boot = Bootstrap(Secrets, mode="environment", profile=profile)
        async with boot.running() as secrets:
            return "reveal()" in warned(lambda: f"{secrets.api_key}")

    misuse_warnings.owners.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("API_KEY", "fake-key-0123456789")
        for profile in ("development", "test", "staging", "production"):
            with case(profile):
                misuse_warnings.reported.clear()
                assert anyio.run(use, profile) == (profile in {"development", "test"})
                assert not misuse_warnings.owners


def test_the_end_of_one_application_leaves_the_warnings_of_another() -> None:
    """They last as long as one of the runs and loads that are in development or test."""

    class Secrets(SecretSet):
        api_key: Secret

    developed, other = (
        Bootstrap(Secrets, mode="environment", profile=profile)
        for profile in ("development", "production")
    )

    async def use() -> None:
        async with developed.running() as secrets:
            with developed.loaded(), other.loaded():
                assert warned(lambda: f"{secrets.api_key}")
            misuse_warnings.reported.clear()
            assert warned(lambda: f"{secrets.api_key}")
        assert not warned(lambda: f"{secrets.api_key}")

    misuse_warnings.owners.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("API_KEY", "fake-key-0123456789")
        anyio.run(use)


def warned(use: Callable[[], object]) -> str:
    """Return the texts of the warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        use()
    return "".join(str(each.message) for each in caught)


PROGRAM = """
from hive_boot import Bootstrap, Secret, SecretSet

class Secrets(SecretSet):
    api_key: Secret

boot = Bootstrap(Secrets)

@boot.main
async def main(secrets: Secrets) -> None:
    for _ in range(3):
        print(f"Bearer {secrets.api_key}")
    print(secrets.api_key == "fake")

boot.run()
"""


def test_a_program_in_development_shows_it_on_stderr(tmp_path: Path) -> None:
    """With Python's own filters a program shows one line for each mistake."""
    file = tmp_path / "app.py"
    file.write_text(PROGRAM)
    for profile, expected in (("development", 2), ("production", 0)):
        with case(profile):
            child = run_child(
                f"import runpy; runpy.run_path({str(file)!r}, run_name='__main__')",
                HIVE_BOOT_MODE="environment",
                HIVE_BOOT_PROFILE=profile,
                API_KEY="fake-key-0123456789",
            )
            assert child.returncode == 0, child.stderr
            assert child.stdout.count("Bearer Secret('API_KEY', '***')") == 3
            assert child.stderr.count(f"{file}:") == expected
            assert child.stderr.count("UserWarning") == expected
