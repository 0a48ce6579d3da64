"""The soak itself: the result of a short one, and the detection of each problem."""

from dataclasses import replace
from typing import Any

from tests.soak.account import Account
from tests.soak.values import make_value, tag_of
from tests.support import run_python

OCCUPIED = {"descriptors": 20, "threads": 5, "objects": 100_000, "memory": 40 << 20}

GOOD = Account(
    requests=1000,
    waits=[0.5, 0.2],
    told={"watcher": "inotify", "verdicts": {"accepted": 3}, "seen": {"samples": 10}},
    before=OCCUPIED,
    after=OCCUPIED,
    status=0,
)


def told(**facts: object) -> dict[str, Any]:
    """Return the observations of an application without a problem, updated by ``facts``."""
    return {**GOOD.told, **facts}


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"failures": ["refused"]}, "1 requests failed, the first: refused"),
    ({"requests": 0}, "there were no requests"),
    ({"status": None}, "the application ended with None"),
    ({"status": 70}, "the application ended with 70"),
    ({"told": told(seen={"torn": 1, "torn samples": 2})}, "3 torn sets were seen"),
    ({"told": told(seen={"gaps": 1})}, "1 changes were not told to a hook"),
    ({"told": told(leaks=2)}, "2 log records held a value"),
    ({"told": told(surprises=["oh"])}, "logged as an error: oh"),
    ({"told": told(reasons=["a hook fails"])}, "degraded at the end: a hook fails"),
    ({"told": told(watcher="poll")}, "the watcher is poll at the end"),
    ({"told": told(verdicts={})}, "nothing was rotated"),
    ({"waits": [0.5, None]}, "a good set did not come into use"),
    ({"waits": []}, "a good set did not come into use"),
    ({"after": {**OCCUPIED, "descriptors": 21}}, "growth of descriptors: from 20 to 21"),
    ({"after": {**OCCUPIED, "threads": 6}}, "growth of threads: from 5 to 6"),
    ({"after": {**OCCUPIED, "objects": 102_000}}, "growth of objects: from 100000 to 102000"),
    ({"after": {**OCCUPIED, "memory": 50 << 20}}, "growth of memory: from 40.0 MiB to 50.0 MiB"),
]
"""Results with one problem each, and its description."""


def test_a_short_soak_ends_well() -> None:
    """The report of a short soak on asyncio has no problem; ``make soak`` runs longer ones."""
    options = ["--minutes", "0.03", "--seed", "of the tests"]
    ended = run_python("-m", "tests.soak", *options, seconds=100)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "--seed of the tests" in ended.stdout
    assert "All is as it should be." in ended.stdout


def test_an_account_without_a_fault_has_none() -> None:
    """Results without a problem are reported as such."""
    assert GOOD.faults() == []
    assert "All is as it should be." in GOOD.text()


def test_a_short_soak_may_grow() -> None:
    """Without a warm-up, growth of memory is not a problem."""
    after = {**OCCUPIED, "objects": 200_000, "memory": 80 << 20}
    assert replace(GOOD, after=after, is_warm=False).faults() == []


def test_every_fault_is_told() -> None:
    """Each single problem is reported by name."""
    for change, fault in FAULTS:
        account = replace(GOOD, **change)
        assert account.faults() == [fault]
        assert f"WRONG: {fault}" in account.text()


def test_a_value_that_was_cut_or_mixed_up_is_known() -> None:
    """A torn value is never taken for a whole one."""
    value = make_value("api_key", 7)
    assert tag_of("api_key", value) == 7
    assert all(tag_of("api_key", value[:end]) is None for end in range(len(value)))
    assert tag_of("token", value) is None
    assert tag_of("api_key", value.replace("00000007", "00000008")) is None
