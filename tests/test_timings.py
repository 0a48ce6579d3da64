"""Timings: each of them is described, used, and a number of seconds."""

import re

from hive_boot._timings import DEFAULTS, Timings
from tests.support import ROOT

NAMES = list(Timings.field_names)


def test_each_timing_is_described_and_used() -> None:
    """The docstring lists what there is, and some module reads it."""
    described = re.findall(r"^ {8}(\w+): ", Timings.__doc__ or "", re.MULTILINE)
    assert described == NAMES
    paths = [path for path in (ROOT / "hive_boot").rglob("*.py") if path.name != "_timings.py"]
    text = "".join(path.read_text("utf-8") for path in paths)
    assert [name for name in NAMES if not re.search(rf"(?:imings|DEFAULTS)\.{name}\b", text)] == []


def test_each_timing_is_named_as_others_name_theirs() -> None:
    """A name says what is waited for, and that it is an interval, a timeout or a delay."""
    kinds = {name.rpartition("_")[2] for name in NAMES}
    assert kinds == {"interval", "timeout", "delay"}
    assert [name for name in NAMES if getattr(DEFAULTS, name) <= 0] == []


def test_no_retry_begins_above_its_maximum() -> None:
    """Each `max_..._delay` limits the delay of the same name."""
    limits = [name for name in NAMES if name.startswith("max_")]
    assert limits
    for name in limits:
        assert getattr(DEFAULTS, name.removeprefix("max_")) < getattr(DEFAULTS, name)
