"""Embedded secrets: the parts of a value that are secrets by themselves.

Examples are the password in a URL, the members of a JSON document and the lines of a PEM block.
Every pattern takes linear time: a quantifier is possessive or has a maximum where a search could
repeat it from each character.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hive_boot.redaction import MIN_LENGTH, MIN_LINE
from hive_boot.redaction.decoding import base64_decoded

if TYPE_CHECKING:
    from collections.abc import Iterator

_PEM_BOUNDARY = r"-{4,5} ?(BEGIN|END) [^-]*-{4,5}"
"""First or last line of a PEM or SSH2 key, the same for every key (RFC 7468, RFC 4716)."""

_SENSITIVE = (
    r"(?i)pass|pwd|secret|token|cred|bearer|signature|phrase|mnemonic|cookie|authorization"
    r"|(?:key|auth|sig|pin|otp|salt|-team)s?(?:-data)?$"
)
"""Pattern in the name of a member, a setting or a parameter whose value is a secret."""

_PLAINLY_SENSITIVE = r"(?i)(?:password|passwd|passphrase|pwd|secret|token)$"
"""End of the names whose value is always a secret, and not a number or a switch."""

_PUBLIC = (
    r"(?i)(?:type|ur[il]|host|hostname|server|domain|region|engine|database|dbname|namespace"
    r"|identifier|project_?id|client_?id|user|username|email|issuer|scopes?|kid|date|version"
    r"|path|file|name|environment|env|service|app|application|mode|profile|schema|catalog|stage"
    r"|driver|dialect|charset|encoding|zone|locale|protocol|algorithm|alg|level|format|provider"
    r"|account|role|arn|bucket|topic|queue|vhost|cluster|location|endpoint|address|port|source"
    r"|label|title|description|comment|class|kind|model|dataset|tenant|suffix|login|uid|machine"
    r"|image|options?|registry|policy|method|mechanism|plugin|(?:tenant|subscription)_?id)$"
)
"""End of the names of members and settings that are not secret: addresses, names, types.

The names come from Google's credentials (https://google.aip.dev/auth/4112), from the database
secrets of AWS Secrets Manager, from JSON Web Keys (RFC 7517), and from connection strings.
"""

_MIN_GENERATED = 20
"""Minimum length of a word of letters and digits that is a secret even in a public member."""

_MAX_IDENTIFIER = 128
"""Maximum length of a text that may be an identifier."""

_WORD = r"(?:[A-Z]?[a-z]{1,15}|[A-Z]{1,15})?\d{0,3}"
_LABEL = rf"{_WORD}(?:[-_]{_WORD}){{0,2}}"
_TIME = r"\d{4}-\d\d-\d\d(?:[T ][\d:.]{5,15}(?:Z|[+-][\d:]{4,6})?)?"
_IDENTIFIER = (
    rf"(?:[a-z]{{2,12}}://)?/?(?:{_LABEL}@)?{_LABEL}(?:[./]{_LABEL})*/?(?::\d{{1,5}})?|{_TIME}"
)
"""Ordinary words, a host, a path, an address, a time; a passphrase has more words."""

_AUTHORITY = r"(?:[\w+.-]{1,40}:)?//[^/?#]*+|(?:[\w-]++\.)++[a-z]{2,}(?::\d+)?$"
"""Scheme and host of a URL, or a host alone: host names of cloud databases look generated."""

_WEB_ADDRESS = r"(?:http|ws)s?://[^\s/?#@]*+[/?#]\S*+"
"""URL without a user: its path or its query may contain a token, such as that of a webhook."""

_ASCII = "A-Za-z0-9_"
_PLAIN_URL = (
    rf"(?!http)[a-z][a-z0-9+.-]{{1,20}}+://[{_ASCII}.-]{{0,64}}+:([{_ASCII}.~-]{{8,}})@[{_ASCII}.:-]++"
    rf"(?:/[{_ASCII}./-]*+)?(?:\?([{_ASCII}.=&-]*+))?"
)
"""URL with a password, and with no character that could be escaped or end the password.

