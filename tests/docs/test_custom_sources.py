"""The example of docs/sources.md with a server, and the pages' statements about sources."""

from pathlib import Path

from tests.docs.reading import python_files, read_page, write_files
from tests.examples.kv_server import serving
from tests.serving.served import interpreter

PROGRAM = """
import anyio
from app import AppSecrets, boot

async def main():
    async with boot.running() as secrets:
        assert secrets.database_password.reveal() == "fake-database-password"
        assert secrets.sentry_dsn is None
        (origin, _) = boot.status().secrets
        print(origin.source, origin.place)

anyio.run(main, backend="BACKEND")
"""


def test_the_example_starts_with_a_server(tmp_path: Path) -> None:
    """The block is a whole application, on asyncio and on trio."""
    with serving() as server:
        server.whole = {"/orders": {"DATABASE_PASSWORD": "fake-database-password", "OTHER": "fake"}}
        source = python_files(read_page("docs/sources.md"))["app.py"]
        assert "http://127.0.0.1:8200" in source
        place = write_files(
            tmp_path, {"app.py": source.replace("http://127.0.0.1:8200", server.address)}
        )
        for backend in ("asyncio", "trio"):
            program = PROGRAM.replace("BACKEND", backend)
            child = interpreter().run(
                program, cwd=place, HIVE_BOOT_MODE="environment", NO_PROXY="*"
            )
            assert child.returncode == 0, child.stderr
            assert child.stdout == "source secrets-manager\n"
