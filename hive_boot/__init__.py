"""The boot layer of an async service: secrets declared, validated, cached, kept secret.

What stands here is imported when the first name of it is asked for: a health check by
``hive-boot probe`` starts an interpreter each time, and asks for none.
"""

TYPE_CHECKING = False  # typing would take as long as all of a probe
if TYPE_CHECKING:
    from hive_boot.contents import (
        BootError,
        Bootstrap,
        Change,
        DeclarationError,
        IllegalTransitionError,
        InvalidSecretsError,
        LifecycleError,
        MissingSecretError,
        Problem,
        Secret,
        SecretBytes,
        SecretsError,
        SecretSet,
        ShutdownTimeoutError,
        SourceError,
        StartupError,
        get_secret,
        has_secret,
        mask_secret,
        redact,
        require_secret,
        secret,
    )
else:
    # A type checker would take it for a promise of any name.
    def __getattr__(name: str) -> object:
        if name not in __all__:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        from hive_boot import contents  # noqa: PLC0415  (as said)

        for each in __all__:
            # What somebody has put here, as a test does, stays.
            globals().setdefault(each, getattr(contents, each))
        shown: object = globals()[name]
        return shown


del TYPE_CHECKING

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


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
