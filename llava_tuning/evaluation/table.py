"""Scores as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from llava_tuning.evaluation.easy_vqa import BLANK, MODEL, TYPES, EasyVqaReport
from llava_tuning.evaluation.scoring import Score


def accuracy_table(reports: Mapping[str, EasyVqaReport]) -> Table:
    """One row for each model (by the name it goes under here), then the controls.

    The blank picture is a control of one model, so it names that model where there are several; the others
    are taken from the first report that has them.
    """
    first = next(iter(reports.values()))
    table = Table(title=f"easy-VQA, {first.questions:,} official test questions: accuracy and 95 % interval")
    table.add_column("")
    for name in ("overall", *TYPES):
        table.add_column(name, justify="right")
    for label, report in reports.items():
        _add_row(table, label, report.scores[MODEL], style="bold")
    table.add_section()
    shown: set[str] = set()
    for label, report in reports.items():
        for control, scores in report.scores.items():
            if control == MODEL:
                continue
            name = f"{control} ({label})" if control == BLANK and len(reports) > 1 else control
            if name not in shown:
                _add_row(table, name, scores)
                shown.add(name)
    return table


def _add_row(table: Table, label: str, scores: Mapping[str, Score], style: str | None = None) -> None:
    table.add_row(label, *(score_cell(scores[name]) for name in ("overall", *TYPES)), style=style)


def score_cell(score: Score) -> str:
    """Accuracy, and its interval on a line of its own, so that a table fits into 80 columns."""
    if not score.total:
        return "–"
    low, high = score.interval
    return f"{score.accuracy:.1%}\n[not bold dim]{100 * low:.1f}–{100 * high:.1f}[/]"
