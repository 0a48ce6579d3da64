"""Placeholders: texts that a real value has to replace, and unresolved references."""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from hive_boot.redaction import conceal
from hive_boot.secrets.fields import ValueProblem
from hive_boot.secrets.value import Secret, SecretBytes

if TYPE_CHECKING:
    from collections.abc import Callable

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
_IS_PLACEHOLDER = ValueProblem("placeholder", f"is a placeholder{_MEANT}")
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
_HEADS = frozenset(
    (word + end)[:4]
    for word in _WORDS.union(_OTHER_HEADS.split(), _REPEATED)
    for end in ("-", "_", "")
)
"""The first four characters of the usual placeholders and references, in lower case.

A shorter word is also listed with its separator.
"""


_FIRST = frozenset("$<[{(%@#!`_'\"*?")
"""The other characters with which a placeholder or a reference begins, apart from white space."""


_SEPARATORS = frozenset("-_. ")
"""The characters after a first word of one or two letters, which any other word may follow."""


_TAILS = ("...", "…", "***", "xxxx", "_xxx", "\n")
"""The ends of placeholders that begin in any way, in lower case, and of values with a newline."""


_LONGEST = 300
"""The maximum length of a placeholder; the ciphertext of a reference may be longer."""


def are_unsuspicious(texts: Callable[[], list[Any]]) -> bool:
    """Return whether no text can be blank, a placeholder or a reference; False if in doubt.

    Every start calls this once for all values, so it makes a few calls for all of them together.
    """
    try:
        joined = conceal("".join(texts()).lower())
    except TypeError:
        return False  # some values are bytes
    return (
        not any(part in joined() for part in ("://", *_TAILS))
        and _FIRST.isdisjoint(map(itemgetter(0), filter(None, texts())))
        and not any(map(str.isspace, map(itemgetter(slice(1)), texts())))
        and _SEPARATORS.isdisjoint("".join(map(itemgetter(slice(1, 3)), texts())))
        and _HEADS.isdisjoint(map(str.lower, map(itemgetter(slice(4)), texts())))
    )


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
    if "://" in read():
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
