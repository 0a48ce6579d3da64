"""Exceptions of hive_boot, with one base class for each cause.

The cause is the code of the application (:class:`DeclarationError`), its deployment
(:class:`SecretsError`), something outside that did not answer (:class:`UnavailableError`), or
an event at run time (:class:`LifecycleError`). Each class has its facts as attributes and
formats its own message. No exception holds the value of a secret.
"""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from hive_boot._output import describe, escape_controls
from hive_boot._records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Literal

    _OfFile = Literal["not-utf-8", "nul", "too-large", "not-a-file", "broken-link", "unreadable"]
    _OfSource = Literal["unstable", "conflict", "environment-only", "directory", "bundle", "source"]
    _OfValue = Literal["empty", "dev-default", "placeholder", "reference", "length", "pattern"]
    _Others = Literal["missing", "check", "dotenv", "setting", "config", "rebuild", "unavailable"]

    ProblemKind = Literal[_OfFile, _OfSource, _OfValue, _Others]
    """The kind of a problem, as a word that a program can compare."""

FixKind: TypeAlias = 'Literal["instruction", "kubectl"]'
"""The kind of a fix: a sentence, or a kubectl command that reads the value from stdin."""


class Problem(Record):
    """One problem that prevents a service from starting; it never holds a value.

    Attributes:
        name: the name of the secret (``JWT_SECRET``), or of another cause: a
            variable, a directory, a line of ``.env``, the configuration.
        kind: the kind of the problem, as one word.
        message: the problem, as a sentence without its subject and its full stop.
        places: the locations where the value was looked for, in order.
        used_by: what needs the secret, as declared.
        fix: the command or the line that fixes the problem on this machine.
        fix_kind: the kind of the fix.
        details: further sentences, such as a similar name that exists.
    """

    name: str
    kind: ProblemKind
    message: str
    places: tuple[str, ...] = ()
    used_by: str = ""
    fix: str = ""
    fix_kind: FixKind = "instruction"
    details: tuple[str, ...] = ()


class BootError(Exception):
    """Base of every error of hive_boot; never raised itself.

    Attributes:
        exit_code: the exit status of a process that ends with this error, after
            BSD's ``sysexits.h``: 70 ``EX_SOFTWARE``, 75 ``EX_TEMPFAIL``, 78 ``EX_CONFIG``.
    """

    exit_code: ClassVar[int] = 70


class DeclarationError(BootError):
    """Invalid declaration or argument: a bug in the code of the application."""


class SecretsError(BootError):
    """Missing or invalid secrets or settings: a problem of the deployment."""

    exit_code: ClassVar[int] = 78


class MissingSecretError(SecretsError):
    """A required secret is not set.

    Attributes:
        name: the name of the secret.
        fix: the file or the variable to set.
    """

    def __init__(self, name: str, fix: str) -> None:
        self.name = name
        self.fix = fix
        super().__init__(name, fix)

    def __str__(self) -> str:
        """Return the name of the secret and the fix."""
        return escape_controls(f"{self.name} is not set. Fix: {self.fix}")


