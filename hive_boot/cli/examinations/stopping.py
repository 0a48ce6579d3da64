"""Whether the platform waits as long as a stop may take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hive_boot.cli.examinations.manifests import DEFAULTS, KEYS, Grace, Platform, graces
from hive_boot.cli.examinations.patient import Symptom

if TYPE_CHECKING:
    from hive_boot.bootstrap.plan import Plan
    from hive_boot.cli.examinations.patient import Patient

_DRAIN = 5.0
"""Seconds of ``drain=None`` under ``serve`` in kubernetes mode."""

_SPARE = 1.0
"""Seconds that who hangs is given before the process ends itself, and says why."""

_STEP = 5
"""Seconds: a mend is a round number."""

_PLATFORMS: dict[str, Platform] = {
    "kubernetes": "kubernetes",
    "docker": "docker",
    "systemd": "systemd",
}


def killed_too_soon(patient: Patient) -> list[Symptom]:
    """Tell where the platform kills before a stop has had its time."""
    found = [grace for path in patient.manifests for grace in graces(path)]
    platform = _PLATFORMS.get(patient.situation.mode)
    if not patient.manifests and platform is not None:
        found = [Grace(platform, DEFAULTS[platform], 0.0, "no manifest was found", said=False)]
    judged = [_judged(grace, patient.plan) for grace in found]
    return [symptom for symptom in judged if symptom is not None]


def _judged(grace: Grace, plan: Plan) -> Symptom | None:
    drain = plan.drain
    if drain is None:
        # What has a main is run, and not served.
        serves = grace.platform == "kubernetes" and plan.main is None
        drain = _DRAIN if serves else 0.0
    needed = grace.before + drain + plan.stop_timeout + _SPARE
    if grace.seconds >= needed:
        return None
    terms = [("preStop", grace.before), ("drain", drain), ("stop", plan.stop_timeout)]
    total = " + ".join([*(f"{name} {value:g}" for name, value in terms if value), f"{_SPARE:g}"])
    key, better = KEYS[grace.platform], math.ceil(needed / _STEP) * _STEP
    line = {
        "kubernetes": f"{key}: {better}",
        "docker": f"{key}: {better}s",
        "systemd": f"{key}={better}",
    }[grace.platform]
    default = "" if grace.said else f", {grace.platform}'s default"
    return Symptom(
        "warning",
        "grace-period",
        f"a stop may take {needed:g} s ({total}), and is killed after {grace.seconds:g} s{default}",
        grace.where,
        f"{line}, or a shorter stop_timeout= or drain=",
    )
