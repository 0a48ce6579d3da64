"""Composite values: the secret in them is hidden, and what stands beside it stays visible."""

import json
import re
import string
from base64 import b64encode
from collections.abc import Callable
from html import escape
from textwrap import wrap
from urllib.parse import quote

from hypothesis import example, given, settings
from hypothesis import strategies as st

from hive_boot.redaction import MASK, MIN_LENGTH
from hive_boot.redaction.embedded import (
    distinctive_lines,
    embedded_secrets,
    has_short_password,
    is_identifier,
)
from tests.fixtures.cases import case
from tests.redaction.log_output import shown

PASS = "fake-pass-0123"
BASIC = b64encode(b"app-rw:fake-pass-0123").decode()
PASS_64 = b64encode(PASS.encode()).decode()
KEY_BEGIN, KEY_END = "-----BEGIN " + "FAKE KEY-----", "-----END " + "FAKE KEY-----"
DOCUMENT = json.dumps(
    {"password": PASS, "client_email": "robot@orders.example", "region": "eu-central-1"}
)

COMPOSITES: dict[str, tuple[str, str, str]] = {
    "a backslash before a quote": (
        'Server=db;Password="fake-0123\\";Database="orders_prod"',
        "fake-0123\\",
        "orders_prod",
    ),
    "a doubled quote and a backslash before the last one": (
        'Server=db;Password="fake;01""23\\";Database="orders_prod"',
        'fake;01"23\\',
        "orders_prod",
    ),
    "digits and a slash": ("app:29/fake+0123/x@tcp(db.internal:3306)/o", "29/fake+0123/x", "app"),
    "blanks in a URL": ("postgres://app:fake pass 0123@db.internal/o", "fake pass 0123", "app"),
    "libpq quoted": (
        (
            "host=db.internal user=app_readwrite password='fake-pass-0123' "
            "sslmode=verify-full application_name=orders-service"
        ),
        PASS,
        "db.internal app_readwrite verify-full orders-service",
    ),
    "libpq escaped": (
        "host=db password='it\\'s-fake\\\\0123' dbname=orders_prod",
        "it's-fake\\0123",
        "orders_prod",
    ),
    "libpq blanks": (
        "host = db.internal user = app_readwrite password = fake-pass-0123",
        PASS,
        "db.internal app_readwrite",
    ),
    "libpq delimiters": (
        "host = db.internal password = fa,k=e&p=ass0123& dbname = orders_prod",
        "fa,k=e&p=ass0123&",
        "db.internal orders_prod",
    ),
    "slash and at": ('{"type": "login", "private_key": "/000@000"}', "/000@000", "login"),
    "libpq sslkey": (
        "host=db.internal sslkey=/etc/ssl/private/client.key password=fake-pass-0123",
        PASS,
        "/etc/ssl/private/client.key",
    ),
    "ADO.NET": (
        (
            "Server=tcp:db.internal,1433;Initial Catalog=orders_prod;User "
            "ID=app_readwrite;Password=fake pass,0123;Encrypt=True;Application "
            "Name=orders-service"
        ),
        "fake pass,0123",
        "orders_prod app_readwrite orders-service",
    ),
    "ADO.NET with quotes": (
        'Server=db;User Id=app;Password="fake;pass""0123";',
        'fake;pass"0123',
        "",
    ),
    "ODBC": (
        (
            "DRIVER={ODBC Driver 18 for SQL Server};SERVER=db.internal;"
            "UID=app_readwrite;PWD={fake;pass}}0123}"
        ),
        "fake;pass}0123",
        "ODBC Driver 18 for SQL Server app_readwrite",
    ),
    "Azure Storage": (
        (
            "DefaultEndpointsProtocol=https;AccountName=orders;"
            "AccountKey=ZmFrZS1rZXktMDEyMzQ1Njc4OQ==;"
            "EndpointSuffix=core.windows.net"
        ),
        "ZmFrZS1rZXktMDEyMzQ1Njc4OQ==",
        "core.windows.net DefaultEndpointsProtocol",
    ),
    "Azure Service Bus": (
        (
            "Endpoint=sb://orders.servicebus.windows.net/;"
            "SharedAccessKeyName=RootManageSharedAccessKey;"
            "SharedAccessKey=ZmFrZS1rZXktMDEyMzQ1Njc4OQ="
        ),
        "ZmFrZS1rZXktMDEyMzQ1Njc4OQ=",
        "RootManageSharedAccessKey orders.servicebus.windows.net",
    ),
    "StackExchange.Redis": (
        "redis.internal:6379,password=fake-pass-0123,ssl=True,abortConnect=False",
        PASS,
        "redis.internal abortConnect",
    ),
    "Go's MySQL driver": (
        "app_readwrite:fake-pass-0123@tcp(db.internal:3306)/orders?parseTime=true",
        PASS,
        "app_readwrite db.internal:3306 parseTime",
    ),
    "Go's MySQL driver, delimiters in the password": (
        "app:fake@pa/ss-0123@tcp(db.internal:3306)/orders",
        "fake@pa/ss-0123",
        "db.internal",
    ),
    "no scheme": (
        "app_readwrite:fake-pass-0123@db.internal:5432/orders_prod",
        PASS,
        "app_readwrite db.internal:5432 orders_prod",
    ),
    "Oracle": (
        "orders_rw/fake-pass-0123@//db.internal:1521/orders_prod",
        PASS,
        "orders_rw db.internal:1521",
    ),
    "JDBC of Oracle": (
        "jdbc:oracle:thin:orders_rw/fake-pass-0123@db.internal:1521:orders",
        PASS,
        "db.internal:1521 jdbc:oracle",
    ),
    "JDBC": (
        (
            "jdbc:postgresql://db.internal/orders_prod?user=app_readwrite&"
            "password=fake-pass-0123&ssl=true"
        ),
        PASS,
        "db.internal app_readwrite",
    ),
    "Bearer": ("Bearer fake-token-0123456789", "fake-token-0123456789", "Bearer"),
    "a header with Bearer": (
        "Authorization: Bearer fake-token-0123456789",
        "fake-token-0123456789",
        "Authorization: ",
    ),
    "Basic": (f"Basic {BASIC}", PASS, "app-rw Basic "),
    "Basic, encoded": (f"Basic {BASIC}", BASIC, ""),
    "a header with Basic": (f"Authorization: Basic {BASIC}", PASS, "Authorization: "),
    "token": ("token fake0token0123456789", "fake0token0123456789", ""),
    "another scheme": ("GenieKey fake-4f3e2d1c-0123", "fake-4f3e2d1c-0123", "GenieKey"),
    "Digest": (
        'Digest username="orders_rw", realm="orders.internal", response="fake0123456789abcdef0123"',
        "fake0123456789abcdef0123",
        "orders_rw",
    ),
    "OTLP headers": (
        "x-honeycomb-team=fake-ingest-0123456,x-honeycomb-dataset=production",
        "fake-ingest-0123456",
        "production x-honeycomb-dataset",
    ),
    "OTLP basic": (f"authorization=Basic%20{BASIC}", PASS, "authorization"),
    "OTLP basic=": (f"Authorization=Basic {BASIC},x-scope=orders-service", PASS, "orders-service"),
    "OTLP key": (
        "api-key=fake-ingest-0123456,service.name=orders-service",
        "fake-ingest-0123456",
        "orders-service",
    ),
    "OTLP uptrace": (
        "uptrace-dsn=https://fake0token0123456789@api.uptrace.dev/1",
        "fake0token0123456789",
        "api.uptrace.dev",
    ),
    "YAML": (
        (
            "db:\n  host: db.internal\n  username: app_readwrite\n  password: "
            '"fake-pass-0123"\nenvironment: production\n'
        ),
        PASS,
        "db.internal app_readwrite environment: production",
    ),
    "YAML, bare": (
        "password: fake-pass-0123 # rotate me\nusername: app_readwrite\n",
        PASS,
        "app_readwrite",
    ),
    "YAML, blanks": ("password: correct horse battery\nuser: orders", "correct horse battery", ""),
    "YAML, single": ("password: 'it''s-fake-0123'\n", "it's-fake-0123", ""),
    "YAML, list": (
        'api_keys:\n  - fake-key-0123\n  - "fake-key-4567"\nservice: orders-service\n',
        "fake-key-4567",
        "orders-service",
    ),
    "YAML, block": ("password: |\n  fake-pass-0123\nuser: orders\n", PASS, ""),
    "YAML, folded": ("password: >-\n  fake-pass-0123\nuser: orders\n", PASS, ""),
    "YAML, flow": (
        "{host: db.internal, password: fake-pass-0123, username: app_readwrite}",
        PASS,
        "db.internal app_readwrite",
    ),
    "YAML, flow, blanks": (
        "{host: db.internal, password: f=( fake p 0123, username: app_readwrite}",
        "f=( fake p 0123",
        "db.internal app_readwrite",
    ),
    "YAML, flow, a delimiter first": (
        "{host: db.internal, password: <fake pass-0123, username: app_readwrite}",
        "<fake pass-0123",
        "db.internal app_readwrite",
    ),
    "YAML, delimiters": (
        "db:\n  password: fa,k=e&pass=0123\n  host: db.internal\n",
        "fa,k=e&pass=0123",
        "db.internal",
    ),
    "YAML, oneline": ("password: fake-pass-0123", PASS, "password: "),
    "YAML, nested url": (
        'database:\n  url: "postgres://app_readwrite:fake-pass-0123@db.internal/orders_prod"\n',
        PASS,
        "db.internal app_readwrite",
    ),
    "kubeconfig": (
        (
            "apiVersion: v1\nkind: Config\nusers:\n- name: orders-admin\n  user:\n    "
            "token: fake-token-0123456789\n"
        ),
        "fake-token-0123456789",
        "apiVersion: v1 orders-admin",
    ),
    "ini": (
        (
            "[default]\naws_access_key_id = fakeaccess0123456\naws_secret_access_key "
            "= fake/secret+0123456789\nregion = eu-central-1\n"
        ),
        "fake/secret+0123456789",
        "eu-central-1 region = eu-central-1",
    ),
    ".my.cnf": (
        '[client]\nuser=app_readwrite\npassword="fake#pass-0123"\nhost=db.internal\n',
        "fake#pass-0123",
        "app_readwrite db.internal",
    ),
    "ini delimiters": (
        "[db]\npassword = fa&k=e,p=ass0123\nhost = db.internal\n",
        "fa&k=e,p=ass0123",
        "db.internal",
    ),
    "ini, a delimiter first": (
        "[db]\npassword = &f=(ake-0123\nhost = db.internal\n",
        "&f=(ake-0123",
        "db.internal",
    ),
    "ini blanks": (
        "[db]\npassword = fake pass 0123\nhost = db.internal\n",
        "fake pass 0123",
        "db.internal",
    ),
    "env": (
        "export DB_USER=app_readwrite\nexport DB_PASSWORD='fake-pass-0123'\nAPP_ENV=production\n",
        PASS,
        "app_readwrite APP_ENV=production",
    ),
    "env empty": ("DB_OPTS=\nDB_PASSWORD=fake-pass-0123\n", PASS, ""),
    "properties": (
        "db.username=app_readwrite\ndb.password=fake-pass-0123\n",
        PASS,
        "app_readwrite",
    ),
    "TOML": (
        '[db]\nuser = "app_readwrite"\npassword = "fake-\\"pass-0123"\n',
        'fake-"pass-0123',
        "app_readwrite",
    ),
    "npmrc": (
        (
            "registry=https://registry.internal/\n"
            "//registry.internal/:_authToken=fake-token-0123456789\n"
        ),
        "fake-token-0123456789",
        "https://registry.internal/",
    ),
    ".netrc": (
        "machine git.internal login orders-robot password fake-pass-0123\n",
        PASS,
        "git.internal orders-robot",
    ),
    "netrc lines": (
        "machine git.internal\n  login orders-robot\n  password correcthorse\n",
        "correcthorse",
        "git.internal orders-robot",
    ),
    ".pgpass": (
        "db.internal:5432:orders_prod:app_readwrite:fake-pass-0123\n",
        PASS,
        "db.internal:5432 orders_prod app_readwrite",
    ),
    "pgpass esc": (
        "*:*:orders_prod:app_readwrite:fake\\:pass\\\\0123\n",
        "fake:pass\\0123",
        "orders_prod",
    ),
    "pgpass 2": (
        "# comment\ndb:5432:*:app:fake-pass-4567\ndb2:5432:*:app:fake-pass-0123",
        PASS,
        "",
    ),
    "htpasswd": (
        "orders-admin:$apr1$fake0123$abcdefghijklmnopqrstu.\n",
        "$apr1$fake0123$abcdefghijklmnopqrstu.",
        "orders-admin",
    ),
    "user:pw": ("app_readwrite:fake-pass-0123", PASS, "app_readwrite"),
    "git-credentials": (
        "https://orders-robot:fake-pass-0123@git.internal\n",
        PASS,
        "orders-robot git.internal",
    ),
    "docker auth": (
        f'{{"auths": {{"https://index.docker.io/v1/": {{"auth": "{BASIC}"}}}}}}',
        PASS,
        "https://index.docker.io/v1/",
    ),
    "docker auth, encoded": (
        f'{{"auths": {{"https://index.docker.io/v1/": {{"auth": "{BASIC}"}}}}}}',
        BASIC,
        "",
    ),
    "docker, plain": (
        (
            '{"auths": {"registry.internal:5000": {"username": "orders-robot", '
            '"password": "fake-pass-0123"}}, "credsStore": "secretservice"}'
        ),
        PASS,
        "registry.internal:5000 orders-robot",
    ),
    "JSON, number": ('{"user": "x", "pin": 482915736401}', "482915736401", ""),
    "JSON, number big": ('{"api_key": ' + "4829157364" * 600 + "}", "4829157364" * 600, ""),
    "JSON, float": ('{"token": 4829157364.0123}', "4829157364.0123", ""),
    "JSON, dsn": (
        '{"dsn": "host=db.internal password=\'fake-pass-0123\' user=app_readwrite"}',
        PASS,
        "db.internal app_readwrite",
    ),
    "JSON, dsn2": (
        (
            '{"dsn": "postgres://a:fake-pass-0123@h/d", "environment": '
            '"production", "service": "checkout"}'
        ),
        PASS,
        "production checkout",
    ),
    "JSON, aws rds": (
        (
            '{"username": "app_readwrite", "password": "fake-pass-0123", "engine": '
            '"postgres", "host": '
            '"orders.cluster-c1a2b3.eu-central-1.rds.amazonaws.com", "port": 5432, '
            '"dbInstanceIdentifier": "orders-prod-1", "dbClusterIdentifier": '
            '"orders-production"}'
        ),
        PASS,
        "orders.cluster-c1a2b3.eu-central-1.rds.amazonaws.com orders-prod-1 orders-production",
    ),
    "JSON, vault": (
        (
            '{"request_id": "", "data": {"data": {"username": "app_readwrite", '
            '"password": "fake-pass-0123"}, "metadata": {"version": 3}}}'
        ),
        PASS,
        "app_readwrite metadata",
    ),
    "JSON, env list": (
        (
            '[{"name": "DB_PASSWORD", "value": "fake-pass-0123"}, {"name": '
            '"APP_PROFILE", "value": "production"}]'
        ),
        PASS,
        "DB_PASSWORD",
    ),
    "JSON, neutral host": (
        (
            '{"primary": "db-1.internal.example.com:5432", "replica": '
            '"db-2.internal.example.com", "password": "fake-pass-0123"}'
        ),
        PASS,
        "db-1.internal.example.com:5432 db-2.internal.example.com",
    ),
    "JSON, bearer": (
        (
            '{"headers": {"Authorization": "Bearer fake-token-0123456789", '
            '"Accept": "application/json"}}'
        ),
        "fake-token-0123456789",
        "application/json",
    ),
    "JSON, yaml": (
        '{"config.yaml": "db:\\n  password: fake-pass-0123\\n  host: db.internal\\n"}',
        PASS,
        "db.internal config.yaml",
    ),
    "env json": (
        'CONFIG=\'{"password": "fake-pass-0123", "mode": "production"}\'\nAPP_ENV=staging-2\n',
        PASS,
        "production",
    ),
    "JAAS": (
        (
            "org.apache.kafka.common.security.scram.ScramLoginModule required "
            'username="orders-robot" password="fake-pass-0123";'
        ),
        PASS,
        "orders-robot ScramLoginModule",
    ),
    "SQL": (
        "ALTER ROLE app_readwrite WITH PASSWORD 'it''s-fake-0123'",
        "it's-fake-0123",
        "app_readwrite",
    ),
    "SQL2": ("CREATE USER app_readwrite IDENTIFIED BY 'fake-pass-0123'", PASS, "app_readwrite"),
    "command line": (
        "--user app_readwrite --password fake-pass-0123 --host db.internal",
        PASS,
        "app_readwrite db.internal",
    ),
    "command line=": ("--user=app_readwrite --password=fake-pass-0123", PASS, "app_readwrite"),
    "TNS": (
        (
            "(DESCRIPTION=(ADDRESS=(HOST=db.internal)(PORT=1521))(SECURITY=(WALLET_"
            "PASSWORD=fake-pass-0123)))"
        ),
        PASS,
        "db.internal",
    ),
    "Maven": (
        (
            "<server><id>orders</id><username>app_readwrite</username><password>fak"
            "e-pass-0123</password></server>"
        ),
        PASS,
        "app_readwrite",
    ),
    "xml attr": (
        '<add name="orders-service" password="fake-pass-0123" host="db.internal"/>',
        PASS,
        "orders-service db.internal",
    ),
    "python dict": (
        "{'user': 'app_readwrite', 'password': 'fake-pass-0123'}",
        PASS,
        "app_readwrite",
    ),
    "semicolon env": ("user=app_readwrite;pwd=fake-pass-0123", PASS, "app_readwrite"),
    "several URLs": (
        "amqp://orders:fake-pass-4567@mq1:5672,amqp://orders:fake-pass-0123@mq2:5672",
        PASS,
        "mq2:5672",
    ),
    "MongoDB": (
        (
            "mongodb://orders_rw:fake-pass-0123@m1.internal,"
            "m2.internal/orders?authSource=admin&replicaSet=orders-rs0"
        ),
        PASS,
        "m1.internal orders-rs0",
    ),
    "Sentry": (
        "https://fake0123456789abcdef@o1.ingest.sentry.io/42",
        "fake0123456789abcdef",
        "o1.ingest.sentry.io",
    ),
    "user long": (
        "postgresql://orders_service_readwrite_main_2024:fake-pass-0123@db/o",
        PASS,
        "orders_service_readwrite_main_2024",
    ),
    "Snowflake": (
        (
            "account=ab12345.eu-central-1 user=ORDERS_ROBOT "
            "password=fake-pass-0123 warehouse=ORDERS_WH role=ORDERS_READ"
        ),
        PASS,
        "ORDERS_ROBOT ORDERS_READ ORDERS_WH",
    ),
    "slash pw": ("host=db password=/fake+Pass/0123", "/fake+Pass/0123", ""),
    "SMTP": (
        "smtp://robot%40orders.example:fake-pass-0123@mail.internal:587",
        PASS,
        "mail.internal:587",
    ),
    "JSON after a byte order mark": ('\ufeff{"password": "fake-pass-0123"}', PASS, ""),
    "JSON with a name twice": (
        '{"password": "fake-pass-0123", "password": "fake-pass-4567"}',
        PASS,
        "",
    ),
    "line ends of Windows": (
        "user=app_readwrite\r\npassword=fake-pass-0123\r\n",
        PASS,
        "app_readwrite",
    ),
    "base64 of a key": (
        b64encode(f"{KEY_BEGIN}\nRkFLRS9saW5lK29uZS8wMTIz\n{KEY_END}\n".encode()).decode(),
        "RkFLRS9saW5lK29uZS8wMTIz",
        "",
    ),
    "base64 of a document, in lines": (
        "\n".join(wrap(b64encode(DOCUMENT.encode()).decode(), 76)),
        PASS,
        "robot@orders.example eu-central-1",
    ),
    "base64 without its end": (b64encode(b"app_rw:fake-pass-0123").decode().rstrip("="), PASS, ""),
    "base64 in .npmrc": (
        f"//npm.internal/:username=orders-robot\n//npm.internal/:_password={PASS_64}\n",
        PASS,
        "orders-robot",
    ),
    "base64 in a parameter": (
        f"bigquery://orders/d?credentials_base64={b64encode(DOCUMENT.encode()).decode()}",
        PASS,
        "orders robot@orders.example",
    ),
    "base64 in a member": (
        json.dumps({".dockerconfigjson": b64encode(DOCUMENT.encode()).decode()}),
        PASS,
        "robot@orders.example",
    ),
    "base64 in LDIF": (f"dn: cn=orders\nuserPassword:: {PASS_64}\n", PASS_64, "orders"),
    "a connection string in a URL": (
        "mssql+pyodbc:///?odbc_connect="
        + quote("SERVER=db.internal;UID=app_rw;PWD={fa;ke}}pass-01}", safe=""),
        "fa;ke}pass-01",
        "db.internal app_rw",
    ),
    "a connection string in a member": (
        json.dumps({"url": f"mssql:///?odbc_connect={quote('UID=app_rw;PWD=fake:pass-0123')}"}),
        "fake:pass-0123",
        "app_rw",
    ),
    "a connection string in XML": (
        '<add name="Orders" connectionString="Server=db;User Id=app_rw;Password=fake-pass-0123;"/>',
        PASS,
        "Orders app_rw",
    ),
    "entities in XML": (
        '<Resource username="app_readwrite" password="fake&amp;pass&#45;0123"/>',
        "fake&pass-0123",
        "app_readwrite",
    ),
    "an escaped document": (quote(DOCUMENT), PASS, "robot@orders.example"),
    "environment in Kubernetes": (
        "env:\n- name: DB_PASSWORD\n  value: fake-pass-0123\n- name: HOST\n  value: db.internal\n",
        PASS,
        "db.internal DB_PASSWORD",
    ),
    "environment in JSON": (
        '[{"name": "DB_PASSWORD", "value": "correcthorse"}, {"name": "TYPE", "value": "a/jsonld"}]',
        "correcthorse",
        "DB_PASSWORD a/jsonld",
    ),
    "Hadoop": (
        "<property><name>fs.secret.key</name><value>fake/key+0123</value></property>",
        "fake/key+0123",
        "",
    ),
    "NuGet": (
        '<add key="Username" value="orders-bot"/><add key="Password" value="fake-pass-0123"/>',
        PASS,
        "orders-bot",
    ),
    "PHP": (
        "define('DB_USER', 'app_readwrite');\ndefine('AUTH_KEY', 'fake;key 0123');",
        "fake;key 0123",
        "app_readwrite",
    ),
    "headers as bytes": (
        "[(b'accept', b'text/plain'), (b'x-api-key', b'fake-key-0123')]",
        "fake-key-0123",
        "text/plain",
    ),
    "Erlang": ('{user, "app_rw"}, {password, "fake-pass-0123"}', PASS, "app_rw"),
    "Go": ("{User:app_readwrite Password:fake-pass-0123 Host:db.internal}", PASS, "app_readwrite"),
    "a header without a blank": ("X-Api-Key:fake-key-0123", "fake-key-0123", "X-Api-Key"),
    "properties of a mechanism": (
        "mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:fake-token-0123",
        "fake-token-0123",
        "authMechanismProperties",
    ),
    "YAML, tag": ("key: &it !vault fake-key-0123\nuser: app_rw\n", "fake-key-0123", "app_rw"),
    "YAML, list in a line": (
        "tokens: [fake-token-0123, 'fake-token-4567']\n",
        "fake-token-4567",
        "",
    ),
    "a list of users": (
        "orders:$apr1$fake0123$abcdefgh,admin:$2y$05$fakefake0123",
        "$apr1$fake0123$abcdefgh",
        "",
    ),
    "PgBouncer": ('"app_readwrite" "fake ""pass"" 01"\n', 'fake "pass" 01', "app_readwrite"),
    "lines with two words": (
        "bind 127.0.0.1\nrequirepass fake-pass-0123\nmasterauth fake-auth-0123\n",
        "fake-auth-0123",
        "127.0.0.1",
    ),
    "SIP": ("sip:orders:fake-pass-0123@pbx.internal", PASS, "pbx.internal"),
    "an element with an attribute": (
        '<w:Username>app_rw</w:Username><w:Password Type="text">fake-pass-0123</w:Password>',
        PASS,
        "app_rw",
    ),
    "an element without escapes": (
        "<user>app_rw</user><password><![CDATA[fake<pass>0123]]></password>",
        "fake<pass>0123",
        "app_rw",
    ),
    "a property list": (
        "<key>User</key><string>app_rw</string><key>Password</key><string>fake-pass-0123</string>",
        PASS,
        "app_rw",
    ),
    "a URL in a URL": (
        "https://h.example/?dsn=" + quote("postgres://app_rw:fake-pass-0123@db.internal/o"),
        PASS,
        "h.example db.internal app_rw",
    ),
    "curl": ("curl -u orders-robot:fake-pass-0123 https://h", PASS, "orders-robot"),
    "docker login": ("docker login -u orders-robot -p fake-pass-0123 h", PASS, "orders-robot"),
    "keytool": ("-keypass fake-key-0123 -storepass fake-store-0123", "fake-store-0123", "-keypass"),
    "several keys": ("fake-key-0123456,fake-key-7890123", "fake-key-7890123", ""),
    "several keys in lines": ("fake-key-0123\nfake-key-4567\n", "fake-key-0123", ""),
    "a webhook": (
        "https://hooks.example/services/T00FAKE/B00FAKE/XXXXfake0123456789abcdef",
        "XXXXfake0123456789abcdef",
        "https://hooks.example /services/T00FAKE/",
    ),
    "a webhook with an at sign": (
        "https://orders.example/hook/fake@fake/fake0123456789abcdef0123456789ab/x",
        "fake0123456789abcdef0123456789ab",
        "orders.example",
    ),
    "kubeconfig with a key": (
        f"users:\n- user:\n    client-key-data: {PASS_64}\ncurrent-context: admin@orders-cluster\n",
        PASS,
        "admin@orders-cluster",
    ),
    "escaped nl": (
        "user=app_readwrite\\npassword=fake-pass-0123\\nhost=db.internal",
        PASS,
        "db.internal",
    ),
}
"""Label to a value, the secret in it, and words that are not secret."""


