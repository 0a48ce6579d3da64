"""Placeholders: texts that stand where a value has to be put, and unresolved references."""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from hive_boot.redaction.opaque import conceal
from hive_boot.secrets.fields import ValueProblem
from hive_boot.secrets.value import Secret, SecretBytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MARK = "<hive-boot placeholder"
"""Prefix of every placeholder. YAML, JSON and quotes of a shell leave it unchanged."""


def placeholder(name: str) -> str:
    """Return the placeholder of a secret, which every start rejects as a value.

    Args:
        name: the name of the secret.
    """
    return f"{MARK}: put the value of {name} here>"


def is_placeholder(value: Secret | SecretBytes) -> bool:
    """Return whether a value begins with the prefix of a placeholder."""
    return _text(value)().startswith(MARK)


def _text(value: Secret | SecretBytes) -> Callable[[], str]:
    """Return a function that returns the value as text: of bytes, each is a character."""
    if isinstance(value, Secret):
        return value._open  # noqa: SLF001  (reveal() calls it)
    return conceal(value.reveal().decode("latin-1"))


PLACEHOLDER = ValueProblem("placeholder", "is the placeholder of a rendered manifest, not a value")


BLANK = ValueProblem("empty", "contains only white space")


_MEANT = "; if it is the real value, declare secret(allow_placeholder=True)"
_STAND_IN = ValueProblem("placeholder", f"is a placeholder{_MEANT}")
_UNRESOLVED = ValueProblem("reference", f"is an unresolved reference{_MEANT}")
STAND_INS = {_STAND_IN, _UNRESOLVED}
"""The problems that ``allow_placeholder=True`` permits."""


_REFERENCE = r"""
    (?:op|sm|ref\+[\w+-]+|doppler|vault|(?:aws|gcp)?-?s?sm|gsm|akv|bws|infisical|berglas|pass|keeper
        |azurekeyvault|gcpsecretmanager
        |(?:aws-)?secrets?(?:manager)?)://\S+ | (?:ssm|secretsmanager):\S+
    | env:(?://)?[A-Z_]+ | (?:secret|keyvault)ref:\S+
    | @Microsoft\.\w+\(.+\) | (?:vault|bao):(?!v\d+:)[^\s#]+\#\S+
    | arn:aws[\w-]*:(?:secretsmanager|ssm):\S+ | encrypted:\S+ | ENC\[.+\] | ENC\(.+\)
    | \{cipher\}.+ | \$ANSIBLE_VAULT;[\s\S]+
    | projects/[^/\s]+/secrets/[^/\s]+(?:/versions/[^/\s]+)? | \(\([\w./:-]+\)\) | <%=.+%>
    | \$?\{\{.+\}\} | \$\{[A-Za-z_]\w*(?:[:./?-][^{}]*)?\} | \#\{[A-Za-z_][\w.]*\}\#?
    | \$\([A-Za-z][\w./-]*(?:\ .*)?\) | \$(?:[A-Z]{2,}(?:_[A-Z]+\d*)+(?:_\d+)?)
    | \$(?:PASSWORD|SECRET|TOKEN)
    | %[A-Z]{2,}(?:_[A-Z]+)+% | __[A-Z]+(?:_[A-Z]+)*__ | @@[A-Z_]+@@ | %\{[A-Z_]+\} | \{\$[A-Z_]+\}
    | %env\(\w+\)% | \$env:\w+ | process\.env\.\w+
    | !(?:secret|vault|env|ENV|Ref|Sub|GetAtt)\b.* | `[a-z]+\ .+`
    | (?i:none|null|nil|undefined|nan|n/a|<no\ value>|<nil>|\(null\)|\[object\ \w+\])
"""
"""Pattern of the values that a tool, a template or a shell should have replaced."""


_PLACEHOLDER = r"""
    <+(?:[A-Z]?[a-z]+|[A-Z]+)(?:[-_\ ]+(?:[A-Z]?[a-z]+|[A-Z]+|\d+))*\ *>+
    | (?:[A-Za-z]{1,10}[-_.])*(?:[xX]{4,}|\.{3,}|…|\*{3,})(?:[-_.](?:[xX]+|\*+))*
    | [A-Za-z]{0,12}[xX]{6,} | [A-Za-z0-9]{0,16}(?:\.{3,}|…) | Secret[A-Za-z]*\(.*\*{3,}'\)
    | (.)\1{2,}(?:[-_.\ ]\1+)* | django-insecure-.+
"""
"""Pattern of the placeholders that are not words."""


