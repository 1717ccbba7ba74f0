"""The settings of a run's config, read as values: whatever else the file holds is not run."""

from __future__ import annotations

import ast
from typing import Any


def read_settings(text: str) -> dict[str, Any]:
    """The top-level assignments of a dumped config whose values are literals or `dict(...)` of these.

    Raises:
        ValueError: the text is no Python.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"not a config: {type(error).__name__}") from None
    settings: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                settings[node.targets[0].id] = _value(node.value)
            except (ValueError, TypeError, RecursionError):
                continue  # computed: no setting of this project's is
    return settings


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        if node.args or any(item.arg is None for item in node.keywords):
            raise ValueError
        return {item.arg: _value(item.value) for item in node.keywords}
    if isinstance(node, ast.Dict):
        return {
            ast.literal_eval(key): _value(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None
        }
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item) for item in node.elts]
    return ast.literal_eval(node)