def test_a_secret_inside_a_composite_is_hidden_and_its_neighbours_are_shown() -> None:
    """Names, hosts, users and settings stay readable in every format."""
    for label, (value, secret, public) in COMPOSITES.items():
        with case(label):
            assert shown(f"it was {secret}!", value) == f"it was {MASK}!"
            for word in public.split():
                assert shown(f"<{word}>", value) == f"<{word}>"


SHOWN: list[tuple[str, str]] = [
    ("host=db sslpassword='' user=app_rw sslmode=verify-full", "user=app_rw sslmode=verify-full"),
    ("postgresql://orders_service_readwrite:fake-pass-0123@db/o", "orders_service_readwrite"),
    ("postgresql://orders_service_rw_2024@db.internal/orders", "db.internal"),
    ("https://orders-service-readwrite@h.example/1", "orders-service-readwrite"),
    ('{"password": "fake-pass-0123", "sslmode": "verify-full"}', "verify-full"),
    ('{"password": "fake-pass-0123", "team": "orders_prod"}', "orders_prod"),
    ('{"password": "fake-pass-0123", "cert": "/etc/ssl/client.crt"}', "/etc/ssl/client.crt"),
    ('{"password": "fake-pass-0123", "ssl_key": "/etc/ssl/client.key"}', "/etc/ssl/client.key"),
    ('{"password": "fake-pass-0123", "rate": 12345678.25}', "12345678.25"),
    ("environment: production\npassword: fake-pass-0123\n", "environment: production"),
    (
        '{"password": "fake-pass-0123", "Expiration": "2026-01-01T00:00:00Z"}',
        "2026-01-01T00:00:00Z",
    ),
    ('{"password": "fake-pass-0123", "rotated": "2026-12-31"}', "2026-12-31"),
    ('{"password": "fake-pass-0123", "contact": "robot@orders.example"}', "robot@orders.example"),
    (
        '{"clientSecret": "fake-pass-0123", "tenantId": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}',
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    ),
    (
        '{"password": "fake-pass-0123", "host": "orders.cluster-c1a2b3d4e5f6.eu.rds.example.com"}',
        "orders.cluster-c1a2b3d4e5f6.eu.rds.example.com",
    ),
    ('{"password": "fake-pass-0123", "user": "orders_service_rw_2024"}', "orders_service_rw_2024"),
    ('{"password": "fake-pass-0123", "password_policy": "strong-policy"}', "strong-policy"),
    ("arn:aws:secretsmanager:eu-central-1:0123:secret:orders-prod-AbCdEf", "orders-prod-AbCdEf"),
    ("https://api.orders.example/v1/orders-service-readwrite", "orders-service-readwrite"),
    ("GenieKey fake-4f3e2d1c-0123", "GenieKey"),
    (
        '{"auths": {"012345.dkr.ecr.eu-central-1.example.com": {"password": "fake-pass-0123"}}}',
        "012345.dkr.ecr.eu-central-1.example.com",
    ),
    (
        '{"https://orders.c1a2b3d4e5f6.example.com/v1/": {"password": "fake-pass-0123"}}',
        "https://orders.c1a2b3d4e5f6.example.com/v1/",
    ),
    ("contact: mailto:somebody-else@orders.example", "somebody-else"),
    ("image: library/orders-service@sha256:fake", "orders-service"),
]


