"""The evaluation of the rotation benchmark, from recorded observations."""

from collections.abc import Mapping

import pytest

from benchmarks.rotations.evaluation import (
    Expectation,
    Handshake,
    Held,
    evaluate,
    evaluate_handshakes,
    evaluate_stream,
    in_force_since,
    parse,
    values_of,
)

NAMES = ("first", "second")
OLD, NEW = values_of(1, NAMES), values_of(2, NAMES)
MIXED = {**OLD, "first": NEW["first"]}
ENDED = 30.0


def expectation(published: float = 5.0) -> Expectation:
    """Return that the new values must be used, and until then the old ones."""
    return Expectation(
        wanted=NEW,
        published=published,
        is_allowed=lambda held: held.values in (OLD, NEW),
        wrong="a mixture",
    )


def test_a_report_is_a_set_of_values_or_an_exception() -> None:
    """Reading a line of an application returns the values, or the type of the exception."""
    assert parse('[1.5, {"first": "000001-fake"}]') == Held(1.5, {"first": "000001-fake"})
    assert parse('[2.5, "OSError"]') == Held(2.5, None, "reading raises OSError")


def test_new_values_in_time_are_a_yes() -> None:
    """The answer is yes if the old values were in use until the new ones were."""
    answer = evaluate([Held(1.0, OLD), Held(5.25, NEW)], ENDED, expectation())
    assert answer.good
    assert "0.25 s" in answer.seen


@pytest.mark.parametrize(
    ("held", "seen"),
    [
        ([Held(1.0, OLD)], "no new values within 10 s"),
        ([Held(1.0, OLD), Held(15.5, NEW)], "no new values within 10 s"),
        ([Held(1.0, OLD), Held(5.0, MIXED), Held(7.0, NEW)], "a mixture in use for 2.00 s"),
        ([Held(1.0, OLD), Held(4.0, None, "OSError"), Held(6.0, NEW)], "OSError for 2.00 s"),
        ([Held(1.0, OLD), Held(6.0, NEW), Held(29.0, MIXED)], "a mixture in use for 1.00 s"),
    ],
    ids=["never", "late", "mixed", "raising", "lost"],
)
def test_other_values_are_a_no(held: list[Held], seen: str) -> None:
    """The answer is no if values came late, were not allowed, could not be read, or were lost."""
    answer = evaluate(held, ENDED, expectation())
    assert not answer.good
    assert seen in answer.seen


def test_an_observation_begins_with_what_is_in_force() -> None:
    """What was held before the begin counts from the begin, if it was still held then."""
    held = [Held(1.0, OLD), Held(2.0, MIXED), Held(4.0, NEW)]
    assert in_force_since(0.0, held) == held
    assert in_force_since(3.0, held) == [Held(3.0, MIXED), Held(4.0, NEW)]
    assert in_force_since(4.0, held) == [Held(4.0, NEW)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([OLD, values_of(7, NAMES), NEW], "yes: 0 of 3 sets mixed, the last after 0.50 s"),
        ([OLD, MIXED, NEW], "no: 1 of 3 sets mixed, the last after 0.50 s"),
        ([OLD, values_of(7, NAMES)], "no: 0 of 2 sets mixed, not the last within 10 s"),
    ],
    ids=["whole", "mixed", "behind"],
)
def test_a_stream_of_updates_is_evaluated_set_by_set(
    values: list[Mapping[str, str]], expected: str
) -> None:
    """Each set must be from one update, and the last update must be in use."""
    held = [Held(float(at), dict(each)) for at, each in enumerate(values, 1)]
    assert str(evaluate_stream(held, wanted=NEW, published=2.5)) == expected


def test_an_exception_in_a_stream_of_updates_is_a_no() -> None:
    """Values that cannot be read for a moment are a failure."""
    held = [Held(1.0, OLD), Held(2.0, None, "reading raises OSError"), Held(3.0, NEW)]
    answer = evaluate_stream(held, wanted=NEW, published=2.5)
    assert not answer.good
    assert "reading raises OSError" in answer.seen


@pytest.mark.parametrize(
    ("certificates", "verdict"),
    [
        ([b"old", b"old", b"new"], "yes"),
        ([b"old", None, b"new"], "no"),
        ([b"old", b"old", b"old"], "no"),
        ([b"old", b"new", b"old"], "no"),
    ],
    ids=["all", "one failed", "not served", "back"],
)
def test_handshakes_are_evaluated_with_the_values(
    certificates: list[bytes | None], verdict: str
) -> None:
    """Every handshake must succeed, the last with the new certificate, and the values be good."""
    handshakes = [Handshake(float(at), each) for at, each in enumerate(certificates, 1)]
    values = evaluate([Held(1.0, OLD), Held(2.5, NEW)], ENDED, expectation(2.0))
    answer = evaluate_handshakes(values, handshakes, new=b"new", published=2.0)
    assert str(answer).startswith(verdict)
    bad = evaluate([Held(1.0, OLD), Held(2.5, MIXED)], ENDED, expectation(2.0))
    assert not evaluate_handshakes(bad, handshakes, new=b"new", published=2.0).good
