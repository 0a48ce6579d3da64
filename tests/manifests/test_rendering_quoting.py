"""Words of an author stay words in every format."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hive_boot import Secret, SecretBytes, SecretSet, secret
from hive_boot.manifests import Deployment, one_line, rendering
from hive_boot.manifests.rendering import comment, render, yaml_scalar
from tests.manifests.deployments import deployment as deploy
from tests.manifests.deployments import parsed

WORDS = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(
    [
        *("yes", "null", "~", "1e3", "0o17", "12:30", "-", "- a", "? b", "a: b", "a #b", "a\\"),
        *("---", "...", "%d", "'", '"', "\\", "{{ a }}", "$(A)", "${A}", "&a *a", "!a", "|", ">"),
        *("#\n", "a\r\nb: c", "\u2028b: c", "\x85c: d", "\ufeff", "\x00", "\U0001f510", "\\\n"),
    ]
)
PARTS = st.text(
    # After # follows the name of a member, and members of one file share it.
    st.characters(codec="utf-8", exclude_characters="/\0#"),
    min_size=1,
    max_size=20,
).filter(lambda part: part not in {".", ".."})
FILES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


@pytest.fixture(autouse=True, scope="module")
def compiled_templates() -> Iterator[None]:
    """Compile each template once for all examples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "_environment", cache(rendering._environment))  # noqa: SLF001  (replaced)
        yield


def declared(used_by: str, description: str, file: str) -> type[SecretSet]:
    """Return a declaration with odd words in it."""

    class Odd(SecretSet):
        one: Secret = secret(used_by=used_by, description=description, file=file)
        two: SecretBytes = secret(used_by=used_by, file=f"{file} 2", description=description)
        three: Secret | None = secret(used_by=used_by, file=f"x{file}", description=description)

    return Odd


def meant(made: Deployment, files: dict[str, str]) -> None:
    """Assert that the rendered files contain what was declared."""
    one, two, _ = made.items
    compose = parsed(files["deploy/docker-compose.yml"])
    (service,) = compose["services"].values()
    assert len(service["secrets"]) == len(compose["secrets"]) == 2
    mounted = {
        each if isinstance(each, str) else each.get("target", "").replace("$$", "$")
        for each in service["secrets"]
    }
    for item in (one, two):
        assert mounted & {item.file, f"/run/secrets/{item.file}"}
        source = compose["secrets"][made.compose_name(item)]["file"]
        assert source.replace("$$", "$") == f"./secrets/{item.file}"
        assert not re.search(r"(?<!\$)(\$\$)*\$(?!\$)", source)
    held = parsed(files["deploy/k8s/secret.yaml"])
    assert set(held["stringData"]) == {one.key}
    assert set(held["data"]) == {two.key}
    spec = parsed(files["deploy/k8s/deployment.yaml"])["spec"]["template"]["spec"]
    (volume,) = [each["secret"] for each in spec["volumes"] if "secret" in each]
    assert [each["path"] for each in volume["items"]] == [one.file, two.file]
    for item in made.items:
        assert re.fullmatch(r"[-_a-zA-Z0-9][-._a-zA-Z0-9]*", item.key)


@settings(deadline=None, max_examples=50)
@given(WORDS, WORDS, FILES)
def test_odd_words_break_no_manifest(used_by: str, description: str, file: str) -> None:
    """Whatever is declared, each file says what was meant and nothing more."""
    made = deploy(declared(used_by, description, file), env={"A": one_line(used_by)})
    targets = ["systemd", "env-example", "compose", "kubernetes"]
    files = render(made, targets)
    meant(made, files)
    plain = render(deploy(declared("x", "y", file)), targets)
    for path, text in files.items():
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        calm = plain[path].splitlines()
        expected = [line for line in calm if line and not line.startswith("#")]
        if path.startswith("deploy/systemd") or path == ".env.example":
            lines = [line for line in lines if not line.startswith(("Environment=A", '"'))]
            lines = [line for line in lines if not line.startswith('Environment="A=')]
            assert lines == expected
        assert all(line.isprintable() for line in text.split("\n"))


@settings(deadline=None, max_examples=50)
@given(WORDS)
def test_a_quoted_text_is_read_as_it_was(text: str) -> None:
    """YAML 1.1 takes it for a text, and for this one."""
    assert yaml.safe_load(f"a: {yaml_scalar(text)}") == {"a": text}
    assert yaml.safe_load(f"{yaml_scalar(text)}: a") == {text: "a"}
    assert "\n" not in yaml_scalar(text)


@settings(deadline=None, max_examples=50)
@given(WORDS)
def test_a_comment_is_nothing_but_a_comment(text: str) -> None:
    """Every line of it begins with the sign, and a reader of YAML sees none."""
    lines = comment(text, 2).splitlines()
    assert all(line.startswith("  # ") for line in lines)
    document = "\n".join(["a:", *lines, "  b: c"])
    assert document.splitlines() == ["a:", *lines, "  b: c"]
    assert yaml.safe_load(document) == {"a": {"b": "c"}}


def test_simple_words_stand_without_quotes() -> None:
    """A file is read by people too."""
    plain: dict[str, Any] = {
        "api_key": "api_key",
        "./secrets/a.b": "./secrets/a.b",
        "hive:1": "hive:1",
    }
    odd = {"no": '"no"', "1": '"1"', "a ": '"a "', "": '""', "a:": '"a:"', 'a"b': r'"a\"b"'}
    assert {text: yaml_scalar(text) for text in plain | odd} == plain | odd
