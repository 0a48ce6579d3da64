"""The hints of a report: what to type so that it works, and what may have been meant."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from hive_boot import Problem, Secret, SecretSet, secret
from hive_boot.secrets.fix_hints import near_misses
from hive_boot.secrets.loader import printable_path
from hive_boot.testing import MountedVolume
from tests.fixtures.cases import case, empty_machines
from tests.support import SETTLED, as_ordinary_user, look, report_of

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


class KeyAndCertificate(SecretSet):
    """One secret with the usual names, and one in a subdirectory."""

    openai_api_key: Secret = secret(used_by="agents")
    tls_key: Secret = secret(file="tls/server.key")


def problems_at(root: Path, **environ: str) -> list[Problem]:
    """Return the problems when both secrets are missing."""
    return [*look(KeyAndCertificate, root, environ).problems]


def test_kubernetes_takes_the_value_from_stdin(tmp_path: Path) -> None:
    """The kubectl line has no place for a value, so no shell's history gets one."""
    MountedVolume(tmp_path / "run/secrets/app").publish({"other": "x"})
    key, nested = problems_at(tmp_path, **IN_CLUSTER)
    assert key.fix.startswith(
        "kubectl create secret generic key-and-certificate --from-file=openai_api_key=/dev/stdin "
    )
    assert "--from-file=tls-server.key=/dev/stdin" in nested.fix
    assert "--from-literal" not in report_of(look(KeyAndCertificate, tmp_path, IN_CLUSTER))


def test_a_secret_is_called_what_kubernetes_allows(tmp_path: Path) -> None:
    """Whatever a class and a file are called, the line can be pasted as it is."""

    class My_Über_Set(SecretSet):  # noqa: N801, PLC2401  (names that Kubernetes would refuse)
        """A name in no usual form."""

        token: Secret = secret(file="a folder/the key")

    class _(SecretSet):  # noqa: N801  (the same)
        """No name at all."""

        token: Secret

    shell = shutil.which("sh")
    assert shell is not None
    for declared, name, key in (
        (My_Über_Set, "my-ber-set", "a-folder-the-key"),
        (_, "app-secrets", "token"),
    ):
        hint = look(declared, tmp_path, IN_CLUSTER).problems[0].fix
        assert f"kubectl create secret generic {name} --from-file={key}=/dev/stdin " in hint
        ended = subprocess.run([shell, "-n", "-c", hint], capture_output=True, check=False)
        assert (ended.returncode, ended.stderr) == (0, b"")


def test_systemd_shows_the_line_of_the_unit(tmp_path: Path) -> None:
    """Under systemd the hint is a line of the unit, with the name that is looked for.

    No credential is called as a path, so then a variable leads to it.
    """
    (tmp_path / "credentials").mkdir()
    key, nested = problems_at(tmp_path, CREDENTIALS_DIRECTORY="/credentials")
    assert "LoadCredential=openai_api_key:/etc/credstore/openai_api_key" in key.fix
    assert "Environment=" not in key.fix
    assert "LoadCredential=tls-server.key:/etc/credstore/tls/server.key" in nested.fix
    assert "Environment=TLS_KEY_FILE=%d/tls-server.key" in nested.fix


def test_docker_shows_the_file(tmp_path: Path) -> None:
    """In docker mode the hint is the path of the file to write."""
    (tmp_path / "named").mkdir()
    key, nested = problems_at(tmp_path, HIVE_BOOT_SECRETS_DIR=str(tmp_path / "named"))
    assert f"{tmp_path}/named/openai_api_key" in key.fix
    assert f"{tmp_path}/named/tls/server.key" in nested.fix


def test_environment_shows_the_variable(tmp_path: Path) -> None:
    """On a platform that injects variables the hint names the variable."""
    key, _ = problems_at(tmp_path, HIVE_BOOT_MODE="environment")
    assert "OPENAI_API_KEY" in key.fix
    (place,) = key.places
    assert "OPENAI_API_KEY" in place


