"""Placeholders, unresolved references, white space and newlines in place of a value."""

import base64
import random
import string
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from hive_boot import Bootstrap, Secret, SecretBytes, SecretSet, secret
from hive_boot.secrets.load_result import LoadNote, LoadResult
from hive_boot.secrets.validation import content_problem
from hive_boot.testing import override
from tests.fixtures.cases import case, empty_machines
from tests.support import look, report_of, values_of

PLACEHOLDERS = """
changethis
change-me
CHANGEME_please
replace-with-a-strong-password
your-api-key-here
sk-xxxxxxxxxxxx
<your key>
<API_KEY>
<insert-token>
xxx
XXXX-XXXX-XXXX
mmuser_password
super-secret-key
even_more_secret
generate-with-openssl-rand-hex-32
TODO
1234567890
0123456789abcdef
insecure-dev-key
put_your_key_here
sk-...
eyJ...
REPLACE_ME
secret123
Password1!
django-insecure-abcdefgh
your-256-bit-secret
sk-your-openai-key-here
AKIAXXXXXXXXXXXXXXXX
[YOUR_KEY]
{your_key}
********
00000000
"changeme"
'your key'
CHANGE THIS IN PRODUCTION
TBD
xxx-xxx-xxx
00000000-0000-0000-0000-000000000000
a-very-long-secret-key
db-password
DB_PASSWORD
db.password
dbPassword
an-example
to-be-changed
it-is-a-secret
mySecret
jwtSecret
MyPassword
sk_test_xxx
pk_test_your_key
eyJhbGciOiJIUzI1...
Secret('DB_PASSWORD', '***')
SecretStr('**********')
dev-secret-key-change-in-production
mongodb+srv://app:<password>@cluster.example.net
redacted
**REDACTED**
changeme;
22222222
yyyyyyyy
????????
YOUR_ACME_CLIENT_ID_HERE
your-acme-auth-token-here
your acme key
sk-your-acme-key
whsec_xxx
ghp_xxxxxxxx
ghp_****
ghp_…
a_secret_key
--------
........
AKIAIOSFODNN7EXAMPLE
wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
secret access account actual add admin and any api apikey app application at auth aws azure base
secret bearer bit bits byte bytes char character characters chars client cookie csrf database
secret default development django email encryption even flask for from github goes google host id
secret jwt keys least live local mail me min must mysql new not now of on openai or own please
secret postgres private prod public put rand random real redis root secure server service session
secret set should signing sk slack smtp some staging string stripe testing text that the to token
secret tokens top unique us use user username value very webhook with
postgres://app:changeme@db:5432/app
postgresql+asyncpg://app:<your-password>@db/app
redis://:your_password@redis:6379/0
jdbc:postgresql://db/app?user=app&password=changeme&ssl=true
""".strip().splitlines()

WORDS = """
changeit replaced replaceme fixme my-placeholder sample dummy insert enter fill unsafe generated
supersecret secretkey mysecret mysecretpassword jwtsecret passwd mypassword yourkey yourapikey
yoursecret yourpassword dbpassword notasecret masked hidden 12345 123456 1234567 12345678
123456789
""".strip().split()

REFERENCES = """
op://Private/db/password
@Microsoft.KeyVault(SecretUri=https://shop.vault.azure.net/secrets/db/0123)
encrypted:BDqDBibm4wsYqMpCjTQ6BsDHmMadg9K3dAt
ENC[AES256_GCM,data:Zm9v,iv:YmFy,tag:cXV4,type:str]
vault:secret/data/shop#DB_PASSWORD
bao:secret/data/shop#DB_PASSWORD
keyvaultref:db-password
arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/db-AbCdEf
arn:aws-cn:ssm:cn-north-1:123456789012:parameter/db
projects/123/secrets/db/versions/latest
{{resolve:secretsmanager:shop/db:SecretString:password}}
${{ secrets.DB_PASSWORD }}
ref+vault://secret/shop#/db
doppler://shop/prd/DB_PASSWORD
$(aws ssm get-parameter --name db)
$(DB_PASSWORD)
$DB_PASSWORD
$PASSWORD
$API_KEY_2
!Ref DbPassword
!Sub ${DbPassword}
aws-secretsmanager://shop/db
env://DB_PASSWORD
secretref:db-password
keyvaultref:https://shop.vault.azure.net/secrets/db
%{DB_PASSWORD}
@@DB_PASSWORD@@
!secret db_password
env:DB_PASSWORD
process.env.DB_PASSWORD
ssm:/prod/db
secrets://shop/db
`cat /etc/db`
${DB_PASSWORD}
${DB_PASSWORD:-fake}
#{DB_PASSWORD}#
%DB_PASSWORD%
__DB_PASSWORD__
((db-password))
{cipher}AQICAHh
<%= ENV["DB_PASSWORD"] %>
sm://shop/db
ENC(4fK9x2mQ)
$ANSIBLE_VAULT;1.1;AES256
{$DB_PASSWORD}
%env(DB_PASSWORD)%
%(DB_PASSWORD)s
$env:DB_PASSWORD
hashivault://shop/db
gcp-secretmanager://shop/db
<no value>
None
NaN
null
NULL
nil
undefined
N/A
[object Object]
postgres://app:${DB_PASSWORD}@db:5432/app
postgres://app:op://vault/db/password@db:5432/app
mysql://app:None@db/app
""".strip().splitlines()
REFERENCES += [
    f"$ANSIBLE_VAULT;1.1;AES256\n{'6338' * 200}\n6338",
    f"encrypted:{'BDqD' * 200}",
    f"ENC[AES256_GCM,data:{'Zm9v' * 200},type:str]",
]

