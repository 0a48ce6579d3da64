"""What can go wrong, split by whose fault it is.

The branch of the tree says who has to act: the author of the code
(:class:`DeclarationError`), the person who deploys it (:class:`SecretsError`),
or nobody in advance (:class:`LifecycleError`). Each class carries its facts as
attributes and writes its own sentence. No class ever holds a secret's value.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

ProblemKind = Literal[
    "missing",
    "empty",
    "not-utf-8",
    "nul",
    "too-large",
    "not-a-file",
    "broken-link",
    "unreadable",
    "unstable",
    "conflict",
    "environment-only",
    "dev-default",
    "placeholder",
    "length",
    "pattern",
    "check",
    "dotenv",
    "directory",
    "setting",
    "config",
]
"""What is wrong, as a word that a program can compare."""


class Problem(NamedTuple):
    """One thing that keeps a service from starting. It never holds a value.

    Attributes:
        name: the secret's name (``JWT_SECRET``), or what else is to blame: a
            variable, a directory, a line of ``.env``, the configuration.
        kind: what is wrong, as one word.
        message: what is wrong, as a sentence without its full stop.
        places: where was looked, in order.
        used_by: what needs the secret, as it was declared.
        fix: the command or the line that would mend it here.
    """

    name: str
    kind: ProblemKind
    message: str
    places: tuple[str, ...] = ()
    used_by: str = ""
    fix: str = ""


class BootError(Exception):
    """The base of every error of hive_boot; never raised itself.

    Attributes:
        exit_code: the exit status of a process that ends with this error, after
            BSD's ``sysexits.h``: 70 ``EX_SOFTWARE``, 78 ``EX_CONFIG``.
    """

    exit_code: ClassVar[int] = 70


class DeclarationError(BootError):
    """The code asks for something that cannot be: a bug of the application."""


class SecretsError(BootError):
    """The deployment does not give the service what it declares."""

    exit_code: ClassVar[int] = 78


class MissingSecretError(SecretsError):
    """A secret that was required is not there.

    Attributes:
        name: the secret's name.
        fix: the file or the variable to set.
    """

    def __init__(self, name: str, fix: str) -> None:
        self.name = name
        self.fix = fix
        super().__init__(name, fix)

    def __str__(self) -> str:
        """Name the secret and the way to mend it."""
        return f"{self.name} is not set: {self.fix}"


class SourceError(SecretsError):
    """A secret is there and cannot be used: unreadable, not UTF-8, in conflict.

    Attributes:
        problem: what is wrong, and where.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem)

    def __str__(self) -> str:
        """Say what is wrong, where, and how to mend it."""
        place = f" ({self.problem.places[0]})" if self.problem.places else ""
        hint = f": {self.problem.fix}" if self.problem.fix else ""
        return f"{self.problem.name} {self.problem.message}{place}{hint}"


class InvalidSecretsError(SecretsError):
    """The service cannot start, or cannot take a reload; every problem is reported at once.

    Attributes:
        problems: all of them, in the order of the declaration.
        declaration: the name of the :class:`SecretSet`.
        facts: what was decided before looking, as ``(label, text)``: mode and
            profile with their reasons, the directories.
        general_hints: sentences that come before the problems, because they mend more
            than one of them.
        kept: whether the last good set stays in use: it was a reload.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        *,
        declaration: str = "",
        facts: Sequence[tuple[str, str]] = (),
        general_hints: Sequence[str] = (),
        kept: bool = False,
    ) -> None:
        self.problems = tuple(problems)
        self.declaration = declaration
        self.facts = tuple(facts)
        self.general_hints = tuple(general_hints)
        self.kept = kept
        super().__init__(self.problems)

    def __str__(self) -> str:
        """Give the whole report, without colours."""
        return self.report()

    def report(self, *, color: bool = False) -> str:
        """Write the report that a failed start shows to a person.

        Args:
            color: with ANSI colours, for a terminal. Default False.
        """
        red, bold, dim, end = ("\x1b[31m", "\x1b[1m", "\x1b[2m", "\x1b[0m") if color else ("",) * 4
        count = len(self.problems)
        what = f"{count} problem{'' if count == 1 else 's'}"
        whose = f" with {self.declaration}" if self.declaration else ""
        so = "the last good set stays in use" if self.kept else "the service does not start"
        lines = [f"{red}{bold}hive_boot: {what}{whose}, so {so}{end}"]
        lines += [f"  {dim}{label:<9}{end} {text}" for label, text in self.facts]
        for sentence in self.general_hints:
            lines += ["", f"  {sentence}"]
        for number, problem in enumerate(self.problems, 1):
            lines += ["", f"  {number}. {bold}{problem.name}{end} {problem.message}"]
            rows = [("looked in", place) for place in problem.places[:1]]
            rows += [("", place) for place in problem.places[1:]]
            if problem.used_by:
                rows.append(("used by", problem.used_by))
            if problem.fix:
                rows.append(("mend", problem.fix))
            lines += [f"     {dim}{label:<9}{end} {text}" for label, text in rows]
        return "\n".join(lines)


class LifecycleError(BootError):
    """The application is not in a state in which this can be done."""


class StartupError(LifecycleError):
    """A resource could not start, or not in time; ``__cause__`` is what it raised.

    Attributes:
        resource: the name of the resource.
        reason: the kind of its failure, or that its time was over.
        progress: what each resource did at that moment, a line for each; empty when the resource
            has raised.
    """

    def __init__(self, resource: str, reason: str, progress: Sequence[str] = ()) -> None:
        self.resource = resource
        self.reason = reason
        self.progress = tuple(progress)
        super().__init__(resource, reason)

    def __str__(self) -> str:
        """Name the resource, and what the others did."""
        return "\n  ".join(
            [f"the resource {self.resource} failed to start: {self.reason}", *self.progress]
        )


class ShutdownTimeoutError(LifecycleError):
    """What was to be stopped has not ended within its time.

    Attributes:
        pending: the names of what took too long.
    """

    def __init__(self, pending: Sequence[str]) -> None:
        self.pending = tuple(pending)
        super().__init__(self.pending)

    def __str__(self) -> str:
        """Name what took too long."""
        return f"did not stop in time: {', '.join(self.pending)}"


class IllegalTransitionError(LifecycleError):
    """The table of states knows no such step.

    Attributes:
        state: the state that the application is in.
        event: what was asked of it.
    """

    def __init__(self, state: str, event: str) -> None:
        self.state = state
        self.event = event
        super().__init__(state, event)

    def __str__(self) -> str:
        """Name the event and the state that refuses it."""
        return f"cannot {self.event} an application that is {self.state}"