A class that also has the letters of other scripts would take three times as long.
"""

_PORT = r"\d{1,5}(?:[/?#]|$)"
"""Port after the host of a URL, which is not a password."""

_QUOTED = r""""((?:[^"\\]|\\.|"")*+)"|'((?:[^'\\]|\\.|'')*+)'|\{((?:[^}]|\}\}){0,256}+)\}"""
_DOUBLED = r""""((?:[^"]|"")*+)"|'((?:[^']|'')*+)'"""
"""Text in quotes, where a backslash is an ordinary character."""

_UNQUOTED_GROUP = 5
_QUOTES = {2: '"', 3: "'", 4: "}", _UNQUOTED_GROUP: ""}
"""Closing quote by group of ``_PAIR``; two of them in a value mean one that is part of it."""

_PLAIN = r"[^\s;,&)<]|,(?!\s*+[\w.-]++\s*+=)|\)(?!\){0,8}\()|<(?![/\w])"
"""Character of a value without quotes, but no comma, parenthesis or tag before another name."""

_PAIR = (
    r"""(?s)(?<![\w.-])([\w.-]{1,80}+)(?:["']?[ \t]*+=>?|["'][ \t]*+:|::?(?=\s)|>)[ \t]*+"""
    rf"(?:{_QUOTED}|(?!\(+[\w.-]++=)((?:{_PLAIN})*+))"
)
"""Name and value in a connection string, in the query of a URL, or in a line of settings."""

_NAME = (
    r"""(?<![\w.-])([\w.-]{1,80}+)(?:["']?\s*+,\s*+b?(?=["'])|:(?=[^\s/:])"""
    r"""|(?:\s+[\w:]{1,40}="[^"<>]{0,80}")+>\s*+"""
    r"""|["']?(?:</\w{1,20}>)?[\s,<-]*+["']?(?:value|string)["']?\s*+[=:>]\s*+)"""
)
_VALUE = rf"()(?:{_QUOTED}|((?:{_PLAIN})*+))"
"""Name and value in a tuple, as ``name:value``, or as two members (the second: ``value``)."""

_ENDS_SENSITIVE = r"(?i)(?:pass|password|passwd|passphrase|pwd|secret|token|key|salt|cookie)$"
"""End of the names whose value is a secret even if another separator follows (``_NAME``)."""

_REST_OF_PAIRS = r"(?:[A-Z][a-z]+ )?[\s;,&{}]*"
"""Rest of a connection string, or of an HTTP header, without its pairs."""

_SEPARATOR = r"""[=>]|["']\s*+:|:(?:\s|$)"""
"""Separator in a pair and in a line; most texts of a document have none."""

_LINE = r"""(?:(?:-|export)\s++)*+["']?([\w./@-]{1,80}+)["']?\s*+(?:=>?|:(?=\s|$))\s*+(.*)"""
"""Name and value in a line of a YAML, TOML, ini or ``.env`` file."""

_AUTHORIZATION = (
    r"(?i)\b(?:bearer|basic|token|apikey|negotiate|splunk|ssws|geniekey)(?:\s|%20)+"
    r"""["']?([\w+/=.~%:-]{8,})"""
)
"""Scheme and credentials of an HTTP header (RFC 9110)."""

_ARGUMENT = (
    r"(?im)(?:\bpassw(?:or)?d|\bidentified\s+by"
    r"|^[ \t]*[\w-]{0,40}(?:pass|pw|auth|secret|token)(?=[ \t]+\S+[ \t]*$)"
    r"|(?<!\S)--?(?:p|[\w-]{0,40}(?:password|pass|token|secret|key))"
    r"|(?<!\S)(?:-u|--user)\s+[\w.@-]{1,64}+:)"
    r"""(?:\s++|(?<=:))(?:"((?:[^"\\]|\\.)*+)"|'((?:[^']|'')*+)'(?!\w)|(\S++))"""
)
"""A password after a blank: ``.netrc``, SQL, a command line."""

