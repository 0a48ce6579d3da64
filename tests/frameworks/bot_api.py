"""A small server with the methods of the Bot API of Telegram that a polling bot calls."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Condition, Event, Thread
from typing import Any
from urllib.parse import parse_qs

_BOT = {"id": 4711, "is_bot": True, "first_name": "Hive", "username": "hive_bot"}
_CHAT = {"id": 1, "type": "private", "first_name": "Somebody"}

_LONGEST_POLL = 10.0
"""Seconds that ``getUpdates`` waits at most."""


class BotApi:
    """Messages to a bot, and its answers.

    Attributes:
        address: URL of the server.
        answers: texts that the bot has sent.
        responds: whether calls of ``sendMessage`` return; cleared, they wait.
        calls: number of calls of ``sendMessage`` that have begun.
        token: the token of the last call.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: list[str] = []
        self.responds = Event()
        self.responds.set()
        self.calls = 0
        self.token = ""
        self._changed = Condition()
        self._updates: list[dict[str, Any]] = []
        self._numbers = count(1)
        self._is_open = True

    def send(self, text: str) -> None:
        """Send a message to the bot."""
        with self._changed:
            number = next(self._numbers)
            self._updates.append({"update_id": number, "message": _message(number, text)})
            self._changed.notify_all()

    def unconfirmed(self) -> int:
        """Return how many messages the next start of the bot would get again."""
        with self._changed:
            return len(self._updates)

    def close(self) -> None:
        """End the calls that wait."""
        self.responds.set()
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def call(self, method: str, arguments: dict[str, str]) -> object:
        """Return the result of a method."""
        match method.lower():
            case "getme":
                return _BOT
            case "getupdates":
                return self._get_updates(int(arguments.get("offset", 0)), arguments)
            case "sendmessage":
                with self._changed:
                    self.calls += 1
                self.responds.wait()
                with self._changed:
                    self.answers.append(arguments["text"])
                    return _message(1000 + len(self.answers), arguments["text"])
            case _:
                return True

    def _get_updates(self, offset: int, arguments: dict[str, str]) -> list[dict[str, Any]]:
        seconds = min(float(arguments.get("timeout", 0)), _LONGEST_POLL)
        with self._changed:
            # The offset confirms the updates before it.
            self._updates = [each for each in self._updates if each["update_id"] >= offset]
            self._changed.wait_for(lambda: self._updates or not self._is_open, seconds)
            return list(self._updates)


def _message(number: int, text: str) -> dict[str, Any]:
    return {"message_id": number, "date": 1, "chat": _CHAT, "from": _CHAT | {"is_bot": False}} | {
        "text": text
    }


@contextmanager
def bot_api() -> Iterator[BotApi]:
    """Run a server in threads of this process."""

    class Handler(BaseHTTPRequestHandler):
        """Answers the calls of the bot."""

        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Call the method that is the last part of the path."""
            api.token = self.path.rpartition("/")[0].removeprefix("/bot")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            arguments = {name: values[-1] for name, values in parse_qs(body).items()}
            result = api.call(self.path.rpartition("/")[2], arguments)
            answer = json.dumps({"ok": True, "result": result}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name in the base)
            """Log nothing."""

        def handle(self) -> None:
            """Handle a connection; a bot that stops closes it in the middle of a call."""
            try:
                super().handle()
            except ConnectionError:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api = BotApi(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield api
    finally:
        api.close()
        server.shutdown()
        server.server_close()
        thread.join()
