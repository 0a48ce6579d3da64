"""Bundles: several secrets in one file, as JSON or as lines."""

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hive_boot import Secret, SecretBytes, SecretSet, secret
from hive_boot.secrets.load_result import LoadResult, find_lost_sources
from tests.fixtures.cases import case, empty_machines
from tests.support import (
    FakeClock,
    as_ordinary_user,
    look,
    report_of,
    situate,
    texts_within_reach,
    values_of,
)


class Rds(SecretSet):
    """The secrets of a database, of which none is required."""

    db_password: Secret | None
    port: Secret | None
    key: SecretBytes | None = secret("TLS_KEY", file="tls/key.pem")


PASSWORD = "fake-pw-0123456789"


def bundle(root: Path, text: str | bytes, declared: type[SecretSet] = Rds) -> LoadResult:
    """Load a declaration from a bundle with this content."""
    path = root / "bundle"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return look(declared, root, {"HIVE_BOOT_SECRETS_DIR": str(path)})


def test_what_a_bundle_may_look_like(tmp_path: Path) -> None:
    """JSON objects and lines; the names are those of variables and of files."""
    expected = {"db_password": PASSWORD, "port": "5432", "key": b"fake-key"}
    lines = f"export DB_PASSWORD=\"{PASSWORD}\"\nexport PORT=5432\nexport TLS_KEY='fake-key'\n"
    for text in (
        json.dumps({"DB_PASSWORD": PASSWORD, "PORT": 5432, "TLS_KEY": "fake-key"}),
        json.dumps({"db_password": PASSWORD, "port": "5432", "tls/key.pem": "fake-key"}, indent=1),
        json.dumps({"db-password": PASSWORD, "port": 5432, "TLS_KEY": "fake-key", "x": [None]}),
        f'\n\n  {{"DB_PASSWORD": "{PASSWORD}", "PORT": 5432, "TLS_KEY": "fake-key"}}\n',
        f'\ufeff{{"DB_PASSWORD": "{PASSWORD}", "PORT": 5432, "TLS_KEY": "fake-key"}}',
        lines,
        lines.replace("\n", "\r\n"),
        f"# rendered\n\nset -a\nDB_PASSWORD = {PASSWORD}\nPORT=5432 # x\nTLS_KEY=fake-key\nset +a",
    ):
        with case(text):
            loaded = bundle(tmp_path, text)
            assert loaded.problems == ()
            assert values_of(loaded) == expected
            assert loaded.origin("db_password")[1].startswith(f"{tmp_path}/bundle#")


def test_numbers_and_booleans_are_their_text(tmp_path: Path) -> None:
    """The text of the file counts, so no digit is lost or added."""
    for text in ("5432", "1e3", "0.10", "-0", "1" * 5000, "true", "false", '"007"'):
        with case(text):
            loaded = bundle(tmp_path, f'{{"port": {text}}}')
            assert values_of(loaded) == {"port": text.strip('"')}


def test_a_pem_block_ends_with_a_newline(tmp_path: Path) -> None:
    """OpenSSH needs it, and JSON and quotes often lack it; bytes are not changed."""
    pem = "-----BEGIN FAKE-----\nRkFLRQ==\n-----END FAKE-----"
    for text in (
        json.dumps({"DB_PASSWORD": pem, "TLS_KEY": pem}),
        f'DB_PASSWORD="{pem}"\nTLS_KEY="{pem}"\n',
    ):
        loaded = bundle(tmp_path, text)
        assert values_of(loaded) == {"db_password": f"{pem}\n", "key": pem.encode()}


def test_what_is_not_a_value_concerns_declared_names_only(tmp_path: Path) -> None:
    """Nested values, null and NaN are a problem under a declared name."""
    for text in ("null", "[]", "{}", '{"a": "b"}', '["fake-a"]', "NaN", "Infinity"):
        with case(text):
            loaded = bundle(tmp_path, f'{{"other": {text}, "DB_PASSWORD": "{PASSWORD}"}}')
            assert (loaded.problems, values_of(loaded)) == ((), {"db_password": PASSWORD})
            (problem,) = bundle(tmp_path, f'{{"DB_PASSWORD": {text}}}').problems
            assert (problem.name, problem.kind) == ("DB_PASSWORD", "bundle")
            assert problem.places == (f"{tmp_path}/bundle#DB_PASSWORD",)