_FIELD = r"(?:[^:\\]|\\.)*+:"
_PGPASS = rf"{_FIELD}(?:\d+|\*):{_FIELD}{_FIELD}(.+)"
"""Line of ``.pgpass``: host, port, database, user, password."""

_USERINFO = r"[\w.@+-]{1,64}+:(\S+)"
"""User and password, as in HTTP Basic and ``.htpasswd``."""

_USERLIST = r'"(?:[^"]|"")++"\s++"((?:[^"]|"")++)".*'
"""Line of the list of users of PgBouncer."""

_ORACLE = r"""(?:\S*:)?[\w$#]+/(?:"([^"]+)"|([^\s@/"]+))@(?!sha256:)\S*"""
"""User and password of an Oracle connection: ``scott/tiger@//host/service``."""

_KEY = rf"(?=\D*\d)[\w.~+/!@#$%^&*-]{{{MIN_LENGTH},}}+=*"
"""One of several keys in a value, which are separated by blanks or commas."""

_KEY_LINE = r"[A-Za-z0-9+/=_-]+"
"""Line of a key between the first and the last one."""

_OPENSSH = "b3BlbnNzaC1rZXktdjEAAAAA"
"""Beginning of every OpenSSH private key, in base64."""

_STRING = r'"((?:[^"\\]|\\.)*+)(?:"|$)'

_MAX_URL_LINE = 4096
"""Maximum length of a line that may be one URL with blanks in its password."""

_MAX_UNQUOTED = 256
"""Maximum length of a value with blanks that is not in quotes."""

_MAX_DEPTH = 3
"""Maximum depth of settings inside the value of a setting."""


class _Number(str):
    """A number of a JSON document, as it is written there."""

    __slots__ = ()


class _Object(list[tuple[str, Any]]):
    """The members of a JSON object, including members with the same name."""

    __slots__ = ()


def embedded_secrets(text: str) -> Iterator[str]:
    """Return the secrets inside a value, as they are written and as a server decodes them."""
    for part in dict.fromkeys(_parts(text)):
        # A program may strip the white space at the ends of a password.
        stripped = part.strip()
        if len(stripped) >= MIN_LENGTH:
            yield part
            if stripped != part:
                yield stripped


def _parts(text: str) -> Iterator[str]:
    """Return the secrets of any length inside a value."""
    leaves, names, of_urls = _document_leaves(text)
    inside = [list(passwords(leaf)) for _, leaf in leaves]
    beside_secret = any(inside) or bool(of_urls) or any(map(_is_sensitive, names))
    yield from of_urls
    # The name of a member can be a secret, such as a token in an object of tokens.
    yield from (
        name
        for name in names
        if len(name) >= MIN_LINE
        and re.search(r"\d", name)
        and not is_identifier(name)
        and not re.search(_PUBLIC, name)
        and not (re.match(_AUTHORITY, name) and not _generated_words(name))
    )
    for (name, leaf), found in zip(leaves, inside, strict=True):
        for password in found:
            yield from _decoded(password)
            yield from _base64_secrets(password)
        if leaf is text:
            yield from _line_passwords(text)
            yield from _generated_words(text) if re.fullmatch(_WEB_ADDRESS, text) else ()
            pieces = re.split(r"[,;|\s]+", text.strip())
            are_keys = (re.fullmatch(_KEY, each) and not is_identifier(each) for each in pieces)
            yield from pieces if len(pieces) > 1 and all(are_keys) else ()
            continue
        yield from distinctive_lines(leaf)
        if not _is_public(name, leaf, beside_secret=beside_secret):
            yield leaf
            yield from _generated_words(leaf) if re.search(_PUBLIC, name) else ()
            if re.search(_SENSITIVE, name) or not is_identifier(base64_decoded(leaf)):
                yield from _base64_secrets(leaf)


