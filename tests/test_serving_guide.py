"""The guide to other engines: both languages give the same commands, and this project's are understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from llava_tuning import cli

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "serving.md"


def commands(guide: Path) -> list[str]:
    blocks = re.findall(r"^```\w*\n(.*?)^```", guide.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", "").splitlines()]


OURS = [line for line in commands(GUIDE) if line.startswith("llava-tuning ")]


def test_both_languages_give_the_same_commands() -> None:
    assert commands(GUIDE) == commands(GUIDE.with_name("serving_zh-CN.md"))
    assert {shlex.split(line)[1] for line in OURS} == {"web", "export", "import"}


@pytest.mark.parametrize("command", OURS)
def test_command_is_understood(command: str) -> None:
    group = typer.main.get_command(cli._build())
    words = shlex.split(command)[1:]
    name, found, rest = group.resolve_command(group.make_context("llava-tuning", list(words)), words)
    found.make_context(name, list(rest))  # raises for an unknown option or a missing argument
