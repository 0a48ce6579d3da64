"""What gives a value away by itself, a part of it, is found: a password, a string, a line."""

import json
import re
from base64 import b64encode
from itertools import pairwise
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from hive_boot.redaction import MASK
from hive_boot.redaction.embedded import _PLAIN_URL, passwords
from tests.fixtures.cases import case
from tests.redaction.log_output import shown

# URLs

URLS: dict[str, tuple[str, str]] = {
    "a database": ("postgres://app:fake-pw-0123@db/app", "fake-pw-0123"),
    "with spaces around": (" postgres://app:fake-pw-0123@db/app\n", "fake-pw-0123"),
    "without a user": ("redis://:fake-pw-0123@cache:6379/0", "fake-pw-0123"),
    "a user of several words": ("amqp://a.b-c:fake-pw-0123@mq//", "fake-pw-0123"),
    "escaped, as it stands": ("postgres://app:fake%2Fpw%400123@db", "fake%2Fpw%400123"),
    "escaped, as it is received": ("postgres://app:fake%2Fpw%400123@db", "fake/pw@0123"),
    "escaped in lower case": ("postgres://app:fake%2fpw%400123@db", "fake/pw@0123"),
    "with a line end, stripped": ("postgres://app:fake-pw-0123%0D%0A@db", "fake-pw-0123"),
    "a colon": ("postgres://app:fake:pw:0123@db", "fake:pw:0123"),
    "an at sign": ("postgres://app:fake@pw-0123@db/app", "fake@pw-0123"),
    "a slash": ("postgres://app:fake/pw-0123@db/app", "fake/pw-0123"),
    "a question mark": ("postgres://app:fake?pw-0123@db/app", "fake?pw-0123"),
    "a hash": ("postgres://app:fake#pw-0123@db/app", "fake#pw-0123"),
    "everything": ("postgres://app:fake/pw?with#all@0123@db", "fake/pw?with#all@0123"),
    "up to the slash, as a parser tells": ("mysql://app:fake-pw-0123/more@db", "fake-pw-0123"),
    "up to the hash, as a parser tells": ("mysql://app:fake-pw-0123#more@db", "fake-pw-0123"),
    "digits": ("postgres://app:20260101123@db", "20260101123"),
    "a parameter": ("postgres://db/app?user=app&password=fake-pw-0123", "fake-pw-0123"),
    "an escaped parameter": ("https://h/?sig=fake%2Fpw%2B0123&x=1", "fake/pw+0123"),
    "a parameter with spaces": ("https://h/?password=fake+pw+0123", "fake pw 0123"),
    "a parameter that was not escaped": ("https://h/?sig=fake+pw/0123==", "fake+pw/0123=="),
    "a setting": ("Server=db;User Id=app;Password=fake-pw-0123;", "fake-pw-0123"),
    "a setting between spaces": ("host=db password=fake-pw-0123 user=app", "fake-pw-0123"),
    "a token instead of a user": ("https://fake0token0123456789@h/1", "fake0token0123456789"),
    "a parameter before a fragment": ("https://h/?api_key=fake-pw-0123#top", "fake-pw-0123"),
    "a token": ("wss://h/socket?v=4&access_token=fake-pw-0123&x=", "fake-pw-0123"),
    "both": ("https://me:other-pw-0123@h/?Secret=fake-pw-0123", "fake-pw-0123"),
    "inside a text": ("url = mysql://app:fake-pw-0123@db/app", "fake-pw-0123"),
}


def test_the_password_in_a_url_is_hidden_by_itself() -> None:
    """A server that refuses a password says so without it, and without the URL."""
    for label, (url, password) in URLS.items():
        with case(label):
            assert shown(f"refused: {password}!", url) == f"refused: {MASK}!"
            assert shown(f"refused: {b64encode(password.encode()).decode()}", url).startswith(
                f"refused: {MASK}"
            )
            assert shown(f"cannot open {url.strip()}", url) == f"cannot open {MASK}"


