"""Files of secrets: their content, their type, and errors of the file system."""

import errno
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hive_boot import Secret, SecretBytes
from hive_boot.secrets.fields import ValueProblem
from hive_boot.secrets.sources.files import LIMIT, FileBatch, ValueOrProblem, read_files
from tests.fixtures.cases import case, empty_machines
from tests.fixtures.files import make_loop, make_socket
from tests.support import as_ordinary_user, descriptors, good_values, other_hits

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "TOKEN"


def read(path: Path | str, *, text: bool = True) -> FileBatch:
    """Read one file as the secret TOKEN."""
    return read_files([str(path)], {str(path): ("token", NAME, text)})


def found_for_token(batch: FileBatch) -> list[ValueOrProblem]:
    """Return the values and problems that were found for TOKEN."""
    return [hit.result for hit in batch.hits.get("token", [])]


def value_of(path: Path | str, *, text: bool = True) -> str | bytes:
    """Return the value of a valid file."""
    batch = read(path, text=text)
    (value,) = found_for_token(batch)
    assert isinstance(value, Secret if text else SecretBytes)
    assert repr(value) == f"{'Secret' if text else 'SecretBytes'}('TOKEN', '***')"
    assert batch.names == [str(path)]
    assert not batch.permission_denied
    return value.reveal()


def problem_of(path: Path | str, *, text: bool = True) -> tuple[str, str]:
    """Return kind and message of the problem of an invalid file."""
    batch = read(path, text=text)
    (fault,) = found_for_token(batch)
    assert isinstance(fault, ValueProblem)
    assert good_values(batch) == {}
    assert [hit.place for hit in other_hits(batch)["token"]] == [str(path)]
    return fault.kind, fault.message


