"""Two sources of one secret: which counts, and when two that differ are a problem."""

from itertools import product
from pathlib import Path

import anyio
import pytest

from hive_boot import Bootstrap, DeclarationError, InvalidSecretsError, Secret, SecretSet, secret
from hive_boot.runtime.log_messages import warning_text
from hive_boot.secrets.load_result import LoadResult
from hive_boot.secrets.loader import load
from hive_boot.testing import MountedVolume
from tests.fixtures.cases import case, empty_machines
from tests.fixtures.timings import QUICK_RETRIES, set_timings
from tests.support import SETTLED, look, report_of, situate, until, values_of

ONE = "fake-one-0123456789"
TWO = "fake-two-0123456789"


class Certificate(SecretSet):
    """A name of which other software sets NAME_FILE."""

    ssl_cert: Secret


class OurCertificate(SecretSet):
    """The same, for which that variable does not count."""

    ssl_cert: Secret = secret(file_variable=False)


class Token(SecretSet):
    """One secret."""

    token: Secret


def mount(root: Path, **files: str) -> dict[str, str]:
    """Write files into a mounted directory, and return the variable that names it."""
    (root / "named").mkdir(exist_ok=True)
    for name, content in files.items():
        (root / "named" / name).write_text(content)
    return {"HIVE_BOOT_SECRETS_DIR": str(root / "named")}


def outcome(loaded: LoadResult) -> tuple[list[str], dict[str, str | bytes], list[str]]:
    """Return the kinds of problems, the values, and the kinds of warnings."""
    kinds: list[str] = [problem.kind for problem in loaded.problems]
    return kinds, values_of(loaded), [warning.kind for warning in loaded.warnings]


def test_a_variable_of_other_software_does_not_replace_a_mounted_file(tmp_path: Path) -> None:
    """Whatever SSL_CERT_FILE names, a different value in any other source is a problem."""
    bundle, same, empty = (tmp_path / name for name in ("bundle.crt", "same.crt", "empty.crt"))
    bundle.write_text(TWO)
    same.write_text(ONE)
    empty.touch()
    environ = mount(tmp_path, ssl_cert=ONE)
    cases = {
        str(bundle): "conflict",
        "/no-cert-file.crt": "missing",
        str(tmp_path / "no-such-file.crt"): "missing",
        str(tmp_path): "not-a-file",
    }
    for path, kind in cases.items():
        with case(path):
            loaded = look(Certificate, tmp_path, environ | {"SSL_CERT_FILE": path})
            (problem,) = loaded.problems
            assert problem.kind == kind
            assert problem.places[0].startswith("SSL_CERT_FILE")
            assert problem.places[1:] == (f"{tmp_path}/named/ssl_cert",)
            assert "file_variable=False" in problem.fix
            assert ONE not in report_of(loaded)
            ours = look(OurCertificate, tmp_path, environ | {"SSL_CERT_FILE": path})
            assert outcome(ours) == ([], {"ssl_cert": ONE}, [])
    for file in (same, empty):
        with case(file):
            loaded = look(Certificate, tmp_path, environ | {"SSL_CERT_FILE": str(file)})
            assert outcome(loaded) == ([], {"ssl_cert": ONE}, [])
    (tmp_path / "volumes/tls").mkdir(parents=True)
    (tmp_path / "volumes/tls/ssl_cert").write_text(ONE)
    (tmp_path / "bundle.json").write_text(f'{{"ssl_cert": "{ONE}"}}')
    for variables, place in (
        ({"HIVE_BOOT_SECRETS_DIR": f"{tmp_path}/volumes"}, f"{tmp_path}/volumes/tls/ssl_cert"),
        ({"HIVE_BOOT_SECRETS_DIR": f"{tmp_path}/bundle.json"}, f"{tmp_path}/bundle.json#ssl_cert"),
        ({"HIVE_BOOT_MODE": "environment", "SSL_CERT": ONE}, "environment variable SSL_CERT"),
        ({"SSL_CERT": ONE}, "environment variable SSL_CERT"),
    ):
        with case(variables):
            loaded = look(Certificate, tmp_path, variables | {"SSL_CERT_FILE": str(bundle)})
            (problem,) = loaded.problems
            assert problem.kind == "conflict"
            assert set(problem.places) == {f"SSL_CERT_FILE={bundle}", place}
            loaded = look(Certificate, tmp_path, variables | {"SSL_CERT_FILE": str(same)})
            assert outcome(loaded) == ([], {"ssl_cert": ONE}, [])


