"""Validation: constraints, conflicts, placeholders and checks of loaded values."""

from __future__ import annotations

import os
import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from hive_boot.redaction import conceal
from hive_boot.secrets.fields import ValueProblem, constraint_violations
from hive_boot.secrets.load_result import LoadNote, location_text
from hive_boot.secrets.sources.directories import MAX_SUBDIRECTORIES, find_subdirectories
from hive_boot.secrets.sources.files import EMPTY, SourceHit
from hive_boot.secrets.value import Secret, SecretBytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hive_boot.secrets.fields import Field
    from hive_boot.secrets.load_result import LoadResultBuilder


_SHOWN = 3
"""The number of similar names in a report, so that a long directory does not fill it."""


_MAX_COMPARISONS = 50_000
"""The number of names that a report compares with those of its missing secrets.

A comparison takes microseconds, and a thousand secrets may be missing beside a thousand files.
"""


def validate(builder: LoadResultBuilder) -> None:
    """Validate the content of the sources: each field has a value, a problem, or is absent.

    Conflicts and copies are resolved first, because they provide values.
    """
    _resolve_conflicts(builder)
    _resolve_env_duplicates(builder)
    _reject_placeholders(builder)
    _reject_invalid(builder)
    is_complete = builder.values.keys() >= builder.field_index.by_attribute.keys()
    unread = [] if is_complete else _resolve_absent(builder)
    details = (f"Nothing else provides {', '.join(unread)}.",) * bool(unread)
    for problem in builder.unread_files:
        if not unread and problem.name in builder.source_context.env_files:
            builder.warn("dotenv-unread", location=problem.name)
        else:
            builder.problems.append(problem.replace(details=details))


def _resolve_conflicts(builder: LoadResultBuilder) -> None:
    """Resolve the fields that have several values, or an invalid one."""
    found = builder.hits.items()
    values: dict[str, Any] = {name: hits[0].result for name, hits in found if len(hits) == 1}
    if ValueProblem in {*map(type, values.values())}:
        values = {name: each for name, each in values.items() if type(each) is not ValueProblem}
    builder.values |= values
    for attribute, hits in found if len(values) < len(found) else ():
        if attribute in values:
            continue
        field = builder.field_index.by_attribute[attribute]
        good = [hit for hit in hits if not isinstance(hit.result, ValueProblem)]
        origins = [hit.origin for hit in good]
        for hit in hits:
            if isinstance(hit.result, ValueProblem) and hit.result is not EMPTY:
                builder.add_value_problem(field, hit.result, hit.origin, *origins)
        origins = list(dict.fromkeys(origins))
        is_conflict = any(hit.result != good[0].result for hit in good)
        if is_conflict and attribute not in builder.reported:
            from hive_boot.secrets import fix_hints  # only a failure needs it

            message = "has different values in different locations"
            hint = fix_hints.foreign_variable_hint(field, origins)
            fix = f"remove one of them, or make them equal{hint}"
            places = tuple(map(location_text, origins))
            builder.add_problem(field, "conflict", message, places=places, fix=fix)
        if attribute in builder.reported:
            for hit in good:
                builder.discard(hit.result)
        elif good:
            builder.use(attribute, good[0])


def _resolve_env_duplicates(builder: LoadResultBuilder) -> None:
    """Resolve the variables of a mounted mode, which are copies or a fallback."""
    for attribute, hit in builder.env_duplicates.items():
        field, origin = builder.field_index.by_attribute[attribute], hit.origin
        if attribute in builder.values:
            builder.warn("environment-copy", hit.place, location=location_text(origin))
        elif attribute in builder.reported:
            pass  # a problem is reported already
        elif not builder.source_context.env_fallback:
            _report_only_in_environment(builder, field, hit.place)
        elif isinstance(hit.result, ValueProblem):
            builder.add_value_problem(field, hit.result, origin)
        else:
            builder.use(attribute, hit)
            continue
        builder.discard(hit.result)


def _reject_placeholders(builder: LoadResultBuilder) -> None:
    """Reject blank values, placeholders and references; development only warns of the last two."""
    if are_unsuspicious(conceal([value._open() for value in builder.values.values()])):
        return
    is_strict = builder.source_context.profile in {"production", "staging"}
    warned: dict[Any, list[str]] = {}
    newlines = []
    for attribute, value in list(builder.values.items()):
        field = builder.field_index.by_attribute[attribute]
        problem = content_problem(value)
        if problem is None:
            if has_trailing_newline(value):
                newlines.append(field.name)
        elif builder.hits[attribute][0].source == "override" or (
            problem in PLACEHOLDER_PROBLEMS and field.allow_placeholder
        ):
            pass  # the value is intended
        elif is_strict or problem not in PLACEHOLDER_PROBLEMS:
            builder.reject(field, [problem])
        else:
            warned.setdefault(problem.kind, []).append(field.name)
    for kind, names in warned.items():
        builder.warn(kind, *names)
    if newlines:
        builder.notes.append(LoadNote("trailing-newline", tuple(newlines)))


