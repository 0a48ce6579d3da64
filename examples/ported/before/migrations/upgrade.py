"""Brings the database to the latest version: python -m migrations.upgrade."""

from app.core.db import engine

VERSIONS = ("CREATE TABLE users (email TEXT PRIMARY KEY, password BLOB NOT NULL)",)


def upgrade() -> int:
    """Run the statements that the database lacks, and return its version."""
    with engine.begin() as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for statement in VERSIONS[version:]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(VERSIONS)}")
    return len(VERSIONS)


if __name__ == "__main__":
    print("database version", upgrade())