def test_a_url_in_a_document_is_hidden_by_its_password() -> None:
    """Many URLs in one value: of each, only the password is secret, or a short one hides it all."""
    urls = [f"postgres://app{number}:fake-pw-{number:04}@db:5432/app?ssl=on" for number in range(9)]
    others = ["mysql://app:pw@weak-db/app", "http://app:fake-pw-1111@proxy:3128", "note-of-ours"]
    value = json.dumps([*urls, *others])

    for number, url in enumerate(urls):
        assert shown(url, value) == f"postgres://app{number}:{MASK}@db:5432/app?ssl=on"
    assert [shown(each, value) for each in others] == [MASK, MASK, others[2]]
    secret_query = f"{urls[0]}&sslpassword=fake-key-pw-0"
    assert shown("it was fake-key-pw-0", json.dumps([secret_query])) == f"it was {MASK}"


@settings(deadline=None)
@given(
    st.from_regex(_PLAIN_URL, fullmatch=True)
    | st.builds(
        "{}://{}:{}@{}".format,
        st.sampled_from(["postgres", "http", "redis+tls"]),
        *[st.text("ab0.-_~@/?=&: %", max_size=12)] * 3,
    )
)
def test_the_short_way_to_a_password_leads_to_the_same_one(url: str) -> None:
    """What the pattern of a plain URL finds is all that a full examination finds."""
    match = re.fullmatch(_PLAIN_URL, url)

    if match and "=" not in url:
        assert {*passwords(url)} == {match[1]}


def test_a_url_without_a_password_has_none() -> None:
    """A port, a path or a harmless parameter is not taken for a password."""
    cases: list[str] = [
        "https://host:8443/path@x",
        "https://host:8443?next=a@b.example",
        "https://host:8443#a@b.example",
        "https://host.example.com:8443/a/long/path",
        "https://someone@host.example.com/path",
        "https://host.example.com/@someone/post",
        "https://host.example.com/?page=fake-page-0123&sort=created-at",
        "https://user:@host.example.com/",
        "postgres:///app",
        "",
    ]
    for url in cases:
        with case(url):
            assert list(passwords(url)) == []
            for piece in ("8443", "host.example.com", "fake-page-0123", "created-at"):
                assert shown(piece, url) == piece


def test_the_rest_of_a_url_stays_readable() -> None:
    """User, host and database are no secret by themselves."""
    url = "postgres://application:fake-pw-0123@database.internal:5432/application"
    text = "application cannot reach database.internal:5432"

    assert shown(text, url) == text


def test_a_short_password_in_a_url_is_left_alone() -> None:
    """A password that is a word does not make every line unreadable; the URL is hidden."""
    url = "redis://:secret@cache:6379/0"

    assert set(passwords(url)) == {"secret"}
    assert shown("a secret", url) == "a secret"
    assert shown(f"cannot open {url}", url) == f"cannot open {MASK}"


safe = st.text("abcXYZ0189-_.~!$&'()*+,;=", min_size=8, max_size=20)


@settings(deadline=None)
@given(
    st.text("abc.-", max_size=5),
    st.text("abZ09%:@/?#&=+ \u00e4\"'\\[]", min_size=8, max_size=20).filter(
        lambda password: len(password.strip()) >= 8
    ),
)
def test_any_password_that_was_escaped_is_hidden(user: str, password: str) -> None:
    """What quote made of a password, and the password itself, are hidden."""
    url = f"postgres://{user}:{quote(password, safe='')}@db.internal:5432/app"

    assert shown(f"<{password}>", url) == f"<{MASK}>"
    assert shown(f"<{quote(password, safe='')}>", url) == f"<{MASK}>"


# JSON

