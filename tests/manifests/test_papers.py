"""What people read."""

import re
from io import StringIO

from dotenv import dotenv_values

from examples.hive.inventory import HiveSecrets
from examples.hive.settings import Settings
from hive_boot import Secret, SecretSet, secret
from tests.manifests.deployments import Optional, text_of
from tests.manifests.deployments import deployment as deploy
from tests.support import ROOT


class Odd(SecretSet):
    """Words that mean something elsewhere."""

    one: Secret = secret(used_by="a | b\n# c", description="<b> `code` *loud* [link](there)")
    two: Secret | None = secret(file="odd | file", required_in=("staging", "test"))


def test_an_example_asks_for_what_a_start_here_needs() -> None:
    """What has a default for development, or may be absent, waits behind a ``#``."""
    text = text_of(deploy(), ".env.example")
    assert dotenv_values(stream=StringIO(text)) == {"API_KEY": "", "SIGNING_KEY": ""}
    assert "# Required; used by billing; from the console; at least 8 characters.\nAPI_KEY=" in text
    assert "# Required in production; has a default for development.\n# JWT_SECRET=\n" in text
    assert "# The value before the last rotation.\n# JWT_BEFORE=\n" in text
    assert "# Of a pattern.\n# SENTRY_DSN=\n" in text
    assert "fake-default" not in text
    assert "# Optional.\n# TOKEN=\n" in text_of(deploy(Optional), ".env.example")


def test_a_table_lists_every_secret() -> None:
    """Who deploys it reads names, files, needs and rules."""
    text = text_of(deploy(), "SECRETS.md")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [
        "| `API_KEY` | `api_key` | yes | billing | from the console; at least 8 characters |",
        "| `SIGNING_KEY` | `signing_key` | yes |  | at most 64 bytes |",
        "| `JWT_SECRET` | `jwt_secret` | in production |  | has a default for development |",
        "| `JWT_BEFORE` | `jwt_before` | no | the value before |  |",
        "| `SENTRY_DSN` | `sentry_dsn` | no |  | of a pattern |",
    ]
    assert text.startswith("<!--\nRendered by hive-boot from ShopSecrets")


def test_a_table_is_one_whatever_stands_in_it() -> None:
    """No word ends a cell, a row, or begins something else."""
    one, two = text_of(deploy(Odd), "SECRETS.md").splitlines()[-2:]
    assert one == (
        "| `ONE` | `one` | yes | a \\| b \\# c | \\<b\\> \\`code\\` \\*loud\\* \\[link\\](there) |"
    )
    assert two == "| `TWO` | odd \\| file | in staging, test |  |  |"


def test_a_command_in_a_comment_does_not_end_it() -> None:
    """Markdown's comment lasts until its end, whatever was typed."""
    text = text_of(deploy(told=("shop.app:boot", "--env", "A=-->")), "SECRETS.md")
    assert text.count("-->") == 1


def test_the_example_of_hive_names_what_is_declared() -> None:
    """Its ``.env.example`` is written by hand, for people; no name in it means nothing."""
    text = (ROOT / "examples/hive/.env.example").read_text("utf-8")
    declared = {field.name for field in HiveSecrets._inventory.every}  # noqa: SLF001  (as a start does)
    settings = {name.upper() for name in Settings.model_fields}
    named = set(dotenv_values(stream=StringIO(text)))
    assert named <= declared | settings
    assert declared <= set(re.findall(r"[A-Z_]+", text))