def test_development_shows_the_line_of_dotenv(tmp_path: Path) -> None:
    """In development the hint is the line for .env, and the places are those that were asked."""
    key, _ = problems_at(tmp_path)
    assert f"OPENAI_API_KEY=... to {tmp_path}/cwd/.env" in key.fix
    variable, *files = key.places
    assert "OPENAI_API_KEY" in variable
    assert files == [f"{tmp_path}/cwd/.env.local", f"{tmp_path}/cwd/.env"]


def test_the_places_of_a_mount_name_every_file_tried(tmp_path: Path) -> None:
    """A person sees each file name that would have been taken."""
    (tmp_path / "named").mkdir()
    key, nested = problems_at(tmp_path, HIVE_BOOT_SECRETS_DIR=str(tmp_path / "named"))
    (place,) = key.places
    assert place.startswith(f"{tmp_path}/named/openai_api_key (")
    assert "OPENAI_API_KEY, openai-api-key" in place
    (nested_place,) = nested.places
    assert nested_place.startswith(f"{tmp_path}/named/tls/server.key (")
    assert ".txt" in place
    assert ".txt" in nested_place


def test_a_near_miss_is_named(tmp_path: Path) -> None:
    """A file whose name is nearly right is named beside the one that was tried."""
    cases: list[tuple[str, str]] = [
        ("openai-apikey.txt", "openai-api-key.txt"),
        ("openai_apikey", "openai_api_key"),
        ("OPENAI_APIKEY", "OPENAI_API_KEY"),
        ("openai_api_keys", "openai_api_key"),
        ("openai_api_key.env", "openai_api_key"),
        (".openai_api_key", "openai_api_key"),
    ]
    machines = empty_machines(tmp_path)
    for standing, tried in cases:
        with case(standing, tried):
            root = next(machines)
            volume = root / "run/secrets/app"
            MountedVolume(volume).publish({standing: "fake-value-0123456789"})
            key, _ = problems_at(root, **IN_CLUSTER)
            assert key.kind == "missing"
            assert f" {volume}/{standing}, " in key.details[0]
            assert key.details[0].endswith(f" {tried}.")


def test_the_nearest_of_several_comes_first(tmp_path: Path) -> None:
    """Of two names that are nearly right the nearer one is named first."""
    (tmp_path / "named").mkdir()
    for name in ("openai", "openai_key", "openai_api_keyx", "openai-apikey"):
        (tmp_path / "named" / name).touch()
    key, _ = problems_at(tmp_path, HIVE_BOOT_SECRETS_DIR=str(tmp_path / "named"))
    near = ["openai-apikey", "openai_api_keyx", "openai_key"]
    for name, detail in zip(near, key.details, strict=True):
        assert f"/{name}, " in detail


def test_other_names_are_not_echoed(tmp_path: Path) -> None:
    """A file name that looks like none of ours may be a secret, so it is not shown."""
    cases: list[str] = [
        "fake-value-as-a-file-name-0123456789",
        "jwt_secret",
        "openai",
        "README.md",
    ]
    machines = empty_machines(tmp_path)
    for name in cases:
        with case(name):
            root = next(machines)
            (root / "named").mkdir()
            (root / "named" / name).touch()
            environ = {"HIVE_BOOT_SECRETS_DIR": str(root / "named")}
            assert name not in report_of(look(KeyAndCertificate, root, environ)).split()


def test_a_near_miss_cannot_write_on_a_terminal(tmp_path: Path) -> None:
    """A file name with control characters, or of no known letters, is not put into a report."""
    cases: list[str] = ["openai_api_key\x1b[1m", "openai_api_key\n2. X", "openai_api_key\udcff"]
    machines = empty_machines(tmp_path)
    for standing in cases:
        with case(standing):
            root = next(machines)
            (root / "named").mkdir()
            (root / "named" / standing).touch()
            environ = {"HIVE_BOOT_SECRETS_DIR": str(root / "named")}
            assert standing not in report_of(look(KeyAndCertificate, root, environ))


def test_a_near_miss_among_variables_is_named(tmp_path: Path) -> None:
    """A variable whose name is nearly right is named, and its value is not."""
    environ = {"HIVE_BOOT_MODE": "environment", "OPEN_AI_API_KEY": "fake-value-0123456789"}
    loaded = look(KeyAndCertificate, tmp_path, environ)
    (near,) = loaded.problems[0].details
    assert "OPEN_AI_API_KEY" in near
    assert "fake-value" not in report_of(loaded)


