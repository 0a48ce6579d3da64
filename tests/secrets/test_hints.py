"""The hints of a report: what to type so that it works, and what may have been meant."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from hive_boot import Secret, SecretSet, secret
from hive_boot.exceptions import Problem
from hive_boot.secrets.hints import printable_path
from hive_boot.testing import MountedVolume
from tests.support import look, report_of

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


class KeyAndCertificate(SecretSet):
    """One secret with the usual names, and one in a subdirectory."""

    openai_api_key: Secret = secret(used_by="agents")
    tls_key: Secret = secret(file="tls/server.key")


def problems_at(root: Path, **environ: str) -> list[Problem]:
    """Give what is wrong when neither secret is there."""
    return look(KeyAndCertificate, root, environ).problems


def test_kubernetes_takes_the_value_from_stdin(tmp_path: Path) -> None:
    """The kubectl line has no place for a value, so no shell's history gets one."""
    MountedVolume(tmp_path / "run/secrets/app").publish({"other": "x"})
    key, nested = problems_at(tmp_path, **IN_CLUSTER)
    assert key.hint.startswith(
        "kubectl create secret generic key-and-certificate --from-file=openai_api_key=/dev/stdin "
    )
    assert "--from-file=tls-server.key=/dev/stdin" in nested.hint
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
        hint = look(declared, tmp_path, IN_CLUSTER).problems[0].hint
        assert f"kubectl create secret generic {name} --from-file={key}=/dev/stdin " in hint
        ended = subprocess.run([shell, "-n", "-c", hint], capture_output=True, check=False)
        assert (ended.returncode, ended.stderr) == (0, b"")


def test_systemd_shows_the_line_of_the_unit(tmp_path: Path) -> None:
    """Under systemd the hint is a line of the unit, with the name that is looked for.

    No credential is called as a path, so then a variable leads to it.
    """
    (tmp_path / "credentials").mkdir()
    key, nested = problems_at(tmp_path, CREDENTIALS_DIRECTORY="/credentials")
    assert key.hint == "in the unit: LoadCredential=openai_api_key:/etc/credstore/openai_api_key"
    assert nested.hint == (
        "in the unit: LoadCredential=tls-server.key:/etc/credstore/tls/server.key "
        "and Environment=TLS_KEY_FILE=%d/tls-server.key"
    )


def test_docker_shows_the_file(tmp_path: Path) -> None:
    """In docker mode the hint is the path of the file to write."""
    (tmp_path / "named").mkdir()
    key, nested = problems_at(tmp_path, HIVE_BOOT_SECRETS_DIR=str(tmp_path / "named"))
    assert f"{tmp_path}/named/openai_api_key" in key.hint
    assert f"{tmp_path}/named/tls/server.key" in nested.hint


def test_environment_shows_the_variable(tmp_path: Path) -> None:
    """On a platform that injects variables the hint names the variable."""
    key, _ = problems_at(tmp_path, HIVE_BOOT_MODE="environment")
    assert key.hint == "set the variable OPENAI_API_KEY"
    assert key.places == ("the variable OPENAI_API_KEY",)


def test_development_shows_the_line_of_dotenv(tmp_path: Path) -> None:
    """In development the hint is the line for .env, and the places are those that were asked."""
    key, _ = problems_at(tmp_path)
    assert key.hint == f"set it in {tmp_path}/cwd/.env: OPENAI_API_KEY=…"
    assert key.places == (
        "the variable OPENAI_API_KEY",
        f"{tmp_path}/cwd/.env.local",
        f"{tmp_path}/cwd/.env",
    )


def test_the_places_of_a_mount_name_every_file_tried(tmp_path: Path) -> None:
    """A person sees each file name that would have been taken."""
    (tmp_path / "named").mkdir()
    key, nested = problems_at(tmp_path, HIVE_BOOT_SECRETS_DIR=str(tmp_path / "named"))
    assert key.places == (
        f"{tmp_path}/named/openai_api_key; also OPENAI_API_KEY, openai-api-key; each with .txt too",
    )
    assert nested.places == (f"{tmp_path}/named/tls/server.key; with .txt too",)


