"""Frequent mistakes of newcomers: what each one writes and types."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

from tests.docs.reading import replay

APP = '''\
# app.py
from hive_boot import Bootstrap, Secret, SecretSet, secret

class AppSecrets(SecretSet):
    """The secrets of the service."""
    api_key: Secret = secret(used_by="orders", min_length=16)

boot = Bootstrap(AppSecrets)

@boot.main
async def main(secrets: AppSecrets) -> None:
    print("ready")

if __name__ == "__main__":
    boot.run()
'''
"""The application that the mistakes import."""

DOTENV = "API_KEY=fake-key-0123456789\n"

LAST = "python wrong.py 2>&1 | tail -1"
"""A command that shows the last line of a traceback."""


class Mistake(NamedTuple):
    """A mistake.

    Attributes:
        title: what was done, as a heading.
        code: the content of `wrong.py`; empty without this file.
        command: what is typed. Default: runs `wrong.py`, and shows the last line.
    """

    title: str
    code: str = ""
    command: str = LAST

    def as_markdown(self, directory: Path, environment: Mapping[str, str]) -> str:
        """Make the mistake in a new directory, and return what was written, typed and printed."""
        directory.mkdir()
        blocks = []
        (directory / "app.py").write_text(APP, "utf-8")
        (directory / ".env").write_text(DOTENV, "utf-8")
        if self.code:
            code = f"# wrong.py\n{dedent(self.code).lstrip()}"
            (directory / "wrong.py").write_text(code, "utf-8")
            blocks.append(f"```python\n{code}```")
        typed = "\n".join(f"$ {line}" for line in self.command.splitlines())
        printed = replay(typed, directory, dict(environment))
        blocks.append(f"```console\n{printed.replace(str(directory), '/srv/app')}```")
        return "\n\n".join([f"### {self.title}", *blocks])


DECLARED = [
    Mistake(
        "A value in the class",
        """
        from hive_boot import Secret, SecretSet

        class Keys(SecretSet):
            token: Secret = "changeme"
        """,
    ),
    Mistake(
        "None for a required secret",
        """
        from hive_boot import Secret, SecretSet

        class Keys(SecretSet):
            token: Secret = None
        """,
    ),
    Mistake(
        "A setting among the secrets",
        """
        from hive_boot import SecretSet

        class Keys(SecretSet):
            port: int
        """,
    ),
    Mistake(
        "A field without an annotation",
        """
        from hive_boot import SecretSet, secret

        class Keys(SecretSet):
            token = secret(min_length=8)
        """,
    ),
    Mistake(
        "A name that is not a variable",
        """
        from hive_boot import Secret, SecretSet, secret

        class Keys(SecretSet):
            token: Secret = secret("API KEY")
        """,
    ),
    Mistake(
        "A file outside the directory",
        """
        from hive_boot import Secret, SecretSet, secret

        class Keys(SecretSet):
            token: Secret = secret(file="../token")
        """,
    ),
    Mistake(
        "An unknown profile",
        """
        from hive_boot import Secret, SecretSet, secret

        class Keys(SecretSet):
            token: Secret | None = secret(required_in="live")
        """,
    ),
    Mistake(
        "A pattern that is not a regular expression",
        """
        from hive_boot import Secret, SecretSet, secret

        class Keys(SecretSet):
            token: Secret = secret(pattern="[")
        """,
    ),
    Mistake(
        "A development default that is too short",
        """
        from hive_boot import Secret, SecretSet, secret

        class Keys(SecretSet):
            token: Secret = secret(min_length=32, dev_default="dev")
        """,
    ),
    Mistake(
        "Two fields with one name",
        """
        from hive_boot import Secret, SecretSet, secret

        class Keys(SecretSet):
            token: Secret
            old_token: Secret = secret("TOKEN")
        """,
    ),
    Mistake(
        "Secrets in a mixin",
        """
        from hive_boot import Secret, SecretSet

        class Mixin:
            token: Secret

        class Keys(Mixin, SecretSet): ...
        """,
    ),
    Mistake(
        "A check of the set that is not async",
        """
        from hive_boot import Secret, SecretSet

        class Keys(SecretSet):
            token: Secret

            def check(self): ...
        """,
    ),
    Mistake(
        "A misspelt argument of Bootstrap",
        """
        from app import AppSecrets
        from hive_boot import Bootstrap

        boot = Bootstrap(AppSecrets, secret_dirs="secrets")
        """,
    ),
    Mistake(
        "An unknown mode",
        """
        from app import AppSecrets
        from hive_boot import Bootstrap

        boot = Bootstrap(AppSecrets, mode="k8s")
        """,
    ),
    Mistake(
        "The name of a class instead of the class",
        """
        from hive_boot import Bootstrap

        boot = Bootstrap("AppSecrets")
        """,
    ),
    Mistake(
        "A hook for a field that is not declared",
        """
        from app import boot

        @boot.on_rotate("api_kay")
        async def reconnect(change): ...
        """,
    ),
    Mistake(
        "A main that is not async",
        """
        from app import AppSecrets
        from hive_boot import Bootstrap

        boot = Bootstrap(AppSecrets)

        @boot.main
        def main(secrets: AppSecrets): ...
        """,
    ),
    Mistake(
        "A second main",
        """
        from app import boot

        @boot.main
        async def other(): ...
        """,
    ),
    Mistake(
        "A parameter that nothing provides",
        """
        from app import AppSecrets
        from hive_boot import Bootstrap

        boot = Bootstrap(AppSecrets)

        @boot.main
        async def main(secrets: AppSecrets, pool: object): ...

        boot.run()
        """,
    ),
    Mistake(
        "Resources that need each other",
        """
        from app import boot

        @boot.resource
        async def one(two): ...

        @boot.resource
        async def two(one): ...

        boot.run()
        """,
    ),
    Mistake(
        "A main that takes a resource that is rebuilt",
        """
        from app import AppSecrets
        from hive_boot import Bootstrap

        boot = Bootstrap(AppSecrets)

        @boot.resource(rebuild_on="api_key")
        async def pool(secrets: AppSecrets):
            yield object()

        @boot.main
        async def main(pool: object): ...

        boot.run()
        """,
    ),
    Mistake(
        "A resource with two yields",
        """
        from app import boot

        @boot.resource
        async def pool():
            yield "one"
            yield "two"

        boot.run()
        """,
    ),
]
"""Mistakes in a declaration."""

STARTED = [
    Mistake(
        "Secrets at import time",
        """
        from app import boot

        key = boot.secrets.api_key
        """,
    ),
    Mistake(
        "`boot.run()` in an event loop",
        """
        import asyncio
        from app import boot

        async def start():
            boot.run()

        asyncio.run(start())
        """,
    ),
    Mistake(
        "`boot.run(main)`",
        """
        from app import boot, main

        boot.run(main)
        """,
    ),
    Mistake(
        "`boot.run()` without a main",
        """
        from app import AppSecrets
        from hive_boot import Bootstrap

        Bootstrap(AppSecrets).run()
        """,
    ),
    Mistake(
        "A misspelt backend",
        """
        from app import boot

        boot.run(backend="uvlop")
        """,
    ),
    Mistake(
        "`with` instead of `async with`",
        """
        from app import boot

        with boot.running() as secrets:
            print(secrets.api_key)
        """,
    ),
    Mistake(
        "`await` instead of `async with`",
        """
        import asyncio
        from app import boot

        async def start():
            await boot.running()

        asyncio.run(start())
        """,
    ),
    Mistake(
        "A lifespan with parentheses",
        """
        from app import boot
        from fastapi import FastAPI

        web = FastAPI(lifespan=boot.lifespan())
        """,
    ),
    Mistake(
        "The name of an ASGI application instead of the application",
        """
        from app import boot

        boot.asgi("app:web")
        """,
    ),
    Mistake(
        "A second start",
        """
        import asyncio
        from app import boot

        async def start():
            async with boot.running(), boot.running():
                pass

        asyncio.run(start())
        """,
    ),
    Mistake(
        "A server that does not answer",
        """
        import anyio
        from app import AppSecrets
        from hive_boot import Bootstrap

        boot = Bootstrap(AppSecrets, startup_timeout=2)

        @boot.resource
        async def database():
            async with await anyio.connect_tcp("127.0.0.1", 1):
                yield

        @boot.main
        async def main(): ...

        boot.run()
        """,
        "python wrong.py 2>&1 | tail -3; echo ${PIPESTATUS[0]}",
    ),
]
"""Mistakes in how an application is started."""

PROVIDED = [
    Mistake("A secret that is nowhere", command="rm .env; python app.py"),
    Mistake(
        "A name that is almost right",
        command="echo APIKEY=fake-key-0123456789 > .env; python app.py 2>&1 | tail -4",
    ),
    Mistake(
        "A value that is too short",
        command="echo API_KEY=short > .env; python app.py 2>&1 | tail -4",
    ),
    Mistake(
        "A placeholder in production",
        command="echo API_KEY='<your-api-key-here>' > .env\n"
        "HIVE_BOOT_PROFILE=production python app.py 2>&1 | tail -4",
    ),
    Mistake(
        "A reference that nothing resolves",
        command="echo API_KEY=op://vault/orders/key > .env\n"
        "HIVE_BOOT_PROFILE=production python app.py 2>&1 | tail -4",
    ),
    Mistake(
        "A quote that is not closed",
        command="echo 'API_KEY=\"fake-key-0123456789' > .env; python app.py 2>&1 | tail -2",
    ),
    Mistake(
        "A misspelt mode",
        command="HIVE_BOOT_MODE=kubernetess python app.py 2>&1 | tail -2",
    ),
    Mistake(
        "A directory that does not exist",
        command="HIVE_BOOT_SECRETS_DIR=secret python app.py 2>&1 | tail -7",
    ),
    Mistake(
        "A variable where files are read",
        command="mkdir secrets; export API_KEY=fake-key-0123456789\n"
        "HIVE_BOOT_SECRETS_DIR=secrets python app.py 2>&1 | tail -4",
    ),
    Mistake(
        "A directory where a file belongs",
        command="mkdir -p secrets/api_key\n"
        "HIVE_BOOT_SECRETS_DIR=secrets python app.py 2>&1 | tail -4",
    ),
    Mistake(
        "A link to nothing",
        command="mkdir secrets; ln -s ../key secrets/api_key\n"
        "HIVE_BOOT_SECRETS_DIR=secrets python app.py 2>&1 | tail -4",
    ),
    Mistake(
        "A file in UTF-16",
        command="mkdir secrets; iconv -t UTF-16LE .env > secrets/api_key\n"
        "HIVE_BOOT_SECRETS_DIR=secrets python app.py 2>&1 | tail -4",
    ),
    Mistake(
        "Two files that differ",
        command="mkdir secrets; echo fake-key-0123456789 > secrets/api_key\n"
        "echo fake-key-9876543210 > secrets/API_KEY\n"
        "HIVE_BOOT_SECRETS_DIR=secrets python app.py 2>&1 | tail -4",
    ),
]
"""Mistakes in how secrets are provided."""

USED = [
    Mistake(
        "A secret in a text",
        """
        from app import boot

        with boot.loaded() as secrets:
            print(f"Bearer {secrets.api_key}")
        """,
        "python wrong.py",
    ),
    Mistake(
        "A secret that is joined to a text",
        """
        from app import boot

        with boot.loaded() as secrets:
            print("Bearer " + secrets.api_key)
        """,
    ),
    Mistake(
        "A secret in JSON",
        """
        import json
        from app import boot

        with boot.loaded() as secrets:
            json.dumps({"key": secrets.api_key})
        """,
    ),
    Mistake(
        "A secret that is compared with a text",
        """
        from app import boot

        with boot.loaded() as secrets:
            print(secrets.api_key == "fake-key-0123456789")
        """,
        "python wrong.py",
    ),
    Mistake(
        "A misspelt attribute",
        """
        from app import boot

        with boot.loaded() as secrets:
            print(secrets.api_kay)
        """,
    ),
    Mistake(
        "An attribute that is assigned",
        """
        from app import boot

        with boot.loaded() as secrets:
            secrets.api_key = "fake"
        """,
    ),
    Mistake(
        "A name that is not declared",
        """
        from app import boot
        from hive_boot import get_secret

        with boot.loaded():
            get_secret("API_KAY")
        """,
    ),
    Mistake(
        "A handle that is used as its value",
        """
        from app import boot

        @boot.resource
        async def pool():
            yield "a pool"

        print(pool.upper())
        """,
    ),
    Mistake(
        "The value of a handle outside a run",
        """
        from app import boot

        @boot.resource
        async def pool():
            yield "a pool"

        print(pool.value)
        """,
    ),
]
"""Mistakes in how secrets and resources are used."""

TYPED = [
    Mistake("A module without an object", command="hive-boot check app"),
    Mistake("An object that does not exist", command="hive-boot check app:bot"),
    Mistake("An object of another type", command="hive-boot check app:main"),
    Mistake("A module that does not exist", command="hive-boot check application:boot"),
    Mistake(
        "A module that starts when it is imported",
        """
        from app import boot

        boot.run()
        """,
        "hive-boot check wrong:boot 2>&1 | tail -1",
    ),
    Mistake("A misspelt command", command="hive-boot docktor app:boot"),
    Mistake(
        "A new value for a file that does not exist",
        command="mkdir secrets; echo fake-key-9876543210 | hive-boot rotate API_KEY --to secrets",
    ),
    Mistake("A probe of a port that is closed", command="hive-boot probe --port 1"),
]
"""Mistakes at the command line."""

MISTAKES = {
    "declared": DECLARED,
    "started": STARTED,
    "provided": PROVIDED,
    "used": USED,
    "typed": TYPED,
}
"""All mistakes, by the part of the page that shows them."""
