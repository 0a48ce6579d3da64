"""Make comments of the lines of a ``.env`` file that set certain names."""

from __future__ import annotations

import re
from io import StringIO
from typing import TYPE_CHECKING

from hive_boot.cli.usage import Refusal

if TYPE_CHECKING:
    from collections.abc import Collection

    from hive_boot.secrets.sources.dotenv import DotenvFile

_MARK = "# "

_INNER_LINE_END = re.compile(r"(\r\n|\n|\r(?!\n))(?!\Z)")
"""What ends a line of python-dotenv's, but for the last one of a text."""


def comment_out(raw: bytes, names: Collection[str]) -> tuple[bytes, int]:
    """Put ``# `` before each line that sets one of ``names``; leave every other byte.

    Args:
        raw: what the file holds: UTF-8, every line of which can be read.
        names: the names. One that is only mentioned, without ``=``, sets nothing.

    Returns:
        What the file has to hold, and how many lines of it are new comments.
    """
    from dotenv.parser import parse_stream  # noqa: PLC0415  (as where `.env` is read)

    text = raw.decode()
    bindings = list(parse_stream(StringIO(text.removeprefix("\ufeff"))))
    # A byte order mark belongs to no binding, whoever has taken it away.
    pieces = [text[: len(text) - sum(len(binding.original.string) for binding in bindings)]]
    lines = 0
    for binding in bindings:
        piece = binding.original.string
        if binding.key in names and binding.value is not None:
            piece, count = _commented(piece)
            lines += count
        pieces.append(piece)
    return "".join(pieces).encode(), lines


def refuse_losses(before: DotenvFile, after: DotenvFile, names: Collection[str]) -> None:
    """Make sure that a file says the same as before about everything but ``names``.

    Raises:
        Refusal: it does not.
    """
    kept = {name: value for name, value in before.values.items() if name not in names}
    if after.problems or after.values != kept or after.ignored != before.ignored:
        message = f"{before.path} would not mean the same afterwards, so nothing was changed"
        raise Refusal(message)


def _commented(binding: str) -> tuple[str, int]:
    """Comment a binding out. The empty lines before it, which are part of it, stay empty."""
    lead = binding[: len(binding) - len(binding.lstrip())]
    at = max(lead.rfind("\n"), lead.rfind("\r")) + 1
    body, ends = _INNER_LINE_END.subn(rf"\g<0>{_MARK}", binding[at:])
    return f"{binding[:at]}{_MARK}{body}", ends + 1
