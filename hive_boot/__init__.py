"""Boot layer of an async service: secrets, lifecycle, rotation, redaction and probes.

A public name is imported when it is first used, because ``hive-boot probe`` starts an
interpreter for every health check and needs none of them.
"""

import sys as _sys
from importlib import import_module as _import_module

if _sys.platform == "win32":
    _message = "hive_boot requires a POSIX system such as Linux or macOS, and this is Windows."
    raise ImportError(_message)

TYPE_CHECKING = False  # importing typing would double the time of a probe
if TYPE_CHECKING:
    from hive_boot.bootstrap import Bootstrap as Bootstrap
    from hive_boot.exceptions import BootError as BootError
    from hive_boot.exceptions import DeclarationError as DeclarationError
    from hive_boot.exceptions import IllegalTransitionError as IllegalTransitionError
    from hive_boot.exceptions import InvalidSecretsError as InvalidSecretsError
    from hive_boot.exceptions import LifecycleError as LifecycleError
    from hive_boot.exceptions import MissingSecretError as MissingSecretError
    from hive_boot.exceptions import Problem as Problem
    from hive_boot.exceptions import SecretsError as SecretsError
    from hive_boot.exceptions import ShutdownTimeoutError as ShutdownTimeoutError
    from hive_boot.exceptions import SourceError as SourceError
    from hive_boot.exceptions import StartupError as StartupError
    from hive_boot.exceptions import UnavailableError as UnavailableError
    from hive_boot.lifecycle.states import State as State
    from hive_boot.redaction.registry import redact as redact
    from hive_boot.runtime.injection import ResourceHandle as ResourceHandle
    from hive_boot.runtime.status import RotationStatus as RotationStatus
    from hive_boot.runtime.status import SecretStatus as SecretStatus
    from hive_boot.runtime.status import Status as Status
    from hive_boot.secrets.global_access import get_secret as get_secret
    from hive_boot.secrets.global_access import has_secret as has_secret
    from hive_boot.secrets.global_access import require_secret as require_secret
    from hive_boot.secrets.secret_set import SecretSet as SecretSet
    from hive_boot.secrets.secret_set import secret as secret
    from hive_boot.secrets.sources.external import Source as Source
    from hive_boot.secrets.value import Change as Change
    from hive_boot.secrets.value import Secret as Secret
    from hive_boot.secrets.value import SecretBytes as SecretBytes
    from hive_boot.secrets.value import mask_secret as mask_secret

    __all__: list[str]
    __version__: str
else:
    _NAMES = {
        "bootstrap": "Bootstrap",
        "exceptions": "BootError DeclarationError IllegalTransitionError InvalidSecretsError "
        "LifecycleError MissingSecretError Problem SecretsError ShutdownTimeoutError SourceError "
        "StartupError UnavailableError",
        "lifecycle.states": "State",
        "redaction.registry": "redact",
        "runtime.injection": "ResourceHandle",
        "runtime.status": "RotationStatus SecretStatus Status",
        "secrets.global_access": "get_secret has_secret require_secret",
        "secrets.secret_set": "SecretSet secret",
        "secrets.sources.external": "Source",
        "secrets.value": "Change Secret SecretBytes mask_secret",
    }
    _MODULES = dict(sorted((name, key) for key, names in _NAMES.items() for name in names.split()))
    __all__ = list(_MODULES)

    def _lazy_names(package: str, modules: dict[str, str]) -> tuple[object, object]:
        """Return the ``__getattr__`` and the ``__dir__`` of a package.

        Args:
            package: the full name of the package.
            modules: the module of each public name, below the package.
        """
        namespace = vars(_sys.modules[package])

        def import_name(name: str) -> object:
            if name not in modules:
                raise AttributeError(f"module {package!r} has no attribute {name!r}")
            try:
                _import_module(f"{package}.{modules[name]}")
            except AttributeError as exc:
                # An import statement would report an AttributeError as a name that does not exist.
                raise ImportError(f"{package}.{modules[name]} cannot be imported: {exc}") from exc
            for each, module in modules.items():
                loaded = _sys.modules.get(f"{package}.{module}")
                if hasattr(loaded, each):
                    value = getattr(loaded, each)
                    # Tracebacks and help() show the module from which users import the name.
                    value.__module__ = package
                    # setdefault, because a test may have replaced the value.
                    namespace.setdefault(each, value)
            return namespace[name]

        return import_name, lambda: sorted({*namespace, *modules})

    _import_name, _names = _lazy_names(__name__, _MODULES)

    # Hidden from type checkers, for which __getattr__ would make every name valid.
    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version  # slow to import

            return version("hive_boot")
        return _import_name(name)

    def __dir__() -> list[str]:
        return [*_names(), "__version__"]


del TYPE_CHECKING
