"""Reports about very many secrets, files, directories and lines."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hive_boot import Secret, SecretSet
from hive_boot.secrets.load_result import LoadResult
from tests.fixtures.cases import case, empty_machines
from tests.support import look


def fastest(call: Callable[[], LoadResult]) -> tuple[float, LoadResult]:
    """Return the least processor time of two calls, and the last result.

    A pause of the garbage collector or of a busy machine makes single calls slower.
    """
    seconds = []
    for _each in range(2):
        started = time.process_time()
        result = call()
        seconds.append(time.process_time() - started)
    return min(seconds), result


def declare(count: int) -> type[SecretSet]:
    """Return a declaration of many secrets."""
    names = {f"service_api_key_{number}": Secret for number in range(count)}
    return type("Many", (SecretSet,), {"__annotations__": names})


def files(directory: Path, count: int) -> None:
    """Create files whose names are similar to those of secrets."""
    for number in range(count):
        (directory / f"service_api_key{number}x").touch()


def subdirectories(directory: Path, count: int) -> None:
    """Create subdirectories, each with another file."""
    for number in range(count):
        (directory / f"volume-{number}").mkdir()
        (directory / f"volume-{number}/other").touch()


def test_a_report_of_many_missing_secrets_takes_linear_time(tmp_path: Path) -> None:
    """Four times as many secrets and files take much less than sixteen times as long."""
    machines = empty_machines(tmp_path)
    for fill in (files, subdirectories):
        with case(fill.__name__):
            seconds = []
            for count in (100, 400):
                root = next(machines)
                (root / "named").mkdir()
                fill(root / "named", count)
                declared = declare(count)
                environ = {"HIVE_BOOT_SECRETS_DIR": str(root / "named")}
                least, loaded = fastest(partial(look, declared, root, environ))
                seconds.append(least)
                assert len(loaded.problems) == count
            assert seconds[1] < 9 * seconds[0]


def test_a_member_with_very_many_values_is_one_problem(tmp_path: Path) -> None:
    """The values of a bundle are compared once, and the bundle is named once."""
    bundle = tmp_path / "bundle"
    bundle.write_text("".join(f"SERVICE_API_KEY_0=fake-value-{n}\n" for n in range(5_000)))
    loaded = look(declare(1), tmp_path, {"HIVE_BOOT_SECRETS_DIR": str(bundle)})
    (problem,) = loaded.problems
    assert problem.kind == "conflict"
    assert set(problem.places) == {f"{bundle}#SERVICE_API_KEY_0"}
    assert len(loaded.unused_values) == 5_000


def test_many_variables_with_a_path_take_linear_time(tmp_path: Path) -> None:
    """Four times as many files that variables name take much less than sixteen times as long."""
    seconds = []
    for count in (300, 1200):
        environ = {"HIVE_BOOT_MODE": "environment"}
        for number in range(count):
            path = tmp_path / f"value-{number}"
            path.write_text(f"fake-value-{number}")
            environ[f"SERVICE_API_KEY_{number}_FILE"] = str(path)
        declared = declare(count)
        least, loaded = fastest(partial(look, declared, tmp_path, environ))
        seconds.append(least)
        assert len(loaded.values) == count
    assert seconds[1] < 9 * seconds[0]
