"""Validation: constraints, conflicts and checks of loaded values."""

from __future__ import annotations

import os
import re
import threading
import time
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from hive_boot._records import Record
from hive_boot.exceptions import Problem
from hive_boot.redaction.opaque import _OpaqueIterator
from hive_boot.redaction.registry import redact, scrub
from hive_boot.secrets.fields import ValueProblem, constraint_violations
from hive_boot.secrets.load_result import LoadNote, location_text
from hive_boot.secrets.sources.directories import MAX_SUBDIRECTORIES, find_subdirectories
from hive_boot.secrets.sources.files import EMPTY
from hive_boot.secrets.value import Secret, is_placeholder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from hive_boot.secrets.fields import Field
    from hive_boot.secrets.load_result import LoadResultBuilder
    from hive_boot.secrets.sources.files import Value


class PendingCheck(Record):
    """A check that has to be awaited.

    Attributes:
        field: the checked field.
        value: the checked value.
        verdict: the awaitable that the check returned.
    """

    field: Field
    value: Value
    verdict: Awaitable[object]


def call_checks(
    values: Sequence[tuple[Field, Value]],
    *,
    left: float,
    seconds: float,
    running: set[tuple[str, Value]] | None = None,
) -> tuple[list[Problem], list[PendingCheck]]:
    """Call the checks of fields that have one.

    Args:
        values: the fields and the values that were found for them.
        left: seconds that are left for all checks together.
        seconds: the whole timeout in seconds, for the message.
        running: the fields and values whose check has not ended since an earlier call. Such a
            check is not called again, because each call that hangs occupies a thread.

    Returns:
        The problems, and the checks that have to be awaited.
    """
    from inspect import isawaitable  # noqa: PLC0415  (many have no check)

    running = set() if running is None else running
    calls = [_CheckCall(field, value, running) for field, value in values]
    problems = [check_timeout_problem(call.field, seconds) for call in calls if call.key in running]
    calls = [call for call in calls if call.key not in running]
    pending = []
    deadline = time.monotonic() + left
    for call in calls:
        call.start()
    for call in calls:
        if not call.done.wait(max(0.0, deadline - time.monotonic())):
            problems.append(check_timeout_problem(call.field, seconds))
        elif call.failure is not None:
            problems.append(check_failed_problem(call.field, call.failure, [call.value]))
        elif isawaitable(call.verdict):
            pending.append(PendingCheck(call.field, call.value, call.verdict))
        elif fault := rejection_reason(call.verdict):
            problems.append(check_failed_problem(call.field, fault, [call.value]))
    return problems, pending


def rejection_reason(verdict: object) -> str | None:
    """Return why the result of a check is a rejection; None for True and None, which pass."""
    if verdict is None or verdict is True:
        return None
    if verdict is False:
        return "it returned False"
    return f"it returned {type(verdict).__name__}; expected True, False or None"


def check_failed_problem(
    field: Field | str, failure: BaseException | str, values: Iterable[Value]
) -> Problem:
    """Return the problem of a check that failed, without the values that its text may contain.

    Args:
        field: the checked field, or the name of the set.
        failure: the exception, or why the result is a rejection.
        values: the values that must not be shown.
    """
    text = failure if isinstance(failure, str) else describe(failure)
    # The values at hand are removed even when they are too short for redaction.
    shown = redact(scrub(text, [value.reveal() for value in values]))
    return problem(field, "check", f"was refused by its check: {shown}")


def check_timeout_problem(field: Field | str, seconds: float) -> Problem:
    """Return the problem of a check that exceeded the timeout."""
    return problem(field, "check", f"could not be checked: its check took more than {seconds:g} s")


def problem(field: Field | str, kind: Any, message: str, **more: Any) -> Problem:  # noqa: ANN401
    """Return a problem of a field, with the ``used_by`` of its declaration."""
    if isinstance(field, str):
        return Problem(name=field, kind=kind, message=message, **more)
    return Problem(name=field.name, kind=kind, message=message, used_by=field.used_by, **more)


def describe(failure: BaseException) -> str:
    """Return type and text of an exception."""
    name = type(failure).__name__
    try:
        text = str(failure)
    except BaseException:  # noqa: BLE001  (str() of an exception of the application may raise)
        return name
    return f"{name}: {text}" if text else name


