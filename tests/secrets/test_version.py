"""The version of a set: where it is read, and for which values it vouches."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hive_boot import DeclarationError, Secret, SecretBytes, SecretSet, secret
from hive_boot.secrets.sources.directories import ReadPolicy
from hive_boot.testing import MountedVolume
from tests.fixtures.cases import case, empty_machines
from tests.support import look, report_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hive_boot.secrets.load_result import LoadResult

ONE = "fake-one-0123456789-0123456789"
TWO = "fake-two-9876543210-9876543210"
V1 = "2026-01-05.1"


class Versioned(SecretSet, version="secrets-version"):
    """Two secrets and their version."""

    jwt_secret: Secret = secret(aliases="OLD_JWT", previous="JWT_BEFORE")
    db_password: Secret | None


def reason_of(loaded: LoadResult) -> str:
    """Return why the version is unknown; empty if it is known."""
    assert not loaded.problems, report_of(loaded)
    found = [each for each in loaded.warnings if each.kind == "version"]
    assert len(found) <= 1
    assert not loaded.version or not found
    for each in found:
        assert each.names == ("secrets-version",)
        return each.location
    return ""


def mounted(root: Path, files: Mapping[str, str | bytes], *more: str) -> LoadResult:
    """Load files of one directory, and further directories."""
    directory = root / "named"
    for name, content in files.items():
        (directory / name).parent.mkdir(exist_ok=True, parents=True)
        (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    named = ":".join([str(directory), *more])
    return look(Versioned, root, {"HIVE_BOOT_SECRETS_DIR": named})


def test_a_version_beside_all_values_is_known(tmp_path: Path) -> None:
    """It is text of a file like any other: without a final newline and a byte order mark."""
    machines = empty_machines(tmp_path)
    for content in (V1, f"{V1}\n", f"{V1}\r\n", b"\xef\xbb\xbf" + V1.encode() + b"\n"):
        with case(content):
            loaded = mounted(next(machines), {"jwt_secret": ONE, "secrets-version": content})
            assert (loaded.version, reason_of(loaded)) == (V1, "")
            assert [*loaded.values] == ["jwt_secret"]
            assert V1 not in [each.reveal() for each in loaded.secret_values]
    for text in ("a", "A" * 64, "v1:2026-01-05T10:11:12.5Z", "_", "17"):
        with case(text):
            loaded = mounted(next(machines), {"jwt_secret": ONE, "secrets-version.txt": text})
            assert (loaded.version, reason_of(loaded)) == (text, "")


def test_a_text_that_is_not_a_version_is_unknown_and_not_shown(tmp_path: Path) -> None:
    """It may be a secret that was written under the wrong key."""
    machines = empty_machines(tmp_path)
    wrong: tuple[str | bytes, ...] = (
        *(
            "two words",
            "a" * 65,
            "v1\n\n",
            " v1",
            "v/1",
            "v1\x00",
            "é",
            "{}",
            b"\xff\xfev\x001\x00",
        ),
        *(ONE, f"{ONE}\n", f"v1.{ONE}", "", "\n"),
    )
    for content in wrong:
        with case(content):
            files = {"jwt_secret": ONE, "secrets-version": content}
            loaded = mounted(next(machines), files)
            assert loaded.version == ""
            reason = reason_of(loaded)
            assert reason
            plain = str(content).strip()
            assert not plain or plain not in reason


def test_a_version_equal_to_any_value_that_was_read_is_unknown(tmp_path: Path) -> None:
    """Also one that is not used, or is bytes, or too short to be hidden in logs."""

    class Keys(SecretSet, version="v"):
        key: SecretBytes
        pin: Secret | None
        old: Secret | None = secret(previous="BEFORE")

    machines = empty_machines(tmp_path)
    for name in ("key", "pin", "old", "before"):
        with case(name):
            root = next(machines)
            files = {"key": "fake-key-of-bytes", "v": "4711", name: "4711"}
            for file, content in files.items():
                (root / "named").mkdir(exist_ok=True)
                (root / "named" / file).write_text(content)
            loaded = look(Keys, root, {"HIVE_BOOT_SECRETS_DIR": f"{root}/named"})
            assert not loaded.problems
            assert loaded.version == ""
            assert [each.location for each in loaded.warnings if each.kind == "version"] == [
                "it contains a secret"
            ]
    root = next(machines)
    environ = {"OLD_JWT": "4711", "JWT_SECRET": ONE, "SECRETS_VERSION": "4711"}
    assert reason_of(look(Versioned, root, environ)) == "it contains a secret"


def test_a_version_vouches_only_for_its_own_directory(tmp_path: Path) -> None:
    """A value in another directory, below a NAME_FILE or in a variable makes it unknown."""
    machines = empty_machines(tmp_path)

    root = next(machines)
    (root / "other").mkdir()
    (root / "other/db_password").write_text(TWO)
    loaded = mounted(root, {"jwt_secret": ONE, "secrets-version": V1}, f"{root}/other")
    assert "DB_PASSWORD" in reason_of(loaded)
    assert "JWT_SECRET" not in reason_of(loaded)

    # A version of another directory vouches for nothing here, and does not conflict.
    (root / "other/db_password").unlink()
    (root / "other/secrets-version").write_text("other")
    loaded = mounted(root, {}, f"{root}/other")
    assert (loaded.version, reason_of(loaded)) == (V1, "")

    root = next(machines)
    (root / "key").write_text(ONE)
    (root / "named").mkdir()
    (root / "named/secrets-version").write_text(V1)
    environ = {"HIVE_BOOT_SECRETS_DIR": f"{root}/named", "JWT_SECRET_FILE": f"{root}/key"}
    assert "JWT_SECRET" in reason_of(look(Versioned, root, environ))

    root = next(machines)
    (root / "named").mkdir()
    (root / "named/jwt_secret").write_text(ONE)
    environ = {"HIVE_BOOT_SECRETS_DIR": f"{root}/named", "SECRETS_VERSION": V1}
    assert "JWT_SECRET" in reason_of(look(Versioned, root, environ))


def test_files_of_several_file_systems_have_no_common_version(tmp_path: Path) -> None:
    """A link in the directory may lead to a volume that changes independently."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (tmp_path / "named").mkdir()
        (tmp_path / "named/db_password").symlink_to(f"{other}/db_password")
        (Path(other) / "db_password").write_text(TWO)
        assert Path(other).stat().st_dev != tmp_path.stat().st_dev
        loaded = mounted(tmp_path, {"jwt_secret": ONE, "secrets-version": V1})
        assert "DB_PASSWORD" in reason_of(loaded)