def test_a_member_that_cannot_be_used(tmp_path: Path) -> None:
    """Other wrong values are reported like those of a file."""
    for text, kind in (
        (r'{"DB_PASSWORD": "fake-\u0000"}', "nul"),
        (r'{"DB_PASSWORD": "fake-\ud800"}', "not-utf-8"),
        (r'{"TLS_KEY": "fake-\udc80"}', "not-utf-8"),
        ("DB_PASSWORD=-----BEGIN PRIVATE KEY-----\nZmFrZQ==\n-----END PRIVATE KEY-----", "bundle"),
        ('DB_PASSWORD="fake-1"\nDB_PASSWORD="fake-2"', "conflict"),
        ('{"DB_PASSWORD": "fake-1", "DB_PASSWORD": "fake-2"}', "conflict"),
        ('{"DB_PASSWORD": "fake-1", "db_password": "fake-2"}', "conflict"),
    ):
        with case(text):
            loaded = bundle(tmp_path, text)
            assert [problem.kind for problem in loaded.problems] == [kind]
            assert loaded.values == {}
            assert "fake" not in report_of(loaded)
    assert {value.reveal() for value in loaded.unused_values} == {"fake-1", "fake-2"}
    loaded = bundle(tmp_path, '{"DB_PASSWORD": "fake-1", "DB_PASSWORD": "fake-1"}')
    assert values_of(loaded) == {"db_password": "fake-1"}
    assert values_of(bundle(tmp_path, '{"DB_PASSWORD": "", "PORT": 1}')) == {"port": "1"}


def test_a_bundle_that_cannot_be_used(tmp_path: Path) -> None:
    """A file that may contain a declared secret in an unreadable place is a problem as a whole."""
    machines = empty_machines(tmp_path)
    fixes = {
        "bundle": "write a JSON object into {}, or lines of NAME='value' with quotes around values",
        "not-utf-8": "save {} as UTF-8 text of at most 1 MiB",
        "nul": "save {} as UTF-8 text of at most 1 MiB",
        "too-large": "save {} as UTF-8 text of at most 1 MiB",
    }
    for text, kind in (
        ('{"DB_PASSWORD": "fake-pw"', "bundle"),
        ('{"DB_PASSWORD": "fake-pw"} fake', "bundle"),
        ("{DB_PASSWORD: fake-pw}", "bundle"),
        ('{"a":' * 100_000, "bundle"),
        ('OTHER="fake\nDB_PASSWORD=fake-pw\n', "bundle"),
        ("OTHER='fake\nDB_PASSWORD=fake-pw\n", "bundle"),
        ("DB_PASSWORD: fake-pw\n", "bundle"),
        ('export "DB_PASSWORD"="fake-pw"', "bundle"),
        ("DB_PASSWORD:=fake-pw", "bundle"),
        ("declare -x DB_PASSWORD='fake-pw'", "bundle"),
        ("set DB_PASSWORD=fake-pw", "bundle"),
        ("-----BEGIN PRIVATE KEY-----\nZmFrZQ==\n-----END PRIVATE KEY-----", "bundle"),
        (b"DB_PASSWORD=fake-\xff", "not-utf-8"),
        ("DB_PASSWORD=fake-\0", "nul"),
        ("PORT=" + "1" * (1 << 20), "too-large"),
    ):
        with case(text):
            root = next(machines)
            loaded = bundle(root, text)
            (problem,) = loaded.problems
            assert (problem.name, problem.kind) == (f"{root}/bundle", kind)
            assert problem.fix == fixes[kind].format(problem.name)
            assert "fake" not in report_of(loaded)
            assert (loaded.values, problem.details) == ({}, ())
            (problem,) = bundle(root, text, Required).problems
            assert problem.details == ("Nothing else provides DB_PASSWORD.",)


