"""Settings of HIVE that are not secret and come from the environment."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ENV_FILE = Path(__file__).with_name(".env")


def _upper(text: object) -> object:
    return text.upper() if isinstance(text, str) else text


def _split(text: object) -> object:
    """Split a comma-separated list; pydantic-settings itself expects JSON."""
    if not isinstance(text, str):
        return text
    return [part.strip() for part in text.split(",")]


class Settings(BaseSettings):
    """The settings; each is read from the variable with its name in upper case.

    Attributes:
        bind_host: the address to listen on; 0.0.0.0 in a container.
        port: the port to listen on; 0 selects a free one.
        log_level: the level of the root logger.
        database_path: the SQLite file of the accounts.
        chroma_host: the host of the vector database; this example does not connect to it.
        chroma_port: the port of the vector database.
        cors_origins: the origins whose pages are allowed to call, separated by commas.
        demo_user: whether the account ``demo`` exists, whose password is public.
    """

    model_config = SettingsConfigDict(
        env_file=(ENV_FILE, f"{ENV_FILE}.local"),
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
    )

    bind_host: str = "127.0.0.1"
    port: int = Field(default=3000, ge=0, le=65535)
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)
    ] = "INFO"
    database_path: Path = Path("hive.db")
    chroma_host: str = "localhost"
    chroma_port: int = Field(default=8000, ge=1, le=65535)
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    demo_user: bool = False