@pytest.mark.parametrize(
    ("standing", "tried"),
    [
        ("openai-apikey.txt", "openai-api-key.txt"),
        ("openai_apikey", "openai_api_key"),
        ("OPENAI_APIKEY", "OPENAI_API_KEY"),
        ("openai_api_keys", "openai_api_key"),
        ("openai_api_key.env", "openai_api_key"),
        (".openai_api_key", "openai_api_key"),
    ],
)
def test_a_near_miss_is_named(tmp_path: Path, standing: str, tried: str) -> None:
    """A file whose name is nearly right is named beside the one that was tried."""
    volume = tmp_path / "run/secrets/app"
    MountedVolume(volume).publish({standing: "fake-value-0123456789"})
    key, _ = problems_at(tmp_path, **IN_CLUSTER)
    assert key.kind == "missing"
    assert key.places[-1] == f"{volume}/{tried} was tried, a file {standing} stands there"


def test_the_nearest_of_several_comes_first(tmp_path: Path) -> None:
    """Of two names that are nearly right the nearer one is named first."""
    (tmp_path / "named").mkdir()
    for name in ("openai", "openai_key", "openai_api_keyx", "openai-apikey"):
        (tmp_path / "named" / name).touch()
    key, _ = problems_at(tmp_path, HIVE_BOOT_SECRETS_DIR=str(tmp_path / "named"))
    said = [place.split()[-3] for place in key.places[1:]]
    assert said == ["openai-apikey", "openai_api_keyx", "openai_key"]


@pytest.mark.parametrize(
    "name",
    [
        "fake-value-as-a-file-name-0123456789",
        "jwt_secret",
        "openai",
        "README.md",
    ],
)
def test_other_names_are_not_echoed(tmp_path: Path, name: str) -> None:
    """A file name that looks like none of ours may be a secret, so it is not shown."""
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / name).touch()
    environ = {"HIVE_BOOT_SECRETS_DIR": str(tmp_path / "named")}
    assert name not in report_of(look(KeyAndCertificate, tmp_path, environ)).split()


@pytest.mark.parametrize(
    "standing", ["openai_api_key\x1b[1m", "openai_api_key\n2. X", "openai_api_key\udcff"]
)
def test_a_near_miss_cannot_write_on_a_terminal(tmp_path: Path, standing: str) -> None:
    """A file name with control characters, or of no known letters, is not put into a report."""
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / standing).touch()
    environ = {"HIVE_BOOT_SECRETS_DIR": str(tmp_path / "named")}
    assert standing not in report_of(look(KeyAndCertificate, tmp_path, environ))


def test_a_near_miss_among_variables_is_named(tmp_path: Path) -> None:
    """A variable whose name is nearly right is named, and its value is not."""
    environ = {"HIVE_BOOT_MODE": "environment", "OPEN_AI_API_KEY": "fake-value-0123456789"}
    loaded = look(KeyAndCertificate, tmp_path, environ)
    assert loaded.problems[0].places == (
        "the variable OPENAI_API_KEY",
        "OPENAI_API_KEY was tried, a variable OPEN_AI_API_KEY is set",
    )
    assert "fake-value" not in report_of(loaded)


def test_of_many_near_misses_the_nearest_few_are_named(tmp_path: Path) -> None:
    """Where all names are alike, a report still fits a screen."""
    alike = {f"OPENAI_API_KEY_{number}": "fake-value-0123456789" for number in range(9)}
    nearest = {"OPEN_AI_API_KEY": "fake-value-0123456789"}
    environ = {"HIVE_BOOT_MODE": "environment", **alike, **nearest}
    _, first, *others = look(KeyAndCertificate, tmp_path, environ).problems[0].places
    assert first == "OPENAI_API_KEY was tried, a variable OPEN_AI_API_KEY is set"
    assert len(others) == 2


def test_a_near_miss_in_dotenv_is_named(tmp_path: Path) -> None:
    """A line of .env whose name is nearly right is named."""
    (tmp_path / "cwd/.env").write_text("OPENAI_API_KY=fake-value-0123456789\n")
    loaded = look(KeyAndCertificate, tmp_path)
    assert "a variable OPENAI_API_KY is set" in report_of(loaded)
    assert "fake-value" not in report_of(loaded)