def test_a_name_beside_a_secret_is_shown() -> None:
    """Users, hosts, modes, paths and numbers are not secrets by themselves."""
    for value, text in SHOWN:
        with case(value):
            assert shown(f"<{text}>", value) == f"<{text}>"


def test_a_generated_text_is_hidden_also_under_a_public_name() -> None:
    """A webhook's address can contain its token, and a user name can be a token."""
    for value, secret in (
        (
            '{"url": "https://h.example/fake0token0123456789", "password": "x"}',
            "fake0token0123456789",
        ),
        ("https://fake0Token0123456789:x-oauth-basic@h.example", "fake0Token0123456789"),
        ('{"password": "fake-pass-0123", "other": "kE9fakeXq2"}', "kE9fakeXq2"),
        (
            '{"password": "fake-pass-0123", "other": "correct horse battery"}',
            "correct horse battery",
        ),
        ('{"password": "fake-pass-0123", "other": "one-more-fake-phrase"}', "one-more-fake-phrase"),
        ("host=db password=/fake/0Pass1/2", "/fake/0Pass1/2"),
    ):
        with case(value):
            assert MASK in shown(f"<{secret}>", value)
            assert secret not in shown(f"<{secret}>", value)


def test_an_identifier_has_few_ordinary_words() -> None:
    """Words, hosts and paths; no token and no passphrase."""
    for text in ("postgres", "orders_prod", "verify-full", "db-1.internal:5432", "/etc/ssl/a.key"):
        assert is_identifier(text), text
    for text in ("fake0123", "aBcDeFgH", "one-two-three-four", "two words", "a" * 200):
        assert not is_identifier(text), text


