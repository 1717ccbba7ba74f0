"""The scores of `eval demo` as a table for a model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llava_tuning.evaluation.demo.result import BLANK, QUESTION_ONLY, SHUFFLED
from llava_tuning.evaluation.demo.run import RETENTION
from llava_tuning.evaluation.scoring import OVERALL

_CONTROLS = (QUESTION_ONLY, BLANK, SHUFFLED)
_POPE = {"precision": "precision", "recall": "recall", "yes_share": "share of yes"}


def markdown_table(scores: Mapping[str, Any]) -> str:
    """Rows as in the terminal's table: each suite, below it its kinds of question and further counts.

    Args:
        scores: what `--out` wrote.
    """
    lines = ["| | English | " + " | ".join(_CONTROLS) + " | Chinese |", "|---|---|" + "---|" * 4]
    by_name: dict[str, dict[str, Any]] = {}
    for suite in scores["suites"]:
        by_name.setdefault(suite["suite"], {})[suite["language"]] = suite
    for name, by_language in by_name.items():
        pair = (by_language.get("en", {}), by_language.get("zh", {}))
        first = pair[0] or pair[1]
        controls = [_share(pair[0].get("controls", {}).get(control)) for control in _CONTROLS]
        cells = [_score(suite.get("scores", {}).get(OVERALL)) for suite in pair]
        lines.append(_row(f"**{name}**", cells[0], *controls, cells[1]))
        kinds = [kind for kind in first["scores"] if kind != OVERALL]
        for kind in kinds if len(kinds) > 1 else []:
            found = [_score(suite.get("scores", {}).get(kind)) for suite in pair]
            lines.append(_row(kind, found[0], "", "", "", found[1]))
        for label in first["also"]:
            found = [_share(suite.get("also", {}).get(label)) for suite in pair]
            lines.append(_row(label, found[0], "", "", "", found[1]))
        for key, label in _POPE.items() if first["pope"] else ():
            found = [f"{suite['pope'][OVERALL][key]:.1%}" if suite else "" for suite in pair]
            lines.append(_row(label, found[0], "", "", "", found[1]))
    if kept := scores["text_retention"]:
        low, high = kept["interval"]
        cell = f"{kept['loss']:+.1%} ({low:+.1%} to {high:+.1%}; {kept['conversations']})"
        lines.append(_row(f"**{RETENTION}**: likelihood lost", cell, "", "", "", ""))
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _score(score: Mapping[str, Any] | None) -> str:
    """Accuracy, its interval in per cent, and the number of questions."""
    if not score or not score["total"]:
        return ""
    low, high = (f"{100 * bound:.1f}" for bound in score["interval_95"])
    return f"{score['accuracy']:.1%} ({low}–{high}; {score['total']:,})"


def _share(score: Mapping[str, Any] | None) -> str:
    return f"{score['accuracy']:.1%}" if score and score["total"] else ""
