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
    told = re.search(r"(?m)^# (.*)\nAPI_KEY=$", text)
    assert told
    assert all(fact in told[1] for fact in ("billing", "from the console", " 8 "))
    told = re.search(r"(?m)^# (.*)\n# JWT_SECRET=$", text)
    assert told
    assert "production" in told[1]
    assert re.search(r"(?m)^# .*\n# JWT_BEFORE=$", text)
    assert re.search(r"(?m)^# .*\n# SENTRY_DSN=$", text)
    assert "fake-default" not in text
    assert re.search(r"(?m)^# .*\n# TOKEN=$", text_of(deploy(Optional), ".env.example"))


def test_a_table_lists_every_secret() -> None:
    """Who deploys it reads names, files, needs and rules."""
    text = text_of(deploy(), "SECRETS.md")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[:3] for row in cells] == [
        ["`API_KEY`", "`api_key`", "yes"],
        ["`SIGNING_KEY`", "`signing_key`", "yes"],
        ["`JWT_SECRET`", "`jwt_secret`", "in production"],
        ["`JWT_BEFORE`", "`jwt_before`", "no"],
        ["`SENTRY_DSN`", "`sentry_dsn`", "no"],
    ]
    assert [row[3] for row in cells[:3]] == ["billing", "", ""]
    facts = ["from the console", "8"], ["64"], ["development"]
    for row, wanted in zip(cells[:3], facts, strict=True):
        assert all(fact in row[4] for fact in wanted)
    assert re.match(r"<!--\n.*\bShopSecrets\b", text)


def test_a_table_is_one_whatever_stands_in_it() -> None:
    """No word ends a cell, a row, or begins something else."""
    one, two = text_of(deploy(Odd), "SECRETS.md").splitlines()[-2:]
    assert one == (
        "| `ONE` | `one` | yes | a \\| b \\# c | \\<b\\> \\`code\\` \\*loud\\* \\[link\\](there) |"
    )
    assert two == "| `TWO` | odd \\| file | in staging, test |  |  |"


def test_a_command_in_a_comment_does_not_end_it() -> None:
    """Markdown's comment lasts until its end, whatever was typed."""
    text = text_of(deploy(rerun_arguments=("shop.app:boot", "--env", "A=-->")), "SECRETS.md")
    assert text.count("-->") == 1


def test_the_example_of_hive_names_what_is_declared() -> None:
    """Its ``.env.example`` is written by hand, for people; no name in it means nothing."""
    text = (ROOT / "examples/hive/.env.example").read_text("utf-8")
    declared = {field.name for field in HiveSecrets._field_index.all_fields}
    settings = {name.upper() for name in Settings.model_fields}
    named = set(dotenv_values(stream=StringIO(text)))
    assert named <= declared | settings
    assert declared <= set(re.findall(r"[A-Z_]+", text))
