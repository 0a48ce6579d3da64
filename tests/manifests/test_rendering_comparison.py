"""What is there, compared with what was rendered."""

import re

from hive_boot.manifests.rendering import File
from tests.manifests.deployments import deployment as deploy
from tests.manifests.deployments import text_of

SECRET = "deploy/k8s/secret.yaml"
EXAMPLE = ".env.example"


def file(path: str, there: str | None, text: str) -> File:
    """Return a file as it was found."""
    return File(path=path, text=text, existing=there)


def filled(path: str, name: str, value: str) -> File:
    """Return a rendered file in which somebody has put a value."""
    text = text_of(deploy(), path)
    pattern = {
        SECRET: f"(?m)^(  {name}: ).*$",
        EXAMPLE: f"(?m)^({name}=).*$",
    }[path]
    there, count = re.subn(pattern, rf"\g<1>{value}", text)
    assert count == 1
    return file(path, there, text)


def test_a_file_of_somebody_else_is_no_file_of_ours() -> None:
    """What was not rendered is not written over; what was rendered is, by a newer one."""
    for path in ("deploy/Dockerfile", SECRET, EXAMPLE):
        text = text_of(deploy(), path)
        assert file(path, "FROM scratch\n", text).overwrite_blocker != "", path
        for there in (None, text, text + "# more\n"):
            assert file(path, there, text).overwrite_blocker == "", path


def test_a_value_is_not_lost_and_not_shown() -> None:
    """Who has filled in a file that is for none keeps the value, and nobody sees it."""
    value = "fake-value-0123456789"
    for path, name in ((SECRET, "api_key"), (SECRET, "signing_key"), (EXAMPLE, "API_KEY")):
        found = filled(path, name, value)
        assert found.overwrite_blocker != "", path
        assert value not in found.overwrite_blocker


def test_a_newer_declaration_replaces_older_placeholders() -> None:
    """A secret that is gone was a placeholder, which nobody misses."""
    text = text_of(deploy(), SECRET)
    there = text.replace("api_key: ", "gone: ").replace("signing_key: ", "raw: ")
    assert file(SECRET, there, text).overwrite_blocker == ""
    assert file(SECRET, text.replace("name: shop", "name: other"), text).overwrite_blocker == ""
    example = text_of(deploy(), EXAMPLE)
    assert file(EXAMPLE, example.replace("API_KEY=", "GONE="), example).overwrite_blocker == ""