def test_a_version_covers_a_whole_volume(tmp_path: Path) -> None:
    """The kubelet replaces all keys at once, also those below a path and those of a bundle."""

    class Deep(SecretSet, version="secrets-version"):
        key: Secret = secret(file="tls/key.pem")
        password: Secret = secret(file="rds.json#password")

    volume = MountedVolume(tmp_path / "named")
    content = {"tls/key.pem": ONE, "rds.json": '{"password": "fake-password-4711"}'}
    volume.publish({**content, "secrets-version": V1})
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HIVE_BOOT_SECRETS_DIR": str(volume.path)}
    loaded = look(Deep, tmp_path, environ)
    assert not loaded.problems
    assert loaded.version == V1


def test_a_version_and_its_values_are_of_one_snapshot(tmp_path: Path) -> None:
    """While a kubelet replaces the volume, and in any thread."""
    volume = MountedVolume(tmp_path / "named")
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HIVE_BOOT_SECRETS_DIR": str(volume.path)}

    def publish(number: int) -> None:
        text = f"{number:04}"
        values = {"jwt_secret": f"fake-jwt-{text}", "db_password": f"fake-db-{text}"}
        volume.publish({**values, "secrets-version": text})

    publish(0)
    is_over, found = threading.Event(), set[str]()

    def rotate() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            publish(number)

    writer = threading.Thread(target=rotate)
    writer.start()
    try:
        while len(found) < 50:
            loaded = look(Versioned, tmp_path, environ, policy=ReadPolicy(tries=10_000))
            assert not loaded.problems, report_of(loaded)
            numbers = {value.reveal()[-4:] for value in loaded.values.values()}
            assert numbers == {loaded.version}
            found.add(loaded.version)
    finally:
        is_over.set()
        writer.join()