def _decoded(password: str) -> Iterator[str]:
    """Return a password as it is written, and as parsers of URLs and of XML decode it."""
    yield from _unescaped_xml(password)
    if re.search("[/?#%+]", password):
        from urllib.parse import unquote_plus  # few values hold a password

        # A URL parser ends the password at a delimiter that should have been escaped.
        for piece in (password, re.split("[/?#]", password, maxsplit=1)[0]):
            yield from (piece, unquote_plus(piece), unquote_plus(piece.replace("+", "%2B")))


def _unescaped_xml(text: str) -> set[str]:
    """Return a text as it is, and as parsers of XML decode it."""
    if "&" not in text:
        return {text}
    from html import unescape  # few values hold XML

    return {text, unescape(text)}


def _base64_secrets(text: str) -> Iterator[str]:
    """Return the decoded text of a base64 text, and the secrets in it; nothing for other text."""
    if decoded := base64_decoded(text):
        yield decoded
        yield decoded.partition(":")[2]
        yield from embedded_secrets(decoded)


def _line_passwords(text: str) -> Iterator[str]:
    """Return the passwords of ``user:password`` lines and of ``.pgpass``."""
    if ":" not in text and '"' not in text:
        return  # most values: the patterns need not be compiled
    for line in map(str.strip, text.splitlines()):
        if match := re.fullmatch(_PGPASS, line):
            yield from _unescaped(match[1])
        elif match := re.fullmatch(_USERLIST, line):
            yield match[1].replace('""', '"')
        else:
            # The line may be a list of users.
            matches = [re.fullmatch(_USERINFO, each) for each in {line, *line.split(",")}]
            for match in filter(None, matches) if re.match(_USERINFO, line) else ():
                if not re.match(rf"//|{_PORT}", match[1]):
                    yield match[1]


def passwords(text: str) -> Iterator[str]:
    """Return the passwords in URLs, connection strings and headers, as they are written."""
    yield from _named_passwords(text)
    if "@" in text:
        # A password may contain blanks that were not escaped.
        whole = {text.strip()} if len(text) <= _MAX_URL_LINE and "\n" not in text.strip() else set()
        for piece in whole.union(re.split(r"[\s,]+", text)):
            if "@" in piece:
                yield from _address_passwords(piece)
    if re.search(r"\s|%20", text):
        yield from _credentials(text)


def _named_passwords(text: str) -> Iterator[str]:
    """Return the values of the settings and members in a text that have the name of a secret."""
    for match in re.finditer(_NAME, text) if re.search("[:,<]|value", text) else ():
        # After a colon or a slash, ``name:value`` is a part of an ARN or a URL.
        before = text[match.start() - 1 : match.start()]
        is_pair = not match[0].endswith(":") or before not in {":", "/"}
        if is_pair and re.search(_ENDS_SENSITIVE, match[1]):
            found = re.compile(_VALUE, re.DOTALL).match(text, match.end())
            yield from filter(None, _values(found) if found else ())
    for match in re.finditer(_PAIR, text) if re.search(_SEPARATOR, text) else ():
        if re.search(_SENSITIVE, match[1]):
            for value in filter(None, _values(match, has_delimiters=True)):
                if not _is_public(match[1], value, beside_secret=True):
                    yield value
        elif (match.lastindex or _UNQUOTED_GROUP) < _UNQUOTED_GROUP:
            for value in _unescaped_xml(match[match.lastindex or 0]):
                yield from passwords(value)


def has_short_password(text: str) -> bool:
    """Return whether a password in a value is too short to be searched for by itself."""
    pairs = re.finditer(_PAIR, text) if re.search(_SEPARATOR, text) else ()
    named = [_values(match) for match in pairs if re.search(_PLAINLY_SENSITIVE, match[1])]
    urls = (piece for piece in re.split(r"[\s,]+", text) if re.search(r"\w://", piece))
    in_urls = [{password} for url in urls for password in _address_passwords(url)]
    # The longest candidate for the value of a pair contains the whole value.
    return any(0 < max(map(len, each)) < MIN_LENGTH for each in [*named, *in_urls])


