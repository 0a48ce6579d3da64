"""Rotations that are accepted, rejected and recovered: no output contains a value."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from hive_boot.testing import MountedVolume
from tests.canary.canaries import CANARIES, Canary, make
from tests.canary.conftest import Program
from tests.canary.outputs import Outputs

NEXT = [
    [replace(make(canary.name), name=f"{canary.name} {number}") for canary in CANARIES]
    for number in (1, 2)
]
"""Two further values for every secret."""

TOLD = {
    "accepted": [
        "Rotated OPENAI_API_KEY, HIVE_API_KEY, ",
        "JWT_SECRET takes effect in 3600 s",
        "Activated JWT_SECRET: generation 3",
        "old={'jwt_secret': Secret('JWT_SECRET', '***')}",
        "TypeError('Object of type Secret is not JSON serializable')",
        "cannot be pickled: a pickle would contain the plain value",
    ],
    "refused": [
        "; the last good set stays in use.",
        "was refused by its check: ValueError: ",
        "was refused by its check: OddError: ",
        "was refused by its check: SpeechlessError",
        "was refused by its check: it returned False",
        "could not be checked: no answer within 1 s",
        "Rotation refused, generation 1 stays in use: ",
        "the sources match generation 1",
        "Rotated ",
    ],
    "let down": [
        "JWT_SECRET is missing",
        "JWT_SECRET has 30 characters",
        "is empty, but contained secrets that are in use",
        "is not UTF-8",
        "the candidate was refused: ",
    ],
    "hooks": [
        "The rotation hook 'hook, plain' failed for generation 2: ValueError: ",
        "The rotation hook 'hook, without words' failed",
        "The rotation hook 'hook, hanging' failed for generation 2: exceeded its timeout of 0.1 s",
        "it was cancelled and still runs",
        "has succeeded for generation 2",
        "'the hook hook, plain fails'",
    ],
    "watched": [
        "The secrets watcher has failed and will try again",
        "inotify is not available: '***'",
        "inotify is not available: WATCHFILES_FORCE_POLLING is set",
        "The secrets are watched by inotify again",
        "watcher='poll'",
    ],
    "threads": ["FieldCheck.call: {", "no answer within 1 s"],
    "broken": ["OddError"],
    "debugged": ["hive_boot rotation", "HookRunner.run"],
    "stopped": ["come to its end"],
    "crash": ["Rotated ", "OddError: it holds "],
}
"""For each scenario, texts that show that it took place."""


def files(canaries: Iterable[Canary]) -> dict[str, bytes]:
    """Return the content of a volume."""
    return {
        each.name.partition(" ")[0].lower(): (
            each.value if isinstance(each.value, bytes) else each.value.encode()
        )
        for each in canaries
    }


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """Publish the first values, write the next ones, and return the variables for the program."""
    volume = MountedVolume(tmp_path / "volume")
    volume.publish(files(CANARIES))
    for number, canaries in enumerate(NEXT, 1):
        directory = tmp_path / "next" / str(number)
        directory.mkdir(parents=True)
        for name, content in files(canaries).items():
            (directory / name).write_bytes(content)
    return {"VOLUME": str(volume.path), "NEXT": str(tmp_path / "next")}


@pytest.mark.parametrize("scenario", TOLD)
def test_a_rotation(
    scenario: str, anyio_backend: str, places: dict[str, str], program: Program, logs: Path
) -> None:
    """Whatever the result of a rotation is, no old, present or new value is in an output."""
    child = program("rotations", scenario, anyio_backend, **places)
    outputs = Outputs([*CANARIES, *NEXT[0], *NEXT[1]])
    outputs.add_child(child)
    outputs.add_files(logs)
    outputs.assert_silent()
    assert child.returncode == (70 if scenario == "crash" else 0), outputs.text
    for told in TOLD[scenario]:
        assert told in outputs.text, told