def test_a_skipped_line_is_a_warning_with_its_number(tmp_path: Path) -> None:
    """A line of another program that concerns no declared secret does not stop a start."""
    loaded = bundle(tmp_path, f"# x\n\nexport A B\nDB_PASSWORD={PASSWORD}\nif report ]\n")
    (warning,) = loaded.warnings
    assert (warning.kind, warning.location) == ("dotenv-line", f"{tmp_path}/bundle:3")
    assert values_of(loaded) == {"db_password": PASSWORD}


class Required(SecretSet):
    """A secret that must be there."""

    db_password: Secret


SINGLE = (
    "fake-single-0123",
    "FAKEBASE32SECRET",
    "FAKEBASE32SECRET======",
    "DB_PASSWORE",
    "fake+base64/value==",
    "FAKE=left",
    '"fake quoted"',
    "fake: a phrase of words",
    "https://fake:fake@example.invalid/?a=b",
    "[fake]",
    "{fake}",
    '{"type": "fake"',
    "-----BEGIN FAKE-----\nRkFLRQ==\n-----END FAKE-----",
)
"""Contents of files with one secret."""


def test_a_file_with_one_secret_is_not_printed(tmp_path: Path) -> None:
    """A parser takes the secret for a name; no message, record or snapshot shows it."""
    for text in SINGLE:
        with case(text):
            loaded = bundle(tmp_path, text, Required)
            assert loaded.problems
            shown = report_of(loaded) + repr(loaded) + repr(loaded.snapshots)
            shown += repr([loaded.warnings, loaded.notes, loaded.hints, loaded.problems])
            for line in text.splitlines():
                assert line.strip("={}[]\"'") not in shown


def test_no_local_variable_holds_a_line_of_a_bundle(tmp_path: Path) -> None:
    """While a bundle is read, no frame of hive_boot leads to its text or to an unknown name."""
    found: list[str] = []
    own = str(Path(look.__code__.co_filename).parent.parent / "hive_boot")

    def trace(frame: FrameType, event: str, _: object) -> Any:  # noqa: ANN401  (itself)
        # The parameter of conceal() is the value that it conceals.
        if frame.f_code.co_filename.startswith(own) and frame.f_code.co_name != "conceal":
            reachable = texts_within_reach(dict(frame.f_locals))
            if "fake-canary" in reachable or "FAKECANARY" in reachable:
                found.append(f"{frame.f_code.co_qualname}: {event}")
            return trace
        return None

    for text in (
        "fake-canary-0123=x",
        "FAKECANARY",
        "FAKECANARY=====",
        'DB_PASSWORD="fake-canary"\nfake-canary: "x"\n',
        'DB_PASSWORD="fake-canary"\nDB_PASSWORD="fake-canary-2"\n',
        '{"DB_PASSWORD": "fake-canary", "fake-canary": ["fake-canary", {"a": "fake-canary"}]}',
        '{"DB_PASSWORD": "fake-canary"',
    ):
        with case(text):
            (tmp_path / "bundle").write_text(text)
            before = sys.gettrace()
            sys.settrace(trace)
            try:
                look(Required, tmp_path, {"HIVE_BOOT_SECRETS_DIR": f"{tmp_path}/bundle"})
            finally:
                sys.settrace(before)
            assert found == []


def test_a_name_of_a_bundle_is_shown_if_it_is_similar(tmp_path: Path) -> None:
    """A misspelt variable is named; other names, and those that are no variables, are not."""
    loaded = bundle(tmp_path, 'DBPASSWORD="fake-1"\nOTHER=fake-2\ndb-passwort=fake-3\n', Required)
    (problem,) = loaded.problems
    assert (problem.kind, len(problem.details)) == ("missing", 1)
    assert "DBPASSWORD" in problem.details[0]
    assert problem.places == (f"{tmp_path}/bundle (read as a bundle), as DB_PASSWORD",)
    assert problem.fix == f"add DB_PASSWORD to {tmp_path}/bundle"
    assert "OTHER" not in report_of(loaded)
    assert "passwort" not in report_of(loaded)


