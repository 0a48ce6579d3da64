"""Files that are named one by one, below a link that is replaced while they are read."""

import time
from itertools import cycle
from pathlib import Path

from hive_boot import Secret, SecretSet
from hive_boot.secrets.loader import load
from hive_boot.secrets.platform import HostEnvironment, SourceOptions, detect
from hive_boot.secrets.sources.directories import ReadPolicy
from tests.fixtures.cases import case, empty_machines
from tests.support import values_of


def point_to(link: Path, target: str) -> None:
    """Replace a link by a rename."""
    (new := link.with_name("new")).symlink_to(target)
    new.rename(link)


class Pair(SecretSet):
    """Two secrets that belong together."""

    user: Secret
    password: Secret


def test_two_old_sets_are_never_mixed(tmp_path: Path) -> None:
    """A variable and a bundle, or two bundles, are read again after the link is replaced.

    Both sets are older than any file that is read twice.
    """
    cases = [
        ({"USER_FILE": "{}/user"}, ["password.env"]),
        ({}, ["user.env", "password.env"]),
    ]
    machines = empty_machines(tmp_path)
    for variables, bundles in cases:
        with case(variables, bundles):
            root = next(machines)
            for number in (1, 2):
                (root / f"set-{number}").mkdir()
                (root / f"set-{number}/user").write_text(f"fake-user-{number}")
                (root / f"set-{number}/user.env").write_text(f"USER=fake-user-{number}")
                (root / f"set-{number}/password.env").write_text(f"PASSWORD=fake-pass-{number}")
            link = root / "link"
            point_to(link, "set-1")

            def replace_once(link: Path = link) -> float:
                point_to(link, "set-2")
                return time.time() + 60

            environ = {name: path.format(link) for name, path in variables.items()}
            directories = [str(link / bundle) for bundle in bundles]
            host = HostEnvironment(environ, str(root), str(root), 4242, terminal="")
            index = Pair._field_index
            context = detect(host, SourceOptions(secrets_dirs=directories), index)
            loaded = load(index, context, policy=ReadPolicy(wall=replace_once))
            assert values_of(loaded) == {"user": "fake-user-2", "password": "fake-pass-2"}


def test_a_link_that_changes_at_each_attempt_is_a_problem(tmp_path: Path) -> None:
    """What was read may be of two sets, so no set is accepted."""
    for number in (1, 2):
        (tmp_path / f"set-{number}").mkdir()
        for name in ("user", "password"):
            (tmp_path / f"set-{number}/{name}.env").write_text(f"{name.upper()}=fake-{number}")
    link, targets = tmp_path / "link", cycle(["set-2", "set-1"])
    point_to(link, "set-1")

    def replace() -> float:
        point_to(link, next(targets))
        return time.time() + 60

    directories = [str(link / f"{name}.env") for name in ("user", "password", "user")]
    host = HostEnvironment({}, str(tmp_path), str(tmp_path), 4242, terminal="")
    index = Pair._field_index
    context = detect(host, SourceOptions(secrets_dirs=directories), index)
    loaded = load(index, context, policy=ReadPolicy(wall=replace))
    assert ("unstable", True) in [
        (each.kind, each.name.startswith(str(tmp_path))) for each in loaded.problems
    ]
