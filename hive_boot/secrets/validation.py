"""Judge what was found by what was declared: every problem, not the first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hive_boot.secrets.field import Fault, shape_faults
from hive_boot.secrets.placeholder import MARK, is_placeholder
from hive_boot.secrets.sources.reading import EMPTY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hive_boot.secrets.field import Field
    from hive_boot.secrets.findings import Findings


PLACEHOLDER = Fault("placeholder", "is the placeholder of a rendered manifest, not a value")

_SHOWN = 3
"""Names like one that is missing that are told: more of them make a report that nobody reads."""


def judge(findings: Findings, judged: Iterable[str]) -> None:
    """Make of each field a value, a problem, or an absence.

    Args:
        findings: what the sources hold.
        judged: the attributes whose problem is noted already.
    """
    _Judge(findings, set(judged)).run()


class _Judge:
    """One judgement; it is used once."""

    def __init__(self, findings: Findings, judged: set[str]) -> None:
        self.findings = findings
        self.situation = findings.situation
        self.judged = judged

    def run(self) -> None:
        """Settle what is odd first, because it makes values, then judge the values."""
        findings = self.findings
        self._settle_odd()
        self._settle_copies()
        self._judge_placeholders()
        self._judge_shapes()
        if len(findings.values) < len(findings.inventory.every):
            self._judge_absent()
        findings.note_refusals([])
        if any(problem.hint.startswith("kubectl ") for problem in findings.problems):
            from hive_boot.secrets.hints import STDIN, object_name  # noqa: PLC0415  (a failure's)

            findings.advice.append(STDIN.format(name=object_name(findings.declaration)))

    def _settle_odd(self) -> None:
        """Decide about the fields that several places answer, or that one answers badly."""
        for attribute, hits in self.findings.odd.items():
            field = self.findings.inventory.by_attribute[attribute]
            good = []
            for hit in hits:
                if not isinstance(hit.held, Fault):
                    good.append((hit.held, hit.source, hit.place))
                elif hit.held is not EMPTY:
                    self._note(field, hit.held, (hit.source, hit.place))
            if attribute in self.judged:
                self.findings.refused += [value for value, _, _ in good]
            elif any(value != good[0][0] for value, _, _ in good):
                self.findings.refused += [value for value, _, _ in good]
                self.judged.add(attribute)
                places = tuple(place for _, _, place in good)
                hint = "keep one of them, or make them the same"
                message = "has different values in different places"
                self.findings.note(field, "conflict", message, places, hint)
            elif good:
                self.findings.use(attribute, *good[0])

    def _settle_copies(self) -> None:
        """Decide about the variables of a mounted mode: they are copies, or a fallback."""
        findings = self.findings
        for attribute, value in findings.copies.items():
            field = findings.inventory.by_attribute[attribute]
            if attribute in findings.values:
                findings.warn(
                    "environment-copy",
                    f"{field.name} is a file and also a variable of the environment: "
                    "the file counts, and the variable is a copy that leaks more easily",
                    field.name,
                    location=f"the variable {field.name}",
                )
            elif attribute in self.judged:
                pass  # it is reported already
            elif not self.situation.env_fallback:
                self._note_only_in_environment(field)
            elif isinstance(value, Fault):
                self._note(field, value, ("environment", field.name))
            else:
                findings.use(attribute, value, "environment", field.name)
                continue
            if not isinstance(value, Fault):
                findings.refused.append(value)

    def _judge_placeholders(self) -> None:
        """Take out what nobody has put a value in for."""
        values = self.findings.values
        try:
            # One search through all of them: a call for each is what would cost.
            is_suspect = MARK in "\n".join([value._open() for value in values.values()])  # type: ignore[misc]  # noqa: SLF001
        except TypeError:
            is_suspect = True  # there are bytes among them
        if not is_suspect:
            return
        for attribute in [each for each, value in values.items() if is_placeholder(value)]:
            origin = self.findings.origin(attribute)
            self.findings.refused.append(values.pop(attribute))
            self._note(self.findings.inventory.by_attribute[attribute], PLACEHOLDER, origin)

    def _judge_shapes(self) -> None:
        """Take out what breaks length or pattern, or is a default outside development."""
        findings, profile = self.findings, self.situation.profile
        for field in findings.inventory.ruled:
            value = findings.values.get(field.attribute)
            if value is None:
                continue
            faults = shape_faults(field, value.reveal)
            if value.reveal() == field.dev_default and profile != "development":
                message = f"is the development default, which the profile {profile} refuses"
                faults = [Fault("dev-default", message)]
            if faults:
                origin = findings.origin(field.attribute)
                findings.refused.append(findings.values.pop(field.attribute))
                for fault in faults:
                    self._note(field, fault, origin)

    def _judge_absent(self) -> None:
        """Make a default, a problem, or nothing of each field without a value."""
        findings, profile = self.findings, self.situation.profile
        defaults = []
        for field in findings.inventory.every:
            if field.attribute in findings.values or field.attribute in self.judged:
                continue
            empty = tuple(hit.place for hit in findings.odd.get(field.attribute, ()))
            if field.dev_default is not None and profile == "development":
                value = field.kind(field.name, field.dev_default)  # type: ignore[arg-type]
                findings.use(field.attribute, value, "dev_default", "the declaration")
                defaults.append(field.name)
            elif field.required_for(profile):
                self._note_absent(field, empty)
            elif empty:
                message = f"{field.name} is empty in {empty[0]}, so it is absent"
                findings.warn("empty", message, field.name, location=empty[0])
        if defaults:
            message = f"Development defaults are in use: {', '.join(defaults)}"
            findings.warn("development-default", message, *defaults)

    def _note(self, field: Field, fault: Fault, origin: tuple[str, str]) -> None:
        self.judged.add(field.attribute)
        self.findings.note_fault(field, fault, origin)

    def _note_absent(self, field: Field, empty: tuple[str, ...]) -> None:
        """Report a required field without a value; its empty files are at ``empty``."""
        from hive_boot.secrets import hints  # noqa: PLC0415  (only a failure needs it)

        findings, situation = self.findings, self.situation
        if empty:
            hint = hints.amend(field, ("file", empty[0]), situation, findings.declaration)
            findings.note(field, "empty", "is empty", empty, hint)
            return
        has_default = field.dev_default is not None
        refused = f"; its development default is refused in the profile {situation.profile}"
        message = "is missing" + (refused if has_default else "")
        hint = hints.mend(field, situation, findings.declaration)
        places = self._places(field) + hints.item(field, situation)
        findings.note(field, "missing", message, places, hint)
        lenient = has_default or not field.required_for("development")
        if situation.forgotten and lenient and hints.NO_MOUNT not in findings.advice:
            findings.advice.append(hints.NO_MOUNT)

    def _note_only_in_environment(self, field: Field) -> None:
        from hive_boot.secrets.hints import only_in_environment  # noqa: PLC0415  (a failure's)

        self.judged.add(field.attribute)
        message = "is set in the environment only, which this mode does not read"
        hint = only_in_environment(field)
        self.findings.note(field, "environment-only", message, self._places(field), hint)

    def _places(self, field: Field) -> tuple[str, ...]:
        """Say where was looked, with what may have been meant."""
        from hive_boot.secrets import hints  # noqa: PLC0415  (only a failure needs it)

        places = []
        tried = field.candidates[0] if field.file else field.name.lower()
        others = set(field.candidates) - {tried, f"{tried}.txt"}
        stems = [name for name in field.candidates if name in others and not name.endswith(".txt")]
        also = f"; also {', '.join(stems)}; each with .txt too" if stems else "; with .txt too"
        for reading in self.findings.readings:
            places.append(f"{os.path.join(reading.path, tried)}{also}")
            for near in hints.near_misses(field, reading.names)[:_SHOWN]:
                wanted = os.path.join(reading.path, hints.nearest(near, field.candidates))
                places.append(f"{wanted} was tried, a file {near} stands there")
        if not self.situation.mounted:
            places += [f"the variable {field.name}", *self.situation.dotenv]
            places += [
                f"{field.name} was tried, a variable {near} is set"
                for near in hints.near_misses(field, self.findings.names)[:_SHOWN]
            ]
        return tuple(places)