def test_one_subdirectory_is_one_directory(tmp_path: Path) -> None:
    """A version in the subdirectory that has all values vouches for them; several cannot."""
    machines = empty_machines(tmp_path)
    files = {"app/jwt_secret": ONE, "app/db_password": TWO, "app/secrets-version": V1}
    loaded = mounted(next(machines), files)
    assert (loaded.version, reason_of(loaded)) == (V1, "")
    files = {"jwt_secret": ONE, "app/db_password": TWO, "app/secrets-version": V1}
    assert "JWT_SECRET" in reason_of(mounted(next(machines), files))
    files = {"a/jwt_secret": ONE, "b/db_password": TWO, "a/secrets-version": V1}
    files["b/secrets-version"] = V1
    assert "DB_PASSWORD" in reason_of(mounted(next(machines), files))


def test_a_bundle_contains_its_version(tmp_path: Path) -> None:
    """As a member under the declared key, or under the name of a variable."""
    machines = empty_machines(tmp_path)
    bundles = (
        f'{{"JWT_SECRET": "{ONE}", "secrets-version": "{V1}"}}',
        f'{{"jwt_secret": "{ONE}", "SECRETS_VERSION": "{V1}"}}',
        f"JWT_SECRET={ONE}\nsecrets-version={V1}\n",
        f"\ufeffJWT_SECRET='{ONE}'\r\nSECRETS_VERSION='{V1}'\r\n",
    )
    for text in bundles:
        with case(text):
            root = next(machines)
            (root / "bundle").write_text(text, newline="")
            loaded = look(Versioned, root, {"HIVE_BOOT_SECRETS_DIR": f"{root}/bundle"})
            assert (loaded.version, reason_of(loaded)) == (V1, "")
    for member in ("null", '{"a": 1}', "1.0e3", "true"):
        with case(member):
            root = next(machines)
            text = f'{{"JWT_SECRET": "{ONE}", "secrets-version": {member}}}'
            (root / "bundle").write_text(text)
            loaded = look(Versioned, root, {"HIVE_BOOT_SECRETS_DIR": f"{root}/bundle"})
            assert loaded.version == ("" if member[0] in "n{" else member)
            assert bool(reason_of(loaded)) is not bool(loaded.version)


def test_a_variable_counts_only_if_all_values_are_variables(tmp_path: Path) -> None:
    """In the mode environment, in development, and as the fallback of a mounted mode."""
    machines = empty_machines(tmp_path)
    base = {"HIVE_BOOT_MODE": "environment", "JWT_SECRET": ONE}
    for name in ("SECRETS_VERSION", "secrets-version"):
        with case(name):
            loaded = look(Versioned, next(machines), {**base, name: V1})
            assert (loaded.version, reason_of(loaded)) == (V1, "")
    loaded = look(
        Versioned, next(machines), {**base, "SECRETS_VERSION": "a", "secrets-version": "b"}
    )
    assert reason_of(loaded).startswith("it has different values in ")

    root = next(machines)
    (root / "cwd").mkdir(exist_ok=True)
    (root / "cwd/.env").write_text(f"DB_PASSWORD={TWO}\nJWT_SECRET={ONE}\nSECRETS_VERSION={V1}\n")
    loaded = look(Versioned, root, {})
    assert (loaded.version, reason_of(loaded)) == (V1, "")
    loaded = look(Versioned, root, {"DB_PASSWORD": TWO})
    assert "DB_PASSWORD" in reason_of(loaded)
    loaded = look(Versioned, root, {"SECRETS_VERSION": "of-the-shell"})
    assert loaded.version == V1
    assert not [each for each in loaded.warnings if each.kind == "overridden"]

    root = next(machines)
    (root / "named").mkdir()
    environ = {"HIVE_BOOT_SECRETS_DIR": f"{root}/named", "HIVE_BOOT_ENV_FALLBACK": "1"}
    environ |= {"JWT_SECRET": ONE, "SECRETS_VERSION": V1}
    assert look(Versioned, root, environ).version == V1
    (root / "named/db_password").write_text(TWO)
    assert "DB_PASSWORD" in reason_of(look(Versioned, root, environ))


