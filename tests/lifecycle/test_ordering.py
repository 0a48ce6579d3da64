"""The order in which parts start."""

import re
from itertools import pairwise

import pytest

from hive_boot.exceptions import DeclarationError
from hive_boot.lifecycle.ordering import in_order


def test_each_part_comes_after_those_that_it_needs() -> None:
    """The order of the declaration does not matter."""
    order = in_order({"api": ["pool", "cache"], "cache": ["pool"], "pool": []})
    assert order == ["pool", "cache", "api"]


@pytest.mark.parametrize(
    ("needs", "circle"),
    [
        ({"a": ["a"]}, "a → a"),
        ({"a": ["b"], "b": ["a"]}, "(a → b → a|b → a → b)"),
        ({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}, "(a → b → c → a|b → c → a → b|.*c)"),
    ],
)
def test_a_circle_is_named_in_order(needs: dict[str, list[str]], circle: str) -> None:
    """Each in the text needs the next one, so that a person sees which arrow to cut."""
    with pytest.raises(DeclarationError) as caught:
        in_order(needs)
    told = str(caught.value)
    assert re.fullmatch(f"parts need each other, so that none of them .* first: {circle}", told)
    names = told.rpartition(": ")[2].split(" → ")
    assert all(need in needs[name] for name, need in pairwise(names))