ACCOUNT: dict[str, object] = {
    "type": "service_account",
    "project_id": "fake-project-0123",
    "private_key_id": "fake0123456789abcdef",
    "private_key": "\n".join(
        [
            "-----BEGIN " + "FAKE PRIVATE KEY-----",
            "RkFLRS9saW5lK29uZS8wMTIzNDU2Nzg5",
            "RkFLRS9saW5lK3R3by8wMTIzNDU2Nzg5",
            "RkFLRQ==",
            "-----END " + "FAKE PRIVATE KEY-----",
            "",
        ]
    ),
    "client_email": "robot@fake-project-0123.iam.gserviceaccount.com",
    "client_id": "123456789012345678901",
    "auth_uri": "https://accounts.google.com/o/oauth2/auth",
    "token_uri": "https://oauth2.googleapis.com/token",
    "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
    "client_x509_cert_url": "https://www.googleapis.com/robot/v1/metadata/x509/fake",
    "universe_domain": "googleapis.com",
}


def test_the_key_of_a_service_account_is_hidden() -> None:
    """The key of a credentials document is hidden whole, by line, and as it stands in JSON."""
    for indent in (None, 2):
        with case(indent):
            value = json.dumps(ACCOUNT, indent=indent)
            key = ACCOUNT["private_key"]
            assert isinstance(key, str)

            for written in (
                value,
                key,
                json.dumps(key)[1:-1],
                "RkFLRS9saW5lK29uZS8wMTIzNDU2Nzg5",
                "RkFLRS9saW5lK3R3by8wMTIzNDU2Nzg5",
                "fake0123456789abcdef",
            ):
                assert shown(f"<{written}>", value) == f"<{MASK}>"


def test_what_everybody_knows_of_a_service_account_is_shown() -> None:
    """Its type, its addresses and its names stay readable, and so does armour."""
    for indent in (None, 2):
        with case(indent):
            value = json.dumps(ACCOUNT, indent=indent)
            public = [text for name, text in ACCOUNT.items() if not name.startswith("private_key")]

            for text in (*public, '"type": "service_account"', "-----BEGIN FAKE PRIVATE KEY-----"):
                assert shown(f"<{text}>", value) == f"<{text}>"


LEAVES: dict[str, tuple[object, str]] = {
    "a member": ({"key": "fake-leaf-0123"}, "fake-leaf-0123"),
    "nested": ({"a": {"b": {"c": "fake-leaf-0123"}}}, "fake-leaf-0123"),
    "in a list": (["fake-leaf-0123"], "fake-leaf-0123"),
    "in a list of lists": ({"a": [[{"b": ["fake-leaf-0123"]}]]}, "fake-leaf-0123"),
    "not ASCII": ({"key": "fake-l\u00e4\u00e4f-0123"}, "fake-l\u00e4\u00e4f-0123"),
    "with escapes": ({"key": 'fake "leaf"\n'}, 'fake "leaf"'),
    "a word under a secret's name": ({"password": "correcthorse"}, "correcthorse"),
    "words under a secret's name": (
        {"db_passwd": "correct horse battery"},
        "correct horse battery",
    ),
    "words in a list of secrets": ({"api_keys": ["correct.horse"]}, "correct.horse"),
    "under a name in capitals": ({"CLIENT_SECRET": "correcthorse"}, "correcthorse"),
    "a URL's password": ({"database": "postgres://u:fake-leaf-0123@h"}, "fake-leaf-0123"),
    "the second URL's password": (
        {"at": "https://a.example/", "dsn": "postgres://u:fake-leaf-0123@h"},
        "fake-leaf-0123",
    ),
    "a URL's escaped password": ({"dsn": "postgres://u:fake%21leaf-0123@h"}, "fake!leaf-0123"),
    "beside a public one": ({"type": "a", "other": "fake-leaf-0123"}, "fake-leaf-0123"),
    "a document in a document": ({"a": json.dumps({"password": "secretword"})}, "secretword"),
    "a member's name": ({"fake-name-012345": 1}, "fake-name-012345"),
    "a word where no secret has a name": ({"value": "correcthorse"}, "correcthorse"),
    "a line": ({"pem": "first-fake-line-0123\nother-fake-line-0123"}, "other-fake-line-0123"),
}