class _CheckCall:
    """One call of a check, in a daemon thread: a check that hangs ends with the process."""

    def __init__(self, field: Field, value: Value, running: set[tuple[str, Value]]) -> None:
        self.field = field
        self.value = value
        self.key = (field.attribute, value)
        self._running = running
        self.verdict: object = None
        self.failure: BaseException | None = None
        self.done = threading.Event()

    def start(self) -> None:
        from inspect import iscoroutinefunction  # noqa: PLC0415  (many have no check)

        if iscoroutinefunction(self.field.check):
            # The call only creates a coroutine, which cannot hang.
            self._run()
            return
        self._running.add(self.key)
        name = f"hive_boot check of {self.field.name}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            self.verdict = self.field.check(self.value.reveal())  # type: ignore[misc]
        except BaseException as exc:  # noqa: BLE001  (SystemExit must not end only the thread)
            self.failure = exc.with_traceback(None)
        finally:
            self._running.discard(self.key)
            self.done.set()


PLACEHOLDER = ValueProblem("placeholder", "is the placeholder of a rendered manifest, not a value")


BLANK = ValueProblem("empty", "contains only white space")


_STAND_IN = ValueProblem(
    "placeholder",
    "is a placeholder; if it is the real value, declare secret(allow_placeholder=True)",
)


_UNRESOLVED = ValueProblem(
    "reference",
    "is an unresolved reference; if it is the real value, declare secret(allow_placeholder=True)",
)


_REFERENCE = r"""
    (?:op|sm|ref\+[\w+-]+|doppler|vault|(?:aws|gcp)?-?s?sm|gsm|akv|bws|infisical|berglas|pass|keeper
        |azurekeyvault|gcpsecretmanager|secrets?)://\S+ | (?:ssm|secretsmanager):\S+ | env:[A-Z_]+
    | @Microsoft\.\w+\(.+\) | (?:vault|bao):(?!v\d+:)[^\s#]+\#\S+
    | arn:aws[\w-]*:(?:secretsmanager|ssm):\S+ | encrypted:\S+ | ENC\[.+\] | ENC\(.+\)
    | \{cipher\}.+ | \$ANSIBLE_VAULT;[\s\S]+
    | projects/[^/\s]+/secrets/[^/\s]+(?:/versions/[^/\s]+)? | \(\([\w./:-]+\)\) | <%=.+%>
    | \$?\{\{.+\}\} | \$\{[A-Za-z_]\w*(?:[:./?-][^{}]*)?\} | \#\{[A-Za-z_][\w.]*\}\#?
    | \$\([A-Za-z][\w./-]*(?:\ .*)?\) | \$(?:[A-Z]{2,}(?:_[A-Z]+\d*)+|PASSWORD|SECRET|TOKEN)
    | %[A-Z]{2,}(?:_[A-Z]+)+% | __[A-Z]+(?:_[A-Z]+)*__ | @@[A-Z_]+@@ | %\{[A-Z_]+\} | \{\$[A-Z_]+\}
    | %env\(\w+\)% | \$env:\w+ | process\.env\.\w+ | !(?:secret|vault|env|ENV)\b.* | `[a-z]+\ .+`
    | (?i:none|null|nil|undefined|nan|n/a|<no\ value>|<nil>|\(null\)|\[object\ \w+\])
"""
"""Pattern of the values that a tool, a template or a shell should have replaced."""


_PLACEHOLDER = r"""
    <+(?:[A-Z]?[a-z]+|[A-Z]+)(?:[-_\ ]+(?:[A-Z]?[a-z]+|[A-Z]+|\d+))*\ *>+
    | (?:[A-Za-z]{1,10}[-_.])*(?:[xX]{4,}|\.{3,}|…|\*{3,})(?:[-_.](?:[xX]+|\*+))*
    | [A-Za-z]{0,12}[xX]{6,} | [A-Za-z]{0,4}(?:\.{3,}|…)
    | (.)\1{2,}(?:[-_.\ ]\1+)* | django-insecure-.+
"""
"""Pattern of the placeholders that are not words."""


_PHRASE = r"[<\[{(]?[A-Za-z0-9][-A-Za-z0-9_.\ ]*[!.?]*[>\]})]?"
_PARTS = r"[A-Z]?[a-z]+|[A-Z]+|\d{5,}"


