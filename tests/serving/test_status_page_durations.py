"""How the page says how long something is, and where it breaks a name."""

from hive_boot.serving.status_page import format_duration, html_with_breaks


def test_a_span_is_said_in_words() -> None:
    """A person reads at a glance how long something is."""
    for seconds, told in (
        (-3, "0 ms"),
        (0, "0 ms"),
        (0.0854, "85 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (250, "4 min 10 s"),
        (3_599.7, "1 h"),
        (3 * 3_600 + 300, "3 h 5 min"),
        (86_400, "1 d"),
        (86_400 * 31 + 7_200, "31 d 2 h"),
    ):
        assert format_duration(seconds) == told


def test_a_name_can_go_on_in_the_next_line() -> None:
    """A long name is broken where a person would, and is never markup."""
    assert html_with_breaks("/run/<A_B>") == "/<wbr>run/<wbr>&lt;A_<wbr>B&gt;"