def test_two_locations_that_differ_are_a_conflict(tmp_path: Path) -> None:
    """A bundle is compared with a directory and with another bundle."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory/db_password").write_text(PASSWORD)
    (tmp_path / "bundle").write_text(f"DB_PASSWORD={PASSWORD}")
    (tmp_path / "other").write_text('{"DB_PASSWORD": "fake-other"}')
    equal = look(Rds, tmp_path, secrets_dirs=[tmp_path / "directory", tmp_path / "bundle"])
    assert (equal.problems, values_of(equal)) == ((), {"db_password": PASSWORD})
    for first in ("directory", "bundle"):
        differing = look(Rds, tmp_path, secrets_dirs=[tmp_path / first, tmp_path / "other"])
        (problem,) = differing.problems
        assert problem.kind == "conflict"
        assert problem.places[1] == f"{tmp_path}/other#DB_PASSWORD"


def test_a_bundle_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    """A file that was just changed is read until two reads are equal, also beside others."""
    path = tmp_path / "rds.json"
    for secrets_dirs in (path, tmp_path):
        with case(secrets_dirs):
            path.write_text('{"password": "fake-')
            clock = FakeClock()
            clock.steps = [lambda: path.write_text(f'{{"password": "{PASSWORD}"}}')]
            loaded = look(Members, tmp_path, secrets_dirs=secrets_dirs, policy=clock.policy())
            assert values_of(loaded) == {"password": PASSWORD}
            assert clock.slept == [0.3, 0.3]
            clock.steps = [partial(path.write_text, f"password={n}") for n in range(100)]
            policy = clock.policy().replace(wall=time.time)
            loaded = look(Members, tmp_path, secrets_dirs=secrets_dirs, policy=policy)
            assert loaded.problems[0].kind == "unstable"
            assert "write each file once" in loaded.problems[0].fix


def test_a_secret_that_leaves_a_bundle(tmp_path: Path) -> None:
    """It is absent, as without its file; a bundle without any name has lost its content."""
    before = bundle(tmp_path, '{"db_password": "fake-pw", "port": 5432}')
    for text, lost in (
        ('{"port": 5432}', []),
        ('{"OTHER": 1}', []),
        ("{}", [f"{tmp_path}/bundle"]),
    ):
        with case(text):
            now = bundle(tmp_path, text)
            assert now.problems == ()
            assert [each.name for each in find_lost_sources(now, before)] == lost
    assert bundle(tmp_path, "").problems == ()


def test_a_path_of_another_kind(tmp_path: Path) -> None:
    """A FIFO is not opened for reading, and a missing file is a missing path."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_text("x=y")
    for name, kind in (("fifo", "not-a-file"), ("file/below", "directory"), ("gone", "directory")):
        with case(name):
            (problem,) = look(Rds, tmp_path, secrets_dirs=tmp_path / name).problems
            assert (problem.name, problem.kind) == (str(tmp_path / name), kind)


class Members(SecretSet):
    """Members of JSON files beside other secrets."""

    password: Secret = secret("DB_PASSWORD", file="rds.json#password")
    port: Secret | None = secret("DB_PORT", file="rds.json#port")
    token: Secret | None = secret(file="nested/api.json#token")


def members(root: Path, **more: str) -> LoadResult:
    """Load a declaration whose files are below ``root``."""
    return look(Members, root, {"HIVE_BOOT_SECRETS_DIR": str(root), **more})