_MARKS = (
    "change changed changeme changethis changeit replace replaced replaceme your todo fixme tbd "
    "placeholder example sample dummy insert enter fill insecure unsafe generate generated secret "
    "supersecret secretkey mysecret mysecretpassword jwtsecret password passwd mypassword yourkey "
    "yourapikey yoursecret yourpassword redacted masked hidden here 12345 123456 1234567 12345678 "
    "123456789 1234567890 0123456789 xxx"
)
_MARKED = frozenset(_MARKS.split())
"""The words of which a placeholder contains at least one."""


_FILLERS = (
    "a access account actual add admin an and any api apikey app application at auth aws azure "
    "base be bearer bit bits byte bytes char character characters chars client cookie csrf "
    "database db default dev development django email encryption even flask for from github goes "
    "google hex host id in is it jwt key keys least live local long mail me min mmuser more must "
    "my mysql new not now of on openai openssl or own please postgres private prod production "
    "public put rand random real redis root secure server service session set should signing sk "
    "slack smtp some staging string stripe strong super test testing text that the this to token "
    "tokens top unique us use user username value very webhook with abcdef"
)
_WORDS = _MARKED.union(_FILLERS.split())
"""The words of placeholders."""


def _heads(words: Iterable[str]) -> frozenset[str]:
    """Return the first four characters of each word, in each case in which it is written."""
    heads = {(word + end)[:4] for word in words for end in ("-", "_", "")}
    return frozenset({*heads, *map(str.upper, heads), *map(str.capitalize, heads)})


_OTHER_HEADS = (
    "none null nil nan NaN n/a undefined op:/ sm:/ ref+ doppler vault gcp gsm: akv: bws: bao: env: "
    "awss infisical berglas keeper process encrypted enc[ enc( arn: projects ssm: 0000 1111 aaaa "
    "---- my-s my_s my-p my_p my-a my_a my-j my_j my-k my_k a-se a_se a-st a_st a-ve a-lo sk-y"
)
_HEADS = _heads(_WORDS.union(_OTHER_HEADS.split()))
"""The first four characters of the usual placeholders and references."""


_FIRST = frozenset("$<[{(%@#!`_'\"*….\xa0 \t\n\r\v\f")
"""The other characters with which a placeholder or a reference begins."""


_TAILS = ("...", "…", "***", "xxxx", "XXXX", "\n")


_LONGEST = 300
"""The maximum length of a value that is compared with the patterns."""


def _are_usual(opened: Callable[[], list[str]]) -> bool:
    """Return whether no value has to be looked at, by few calls for all of them; False if in doubt.

    Args:
        opened: returns the values, which no local variable holds.
    """
    try:
        text = _OpaqueIterator("".join(opened()).lower()).__next__
    except TypeError:
        return False  # some values are bytes
    return (
        not any(part in text() for part in (":", ".", "\n", "…", "*", "xxxx"))
        and _FIRST.isdisjoint(map(itemgetter(0), filter(None, opened())))
        and _HEADS.isdisjoint(map(itemgetter(slice(4)), opened()))
    )


def _is_unusual(read: Callable[[], str]) -> bool:
    return read()[:1] in _FIRST or read()[:4] in _HEADS or read().endswith(_TAILS)


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """Return a compiled pattern, which few starts need."""
    return re.compile(text, re.VERBOSE)


def find_stand_in(read: Callable[[], str]) -> ValueProblem | None:
    """Return the problem of a placeholder or an unresolved reference; None for another value.

    The whole value counts, or the whole password in a URL: a random password may contain any part.

    Args:
        read: returns the value, which no local variable holds.
    """
    parts = [read]
    if "://" in read():
        parts.append(
            _OpaqueIterator(
                read().partition("://")[2].rpartition("@")[0].partition(":")[2]
            ).__next__
        )
        if "password=" in read():
            parts.append(
                _OpaqueIterator(read().partition("password=")[2].partition("&")[0]).__next__
            )
    for part in filter(_is_unusual, parts):
        bare = _OpaqueIterator(part().strip(" \t\r\n'\"")).__next__
        if len(bare()) > _LONGEST:
            continue
        if _pattern(_REFERENCE).fullmatch(bare()):
            return _UNRESOLVED
        if _pattern(_PHRASE).fullmatch(bare()):
            words = _OpaqueIterator([*map(str.lower, _pattern(_PARTS).findall(bare()))]).__next__
            if _WORDS.issuperset(words()) and not _MARKED.isdisjoint(words()):
                return _STAND_IN
        if _pattern(_PLACEHOLDER).fullmatch(bare()):
            return _STAND_IN
    return None


