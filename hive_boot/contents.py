"""Every public name, where it is imported from; the first one that is asked for brings all."""

from hive_boot.bootstrap import Bootstrap
from hive_boot.exceptions import (
    BootError,
    DeclarationError,
    IllegalTransitionError,
    InvalidSecretsError,
    LifecycleError,
    MissingSecretError,
    Problem,
    SecretsError,
    ShutdownTimeoutError,
    SourceError,
    StartupError,
)
from hive_boot.redaction.registry import redact
from hive_boot.secrets.global_access import get_secret, has_secret, require_secret
from hive_boot.secrets.secret_set import SecretSet, secret
from hive_boot.secrets.value import Change, Secret, SecretBytes, mask_secret

__all__ = [
    "BootError",
    "Bootstrap",
    "Change",
    "DeclarationError",
    "IllegalTransitionError",
    "InvalidSecretsError",
    "LifecycleError",
    "MissingSecretError",
    "Problem",
    "Secret",
    "SecretBytes",
    "SecretSet",
    "SecretsError",
    "ShutdownTimeoutError",
    "SourceError",
    "StartupError",
    "get_secret",
    "has_secret",
    "mask_secret",
    "redact",
    "require_secret",
    "secret",
]

# A traceback and a help page name what users import, not the room that it lives in.
for _name in __all__:
    globals()[_name].__module__ = "hive_boot"
del _name
