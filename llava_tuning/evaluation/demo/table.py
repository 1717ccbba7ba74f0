"""The report as one table: English scores with their controls, the Chinese score beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.table import Table

from llava_tuning.evaluation.demo.result import BLANK, QUESTION_ONLY, SHUFFLED, Result
from llava_tuning.evaluation.demo.run import RETENTION, Report
from llava_tuning.evaluation.demo.text import Retention
from llava_tuning.evaluation.scoring import OVERALL, Score
from llava_tuning.evaluation.table import score_cell

CONTROLS = (QUESTION_ONLY, BLANK, SHUFFLED)
Cell = Score | Retention | float | None  # a float is a share without interval and number


@dataclass(frozen=True)
class Row:
    """A suite where `heading`, else one of its kinds of question or further counts."""

    label: str
    english: Cell
    chinese: Cell = None
    controls: tuple[Cell, ...] = (None,) * len(CONTROLS)
    heading: bool = False


def demo_rows(report: Report) -> Iterator[Row]:
    """A row for each suite, after it one for each kind of question and each further count."""
    by_name: dict[str, dict[str, Result]] = {}
    for result in report.results:
        by_name.setdefault(result.suite.name, {})[result.suite.language] = result
    for name, by_language in by_name.items():
        yield from _suite_rows(name, by_language.get("en"), by_language.get("zh"))
    if report.retention is not None:
        yield Row(f"{RETENTION}: likelihood lost", report.retention, heading=True)


def demo_table(report: Report) -> Table:
    """For the terminal."""
    table = Table(title=f"{report.model}: accuracy, 95 % interval and number of questions{_limited(report)}")
    table.add_column("")
    for name in ("English", *(control.removesuffix(" picture") for control in CONTROLS), "Chinese"):
        table.add_column(name.replace(" ", "\n"), justify="right")
    for row in demo_rows(report):
        if row.heading and table.row_count:
            table.add_section()
        cells = [_terminal(cell) for cell in (row.english, *row.controls, row.chinese)]
        label = row.label.replace(": ", ":\n") if row.heading else f"  {row.label}"
        table.add_row(label, *cells, style="bold" if row.heading else None)
    return table


def markdown_table(report: Report) -> str:
    """For a model card, with a line that says what was asked of which model and what was left out."""
    lines = ["| | English | " + " | ".join(CONTROLS) + " | Chinese |", "|---" * (len(CONTROLS) + 3) + "|"]
    for row in demo_rows(report):
        cells = [_markdown(cell) for cell in (row.english, *row.controls, row.chinese)]
        label = f"**{row.label}**" if row.heading else row.label
        lines.append("| " + " | ".join((label, *cells)) + " |")
    about = (
        f"`llava-tuning eval demo` of {report.model}, {report.created[:10]}, seed {report.seed}: accuracy, "
        f"95 % interval and number of questions{_limited(report)}."
    )
    if report.left_out:
        about += f" Left out: {', '.join(suite.name for suite in report.left_out)}."
    return "\n".join([*lines, "", about]) + "\n"


def _suite_rows(name: str, english: Result | None, chinese: Result | None) -> Iterator[Row]:
    first = english or chinese
    assert first is not None

    def both(cell: Callable[[Result], Cell]) -> tuple[Cell, Cell]:
        return cell(english) if english else None, cell(chinese) if chinese else None

    controls = tuple(_share(english.controls.get(control)) if english else None for control in CONTROLS)
    yield Row(name, *both(lambda result: result.scores[OVERALL]), controls, heading=True)
    kinds = [kind for kind in first.scores if kind != OVERALL]
    for kind in kinds if len(kinds) > 1 else []:
        yield Row(kind, *both(lambda result, kind=kind: result.scores.get(kind)))  # type: ignore[misc]
    for label in first.also:
        yield Row(label, *both(lambda result, label=label: _share(result.also.get(label))))  # type: ignore[misc]
    for measure in ("precision", "recall", "yes_share") if first.pope else ():
        shares = both(lambda result, name=measure: getattr(result.pope[OVERALL], name))  # type: ignore[misc]
        yield Row(measure.replace("_", " "), *shares)


def _share(score: Score | None) -> float | None:
    return score.accuracy if score is not None and score.total else None


def _limited(report: Report) -> str:
    return f", at most {report.limit} questions of each" if report.limit else ""


def _terminal(cell: Cell) -> str:
    if isinstance(cell, Score):
        return f"{score_cell(cell)} [not bold dim]({cell.total:,})[/]"
    if isinstance(cell, Retention):
        low, high = cell.interval
        return f"{cell.loss:+.1%}\n[not bold dim]{low:+.1%} to {high:+.1%}\n{cell.conversations}[/]"
    return "" if cell is None else f"{cell:.1%}"


def _markdown(cell: Cell) -> str:
    if isinstance(cell, Score):
        interval = "–".join(f"{100 * bound:.1f}" for bound in cell.interval)
        return f"{cell.accuracy:.1%} ({interval}; {cell.total:,})" if cell.total else "–"
    if isinstance(cell, Retention):
        low, high = cell.interval
        return f"{cell.loss:+.1%} ({low:+.1%} to {high:+.1%}; {cell.conversations})"
    return "" if cell is None else f"{cell:.1%}"