def test_a_variable_of_other_software_does_not_replace_dotenv(tmp_path: Path) -> None:
    """In development NAME in .env beside a NAME_FILE of the process that differs is a problem."""
    other = tmp_path / "other.crt"
    for text, path, kinds in (
        (ONE, other, ["conflict"]),
        (ONE, tmp_path / "gone", ["missing"]),
        (TWO, other, []),
    ):
        other.write_text(TWO)
        for name in (".env", ".env.local"):
            with case(text, path, name):
                (tmp_path / "cwd").mkdir(exist_ok=True)
                (tmp_path / "cwd" / name).write_text(f"SSL_CERT={text}\n")
                environ = {"SSL_CERT_FILE": str(path)}
                loaded = look(Certificate, tmp_path, environ)
                assert [problem.kind for problem in loaded.problems] == kinds
                for problem in loaded.problems:
                    assert set(problem.places) == {
                        f"SSL_CERT_FILE={path}",
                        f"{tmp_path}/cwd/{name}",
                    }
                ours = look(OurCertificate, tmp_path, environ)
                assert outcome(ours) == ([], {"ssl_cert": text}, [])
                (tmp_path / "cwd" / name).unlink()


def test_a_stronger_variable_overrides_and_one_line_names_it(tmp_path: Path) -> None:
    """In development the environment is stronger than .env.local, and that than .env."""
    file = tmp_path / "file"
    file.write_text(ONE)
    cases: list[tuple[dict[str, str], str, str, str, list[str]]] = [
        ({"TOKEN": ONE}, "", f"TOKEN={TWO}", ONE, [".env by environment variable TOKEN"]),
        ({"TOKEN": ONE}, "", f"TOKEN={ONE}", ONE, []),
        ({}, f"TOKEN={ONE}", f"TOKEN={TWO}", ONE, [".env by {root}/cwd/.env.local"]),
        ({"TOKEN": ONE}, f"TOKEN={TWO}", f"TOKEN={TWO}", ONE, [".env.local by", "; TOKEN in"]),
        ({"TOKEN": ONE}, "", f"TOKEN_FILE={file}", ONE, ["TOKEN_FILE in", ".env by"]),
        ({}, f"TOKEN_FILE={file}", f"TOKEN={TWO}", ONE, ["TOKEN in", ".env by TOKEN_FILE={root}"]),
        ({"TOKEN_FILE": str(file)}, f"TOKEN={ONE}", f"TOKEN={TWO}", ONE, ["TOKEN in"]),
        ({"TOKEN_FILE": str(file), "TOKEN": ONE}, "", f"TOKEN={TWO}", ONE, ["TOKEN in"]),
        ({"TOKEN": "fake-\udcff"}, "", f"TOKEN={TWO}", "", []),
    ]
    for environ, local, dotenv, value, texts in cases:
        with case(environ, local, dotenv):
            (tmp_path / "cwd").mkdir(exist_ok=True)
            (tmp_path / "cwd/.env.local").write_text(local)
            (tmp_path / "cwd/.env").write_text(dotenv)
            loaded = look(Token, tmp_path, environ)
            kinds, values, warnings = outcome(loaded)
            assert (kinds, values) == (([], {"token": value}) if value else (["not-utf-8"], {}))
            assert warnings == ["overridden"] * bool(texts)
            for warning in loaded.warnings:
                assert warning.names == ("TOKEN",)
                for text in texts:
                    assert text.format(root=tmp_path) in warning.location
                assert not {ONE, TWO} & set(warning_text(warning).split())


def test_two_files_that_differ_are_a_problem_that_names_both(tmp_path: Path) -> None:
    """In one directory, in two, and in two volumes; equal ones are not."""
    machines = empty_machines(tmp_path)
    for value, layout in product((ONE, TWO), ("directory", "directories", "volumes")):
        with case(value, layout):
            root = next(machines)
            environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
            paths = [root / "run/secrets/a/token", root / "run/secrets/b/token"]
            if layout == "volumes":
                for path, text in zip(paths, (ONE, value), strict=True):
                    MountedVolume(path.parent).publish({"token": text})
            elif layout == "directories":
                for path, text in zip(paths, (ONE, value), strict=True):
                    path.parent.mkdir(parents=True)
                    path.write_text(text)
                environ = {"HIVE_BOOT_SECRETS_DIR": ":".join(str(path.parent) for path in paths)}
            else:
                environ = mount(root, token=ONE, TOKEN=value)
                paths = [root / "named/TOKEN", root / "named/token"]
            loaded = look(Token, root, environ)
            if value == ONE:
                assert outcome(loaded) == ([], {"token": ONE}, [])
                continue
            (problem,) = loaded.problems
            assert (problem.kind, sorted(problem.places)) == ("conflict", [*map(str, paths)])
            assert "file_variable" not in problem.fix
            assert not {ONE, TWO} & set(report_of(loaded).split())


