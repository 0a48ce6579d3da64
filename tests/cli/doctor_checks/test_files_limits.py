"""Inotify: with the real limits of a child process."""

import json
from pathlib import Path
from typing import Any

import pytest

from hive_boot.cli.doctor_checks.files import try_to_watch, watch_limits
from tests.cli.doctor_checks.contexts import context_of, kinds, mounted, write
from tests.support import descriptors, run_child, wait_until

NOT_ALLOWED = 77

IN_NAMESPACE = f"""
import ctypes, os, sys
from pathlib import Path
user = os.geteuid()
if ctypes.CDLL(None).unshare(0x10000000):  # CLONE_NEWUSER, <sched.h>
    sys.exit({NOT_ALLOWED})
from hive_boot.cli.main import main
try:
    Path("/proc/self/uid_map").write_text(f"{{user}} {{user}} 1")
    for limit in sys.argv[1:]:
        name, number = limit.split("=")
        Path("/proc/sys/user", name).write_text(number)
        main(["doctor", "tests.cli.doctor_checks.declared:watched", "--json"])
        print("---")
        Path("/proc/sys/user", name).write_text("100")
except OSError:
    sys.exit({NOT_ALLOWED})
"""
"""Run the command in a user namespace, once with each lower limit of the kernel."""

needs_inotify = pytest.mark.skipif(
    not Path("/proc/sys/fs/inotify").exists(), reason="this kernel has no inotify"
)


def findings_with(directory: Path, *limits: str) -> list[list[dict[str, Any]]]:
    """Return the command's findings about watching, for each limit of the kernel."""
    write(directory / "secrets/api_key")
    child = run_child(
        IN_NAMESPACE,
        *limits,
        cwd=directory,
        HIVE_BOOT_MODE="docker",
        HIVE_BOOT_SECRETS_DIR=str(directory / "secrets"),
    )
    if child.returncode == NOT_ALLOWED:
        pytest.skip("this machine does not allow user namespaces")
    assert child.stderr == ""
    *answers, rest = child.stdout.split("---\n")
    assert (len(answers), rest) == (len(limits), "")
    found: list[list[dict[str, Any]]] = [json.loads(answer)["findings"] for answer in answers]
    return [
        [each for each in load_result if each["kind"].startswith("watch")] for load_result in found
    ]


@needs_inotify
def test_exhausted_limits_are_reported_with_their_setting(machine: Path) -> None:
    """No instance left, no watch left."""
    (none,), (no_watch,) = findings_with(
        machine, "max_inotify_instances=0", "max_inotify_watches=0"
    )

    assert (none["severity"], none["kind"]) == ("warning", "watch-impossible")
    assert none["names"] == ["fs.inotify.max_user_instances"]
    assert none["locations"] == ["/proc/sys/fs/inotify/max_user_instances"]
    assert "sysctl -w fs.inotify.max_user_instances=" in none["fix"]

    assert (no_watch["severity"], no_watch["kind"]) == ("warning", "watch-impossible")
    assert no_watch["names"] == ["fs.inotify.max_user_watches"]
    assert "sysctl -w fs.inotify.max_user_watches=" in no_watch["fix"]


@needs_inotify
def test_the_trial_leaves_no_descriptor(tmp_path: Path) -> None:
    """Where a watch is possible there is no finding either."""
    before = descriptors()

    assert not list(try_to_watch([str(tmp_path)], context_of(tmp_path)))
    wait_until(lambda: descriptors() == before)


@needs_inotify
def test_a_location_that_cannot_be_watched_is_reported(tmp_path: Path) -> None:
    """It has disappeared; a name that is not UTF-8 is no obstacle."""
    odd, path = tmp_path / "\udcff", tmp_path / "gone"
    odd.mkdir()
    (finding,) = try_to_watch([str(path), str(odd), str(tmp_path)], context_of(tmp_path))

    assert kinds([finding]) == [("warning", "watch-impossible")]
    assert finding.locations == (str(path),)


def test_without_watch_or_inotify_nothing_is_tried(machine: Path) -> None:
    """An application that follows no changes, and a machine such as macOS."""
    write(machine / "secrets/api_key")
    assert not list(watch_limits(mounted(machine, watch=True)))

    write(machine / "proc/sys/fs/inotify/max_user_instances", "128\n")
    assert not list(watch_limits(mounted(machine)))


def test_forced_polling_is_not_judged(machine: Path) -> None:
    """The variable belongs to watchfiles, and was set on purpose."""
    write(machine / "secrets/api_key")
    write(machine / "proc/sys/fs/inotify/max_user_instances", "128\n")
    environ = {"WATCHFILES_FORCE_POLLING": "true"}

    assert not list(watch_limits(mounted(machine, environ=environ, watch=True)))
