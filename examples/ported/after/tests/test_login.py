"""Logins and tokens."""

from datetime import UTC, datetime, timedelta

import jwt
import pytest
from app.core import security
from app.core.config import settings
from fastapi.testclient import TestClient


def test_the_first_user_logs_in(client: TestClient, superuser_headers: dict[str, str]) -> None:
    """The token is accepted."""
    answer = client.get(f"{settings.API_V1}/users/me", headers=superuser_headers)
    assert answer.json() == {"email": settings.FIRST_SUPERUSER}


def test_a_wrong_password_is_refused(client: TestClient) -> None:
    """No token is returned."""
    form = {"email": settings.FIRST_SUPERUSER, "password": "incorrect"}
    assert client.post(f"{settings.API_V1}/login", json=form).status_code == 400


@pytest.mark.parametrize("key", ["fake-another-key-0123456789-0123456789", None])
def test_a_foreign_or_old_token_is_refused(client: TestClient, key: str | None) -> None:
    """It has another signature, or has expired."""
    expires = datetime.now(UTC) + timedelta(minutes=1 if key else -1)
    claims = {"sub": settings.FIRST_SUPERUSER, "exp": expires}
    token = jwt.encode(claims, key or settings.SECRET_KEY, algorithm=security.ALGORITHM)
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get(f"{settings.API_V1}/users/me", headers=headers).status_code == 403


def test_a_token_is_signed_with_the_key() -> None:
    """Without a running application, as in a script."""
    token = security.create_access_token("someone@example.com")
    payload = jwt.decode(token, settings.SECRET_KEY, algorithms=[security.ALGORITHM])
    assert payload["sub"] == "someone@example.com"
    assert security.read_access_token(token) == "someone@example.com"