def test_a_value_that_is_a_word_is_masked_only_as_a_whole_word() -> None:
    """Names of libraries and schemes contain everyday words; an escape before a word is no part."""
    for text in ("postgresql://db", "mypostgres", "postgresUser", "aiopostgres x"):
        assert shown(text, "postgres") == text
    for text in ("postgres", "as postgres.", "'postgres'", "PGPASSWORD=postgres", "postgres_1"):
        for value in ("postgres", "mysql://u:postgres@h"):
            assert shown(text, value) == text.replace("postgres", MASK)
    escapes = (
        r"\n",
        "%2f",
        r"\x0a",
        r"\u000a",
        r"\U0000000a",
        "&quot;",
        "\n",
        "%25%32%66",
        "%252f",
    )
    colours = ("\x1b[35m", r"\x1b[1;31m", r"\u001b[0m")
    for before in (*escapes, *colours, "9", "=3D", "-p", "psql -p", "\u5bc6"):
        assert shown(f"{before}postgres {before}", "postgres").startswith(f"{before}{MASK}")
    assert shown("<%70ostgres>", "postgres") == f"<{MASK}>"


password_texts = st.text(string.printable[:95], min_size=MIN_LENGTH, max_size=30).filter(
    lambda text: text == text.strip() and not text.startswith("/")
)
FORMATS: list[Callable[[str], str]] = [
    lambda text: "host=db password='{}' user=app".format(re.sub(r"([\\'])", r"\\\1", text)),
    lambda text: 'Server=db;Password="{}";User Id=app'.format(text.replace('"', '""')),
    lambda text: "SERVER=db;PWD={{{}}};UID=app".format(text.replace("}", "}}")),
    lambda text: "user: app\npassword: '{}'\nhost: db\n".format(text.replace("'", "''")),
    lambda text: f"user: app\npassword: {json.dumps(text)}\nhost: db\n",
    lambda text: json.dumps({"user": "app", "password": text}),
    lambda text: f"Basic {b64encode(f'app:{text}'.encode()).decode()}",
    lambda text: json.dumps({"auths": {"h": {"auth": b64encode(f"app:{text}".encode()).decode()}}}),
    lambda text: "db:5432:orders:app:{}".format(re.sub(r"([\\:])", r"\\\1", text)),
    lambda text: f"api-key={quote(text)},x-scope=orders",
    lambda text: b64encode(json.dumps({"user": "app", "password": text}).encode()).decode(),
    lambda text: quote(json.dumps({"password": text})),
    lambda text: "CONFIG={}\nMODE=on\n".format(json.dumps({"password": text})),
    lambda text: (
        "x:///?odbc=" + quote("UID=a;PWD={{{}}};".format(text.replace("}", "}}")), safe="")
    ),
    lambda text: f"https://h/?dsn={quote(f'postgres://app:{quote(text)}@h/d')}",
    lambda text: f'<user>app</user><w:Password Type="x">{escape(text)}</w:Password>',
    lambda text: f'<add key="Password" value="{escape(text)}"/>',
    lambda text: "<add connection=\"User Id=a;Password='{}';\"/>".format(
        escape(text.replace("'", "''"))
    ),
    lambda text: '"app" "{}"'.format(text.replace('"', '""')),
    lambda text: "define('DB_PASSWORD', '{}');".format(re.sub(r"([\\'])", r"\\\1", text)),
    lambda text: repr([("user", "app"), (b"x-api-key", text.encode())]),
    lambda text: 'machine h login u password "{}"'.format(re.sub(r'([\\"])', r"\\\1", text)),
]


