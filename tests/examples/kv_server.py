"""HTTP server that speaks the KV engine, version 2, of Vault and OpenBao, as far as it is read.

https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2 has the paths, the bodies and the
status of each answer: 403 without a valid token, 404 for a secret that does not exist or whose
newest version is deleted, 429 for too many requests, 503 for a sealed server.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "fake-token-0123456789"

PREFIX = "/v1/secret/data/"


class KvServer:
    """The state of the server, which tests change while it runs.

    Attributes:
        secrets: the versions of each secret by its path, the newest last; None is a deleted one.
        whole: the answers to other paths, which need no token.
        status: the status of every answer, for an outage; 0 for none.
        delay: seconds before each answer.
        requests: the path of each request.
        headers: the headers of the last request.
    """

    def __init__(self) -> None:
        self.secrets: dict[str, list[Mapping[str, object] | None]] = {}
        self.whole: dict[str, dict[str, Any]] = {}
        self.status = 0
        self.delay = 0.0
        self.requests: list[str] = []
        self.headers: Mapping[str, str] = {}
        self.address = ""

    def write(self, path: str, content: Mapping[str, object] | None) -> None:
        """Add a version of a secret."""
        self.secrets.setdefault(path, []).append(content)

    def answer(self, path: str, token: str | None) -> tuple[int, dict[str, Any]]:
        """Return status and body of an answer."""
        self.requests.append(path)
        until = time.monotonic() + self.delay
        while self.delay and time.monotonic() < until:
            time.sleep(0.01)
        if self.status:
            return self.status, {"errors": [f"Vault is sealed, and never shows {TOKEN}"]}
        if path in self.whole:
            return 200, self.whole[path]
        if token != TOKEN:
            return 403, {"errors": ["permission denied"]}
        versions = self.secrets.get(path.removeprefix(PREFIX), [])
        if not path.startswith(PREFIX) or not versions:
            return 404, {"errors": []}
        metadata = {"version": len(versions), "destroyed": False}
        return 404 if versions[-1] is None else 200, {
            "request_id": "00000000-0000-0000-0000-000000000000",
            "data": {"data": versions[-1], "metadata": metadata},
        }


@contextmanager
def serving() -> Iterator[KvServer]:
    """Run a server on a free port of this machine for the block."""
    state = KvServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.headers = dict(self.headers)
            status, content = state.answer(self.path, self.headers["X-Vault-Token"])
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        host, port = server.server_address[:2]
        state.address = f"http://{host!s}:{port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield state
        finally:
            state.delay = 0.0
            server.shutdown()
            thread.join()
