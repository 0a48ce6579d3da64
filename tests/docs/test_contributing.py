"""CONTRIBUTING.md and the files for contributors: their examples, commands, hooks and forms."""

import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml

from hive_boot import Bootstrap, Secret, SecretSet
from hive_boot.cli.doctor_checks import configuration
from tests.cli.doctor_checks.contexts import context_of
from tests.docs.reading import blocks_of, make_laptop, make_workplace, read_page
from tests.support import ROOT

TEXT = read_page("CONTRIBUTING.md")
PYTHON = [block.text for block in blocks_of(TEXT) if block.language == "python"]
SHELL = "".join(block.text for block in blocks_of(TEXT) if block.language == "sh")
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def module_of(source: str, **namespace: object) -> Any:  # noqa: ANN401  (its attributes)
    """Return a module with the content of a block."""
    module = types.ModuleType("block")
    vars(module).update(namespace)
    exec(compile(source, "CONTRIBUTING.md", "exec"), vars(module))  # noqa: S102  (the page itself)
    return module


class TwoKeys(SecretSet):
    """Two secrets."""

    one_key: Secret
    two_key: Secret | None


@pytest.mark.anyio
async def test_the_source_provides_secrets(tmp_path: Path) -> None:
    """An application starts with the source of the page, and lacks what the file lacks."""
    file = tmp_path / "shop.ini"
    file.write_text("[shop]\nONE_KEY = fake-key-0123456789\n", "utf-8")
    source = module_of(PYTHON[0]).IniFile(file, "shop")
    boot = Bootstrap(TwoKeys, mode="environment", sources=[source])
    async with boot.running() as secrets:
        assert secrets.one_key.matches("fake-key-0123456789")
        assert secrets.two_key is None


def test_the_check_of_doctor_finds_what_it_describes(tmp_path: Path) -> None:
    """Two equal values are a finding without a value; two different ones are not."""
    source = f"from __future__ import annotations\n{PYTHON[1]}"
    check = module_of(source, **vars(configuration)).shared_values
    same = {"ONE_KEY": "fake-key-0123456789", "TWO_KEY": "fake-key-0123456789"}
    (finding,) = check(context_of(tmp_path, same, declared=TwoKeys))
    assert (finding.kind, finding.names) == ("shared-value", ("ONE_KEY", "TWO_KEY"))
    assert "fake" not in repr(finding)
    assert not list(check(context_of(tmp_path, same | {"TWO_KEY": "other"}, declared=TwoKeys)))


def test_the_command_prints_what_it_describes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The module of the page works as a command: text, and JSON."""
    monkeypatch.chdir(make_workplace(tmp_path))
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(sys.modules, "app", raising=False)
    command = module_of(PYTHON[2])
    for typed in (["app:boot"], ["app:boot", "--json"]):
        assert command.run(command.parser().parse_args(typed)) == 0
    monkeypatch.delitem(sys.modules, "app")
    text, _, json = capsys.readouterr().out.partition("{")
    assert text.split() == ["OPENAI_API_KEY", "JWT_SECRET", "SENTRY_DSN"]
    assert '"names"' in json


def test_every_block_is_tried() -> None:
    """The page has three examples in Python, and commands of make."""
    assert len(PYTHON) == 3
    assert len(blocks_of(TEXT)) == len(PYTHON) + 2
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for line in SHELL.splitlines():
        command = re.match(r'make (\w+)(?:  +# |$| ARGS="(.*)"$)', line)
        assert command, line
        assert re.search(rf"^{command[1]}:.* ## ", makefile, re.MULTILINE), line
        paths = re.findall(r"tests/[\w/.]+", command[2] or "")
        assert all((ROOT / path).is_file() for path in paths), line


def test_every_path_exists() -> None:
    """What the page names by its path is in the repository, except the files of its examples."""
    new = {re.match(r"# (\S+)", block)[1] for block in PYTHON} | {"tests/cli/test_names.py"}  # type: ignore[index]
    for path in re.findall(r"`((?:tests|examples|hive_boot|docs)/[\w/.]+)`", TEXT):
        assert path in new or (ROOT / path).exists(), path


def hooks(name: str) -> list[dict[str, Any]]:
    """Return the hooks of a file of pre-commit."""
    content = yaml.safe_load((ROOT / name).read_text("utf-8"))
    if isinstance(content, list):
        return content
    return [hook for repository in content["repos"] for hook in repository["hooks"]]


@pytest.mark.parametrize("name", [".pre-commit-config.yaml", ".pre-commit-hooks.yaml"])
def test_every_hook_is_complete(name: str) -> None:
    """A hook has what pre-commit requires, its pattern is valid, and its program is installed."""
    for hook in hooks(name):
        assert {"id", "name", "entry", "language"} <= hook.keys()
        assert hook["language"] == "system"
        re.compile(hook.get("files", ""))
        first, *arguments = hook["entry"].split()
        program = Path(first).name
        assert (Path(sys.executable).with_name(program)).exists() or program == "hive-boot"
        for path in (each for each in arguments if "/" in each):
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("hook", hooks(".pre-commit-hooks.yaml"), ids=lambda hook: hook["id"])
def test_the_hooks_for_others_fail_for_a_reason(hook: dict[str, Any], tmp_path: Path) -> None:
    """Each passes where nothing is wrong, and fails where something is."""
    place, laptop = make_workplace(tmp_path), make_laptop(tmp_path)
    (place / ".env").write_text("OPENAI_API_KEY=fake-key\nJWT_SECRET=" + "fake" * 8, "utf-8")
    arguments = "app:boot"
    if "manifests" in hook["entry"]:
        arguments = "app:boot --target env-example"
        assert execute(f"hive-boot manifests {arguments} --write", place, laptop) == 0
    assert execute(f"{hook['entry']} {arguments}", place, laptop) == 0

    (place / ".env").unlink()
    (place / ".env.example").write_text("changed by hand\n", "utf-8")
    assert execute(f"{hook['entry']} {arguments}", place, laptop) != 0


def execute(command: str, place: Path, environment: dict[str, str]) -> int:
    """Run a command in a directory, and return its exit status."""
    return subprocess.run(
        ["bash", "-c", command],  # noqa: S607  (the bash of the PATH)
        cwd=place,
        env=environment,
        capture_output=True,
        check=False,
    ).returncode


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_asks_for_something(path: Path) -> None:
    """A form of an issue has a description and fields with labels, of the types that exist."""
    form = yaml.safe_load(path.read_text("utf-8"))
    if path.name == "config.yml":
        assert form == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "body"} <= form.keys()
    kinds = {"checkboxes", "dropdown", "input", "markdown", "textarea"}
    fields = [each for each in form["body"] if each["type"] != "markdown"]
    assert {each["type"] for each in form["body"]} <= kinds
    assert all(each["attributes"]["label"] for each in fields)
    assert len({each["id"] for each in fields}) == len(fields) > 0
