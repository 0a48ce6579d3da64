"""Every step of docs/tutorial.md, run in one terminal as a reader would."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docs.reading import read_page
from tests.docs.terminal import blocks_of, same, walk_through
from tests.manifests.test_checkers import call, compose_config
from tests.support import ROOT, child_environment

PAGE = read_page("docs/tutorial.md")

INSTALL, WHEEL, *SHELL = [block.text for block in blocks_of(PAGE) if block.language == "sh"]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, str]]]:
    """Walk through the page, and return the directory, and each transcript with the real one."""
    base = tmp_path_factory.mktemp("tutorial")
    return base / "shop", list(walk_through(PAGE, base))


def test_the_output_is_as_shown(walked: tuple[Path, list[tuple[str, str]]]) -> None:
    """The commands of the page, typed in order, show exactly what it shows, except durations."""
    _, transcripts = walked
    assert len(transcripts) == PAGE.count("```console\n")
    for shown, real in transcripts:
        assert same(real) == same(shown)


def test_the_rendered_files_are_valid(walked: tuple[Path, list[tuple[str, str]]]) -> None:
    """Compose and Kubernetes accept the files of the last steps, with the names in its commands."""
    place, _ = walked
    done = compose_config(place, file="docker-compose.yml")
    assert done.returncode == 0, done.stderr
    files = [
        str(path)
        for path in (place / "deploy" / "k8s").iterdir()
        if path.name != "kustomization.yaml"
    ]
    assert len(files) == 5
    done = call("kubernetes-validate", "--strict", *files, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    (create,) = re.findall(r"^kubectl (create .*)$", "".join(SHELL), re.MULTILINE)
    done = call("kubectl", *create.split(), "--dry-run=client", "--output=yaml", cwd=place)
    assert "\n  payment_key: " in done.stdout, done.stderr
    done = call("kubectl", "kustomize", "deploy/k8s", cwd=place)
    assert done.returncode == 0, done.stderr
    deployment = (place / "deploy/k8s/deployment.yaml").read_text("utf-8")
    compose = (place / "docker-compose.yml").read_text("utf-8")
    assert "\n  shop:\n" in compose
    assert "file: ./secrets/payment_key" in compose
    assert "\n  name: shop\n" in deployment
    assert "secretName: shop-secrets" in deployment


def test_the_installation_works(tmp_path: Path) -> None:
    """The commands of the first step install this repository; without a network, no dependency."""
    (tmp_path / "hive_boot").symlink_to(ROOT)
    (tmp_path / "shop").mkdir()
    site = next(path for path in sys.path if path.endswith("site-packages"))
    done = subprocess.run(
        ["bash", "-euc", f"{INSTALL}\nhive-boot --help\n{WHEEL}"],  # noqa: S607  (the bash of the PATH)
        cwd=tmp_path / "shop",
        env=child_environment(
            PYTHONPATH=site,
            PIP_NO_INDEX="1",
            PIP_NO_DEPS="1",
            PIP_NO_BUILD_ISOLATION="0",
            PIP_DISABLE_PIP_VERSION_CHECK="1",
            PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        ),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "usage: hive-boot" in done.stdout
    (wheel,) = (tmp_path / "shop" / "vendor").iterdir()
    assert wheel.suffix == ".whl"
    (extras,) = re.findall(r"hive_boot\[([\w,]+)\]", INSTALL)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_every_block_is_tried() -> None:
    """Blocks of a shell contain only commands of tools that a test cannot expect."""
    languages = {block.language for block in blocks_of(PAGE)}
    assert languages == {"console", "python", "sh"}
    assert all(block.file for block in blocks_of(PAGE) if block.language == "python")
    commands = "".join(SHELL).splitlines()
    assert commands
    for command in commands:
        assert re.match(r"docker compose |kubectl |echo fake-\S+ \| hive-boot ", command)
