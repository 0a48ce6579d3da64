"""Many files at once: the usual ones become values together, and each other one by itself."""

import os
from pathlib import Path

import pytest

from hive_boot import Secret, SecretBytes
from hive_boot.secrets.sources.files import LIMIT, SourceHit, read_files

PEM = "-----BEGIN PRIVATE KEY-----\nZmFrZQ==\n-----END PRIVATE KEY-----"
UNUSUAL: list[tuple[bytes, str]] = [
    (b"fake-token\r\n", "fake-token"),
    (b"fake-token\n\n", "fake-token\n"),
    (b"fake-token-\n", "fake-token-"),
    (b"\xef\xbb\xbffake-token\n", "fake-token"),
    ("fake-tökén\n".encode(), "fake-tökén"),
    (PEM.encode(), f"{PEM}\n"),
    (f"{PEM}\n\n".encode(), f"{PEM}\n"),
    (b"x" * 5000, "x" * 5000),
    (b"", "empty"),
    (b"\n", "empty"),
    (b"fake\0token\n", "nul"),
    (b"fake-\xff", "not-utf-8"),
    (b"x" * (LIMIT + 1), "too-large"),
]
"""Contents that need more than the final newline removed, with the value or the problem."""


def outcome(hits: tuple[SourceHit, ...]) -> str:
    """Return the value of a single hit, or the kind of its problem."""
    (hit,) = hits
    assert not isinstance(hit.result, SecretBytes)
    return hit.result.reveal() if isinstance(hit.result, Secret) else hit.result.kind


def test_an_unusual_file_among_many_is_read_as_by_itself(tmp_path: Path) -> None:
    """Each of many files has the same value or problem as alone, wherever it is in the list."""
    expected: dict[str, str] = {}
    for number, (content, value) in enumerate(UNUSUAL):
        usual, unusual = tmp_path / f"usual_{number}", tmp_path / f"unusual_{number}"
        usual.write_bytes(b"fake-%d\n" % number)
        unusual.write_bytes(content)
        expected |= {str(usual): f"fake-{number}", str(unusual): value}
    answers = {path: (path, "TOKEN", True) for path in expected}

    together = read_files(expected, answers)
    assert {path: outcome(hits) for path, hits in together.hits.items()} == expected
    assert {hit.place for hits in together.hits.values() for hit in hits} == {*expected}
    for path, value in expected.items():
        assert outcome(read_files([path], answers).hits[path]) == value


@pytest.mark.parametrize(
    ("later", "value"),
    [("fake-token-of-a-longer-kind", "fake-token-of-a-longer-kind"), ("x" * (LIMIT + 1), "large")],
)
def test_a_file_that_grows_after_its_size_is_known_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: str, value: str
) -> None:
    """The value is never the part of a file that fits in the size it had before."""
    file = tmp_path / "token"
    file.write_text("fake-token")
    fstat = os.fstat

    def grow(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        file.write_text(later)
        return status

    monkeypatch.setattr(os, "fstat", grow)
    batch = read_files([str(file)], {str(file): ("token", "TOKEN", True)})
    monkeypatch.undo()

    assert outcome(batch.hits["token"]).removeprefix("too-") == value
