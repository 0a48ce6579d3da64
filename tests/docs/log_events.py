"""Log events in the source of the package: the text of every call that logs."""

import ast
import re
from collections.abc import Iterator

from tests.support import ROOT

PACKAGE = ROOT / "hive_boot"

_TEXT_ARGUMENT = {"_log": 1, "_log_rotation": 1, "_record": 4, "log_event": 1, "log_safely": 1}
"""Functions of the package that log, each with the position of the text among its arguments."""

_METHODS = {"critical", "error", "info", "warning", "log_failure"}
"""Methods of a logger, and functions, whose first argument is the text."""

Scope = dict[str, list[ast.expr]]
"""The expressions that are assigned to each name."""


def log_events() -> set[str]:
    """Return every text that a call in the package logs; ``…`` stands for what differs."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        constants = _assigned(tree)
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                found |= set(_texts_in(function, constants | _assigned(function)))
    return found


def as_text(template: str) -> str:
    """Return a text for `logging` or `str.format` with ``…`` for each of its fields."""
    return re.sub(r"%(?:\.\d)?[sdgrf]|\{\w*\}", "…", template).split("\n")[0]


def _texts_in(function: ast.AST, names: Scope) -> Iterator[str]:
    for call in ast.walk(function):
        if not isinstance(call, ast.Call):
            continue
        func = call.func
        name = func.id if isinstance(func, ast.Name) else getattr(func, "attr", "")
        if name in _METHODS and "log" in ast.unparse(func):
            position = 0
        elif name in _TEXT_ARGUMENT:
            position = min(_TEXT_ARGUMENT[name], len(call.args) - 1)
        else:
            continue
        for text in _texts(call.args[position], names):
            if re.search("[A-Za-z]{3}", text) and " " in text:
                yield as_text(text)


def _assigned(scope: ast.AST) -> Scope:
    found: Scope = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return found


def _texts(argument: ast.expr, names: Scope) -> Iterator[str]:
    todo = [argument]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.IfExp):
            todo += [node.body, node.orelse]
        elif isinstance(node, ast.Name):
            todo += names.get(node.id, [])
        elif isinstance(node, ast.BinOp):
            todo.append(node.left)
        elif isinstance(node, ast.JoinedStr):
            values = (each.value if isinstance(each, ast.Constant) else "…" for each in node.values)
            yield "".join(map(str, values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
