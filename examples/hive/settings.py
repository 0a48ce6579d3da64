"""What HIVE can be told and is no secret: it stays in the environment."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ENV_FILE = Path(__file__).with_name(".env")


def _upper(text: object) -> object:
    return text.upper() if isinstance(text, str) else text


def _split(text: object) -> object:
    """Split ``a, b`` as people write it; pydantic-settings alone expects JSON."""
    if not isinstance(text, str):
        return text
    return [part.strip() for part in text.split(",")]


class Settings(BaseSettings):
    """The settings; each is the variable of its name in upper case.

    Attributes:
        bind_host: the address to listen on; in a container 0.0.0.0.
        port: the port to listen on; 0 takes any that is free.
        log_level: how much is logged.
        database_path: the SQLite file of the accounts.
        chroma_host: where the vector database is. This example connects to none.
        chroma_port: its port.
        cors_origins: the origins whose pages may call, separated by commas.
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
