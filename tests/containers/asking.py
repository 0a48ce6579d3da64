"""Clients of a service: one that asks once, and many that never stop."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

_TIMEOUT = 30.0

_LATE = 20
"""Requests that a client still sends when the balancer has seen that the service stops."""


def ask(url: str, path: str, *, key: str = "") -> tuple[int, str]:
    """Send one request on a connection of its own, with an API key, and give status and body."""
    connection = _connection(url)
    try:
        return _exchange(connection, "GET", path, headers={"X-API-Key": key} if key else {})
    finally:
        connection.close()


def answers(url: str, path: str, *, key: str = "") -> bool:
    """Return whether a request is answered, by 200."""
    try:
        return ask(url, path, key=key)[0] == 200
    except (OSError, HTTPException):
        return False


def is_refused(url: str) -> bool:
    """Return whether nobody listens any more."""
    connection = _connection(url)
    try:
        connection.connect()
    except ConnectionRefusedError:
        return True
    finally:
        connection.close()
    return False


class Unfinished:
    """A login of which half was sent; the rest follows when it is told to."""

    def __init__(self, url: str, login: Mapping[str, str]) -> None:
        body = json.dumps(login).encode()
        self._connection = _connection(url)
        self._connection.putrequest("POST", "/login")
        self._connection.putheader("Content-Type", "application/json")
        self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body[:10])
        self._rest = body[10:]

    def finish(self) -> tuple[int, str]:
        """Send the rest, and give status and body."""
        try:
            self._connection.send(self._rest)
            response = self._connection.getresponse()
            return response.status, response.read().decode()
        finally:
            self._connection.close()


class Traffic:
    """Clients that ask without a pause, behind a balancer that heeds ``/readyz``.

    They learn of a stop as behind any balancer: late, so each still sends some requests.

    Attributes:
        answered: how often each status came, by the client.
        failures: what any of them saw that was no answer, or not the one of a service that works.
    """

    def __init__(self, url: str, login: Mapping[str, str]) -> None:
        self.answered: Counter[str] = Counter()
        self.failures: list[str] = []
        self._url = url
        self._login = json.dumps(login)
        self._told = threading.Event()
        self._enough = threading.Event()

    @property
    def is_flowing(self) -> bool:
        """Whether every client has been answered, or one has failed."""
        return bool(self.failures) or len(self.answered) == len(self._clients())

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Ask while the block runs, until the balancer sees that the service is not ready."""
        threads = [threading.Thread(target=self._watch)]
        threads += [
            threading.Thread(target=self._ask, args=item) for item in self._clients().items()
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        except BaseException:
            self._enough.set()
            raise
        finally:
            for thread in threads:
                thread.join()

    def _clients(self) -> dict[str, Callable[[HTTPConnection], tuple[int, str]]]:
        def look(connection: HTTPConnection) -> tuple[int, str]:
            return _exchange(connection, "GET", "/health")

        def enter(connection: HTTPConnection) -> tuple[int, str]:
            headers = {"Content-Type": "application/json"}
            return _exchange(connection, "POST", "/login", body=self._login, headers=headers)

        return {"new": look, "another new": look, "kept": look, "slow": enter}

    def _watch(self) -> None:
        while not self._enough.is_set():
            try:
                if ask(self._url, "/readyz")[0] != 200:
                    break
            except (OSError, HTTPException) as exc:
                self.failures.append(f"the balancer was told nothing: {exc!r}")
                break
        self._told.set()

    def _ask(self, name: str, send: Callable[[HTTPConnection], tuple[int, str]]) -> None:
        connection = _connection(self._url)
        left = _LATE
        try:
            while left and not self._enough.is_set():
                left -= self._told.is_set()
                status, body = send(connection)
                if status != 200:
                    self.failures.append(f"{name}: {status} {body}")
                self.answered[name] += 1
                if name != "kept":
                    connection.close()
        except (OSError, HTTPException) as exc:
            self.failures.append(f"{name}: {exc!r}, {_LATE - left} after the balancer knew")
        finally:
            connection.close()


def _connection(url: str) -> HTTPConnection:
    return HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT)


def _exchange(
    connection: HTTPConnection,
    method: str,
    path: str,
    *,
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    connection.request(method, path, body=body, headers=dict(headers or {}))
    response = connection.getresponse()
    return response.status, response.read().decode()