VALUES = """
apikey
postgres
admin
root
guest
default
token
production
api-key
prod-signing-key
vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w==
correct-horse-battery-staple
None-of-the-above-9X
nullpointer8
secretariat
yourself
your-lucky-monkey
4fK9-EXAMPLE-x2mQ
todo-list-4f9a
change-42-of-everything-q
p<a>ss$w{o}rd
pa${ss}w0rd!x
<4fK_9>x
db-4fK9x2mQ
my-horse-battery
Secretary(42)
it...9
{"password": "changeme", "host": "db"}
Server=tcp:db;User=app;Password=changeme;Encrypt=true
postgres://postgres:postgres@localhost:5432/app
postgres://app:p%40ss%3A4fK9@db:5432/app
redis://localhost:6379/0
https://hooks.example.com/services/T0/B0/4fK9
https://host:8443/changeme@example
user:4fK9
2001:db8::1
/run/secrets/x
""".strip().splitlines()


class OneText(SecretSet):
    """One secret."""

    token: Secret
    meant: Secret | None = secret(allow_placeholder=True)
    blob: SecretBytes | None


def load(root: Path, profile: str, **values: str) -> LoadResult:
    """Load values from variables in a profile."""
    environ = {"HIVE_BOOT_MODE": "environment", "HIVE_BOOT_PROFILE": profile, **values}
    return look(OneText, root, environ)


def kinds(loaded: LoadResult) -> list[str]:
    """Return the kinds of the problems."""
    return [problem.kind for problem in loaded.problems]


@pytest.mark.parametrize(
    ("kind", "texts"), [("placeholder", PLACEHOLDERS + WORDS), ("reference", REFERENCES)]
)
def test_what_stands_for_a_value_is_rejected_where_it_matters(
    tmp_path: Path, kind: str, texts: list[str]
) -> None:
    """Production and staging reject it, development and test warn, and no report shows it."""
    for text in texts:
        with case(text):
            for profile in ("production", "staging"):
                loaded = load(tmp_path, profile, TOKEN=text)
                assert kinds(loaded) == [kind]
                assert "allow_placeholder=True" in report_of(loaded)
                assert text not in report_of(loaded).replace("allow_placeholder", "")
            for profile in ("development", "test"):
                loaded = load(tmp_path, profile, TOKEN=text)
                assert values_of(loaded) == {"token": text}
                assert [(each.kind, each.names) for each in loaded.warnings] == [(kind, ("TOKEN",))]
            accepted = load(tmp_path, "production", TOKEN="fake-token", MEANT=text)
            assert (kinds(accepted), accepted.warnings) == ([], ())
            assert kinds(load(tmp_path, "production", TOKEN="fake-token", BLOB=text)) == [kind]


def test_a_value_of_a_person_is_accepted(tmp_path: Path) -> None:
    """User names, ciphertext, documents and connection strings are values."""
    for text in VALUES:
        with case(text):
            loaded = load(tmp_path, "production", TOKEN=text)
            assert (kinds(loaded), values_of(loaded)) == ([], {"token": text})