def test_a_file_that_changes_while_it_is_read_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value is the whole content, also if the size has just changed."""
    path = tmp_path / "token"
    fstat = os.fstat
    begin = b"fake-begin"
    for number, after in enumerate(
        [begin + more for more in (b"-", b"\n", b"-\n", b"\r\n", b"--", b"-\n\n", b"-" * 9_000)]
        + [b"fake", b"fake\n", b"f", b"fake-begi\r", b"other-begin\n"]
    ):

        def change(fd: int, after: bytes = after) -> os.stat_result:
            status = fstat(fd)
            path.write_bytes(after)
            return status

        with case(f"{number}: {after[:20]!r}"):
            path.write_bytes(begin)
            with monkeypatch.context() as patch:
                patch.setattr(os, "fstat", change)
                got = value_of(path)
            assert got == value_of(path)
    with case("emptied"):
        path.write_bytes(begin)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fstat", lambda fd: (fstat(fd), path.write_bytes(b"\n"))[0])
            assert problem_of(path)[0] == "empty"


def test_a_text_loses_only_its_byte_order_mark_and_one_newline(tmp_path: Path) -> None:
    """Spaces and inner lines are part of the value."""
    cases: list[tuple[bytes, str]] = [
        (b"fake-token", "fake-token"),
        (b"fake-token\n", "fake-token"),
        (b"fake-token\r\n", "fake-token"),
        (b"fake-token\n\n", "fake-token\n"),
        (b"fake-token\r\n\r\n", "fake-token\r\n"),
        (b"fake-token\n\r\n", "fake-token\n"),
        (b"fake-token\r", "fake-token\r"),
        (b"fake-token\r\r\n", "fake-token\r"),
        (b"  fake token\t ", "  fake token\t "),
        (b" fake-token \n", " fake-token "),
        (b"\nfake-token", "\nfake-token"),
        (b" ", " "),
        (b"\n\n", "\n"),
        (b"first\nsecond\n", "first\nsecond"),
        (b"\xef\xbb\xbffake-token", "fake-token"),
        (b"\xef\xbb\xbffake-token\r\n", "fake-token"),
        (b"\xef\xbb\xbf\xef\xbb\xbffake", "\ufefffake"),
        (b"fake\xef\xbb\xbf-token", "fake\ufeff-token"),
        ("fäke-tökén-\U0001f511\n".encode(), "fäke-tökén-\U0001f511"),
        (b"\x01\x7f", "\x01\x7f"),
    ]
    machines = empty_machines(tmp_path)
    for content, value in cases:
        with case(content, value):
            root = next(machines)
            file = root / "token"
            file.write_bytes(content)

            assert value_of(file) == value


def test_a_file_without_a_text_is_empty(tmp_path: Path) -> None:
    """A file with a newline only has no value."""
    cases: list[bytes] = [b"", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"]
    machines = empty_machines(tmp_path)
    for content in cases:
        with case(content):
            root = next(machines)
            file = root / "token"
            file.write_bytes(content)

            assert problem_of(file)[0] == "empty"


def test_a_text_that_is_not_utf_8_is_a_problem(tmp_path: Path) -> None:
    """Latin-1, UTF-16 and incomplete characters are not guessed."""
    cases: list[bytes] = [
        b"\xff",
        b"fake-\xe4",
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        "fake".encode("utf-16"),
        b"fake\xe2\x82",
    ]
    machines = empty_machines(tmp_path)
    for content in cases:
        with case(content):
            root = next(machines)
            file = root / "token"
            file.write_bytes(content)

            assert problem_of(file)[0] == "not-utf-8"


def test_a_nul_is_a_problem(tmp_path: Path) -> None:
    """Other programs would cut the value at a NUL."""
    machines = empty_machines(tmp_path)
    for content in (b"\0", b"fake\0", b"\0fake\n", "fä\0ke".encode()):
        with case(content):
            root = next(machines)
            file = root / "token"
            file.write_bytes(content)

            assert problem_of(file)[0] == "nul"


def test_secret_bytes_are_not_changed(tmp_path: Path) -> None:
    """Every byte of a file is part of the value of SecretBytes."""
    cases: list[bytes] = [b"\xef\xbb\xbf\x00\xff fake\r\n", b"\n", b"\0", b"fake\n"]
    machines = empty_machines(tmp_path)
    for content in cases:
        with case(content):
            root = next(machines)
            file = root / "token"
            file.write_bytes(content)

            assert value_of(file, text=False) == content


def test_empty_secret_bytes_are_empty(tmp_path: Path) -> None:
    """A keystore without bytes has no value."""
    file = tmp_path / "token"
    file.touch()

    assert problem_of(file, text=False)[0] == "empty"


@settings(deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
@example(b"\xef\xbb\xbf\n")
@example(b"a\r\n")
def test_any_content_is_a_value_or_one_problem(content: bytes) -> None:
    """Any bytes are the text that they encode, or one problem."""
    text = content.removeprefix(b"\xef\xbb\xbf")
    text = text[:-1] if text.endswith(b"\n") else text
    text = text[:-1] if text.endswith(b"\r") and content.endswith(b"\r\n") else text
    fd = os.memfd_create("token")
    try:
        os.write(fd, content)
        batch = read(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    (outcome,) = found_for_token(batch)

    if isinstance(outcome, Secret):
        assert outcome.reveal().encode() == text
        assert text
        assert b"\0" not in text
    else:
        assert isinstance(outcome, ValueProblem)
        expected = "empty" if not text else "nul" if _is_text(text) else "not-utf-8"
        # NUL in every other byte is UTF-16.
        is_utf_16 = expected == "nul" and 0 in {sum(content[0::2]), sum(content[1::2])}
        assert outcome.kind == expected or (is_utf_16 and outcome.kind == "not-utf-8")
        assert outcome.kind != "nul" or b"\0" in text


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_one_mebibyte_is_the_maximum(tmp_path: Path) -> None:
    """A file of exactly 1 MiB is read; one byte more, also a newline, is a problem."""
    machines = empty_machines(tmp_path)
    for text in (True, False):
        with case(text):
            root = next(machines)
            file = root / "token"
            file.write_bytes(b"f" * LIMIT)
            assert LIMIT == 1024 * 1024
            assert len(value_of(file, text=text)) == LIMIT

            for end in (b"f", b"\n"):
                file.write_bytes(b"f" * LIMIT + end)
                assert problem_of(file, text=text)[0] == "too-large"


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """The size alone decides: a file of a tebibyte is a problem at once."""
    machines = empty_machines(tmp_path)
    for text in (True, False):
        with case(text):
            root = next(machines)
            file = root / "token"
            file.touch()
            os.truncate(file, 1 << 40)

            assert problem_of(file, text=text)[0] == "too-large"


def test_a_file_whose_size_is_0_is_read_to_its_end() -> None:
    """A file of /proc has the size 0 and a content."""
    assert Path("/proc/self/stat").stat().st_size == 0
    assert value_of("/proc/sys/kernel/ostype") == "Linux"
    assert value_of("/proc/sys/kernel/ostype", text=False) == b"Linux\n"


def test_a_file_whose_size_is_wrong_is_read_up_to_the_limit() -> None:
    """Reading stops at the limit, also if the size is smaller."""
    for text in (True, False):
        with case(text):
            variables = {f"V{number}": "x" * 100_000 for number in range(12)}
            with subprocess.Popen(
                [sys.executable, "-c", "print('up', flush=True); input()"],
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            ) as child:
                assert child.stdout is not None
                assert child.stdout.readline() == b"up\n"
                found = problem_of(f"/proc/{child.pid}/environ", text=text)
                child.communicate(b"\n")

            assert found[0] == "too-large"


def test_an_error_while_reading_is_a_problem() -> None:
    """The problem has the message of the operating system."""
    kind, message = problem_of("/proc/self/mem")
    assert kind == "unreadable"
    assert "input/output error" in message


def make_nothing(path: Path) -> None:
    """Leave the path as it is: absent."""


def make_below_a_file(path: Path) -> None:
    """Create a file in place of the directory of the path."""
    path.parent.rmdir()
    path.parent.write_text("fake")


def test_an_absent_file_is_not_a_problem_of_the_file(tmp_path: Path) -> None:
    """Validation reports it if the secret is required."""
    machines = empty_machines(tmp_path)
    for make in (make_nothing, make_below_a_file):
        with case(make):
            root = next(machines)
            file = root / "room" / "token"
            file.parent.mkdir()
            make(file)

            batch = read(file)

            assert (batch.hits, batch.dangling_links) == ({}, [])
            assert not batch.permission_denied


def test_a_file_name_that_is_too_long_is_absent(tmp_path: Path) -> None:
    """A file system has no file with such a name."""
    assert found_for_token(read(tmp_path / ("t" * 300))) == []


def make_fifo(path: Path) -> None:
    """Create a FIFO without a writer."""
    os.mkfifo(path)


def make_device(path: Path) -> None:
    """Create a link to a device."""
    path.symlink_to("/dev/zero")


def make_dangling(path: Path) -> None:
    """Create a link whose target does not exist."""
    path.symlink_to("nowhere")


def make_other_link_that_dangles(path: Path) -> None:
    """Create a link to a link whose target does not exist."""
    path.symlink_to("second")
    (path.parent / "second").symlink_to("nowhere")


def test_the_problem_names_the_type_of_a_path_that_is_not_a_file(tmp_path: Path) -> None:
    """A FIFO, a socket, a device, a directory or a broken link never blocks."""
    cases: list[tuple[Callable[[Path], None], str, str]] = [
        (make_fifo, "not-a-file", "FIFO"),
        (make_socket, "not-a-file", "socket"),
        (make_device, "not-a-file", "device"),
        (Path.mkdir, "not-a-file", "directory"),
        (make_dangling, "broken-link", "link"),
        (make_other_link_that_dangles, "broken-link", "link"),
        (make_loop, "broken-link", "loop of links"),
    ]
    machines = empty_machines(tmp_path)
    for make, kind, named in cases:
        with pytest.MonkeyPatch.context() as monkeypatch, case(make):
            root = next(machines)
            monkeypatch.chdir(root)
            make(Path("token"))

            told = problem_of("token")
            assert told[0] == kind
            assert named in told[1]
            assert problem_of("token", text=False) == told
            assert read("token").dangling_links == (["token"] if kind == "broken-link" else [])


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    """NixOS and sops install secrets as links out of the directory."""
    (tmp_path / "elsewhere").write_text("fake-token")
    (tmp_path / "token").symlink_to(tmp_path / "elsewhere")

    assert value_of(tmp_path / "token") == "fake-token"


def test_a_missing_permission_is_a_problem() -> None:
    """The problem has the kind of a permission problem."""
    with as_ordinary_user() as place:
        file = place / "token"
        file.write_text("fake-token")
        file.chmod(0o000)
        batch = read(file)
        told = problem_of(file)
        file.chmod(0o400)
        value = value_of(file)

    assert told[0] == "unreadable"
    assert "permission denied" in told[1]
    assert batch.permission_denied
    assert value == "fake-token"


def test_every_mode_of_a_readable_file_is_accepted(tmp_path: Path) -> None:
    """Files that everyone may read are usual in a container."""
    file = tmp_path / "token"
    file.write_text("fake-token")
    file.chmod(0o777)

    assert value_of(file) == "fake-token"


def test_a_process_without_free_descriptors_is_reported_as_such(tmp_path: Path) -> None:
    """The problem does not blame the file."""
    file = tmp_path / "token"
    file.write_text("fake-token")
    free = os.open(file, os.O_RDONLY)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        told = problem_of(file)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert told[0] == "unreadable"
    assert "too many open files" in told[1]


def test_only_files_with_declared_names_are_opened(tmp_path: Path) -> None:
    """Other files in the directory are not touched."""
    (tmp_path / "token").write_text("fake-token")
    (tmp_path / "other").write_text("fake-other")
    root = os.open(tmp_path, os.O_RDONLY)
    try:
        batch = read_files(
            ["other", "token", "absent"],
            {"token": ("token", NAME, True), "missing": ("missing", "MISSING", True)},
            directory="/shown/",
            dir_fd=root,
        )
    finally:
        os.close(root)

    assert list(good_values(batch)) == ["token"]
    assert batch.names == ["token"]
    assert other_hits(batch) == {}


def test_every_file_of_a_field_is_reported(tmp_path: Path) -> None:
    """Two files of one field are both found, each with its location, valid or not."""
    cases: list[tuple[str, str, list[str]]] = [
        ("fake-1", "fake-2", ["fake-1", "fake-2"]),
        ("fake-1", "", ["fake-1", "empty"]),
        ("", "fake-2", ["empty", "fake-2"]),
        ("", "\0", ["empty", "nul"]),
    ]
    machines = empty_machines(tmp_path)
    for first, second, outcomes in cases:
        with case(first, second, outcomes):
            machine = next(machines)
            (machine / "token").write_text(first)
            (machine / "TOKEN").write_text(second)
            root = os.open(machine, os.O_RDONLY)
            answer = ("token", NAME, True)
            try:
                batch = read_files(
                    ["token", "TOKEN"],
                    {"token": answer, "TOKEN": answer},
                    directory="/shown/",
                    dir_fd=root,
                )
            finally:
                os.close(root)
            hits = other_hits(batch)["token"]

            assert [hit.place for hit in hits] == ["/shown/token", "/shown/TOKEN"]
            assert [
                hit.result.reveal()
                if isinstance(hit.result, Secret | SecretBytes)
                else hit.result.kind
                for hit in hits
            ] == outcomes
            assert good_values(batch) == {}


def test_the_repr_of_a_batch_shows_no_value(tmp_path: Path) -> None:
    """It has only names."""
    (tmp_path / "token").write_text("fake-token-0123456789")

    assert "fake-token" not in repr(read(tmp_path / "token"))


def test_a_batch_has_the_time_of_the_latest_change(tmp_path: Path) -> None:
    """The newest file shows whether a writer may still be active."""
    for name in ("token", "TOKEN"):
        (tmp_path / name).write_text("fake")
    answer = ("token", NAME, True)
    names = {str(tmp_path / name): answer for name in ("token", "TOKEN", "absent")}

    youngest = max((tmp_path / name).stat().st_ctime for name in ("token", "TOKEN"))
    assert read_files(names, names).touched == youngest
    assert read_files([], names).touched == 0.0


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """Valid and invalid files are closed."""
    (tmp_path / "directory").mkdir()
    make_fifo(tmp_path / "fifo")
    make_dangling(tmp_path / "dangling")
    make_loop(tmp_path / "loop")
    make_device(tmp_path / "device")
    (tmp_path / "good").write_text("fake")
    (tmp_path / "bad").write_bytes(b"\xff")
    before = descriptors()

    for path in [*tmp_path.iterdir(), Path("/proc/self/mem")]:
        read(path)

    assert descriptors() == before


def test_a_file_that_is_rewritten_meanwhile_raises_nothing(tmp_path: Path) -> None:
    """A read during truncation and writing returns all, a part or nothing."""
    file = tmp_path / "token"
    file.write_text("fake-token-of-thirty-characters")
    done = threading.Event()

    def rewrite() -> None:
        while not done.is_set():
            file.write_text("fake-token-of-thirty-characters")
            os.truncate(file, 0)

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = set()
    try:
        for number in range(500_000):
            (outcome,) = found_for_token(read(file))
            assert not isinstance(outcome, SecretBytes)
            seen.add(outcome.reveal() if isinstance(outcome, Secret) else outcome.message)
            if number > 2000 and len(seen) > 1:
                break
    finally:
        done.set()
        writer.join()

    assert len(seen) > 1, "the writer was never met"
    assert all("fake-token-of-thirty-characters".startswith(part) for part in seen - {"is empty"})


def test_an_error_of_close_does_not_discard_the_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system can fail at close, which does not end the start."""
    (tmp_path / "jwt_secret").write_text("fake-jwt-secret")
    close = os.close

    def fail(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "close", fail)
    path = str(tmp_path / "jwt_secret")
    batch = read_files([path], {path: ("jwt_secret", "JWT_SECRET", True)})
    monkeypatch.undo()
    assert good_values(batch)["jwt_secret"].reveal() == "fake-jwt-secret"
