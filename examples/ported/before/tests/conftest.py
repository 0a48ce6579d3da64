"""A client of the application, and a database for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from app.core.config import settings
from app.core.db import engine
from app.initial_data import main
from app.main import app
from fastapi.testclient import TestClient
from migrations.upgrade import upgrade


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Create a database with the first user."""
    monkeypatch.setattr(engine, "path", str(tmp_path / "test.db"))
    upgrade()
    main()


@pytest.fixture
def client() -> Iterator[TestClient]:
    """Return a client of the started application."""
    with TestClient(app) as client:
        yield client


@pytest.fixture
def superuser_headers(client: TestClient) -> dict[str, str]:
    """Return the headers of a request of the first user."""
    form = {"email": settings.FIRST_SUPERUSER, "password": settings.FIRST_SUPERUSER_PASSWORD}
    token = client.post(f"{settings.API_V1}/login", json=form).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}
