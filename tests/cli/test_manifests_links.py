"""``hive-boot manifests --write`` follows no link."""

from pathlib import Path

import pytest

from hive_boot.cli.main import main
from tests.fixtures.trees import contents

WORKER = ("manifests", "tests.cli.deployed:worker", "--target", "compose")


def test_no_link_is_followed_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither one in place of a file, nor one above it; nothing at all is written."""
    outside = Path("outside")
    outside.mkdir()
    assert main([*WORKER, "--write", "outside"]) == 0
    before = contents(outside)
    for number, (link, target) in enumerate(
        (
            ("docker-compose.yml", "../outside/docker-compose.yml"),
            (".dockerignore", "../outside/none"),
            ("deploy/Dockerfile", "../../outside/deploy/Dockerfile"),
            ("deploy", "../outside/deploy"),
            ("deploy", "../outside/none"),
            ("docker-compose.yml", "docker-compose.yml"),
            ("docker-compose.yml", "/dev/zero"),
        )
    ):
        path = Path(f"project-{number}") / link
        path.parent.mkdir(parents=True)
        path.symlink_to(target)
        there = contents(Path(f"project-{number}"))
        capsys.readouterr()
        assert main([*WORKER, "--image", "other:2", "--write", f"project-{number}"]) == 1
        assert str(path) in capsys.readouterr().err
        assert str(path.readlink()) == target
        assert contents(Path(f"project-{number}")) == there, link
        assert contents(outside) == before
    Path("linked").symlink_to("outside")
    assert main([*WORKER, "--image", "other:2", "--write", "linked"]) == 64
    assert "linked" in capsys.readouterr().err
    assert contents(outside) == before
    Path("loop").symlink_to("loop")
    assert main([*WORKER, "--write", "loop/below"]) == 1
    assert "loop" in capsys.readouterr().err
