"""What is no secret stays readable: measured with real secrets' shapes on everyday text."""

import json
import sysconfig
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from textwrap import wrap
from uuid import NAMESPACE_DNS, uuid5

import pytest

from hive_boot import Secret, redact
from hive_boot.redaction import MASK, registry
from tests.fixtures.cases import case


def noise(name: str, size: int = 32) -> bytes:
    """Return bytes that look random, for a name the same each time."""
    blocks = (sha256(f"fake {name} {number}".encode()).digest() for number in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def armour(word: str, label: str) -> str:
    """Return a line of armour."""
    return f"-----{word} {label}-----"


def pem(label: str, name: str) -> str:
    """Return a key as it is written to a file; what is in it is no key."""
    body = wrap(b64encode(noise(name, 608)).decode(), 64)
    return "\n".join([armour("BEGIN", label), *body, armour("END", label), ""])


ACCOUNT = {
    "type": "service_account",
    "project_id": "fake-project",
    "private_key_id": noise("key id", 20).hex(),
    "private_key": pem("PRIVATE KEY", "service account"),
    "client_email": "robot@fake-project.iam.gserviceaccount.com",
    "client_id": "100000000000000000001",
    "auth_uri": "https://accounts.google.com/o/oauth2/auth",
    "token_uri": "https://oauth2.googleapis.com/token",
    "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
    "client_x509_cert_url": "https://www.googleapis.com/robot/v1/metadata/x509/robot",
    "universe_domain": "googleapis.com",
}

SECRETS = {
    "OPENAI_API_KEY": f"fake-proj-{urlsafe_b64encode(noise('openai', 96)).decode()}",
    "HIVE_API_KEY": b64encode(noise("hive")).decode(),
    "JWT_SECRET": noise("jwt", 64).hex(),
    "STRIPE_SECRET_KEY": f"fake_test_{noise('stripe', 24).hex()}",
    "STRIPE_WEBHOOK_SECRET": f"fake_{b64encode(noise('webhook', 24)).decode()}",
    "LANGSMITH_API_KEY": f"fake_{uuid5(NAMESPACE_DNS, 'fake').hex}_{noise('lang', 5).hex()}",
    "SENTRY_DSN": f"https://{noise('sentry', 16).hex()}@o1.ingest.sentry.example.com/1",
    "GITHUB_TOKEN": f"fake_{noise('github', 18).hex()}",
    "DATABASE_URL": f"postgresql://app:{noise('db', 16).hex()}@db.internal:5432/app",
    "REDIS_URL": "redis://:fake%2Fcache%2Fpassw0rd@cache.internal:6379/0",
    "TLS_KEY": pem("RSA PRIVATE KEY", "tls"),
    "EC_KEY": pem("EC PRIVATE KEY", "ec"),
    "GOOGLE_CREDENTIALS": json.dumps(ACCOUNT, indent=2),
    "PASSPHRASE": "fake correct horse battery staple",
    "SHORT": "word",
    "SEVEN": "example",
    "DEBUG": "true",
    "PORT": "8080",
}
"""The eight secrets of the service that hive_boot grew from, and what else people declare."""

ARMOURED = [
    armour(word, label)
    for word in ("BEGIN", "END")
    for label in (
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "PUBLIC KEY",
        "CERTIFICATE",
        "CERTIFICATE REQUEST",
        "DH PARAMETERS",
    )
]

EVERYDAY = """
a about account address after again all also always an and answer any application are as at
authentication back bad be because been before between both but by cache can cannot certificate
client closed code come connection could credentials database day default development did do
document down each empty error even every example expected failed false file find first for
found from get give given go good had has have header he her here him his hive hostname how if
in information into invalid is it key know last let like line listening little localhost log
long made make many may me memory message might missing more most much must my name near never
new no none not nothing now null number of off old on once one only open or other our out over
page password people permission place platform port postgres postgresql private production
project public put queue read ready redis refused request response right robot running same say
secret secrets see semantic sentry server service should show signature so some start started
stay still stop stripe such take testing than that the their them then there these they thing
think this time to token true two type under undefined unexpected until up us use user username
value very want was way we webhook well were what when where which while who why will with word
work world would year yes you your
"""
WORDS = EVERYDAY.split()

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def pick(number: int, *things: str) -> str:
    """Choose one thing, for a number the same each time."""
    return things[number % len(things)]


def log_lines(count: int) -> Iterator[str]:
    """Return lines as services write them: times, addresses, ids, hashes, JSON, words."""
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(count):
        seed = noise(f"line {number}", 64)
        when = begun + timedelta(milliseconds=number * 7919)
        said = " ".join(WORDS[each % len(WORDS)] for each in seed[:12])
        level = LEVELS[seed[12] % 5]
        identity = uuid5(NAMESPACE_DNS, str(number))
        word = WORDS[seed[17] % len(WORDS)]
        token = urlsafe_b64encode(seed[:30]).decode()
        address = ".".join(map(str, seed[13:17]))
        yield pick(
            number,
            f"{when.isoformat()} {level:8} app.{word}: {said}",
            f'{address} - - [{when:%d/%b/%Y:%H:%M:%S %z}] "GET /v1/{word}/{identity}" 200 {number}',
            json.dumps({"level": level, "ts": when.timestamp(), "trace": seed.hex(), "msg": said}),
            f"{level}:root:etag=W/{b64encode(seed[:20]).decode()} size={number * 31} {said}",
            f"{level} commit {seed[:20].hex()} by robot@example.com: {said.capitalize()}.",
            f"{said.title()} ({seed[0]}.{seed[1]}) took {number / 7:.3f} ms; id {identity.hex}",
            f"connected to postgresql://app:***@db.internal:5432/app from {address}:{number}",
            f"GET https://api.example.com/{said.replace(' ', '/')}?page={number}&sort=name%20asc",
            f"{level} [{number}] rejected: {token} is not signed with HS256",
            f'  File "/usr/lib/python3/site-packages/app/{word}.py", line {number}, in {word}',
            f"sha256:{seed[:32].hex()} {said} {seed[:6]!r}",
        )


def sources() -> Iterator[tuple[str, str]]:
    """Return name and text of the modules of Python's own library, some megabytes."""
    library = Path(sysconfig.get_path("stdlib"))
    for folder in ("", "asyncio", "concurrent", "email", "http", "json", "logging", "urllib"):
        for path in sorted((library / folder).glob("*.py")):
            yield f"{folder}/{path.name}", path.read_text("utf-8", errors="replace")


@pytest.fixture(autouse=True)
def realistic_secrets() -> Iterator[None]:
    """Hide what a real application hides."""
    owner = object()
    registry.register(owner, [Secret(name, value) for name, value in SECRETS.items()])
    yield
    registry.unregister(owner)


def test_no_line_of_a_log_is_changed() -> None:
    """Twenty thousand everyday lines, a few megabytes: not one has a star too many."""
    lines = list(log_lines(20_000))

    assert sum(map(len, lines)) > 2_000_000
    assert [line for line in lines if redact(line) is not line] == []


def test_no_source_or_documentation_is_changed() -> None:
    """The sources of Python's library, code, names, examples and docstrings, stay as they are."""
    texts = dict(sources())

    assert sum(map(len, texts.values())) > 3_000_000
    assert [name for name, text in texts.items() if redact(text) is not text] == []


def test_the_same_text_is_changed_where_a_secret_is_put_into_it() -> None:
    """The measurement measures: among the same lines every secret that counts is found."""
    long = [value for value in SECRETS.values() if len(value) >= 8]
    lines = list(log_lines(100))

    for value in long:
        for line in lines[:20]:
            assert redact(f"{line} {value.strip()} {line}") == f"{line} {MASK} {line}"
        assert redact("\n".join([*lines, value.strip()])) == "\n".join([*lines, MASK])


def test_armour_stays_as_it_is() -> None:
    """What kind of key or certificate something is may be told, alone, in a text and in JSON."""
    for line in ARMOURED:
        with case(line):
            for text in (
                line,
                f"expected {line}",
                repr(f"{line}\n"),
                json.dumps({"starts": f"{line}\n"}),
            ):
                assert redact(text) is text


def test_what_a_service_account_is_stays_readable() -> None:
    """Errors about the type, the addresses and the project of credentials can be read."""
    public = {name: text for name, text in ACCOUNT.items() if not name.startswith("private_key")}

    for text in (*public.values(), *public, json.dumps(public), json.dumps(public, indent=2)):
        assert redact(text) is text
    assert redact('{"type": "service_account"}') == '{"type": "service_account"}'


def test_a_word_by_itself_stays_as_it_is() -> None:
    """Everyday words are left alone, in whatever case."""
    for word in (*WORDS, *LEVELS, "service_account"):
        with case(word):
            for text in (word, word.upper(), word.title(), repr(word), f"{word} {word}"):
                assert redact(text) is text


def test_values_under_eight_characters_stay_as_they_are() -> None:
    """A value that is a word is declared, and is not looked for."""
    short = [value for value in SECRETS.values() if len(value) < 8]

    assert short == ["word", "example", "true", "8080"]
    for value in short:
        for text in (value, f"for {value}:", json.dumps({value: value}), f"{value * 4}"):
            assert redact(text) is text


def test_a_short_password_in_a_url_stays_as_it_is() -> None:
    """Of a URL with a password that is a word, only the whole is hidden."""
    owner, url = object(), "postgresql://app:secret@db.internal:5432/app"
    registry.register(owner, [Secret("DATABASE_URL", url)])
    try:
        assert redact("a secret of app at db.internal:5432") == (
            "a secret of app at db.internal:5432"
        )
        assert redact(f"cannot open {url}") == f"cannot open {MASK}"
    finally:
        registry.unregister(owner)


def test_the_parts_of_a_secret_that_are_no_secret_stay_as_they_are() -> None:
    """Hosts, users, ports and databases of a URL can be told, and how a token begins."""
    for text in (
        "db.internal:5432",
        "postgresql://app@db.internal:5432/app",
        "redis://cache.internal:6379/0",
        "https://o1.ingest.sentry.example.com/1",
        "fake_test_...",
        "fake-proj-",
        "correct horse",
    ):
        assert redact(text) is text