def test_a_missing_version_is_a_warning_where_it_proves_something(tmp_path: Path) -> None:
    """A developer has no fleet."""
    machines = empty_machines(tmp_path)
    assert reason_of(mounted(next(machines), {"jwt_secret": ONE})).startswith("it is missing")
    loaded = look(Versioned, next(machines), {"JWT_SECRET": ONE})
    assert loaded.source_context.profile == "development"
    assert (loaded.version, reason_of(loaded)) == ("", "")


def test_a_version_is_never_a_value_or_a_near_name(tmp_path: Path) -> None:
    """The report of a missing secret does not name its file as a similar one."""

    class Close(SecretSet, version="secret-version"):
        secret_versions: Secret

    (tmp_path / "named").mkdir()
    (tmp_path / "named/secret-version").write_text(V1)
    loaded = look(Close, tmp_path, {"HIVE_BOOT_SECRETS_DIR": f"{tmp_path}/named"})
    (problem,) = loaded.problems
    assert (problem.kind, problem.details) == ("missing", ())
    (problem,) = look(Close, tmp_path, {"SECRET_VERSION": V1}).problems
    assert (problem.kind, problem.details) == ("missing", ())


def test_the_key_of_a_version_provides_nothing_else() -> None:
    """A key that would also be read as a secret, a pointer or a bundle is refused."""
    invalid: list[tuple[Any, dict[str, Any]]] = [
        ("jwt-secret", {}),
        ("JWT_SECRET", {}),
        ("jwt_secret.txt", {}),
        ("JWT_SECRET_FILE", {}),
        ("jwt-secret-file", {}),
        ("old-name", {"aliases": "OLD_NAME"}),
        ("before", {"previous": "BEFORE"}),
        ("key.pem", {"file": "key.pem"}),
        ("rds.json", {"file": "rds.json#password"}),
    ]
    for version, options in invalid:
        with case(version), pytest.raises(DeclarationError, match=r"version=.*Fix: "):
            type(
                "Clash",
                (SecretSet,),
                {"__annotations__": {"jwt_secret": Secret}, "jwt_secret": secret(**options)},
                version=version,
            )
    for bad in ("", "a b", "../v", "v/1", ".v", "é", 3, b"v", True, ("v",)):
        with case(bad), pytest.raises(DeclarationError, match="invalid version=: expected letters"):
            type("Bad", (SecretSet,), {}, version=bad)


def test_a_subclass_inherits_the_version_and_no_prefix_precedes_it() -> None:
    """The key is an argument of the class, and the version is that of the whole set."""

    class Base(SecretSet, version="base-version", prefix="ORDERS_"):
        one: Secret

    class Plain(SecretSet):
        two: Secret

    class Both(Plain, Base, prefix="MORE_"):
        three: Secret

    class Other(Both, version="other"): ...

    indexes = [each._field_index for each in (Base, Plain, Both, Other)]
    assert [each.version for each in indexes] == ["base-version", "", "base-version", "other"]
    with pytest.raises(DeclarationError, match="version="):

        class Clash(Both):
            base_version: Secret