def test_the_strings_of_a_json_document_are_hidden_by_themselves() -> None:
    """A text that was taken out of a JSON value is as secret as the whole, at any depth."""
    for label, (document, secret) in LEAVES.items():
        with case(label):
            for value in (json.dumps(document), f"  {json.dumps(document, indent=2)}\n"):
                assert shown(f"it was {secret}!", value) == f"it was {MASK}!"


def test_the_strings_of_a_json_document_are_hidden_when_encoded() -> None:
    """A password out of a JSON value is hidden in a header, too."""
    for encode in (bytes.hex, lambda raw: b64encode(raw).decode()):
        with case(encode):
            value = json.dumps({"password": "fake-leaf-012"})

            assert shown(f"it was {encode(b'fake-leaf-012')}", value).startswith(f"it was {MASK}")


def test_what_is_no_secret_in_a_json_document_is_shown() -> None:
    """Words, numbers and the names of members are everybody's."""
    cases: list[tuple[object, str]] = [
        ({"mode": "production", "password": "fake-leaf-0123"}, "production"),
        ({"a": [{"mode": "Production"}], "b": {"token": "fake-leaf-0123"}}, "Production"),
        ({"modes": ["everywhere", "at home"], "secret": "fake-leaf-0123"}, "everywhere, at home"),
        ({"region": "us-east"}, "us-east"),
        ({"type": "service_account"}, "service_account"),
        ({"port": 54321098, "on": True, "none": None}, "54321098 True None"),
        ({"secret": "short"}, "short"),
        ({"long-member-name": "fake-leaf-0123"}, "long-member-name"),
        ({"list": []}, "nothing"),
    ]
    for document, text in cases:
        with case(document, text):
            assert shown(text, json.dumps(document)) == text
            assert shown(text, json.dumps(document, indent=2)) == text


def test_what_only_begins_like_json_is_hidden_as_any_other() -> None:
    """A value that is no JSON document is hidden whole, and does no harm."""
    cases: list[str] = [
        "{fake-token-0123}",
        "[fake-token-0123",
        "{'fake': 'token-0123'}",
        "[" * 4_000,
        "{",
    ]
    for value in cases:
        with case(value):
            told = shown(f"it was {value}!", value)

            assert told == (f"it was {MASK}!" if len(value) >= 8 else f"it was {value}!")


def test_a_json_value_that_is_no_document_is_hidden_whole() -> None:
    """A number or a quoted text is a token, not a document."""
    for value in ('"fake-token-0123"', "12345678", "true-fake"):
        with case(value):
            assert shown(f"it was {value}!", value) == f"it was {MASK}!"


leaf_texts = st.text("abAZ09/+=-_", min_size=7, max_size=20).map(lambda text: f"{text}1")
documents = st.recursive(
    leaf_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("nam"), inner, max_size=3),
    max_leaves=6,
)


def leaves_of(document: object) -> list[str]:
    """Return the texts in a document, but not the names of its members."""
    if isinstance(document, dict):
        return leaves_of(list(document.values()))
    if isinstance(document, list):
        return [leaf for each in document for leaf in leaves_of(each)]
    return [str(document)]


@settings(deadline=None)
@given(documents.filter(lambda document: not isinstance(document, str)))
def test_no_token_in_any_document_is_shown(document: object) -> None:
    """Wherever a token stands in a document, it is hidden."""
    for leaf in leaves_of(document):
        assert shown(f"<{leaf}>", json.dumps(document)) == f"<{MASK}>"


# Lines


def armoured(begin: str, end: str) -> str:
    """Make a key of three lines, as it is written to a file."""
    lines = ["RkFLRS9saW5lK29uZS8wMTIz", "RkFLRS9saW5lK3R3by8wMTIz", "RkFLRTA="]
    return "\n".join([begin, *lines, end]) + "\n"