def _reject_invalid(builder: LoadResultBuilder) -> None:
    """Reject values of wrong length or pattern, and development defaults in other profiles."""
    profile = builder.source_context.profile
    for field in builder.field_index.constrained:
        value = builder.values.get(field.attribute)
        if value is None:
            continue
        violations = constraint_violations(field, value.reveal)
        if value.reveal() == field.dev_default and profile != "development":
            message = f"is the development default, which is not allowed in profile {profile}"
            violations = [ValueProblem("dev-default", message)]
        if violations:
            builder.reject(field, violations)


def _resolve_absent(builder: LoadResultBuilder) -> list[str]:
    """Resolve each field without a value: a default, a problem, or absent.

    Returns:
        The required names that an unreadable ``.env`` file or bundle may contain. A load of a
        single name, without a declaration, returns this name though it is optional, unless only
        directories or dangling links, which contain nothing, are unreadable.
    """
    profile = builder.source_context.profile
    kinds = {each.kind for each in builder.unread_files} - {"not-a-file", "broken-link"}
    every_name = bool(kinds) and not builder.declaration
    defaults, unread, missing = [], [], []
    for field in builder.field_index.all_fields:
        if field.attribute in builder.values or field.attribute in builder.reported:
            continue
        empty = [hit.origin for hit in builder.hits.get(field.attribute, ())]
        if field.dev_default is not None and profile == "development":
            value = field.kind(field.name, field.dev_default)  # type: ignore[arg-type]
            builder.use(field.attribute, SourceHit(value, "dev_default", "the declaration"))
            defaults.append(field.name)
        elif builder.unread_files and not empty and (every_name or field.required_for(profile)):
            unread.append(field.name)
        elif not field.required_for(profile):
            for origin in empty[:1]:
                builder.warn("empty", field.name, location=location_text(origin))
        elif empty:
            builder.add_value_problem(field, EMPTY, *empty)
        else:
            missing.append(field)
    if defaults:
        builder.warn("development-default", *defaults)
    if missing:
        _report_missing(builder, missing)
    return unread


def _report_missing(builder: LoadResultBuilder, fields: Sequence[Field]) -> None:
    """Report required fields without a value, a missing mount, and unsearched subdirectories."""
    from hive_boot.secrets import fix_hints  # only a failure needs it

    context, may_lack_mount = builder.source_context, False
    searched = _searched(builder)
    per_field = sum(len(each.names) + 1 for each in builder.snapshots) + len(builder.names)
    compared = _MAX_COMPARISONS // max(per_field, 1) + 1
    for number, field in enumerate(fields):
        message = "is missing"
        if field.dev_default is not None:
            message += f"; its development default is not used in profile {context.profile}"
        may_lack_mount |= field.dev_default is not None or not field.required_for("development")
        fix = fix_hints.how_to_provide(field, context, builder.declaration)
        details = _similar_names(builder, field) if number < compared else ()
        details += fix_hints.volume_item_hint(field, context)
        if field.aliases:
            details += (f"No value was found under {', '.join(field.aliases)} either.",)
        found = {"places": _places(builder, field, searched), "details": details, **fix.as_dict()}
        builder.add_problem(field, "missing", message, **found)
    if may_lack_mount and context.maybe_missing_mount:
        builder.hints.append(LoadNote("no-mount"))
    below = [each for each in builder.snapshots if each.parent and not each.is_absent]
    skipped = [each.path for each in below if each.is_skipped]
    for path in dict.fromkeys(each.parent for each in below):
        skipped += [path] * (len(find_subdirectories(path)) > MAX_SUBDIRECTORIES)
    if skipped:
        builder.hints.append(LoadNote("subdirectories", locations=tuple(skipped[:_SHOWN])))


