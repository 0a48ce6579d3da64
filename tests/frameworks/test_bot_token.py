"""The bot of docs/guides/clients.md gets a new token, and is started again with it."""

import signal
from pathlib import Path

from hive_boot.testing import MountedVolume
from tests.docs.reading import python_files, read_page
from tests.frameworks.bot_api import BotApi, bot_api
from tests.frameworks.test_frameworks import require
from tests.serving.served import Served
from tests.support import started_child, wait_until

PROGRAMS = python_files(read_page("docs/guides/clients.md"))

OLD, NEW = (f"471{number}:fake-bot-token-0123456789-0123456789" for number in (1, 2))

RUN = "import runpy; runpy.run_path('token_bot.py', run_name='__main__')"

SESSION = """
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
def session():
    return AiohttpSession(api=TelegramAPIServer.from_base({address!r}))
"""
"""A client of the server of this test."""


def publish(volume: MountedVolume, token: str) -> None:
    """Write the secrets of the page as the kubelet does."""
    others = {"role_password": "fake-role-password", "redis_password": "fake-redis-password"}
    volume.publish({**others, "bot_token": token})


def answered(api: BotApi, text: str) -> None:
    """Send a message, and wait for the answer."""
    count = len(api.answers)
    api.send(text)
    wait_until(lambda: len(api.answers) > count)


def test_a_bot_follows_its_token(tmp_path: Path) -> None:
    """The polling begins again with the new token, and the process continues."""
    require(["aiogram"])
    volume = MountedVolume(tmp_path / "secrets")
    publish(volume, OLD)
    with bot_api() as api:
        program = PROGRAMS["token_bot.py"].replace("reveal())", "reveal(), session=session())")
        (tmp_path / "token_bot.py").write_text(SESSION.format(address=api.address) + program)
        (tmp_path / "app.py").write_text(PROGRAMS["app.py"])
        variables = {"HIVE_BOOT_MODE": "docker", "HIVE_BOOT_SECRETS_DIR": str(volume.path)}
        with started_child(RUN, cwd=tmp_path, **variables) as process:
            it = Served(process, tmp_path)
            it.wait_logged("Ready after")
            answered(api, "first")
            assert api.token == OLD
            publish(volume, NEW)
            it.wait_logged("Rotated BOT_TOKEN.*rebuilt: bot")
            it.wait_for(lambda: api.token == NEW)
            answered(api, "second")
            it.send(signal.SIGTERM)
            assert it.end() == 0, it.err
            it.close()
    assert not it.logged("Traceback|ERROR")