@pytest.mark.parametrize("path", ["{}/key", "{}/no-such-file", "/proc/self/status", "cwd/../cwd/x"])
def test_a_path_is_shown(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A NAME_FILE whose directory exists is a path, and shown as it is."""
    monkeypatch.chdir(tmp_path)
    assert printable_path(path.format(tmp_path)) == path.format(tmp_path)


@pytest.mark.parametrize(
    "value",
    [
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
    ],
)
def test_a_value_is_not_shown(value: str) -> None:
    """What has no directory of its own is a value that somebody put into NAME_FILE."""
    assert printable_path(value) is None


def test_a_link_to_a_directory_has_files(tmp_path: Path) -> None:
    """A path through a link is a path."""
    (tmp_path / "link").symlink_to(tmp_path / "cwd")
    assert printable_path(f"{tmp_path}/link/key") == f"{tmp_path}/link/key"


# A value that was found and refused is mended where it was found


REFUSED = "fake-short"


class Ruled(SecretSet):
    """One secret whose value can be refused."""

    jwt_secret: Secret = secret(min_length=32)


def only_hint(root: Path, environ: Mapping[str, str]) -> str:
    """Give the mend of the one problem of a load."""
    (problem,) = look(Ruled, root, environ).problems
    assert problem.kind == "length"
    return problem.hint


def test_a_refused_file_is_replaced_under_its_own_name(tmp_path: Path) -> None:
    """Another spelling beside the refused file would be a conflict, so the mend names the file."""
    (tmp_path / "JWT_SECRET.txt").write_text(REFUSED)
    hint = only_hint(tmp_path, {"HIVE_BOOT_SECRETS_DIR": str(tmp_path)})
    assert hint == f"replace what {tmp_path}/JWT_SECRET.txt holds"


def test_a_refused_key_is_replaced_under_its_own_name(tmp_path: Path) -> None:
    """In a cluster the command sets the key that is there."""
    MountedVolume(tmp_path / "run/secrets/hive").publish({"JWT_SECRET": REFUSED})
    hint = only_hint(tmp_path, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert "--from-file=JWT_SECRET=/dev/stdin" in hint


def test_a_refused_variable_is_changed(tmp_path: Path) -> None:
    """A line in .env would not count against the variable."""
    assert only_hint(tmp_path, {"JWT_SECRET": REFUSED}) == "change the variable JWT_SECRET"


@pytest.mark.parametrize("name", [".env", ".env.local"])
def test_a_refused_line_is_changed_in_its_file(tmp_path: Path, name: str) -> None:
    """The mend names the .env file that the value is from."""
    (tmp_path / "cwd").mkdir(exist_ok=True)
    (tmp_path / "cwd" / name).write_text(f"JWT_SECRET={REFUSED}\n")
    assert only_hint(tmp_path, {}) == f"change it in {tmp_path}/cwd/{name}: JWT_SECRET=…"


def test_a_refused_pointer_is_followed(tmp_path: Path) -> None:
    """What NAME_FILE names is what has to change."""
    path = tmp_path / "elsewhere" / "key"
    path.parent.mkdir()
    path.write_text(REFUSED)
    hint = only_hint(tmp_path, {"JWT_SECRET_FILE": str(path)})
    assert hint == "change the file that JWT_SECRET_FILE names, or the variable"


def test_a_key_that_cannot_have_the_name_of_its_file(tmp_path: Path) -> None:
    """A Secret's key has no slash, so the report tells how the volume makes a path of it."""

    class Nested(SecretSet):
        """One secret in a subdirectory."""

        client_key: Secret = secret(file="tls/client.key")

    loaded = look(Nested, tmp_path, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    (problem,) = loaded.problems
    assert "the volume has to say items: [{key: tls-client.key, path: tls/client.key}]" in (
        problem.places
    )
    assert any("reads its value from stdin" in sentence for sentence in loaded.advice)


def test_both_faults_of_one_value_are_told(tmp_path: Path) -> None:
    """A value that is too short and of a wrong form is mended once, not twice."""

    class Both(SecretSet):
        """One secret with two rules."""

        key: Secret = secret(min_length=8, pattern="sk_.+")

    loaded = look(Both, tmp_path, {"KEY": "foo"})
    assert [problem.kind for problem in loaded.problems] == ["length", "pattern"]