def _report_only_in_environment(builder: LoadResultBuilder, field: Field, variable: str) -> None:
    older = f" under its older name {variable}" if variable != field.name else ""
    mode = f"{builder.source_context.mode} mode"
    builder.add_problem(
        field,
        "environment-only",
        f"is set only in the environment{older}, which is not read in {mode}",
        places=_places(builder, field, _searched(builder)),
        fix=f"mount {field.name} as a file; or set HIVE_BOOT_MODE=environment if this platform "
        "injects variables; or allow it with env_fallback=True (HIVE_BOOT_ENV_FALLBACK=1)",
        details=_similar_names(builder, field),
    )


def _searched(builder: LoadResultBuilder) -> list[tuple[str, bool]]:
    """Return the directories and bundles that were searched, and whether each is a bundle."""
    searched = [each for each in builder.snapshots if not each.is_skipped]
    many = sum(bool(each.parent) for each in searched) > _SHOWN
    paths = [
        (f"{each.parent}/*" if each.parent and many else each.path, each.is_bundle)
        for each in searched
    ]
    return list(dict.fromkeys(paths))


def _places(
    builder: LoadResultBuilder, field: Field, searched: Sequence[tuple[str, bool]]
) -> tuple[str, ...]:
    """Return the locations where a field was looked for."""
    tried, source_context = field.file_name, builder.source_context
    stems = [name for name in field.candidates if name != tried and not name.endswith(".txt")]
    also = f"or {', '.join(stems)}, each " if stems else ""
    suffix = f" ({also}also with .txt)" if f"{tried}.txt" in field.candidates else ""
    locations = [
        f"{path} (read as a bundle), as {field.name}"
        if is_bundle
        else os.path.join(path, tried) + suffix
        for path, is_bundle in searched
    ]
    if not source_context.mounted or source_context.env_fallback:
        locations += [f"environment variable {field.name}", *source_context.env_files]
    locations += [location_text(("source", name)) for name in builder.custom_sources]
    return tuple(locations)


def _similar_names(builder: LoadResultBuilder, field: Field) -> tuple[str, ...]:
    """Return a sentence for each name that is similar to one that was looked for."""
    from hive_boot.secrets import fix_hints  # only a failure needs it

    index, source_context = builder.field_index, builder.source_context
    sentences = []
    for reading in builder.snapshots:
        others = set(reading.names).difference(index.by_file)
        for name in fix_hints.near_misses(field, others)[:_SHOWN]:
            what = f"A file with a similar name exists: {os.path.join(reading.path, name)}"
            if reading.is_bundle:
                what = f"A similar name is in {reading.path}: {name}"
            expected = fix_hints.closest_candidate(name, field.candidates)
            sentences.append(f"{what}, expected {expected}.")
    reads_variables = not source_context.mounted or source_context.env_fallback
    variables = {}
    for name in builder.names - index.by_variable.keys() - {*index.version_variables}:
        is_file_variable = name.upper().startswith("FILE__") or name.upper().endswith("_FILE")
        if is_file_variable and field.file_variable:
            variables[name] = f"{field.name}_FILE"
        elif reads_variables and not is_file_variable:
            variables[name] = field.name
    sentences += [
        f"A variable with a similar name is set: {name}, expected {variables[name]}."
        for name in fix_hints.near_misses(field.replace(candidates=()), variables)[:_SHOWN]
    ]
    return tuple(sentences)


MARK = "<hive-boot placeholder"
"""Prefix of every placeholder. YAML, JSON and quotes of a shell leave it unchanged."""


def placeholder(name: str) -> str:
    """Return the placeholder of a secret, which every start rejects as a value.

    Args:
        name: the name of the secret.
    """
    return f"{MARK}: put the value of {name} here>"


def _text(value: Secret | SecretBytes) -> Callable[[], str]:
    """Return a function that returns the value as text: an invalid byte is one character."""
    if isinstance(value, Secret):
        return value._open
    return conceal(value.reveal().decode("utf-8", "surrogateescape"))


PLACEHOLDER = ValueProblem("placeholder", "is the placeholder of a rendered manifest, not a value")


BLANK = ValueProblem("empty", "contains only white space")


_MEANT = "; if it is the real value, declare secret(allow_placeholder=True)"
_KINDS = "a common word, digits in order, or a pattern to replace"
_IS_PLACEHOLDER = ValueProblem("placeholder", f"is a placeholder ({_KINDS}){_MEANT}")
_IS_REFERENCE = ValueProblem("reference", f"is an unresolved reference{_MEANT}")
PLACEHOLDER_PROBLEMS = {_IS_PLACEHOLDER, _IS_REFERENCE}
"""The problems that ``allow_placeholder=True`` permits."""


