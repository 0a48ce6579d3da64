"""Whether the kernel tells of changes: with real limits, of a child's own."""

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from hive_boot.cli.examinations.watching import try_to_watch, watch_impossible
from tests.cli.examinations.patients import mounted, write
from tests.support import descriptors, run_child

NOT_ALLOWED = 77

CONFINED = f"""
import ctypes, os, sys
from pathlib import Path
user = os.geteuid()
if ctypes.CDLL(None).unshare(0x10000000):  # CLONE_NEWUSER, <sched.h>
    sys.exit({NOT_ALLOWED})
try:
    Path("/proc/self/uid_map").write_text(f"{{user}} {{user}} 1")
    Path("/proc/sys/user", sys.argv[1]).write_text(sys.argv[2])
except OSError:
    sys.exit({NOT_ALLOWED})
from hive_boot.cli.main import main
sys.exit(main(["doctor", "tests.cli.examinations.declared:watched", "--json"]))
"""
"""Be a user of a namespace of its own, in which the kernel allows less."""

LIMITS = {"max_user_instances": "128", "max_user_watches": "8192"}


def findings(place: Path, limit: str, number: int) -> list[dict[str, Any]]:
    """Ask the doctor where the kernel allows only ``number`` of something."""
    write(place / "secrets/api_key")
    done = run_child(
        CONFINED,
        limit,
        str(number),
        cwd=place,
        HIVE_BOOT_MODE="docker",
        HIVE_BOOT_SECRETS_DIR=str(place / "secrets"),
    )
    if done.returncode == NOT_ALLOWED:
        pytest.skip("no namespace for a user is to be had here")
    assert done.stderr == ""
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return [finding for finding in found if finding["kind"].startswith("watch")]


needs_inotify = pytest.mark.skipif(
    not Path("/proc/sys/fs/inotify").exists(), reason="there is no inotify here"
)


@needs_inotify
def test_without_an_instance_the_mend_is_a_command(machine: Path) -> None:
    """All containers of a user share 128 instances: the next one polls, and nobody knows."""
    (finding,) = findings(machine, "max_inotify_instances", 0)

    assert (finding["severity"], finding["kind"]) == ("warning", "watch-impossible")
    assert "max_user_instances is " in finding["where"]
    assert "sysctl -w fs.inotify.max_user_instances=" in finding["mend"]


@needs_inotify
def test_few_instances_are_a_remark(machine: Path) -> None:
    """It works now, and will not for the next processes."""
    (finding,) = findings(machine, "max_inotify_instances", 3)

    assert (finding["severity"], finding["kind"]) == ("remark", "watch-nearly-impossible")
    assert "only 3 inotify instances" in finding["what"]


@needs_inotify
def test_without_a_watch_the_other_limit_is_named(machine: Path) -> None:
    """An editor or an indexer has taken them all."""
    (finding,) = findings(machine, "max_inotify_watches", 0)

    assert (finding["severity"], finding["kind"]) == ("warning", "watch-impossible")
    assert "sysctl -w fs.inotify.max_user_watches=" in finding["mend"]


@needs_inotify
def test_where_all_is_well_nothing_is_said_and_nothing_kept(tmp_path: Path) -> None:
    """What was taken for the trial is given back."""
    before = descriptors()

    assert try_to_watch([str(tmp_path)], LIMITS) == []
    assert descriptors() == before


@needs_inotify
def test_a_place_that_cannot_be_watched_is_named(tmp_path: Path) -> None:
    """It has gone, or the service's user may not list it."""
    (symptom,) = try_to_watch([str(tmp_path / "gone")], LIMITS)

    assert symptom.where == str(tmp_path / "gone")
    assert "no such file" in symptom.what


@needs_inotify
def test_a_process_without_descriptors_has_another_limit(tmp_path: Path) -> None:
    """The same error of the kernel, and no sysctl mends it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208  (names alone)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
    held: list[int] = []
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        symptoms = try_to_watch([str(tmp_path)], LIMITS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in held:
            os.close(descriptor)

    (symptom,) = symptoms
    assert symptom.kind == "watch-impossible"
    assert "ulimit -n" in symptom.mend


def test_without_watch_nothing_is_tried(machine: Path) -> None:
    """An application that takes up no change needs none of it."""
    write(machine / "secrets/api_key")
    write(machine / "proc/sys/fs/inotify/max_user_instances", "128\n")

    assert watch_impossible(mounted(machine)) == []


def test_polling_that_somebody_wishes_is_a_remark(machine: Path) -> None:
    """The variable of watchfiles is easily left over from a laptop."""
    write(machine / "secrets/api_key")
    environ = {"WATCHFILES_FORCE_POLLING": "true"}

    (symptom,) = watch_impossible(mounted(machine, environ=environ, watch=True))

    assert (symptom.severity, symptom.kind) == ("remark", "watch-polls")


def test_where_there_is_no_inotify_nothing_is_said(machine: Path) -> None:
    """On macOS other means tell of changes."""
    write(machine / "secrets/api_key")

    assert watch_impossible(mounted(machine, watch=True)) == []