def _credentials(text: str) -> Iterator[str]:
    """Return the credentials of HTTP headers, and the passwords that follow a blank."""
    scheme, _, token = text.strip().partition(" ")
    if scheme.isalpha() and not re.search(r"\s", token) and not is_identifier(token):
        yield token
    for match in re.finditer(_AUTHORIZATION, text):
        if match[0] == text.strip() or not is_identifier(match[1]):
            yield match[1]
            yield from _base64_secrets(match[1])
    is_account = re.search(r"(?i)\b(?:login|user|role|machine)\b", text)
    for match in re.finditer(_ARGUMENT, text):
        word = match[match.lastindex or 0]
        if is_account or not is_identifier(word):
            yield from {*_unescaped(word, "'"), word.strip("\"';")}


def _values(match: re.Match[str], *, has_delimiters: bool = False) -> set[str]:
    """Return the candidates for the value of a pair: in quotes, or up to each usual delimiter.

    Args:
        match: the match of a pair.
        has_delimiters: whether a value without quotes may have delimiters in it. Default False.
    """
    group = match.lastindex or _UNQUOTED_GROUP
    is_quoted = bool(_QUOTES[group])
    line = match.string[match.start(group) - is_quoted : match.end() + _MAX_UNQUOTED]
    line = re.split("[\r\n]", line, maxsplit=1)[0]
    rest, *_ = re.split(r"[\s,;&](?=\s*[\w.-]+\s*=)", line, maxsplit=1)
    before_comma, *others = re.split(r",(?=[\w.-]+=)", line, maxsplit=1)
    found = {match[group], rest, rest.split(";")[0], rest.split("&")[0]}
    found |= {before_comma} if others else set()
    # A value in YAML may have a tag or an anchor, or be a list.
    found.add(re.sub(r"^(?:[!&][^\s,]*+\s++)+", "", rest).strip("\"' "))
    # The value of an element in XML ends at a tag.
    if "</" in line:
        found.add(line.partition("</")[0].removeprefix("<![CDATA[").removesuffix("]]>"))
    if line.startswith("["):
        found |= {each.strip("\"' ") for each in line[1:].partition("]")[0].split(",")}
    # A delimiter directly behind the separator, or in a list of YAML, ends an empty value.
    has_blank = match.string[match.end(1) : match.start(group)] not in {"=", "=>", ">"}
    if has_delimiters and not is_quoted and (match[group] or has_blank) and line[:2] != ", ":
        found |= {line, line.partition(" ")[0], line.split(", ")[0]}
    found |= {each.partition("</")[0].rstrip(")]}>,;\"' \t") for each in found}
    found |= {each.lstrip("\"'") for each in found} | _unescaped(rest)
    found |= _unescaped(match[group], _QUOTES[group])
    if doubled := re.match(_DOUBLED, line):
        found |= _unescaped(doubled[doubled.lastindex or 0], line[0])
    return found.union(_members(f'"{match[group]}"') if is_quoted else [])


def _unescaped(text: str, quote: str = "") -> set[str]:
    """Return a text as it is, and without backslashes, without doubled quotes, or both."""
    variants = {text, re.sub(r"\\(.)", r"\1", text)}
    return variants | {each.replace(2 * quote, quote) for each in variants if quote}


