"""What the values look like: slips that a check of length and pattern lets pass.

What is found is told in words that fit many values. No function here raises while it holds
a value.
"""

from __future__ import annotations

import base64
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from hive_boot.cli.examinations.patient import Severity, Symptom, listed, status_of
from hive_boot.secrets.value import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hive_boot.cli.examinations.patient import Patient
    from hive_boot.secrets.field import Field
    from hive_boot.secrets.sources.reading import Value

_REFERENCE = re.compile(r"\$\{[^}]*\}|\$\([^)]*\)|\$[A-Z_][A-Z0-9_]+|%[A-Z_][A-Z0-9_]+%|\{\{.*\}\}")
_PLACEHOLDER = re.compile(
    r"<[^<>]*>|\.{3,}|x{3,}|\*{3,}|todo|tbd|fixme|none|null|undefined|placeholder|secret|password"
    r"|(?:please[-_ ])?(?:change|replace|fill)[-_ ]?(?:me|this|it|in)(?![a-z]).*"
    r"|your[-_ ].*|.*[-_ ]here|my[-_ ](?:secret|token|key|api|password).*",
    re.IGNORECASE,
)
_INVISIBLE = re.compile("[\u00a0\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")
_CURLY = re.compile("[\u2018-\u201f\u2013\u2014\u2026]")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4}){2,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_TOKEN = re.compile(r"ey[\w-]+\.(?P<payload>ey[\w-]+)\.[\w-]*")

_SOON = 7 * 86400.0
"""Seconds before its end in which a token should have been replaced."""


def odd_values(patient: Patient) -> list[Symptom]:
    """Tell which values look like a slip of whoever wrote them."""
    symptoms = []
    for field, value in _told(patient):
        if not isinstance(value, Secret):
            continue
        where = _place(field, patient)
        for severity, kind, what, mend in _slips(value):
            symptoms.append(Symptom(severity, kind, f"{field.name} {what}", where, mend))
    return symptoms


def equal_values(patient: Patient) -> list[Symptom]:
    """Tell which secrets have the same value."""
    alike: defaultdict[Value, list[Field]] = defaultdict(list)
    for field, value in _told(patient):
        alike[value].append(field)
    symptoms = []
    for fields in alike.values():
        own = {field.attribute.removesuffix(".previous") for field in fields}
        if len(own) > 1:
            symptoms.append(
                Symptom(
                    "warning",
                    "equal-values",
                    f"{listed(field.name for field in fields)} have the same value: a slip in "
                    "copying, or one leak that opens several doors",
                    mend="give each its own",
                )
            )
        elif len(fields) > 1:
            symptoms.append(
                Symptom(
                    "remark",
                    "equal-values",
                    f"{listed(field.name for field in fields)} have the same value: what was "
                    "signed with the one before is not accepted",
                    mend="put the value of before the last rotation there, or remove it",
                )
            )
    return symptoms


def tokens_that_expire(patient: Patient) -> list[Symptom]:
    """Tell which JSON Web Tokens (RFC 7519) have expired, or soon will."""
    symptoms = []
    for field, value in _told(patient):
        left = _seconds_left(value, patient.now)
        if left is None or left > _SOON:
            continue
        is_over = left <= 0
        when = "has expired" if is_over else f"expires in {left / 3600:.0f} hours"
        symptoms.append(
            Symptom(
                "error" if is_over else "warning",
                "expiring-token",
                f"{field.name} is a token that {when}",
                _place(field, patient),
                "get a new one, and rotate",
            )
        )
    return symptoms


def _told(patient: Patient) -> Iterator[tuple[Field, Value]]:
    """Give the values that somebody provided: what the declaration says is no secret."""
    findings = patient.findings
    for field in findings.inventory.every:
        value = findings.values.get(field.attribute)
        if value is not None and findings.origin(field.attribute)[0] != "dev_default":
            yield field, value


def _place(field: Field, patient: Patient) -> str:
    source, place = patient.findings.origin(field.attribute)
    return f"the variable {place}" if source == "environment" else place


def _slips(value: Secret) -> Iterator[tuple[Severity, str, str, str]]:
    for is_so, severity, kind, what, mend in _SLIPS:
        if is_so(value.reveal()):
            yield severity, kind, what, mend


def _has_space_around(plain: str) -> bool:
    bare = plain.strip()
    # Who reads a PEM block or JSON passes over what is around it.
    return plain != bare and not (_is_pem(bare) or bare[:1] + bare[-1:] in {"{}", "[]"})


def _is_quoted(plain: str) -> bool:
    bare = plain.strip()
    return len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'`"


def _is_reference(plain: str) -> bool:
    return _REFERENCE.fullmatch(plain.strip()) is not None


def _is_placeholder(plain: str) -> bool:
    return _PLACEHOLDER.fullmatch(plain.strip()) is not None


def _is_path(plain: str) -> bool:
    bare = plain.strip()
    if bare.startswith("/run/secrets/"):
        return True
    return bare.startswith(("/", "./", "../")) and status_of(Path(bare)) is not None


def _is_invisible(plain: str) -> bool:
    return _INVISIBLE.search(plain) is not None


def _is_curly(plain: str) -> bool:
    return _CURLY.search(plain) is not None


def _has_carriage_return(plain: str) -> bool:
    return "\r" in plain.strip() and "-----BEGIN " not in plain


def _has_lines(plain: str) -> bool:
    bare = plain.strip().replace("\r", "")
    return "\n" in bare and bare[:1] not in "-{[" and "-----BEGIN " not in bare


def _is_pem(bare: str) -> bool:
    return bare.startswith("-----BEGIN ")


def _has_lost_lines(plain: str) -> bool:
    bare = plain.strip()
    return _is_pem(bare) and "\n" not in bare and "\r" not in bare


def _is_encoded_twice(plain: str) -> bool:
    if not _BASE64.fullmatch(plain):
        return False
    decoded = base64.b64decode(plain)
    return decoded.endswith(b"\n") and decoded[:-1].isascii() and _is_text(decoded[:-1].decode())


def _is_text(plain: str) -> bool:
    return plain.replace("\n", "").replace("\r", "").replace("\t", "").isprintable()


_SLIPS: tuple[tuple[Callable[[str], bool], Severity, str, str, str], ...] = (
    (
        _has_space_around,
        "warning",
        "space-around",
        "begins or ends with white space; only one final line end is taken away",
        "write it again without (printf '%s', not echo; one newline at the end is harmless)",
    ),
    (
        _is_quoted,
        "warning",
        "quoted",
        "has quotes around it, which count: only a shell or a .env file takes them away",
        "write it again without",
    ),
    (
        _is_reference,
        "warning",
        "reference",
        "is the text of a reference that nobody has put a value in for",
        "write the value itself; nothing is expanded in it",
    ),
    (
        _is_placeholder,
        "warning",
        "placeholder",
        "reads like a placeholder",
        "write the value itself",
    ),
    (
        _is_path,
        "warning",
        "path",
        "is the text of a path, not what the file there holds",
        "set the variable with _FILE at its end to the path, or write the value itself",
    ),
    (
        _is_invisible,
        "warning",
        "invisible",
        "holds a character that nobody sees (a zero-width or a no-break space)",
        "copy it again from where it was issued, not from a chat or a document",
    ),
    (
        _is_curly,
        "warning",
        "typographic",
        "holds a typographic quote or dash, which a document puts in by itself",
        "copy it again from where it was issued, not from a chat or a document",
    ),
    (
        _has_carriage_return,
        "warning",
        "carriage-return",
        "holds a carriage return: it was written with the line ends of Windows",
        "write it again without (tr -d '\\r')",
    ),
    (
        _has_lost_lines,
        "warning",
        "lost-lines",
        r"is a PEM block without line ends, or with \n in their place, which stays as it is",
        "write it with real line ends; in a .env file, double quotes do that",
    ),
    (
        _has_lines,
        "remark",
        "several-lines",
        "has several lines, and is neither a PEM block nor JSON: no header takes it",
        "nothing, if it is meant so",
    ),
    (
        _is_encoded_twice,
        "remark",
        "encoded-twice",
        "is base64 of a text with a line end, as if it had been encoded twice for a Secret",
        "use stringData:, or kubectl create secret --from-file, which encode it once",
    ),
)


def _seconds_left(value: Value, now: float) -> float | None:
    """Give how long a token is good for; None when it is none, or does not say."""
    if not isinstance(value, Secret) or not (match := _TOKEN.fullmatch(value.reveal())):
        return None
    payload = match["payload"]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return None
    end = claims.get("exp") if isinstance(claims, dict) else None
    return end - now if isinstance(end, int | float) else None
