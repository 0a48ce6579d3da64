"""Read and judge the first set of a run, and make its settings: all problems at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hive_boot.bootstrap import logs

if TYPE_CHECKING:
    from hive_boot.bootstrap.intake import Intake
    from hive_boot.bootstrap.plan import Plan
    from hive_boot.bootstrap.rotating import Rotating
    from hive_boot.bootstrap.secrecy import Secrecy
    from hive_boot.secrets.findings import Findings


class Opened(NamedTuple):
    """What a run begins with.

    Attributes:
        findings: what was read, all of it good.
        config: the settings; None without any.
        deadline: until when the rest of the start may take, on the monotonic clock.
    """

    findings: Findings
    config: object
    deadline: float


async def read_first(
    plan: Plan, intake: Intake[Any], secrecy: Secrecy, rotating: Rotating[Any] | None
) -> Opened:
    """Read, judge, and make the settings.

    Args:
        plan: what was declared.
        intake: reads and judges.
        secrecy: hides what was read, before anybody sees it.
        rotating: looks for changes from before the first read on; None when nothing does.

    Raises:
        InvalidSecrets: something is wrong; all of it is in the report.
    """
    from hive_boot.lifecycle.waking import in_daemon_thread  # noqa: PLC0415  (it needs a loop)

    def read() -> Findings:
        # In a thread, because it may wait for a writer.
        situation = intake.look_around()
        if rotating is not None:
            rotating.lookout.begin(plan.declared._inventory, situation)  # noqa: SLF001  (ours)
        findings = intake.read_patiently()
        secrecy.cover(findings)
        return findings

    findings = await in_daemon_thread(read, "hive_boot load")
    intake.tell_warnings(findings)
    deadline = intake.deadline()
    await intake.judge_fields(findings, findings.values.keys(), deadline)
    config = settings_of(plan, findings)
    await intake.judge_set(findings, deadline)
    intake.refuse(findings)
    logs.tell_remarks(findings.remarks)
    return Opened(findings, config, deadline)


def settings_of(plan: Plan, findings: Findings) -> object:
    """Make the settings, and note what is wrong with them; None without any."""
    if plan.factory is None:
        return None
    from hive_boot.bootstrap.configuring import make_config  # noqa: PLC0415  (many have none)

    values = [*findings.values.values(), *findings.refused]
    config, problems = make_config(plan.factory, values)
    findings.problems += problems
    made: object = config
    return made
