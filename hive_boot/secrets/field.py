"""One declared secret, as everything below the declaration sees it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from hive_boot.secrets.value import Secret, SecretBytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from hive_boot.exceptions import ProblemKind
    from hive_boot.secrets.profile import Profile

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
"""What a secret may be called: a variable's name, or a Kubernetes key."""


class ValueProblem(NamedTuple):
    """Something is there and cannot be a value.

    Attributes:
        kind: what is wrong, as one word; ``empty`` is judged by who asked.
        message: what is wrong, as the end of a sentence.
    """

    kind: ProblemKind
    message: str


class Field(NamedTuple):
    """One declared secret. Made by :func:`secret` and completed by its class."""

    attribute: str = ""
    name: str = ""
    kind: type[Secret | SecretBytes] = Secret
    required: bool = False
    file: str | None = None
    used_by: str = ""
    required_in: frozenset[Profile] = frozenset()
    dev_default: str | bytes | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: re.Pattern[str] | re.Pattern[bytes] | None = None
    check: Callable[[Any], Any] | None = None
    activate_after: float = 0.0
    accept_old_for: float = 0.0
    previous: str | None = None
    description: str = ""
    candidates: tuple[str, ...] = ()

    @property
    def has_rules(self) -> bool:
        """Whether a value can be refused for what it is, before any check."""
        rules = (self.dev_default, self.min_length, self.max_length, self.pattern)
        return rules != (None, None, None, None)

    def required_for(self, profile: Profile) -> bool:
        """Tell whether a start under ``profile`` needs this secret."""
        bound = profile in self.required_in
        return self.required or bound or (profile == "staging" and "production" in self.required_in)


def constraint_violations(field: Field, reveal: Callable[[], str | bytes]) -> list[ValueProblem]:
    """Tell everything that a value breaks of the field's length and pattern.

    Args:
        field: the field.
        reveal: gives the plain value; no variable holds it here.
    """
    length = len(reveal())
    unit = "character" if field.kind is Secret else "byte"
    has = f"has {length} {unit}{'' if length == 1 else 's'}"
    faults = []
    if field.min_length is not None and length < field.min_length:
        faults.append(ValueProblem("length", f"{has}, and at least {field.min_length} are needed"))
    if field.max_length is not None and length > field.max_length:
        faults.append(ValueProblem("length", f"{has}, and at most {field.max_length} are allowed"))
    if field.pattern is not None and not field.pattern.fullmatch(reveal()):  # type: ignore[arg-type]
        faults.append(
            ValueProblem("pattern", "does not match the pattern that was declared for it")
        )
    return faults


def file_name_candidates(name: str, file: str | None) -> tuple[str, ...]:
    """Give the names of the files that may hold a secret, the likeliest first."""
    lower = name.lower()
    stems = [file] if file is not None else [name, lower, lower.replace("_", "-")]
    return tuple(dict.fromkeys([*stems, *(f"{stem}.txt" for stem in stems)]))
