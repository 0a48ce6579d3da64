"""Threads that are sampled while an application starts and rotates.

Tools that inspect a running process (``py-spy dump --locals``, ``sys._current_frames``)
may stop a thread at any step. So every step is sampled, and no variable of hive_boot may hold a
value.

"""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.canary.canaries import CANARIES, make
from tests.canary.conftest import Program
from tests.canary.outputs import Outputs

LATER = [replace(make(canary.name), name=f"{canary.name} later") for canary in CANARIES]
"""The secrets after the rotation."""

REACHED = [
    "read_files in secrets/sources/files.py",
    "value_of_text in secrets/sources/files.py",
    "_Loader._read_pointers in secrets/loader.py",
    "as_value in secrets/sources/files.py",
    "parse_dotenv in secrets/sources/dotenv.py",
    "_Parser._set in secrets/sources/dotenv.py",
    "_Expander._replace in secrets/sources/dotenv.py",
    "_Expander._value in secrets/sources/dotenv.py",
    "_reject_invalid in secrets/validation.py",
    "FieldCheck.call in runtime/checks.py",
    "Redaction.unset_environ in redaction/hooks.py",
    "_Opaque.__eq__ in secrets/value.py",
    "require_secret in secrets/global_access.py",
    "StandaloneStore._refresh in secrets/global_access.py",
    "_Known.observe in secrets/global_access.py",
    "LoadPipeline.load_once in runtime/load_pipeline.py",
    "SecretProperty.__init__.<locals>.read in runtime/config.py",
    "Store._plan in secrets/store.py",
    "Store.commit in secrets/store.py",
    "HookRunner.run in runtime/rotation.py",
    "Rebuilder.start in runtime/rotation.py",
    "Rebuilder.switch in runtime/rotation.py",
    "Rebuilder._problem in runtime/rotation.py",
    "ResourceManager.switch in lifecycle/resources.py",
    "ResourceManager.lease in lifecycle/resources.py",
]
"""Functions of a start or a rotation with values from files, variables and ``.env``."""


def test_no_step_holds_a_value(tmp_path: Path, program: Program, logs: Path) -> None:
    """At every step, no variable of a frame of hive_boot contains a plain value.

    Except in the code that computes the encoded forms for redaction: there a value must be found,
    or the search would prove nothing.
    """
    for number, canaries in ((1, CANARIES), (2, LATER)):
        directory = tmp_path / "next" / str(number)
        directory.mkdir(parents=True)
        for name, canary in zip([each.name for each in CANARIES], canaries, strict=True):
            raw = canary.value.encode() if isinstance(canary.value, str) else canary.value
            (directory / name.lower()).write_bytes(raw)
    (tmp_path / "cwd").mkdir(exist_ok=True)

    child = program("samples", NEXT=str(tmp_path / "next"))

    assert child.returncode == 0, child.stderr.decode()
    functions = child.stdout.decode().splitlines()
    assert {*REACHED} - {*functions} == set()
    outputs = Outputs([*CANARIES, *LATER])
    outputs.add("our variables", (logs / "ours.txt").read_text("utf-8"))
    outputs.assert_silent()
    control = Outputs([*CANARIES, *LATER])
    control.add("the variables of redaction", (logs / "hiding.txt").read_text("utf-8"))
    with pytest.raises(AssertionError):
        control.assert_silent()
