"""Scenarios of the rotation benchmark, each with its question.

The questions were written before the first measurement. An answer begins with yes or no; the rest
is the observation.
"""

from __future__ import annotations

from benchmarks.comparison import Comparison, Scenario
from benchmarks.rotations.measurements import (
    Rotation,
    empty_volume,
    publish_bad_value,
    refuse_login,
    remove_directory,
    replace_mount,
    update_often,
    update_once,
    write_bind_mounted_file,
    write_half,
    write_pair_apart,
)
from benchmarks.rotations.subjects import SUBJECTS

SCENARIOS = (
    Scenario(
        name="swap",
        title="A volume is updated, as by the kubelet",
        question="Are the new values in use in time, and never mixed with old ones?",
        measure=update_once,
    ),
    Scenario(
        name="stream",
        title="A volume is updated 200 times a second, for 5 s",
        question="Is each set that is held from one update, and is the last in use in time?",
        measure=update_often,
        alone=True,
    ),
    Scenario(
        name="empty",
        title="The volume is empty for 3 s",
        question="Do the old values stay in use, and are the next ones used in time?",
        measure=empty_volume,
    ),
    Scenario(
        name="directory",
        title="The directory is removed, and is back after 3 s",
        question="Do the old values stay in use, and are the new ones used in time?",
        measure=remove_directory,
    ),
    Scenario(
        name="bad-value",
        title="A value of an update is too short; 3 s later comes a good update",
        question="Is the bad update refused as a whole, and the next one used in time?",
        measure=publish_bad_value,
    ),
    Scenario(
        name="half",
        title="A writer pauses for 3 s in the middle of a file that it holds open",
        question="Is half of the value never used, and the whole value used in time?",
        measure=write_half,
    ),
    Scenario(
        name="bind-mount",
        title="The host rewrites a file that is mounted individually",
        question="Is the new value used in time, and never a part of it?",
        measure=write_bind_mounted_file,
    ),
    Scenario(
        name="pair",
        title="A certificate is replaced, and its key 2 s later",
        question="Does every handshake succeed, is the new certificate served in time, "
        "and is never one held without the other?",
        measure=write_pair_apart,
    ),
    Scenario(
        name="login",
        title="The database refuses the new password for 4 s",
        question="Does the old password stay in use until then, and is the new one used in time?",
        measure=refuse_login,
    ),
    Scenario(
        name="mount",
        title="The volume is unmounted, another one is mounted after 3 s, and a third one over it",
        question="Do the values in use stay, and are those of each new volume used in time?",
        measure=replace_mount,
    ),
)

ROTATIONS = Comparison(
    name="rotations", scenarios=SCENARIOS, subjects=SUBJECTS, measurement=Rotation
)
