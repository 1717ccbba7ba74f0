"""Dependencies point one way: XTuner stays behind `llava_tuning.training`, and nothing needs the web app."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for folder in ("llava_tuning", "app") for path in (ROOT / folder).rglob("*.py"))
TRAINING = ROOT / "llava_tuning" / "training"
COMMANDS = ROOT / "llava_tuning" / "commands"


def imported(node: ast.AST) -> Iterator[str]:
    """Modules that an import statement names; a relative import is given its dots."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = "." * node.level + (node.module or "")
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def imports(tree: ast.AST) -> set[str]:
    return {name for node in ast.walk(tree) for name in imported(node)}


def imports_at_once(tree: ast.Module) -> set[str]:
    """What importing the module imports: everything outside functions and `if TYPE_CHECKING`."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        found.update(imported(node))
        waiting += ast.iter_child_nodes(node)
    return found


def within(names: set[str], package: str) -> set[str]:
    return {name for name in names if name == package or name.startswith(f"{package}.")}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def test_the_search_sees_every_form_of_import() -> None:
    tree = ast.parse("import xtuner.dataset as d\ndef f():\n from mmengine import hooks\n import app")
    assert (
        within(imports(tree), "xtuner") and within(imports(tree), "mmengine") and within(imports(tree), "app")
    )
    assert imports_at_once(tree) == {"xtuner.dataset"}
    assert TRAINING / "model.py" in FILES and within(imports(parse(TRAINING / "model.py")), "xtuner")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_module_keeps_to_its_side(path: Path) -> None:
    tree = parse(path)
    names = imports(tree)
    if not path.is_relative_to(TRAINING):
        assert not within(names, "xtuner") | within(names, "mmengine")
    if path.is_relative_to(ROOT / "llava_tuning") and path != COMMANDS / "web.py":
        assert not within(names, "app")
    if path.is_relative_to(ROOT / "llava_tuning" / "models") or path.is_relative_to(ROOT / "app"):
        assert not within(names, "llava_tuning.training")
    if path.is_relative_to(COMMANDS):
        heavy = ("torch", "transformers", "llava_tuning.training", "llava_tuning.inference", "app")
        assert not set().union(*(within(imports_at_once(tree), package) for package in heavy))
        assert "training" in path.name or not within(names, "llava_tuning.training")


def test_no_module_trusts_remote_code() -> None:
    for path in FILES:
        for node in ast.walk(parse(path)):
            assert not (isinstance(node, ast.keyword) and node.arg == "trust_remote_code"), path
