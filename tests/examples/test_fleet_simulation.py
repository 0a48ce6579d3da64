"""The simulation of docs/fleet.md: the rule that it shows, and its picture."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from examples.fleet import simulation
from examples.fleet.simulation import (
    LIFETIME,
    SIZES,
    Kubelet,
    Rotation,
    average_rejected,
    draw,
    main,
    shortest_safe,
)
from tests.support import ROOT

WATCH, CACHE = Kubelet(), Kubelet(cache_ttl=60)


def safe_rotation(kubelet: Kubelet) -> Rotation:
    """Return a rotation of 200 instances with the shortest delays that the rule allows."""
    activate_after, accept_old_for = shortest_safe(LIFETIME, kubelet)
    return Rotation(
        instances=200,
        activate_after=activate_after,
        accept_old_for=accept_old_for,
        kubelet=kubelet,
    )


@pytest.mark.parametrize("kubelet", [WATCH, CACHE], ids=["watch", "cache"])
def test_the_rule_rejects_no_token_and_half_of_it_rejects_some(kubelet: Kubelet) -> None:
    """Both delays are needed, and neither replaces the other."""
    safe = safe_rotation(kubelet)

    assert average_rejected(safe) == 0
    assert average_rejected(replace(safe, activate_after=safe.activate_after / 2)) > 0
    assert average_rejected(replace(safe, accept_old_for=LIFETIME)) > 0
    longer = replace(safe, activate_after=safe.activate_after * 3)
    assert average_rejected(replace(longer, accept_old_for=LIFETIME)) > 0


def test_the_longest_delay_is_one_and_a_half_periods_and_the_cache() -> None:
    """The delays that are drawn come near it, and none is longer."""
    for kubelet, longest in ((WATCH, 90.0), (CACHE, 150.0)):
        delays = kubelet.delays(100_000, np.random.default_rng(1))
        assert kubelet.longest == longest
        assert 0.9 * longest < delays.max() <= longest
        assert delays.min() >= 0


def test_a_delay_is_the_rest_of_an_interval_that_has_begun() -> None:
    """Its mean is that of a renewal process: E[X²] / 2 E[X], for X between 60 and 90 s."""
    delays = WATCH.delays(200_000, np.random.default_rng(1))
    mean_of_squares = (90**3 - 60**3) / (3 * 30)

    assert delays.mean() == pytest.approx(mean_of_squares / (2 * 75), rel=0.01)


def test_an_instance_that_is_started_during_the_rotation_needs_both_keys_everywhere() -> None:
    """Delays do not help it: ``previous=`` saves old tokens, and an announcement the new ones."""
    safe = replace(safe_rotation(WATCH), restarts=0.1)
    with_previous = replace(safe, previous=True)

    assert average_rejected(safe) > average_rejected(with_previous) > 0
    assert average_rejected(replace(with_previous, announced=True)) == 0


def test_an_announced_key_that_stays_mounted_needs_no_delay() -> None:
    """With proof of each step, a fleet does not depend on the times of its kubelets."""
    careful = Rotation(
        instances=200,
        activate_after=0,
        accept_old_for=0,
        restarts=0.1,
        previous=True,
        announced=True,
    )

    assert average_rejected(careful) == 0


def test_the_same_seed_has_the_same_result() -> None:
    """A result can be repeated, and another seed has another one."""
    rotation = replace(safe_rotation(WATCH), activate_after=0)

    assert average_rejected(rotation) == average_rejected(rotation)
    assert average_rejected(rotation) != average_rejected(rotation, seed=1)


def test_the_table_ends_with_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    """The delays of the last line reject no token, and those before it reject some."""
    main(["--instances", "100", "--lifetime", "60", "--cache-ttl", "30"])

    _fleet, _head, *lines = capsys.readouterr().out.splitlines()
    found = [line.replace(" s ", " ").split() for line in lines]
    assert found[-1] == ["120", "180", "0.0"]
    assert all(float(rejected.replace(",", "")) > 0 for _, _, rejected in found[:-1])


def test_the_picture_is_readable_text_and_always_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one of the documentation has every size of a fleet, and both bounds."""
    monkeypatch.setattr(simulation, "TOKENS_OF_A_POINT", 100)
    drawn = draw((5, 10))
    assert draw((5, 10)) == drawn

    for svg in (drawn, (ROOT / "docs" / "images" / "fleet.svg").read_text("utf-8")):
        ET.fromstring(svg)  # noqa: S314  (made here)
        assert "prefers-color-scheme: dark" in svg
        texts = " ".join(re.findall(r">([^<>]+)</text>", svg))
        assert "90 s: the longest delay" in texts
        assert "690 s: the longest delay + the lifetime of a token" in texts
    assert all(f"{size:,} instances" in texts for size in SIZES)