def _address_passwords(address: str) -> Iterator[str]:
    """Return the passwords in the address of a server, with or without a scheme."""
    scheme, has_scheme, rest = address.partition("://")
    if not has_scheme:
        if not re.match(r"[^\s:]*+:?+(?!\s)", address):
            return
        rest = re.sub("^(?:acct|mailto|sips?|urn|xmpp):", "", address)
        if match := re.fullmatch(_ORACLE, address):
            yield match[1] or match[2]
    if nested := re.match(r"(?s).*[=?&](\w[\w+.-]*+://.*)", rest):
        yield from _address_passwords(nested[1])
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    # A password that was not escaped may contain a delimiter: use the last `@` too.
    for userinfo in {authority.rpartition("@")[0], rest.rpartition("@")[0]}:
        name, _, password = userinfo.partition(":")
        if "/" in name:
            continue
        if password and not (has_scheme and re.match(_PORT, password)):
            yield password
        # A token can be the user name, as in https://TOKEN@host.
        may_be_token = not password or scheme.startswith("http")
        if has_scheme and may_be_token and len(name) >= MIN_LINE and _is_generated(name):
            yield name


def _is_generated(name: str) -> bool:
    """Return whether a user name is a token, and not the name of a person or a service."""
    is_mixed = re.search(r"\d|[a-z][A-Z]", name) and not re.search("@|%40", name)
    return bool(is_mixed) and not is_identifier(name)


