"""The web application."""

from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from app import crud
from app.core.config import boot, settings
from app.core.security import create_access_token, read_access_token

app = FastAPI(
    title=settings.PROJECT_NAME,
    openapi_url=f"{settings.API_V1}/openapi.json",
    lifespan=boot.lifespan,
)


class Login(BaseModel):
    """The form of a login."""

    email: str
    password: str


def current_user(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())],
) -> str:
    """Return the user of a request."""
    user = read_access_token(credentials.credentials)
    if user is None:
        raise HTTPException(403, "Invalid token")
    return user


@app.post(f"{settings.API_V1}/login")
def login(form: Login) -> dict[str, str]:
    """Return a token for a user."""
    if not crud.authenticate(form.email, form.password):
        raise HTTPException(400, "Incorrect email or password")
    return {"access_token": create_access_token(form.email)}


@app.get(f"{settings.API_V1}/users/me")
def read_me(user: Annotated[str, Depends(current_user)]) -> dict[str, str]:
    """Return the user of the token."""
    return {"email": user}