_REFERENCE = r"""
    (?:op|ref\+[\w+-]+|doppler|hashivault|vault|(?:aws|gcp)?-?s?sm|gsm|akv|bws|infisical|berglas|pass
        |keeper|azurekeyvault|(?:aws-?|gcp-?)?secrets?-?(?:manager)?)://\S+
    | (?:ssm|secretsmanager):\S+
    | env:(?://)?[A-Z_]+ | (?:secret|keyvault)ref:\S+
    | @Microsoft\.\w+\(.+\) | (?:vault|bao):(?!v\d+:)[^\s#]+\#\S+
    | arn:aws[\w-]*:(?:secretsmanager|ssm):\S+ | encrypted:\S+ | ENC\[.+\] | ENC\(.+\)
    | \{cipher\}.+ | \$ANSIBLE_VAULT;[\s\S]+
    | projects/[^/\s]+/secrets/[^/\s]+(?:/versions/[^/\s]+)? | \(\([\w./:-]+\)\) | <%=.+%>
    | \$?\{\{.+\}\} | \$\{[A-Za-z_]\w*(?:[:./?-][^{}]*)?\} | \#\{[A-Za-z_][\w.]*\}\#?
    | \$\([A-Za-z][\w./-]*(?:\ .*)?\) | \$(?:[A-Z]{2,}(?:_[A-Z]+\d*)+(?:_\d+)?)
    | \$(?:PASSWORD|SECRET|TOKEN)
    | %[A-Z]{2,}(?:_[A-Z]+)+% | __[A-Z]+(?:_[A-Z]+)*__ | @@[A-Z_]+@@ | %\{[A-Z_]+\} | \{\$[A-Z_]+\}
    | %env\(\w+\)% | %\(\w+\)s | \$env:\w+ | process\.env\.\w+
    | !(?:secret|vault|env|ENV|Ref|Sub|GetAtt)\b.* | `[a-z]+\ .+`
    | (?i:none|null|nil|undefined|nan|n/a|<no\ value>|<nil>|\(null\)|\[object\ \w+\])
"""
"""Pattern of the values that a tool, a template or a shell should have replaced."""


_PLACEHOLDER = r"""
    <+(?:[A-Z]?[a-z]+|[A-Z]+)(?:[-_\ ]+(?:[A-Z]?[a-z]+|[A-Z]+|\d+))*\ *>+
    | (?:[A-Za-z]{1,10}[-_.])*(?:[xX]{4,}|\.{3,}|…|\*{3,})(?:[-_.](?:[xX]+|\*+))*
    | (?:[A-Za-z]{1,10}_)+xxx | [A-Za-z]{0,12}[xX]{6,} | [A-Za-z0-9]{0,16}(?:\.{3,}|…)
    | Secret[A-Za-z]*\(.*\*{3,}'\) | (.)\1{2,}(?:[-_.\ ]\1+)* | django-insecure-.+
    | [A-Za-z0-9/]+EXAMPLE(?:KEY)?
    | (?:sk[-_])?(?i:your[-_.\ ](?:[-\w.\ ]+[-_.\ ])?(?:here|key|token|secret|password))
"""
"""Pattern of the placeholders that are not words."""


_PHRASE = r"[<\[{(*]*[A-Za-z0-9][-A-Za-z0-9_. ]*[!.?;]*[>\]})*]*"
_PARTS = r"[A-Z]?[a-z]+|[A-Z]+|\d{5,}"


_MARKS = (
    "change changed changeme changethis changeit replace replaced replaceme your todo fixme tbd "
    "placeholder example sample dummy insert enter fill insecure unsafe generate generated secret "
    "supersecret secretkey mysecret mysecretpassword jwtsecret password passwd mypassword yourkey "
    "yourapikey yoursecret yourpassword dbpassword notasecret redacted masked hidden here 12345 "
    "123456 1234567 12345678 123456789 1234567890 0123456789 xxx"
)
_MARKED = frozenset(_MARKS.split())
"""The words of which a placeholder contains at least one."""


_FILLERS = (
    "a access account actual add admin an and any api apikey app application at auth aws azure "
    "base be bearer bit bits byte bytes char character characters chars client cookie csrf "
    "database db default dev development django email encryption even flask for from github goes "
    "google hex host id in is it jwt key keys least live local long mail me min mmuser more must "
    "my mysql new not now of on openai openssl or own pk please postgres private prod production "
    "public put rand random real redis root secure server service session set should signing sk "
    "slack smtp some staging string stripe strong super test testing text that the this to token "
    "tokens top unique us use user username value very webhook with abcdef"
)
_WORDS = _MARKED.union(_FILLERS.split())
"""The words of placeholders."""