ARMOUR = {
    "PKCS 8": ("-----BEGIN " + "PRIVATE KEY-----", "-----END " + "PRIVATE KEY-----"),
    "RSA": ("-----BEGIN " + "RSA PRIVATE KEY-----", "-----END " + "RSA PRIVATE KEY-----"),
    "EC": ("-----BEGIN " + "EC PRIVATE KEY-----", "-----END " + "EC PRIVATE KEY-----"),
    "RFC 4716": (
        "---- BEGIN " + "SSH2 PUBLIC KEY ----",
        "---- END " + "SSH2 PUBLIC KEY ----",
    ),
    "OpenSSH": (
        "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
        "-----END " + "OPENSSH PRIVATE KEY-----",
    ),
    "certificate": ("-----BEGIN " + "CERTIFICATE-----", "-----END " + "CERTIFICATE-----"),
}


def test_a_key_whose_line_ends_are_written_out_is_hidden_by_its_lines() -> None:
    r"""A key in a variable often has ``\\n`` for line ends, and is used with real ones."""
    begin, end = ARMOUR["PKCS 8"]
    key = armoured(begin, end)
    value = key.replace("\n", "\\n")

    assert shown(f"<{value}>", value) == f"<{MASK}>"
    assert shown(f"<{key}>", value) == f"<{MASK}>"
    assert shown("in line RkFLRS9saW5lK29uZS8wMTIz", value) == f"in line {MASK}"
    assert shown(f"{begin} {end} RkFLRTA=", value) == f"{begin} {end} RkFLRTA="


def test_each_long_line_of_a_key_is_hidden_and_armour_is_not() -> None:
    """A parser that complains of a line shows none of the key; what kind of key it is stays."""
    for end_of_line in ("\n", "\r\n"):
        for as_bytes in (False, True):
            for label, (begin, end) in ARMOUR.items():
                with case(label, end_of_line, as_bytes):
                    text = armoured(begin, end).replace("\n", end_of_line)
                    value = text.encode() if as_bytes else text

                    assert shown("in line RkFLRS9saW5lK29uZS8wMTIz", value) == f"in line {MASK}"
                    assert shown("in line RkFLRS9saW5lK3R3by8wMTIz", value) == f"in line {MASK}"
                    assert shown(f"{begin} {end} RkFLRTA=", value) == f"{begin} {end} RkFLRTA="
                    assert shown(f"<{text}>", value) == f"<{MASK}>"
                    assert shown(f"<{text.encode()!r}>", value) == f"<b'{MASK}'>"


def test_armour_that_is_no_armour_is_hidden() -> None:
    """Only a whole line of armour is everybody's."""
    line = "-----BEGIN FAKE KEY----- and more"

    assert shown(line, f"{line}\nsomething") == MASK


def test_a_line_has_sixteen_characters_to_be_hidden() -> None:
    """A shorter line is too ordinary; white space at its ends does not count."""
    value = "  fake-line-012345  \n  fake-line-01234  \nx"

    assert shown("it is fake-line-012345", value) == f"it is {MASK}"
    assert shown("it is fake-line-01234", value) == "it is fake-line-01234"


def test_a_line_is_found_as_python_and_json_write_it() -> None:
    """A line with quotes and letters that are not ASCII is hidden in each of its spellings."""
    line = "fake line with '\u00e4' in it"
    value = f"{line}\nand another one of them\n"

    for written in (line, repr(line)[1:-1], json.dumps(line)[1:-1], quote(line)):
        assert shown(f"<{written}>", value) == f"<{MASK}>"


@settings(deadline=None)
@given(st.lists(st.text("abZ09+/=", min_size=16, max_size=24), min_size=2, max_size=5))
def test_any_two_lines_of_a_value_are_hidden(lines: list[str]) -> None:
    """A part of a value that has a whole line in it shows nothing of that line."""
    for one, other in pairwise(lines):
        told = shown(f"<{one}|{other}>", "\n".join(lines))

        assert told == f"<{MASK}|{MASK}>"