def test_a_random_password_is_accepted() -> None:
    """Of 50,000 values of the usual generators none looks like a placeholder or a reference."""
    rng = random.Random(20261129)  # noqa: S311  (the same values in each run)
    printable = string.ascii_letters + string.digits + string.punctuation
    words = "apple river mountain cloud table window green orange tiger puzzle stone silver".split()  # noqa: SIM905  (a list of words)
    generators: list[Callable[[int], str]] = [
        lambda n: "".join(rng.choices(printable, k=n)),
        lambda n: "".join(rng.choices(printable + " ", k=n)),
        lambda n: "".join(rng.choices(string.ascii_letters + string.digits, k=n)),
        lambda n: "".join(rng.choices(string.ascii_lowercase, k=n)),
        lambda n: "".join(rng.choices(string.digits, k=n)),
        lambda n: rng.randbytes(n).hex(),
        lambda n: base64.b64encode(rng.randbytes(n)).decode(),
        lambda n: base64.urlsafe_b64encode(rng.randbytes(n)).decode(),
        lambda _: str(uuid.UUID(int=rng.getrandbits(128))),
        lambda n: "-".join(rng.choices(words, k=max(3, n // 8))),
    ]
    for generate in generators:
        for _ in range(5_000):
            value = generate(rng.choice((8, rng.randint(8, 64))))
            with case(value):
                assert content_problem(Secret("TOKEN", value)) is None


@pytest.mark.anyio
async def test_an_override_may_be_anything() -> None:
    """A test gives the value that it means."""
    boot = Bootstrap(OneText, mode="environment", profile="production")
    with override(boot, token="changeme", meant=None, blob=None):
        async with boot.running() as secrets:
            assert secrets.token.reveal() == "changeme"


def test_white_space_is_no_value(tmp_path: Path) -> None:
    """A value of white space only is a problem in every profile, and for an optional secret."""
    blanks = (
        "\u00a0",
        "\u3000",
        "\u2028",
        "\u2003 ",
        "\x1f",
        "\x85\n",
        "\x1c",
        "\u1680",
        "\u205f\u202f",
    )
    for text in (" ", " \n", "\t\r\n", "\n", "  \n \n", *blanks):
        for profile in ("production", "development"):
            for name in ("TOKEN", "MEANT"):
                with case(text, profile, name):
                    loaded = load(tmp_path, profile, **{"TOKEN": "fake-token", name: text})
                    assert [(each.name, each.kind) for each in loaded.problems] == [(name, "empty")]
    assert kinds(load(tmp_path, "production", TOKEN="fake-token", BLOB=" ")) == []


def test_a_second_newline_is_a_note(tmp_path: Path) -> None:
    """The value keeps it, and the log says so; a PEM block is meant to end with one."""
    machines = empty_machines(tmp_path)
    pem = "-----BEGIN FAKE KEY-----\nZmFrZQ==\n-----END FAKE KEY-----\n"
    cases = {b"fake-token\n\n": "fake-token\n", b"fake-token\n": "fake-token", pem.encode(): pem}
    for content, value in cases.items():
        with case(content):
            loaded = look(OneText, *in_directory(next(machines), {"token": content}))
            assert values_of(loaded) == {"token": value}
            is_noted = content.endswith(b"n\n\n")
            assert loaded.notes == (LoadNote("trailing-newline", ("TOKEN",)),) * is_noted


def in_directory(root: Path, files: Mapping[str, bytes]) -> tuple[Path, dict[str, str]]:
    """Write files into a mounted directory, and return the machine and its variables."""
    (root / "named").mkdir()
    for name, content in files.items():
        (root / "named" / name).write_bytes(content)
    return root, {"HIVE_BOOT_SECRETS_DIR": str(root / "named")}


def test_a_key_ends_with_one_newline_whatever_its_source(tmp_path: Path) -> None:
    """OpenSSH rejects a key without it; SecretBytes stays raw."""
    block = "-----BEGIN FAKE KEY-----\nZmFrZQ==\n-----END FAKE KEY-----"
    machines = empty_machines(tmp_path)
    for end in ("", "\n", "\r\n", "\n\n", "\n\r\n"):
        with case(end):
            root, environ = in_directory(next(machines), {"token": f"{block}{end}".encode()})
            (root / "named/blob").write_bytes(f"{block}{end}".encode())
            values = values_of(look(OneText, root, environ))
            assert values == {"token": f"{block}\n", "blob": f"{block}{end}".encode()}
            (root / "cwd/.env").write_text(f"TOKEN='{block}{end}'\n")
            assert values_of(look(OneText, root)) == {"token": f"{block}\n"}
            loaded = load(root, "production", TOKEN=f"{block}{end}", BLOB=f"{block}{end}")
            assert values_of(loaded) == values
    for text in ("-----", "fake-key-----", "-----BEGIN x-----END x-----"):
        with case(text):
            root, environ = in_directory(next(machines), {"token": f"{text}\n".encode()})
            environ["HIVE_BOOT_PROFILE"] = "development"
            assert values_of(look(OneText, root, environ)) == {"token": text}


def test_the_value_of_an_example_is_a_warning(tmp_path: Path) -> None:
    """In development a value that equals that of `.env.example` is named, with the file."""
    machines = empty_machines(tmp_path)
    for ending in ("example", "sample", "template", "dist"):
        root = next(machines)
        (root / f"cwd/.env.{ending}").write_text("TOKEN=fake-example\nMEANT=fake-other\n")
        (root / "cwd/.env").write_text("TOKEN=fake-example\nMEANT=fake-mine\n")
        with case(ending):
            (warning,) = look(OneText, root).warnings
            assert (warning.kind, warning.names) == ("example-value", ("TOKEN",))
            assert warning.location == f"{root}/cwd/.env.{ending}"
    root = next(machines)
    (root / "cwd/.env").write_text("TOKEN=fake-example\n")
    (root / "cwd/.env.example").mkdir()
    assert look(OneText, root).warnings == ()

    class OtherKinds(SecretSet):
        """Values that are not the text in the file."""

        key: Secret
        raw: SecretBytes

    (root / "cwd/.env.example").rmdir()
    for name in (".env", ".env.example"):
        text = 'KEY="-----BEGIN FAKE-----\nZmFrZQ==\n-----END FAKE-----"\nRAW=fake-bytes\n'
        (root / "cwd" / name).write_text(text)
    (warning,) = look(OtherKinds, root).warnings
    assert (warning.kind, warning.names) == ("example-value", ("KEY", "RAW"))
