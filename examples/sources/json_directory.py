"""A directory of JSON files, as the Secrets Store CSI driver mounts objects of cloud providers."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path

import anyio.to_thread


class JsonDirectory:
    """The JSON files of a directory, each one an object whose keys are names of secrets.

    Args:
        directory: the directory.
        interval: seconds between two reloads. Default 10.
    """

    name = "json-directory"

    def __init__(self, directory: str | PathLike[str], *, interval: float = 10) -> None:
        self.interval = interval
        self._directory = Path(directory)

    async def load(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the values that the files have for these names.

        Reading files blocks, so it is done in a thread.

        Raises:
            OSError: the directory or a file cannot be read.
            ValueError: a file is not a JSON object.
            LookupError: two files have one of the names.
        """
        return await anyio.to_thread.run_sync(partial(self._read, frozenset(names)))

    def _read(self, names: frozenset[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        # iterdir() and not glob(): glob() finds nothing, without an error, in a missing directory.
        for path in sorted(self._directory.iterdir()):
            if path.suffix != ".json":
                continue
            content = json.loads(path.read_bytes())
            if not isinstance(content, dict):
                message = f"{path} is not a JSON object"
                raise ValueError(message)  # noqa: TRY004  (the file is wrong, not an argument)
            if found.keys() & content.keys():
                message = f"{path} has a name that another file has"
                raise LookupError(message)
            found |= {name: content[name] for name in content.keys() & names}
        return found
