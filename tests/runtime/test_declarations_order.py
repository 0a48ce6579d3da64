"""The order in which parts start."""

import re
from itertools import pairwise

import pytest

from hive_boot import DeclarationError
from hive_boot.runtime.declarations import start_order


def test_each_part_comes_after_those_that_it_needs() -> None:
    """The order of the declaration does not matter."""
    order = start_order({"api": ["pool", "cache"], "cache": ["pool"], "pool": []})
    assert order == ["pool", "cache", "api"]


def test_a_circle_is_named_in_order() -> None:
    """Each in the text needs the next one, so that a person sees which arrow to cut."""
    for needs, length in (
        ({"a": ["a"]}, 1),
        ({"a": ["b"], "b": ["a"]}, 2),
        ({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}, 3),
    ):
        with pytest.raises(DeclarationError) as caught:
            start_order(needs)
        (circle,) = re.findall(r"\b\w(?: → \w)+", str(caught.value))
        names = circle.split(" → ")
        assert names[0] == names[-1]
        assert len(names) == length + 1
        assert all(need in needs[name] for name, need in pairwise(names)), circle
