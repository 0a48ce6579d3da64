"""Deployments to be rendered, and the files that they become, as their readers read them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml

from hive_boot import Bootstrap, Secret, SecretBytes, SecretSet, secret
from hive_boot.manifests import Deployment, items_of
from hive_boot.manifests.rendering import TARGETS, render


class ShopSecrets(SecretSet):
    """Secrets of every kind."""

    api_key: Secret = secret(used_by="billing", description="from the console", min_length=8)
    signing_key: SecretBytes = secret(max_length=64)
    jwt_secret: Secret | None = secret(
        required_in="production", dev_default="fake-default-for-development", previous="JWT_BEFORE"
    )
    sentry_dsn: Secret | None = secret(pattern="https://.*")


class Renamed(SecretSet):
    """Files whose names are no keys."""

    certificate: Secret = secret(file="tls/certificate.pem")
    other: Secret = secret(file="tls-certificate.pem")
    hidden: SecretBytes | None = secret(file="..hidden file")


class Versioned(SecretSet, version="secrets-version"):
    """A service whose rotations can be proved."""

    jwt_secret: Secret = secret(activate_after=120, accept_old_for=3600)
    api_key: Secret = secret()


class Nothing(SecretSet):
    """A service without secrets."""


class Optional(SecretSet):
    """A service that can do without."""

    token: Secret | None = secret()


def deployment(
    declared: type[SecretSet] = ShopSecrets,
    boot: Bootstrap[Any, Any] | None = None,
    **changes: Any,  # noqa: ANN401  (what a Deployment has)
) -> Deployment:
    """Return a deployment of a declaration, with what is said about it."""
    declaration = (boot or Bootstrap(declared))._declaration
    made = Deployment(
        declaration=declaration,
        items=items_of(declaration.field_index.all_fields),
        name="shop",
        port=8000,
        image="shop:1",
        base="python:3.13-slim",
        command=("hive-boot", "run", "shop.app:boot", "--serve", "shop.app:web"),
        env={},
        used=frozenset(),
        install=".",
        context=("shop",),
        copies=(),
        writable=(),
        replicas=2,
        cpu=("100m", "1"),
        memory=("128Mi", "512Mi"),
        egress=(),
        rerun_arguments=("shop.app:boot",),
    )
    return replace(made, **changes)


def text_of(made: Deployment, path: str) -> str:
    """Return a rendered file."""
    (target,) = [
        target
        for target, files in TARGETS.items()
        if path in {each.format(name=made.name) for each, *_ in files}
    ]
    return render(made, [target])[path]


def read(made: Deployment, path: str) -> Any:  # noqa: ANN401  (what is in the file)
    """Return what a rendered file of YAML says."""
    return parsed(text_of(made, path))


def parsed(text: str) -> Any:  # noqa: ANN401  (what is in the text)
    """Return what a text of YAML says."""
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  (both are)


def uncommented(text: str, indent: str) -> str:
    """Take the ``#`` away as a person would who wants what stands behind it."""
    lines = []
    for line in text.splitlines():
        head, mark, rest = line.partition("# ")
        is_code = mark and not head.strip() and head == indent
        lines.append(head + rest if is_code and (":" in rest or rest.startswith(" ")) else line)
    return "\n".join(lines)
