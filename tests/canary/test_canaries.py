"""The search for canaries: it finds every form, and nothing else."""

import pytest

from tests.canary.canaries import CANARIES, make, search
from tests.canary.outputs import Outputs
from tests.canary.programs.telling import spellings


def test_a_canary_is_found_however_a_program_writes_it() -> None:
    """The search finds every form in which a program may write a value."""
    for canary in CANARIES:
        for number, text in enumerate(spellings(canary.value)):
            (found,) = search([("a log", f"before {text} after")], [canary])
            assert found.startswith(f"{canary.name} in a log: "), number


def test_a_canary_is_found_in_bytes() -> None:
    """A file that is not UTF-8 is searched too."""
    for canary in CANARIES:
        raw = canary.value if isinstance(canary.value, bytes) else canary.value.encode()
        outputs = Outputs([canary])
        outputs.add("a dump", b"\xff\x00" + raw + b"\x00\xff")
        with pytest.raises(AssertionError, match=f"{canary.name} in a dump: "):
            outputs.assert_silent()


def test_a_failure_shows_no_value() -> None:
    """The message of a failed search contains no value."""
    for canary in CANARIES:
        outputs = Outputs([canary])
        outputs.add("a log", f"{canary.variable!r}")
        with pytest.raises(AssertionError) as caught:
            outputs.assert_silent()
        assert search([("the failure", str(caught.value))], [canary]) == []


def test_nothing_is_found_where_nothing_is() -> None:
    """Masks, names, and the canaries of another run are not found."""
    outputs = Outputs()
    for name in [canary.name for canary in CANARIES]:
        other = make(name)
        outputs.add(
            name, f"{name}=*** canary-{name.lower()} {other.variable} -----BEGIN FAKE KEY-----"
        )
    outputs.assert_silent()


def test_canaries_are_seen_to_be_fake() -> None:
    """A canary is visibly fake."""
    for canary in CANARIES:
        assert "canary-" in canary.variable
        assert canary.value != make(canary.name).value