@settings(deadline=None)
@example("00000}0=", 'CONFIG={{"password": "{}"}}\nMODE=on\n'.format)
@given(password_texts, st.sampled_from(FORMATS))
def test_any_password_that_is_quoted_as_its_format_wants_is_hidden(
    text: str, write: Callable[[str], str]
) -> None:
    """Each format has its escapes; the password without them is hidden."""
    assert shown(f"<{text}>", write(text)) == f"<{MASK}>"


def test_a_hostile_text_is_examined_in_linear_time() -> None:
    """With a quadratic pattern each of these would take minutes, and the test would time out."""
    deep = "[" * 50_000 + '"' + '\\"' * 50_000
    parts = ("a", "a=", "a='", "a={", 'a="\\', "a=b ", "a@", "a:b@", "https://a:b@", "password=a ")
    more = (",", "a=,", ")", "- ", "a:\n", "a=b\n", '{"a":', "''", "bearer ", "identified  by ")
    for text in (deep, *(part * (100_000 // len(part)) for part in parts + more)):
        with case(text[:20]):
            assert all(len(each) <= len(text) for each in embedded_secrets(text))
            assert all(len(each) <= len(text) for each in distinctive_lines(text))


def test_a_long_text_is_examined_for_short_passwords_in_linear_time() -> None:
    """With a quadratic pattern each of these would take minutes, and the test would time out."""
    assert not has_short_password("a" * 1_000_000)
    assert not has_short_password("a://" * 100_000)
    assert has_short_password("a" * 1_000_000 + "://app:short@db")