class SourceError(SecretsError):
    """A secret exists but cannot be used: unreadable, not UTF-8, in conflict.

    Attributes:
        problem: the problem, with its locations.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem)

    def __str__(self) -> str:
        """Return the problem, its locations, what uses the secret, and the fix."""
        labelled = ". ".join(f"{label}: {text}" for label, text in _labelled(self.problem))
        return escape_controls(f"{_sentences(self.problem)} {labelled}".rstrip())


class ProblemsError(BootError):
    """Base of the errors that report problems, with the attributes of each; never raised itself."""

    def __init__(
        self,
        problems: Sequence[Problem],
        *,
        declaration: str = "",
        facts: Sequence[tuple[str, str]] = (),
        general_hints: Sequence[str] = (),
        kept: bool = False,
    ) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        self.declaration = declaration
        self.facts: tuple[tuple[str, str], ...] = tuple(facts)
        self.general_hints: tuple[str, ...] = tuple(general_hints)
        self.kept = kept
        super().__init__(self.problems)

    def __str__(self) -> str:
        """Return the whole report, without colours."""
        return self.report()

    def report(self, *, color: bool = False) -> str:
        """Return the report that a failed start prints.

        Args:
            color: whether to use ANSI colours, for a terminal. Default False.
        """
        red, bold, dim, end = ("\x1b[31m", "\x1b[1m", "\x1b[2m", "\x1b[0m") if color else ("",) * 4
        state = "the last good set stays in use" if self.kept else "the service does not start"
        lines = [f"{red}{bold}hive_boot: {self._headline()}; {state}.{end}"]
        for label, text in self.facts:
            lines.append(f"  {dim}{label.capitalize() + ':':<9}{end} {escape_controls(text)}")
        for sentence in self.general_hints:
            lines += ["", f"  {escape_controls(sentence)}"]
        for number, problem in enumerate(self.problems, 1):
            text = escape_controls(_sentences(problem).removeprefix(problem.name))
            lines += ["", f"  {number}. {bold}{escape_controls(problem.name)}{end}{text}"]
            for label, text in _labelled(problem):
                lines.append(f"     {dim}{label + ':':<11}{end} {escape_controls(text)}")
        return "\n".join(lines)

    def _headline(self) -> str:
        count = f"{len(self.problems)} problem{'' if len(self.problems) == 1 else 's'}"
        return f"{self.declaration} has {count}" if self.declaration else count


class InvalidSecretsError(ProblemsError, SecretsError):
    """Secrets or settings are invalid at a start or a reload; reports every problem at once.

    Attributes:
        problems: all problems, in the order of the declaration. A problem of the kind
            ``unavailable`` may end by itself.
        declaration: the name of the :class:`SecretSet`.
        facts: what was detected before loading, as ``(label, text)``: the mode and the
            profile, each with its reason.
        general_hints: sentences about the fix of several problems, shown before the problems.
        kept: whether the last good set stays in use: True after a reload, False at a start.
    """


class UnavailableError(ProblemsError):
    """Something outside could not be reached in time, and nothing else is wrong.

    A start retries a check, a resource or a source of ``sources=`` until ``startup_timeout``; a
    reload tries once. ``__cause__`` is the exception if a resource failed. A later start may
    succeed.

    Attributes:
        problems: what could not be reached: the checks, the resources or the sources.
        declaration: the name of the :class:`SecretSet`; empty for resources.
        facts: as in :class:`InvalidSecretsError`.
        general_hints: as in :class:`InvalidSecretsError`.
        kept: whether the last good set stays in use: True after a reload, False at a start.

    .. versionadded:: 0.2.0
    """

    exit_code = 75

    def _headline(self) -> str:
        return "something outside could not be reached"


_NETWORK_ERRNOS = frozenset(
    {
        *(errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE),
        *(errno.ESHUTDOWN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH),
        *(errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH),
        # One of several addresses that were tried is IPv6, and the machine has no IPv6.
        *(errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT),
    }
)


def unavailable_reason(
    failure: BaseException | None, retry_on: tuple[type[Exception], ...] = ()
) -> str | None:
    """Return why something outside could not be reached; None if the failure has another cause.

    The exception, or one in the chain of its causes and contexts, is a timeout, an unknown
    host, an OSError with the errno of a network failure, or of a type in ``retry_on``. Client
    libraries wrap these errors, some of them with ``from None``. An exception group counts only
    if each of its members does: a retry does not help if one of them is a refused login.

    Args:
        failure: the exception. One that is not an ``Exception``, such as a cancellation, never
            counts, whatever its context is.
        retry_on: further types of such failures.

    Returns:
        The text of the exception, and that of the one in its chain. It may contain a secret.
    """
    # An attribute of the exception of a library may be a property that raises.
    with suppress(Exception):
        found = _find_unavailable(failure, retry_on) if isinstance(failure, Exception) else None
        if failure is not None and found is not None:
            text, detail = describe(failure), describe(found)
            return text if detail in text else f"{text} ({detail})"
    return None


def _find_unavailable(
    failure: BaseException | None, retry_on: tuple[type[Exception], ...]
) -> BaseException | None:
    seen: set[int] = set()  # a chain can be circular
    while failure is not None and id(failure) not in seen:
        seen.add(id(failure))
        if isinstance(failure, retry_on) or _is_network_failure(failure):
            return failure
        if isinstance(failure, BaseExceptionGroup):
            found = [_find_unavailable(each, retry_on) for each in failure.exceptions]
            return None if None in found else found[0]
        failure = failure.__context__ if failure.__cause__ is None else failure.__cause__
    return None


def _is_network_failure(failure: BaseException) -> bool:
    if isinstance(failure, TimeoutError):
        return True
    if _is_of(failure, "socket", "gaierror") or _is_of(failure, "trio", "TooSlowError"):
        return True
    if not isinstance(failure, OSError) or _is_of(failure, "ssl", "SSLError"):
        return False  # the errno of an SSLError is a number of OpenSSL
    if failure.errno is not None:
        return failure.errno in _NETWORK_ERRNOS
    if type(failure) is OSError:
        # asyncio joins the errors of several addresses of a host into one text.
        return any(f"[Errno {number}]" in str(failure) for number in _NETWORK_ERRNOS)
    # asyncio and http.client raise some connection errors without an errno. A subclass that another
    # library defines may mean a refused login.
    package = type(failure).__module__.partition(".")[0]
    return isinstance(failure, ConnectionError) and package in sys.stdlib_module_names


def _is_of(failure: BaseException, module: str, name: str) -> bool:
    # An exception of a type can exist only if the module of the type is loaded.
    return isinstance(failure, getattr(sys.modules.get(module), name, ()))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question with the most similar known name; empty without a similar one."""
    from difflib import get_close_matches  # only a failure needs it

    near = get_close_matches(name.lower(), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _sentences(problem: Problem) -> str:
    """Return the message of a problem and its details as complete sentences."""
    # A message may end with the text of another library, which has its own full stop.
    stop = "" if problem.message.endswith((".", "!", "?")) else "."
    return " ".join([f"{problem.name} {problem.message}{stop}", *problem.details])


def _labelled(problem: Problem) -> list[tuple[str, str]]:
    """Return the labelled lines of a problem."""
    places = ", ".join(problem.places)
    rows = [("Looked in", places), ("Used by", problem.used_by), ("Fix", problem.fix)]
    return [(label, text) for label, text in rows if text]


class LifecycleError(BootError):
    """The operation is not possible in the current state of the application."""


def describe_component(kind: str, name: str) -> str:
    """Return a text such as ``the resource pool``; the name itself if it begins with ``the``."""
    return name if name.startswith("the ") else f"the {kind} {name}"


class StartupError(LifecycleError):
    """A resource failed to start or exceeded its timeout; ``__cause__`` is its exception.

    Attributes:
        resource: the name of the resource.
        reason: the type of its exception, or its expired timeout.
        progress: the state of each resource at the timeout, one line for each; empty if the
            resource has raised.
    """

    def __init__(self, resource: str, reason: str, progress: Sequence[str] = ()) -> None:
        self.resource = resource
        self.reason = reason
        self.progress: tuple[str, ...] = tuple(progress)
        super().__init__(resource, reason)

    def __str__(self) -> str:
        """Return the name of the resource, the reason, and the progress of all resources."""
        resource = describe_component("resource", self.resource)
        return "\n  ".join([f"{resource} failed to start: {self.reason}", *self.progress])


class ShutdownTimeoutError(LifecycleError):
    """A resource, a service or another component has not stopped in time.

    Attributes:
        pending: the names of what has not stopped.
        progress: what each of them was doing, one line for each: seconds, and the line of code at
            which it waited.
    """

    def __init__(self, pending: Sequence[str], progress: Sequence[str] = ()) -> None:
        self.pending: tuple[str, ...] = tuple(pending)
        self.progress: tuple[str, ...] = tuple(progress)
        super().__init__(self.pending)

    def __str__(self) -> str:
        """Return the names of what has not stopped, and what each of them was doing."""
        return "\n  ".join([f"did not stop in time: {', '.join(self.pending)}", *self.progress])


class IllegalTransitionError(LifecycleError):
    """The requested transition is not allowed in the current state.

    Attributes:
        state: the current state of the application.
        event: the requested operation.
        fix: sentences about what to do instead; may be empty.
    """

    def __init__(self, state: str, event: str, fix: str = "") -> None:
        self.state = state
        self.event = event
        self.fix = fix
        super().__init__(state, event, fix)

    def __str__(self) -> str:
        """Return the current state, the requested operation and the fix."""
        sentence = f"An application that is {self.state} cannot {self.event}"
        return f"{sentence}. {self.fix}" if self.fix else sentence