def _content_problem(value: Value) -> ValueProblem | None:
    """Return the problem of a value that is blank, a placeholder or a reference."""
    is_text = isinstance(value, Secret)
    read: Any = value._open  # noqa: SLF001
    if not is_text:
        read = _OpaqueIterator(value.reveal().decode("latin-1")).__next__  # type: ignore[union-attr]
    if not (_is_unusual(read) or "://" in read()):
        return None
    if is_placeholder(value):
        return PLACEHOLDER
    if is_text and read().isspace():
        return BLANK
    return find_stand_in(read)


_SHOWN = 3
"""The number of similar names in a report, so that a long directory does not fill it."""


def validate(builder: LoadResultBuilder, reported: Iterable[str]) -> None:
    """Validate the content of the sources: each field has a value, a problem, or is absent.

    Args:
        builder: the content of the sources.
        reported: the attributes that have a problem already.
    """
    _Validator(builder, set(reported)).run()


class _Validator:
    """One validation; it is used once."""

    def __init__(self, builder: LoadResultBuilder, reported: set[str]) -> None:
        self.builder = builder
        self.source_context = builder.source_context
        self.reported = reported

    def run(self) -> None:
        """Resolve conflicts and copies first, because they provide values, then validate these."""
        builder = self.builder
        self._resolve_conflicts()
        self._resolve_env_duplicates()
        self._reject_stand_ins()
        self._reject_invalid()
        unread: list[str] = []
        if len(builder.values) < len(builder.field_index.all_fields):
            unread = self._resolve_absent()
        details = (f"Nothing else provides {', '.join(unread)}.",)
        for problem in builder.unread_files:
            if unread:
                builder.problems.append(problem.replace(details=details))
            else:
                builder.warn("dotenv-unread", location=problem.name)

    def _resolve_conflicts(self) -> None:
        """Resolve the fields that have several values, or an invalid one."""
        for attribute, hits in self.builder.unresolved.items():
            field = self.builder.field_index.by_attribute[attribute]
            good = [
                (hit.result, hit.source, hit.place)
                for hit in hits
                if not isinstance(hit.result, ValueProblem)
            ]
            locations = tuple(location_text((source, place)) for _, source, place in good)
            for hit in hits:
                if isinstance(hit.result, ValueProblem) and hit.result is not EMPTY:
                    self._report(field, hit.result, (hit.source, hit.place), locations)
            if attribute in self.reported:
                self.builder.unused_values += [value for value, _, _ in good]
            elif any(value != good[0][0] for value, _, _ in good):
                self.builder.unused_values += [value for value, _, _ in good]
                from hive_boot.secrets.fix_hints import Fix, foreign_variable_hint  # noqa: PLC0415  (only a failure needs it)

                self.reported.add(attribute)
                hint = foreign_variable_hint(field, locations)
                fix = Fix(f"remove one of them, or make them equal{hint}")
                message = "has different values in different locations"
                self.builder.add_problem(field, "conflict", message, locations, fix)
            elif good:
                self.builder.use(attribute, *good[0])

    def _resolve_env_duplicates(self) -> None:
        """Resolve the variables of a mounted mode, which are copies or a fallback."""
        builder = self.builder
        for attribute, value in builder.env_duplicates.items():
            field = builder.field_index.by_attribute[attribute]
            names = (field.name, *field.aliases)
            origin = ("environment", next(name for name in names if name in builder.names))
            if attribute in builder.values:
                builder.warn("environment-copy", origin[1], location=location_text(origin))
            elif attribute in self.reported:
                pass  # a problem is reported already
            elif not self.source_context.env_fallback:
                self._report_only_in_environment(field, origin[1])
            elif isinstance(value, ValueProblem):
                self._report(field, value, origin)
            else:
                builder.use(attribute, value, *origin)
                continue
            if not isinstance(value, ValueProblem):
                builder.unused_values.append(value)

    def _reject_stand_ins(self) -> None:
        """Reject white space, placeholders and references; in development warn about these two."""
        builder, values = self.builder, self.builder.values
        if _are_usual(_OpaqueIterator([value._open() for value in values.values()]).__next__):  # noqa: SLF001
            return
        is_strict = self.source_context.profile in {"production", "staging"}
        warned: dict[Any, list[str]] = {}
        newlines = []
        for attribute, value in list(values.items()):
            field = builder.field_index.by_attribute[attribute]
            problem = _content_problem(value)
            if problem is None:
                if isinstance(value, Secret) and value.reveal().endswith("\n"):
                    newlines += [field.name] * (not value.reveal().endswith("-----\n"))
                continue
            origin, is_stand_in = builder.origin(attribute), problem in {_STAND_IN, _UNRESOLVED}
            if origin[0] == "override" or (is_stand_in and field.allow_placeholder):
                continue
            if is_strict or not is_stand_in:
                builder.unused_values.append(values.pop(attribute))
                self._report(field, problem, origin)
            else:
                warned.setdefault(problem.kind, []).append(field.name)
        for kind, names in warned.items():
            builder.warn(kind, *names)
        if newlines:
            builder.notes.append(LoadNote("trailing-newline", tuple(newlines)))

    def _reject_invalid(self) -> None:
        """Reject values of wrong length or pattern, and development defaults in other profiles."""
        builder, profile = self.builder, self.source_context.profile
        for field in builder.field_index.constrained:
            value = builder.values.get(field.attribute)
            if value is None:
                continue
            faults = constraint_violations(field, value.reveal)
            if value.reveal() == field.dev_default and profile != "development":
                message = f"is the development default, which is not allowed in profile {profile}"
                faults = [ValueProblem("dev-default", message)]
            if faults:
                origin = builder.origin(field.attribute)
                builder.unused_values.append(builder.values.pop(field.attribute))
                for fault in faults:
                    self._report(field, fault, origin)

    def _resolve_absent(self) -> list[str]:
        """Resolve each field without a value: a default, a problem, or absent.

        Returns:
            The names that a ``.env`` file may contain which cannot be read: the required ones.
            For a call without a declaration, which asks for single names, this is every name,
            unless there is only a directory or a dangling link, which contains none.
        """
        builder, profile = self.builder, self.source_context.profile
        kinds = {each.kind for each in builder.unread_files} - {"not-a-file", "broken-link"}
        every_name = bool(kinds) and not builder.declaration
        defaults, unread = [], []
        for field in builder.field_index.all_fields:
            if field.attribute in builder.values or field.attribute in self.reported:
                continue
            hits = builder.unresolved.get(field.attribute, ())
            empty = [(hit.source, hit.place) for hit in hits]
            if field.dev_default is not None and profile == "development":
                value = field.kind(field.name, field.dev_default)  # type: ignore[arg-type]
                builder.use(field.attribute, value, "dev_default", "the declaration")
                defaults.append(field.name)
            elif builder.unread_files and not empty and (every_name or field.required_for(profile)):
                unread.append(field.name)
            elif field.required_for(profile):
                self._report_absent(field, empty)
            elif empty:
                builder.warn("empty", field.name, location=location_text(empty[0]))
        if defaults:
            builder.warn("development-default", *defaults)
        return unread

    def _report(
        self,
        field: Field,
        fault: ValueProblem,
        origin: tuple[str, str],
        others: tuple[str, ...] = (),
    ) -> None:
        self.reported.add(field.attribute)
        self.builder.add_value_problem(field, fault, origin, others)

    def _report_absent(self, field: Field, empty: Sequence[tuple[str, str]]) -> None:
        """Report a required field without a value; ``empty`` are the origins of empty ones."""
        from hive_boot.secrets import fix_hints  # noqa: PLC0415  (only a failure needs it)

        builder, source_context = self.builder, self.source_context
        if empty:
            fix = fix_hints.how_to_fix(field, EMPTY, empty[0], source_context, builder.declaration)
            places = tuple(map(location_text, empty))
            builder.add_problem(field, "empty", "is empty", places, fix)
            return
        has_default = field.dev_default is not None
        refused = f"; its development default is not used in profile {source_context.profile}"
        message = "is missing" + (refused if has_default else "")
        fix = fix_hints.how_to_provide(field, source_context, builder.declaration)
        details = self._similar_names(field) + fix_hints.volume_item_hint(field, source_context)
        if field.aliases:
            details += (f"No value was found under {', '.join(field.aliases)} either.",)
        builder.add_problem(field, "missing", message, self._places(field), fix, details)
        lenient = has_default or not field.required_for("development")
        self._note_skipped_subdirectories()
        note = LoadNote("no-mount")
        if source_context.maybe_missing_mount and lenient and note not in builder.hints:
            builder.hints.append(note)

    def _note_skipped_subdirectories(self) -> None:
        """Add a hint about the subdirectories that were not searched."""
        below = [each for each in self.builder.snapshots if each.parent and not each.is_absent]
        skipped = [each.path for each in below if each.is_skipped]
        for path in {each.parent for each in below}:
            skipped += [path] * (len(find_subdirectories(path)) > MAX_SUBDIRECTORIES)
        note = LoadNote("subdirectories", locations=tuple(skipped[:_SHOWN]))
        if skipped and note not in self.builder.hints:
            self.builder.hints.append(note)

    def _report_only_in_environment(self, field: Field, variable: str) -> None:
        from hive_boot.secrets.fix_hints import Fix, only_in_environment  # noqa: PLC0415  (a failure's)

        self.reported.add(field.attribute)
        older = f" under its older name {variable}" if variable != field.name else ""
        message = (
            f"is set only in the environment{older}, which is not read in "
            f"{self.source_context.mode} mode"
        )
        self.builder.add_problem(
            field,
            "environment-only",
            message,
            self._places(field),
            Fix(only_in_environment(field)),
            self._similar_names(field),
        )

    def _places(self, field: Field) -> tuple[str, ...]:
        """Return the locations where a field was looked for."""
        tried = field.file_name
        others = set(field.candidates) - {tried, f"{tried}.txt"}
        stems = [name for name in field.candidates if name in others and not name.endswith(".txt")]
        also = "".join(f"{name}, " for name in stems)
        suffix = f" (or {also}each also with .txt)" if stems else " (also with .txt)"
        suffix = suffix if f"{tried}.txt" in field.candidates else ""
        searched = [each for each in self.builder.snapshots if not each.is_skipped]
        many = sum(bool(each.parent) for each in searched) > _SHOWN
        locations = []
        for each in searched:
            path = f"{each.parent}/*" if each.parent and many else each.path
            place = (
                f"{path} (read as a bundle), as {field.name}"
                if each.is_bundle
                else os.path.join(path, tried) + suffix
            )
            if place not in locations:
                locations.append(place)
        if not self.source_context.mounted or self.source_context.env_fallback:
            locations += [f"environment variable {field.name}", *self.source_context.env_files]
        locations += [location_text(("source", name)) for name in self.builder.custom_sources]
        return tuple(locations)

    def _similar_names(self, field: Field) -> tuple[str, ...]:
        """Return a sentence for each name that is similar to one that was looked for."""
        from hive_boot.secrets import fix_hints  # noqa: PLC0415  (only a failure needs it)

        index, source_context = self.builder.field_index, self.source_context
        sentences = []
        for reading in self.builder.snapshots:
            others = set(reading.names) - index.by_file.keys()
            for name in fix_hints.near_misses(field, others)[:_SHOWN]:
                path = os.path.join(reading.path, name)
                expected = fix_hints.closest_candidate(name, field.candidates)
                what = f"A file with a similar name exists: {path}"
                if reading.is_bundle:
                    what = f"A similar name is in {reading.path}: {name}"
                sentences.append(f"{what}, expected {expected}.")
        reads_variables = not source_context.mounted or source_context.env_fallback
        variables = {}
        for name in self.builder.names - index.by_variable.keys():
            if not fix_hints.is_file_variable(name):
                if reads_variables:
                    variables[name] = field.name
            elif field.file_variable:
                variables[name] = f"{field.name}_FILE"
        sentences += [
            f"A variable with a similar name is set: {name}, expected {variables[name]}."
            for name in fix_hints.near_misses(field.replace(candidates=()), variables)[:_SHOWN]
        ]
        return tuple(sentences)
