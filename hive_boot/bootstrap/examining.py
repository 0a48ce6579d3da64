"""Judge an application as a start would, and start nothing.

A tool asks, and waits: so the event loop, which is most of what a start imports, is
imported only for a check that has to be awaited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hive_boot.bootstrap.intake import Intake, fields_to_check
from hive_boot.bootstrap.opening import settings_of
from hive_boot.bootstrap.secrecy import Secrecy
from hive_boot.bootstrap.wiring import Given, wire
from hive_boot.lifecycle.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hive_boot.bootstrap.declare import Application
    from hive_boot.bootstrap.plan import Plan
    from hive_boot.exceptions import InvalidSecrets
    from hive_boot.secrets.checks import Pending
    from hive_boot.secrets.findings import Findings
    from hive_boot.secrets.mode import Situation


class Examination(NamedTuple):
    """What a start would find.

    Attributes:
        findings: what the sources hold, with everything that is wrong.
        config: the settings; None without any, and when they are wrong.
        error: what a start would end with; None when it would go on.
    """

    findings: Findings
    config: object
    error: InvalidSecrets | None

    @property
    def situation(self) -> Situation:
        """Mode, profile and places."""
        return self.findings.situation


def examine(application: Application[Any, Any]) -> Examination:
    """Read and judge everything once, as a start would.

    What was read stays scrubbed out of logs and tracebacks until the process ends.

    Args:
        application: what is declared.

    Raises:
        DeclarationError: a parameter of a function of the author's asks for what there is
            not, or parts ask for each other.
        InvalidSecrets: a variable that decides the mode or the profile means nothing.
    """
    plan = application._plan  # noqa: SLF001  (ours)
    checks = _wire(application)
    intake: Intake[Any] = Intake(plan, checks, Timeline())
    secrecy = Secrecy()
    secrecy.begin()
    try:
        intake.look_around()
        findings = intake.read_patiently()
        secrecy.cover(findings)
        config = _judge(application, intake, findings, waits=bool(checks))
        error = None
        if findings.problems:
            error = intake.invalid(findings.problems, [*findings.advice, *findings.remarks])
    finally:
        secrecy.end(linger=True)
    return Examination(findings, config, error)


def _wire(application: Application[Any, Any]) -> Sequence[tuple[Any, Any]]:
    """Find out what each function of the author's gets, as a start does before it reads."""
    plan, offered = application._plan, application._offered()  # noqa: SLF001  (ours)
    plan.wire_parts(offered)
    plan.wire_services(offered)
    plan.wire_hooks(offered)
    if plan.main is not None:
        wire(plan.main, offered)
    return plan.wire_checks(offered)


def _judge(
    application: Application[Any, Any], intake: Intake[Any], findings: Findings, *, waits: bool
) -> object:
    """Judge in the order of a start, and give the settings.

    Args:
        application: what is declared.
        intake: judges.
        findings: what was read; what is wrong is noted there.
        waits: whether there are checks of the application, which are awaited.
    """
    plan: Plan = application._plan  # noqa: SLF001  (ours)
    deadline = intake.deadline()
    pending = _call_checks(plan, findings)
    waits = waits or bool(pending) or hasattr(plan.declared, "check")
    if not waits:
        return settings_of(plan, findings)

    async def judge() -> object:
        from hive_boot.bootstrap.checking import await_checks  # noqa: PLC0415  (it needs a loop)

        seconds = plan.start_timeout
        findings.note_refusals(await await_checks(pending, seconds, seconds))
        config = settings_of(plan, findings)
        await intake.judge_set(findings, deadline)

        def given(secrets: Any) -> Given:  # noqa: ANN401  (of the author's type)
            return Given({"secrets": secrets, "config": config, "boot": application})

        await intake.judge_outside(findings, given, deadline)
        return config

    import anyio  # noqa: PLC0415  (only for what has to be awaited)

    return anyio.run(judge)


def _call_checks(plan: Plan, findings: Findings) -> list[Pending]:
    """Call the checks of single fields, and give those that have to be awaited."""
    to_check = fields_to_check(findings, findings.values.keys())
    if not to_check:
        return []
    from hive_boot.secrets.checks import call_checks  # noqa: PLC0415  (many have none)

    seconds = plan.start_timeout
    problems, pending = call_checks(to_check, left=seconds, seconds=seconds)
    findings.note_refusals(problems)
    return pending
