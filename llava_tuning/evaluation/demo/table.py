"""The report as one table: English scores with their controls, the Chinese score beside them."""

from __future__ import annotations

from rich.table import Table

from llava_tuning.evaluation.demo.result import BLANK, QUESTION_ONLY, SHUFFLED, Result
from llava_tuning.evaluation.demo.run import RETENTION, Report
from llava_tuning.evaluation.scoring import OVERALL, Score
from llava_tuning.evaluation.table import score_cell

_CONTROLS = {QUESTION_ONLY: "question\nonly", BLANK: "blank", SHUFFLED: "shuffled"}


def demo_table(report: Report) -> Table:
    """A row for each suite, below it one for each kind of question and each further count."""
    limited = f", at most {report.limit} questions of each" if report.limit else ""
    table = Table(title=f"{report.model}: accuracy, 95 % interval and number of questions{limited}")
    table.add_column("")
    for name in ("English", *_CONTROLS.values(), "Chinese"):
        table.add_column(name, justify="right")
    by_name: dict[str, dict[str, Result]] = {}
    for result in report.results:
        by_name.setdefault(result.suite.name, {})[result.suite.language] = result
    for name, by_language in by_name.items():
        english, chinese = by_language.get("en"), by_language.get("zh")
        _add_suite(table, name, english, chinese)
    if (kept := report.retention) is not None:
        low, high = kept.interval
        cell = f"{kept.loss:+.1%}\n[not bold dim]{low:+.1%} to {high:+.1%}\n{kept.conversations}[/]"
        table.add_row(f"{RETENTION}:\nlikelihood lost", cell, "", "", "", "", style="bold")
    return table


def _add_suite(table: Table, name: str, english: Result | None, chinese: Result | None) -> None:
    first = english or chinese
    assert first is not None
    controls = [_plain(english.controls.get(control) if english else None) for control in _CONTROLS]
    cells = [_full(result.scores[OVERALL] if result else None) for result in (english, chinese)]
    table.add_row(name, cells[0], *controls, cells[1], style="bold")
    rows = [kind for kind in first.scores if kind != OVERALL]
    for kind in rows if len(rows) > 1 else []:
        pair = [_full(result.scores.get(kind) if result else None) for result in (english, chinese)]
        table.add_row(f"  {kind}", pair[0], "", "", "", pair[1])
    for label in first.also:
        pair = [_plain(result.also.get(label) if result else None) for result in (english, chinese)]
        table.add_row(f"  {label}", pair[0], "", "", "", pair[1])
    if first.pope:
        for measure in ("precision", "recall", "yes_share"):
            values = [
                f"{getattr(result.pope[OVERALL], measure):.1%}" if result else ""
                for result in (english, chinese)
            ]
            table.add_row(f"  {measure.replace('_', ' ')}", values[0], "", "", "", values[1])
    table.add_section()


def _full(score: Score | None) -> str:
    return "" if score is None else f"{score_cell(score)} [not bold dim]({score.total:,})[/]"


def _plain(score: Score | None) -> str:
    return "" if score is None or not score.total else f"{score.accuracy:.1%}"