def test_of_many_near_misses_the_nearest_few_are_named(tmp_path: Path) -> None:
    """Where all names are alike, a report still fits a screen."""
    alike = {f"OPENAI_API_KEY_{number}": "fake-value-0123456789" for number in range(9)}
    nearest = {"OPEN_AI_API_KEY": "fake-value-0123456789"}
    environ = {"HIVE_BOOT_MODE": "environment", **alike, **nearest}
    first, *others = look(KeyAndCertificate, tmp_path, environ).problems[0].details
    assert "OPEN_AI_API_KEY" in first
    assert len(others) == 2


def test_a_near_miss_in_dotenv_is_named(tmp_path: Path) -> None:
    """A line of .env whose name is nearly right is named."""
    (tmp_path / "cwd/.env").write_text("OPENAI_API_KY=fake-value-0123456789\n")
    loaded = look(KeyAndCertificate, tmp_path)
    assert " OPENAI_API_KY, " in loaded.problems[0].details[0]
    assert "fake-value" not in report_of(loaded)


def test_a_path_is_shown(tmp_path: Path) -> None:
    """A NAME_FILE whose directory exists is a path, and shown as it is."""
    cases: list[str] = ["{}/key", "{}/no-such-file", "/proc/self/status", "cwd/../cwd/x"]
    machines = empty_machines(tmp_path)
    for path in cases:
        with pytest.MonkeyPatch.context() as monkeypatch, case(path):
            root = next(machines)
            monkeypatch.chdir(root)
            assert printable_path(path.format(root)) == path.format(root)


def test_a_value_is_not_shown() -> None:
    """A text without an existing directory is a value that was put into NAME_FILE by mistake."""
    cases: list[str] = [
        "fake-value-0123456789",
        "/fake-value-0123456789",
        "//fake-value",
        "./fake-value",
        "../fake-value",
        ".././fake-value",
        "fake/value+0123456789/abc==",
        "/fake/value/0123456789",
        "-----BEGIN FAKE KEY-----\nfake/fake\n-----END FAKE KEY-----\n",
        "/proc/fake\nvalue",
        "/proc/fake\x1b[31m",
        "/proc/" + "x" * 5000,
        "",
    ]
    for value in cases:
        with case(value):
            assert printable_path(value) is None


def test_a_link_to_a_directory_has_files(tmp_path: Path) -> None:
    """A path through a link is a path."""
    (tmp_path / "link").symlink_to(tmp_path / "cwd")
    assert printable_path(f"{tmp_path}/link/key") == f"{tmp_path}/link/key"


# A value that was found and refused is fixed where it was found


REFUSED = "fake-short"


class Ruled(SecretSet):
    """One secret whose value can be refused."""

    jwt_secret: Secret = secret(min_length=32)


def only_hint(root: Path, environ: Mapping[str, str]) -> str:
    """Return the fix of the only problem of a load."""
    (problem,) = look(Ruled, root, environ).problems
    assert problem.kind == "length"
    return problem.fix


def test_a_refused_file_is_replaced_under_its_own_name(tmp_path: Path) -> None:
    """Another spelling beside the refused file would be a conflict, so the fix names the file."""
    (tmp_path / "JWT_SECRET.txt").write_text(REFUSED)
    hint = only_hint(tmp_path, {"HIVE_BOOT_SECRETS_DIR": str(tmp_path)})
    assert f"{tmp_path}/JWT_SECRET.txt" in hint