_PHRASE = r"[<\[{(]?[A-Za-z0-9][-A-Za-z0-9_. ]*[!.?]*[>\]})]?"
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


def _heads(words: Iterable[str]) -> frozenset[str]:
    """Return the first four characters of each word, and of its separator after a shorter one."""
    return frozenset({(word + end)[:4] for word in words for end in ("-", "_", "")})


_SHORT = frozenset({word for word in _WORDS if len(word) == 2})  # noqa: PLR2004  (two letters)
"""The words of two letters, of which any other word of a placeholder may follow."""


_OTHER_HEADS = (
    "none null nil nan n/a undefined op:/ sm:/ ref+ doppler vault gcp gsm: akv: bws: bao: env: "
    "awss keyv infisical berglas keeper process encrypted enc[ enc( arn: projects ssm: 0000 1111 "
    "aaaa ---- my-s my_s my-p my_p my-a my_a my-j my_j my-k my_k a-se a_se a-st a_st a-ve a-lo sk-y"
)
_HEADS = _heads(_WORDS.union(_OTHER_HEADS.split()))
"""The first four characters of the usual placeholders and references, in lower case."""


_FIRST = frozenset(
    "$<[{(%@#!`_'\"*…. \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
).union(map(chr, range(0x2000, 0x200B)))
"""The other characters with which a placeholder or a reference begins."""


_SEPARATORS = frozenset("-_. ")


_TAILS = ("...", "…", "***", "xxxx", "XXXX", "\n")


_LONGEST = 300
"""The maximum length of a value that is compared with the patterns."""


def are_usual(values: Iterable[Secret | SecretBytes]) -> bool:
    """Return whether no value has to be looked at, by few calls for all; False if in doubt."""
    opened: Callable[[], list[Any]] = conceal([value._open() for value in values])  # noqa: SLF001  (fast)
    try:
        text = conceal("".join(opened()).lower())
    except TypeError:
        return False  # some values are bytes
    return (
        not any(part in text() for part in (":", ".", "\n", "…", "*", "xxxx"))
        and _FIRST.isdisjoint(map(itemgetter(0), filter(None, opened())))
        and _SEPARATORS.isdisjoint(map(itemgetter(slice(2, 3)), opened()))
        and _HEADS.isdisjoint(map(str.lower, map(itemgetter(slice(4)), opened())))
    )


def _is_unusual(read: Callable[[], str]) -> bool:
    return (
        read()[:1] in _FIRST
        or read()[:4].lower() in _HEADS
        or (read()[2:3] in _SEPARATORS and read()[:2].lower() in _SHORT)
        or read().endswith(_TAILS)
    )


def find_stand_in(read: Callable[[], str]) -> ValueProblem | None:
    """Return the problem of a placeholder or an unresolved reference; None for another value.

    The whole value counts, or the whole password in a URL: a random password may contain any part.

    Args:
        read: returns the value, which no local variable holds.
    """
    parts = [read]
    if "://" in read():
        parts.append(conceal(read().partition("://")[2].rpartition("@")[0].partition(":")[2]))
        parts.append(conceal(read().partition("password=")[2].partition("&")[0]))
    for part in filter(_is_unusual, parts):
        bare = conceal(part().strip(" \t\r\n'\""))
        if len(bare()) > _LONGEST:
            continue
        if re.compile(_REFERENCE, re.VERBOSE).fullmatch(bare()):
            return _UNRESOLVED
        if re.compile(_PHRASE).fullmatch(bare()):
            words = conceal({*map(str.lower, re.compile(_PARTS).findall(bare()))})
            if words() <= _WORDS and words() & _MARKED:
                return _STAND_IN
        if re.compile(_PLACEHOLDER, re.VERBOSE).fullmatch(bare()):
            return _STAND_IN
    return None


def content_problem(value: Secret | SecretBytes) -> ValueProblem | None:
    """Return the problem of a value that is blank, a placeholder or a reference."""
    read = _text(value)
    if not (_is_unusual(read) or "://" in read()):
        return None
    if is_placeholder(value):
        return PLACEHOLDER
    if isinstance(value, Secret) and read().isspace():
        return BLANK
    return find_stand_in(read)


def has_trailing_newline(value: Secret | SecretBytes) -> bool:
    """Return whether a text ends with a newline that does not belong to a PEM block."""
    return isinstance(value, Secret) and value.reveal().removesuffix("-----\n").endswith("\n")