def _generated_words(text: str) -> list[str]:
    """Return the long words that look generated, such as the token in a webhook's address."""
    # A UUID is an identifier.
    if re.fullmatch(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", text):
        return []
    words = re.findall(rf"[\w-]{{{_MIN_GENERATED},}}", re.sub(f"^(?:{_AUTHORITY})", "", text))
    return [each for each in words if re.search(r"\d[A-Za-z]|[A-Za-z]\d{4}", each)]


def is_identifier(text: str) -> bool:
    """Return whether a text is an ordinary word, two or three of them, a host or a path."""
    return len(text) <= _MAX_IDENTIFIER and bool(re.fullmatch(_IDENTIFIER, text))


def _is_public(name: str, leaf: str, *, beside_secret: bool) -> bool:
    """Check whether a text in a document is not a secret.

    Args:
        name: the name of its member or setting.
        leaf: the text.
        beside_secret: whether the document has a member whose name is that of a secret, or a
            password in a URL. An identifier in another member is then public.
    """
    if re.search(_PUBLIC, name):
        return not _generated_words(leaf)
    if re.search(_SENSITIVE, name):
        # A path is not a secret, as in sslkey=/etc/ssl/client.key.
        return leaf.startswith("/") and "@" not in leaf and is_identifier(leaf)
    return beside_secret and is_identifier(leaf)


@lru_cache(maxsize=256)
def _is_sensitive(name: str) -> bool:
    return bool(re.search(_SENSITIVE, name))


def _document_leaves(text: str) -> tuple[list[tuple[str, str]], set[str], list[str]]:
    """Return the long texts in a document with their names, and the names of all its members.

    A value that is not a document is returned as the only text, without a name. A URL with a
    password is not among the texts: the third result has its password, and the rest is not secret.
    """
    leaves: list[tuple[str, str]] = []
    names: set[str] = set()
    of_urls: list[str] = []
    plain_url = re.compile(_PLAIN_URL).fullmatch
    todo: list[tuple[str, Any, int]] = [("", text, 0)]
    while todo:
        name, member, depth = todo.pop()
        names.add(name)
        if isinstance(member, _Object):
            # {"name": "TOKEN", "value": "..."} has the same meaning as {"TOKEN": "..."}.
            label = next((each for key, each in member if key.lower() in {"name", "key"}), "value")
            named = {"value": label if isinstance(label, str) else "value"}
            todo += [(named.get(key.lower(), key), each, depth) for key, each in member]
        elif isinstance(member, list):
            todo += [(name, each, depth) for each in member]
        elif not isinstance(member, str) or len(member) < MIN_LENGTH:
            continue
        elif member is not text and (match := plain_url(member)) and not _has_secret(match[2]):
            of_urls.append(match[1])
        elif isinstance(member, _Number):
            if _is_sensitive(name):
                leaves.append((name, str(member)))
        else:
            members = _members(member)
            todo += [(name, each, depth) for each in members]
            if not members and depth < _MAX_DEPTH and re.search(_SEPARATOR, member):
                todo += [(*pair, depth + 1) for pair in _settings(member)]
            if depth or name or not members:
                leaves.append((name, member))
    return leaves, names, of_urls


def _has_secret(query: str | None) -> bool:
    """Return whether the query of a URL has the name of a secret."""
    return any(_is_sensitive(pair.partition("=")[0]) for pair in (query or "").split("&"))


def _members(text: str) -> list[Any]:
    """Return the parsed JSON document, or one for each line; nothing if the text is not JSON."""
    text = text.lstrip("\ufeff \t\r\n")
    if text[:1] not in {"{", "[", '"'}:
        return []
    from json import JSONDecoder  # many values are not JSON

    # strict=False accepts a document whose escaped line ends were unescaped.
    decode = JSONDecoder(
        object_pairs_hook=_Object, parse_int=_Number, parse_float=_Number, strict=False
    ).decode
    try:
        return [decode(text)]
    except ValueError:
        pass
    except RecursionError:
        # The nesting exceeds the recursion limit; only the strings are needed.
        return [string.replace("\\", "") for string in re.findall(_STRING, text)]
    try:
        return [decode(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return []


def _settings(text: str) -> list[tuple[str, str]]:
    """Return the names and values in a YAML, TOML, ini or ``.env`` file, or a connection string.

    A line without a name belongs to the name before it. Other text has no settings.
    """
    found: list[tuple[str, str]] = []
    name, in_pem_block = "", False
    for line in map(str.strip, text.splitlines()):
        boundary = re.fullmatch(_PEM_BOUNDARY, line)
        if boundary or in_pem_block:
            in_pem_block = boundary[1] == "BEGIN" if boundary else in_pem_block
        elif line and not line.startswith(("#", ";", "[", "!", "//", "---")):
            pairs = list(re.finditer(_PAIR, line))
            match = re.fullmatch(_LINE, line)
            # A member of a document may look like a pair.
            has_members = match and match[2].startswith(("{", "[")) and _members(match[2])
            only_pairs = len(pairs) > 1 and re.fullmatch(_REST_OF_PAIRS, re.sub(_PAIR, "", line))
            if only_pairs and not has_members:
                found += [(pair[1], pair[pair.lastindex or 1]) for pair in pairs]
            elif match:
                name = match[1]
                found.append((name, _unquoted(match[2])))
            elif name:
                found.append((name, _unquoted(line.removeprefix("- "))))
            else:
                return []
    return found


def _unquoted(value: str) -> str:
    """Return the value of a setting without quotes and without a comment after it."""
    if value.startswith("{") and _members(value):
        return value
    if match := re.match(_QUOTED, value):
        return match[match.lastindex or 0]
    return value.partition(" #")[0].strip()


def distinctive_lines(text: str) -> Iterator[str]:
    """Return the lines that are hidden by themselves; none of a JSON document or a single line."""
    lines = text.splitlines()
    if len(lines) <= 1 or _members(text):
        return
    lines = [line.strip() for line in lines]
    is_key = any(re.fullmatch(_PEM_BOUNDARY, line) for line in lines)
    settings = [re.fullmatch(_LINE, line) for line in lines]
    beside_secret = any(match and re.search(_SENSITIVE, match[1]) for match in settings)
    for line, match in zip(lines, settings, strict=True):
        is_public = (
            match
            and is_identifier(match[1])
            and match[2]
            and _is_public(match[1], _unquoted(match[2]), beside_secret=beside_secret)
        )
        if len(line) >= MIN_LINE and not is_public and not (is_key and _is_common(line)):
            yield line


def _is_common(line: str) -> bool:
    """Check whether a line of a key is not secret: a boundary, a header, OpenSSH's first line."""
    return not re.fullmatch(_KEY_LINE, line) or line.startswith(_OPENSSH)
