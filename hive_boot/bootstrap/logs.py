"""What is said at a start: to the application's log, or to stderr when there is none."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hive_boot.secrets.findings import Findings
    from hive_boot.secrets.mode import Situation

log = logging.getLogger("hive_boot")


@contextmanager
def audible() -> Iterator[None]:
    """Lend the logger a plain stderr handler while neither it nor the root logger has one."""
    if log.hasHandlers():
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(level or logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def tell_situation(situation: Situation) -> None:
    """Log mode and profile with their reasons."""
    log.info("🔐 Secrets mode: %s (%s)", situation.mode, situation.mode_reason)
    log.info("Profile: %s (%s)", situation.profile, situation.profile_reason)


def tell_remarks(findings: Findings) -> None:
    """Log what is worth a quiet line; a report would have said it."""
    for remark in findings.remarks:
        log.info("%s", remark)


def tell_warnings(findings: Findings) -> None:
    """Log what is not wrong, and worth a line."""
    for warning in findings.warnings:
        log.warning("%s", warning)
