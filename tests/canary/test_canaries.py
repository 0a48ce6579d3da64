"""The search itself: it finds what is there, and nothing where nothing is."""

import pytest

from tests.canary.canaries import CANARIES, make, search
from tests.canary.outputs import Outputs
from tests.canary.programs.telling import spellings


def test_a_canary_is_found_however_a_program_writes_it() -> None:
    """Whatever a program makes of a value, the search sees it, by the name of its secret."""
    for canary in CANARIES:
        for number, text in enumerate(spellings(canary.value)):
            (found,) = search([("a log", f"before {text} after")], [canary])
            assert found.startswith(f"{canary.name} in a log: "), number


def test_a_canary_is_found_in_bytes() -> None:
    """A file that is no text is searched as well."""
    for canary in CANARIES:
        raw = canary.value if isinstance(canary.value, bytes) else canary.value.encode()
        outputs = Outputs([canary])
        outputs.add("a dump", b"\xff\x00" + raw + b"\x00\xff")
        with pytest.raises(AssertionError, match=f"{canary.name} in a dump: "):
            outputs.assert_silent()


def test_a_failure_shows_no_value() -> None:
    """What says that a canary was found does not spread it."""
    for canary in CANARIES:
        outputs = Outputs([canary])
        outputs.add("a log", f"{canary.variable!r}")
        with pytest.raises(AssertionError) as caught:
            outputs.assert_silent()
        assert search([("the failure", str(caught.value))], [canary]) == []


def test_nothing_is_found_where_nothing_is() -> None:
    """Stars, names, and the canaries of another run are no finds."""
    outputs = Outputs()
    for name in [canary.name for canary in CANARIES]:
        other = make(name)
        outputs.add(
            name, f"{name}=*** canary-{name.lower()} {other.variable} -----BEGIN FAKE KEY-----"
        )
    outputs.assert_silent()


def test_canaries_are_seen_to_be_fake() -> None:
    """Nobody who sees one takes it for a secret that somebody lost."""
    for canary in CANARIES:
        assert "canary-" in canary.variable
        assert canary.value != make(canary.name).value
