"""Secrets: declaration, sources, validation, store and watcher. It does not import `lifecycle`.

The package itself has the applications of this process, for :mod:`hive_boot.secrets.global_access`.
"""

import os
import threading
from weakref import WeakSet

TYPE_CHECKING = False  # the pytest plugin imports this package in every pytest run
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any

imported_by: int = os.getpid()
"""The process that imported this package, which differs in a child that it has forked."""

pinned_settings: "Any" = None
"""PinnedSettings of the pytest plugin, which sets it; None outside a test session."""

declared: "WeakSet[Any]" = WeakSet()
"""The AppDeclarations of this process, started or not."""

running: "list[Any]" = []
"""The stores of the running applications."""

loaded: "list[Any]" = []
"""The stores of the applications that were loaded without a run; they count while none runs."""

view: "Any" = None
"""The live secrets of the running or loaded application; None without one, and with several."""

rebuilds = 0
"""The number of rebuilds that have not reached their switch."""

standalone_store: "Any" = None
"""The StandaloneStore for code without a running or loaded application; None until it is used."""

creation_lock: "AbstractContextManager[bool]" = threading.RLock()
"""Held while the standalone store is created."""

load_lock: "AbstractContextManager[bool]" = threading.RLock()
"""Held while an application is loaded without a run."""


def declare(declaration: "Any") -> None:
    """Register an application, whose options the standalone store uses if there is no other."""
    global standalone_store
    with creation_lock:
        declared.add(declaration)
        standalone_store = None


def register(store: "Any", *, is_loaded: bool = False) -> None:
    """Register ``store`` as the store of a running application, or of a loaded one."""
    (loaded if is_loaded else running).append(store)
    update_view()


def unregister(store: "Any") -> None:
    """Remove a store that was registered by :func:`register`."""
    for stores in (running, loaded):
        stores[:] = [each for each in stores if each is not store]
    update_view()


def update_view() -> None:
    """Set the view to that of the only application."""
    global view
    active = running or loaded
    view = active[0].view if len(active) == 1 else None
    if view is not None and rebuilds:
        view = _ViewsInContext(active[0])


class _ViewsInContext:
    """Live secrets, as each task sees them: a task of a rebuild has the values after it."""

    def __init__(self, store: "Any") -> None:
        self._store = store

    @property
    def __dict__(self) -> "Any":  # type: ignore[override]
        return self._store.view.__dict__


def _renew_locks() -> None:
    """Create new locks in a forked child: a thread of the parent may hold the inherited ones."""
    global creation_lock, load_lock
    creation_lock, load_lock = threading.RLock(), threading.RLock()
    if standalone_store is not None:
        standalone_store.renew_locks()


os.register_at_fork(after_in_child=_renew_locks)
