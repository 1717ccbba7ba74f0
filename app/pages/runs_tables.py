"""A run's scores and answers as HTML."""

from __future__ import annotations

import html
import shlex
from pathlib import Path

from app.pages.charts import Chart, Line
from app.pages.words import Words
from llava_tuning.runs.pictures import thumbnail
from llava_tuning.runs.run import Run, SampledAnswer
from llava_tuning.runs.scores import Goals, Scores

MAX_CHECKPOINTS = 24  # rows of answers that are shown
MAX_QUESTIONS = 12
MAX_ANSWER = 1000  # characters of an answer


def scores_section(words: Words, run: Run, path: Path) -> str:
    """Scores as charts and table, and the choice; empty where nothing was scored. `path` is the run's."""
    if not run.scores:
        return ""
    choice = run.choice
    goals = choice.goals if choice else Goals()
    if choice is None:
        verdict = words.html("lt_not_chosen", command=f"llava-tuning select {shlex.quote(str(path))}")
    else:
        key = "lt_chosen_good" if choice.meets_goals else "lt_chosen_poor"
        verdict = words.html(key, checkpoint=choice.checkpoint)
    step, mark = words.plain("lt_step"), None
    if choice is not None:
        mark = (float(choice.step), words.plain("lt_chosen"))
    recall = [(float(row.step), row.recall) for row in run.scores]
    leakage = [(float(row.step), row.leakage) for row in run.scores]
    loss = [(float(row.step), row.retention_loss) for row in run.scores if row.retention_loss is not None]
    names = [words.plain(f"lt_{name}") for name in ("recall", "leakage", "retention")]
    charts = [
        Chart(
            words.plain("lt_scores_share"),
            [Line(names[0], recall, 0, dots=True), Line(names[1], leakage, 1, dots=True)],
            step,
            words.plain("lt_scores_share_unit"),
            _per_cent,
            [(0, goals.recall), (1, goals.leakage)],
            mark,
            from_zero=True,
        ),
        Chart(
            words.plain("lt_scores_retention"),
            [Line(names[2], loss, 2, dots=True)],
            step,
            words.plain("lt_scores_retention_unit"),
            _per_cent,
            [(2, goals.retention_loss)],
            mark,
            from_zero=True,
        ),
    ]
    head = "".join(
        f"<th>{words.html(f'lt_{name}')}<small>{goal}</small></th>"
        for name, goal in (
            ("recall", f"≥ {goals.recall:.0%}"),
            ("leakage", f"≤ {goals.leakage:.0%}"),
            ("retention", f"≤ {goals.retention_loss:.0%}"),
            ("balance", ""),
        )
    )
    rows = "".join(_score_row(words, row, bool(choice and choice.step == row.step)) for row in run.scores)
    return (
        f'<section id="lt-scores"><h3>{words.html("lt_scores")}</h3><p>{verdict}</p>'
        f'<div class="lt-charts lt-two">{"".join(chart.html() for chart in charts)}</div>'
        f'<div class="lt-scroll" tabindex="0"><table><thead><tr><th>{words.html("lt_step")}</th>{head}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div></section>"
    )


def _score_row(words: Words, row: Scores, chosen: bool) -> str:
    step = f"{row.step:,}" if row.step else words.html("lt_base")
    mark = f' <span class="lt-mark">{words.html("lt_chosen")}</span>' if chosen else ""
    low_high = row.retention_interval
    between = f"{low_high[0]:.1%} – {low_high[1]:.1%}" if low_high else ""
    lost = "–" if row.retention_loss is None else f"{row.retention_loss:.1%}"
    return (
        f"<tr{' data-chosen' if chosen else ''}><th>{step}{mark}</th>"
        f"<td>{row.recall:.1%}<small>{row.recalled} / {row.identity}</small></td>"
        f"<td>{row.leakage:.1%}<small>{row.leaked} / {row.contrast + row.general}</small></td>"
        f"<td>{lost}<small>{between}</small></td><td>{row.balance:.2f}<small></small></td></tr>"
    )


def answers_section(words: Words, run: Run) -> str:
    """The answers to each question at each checkpoint; empty where there are none."""
    if not run.answers:
        return ""
    asked = list(dict.fromkeys((row.image, row.question) for row in run.answers))[:MAX_QUESTIONS]
    by_place = {(row.step, row.image, row.question): row for row in run.answers}
    steps = sorted({row.step for row in run.answers})
    if len(steps) > MAX_CHECKPOINTS:
        last = len(steps) - 1
        steps = [steps[round(n * last / (MAX_CHECKPOINTS - 1))] for n in range(MAX_CHECKPOINTS)]
    head = "".join(f"<th>{_asked(words, run, image, question)}</th>" for image, question in asked)
    rows, before = [], dict.fromkeys(asked, "")
    for step in steps:
        cells = []
        for place in asked:
            row: SampledAnswer | None = by_place.get((step, *place))
            text = _short(row.answer) if row else "–"
            same = ' class="lt-same"' if text == before[place] else ""
            before[place] = text
            cells.append(f"<td{same}>{html.escape(text)}</td>")
        rows.append(f"<tr><th>{step:,}</th>{''.join(cells)}</tr>")
    return (
        f'<section id="lt-answers"><h3>{words.html("lt_answers")}</h3><p>{words.html("lt_answers_note")}</p>'
        f'<div class="lt-scroll" tabindex="0"><table class="lt-grid"><thead><tr>'
        f"<th>{words.html('lt_step')}</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _asked(words: Words, run: Run, image: str | None, question: str) -> str:
    asked = f"<span>{html.escape(question)}</span>"
    if image is None:
        return asked
    name, small = html.escape(Path(image).name), thumbnail(run, image)
    if small is None:
        return f'<span class="lt-unseen" title="{words.html("lt_no_picture")}">{name}</span>{asked}'
    return f'<img src="{small}" alt="{name}" title="{name}">{asked}'


def _short(answer: str) -> str:
    return answer if len(answer) <= MAX_ANSWER else f"{answer[:MAX_ANSWER]} …"


def _per_cent(share: float) -> str:
    return f"{share:.1%}" if 0 < abs(share) < 0.1 and round(share * 100) != share * 100 else f"{share:.0%}"
