"""Every public name, where it is imported from; the first one that is asked for brings all."""

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
from hive_boot.redaction.hidden import redact
from hive_boot.secrets.access import get_secret, has_secret, require_secret
from hive_boot.secrets.change import Change
from hive_boot.secrets.declaration import secret
from hive_boot.secrets.snapshot import SecretSet
from hive_boot.secrets.value import Secret, SecretBytes, mask_secret
from hive_boot.serving.bootstrap import Bootstrap

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
