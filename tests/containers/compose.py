"""A service of a Compose file, as options of ``podman create``: the file itself is what is tested.

A key that is not translated is an error, so that nothing in the file goes untested unnoticed.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.containers.podman import PORT

_LEFT_OUT = {
    "build",  # it is built once for all tests
    "image",
    "logging",  # podman has no driver of Docker's
}


def options_of(file: Path, secrets: Path) -> list[str]:
    """Translate the only service of a file.

    Args:
        file: the Compose file.
        secrets: the directory that the files of its secrets are in.
    """
    told = yaml.safe_load(file.read_text("utf-8"))
    (service,) = told["services"].values()
    options: list[str] = []
    for key, value in service.items():
        if key == "secrets":
            options += _secrets(value, told["secrets"], secrets)
        elif key not in _LEFT_OUT:
            assert key in _TRANSLATIONS, f"{file.name}: {key} is not translated"
            options += _TRANSLATIONS[key](value)
    return options


def files_of(file: Path) -> list[str]:
    """Name the files that the secrets of a Compose file are in."""
    told = yaml.safe_load(file.read_text("utf-8"))
    return [Path(source["file"]).name for source in told["secrets"].values()]


def _each(option: str) -> Callable[[list[str]], list[str]]:
    return lambda values: [f"--{option}={value}" for value in values]


def _one(option: str) -> Callable[[object], list[str]]:
    return lambda value: [f"--{option}={value}"]


def _flag(option: str) -> Callable[[bool], list[str]]:
    return lambda value: [f"--{option}={str(value).lower()}"]


def _environment(values: Mapping[str, str]) -> list[str]:
    return [f"--env={name}={str(value).replace('$$', '$')}" for name, value in values.items()]


def _ports(values: list[str]) -> list[str]:
    """Publish nothing more: the port that is asked has been published, at a port that is free."""
    assert values == [f"127.0.0.1:{PORT}:{PORT}"]
    return []


def _volumes(values: list[dict[str, str]]) -> list[str]:
    return [f"--volume={each['source']}:{each['target']}" for each in values]


def _healthcheck(value: dict[str, Any]) -> list[str]:
    told = {"interval": "interval", "timeout": "timeout", "start_period": "start-period"}
    options = [f"--health-{option}={value[key]}" for key, option in told.items()]
    first, *command = value["test"]
    assert first == "CMD", "a health check needs no shell"
    return [*options, f"--health-cmd={json.dumps(command)}", f"--health-retries={value['retries']}"]


def _grace(value: str) -> list[str]:
    return [f"--stop-timeout={value.removesuffix('s')}"]


def _secrets(
    mounted: list[str | dict[str, str]], sources: Mapping[str, Mapping[str, str]], directory: Path
) -> list[str]:
    """Mount each file as Compose does: by itself, with its own owner and mode."""
    options = []
    for each in mounted:
        name = each if isinstance(each, str) else each["source"]
        target = name if isinstance(each, str) else each.get("target", name)
        file = directory / Path(sources[name]["file"]).name
        options.append(f"--volume={file}:{Path('/run/secrets') / target}:ro")
    return options


_TRANSLATIONS: dict[str, Callable[[Any], list[str]]] = {
    "cap_drop": _each("cap-drop"),
    "environment": _environment,
    "healthcheck": _healthcheck,
    "init": _flag("init"),
    "mem_limit": _one("memory"),
    "pids_limit": _one("pids-limit"),
    "ports": _ports,
    "read_only": _flag("read-only"),
    "restart": _one("restart"),
    "security_opt": _each("security-opt"),
    "stop_grace_period": _grace,
    "tmpfs": _each("tmpfs"),
    "user": _one("user"),
    "volumes": _volumes,
}
