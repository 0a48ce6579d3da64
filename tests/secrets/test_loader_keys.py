"""Key blocks: a text that ends with one has exactly one newline after it."""

import json
from pathlib import Path

from hive_boot import Secret, SecretBytes, SecretSet, secret
from tests.fixtures.cases import case, empty_machines
from tests.secrets.test_loader import mounted
from tests.support import look, values_of

BLOCK = "-----BEGIN FAKE KEY-----\nZmFrZS9mYWtl/ZmFrZQ==\n-----END FAKE KEY-----"


class WithKey(SecretSet):
    """A key block as text and as bytes."""

    ssh_key: Secret = secret(dev_default=BLOCK)
    raw_key: SecretBytes | None


def test_a_key_block_ends_with_one_newline_whatever_its_source(tmp_path: Path) -> None:
    """OpenSSH requires it; bytes are not changed, nor is a text after which something follows."""
    machines = empty_machines(tmp_path)
    for end in ("", "\n", "\r\n", "\n\n\n", "\r\n\r\n", " \n", "\n\n#"):
        text, root = BLOCK + end, next(machines)
        expected = f"{BLOCK}\n" if not end.strip("\r\n") else text.removesuffix("\n")
        as_variable = expected if not end.strip("\r\n") else text
        file = root / "file"
        file.write_bytes(text.encode())
        (root / "bundle").write_text(json.dumps({"SSH_KEY": text, "RAW_KEY": text}))
        (root / "cwd/.env").write_bytes(f'SSH_KEY="{text}"\n'.encode())
        for environ, found in (
            (mounted(root, {"ssh_key": text, "raw_key": text}), expected),
            ({"HIVE_BOOT_MODE": "environment", "SSH_KEY_FILE": str(file)}, expected),
            ({"HIVE_BOOT_MODE": "environment", "SSH_KEY": text, "RAW_KEY": text}, as_variable),
            ({"HIVE_BOOT_SECRETS_DIR": f"{root}/bundle"}, as_variable),
            ({}, as_variable.replace("\r\n", "\n")),
        ):
            with case(end, environ):
                loaded = look(WithKey, root, {"HIVE_BOOT_PROFILE": "development", **environ})
                values = values_of(loaded)
                assert values["ssh_key"] == found
                assert values.get("raw_key", text.encode()) == text.encode()
                if found == f"{BLOCK}\n":
                    loaded = look(WithKey, root, {**environ, "HIVE_BOOT_PROFILE": "production"})
                    assert [each.kind for each in loaded.problems] == ["dev-default"]
    assert values_of(look(WithKey, next(machines)))["ssh_key"] == f"{BLOCK}\n"