def test_a_stale_copy_in_the_environment_is_a_warning(tmp_path: Path) -> None:
    """The mounted file counts, also with `env_fallback`, and also one that NAME_FILE names."""
    (tmp_path / "file").write_text(ONE)
    for fallback in (False, True):
        environ = mount(tmp_path, token=ONE) | {"TOKEN": TWO}
        expected: tuple[list[str], dict[str, str | bytes], list[str]]
        expected = ([], {"token": ONE}, ["environment-copy"])
        assert outcome(look(Token, tmp_path, environ, env_fallback=fallback)) == expected
        (tmp_path / "named/token").unlink()
        environ["TOKEN_FILE"] = str(tmp_path / "file")
        assert outcome(look(Token, tmp_path, environ, env_fallback=fallback)) == expected


def test_the_fallback_is_among_the_places(tmp_path: Path) -> None:
    """With `env_fallback` a missing secret was looked for in the environment too."""
    environ = mount(tmp_path) | {"TOKKEN": ONE}
    for fallback in (False, True):
        (problem,) = look(Token, tmp_path, environ, env_fallback=fallback).problems
        assert ("environment variable TOKEN" in problem.places) is fallback
        assert (len(problem.details) == 1) is fallback
    (problem,) = look(Token, tmp_path, mount(tmp_path) | {"TOKEN": ONE}).problems
    assert problem.kind == "environment-only"
    assert "HIVE_BOOT_MODE=environment" in problem.fix
    assert "env_fallback=True" in problem.fix


def test_a_name_file_that_does_not_count_is_free() -> None:
    """Another secret may have its name; without `file_variable=False` the two collide."""

    class Both(SecretSet):
        """Two secrets, one called like the variable of the other."""

        ssl_cert: Secret = secret(file_variable=False)
        ssl_cert_file: Secret

    assert [*Both._field_index.by_file_variable] == ["SSL_CERT_FILE_FILE"]
    with pytest.raises(DeclarationError, match="conflicts"):
        type("Collision", (SecretSet,), {"__annotations__": {"a": Secret, "a_file": Secret}})


def test_an_overridden_field_has_no_conflict(tmp_path: Path) -> None:
    """Where a test gives a value, files that cannot be used are not a problem."""
    environ = mount(tmp_path, token=ONE) | {"TOKEN": TWO, "TOKEN_FILE": "/no/such/file"}
    (tmp_path / "named/token").write_bytes(b"\xff")
    source_context = situate(tmp_path, environ)
    given = {"token": Secret("TOKEN", "fake-given")}
    loaded = load(Token._field_index, source_context, policy=SETTLED, overrides=given)
    assert outcome(loaded) == ([], {"token": "fake-given"}, [])


# In time


def two_mounts(root: Path) -> tuple[list[MountedVolume], Bootstrap[Token, None]]:
    """Return two volumes with the same secret, and an application that reads both."""
    volumes = [MountedVolume(root / name) for name in ("a", "b")]
    paths = [volume.path for volume in volumes]
    boot = Bootstrap(Token, mode="kubernetes", secrets_dirs=paths, watch=True, wait_for_files=20)
    set_timings(boot, **QUICK_RETRIES)
    return volumes, boot


@pytest.mark.anyio
async def test_a_start_waits_until_two_mounts_agree(tmp_path: Path) -> None:
    """Two mounts are updated at different times: within `wait_for_files` they are read again."""
    volumes, boot = two_mounts(tmp_path)
    for volume, value in zip(volumes, (ONE, TWO), strict=True):
        volume.publish({"token": value})
    async with anyio.create_task_group() as group:

        async def update() -> None:
            await until(lambda: boot.status().state == "loading")
            volumes[0].publish({"token": TWO})

        group.start_soon(update)
        async with boot.running() as secrets:
            assert secrets.token.reveal() == TWO


@pytest.mark.anyio
async def test_a_rotation_waits_until_two_mounts_agree(tmp_path: Path) -> None:
    """Meanwhile the last good set is used, and the second update ends the conflict."""
    volumes, boot = two_mounts(tmp_path)
    for volume in volumes:
        volume.publish({"token": ONE})
    async with boot.running() as secrets:
        volumes[0].publish({"token": TWO})
        await until(lambda: boot.status().degraded)
        assert secrets.token.reveal() == ONE
        with pytest.raises(InvalidSecretsError) as caught:
            await boot.reload()
        assert [problem.kind for problem in caught.value.problems] == ["conflict"]
        volumes[1].publish({"token": TWO})
        await until(lambda: secrets.token.reveal() == TWO)
        assert not boot.status().degraded
