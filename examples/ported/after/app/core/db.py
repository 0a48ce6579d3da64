"""The database engine, which every module of the application imports."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from app.core.config import settings


class Engine:
    """Opens connections to one database."""

    def __init__(self, path: str) -> None:
        self.path = path

    @contextmanager
    def begin(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for one transaction."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            yield connection


def create_engine(path: str) -> Engine:
    """Return the engine of a database."""
    return Engine(path)


engine = create_engine(settings.DATABASE_PATH)
