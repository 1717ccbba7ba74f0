"""Votes that the app has stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def votes(folder: Path) -> list[dict[str, Any]]:
    """The rows of the file of votes; none before the first."""
    file = folder / "feedback.jsonl"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def wait_for_votes(page: Any, folder: Path, count: int) -> None:
    """Until so many are stored, and a moment more, in which the page may hear of it."""
    for _ in range(1200):
        if len(votes(folder)) == count:
            break
        page.wait_for_timeout(50)
    assert len(votes(folder)) == count
    page.wait_for_timeout(300)