_OTHER_HEADS = (
    "none null nil nan n/a undefined vault bao: env: keyv process enc[ enc( arn: projects ssm: "
    "akia wjal"
)
_REPEATED = [character * 4 for character in "0123456789abcdefghijklmnopqrstuvwxyz"]
_HEADED = [*_WORDS, *_OTHER_HEADS.split(), *_REPEATED]
_HEADS = {
    *map(itemgetter(slice(4)), _HEADED),
    *(word + end for word in _HEADED if not word[3:] for end in "-_"),
}
"""The first four characters of the usual placeholders and references, in lower case.

A shorter word is also listed with its separator.
"""


_FIRST = frozenset("$<[{(%@#!`_'\"*?")
"""The other characters with which a placeholder or a reference begins, apart from white space."""


_SEPARATORS = "-_. "
"""The characters after a first word of one or two letters, which any other word may follow."""


_MARKERS = ("://", "...", "…", "***", "xxx", "\n")
"""Parts of a URL, of the placeholders that begin in any way, and of values with a newline.

The placeholders are those of :data:`_PLACEHOLDER` that end in dots, stars or x; in lower case.
"""


_LONGEST = 300
"""The maximum length of a placeholder; the ciphertext of a reference may be longer."""


_LONGEST_URL = 1 << 12
"""The maximum length of a URL whose password is examined; a longer text is a document."""


def are_unsuspicious(texts: Callable[[], list[Any]]) -> bool:
    """Return whether no text can be blank, a placeholder or a reference; False if in doubt.

    Every start calls this once for all values, so it makes a few calls for all of them together.
    """
    try:
        joined = conceal("".join(texts()).lower())
    except TypeError:
        return False  # some values are bytes
    # To find one character takes a hundredth of the time for several, and most are absent.
    if any(each[0] in joined() and each in joined() for each in _MARKERS):
        return False
    heads = conceal({*map(itemgetter(slice(4)), texts())})
    first = conceal({*map(itemgetter(slice(1)), heads())})
    return (
        _FIRST.isdisjoint(first())
        and not any(map(str.isspace, first()))
        and not _have_separators(heads)
        and _HEADS.isdisjoint(map(str.lower, heads()))
    )


def _have_separators(heads: Callable[[], set[str]]) -> bool:
    """Return whether the second or the third character of a text is a separator of words."""
    joined = conceal("".join(heads()))
    if not any(each in joined() for each in _SEPARATORS):
        return False
    return not {*_SEPARATORS}.isdisjoint("".join(map(itemgetter(slice(1, 3)), heads())))


def content_problem(value: Secret | SecretBytes) -> ValueProblem | None:
    """Return the problem of a value that is blank, a placeholder or an unresolved reference.

    The whole value counts, or the whole password in a URL: a random password may contain any part.
    """
    read = _text(value)
    if are_unsuspicious(conceal([read()])):
        return None
    if read().startswith(MARK):
        return PLACEHOLDER
    if isinstance(value, Secret) and read().isspace():
        return BLANK
    parts = [read]
    if len(read()) <= _LONGEST_URL and "://" in read():
        user = conceal(read().partition("://")[2].rpartition("@")[0])
        query = conceal(read().partition("password=")[2])
        passwords = conceal(user().partition(":")[2]), conceal(query().partition("&")[0])
        parts += [each for each in passwords if not are_unsuspicious(conceal([each()]))]
    return next(filter(None, map(_placeholder_problem, parts)), None)


def _placeholder_problem(read: Callable[[], str]) -> ValueProblem | None:
    """Return the problem of a text that is a placeholder or a reference as a whole."""
    stripped = conceal(read().strip(" \t\r\n'\""))
    if re.compile(_REFERENCE, re.VERBOSE).fullmatch(stripped()):
        return _IS_REFERENCE
    if len(stripped()) > _LONGEST:
        return None
    is_phrase = re.compile(_PHRASE).fullmatch(stripped()) is not None
    words = conceal(
        {*map(str.lower, re.compile(_PARTS).findall(stripped()))} if is_phrase else set()
    )
    is_known = words() <= _WORDS and not _MARKED.isdisjoint(words())
    if is_known or re.compile(_PLACEHOLDER, re.VERBOSE).fullmatch(stripped()):
        return _IS_PLACEHOLDER
    return None


def has_trailing_newline(value: Secret | SecretBytes) -> bool:
    """Return whether a text ends with a newline that does not belong to a PEM block."""
    return isinstance(value, Secret) and value.reveal().removesuffix("-----\n").endswith("\n")
