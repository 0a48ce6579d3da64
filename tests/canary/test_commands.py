"""Commands: they handle every value, and show none."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from subprocess import CompletedProcess, run
from sys import executable
from types import MappingProxyType

from tests.canary.canaries import CANARIES, ENVIRONMENT, make
from tests.canary.children import Case, make_place, run_cases
from tests.canary.outputs import Outputs
from tests.support import child_environment

APP = "tests.canary.programs.declared:Canaries"

LOOSE = make("LOOSE")
"""A value in a place that is not declared as a secret."""

NEXT = {canary.name: make(canary.name) for canary in CANARIES}
"""The values after a rotation."""

TEXTS = {name: value for name, value in ENVIRONMENT.items() if name != "KEYSTORE"}
"""The values that a ``.env`` file can contain."""


def command(
    *typed: str,
    stdin: bytes = b"",
    mode: str = "development",
    variables: Mapping[str, str] = MappingProxyType({}),
) -> "CompletedProcess[bytes]":
    """Run a command in a separate process."""
    return run(
        [executable, "-m", "hive_boot", *typed],
        env={**child_environment(HIVE_BOOT_MODE=mode, HIVE_BOOT_PROFILE="test"), **variables},
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


def commands(
    place: Path, rows: Iterable[tuple[Sequence[str], Mapping[str, str], bytes]], workers: int = 2
) -> "list[CompletedProcess[bytes]]":
    """Run commands in this directory, each with its variables and stdin, in its own process."""
    cases = [
        Case(
            name=f"{number} {typed[0]}",
            place=make_place(place, number),
            arguments=typed,
            variables={
                "HIVE_BOOT_MODE": "development",
                "HIVE_BOOT_PROFILE": "test",
                **variables,
            },
            stdin=stdin,
            cwd=Path.cwd(),
        )
        for number, (typed, variables, stdin) in enumerate(rows)
    ]
    return run_cases("commands", cases, workers=workers)


def assert_silent(*children: "CompletedProcess[bytes]") -> str:
    """Assert that no output contains a value, old or new, and return the outputs."""
    outputs = Outputs([*CANARIES, *NEXT.values(), LOOSE])
    for child in children:
        outputs.add_child(child)
        assert b"Traceback" not in child.stderr
    outputs.assert_silent()
    return outputs.text


def write_directory() -> Path:
    """Mount every value, and files with undeclared names."""
    place = Path("secrets")
    place.mkdir()
    for canary in CANARIES:
        value = canary.value
        path = place / canary.name.lower()
        path.write_bytes(value if isinstance(value, bytes) else f"{value}\n".encode())
    (place / LOOSE.variable).write_text(LOOSE.variable, "utf-8")
    (place / "openai_api_kye").write_text(LOOSE.variable, "utf-8")
    (place / "jwt_secret~").write_text(LOOSE.variable, "utf-8")
    return place


def write_dotenv(**more: str) -> Path:
    """Write every value that is text into a ``.env`` with correct quotes."""
    lines = []
    for name, value in {**TEXTS, **more}.items():
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"{name}='{escaped}'")
    path = Path(".env")
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_check_and_doctor_show_no_value(tmp_path: Path) -> None:
    """``check`` and ``doctor`` show no value of files, variables and undeclared names."""
    place = str(write_directory().absolute())
    mounted = {"HIVE_BOOT_SECRETS_DIR": place, "KEYSTORE": LOOSE.variable}
    short = {**ENVIRONMENT, "JWT_SECRET": LOOSE.variable[:20]}
    machines: list[dict[str, str]] = [
        {"HIVE_BOOT_MODE": "docker", **mounted},
        {"HIVE_BOOT_MODE": "docker", **ENVIRONMENT, **mounted},
        {"HIVE_BOOT_MODE": "environment", **ENVIRONMENT},
        {"HIVE_BOOT_MODE": "environment", **short},
        {"HIVE_BOOT_MODE": LOOSE.variable},
        {"HIVE_BOOT_MODE": "development", "OPENAI_API_KEY_FILE": LOOSE.variable},
    ]
    typed = [[name, APP, *more] for name in ("check", "doctor") for more in ([], ["--json"])]
    children = commands(tmp_path, product(typed, machines, [b""]))
    for number in range(0, len(children), len(machines)):
        assert "Canaries" in assert_silent(*children[number : number + len(machines)])


def test_migrate_shows_no_value() -> None:
    """``migrate`` shows no value, not even that of an invalid line or of a conflict."""
    dotenv = write_dotenv()
    typed = ("migrate", APP, "--env-file", ".env", "--to", "secrets")
    dry = [command(*typed, "--dry-run", *more) for more in ([], ["--json"])]
    done = command(*typed, variables={name: canary.variable for name, canary in NEXT.items()})
    assert [child.returncode for child in [*dry, done]] == [0, 0, 0]
    assert Path("secrets/jwt_secret").read_text("utf-8") == TEXTS["JWT_SECRET"]
    write_dotenv(JWT_SECRET=NEXT["JWT_SECRET"].variable)
    differs = [command(*typed, *more) for more in ([], ["--json"])]
    assert all(child.returncode for child in differs)
    same = command(*typed) if write_dotenv() else differs[0]
    assert same.returncode == 0
    dotenv.write_text(f"JWT_SECRET='{LOOSE.variable}\n{LOOSE.variable}\n", "utf-8")
    broken = command(*typed)
    assert broken.returncode
    text = assert_silent(*dry, done, *differs, same, broken)
    assert "JWT_SECRET" in text


def test_rotate_shows_no_value(tmp_path: Path) -> None:
    """``rotate`` shows neither the old nor the new value, accepted or rejected."""
    place = str(write_directory().absolute())
    typed = ["rotate", "JWT_SECRET", "--to", place]
    value = NEXT["JWT_SECRET"].variable.encode()
    rotations = [
        (typed, value),
        ([*typed, "--json", "--backup"], LOOSE.variable.encode()),
        ([*typed, "--app", APP], LOOSE.variable[:30].encode()),
        ([*typed, LOOSE.variable], value),
        ([*typed, f"--value={LOOSE.variable}"], value),
        (["rotate", NEXT["GITHUB_TOKEN"].variable, "--to", place], value),
        (["rotate", "JWT_SECRET", "--to", f"{place}/{LOOSE.variable}"], value),
        ([*typed, "--kubernetes", "hive"], value),
    ]
    children = commands(tmp_path, [(each, {}, stdin) for each, stdin in rotations], workers=1)
    assert [bool(child.returncode) for child in children[:2]] == [False, False]
    assert [bool(child.returncode) for child in children[2:6]] == [True] * 4
    # A directory that is misspelt is named by the person who typed it.
    named = children.pop(6)
    assert named.returncode
    assert "JWT_SECRET" in assert_silent(*children)


def test_manifests_contain_no_value(tmp_path: Path) -> None:
    """``manifests`` uses the declaration alone, so its output contains no value."""
    write_directory()
    write_dotenv()
    targets = ("compose", "kubernetes", "systemd", "env-example", "markdown")
    typed = [
        ["manifests", APP, "--target", target, *more]
        for target in targets
        for more in ([], ["--json"], ["--check"])
    ]
    children = commands(tmp_path, product(typed, [ENVIRONMENT], [b""]))
    assert "jwt_secret" in assert_silent(*children)


def test_a_probe_shows_no_more_than_a_line() -> None:
    """``probe`` rejects a URL with more than host and path, without repeating it."""
    child = command("probe", f"http://user:{LOOSE.variable}@127.0.0.1:1/")
    assert child.returncode == 64
    assert_silent(child)


def test_json_is_json() -> None:
    """The JSON output that was searched is valid."""
    child = command("check", APP, "--json", mode="environment", variables=ENVIRONMENT)
    assert json.loads(child.stdout)["declaration"] == "Canaries"