def test_a_refused_key_is_replaced_under_its_own_name(tmp_path: Path) -> None:
    """In a cluster the command sets the key that is there."""
    MountedVolume(tmp_path / "run/secrets/hive").publish({"JWT_SECRET": REFUSED})
    hint = only_hint(tmp_path, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert "--from-file=JWT_SECRET=/dev/stdin" in hint


def test_a_refused_variable_is_changed(tmp_path: Path) -> None:
    """A line in .env would not count against the variable."""
    hint = only_hint(tmp_path, {"JWT_SECRET": REFUSED})
    assert "variable JWT_SECRET" in hint
    assert ".env" not in hint


def test_a_refused_line_is_changed_in_its_file(tmp_path: Path) -> None:
    """The fix names the .env file that contains the value."""
    machines = empty_machines(tmp_path)
    for name in (".env", ".env.local"):
        with case(name):
            root = next(machines)
            (root / "cwd").mkdir(exist_ok=True)
            (root / "cwd" / name).write_text(f"JWT_SECRET={REFUSED}\n")
            assert f"JWT_SECRET=... in {root}/cwd/{name}" in only_hint(root, {})


def test_a_refused_pointer_is_followed(tmp_path: Path) -> None:
    """What NAME_FILE names is what has to change."""
    path = tmp_path / "elsewhere" / "key"
    path.parent.mkdir()
    path.write_text(REFUSED)
    hint = only_hint(tmp_path, {"JWT_SECRET_FILE": str(path)})
    assert "JWT_SECRET_FILE" in hint


def test_a_key_that_cannot_have_the_name_of_its_file(tmp_path: Path) -> None:
    """A Secret's key has no slash, so the report tells how the volume makes a path of it."""

    class Nested(SecretSet):
        """One secret in a subdirectory."""

        client_key: Secret = secret(file="tls/client.key")

    loaded = look(Nested, tmp_path, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    (problem,) = loaded.problems
    assert "items: [{key: tls-client.key, path: tls/client.key}]" in problem.details[0]
    assert [note.kind for note in loaded.report_notes] == ["no-volume", "kubectl-stdin"]


def test_the_file_of_a_member_is_a_key(tmp_path: Path) -> None:
    """The volume needs the whole file, and the fix names the member."""
    for file, details in (
        ("rds.json#password", ()),
        (
            "db/rds.json#password",
            ("The volume needs items: [{key: db-rds.json, path: db/rds.json}].",),
        ),
    ):
        with case(file):
            declared = type(
                "Member",
                (SecretSet,),
                {"__annotations__": {"password": Secret}, "password": secret(file=file)},
            )
            (problem,) = look(declared, tmp_path, IN_CLUSTER).problems
            assert problem.details == details
            assert f"add password to {tmp_path}/run/secrets/{file.partition('#')[0]}" in problem.fix


def test_both_faults_of_one_value_are_told(tmp_path: Path) -> None:
    """A value that is too short and of a wrong form has both problems in one report."""

    class Both(SecretSet):
        """One secret with two rules."""

        key: Secret = secret(min_length=8, pattern="sk_.+")

    loaded = look(Both, tmp_path, {"KEY": "foo"})
    assert [problem.kind for problem in loaded.problems] == ["length", "pattern"]


class Database(SecretSet):
    """One secret of two words, and a declared one that contains its name."""

    db_password: Secret
    old_db_password: Secret | None


def test_a_near_miss_in_another_form_is_named(tmp_path: Path) -> None:
    """Other images write NAME_FILE in another way, and other applications add a prefix."""
    variables = {
        "FILE__DB_PASSWORD": "DB_PASSWORD_FILE",
        "FILE__DBPASSWORD": "DB_PASSWORD_FILE",
        "DB_PASSWORD__FILE": "DB_PASSWORD_FILE",
        "DBPASSWORD_FILE": "DB_PASSWORD_FILE",
        "db_password_file": "DB_PASSWORD_FILE",
        "APP_DB_PASSWORD_FILE": "DB_PASSWORD_FILE",
        "DBPASSWORD": "DB_PASSWORD",
        "DB-PASSWORD": "DB_PASSWORD",
        "db_password": "DB_PASSWORD",
        "APP_DB_PASSWORD": "DB_PASSWORD",
        "MYAPP_PROD__DB_PASSWORD": "DB_PASSWORD",
    }
    (tmp_path / "named").mkdir()
    mounted = {"HIVE_BOOT_SECRETS_DIR": str(tmp_path / "named")}
    for name, expected in variables.items():
        with case(name):
            environ = {"HIVE_BOOT_MODE": "environment", name: "/fake/value"}
            (problem,) = look(Database, tmp_path, environ).problems
            (detail,) = problem.details
            assert f" {name}, expected {expected}." in detail
            (problem,) = look(Database, tmp_path, mounted | {name: "/fake/value"}).problems
            assert len(problem.details) == int(expected.endswith("_FILE"))
            (problem,) = look(
                Database, tmp_path, mounted | {name: "/fake/value"}, env_fallback=True
            ).problems
            assert len(problem.details) == 1
    for name in ("OLD_DB_PASSWORD", "DB", "APP_DB_PASSWORD_HASH_ROUNDS"):
        with case(name):
            environ = {"HIVE_BOOT_MODE": "environment", name: "fake-value"}
            assert look(Database, tmp_path, environ).problems[0].details == ()


def test_a_file_with_a_prefix_is_named(tmp_path: Path) -> None:
    """A file of another application's naming is named, a declared one is not."""
    (tmp_path / "named").mkdir()
    for name in ("app_db_password", "myapp-db-password.txt", "old_db_password"):
        (tmp_path / "named" / name).write_text("fake-value")
    environ = {"HIVE_BOOT_SECRETS_DIR": str(tmp_path / "named")}
    (problem,) = look(Database, tmp_path, environ).problems
    assert ["app_db_password" in problem.details[0], "myapp" in problem.details[1]] == [True, True]
    assert len(problem.details) == 2


def test_a_near_miss_that_does_not_count_is_not_named(tmp_path: Path) -> None:
    """With `file_variable=False` no variable with a path is suggested."""

    class Certificate(SecretSet):
        """A name of which other software sets NAME_FILE."""

        ssl_cert: Secret = secret(file="tls/cert", file_variable=False)

    environ = {"HIVE_BOOT_MODE": "environment", "SSL_CERT_FILE": "/x", "FILE__SSL_CERT": "/x"}
    assert look(Certificate, tmp_path, environ).problems[0].details == ()
    field = Certificate._field_index.by_attribute["ssl_cert"]
    assert near_misses(field, ["SSL_CERT_FILE"]) == []
    (tmp_path / "credentials").mkdir()
    fix = look(Certificate, tmp_path, {"CREDENTIALS_DIRECTORY": "/credentials"}).problems[0].fix
    assert "Environment=" not in fix


def test_each_fix_fits_its_cause() -> None:
    """A directory, a FIFO, a link, a permission and an encoding are not fixed in the same way."""
    words = {
        "directory": "bind mount",
        "fifo": "FIFO",
        "dangling": "link",
        "loop": "link",
        "utf-16": "UTF-8",
        "latin": "replace the content",
        "forbidden": "readable by the user of this process",
    }
    impatient = partial(look, Database, policy=SETTLED.replace(missing_timeout=0.0))
    with as_ordinary_user() as root:
        (root / "cwd").mkdir()
        paths = {name: root / name for name in words}
        paths["directory"].mkdir()
        os.mkfifo(paths["fifo"])
        paths["dangling"].symlink_to("nowhere")
        paths["loop"].symlink_to("loop")
        paths["utf-16"].write_bytes("fake-value".encode("utf-16"))
        paths["latin"].write_bytes(b"fake-\xff")
        paths["forbidden"].write_text("fake-value")
        paths["forbidden"].chmod(0)
        for name, word in words.items():
            with case(name):
                environ = {"HIVE_BOOT_MODE": "environment", "DB_PASSWORD_FILE": str(paths[name])}
                (problem,) = impatient(root, environ).problems
                assert word in problem.fix
                assert str(paths[name]) in problem.fix
                assert "or change DB_PASSWORD_FILE" in problem.fix
                (root / "run/secrets").mkdir(parents=True, exist_ok=True)
                (root / "run/secrets/db_password").symlink_to(paths[name])
                for variables in (IN_CLUSTER, {"HIVE_BOOT_MODE": "docker"}):
                    (problem,) = impatient(root, variables).problems
                    is_kubectl = name == "latin" and variables is IN_CLUSTER
                    assert (problem.fix_kind == "kubectl") is is_kubectl
                    assert is_kubectl or word in problem.fix
                    if name == "forbidden":
                        assert "replace" not in problem.fix
                        assert ("fsGroup" in problem.fix) is (variables is IN_CLUSTER)
                (root / "run/secrets/db_password").unlink()