def test_a_member_of_a_json_file(tmp_path: Path) -> None:
    """RDS has one JSON object per database, with a numeric port."""
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested/api.json").write_text('{"token": "fake-token"}')
    (tmp_path / "rds.json").write_text(f'{{"password": "{PASSWORD}", "port": 5432}}')
    loaded = members(tmp_path)
    assert loaded.problems == ()
    assert values_of(loaded) == {"password": PASSWORD, "port": "5432", "token": "fake-token"}
    assert loaded.origin("port") == ("file", f"{tmp_path}/rds.json#port")

    bundle = look(Members, tmp_path, secrets_dirs=tmp_path / "rds.json")
    assert values_of(bundle) == {"password": PASSWORD, "port": "5432"}

    for below in ("above", "rds.json"):
        root = tmp_path / f"with-{below}"
        (root / below).mkdir(parents=True)
        (root / below / "rds.json").write_bytes((tmp_path / "rds.json").read_bytes())
        assert values_of(members(root)) == values_of(bundle)


def test_a_member_that_is_missing_or_unusable(tmp_path: Path) -> None:
    """The problem has the file, the member and a fix for the file."""
    path = tmp_path / "rds.json"
    place = f"{path}#password"
    for text, kind in (
        (None, "missing"),
        ("{}", "missing"),
        (b"fake-\xff", "not-utf-8"),
        ('{"password": null}', "bundle"),
        ('{"password": ""}', "empty"),
        ("", "empty"),
        ('{"password": ', "bundle"),
        ('{"password": {"fake": 1}}', "bundle"),
    ):
        with case(text):
            if text is not None:
                path.write_bytes(text if isinstance(text, bytes) else text.encode())
            loaded = members(tmp_path)
            problems = [each for each in loaded.problems if each.name == "DB_PASSWORD"]
            assert [(each.kind, each.places[0]) for each in problems] == [(kind, place)]
            assert str(path) in problems[0].fix


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.text(st.sampled_from("DB_PASSWORD=\"'{}:#\\ \n\rfakePORT")),
        st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")),
    )
)
def test_whatever_a_bundle_holds(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Any text is read, or is a problem of the whole file; it never raises."""
    loaded = bundle(tmp_path_factory.getbasetemp(), text)
    assert not loaded.values or not loaded.snapshots[0].problem


def test_a_path_with_a_tilde_is_in_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tilde in a unit, a Compose file or an argument is expanded, as a shell would do it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for options, environ in (
        ({"secrets_dirs": "~/a"}, {}),
        ({"secrets_dirs": Path("~/a")}, {}),
        ({}, {"HIVE_BOOT_SECRETS_DIR": "~/a"}),
    ):
        assert situate(tmp_path, environ, **options).directories == (f"{tmp_path}/a",)
    context = situate(tmp_path, {}, mode="development", env_file="~/dev.env")
    assert context.env_files == (f"{tmp_path}/dev.env.local", f"{tmp_path}/dev.env")


def test_an_env_file_that_is_not_read_is_mentioned(tmp_path: Path) -> None:
    """Only development mode reads env_file=, and the others report how to read it."""
    for mode in ("docker", "kubernetes", "systemd", "environment"):
        loaded = look(Rds, tmp_path, mode=mode, env_file="dev.env")
        assert "env-file" not in {note.kind for note in loaded.notes}
    (tmp_path / "cwd/dev.env").write_text("DB_PASSWORD=fake")
    for mode in ("docker", "kubernetes", "systemd", "environment"):
        loaded = look(Rds, tmp_path, mode=mode, env_file="dev.env")
        (note,) = loaded.notes
        assert (note.kind, note.locations) == ("env-file", (f"{tmp_path}/cwd/dev.env",))
    assert look(Rds, tmp_path, mode="development", env_file="dev.env").notes == ()
    assert look(Rds, tmp_path, mode="docker").notes == ()


def test_the_fix_of_a_bundle_is_not_that_of_a_directory() -> None:
    """A bundle without permission is made readable, and a FIFO is replaced."""
    with as_ordinary_user() as root:
        path = root / "closed"
        path.write_text(f"DB_PASSWORD={PASSWORD}")
        path.chmod(0)
        os.mkfifo(root / "fifo")
        for name, fix in (("closed", "make {} readable"), ("fifo", "replace the FIFO {} by")):
            with case(name):
                policy = FakeClock().policy()
                (problem,) = look(Rds, root, secrets_dirs=root / name, policy=policy).problems
                assert problem.fix.startswith(fix.format(root / name))
