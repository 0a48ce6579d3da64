"""Starts that fail: the report names the problem, and contains no value."""

import os
from collections.abc import Callable
from itertools import product
from pathlib import Path

from examples.hive.inventory import HiveSecrets
from tests.canary.canaries import CANARIES, ENVIRONMENT, make
from tests.canary.children import Case, Child, check_cases, make_place
from tests.canary.outputs import Outputs
from tests.canary.programs.starts import SCENARIOS

LOOSE = make("LOOSE")
"""A value that stands where no secret is declared."""

INJECTED = {"HIVE_BOOT_MODE": "environment", **ENVIRONMENT}

TELLING = [
    "plain check",
    "chained check",
    "grouped check",
    "leaving check",
    "hanging check",
    "sleeping check",
    "set check",
    "false set check",
    "settings class",
    "settings function",
    "leaving settings",
]
"""Scenarios in which the application shows values, and redaction removes them."""

SILENT = ["too short", "too long", "pattern", "false check", "odd check"]
"""Scenarios in which only hive_boot reports the values."""


WAITED_FOR = ["grouped check", "hanging check", "sleeping check", "leaving check", "set check"]
"""Scenarios that depend on the backend."""

BACKENDS = ["asyncio", "trio"]


def without(*names: str) -> dict[str, str]:
    """Return all variables but some."""
    return {name: value for name, value in INJECTED.items() if name not in names}


def missing(_: Path) -> dict[str, str]:
    """Return variables of which two are missing."""
    return without("OPENAI_API_KEY", "HIVE_API_KEY")


def empty(_: Path) -> dict[str, str]:
    """Return variables of which two are empty."""
    return {**INJECTED, "OPENAI_API_KEY": "", "JWT_SECRET": ""}


def near_miss(place: Path) -> dict[str, str]:
    """Mount secrets with a misspelt file name, and use a value as the name of another file."""
    files = mounted(place)
    (place / "secrets" / "openai_api_key").rename(place / "secrets" / "open_ai_api_key")
    (place / "secrets" / LOOSE.variable).write_text(LOOSE.variable)
    return {**files, LOOSE.variable: LOOSE.variable}


def misspelt(_: Path) -> dict[str, str]:
    """Return variables of which one has a misspelt name."""
    return {**without("OPENAI_API_KEY"), "OPEN_AI_API_KEY": LOOSE.variable}


def mounted(place: Path, **changes: bytes | None) -> dict[str, str]:
    """Mount every secret, with some contents changed; None leaves a file out."""
    directory = place / "secrets"
    directory.mkdir()
    for canary in CANARIES:
        (directory / canary.name.lower()).write_bytes(os.fsencode(canary.variable))
    for name, content in changes.items():
        path = directory / name
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
    return {"HIVE_BOOT_MODE": "docker", "HIVE_BOOT_SECRETS_DIR": str(directory)}


def conflict(place: Path) -> dict[str, str]:
    """Mount two files for one secret, with different values."""
    return mounted(place, JWT_SECRET=LOOSE.variable.encode())


def conflict_of_directories(place: Path) -> dict[str, str]:
    """Mount two directories that differ in one secret."""
    variables = mounted(place)
    other = place / "other"
    other.mkdir()
    (other / "jwt_secret.txt").write_text(LOOSE.variable)
    return {**variables, "HIVE_BOOT_SECRETS_DIR": f"{place / 'secrets'}{os.pathsep}{other}"}


def set_twice(place: Path) -> dict[str, str]:
    """Set a variable and its ``_FILE`` variable."""
    file = place / "jwt"
    file.write_text(LOOSE.variable)
    return {**INJECTED, "JWT_SECRET_FILE": str(file)}


def a_value_for_a_path(_: Path) -> dict[str, str]:
    """Set ``_FILE`` variables to values instead of paths, one of which looks like a path."""
    return {
        **without("JWT_SECRET", "OPENAI_API_KEY"),
        "JWT_SECRET_FILE": LOOSE.variable,
        "OPENAI_API_KEY_FILE": f"/{LOOSE.variable}/{LOOSE.variable}",
    }


def only_in_the_environment(place: Path) -> dict[str, str]:
    """Mount a directory without three of the secrets, which the environment has."""
    return {
        **ENVIRONMENT,
        **mounted(place, openai_api_key=None, jwt_secret=None, keystore=None),
    }


def default_in_production(_: Path) -> dict[str, str]:
    """Set a secret to its default for development, in another profile."""
    default = HiveSecrets._field_index.fields["jwt_secret"].dev_default
    assert isinstance(default, str)
    return {**INJECTED, "JWT_SECRET": default}


def not_utf_8(place: Path) -> dict[str, str]:
    """Mount files that are not UTF-8."""
    raw = LOOSE.variable.encode()
    return mounted(place, openai_api_key=raw + b"\xff", jwt_secret=b"\xff\xfe" + raw)


def not_utf_8_variable(_: Path) -> dict[str, str]:
    """Set a variable that is not UTF-8."""
    return {**INJECTED, "OPENAI_API_KEY": os.fsdecode(LOOSE.variable.encode() + b"\xff")}


def nul(place: Path) -> dict[str, str]:
    """Mount a file with a NUL."""
    return mounted(place, openai_api_key=LOOSE.variable.encode() + b"\0")


def too_large(place: Path) -> dict[str, str]:
    """Mount a file that is larger than the limit."""
    return mounted(place, openai_api_key=LOOSE.variable.encode() * 50_000)


