"""The mount table of the kernel: what is read from a line, and which lines are left out."""

import os
from pathlib import Path

import pytest

from hive_boot.secrets.watch_targets import Mount, parse_mounts, read_mounts

LINE = "36 35 98:0 {root} {point} rw,noatime{optional} - {file_system} /dev/root rw,errors=continue"


def line(
    point: str = "/mnt", root: str = "/", optional: str = " master:1", file_system: str = "ext4"
) -> str:
    """Write one mount as the kernel lists it."""
    return LINE.format(root=root, point=point, optional=optional, file_system=file_system)


def test_the_fields_of_a_line_are_read_with_any_number_of_optional_fields() -> None:
    """The file system stands behind the separator, however many optional fields precede it."""
    expected = Mount(root="/host", point="/mnt", file_system="fuse.sshfs")
    for optional in ("", " shared:1", " shared:1 master:2 propagate_from:3 unbindable"):
        text = line("/mnt", "/host", optional, "fuse.sshfs")
        assert parse_mounts(text) == [expected], optional


def test_mounts_keep_the_order_of_the_table() -> None:
    """Of two mounts at one point the later one is visible, so the order counts."""
    text = f"{line(root='/first')}\n{line(root='/second')}\n"
    assert [mount.root for mount in parse_mounts(text)] == ["/first", "/second"]


def test_escapes_are_undone_once_in_every_field() -> None:
    """White space, backslashes and bytes above ASCII do not change what a path is."""
    names = {
        "with\\040space": "with space",
        "with\\011tab": "with\ttab",
        "with\\012newline": "with\nnewline",
        "with\\134backslash": "with\\backslash",
        "with\\134040digits": "with\\040digits",
        "with\\043hash": "with#hash",
        "with\\09digits": "with\\09digits",
        "a - b".replace(" ", "\\040"): "a - b",
        "schlüssel": "schlüssel",
    }
    for written, name in names.items():
        (mount,) = parse_mounts(line(f"/mnt/{written}", f"/{written}", file_system=written))
        assert mount == Mount(root=f"/{name}", point=f"/mnt/{name}", file_system=name)


def test_characters_that_only_python_takes_for_line_ends_belong_to_a_path() -> None:
    """The kernel does not escape them, and a line ends at a newline alone."""
    for character in "\r\v\f\x1c\x85\u2028":
        (mount,) = parse_mounts(line(f"/mnt/a{character}b") + "\n")
        assert mount.point == f"/mnt/a{character}b", repr(character)


def test_lines_of_another_form_are_left_out() -> None:
    """A table that is cut off, or of another kind, hides no line that can be read."""
    odd = ["", "odd", " - ", "36 35 98:0 / /mnt - ext4 none rw", "36 35 98:0 / /mnt rw,noatime"]
    text = "\n".join([*odd, line("/kept"), *odd])
    assert [mount.point for mount in parse_mounts(text)] == ["/kept"]


def test_a_path_that_is_not_utf_8_is_read_as_python_names_it(tmp_path: Path) -> None:
    """The path can be compared with what ``os`` returns for the same file."""
    name = os.fsdecode(b"/mnt/caf\xe9\r\xff")
    table = tmp_path / "mountinfo"
    table.write_bytes(os.fsencode(line(name)))
    assert [mount.point for mount in read_mounts(str(table))] == [name]


def test_a_table_that_cannot_be_read_has_no_mounts(tmp_path: Path) -> None:
    """A machine without the table is not an error."""
    assert read_mounts(str(tmp_path / "absent")) == []
    assert read_mounts(str(tmp_path)) == []


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="needs Linux")
def test_the_table_of_this_machine_lists_the_root() -> None:
    """What the kernel writes today is understood."""
    mounts = read_mounts()
    assert any(mount.point == "/" and mount.file_system for mount in mounts)
    assert any(mount.file_system == "proc" for mount in mounts)
