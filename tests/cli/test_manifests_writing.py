"""Files of ``hive-boot manifests --write``: all of them are written, or none."""

import os
from pathlib import Path

import pytest

from hive_boot.cli import CommandError
from hive_boot.cli.manifests import write
from hive_boot.manifests.rendering import File, compare
from tests.fixtures.trees import contents
from tests.support import as_ordinary_user

OLD = "# Rendered by hive-boot\nold\n"


@pytest.fixture
def place() -> Path:
    """Return an empty directory."""
    return Path.cwd()


def test_files_are_written_where_they_belong(place: Path) -> None:
    """Directories are created; the same files again change nothing."""
    rendered = {"a": "# Rendered by hive-boot\n", "b/c/d": "# Rendered by hive-boot\nü\n"}
    files = compare(place, rendered)
    assert [each.state for each in files] == ["new", "new"]
    mask = os.umask(0o027)
    try:
        write(place, files)
    finally:
        os.umask(mask)
    assert (place / "b/c/d").read_bytes() == rendered["b/c/d"].encode()
    modes = {path.name: path.stat().st_mode & 0o777 for path in place.rglob("*")}
    assert modes == {"a": 0o640, "b": 0o750, "c": 0o750, "d": 0o640}
    before = (place / "a").stat()
    files = compare(place, rendered)
    assert [each.state for each in files] == ["unchanged", "unchanged"]
    write(place, files)
    assert (place / "a").stat().st_mtime_ns == before.st_mtime_ns


def test_a_file_keeps_its_mode(place: Path) -> None:
    """Also one that is not UTF-8."""
    path = place / "a"
    path.write_bytes(b"# Rendered by hive-boot\n\xff")
    path.chmod(0o640)
    rendered = {"a": "# Rendered by hive-boot\nmore\n"}
    write(place, compare(place, rendered))
    assert path.read_text() == rendered["a"]
    assert path.stat().st_mode & 0o777 == 0o640


def test_no_file_that_appears_or_changes_meanwhile_is_lost(place: Path) -> None:
    """Nor is a link followed that appears; the files before it are as they were."""
    rendered = {"a": "1\n", "b": "2\n", "c": "3\n"}
    (place / "a").write_text(OLD)
    (place / "b").write_text("foreign\n")
    with pytest.raises(CommandError, match="nothing was written"):
        write(place, compare(place, rendered))
    (place / "b").write_text(OLD)
    files = compare(place, rendered)
    (place / "b").write_text(f"{OLD}other\n")
    with pytest.raises(CommandError, match="another process"):
        write(place, files)
    files = compare(place, rendered)
    (place / "target").write_text("target\n")
    (place / "c").symlink_to("target")
    with pytest.raises(FileExistsError):
        write(place, files)
    (place / "b").unlink()
    (place / "b").symlink_to("target")
    with pytest.raises(CommandError, match="another process"):
        write(place, files)
    found = {path.name: path.read_text() for path in place.iterdir() if not path.is_symlink()}
    assert found == {"a": OLD, "target": "target\n"}


def test_nothing_half_written_stays() -> None:
    """A directory that cannot be written to has what it had, and so has every other one."""
    with as_ordinary_user() as place:
        (place / "a").mkdir()
        (place / "a" / "b").write_text(OLD)
        (place / "a").chmod(0o500)
        files = compare(place, {"new": "new\n", "a/b": "new\n"})
        with pytest.raises(PermissionError):
            write(place, files)
        (place / "a").chmod(0o700)
        assert [path.name for path in place.rglob("*")] == ["a", "b"]


def test_a_directory_in_place_of_a_file_is_kept(place: Path) -> None:
    """No temporary file is left behind."""
    (place / "a").mkdir()
    before = contents(place)
    with pytest.raises(FileExistsError):
        write(place, [File(path="a", text="text\n", existing=None)])
    assert [path.name for path in place.iterdir()] == ["a"]
    assert contents(place) == before
