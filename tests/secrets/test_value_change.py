"""What a hook is told: which fields, what they were and what they are."""

from hive_boot import Change, Secret
from hive_boot.secrets.value import filter_change, merge_changes


def changed(generation: int, **moves: str) -> Change:
    """Make a change of fields, each given as ``old>new``; a dash is nothing."""

    def value(name: str, letter: str) -> Secret | None:
        return None if letter == "-" else Secret(name.upper(), f"fake-value-{letter}")

    pairs = {name: move.split(">") for name, move in moves.items()}
    old = {name: value(name, before) for name, (before, _) in pairs.items()}
    new = {name: value(name, after) for name, (_, after) in pairs.items()}
    return Change(tuple(moves), old, new, generation)


def moves_of(change: Change | None) -> dict[str, str]:
    """Return what a change says of each field, as ``old>new``, in its order."""
    assert change is not None
    assert change.old.keys() == change.new.keys() == set(change.names)

    def letter(value: object) -> str:
        assert isinstance(value, Secret | None)
        return "-" if value is None else value.reveal()[-1]

    return {name: f"{letter(change.old[name])}>{letter(change.new[name])}" for name in change.names}


def test_the_first_change_is_joined_to_nothing() -> None:
    """A hook that has coped with everything hears of the next change as it is."""
    change = changed(2, key="a>b")
    assert merge_changes(None, change) is change


def test_two_changes_of_one_field_become_one() -> None:
    """Who missed the value in between hears what it knew last, and what is in use now."""
    both = merge_changes(changed(2, key="a>b"), changed(3, key="b>c"))
    assert moves_of(both) == {"key": "a>c"}
    assert both.generation == 3


def test_changes_of_several_fields_become_one() -> None:
    """Every field of both changes is named once, with its oldest and its newest value."""
    first = changed(2, key="a>b", dsn="->b")
    both = merge_changes(first, changed(4, dsn="b>-", token="a>b"))
    assert moves_of(both) == {"key": "a>b", "dsn": "->-", "token": "a>b"}
    assert both.generation == 4
    assert moves_of(first) == {"key": "a>b", "dsn": "->b"}


def test_what_was_taken_back_is_told_all_the_same() -> None:
    """A hook that failed half way hears that the old value is in use, and can go back to it."""
    both = merge_changes(changed(2, key="a>b"), changed(3, key="b>a"))
    assert moves_of(both) == {"key": "a>a"}


def test_three_changes_become_one_in_any_grouping() -> None:
    """However changes come together while a hook fails, it hears the same."""
    one, two = changed(2, a="a>b"), changed(3, a="b>c", b="a>b")
    three = changed(4, b="b>c", c="->d")
    for both in (
        merge_changes(merge_changes(one, two), three),
        merge_changes(one, merge_changes(two, three)),
    ):
        assert moves_of(both) == {"a": "a>c", "b": "a>c", "c": "->d"}
        assert both.generation == 4


def test_a_hook_hears_of_its_fields_only() -> None:
    """Of a change of three fields a hook of two is told those two, in the order they had."""
    change = changed(7, key="a>b", dsn="a>b", token="a>-")
    part = filter_change(change, frozenset({"token", "key", "other"}))
    assert moves_of(part) == {"key": "a>b", "token": "a>-"}
    assert part is not None
    assert part.generation == 7


def test_a_hook_of_other_fields_hears_nothing() -> None:
    """A change that has nothing for a hook is none for it."""
    assert filter_change(changed(7, key="a>b"), frozenset({"dsn"})) is None
    assert filter_change(changed(7, key="a>b"), frozenset()) is None


def test_a_change_shows_no_value() -> None:
    """A hook may print or log what it was told."""
    shown = repr(merge_changes(changed(2, key="a>b"), changed(3, key="b>c")))
    assert "fake-value" not in shown
    assert "Secret('KEY', '***')" in shown
