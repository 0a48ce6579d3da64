"""`.env` files of many kinds of projects mean what python-dotenv says, with listed exceptions."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from dotenv import dotenv_values

from hive_boot import Secret, SecretSet, secret
from hive_boot.cli.migrate import MigrationPlan, apply
from hive_boot.cli.secret_files import encode_value, read_directory
from hive_boot.secrets.fields import Field, FieldIndex, file_name_candidates, is_name
from hive_boot.secrets.loader import load
from hive_boot.secrets.sources.dotenv import read_dotenv
from tests.fixtures.cases import case, empty_machines
from tests.support import SETTLED, situate

FILES = sorted((Path(__file__).parent / "dotenv_files").iterdir())

ENVIRONMENT = {
    "HOME": "/home/dev",
    "VERSION": "1.2.3",
    "HOSTNAME_OF_TEST": "laptop",
    "SYSTEM_PATH": "/usr/bin:/bin",
}
"""The environment, for both readers."""

SINGLE_QUOTES = "single quotes keep references"
ESCAPE = "a backslash before a dollar sign makes it literal"
FORM = "only ${NAME} and ${NAME:-default} are references; any other form is a problem"
UNSET = "a reference to nothing is a problem"
OF_A_PROBLEM = "a reference to a value with a problem is a problem"
EMPTY = "the default also replaces an empty value"

ENVIRONMENT_FIRST = "the environment comes before earlier lines"

EXCEPTIONS: dict[tuple[str, str], tuple[str | None, str]] = {
    ("compose_operators", "REGISTRY"): (None, FORM),
    ("compose_operators", "VERSION"): (None, FORM),
    ("compose_operators", "OPTIONAL"): (None, FORM),
    ("compose_operators", "PORT"): (None, FORM),
    ("compose_operators", "LITERAL"): ("${NOT_A_REFERENCE:-x}", SINGLE_QUOTES),
    ("compose_operators", "MISSING"): (None, UNSET),
    ("compose_operators", "FROM_MISSING"): (None, OF_A_PROBLEM),
    ("compose_operators", "DEFAULT_OF_EMPTY"): ("[fallback]", EMPTY),
    ("go_service", "IMAGE"): ("payments:1.2.3", ENVIRONMENT_FIRST),
    ("nextjs", "ADMIN_PASSWORD"): ("fake$ecret", ESCAPE),
    ("node_express", "CONFIG_QUOTED"): (
        '{"retries": 3, "name": "fake", "price": "${amount}"}',
        SINGLE_QUOTES,
    ),
    ("rails", "ESCAPED"): ("costs $5 and ${RAILS_ENV}", ESCAPE),
    ("rails", "UNQUOTED_ESCAPED"): ("costs$5", ESCAPE),
    ("shell_profile", "PROMPT"): ("$(whoami)@${HOSTNAME}", SINGLE_QUOTES),
    ("vite", "DOLLAR_ESCAPED"): ("shop$unknown", ESCAPE),
}
"""By file and name: the value, or None for a problem, and the rule."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Return the process the same environment, because python-dotenv reads that of the process."""
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def declare(names: list[str]) -> FieldIndex:
    """Return an optional field for each name."""
    return FieldIndex(
        Field(attribute=f"field_{number}", name=name, candidates=file_name_candidates(name, None))
        for number, name in enumerate(names)
    )


def test_the_values_are_those_of_python_dotenv(caplog: pytest.LogCaptureFixture) -> None:
    """Every value of every file, except for the listed ones."""
    assert len(FILES) == 18
    used = set()
    for file in FILES:
        with case(file.name):
            theirs = dict(dotenv_values(file, interpolate=True, encoding="utf-8"))
            ours = read_dotenv(str(file), scopes=[ENVIRONMENT])
            for name, value in theirs.items():
                expected, _ = EXCEPTIONS.get((file.stem, name), (value, ""))
                found = ours.values.get(name)
                assert (name, found and found.reveal()) == (name, expected)
                assert (name in ours.value_problems) == (value is not None and expected is None)
                if expected != value:
                    used.add((file.stem, name))
            assert ours.values.keys() | ours.value_problems.keys() <= theirs.keys()
            assert ours.problems == []
            skipped = caplog.text.count("could not parse")
            assert len(ours.unreadable_lines) == skipped
            caplog.clear()
    assert used == EXCEPTIONS.keys()


def test_a_load_reads_them(tmp_path: Path) -> None:
    """All names that can be declared, with every problem at its name and no other one."""
    machines = empty_machines(tmp_path)
    for file in FILES:
        with case(file.name):
            root = next(machines)
            (root / "cwd/.env").write_bytes(file.read_bytes())
            theirs = dotenv_values(file, interpolate=True, encoding="utf-8")
            fields = declare([name for name in theirs if is_name(name)])
            loaded = load(fields, situate(root, ENVIRONMENT), policy=SETTLED)
            found = {
                field.name: value.reveal()
                for attribute, value in loaded.values.items()
                for field in [fields.by_attribute[attribute]]
            }
            expected = {
                name: ENVIRONMENT.get(name) or EXCEPTIONS.get((file.stem, name), (value, ""))[0]
                for name, value in theirs.items()
                if name in fields.by_variable
            }
            assert found == {name: ended(value) for name, value in expected.items() if value}
            problems = {problem.name for problem in loaded.problems}
            assert problems == {
                name
                for name, value in expected.items()
                if value is None and theirs[name] is not None
            }


def test_migrate_keeps_their_values(tmp_path: Path) -> None:
    """The files that it writes contain the same values, byte for byte; `.env` stays as it is."""
    for file in FILES:
        with case(file.name):
            place = tmp_path / file.stem
            place.mkdir()
            (place / ".env").write_bytes(file.read_bytes())
            before = read_dotenv(str(place / ".env"))
            names = migratable(file, before.values)
            assert names
            plan = MigrationPlan(declare_set(names), [place / ".env"], place / "secrets")
            apply(plan)
            after = read_directory(plan.field_index, place / "secrets")
            assert (place / ".env").read_bytes() == file.read_bytes()
            assert {
                plan.field_index.by_attribute[attribute].name: value.reveal()
                for attribute, value in after.values.items()
            } == {name: ended(before.values[name].reveal()) for name in names}
            content = plan.secrets[0]
            path = place / "secrets" / content.file
            assert path.read_bytes() == encode_value(content.value)


def ended(text: str) -> str:
    """Return a text; after the last line of a PEM block with the newline that OpenSSH needs."""
    is_pem = text.rpartition("\n")[2].startswith("-----END ")
    return f"{text}\n" if is_pem else text


def migratable(file: Path, values: Mapping[str, Secret]) -> list[str]:
    """Return the variables that can be secrets, and to which no other variable refers."""
    chosen = {
        name
        for name, value in values.items()
        if is_name(name) and not name.endswith("_FILE") and value.reveal()
    }
    raw = dotenv_values(file, interpolate=False, encoding="utf-8")
    texts = [text or "" for name, text in raw.items() if name not in chosen]
    return sorted(chosen - set(re.findall(r"\w+", " ".join(texts))))


def declare_set(names: list[str]) -> type[SecretSet]:
    """Return a declaration with an optional secret for each name."""
    fields = {f"field_{number}": name for number, name in enumerate(names)}
    namespace = {attribute: secret(name) for attribute, name in fields.items()}
    annotations = dict.fromkeys(fields, Secret | None)
    return type("Declared", (SecretSet,), {**namespace, "__annotations__": annotations})