def a_directory(place: Path) -> dict[str, str]:
    """Mount a directory that has the name of a secret, and contains a file named like the value."""
    variables = mounted(place, openai_api_key=None)
    directory = place / "secrets" / "openai_api_key"
    directory.mkdir()
    (directory / LOOSE.variable).write_text(LOOSE.variable)
    return variables


def dotenv(place: Path, text: str | bytes) -> dict[str, str]:
    """Write a ``.env``; return variables for development mode with the production profile."""
    raw = text if isinstance(text, bytes) else text.encode()
    (place / "cwd" / ".env").write_bytes(raw)
    return {"HIVE_BOOT_MODE": "development", "HIVE_BOOT_PROFILE": "production"}


def unparsable_dotenv(place: Path) -> dict[str, str]:
    """Write a ``.env`` with invalid lines."""
    lines = [
        f"JWT_SECRET='{ENVIRONMENT['JWT_SECRET']}",
        f'OPENAI_API_KEY="{ENVIRONMENT["OPENAI_API_KEY"]}" and more',
        LOOSE.variable,
        f"export {LOOSE.variable}",
        f"SIGNING_KEY={ENVIRONMENT['SIGNING_KEY']}",
        f"{LOOSE.variable} : {LOOSE.variable}",
        f"HIVE_BOOT_MODE={LOOSE.variable}",
    ]
    return dotenv(place, "\n".join(lines))


def dotenv_that_is_no_text(place: Path) -> dict[str, str]:
    """Write a ``.env`` that is not UTF-8."""
    return dotenv(place, f"JWT_SECRET={ENVIRONMENT['JWT_SECRET']}".encode() + b"\xff\n")


def setting(name: str) -> Callable[[Path], dict[str, str]]:
    """Return a function that sets a variable with few valid words to a value."""

    def arrange(_: Path) -> dict[str, str]:
        return {**INJECTED, name: LOOSE.variable}

    return arrange


ARRANGED = {
    "missing": missing,
    "empty": empty,
    "misspelt": misspelt,
    "near miss": near_miss,
    "conflict": conflict,
    "conflict of directories": conflict_of_directories,
    "set twice": set_twice,
    "a value for a path": a_value_for_a_path,
    "only in the environment": only_in_the_environment,
    "default in production": default_in_production,
    "not UTF-8": not_utf_8,
    "not UTF-8 in a variable": not_utf_8_variable,
    "NUL": nul,
    "too large": too_large,
    "a directory": a_directory,
    "unparsable .env": unparsable_dotenv,
    ".env not UTF-8": dotenv_that_is_no_text,
    "mode": setting("HIVE_BOOT_MODE"),
    "profile": setting("HIVE_BOOT_PROFILE"),
    "fallback": setting("HIVE_BOOT_ENV_FALLBACK"),
}


def check_start(case: Case, child: Child) -> None:
    """Assert that the start failed with the right status, and that no output contains a value."""
    scenario, how = case.arguments
    outputs = Outputs([*CANARIES, LOOSE])
    outputs.add_child(child)
    outputs.add_files(case.logs)
    outputs.assert_silent()
    status = 75 if scenario in {"hanging check", "sleeping check"} else 78
    assert child.returncode == (3 if how == "uvicorn" else status), outputs.text
    told = child.stderr.decode()
    assert "JWT_SECRET" in told or scenario not in SILENT
    assert ("Application startup failed. Exiting." in told) == (how == "uvicorn")


def test_starts_that_the_application_refuses(tmp_path: Path) -> None:
    """Checks, constraints and settings that reject a value reveal it nowhere.

    Those that wait or fail in tasks are run on trio too.
    """
    starts = [*product([*TELLING, *SILENT], ["asyncio"]), *product(WAITED_FOR, ["trio"])]
    cases = [
        Case(
            name=f"{scenario} on {how}",
            place=make_place(tmp_path, number),
            arguments=[scenario, how],
            variables=INJECTED,
        )
        for number, (scenario, how) in enumerate(starts)
    ]
    check_cases("starts", cases, check_start)


def test_starts_that_the_deployment_lets_down(tmp_path: Path) -> None:
    """If a secret is missing, misplaced or misspelt, the report contains no value.

    Nor does the watcher, when a path or a file name is a value.
    """
    starts = [
        *product(["as declared"], ARRANGED, ["asyncio"]),
        *product(["watched"], ["a directory", "a value for a path", "near miss"], BACKENDS),
    ]
    cases = []
    for number, (scenario, arranged, backend) in enumerate(starts):
        place = make_place(tmp_path, number)
        cases.append(
            Case(
                name=f"{scenario}, {arranged}, on {backend}",
                place=place,
                arguments=[scenario, backend],
                variables=ARRANGED[arranged](place),
            )
        )
    check_cases("starts", cases, check_start)


def test_starts_under_a_server(tmp_path: Path) -> None:
    """A server that logs why it does not serve logs no value."""
    scenarios = ("plain check", "set check", "settings class", "too short")
    cases = [
        Case(
            name=f"{scenario} under uvicorn",
            place=make_place(tmp_path, number),
            arguments=[scenario, "uvicorn"],
            variables=INJECTED,
        )
        for number, scenario in enumerate(scenarios)
    ]
    check_cases("starts", cases, check_start)


def test_every_scenario_is_driven() -> None:
    """The tests of this module run every scenario of the program."""
    assert {*TELLING, *SILENT, "as declared", "watched"} == set(SCENARIOS)
    assert {*WAITED_FOR} <= set(SCENARIOS)
