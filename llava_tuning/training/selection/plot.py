"""Both sides of a run over its steps, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llava_tuning.runs.scores import Goals, Scores

PLOT_FILE = "selection.png"


def draw(scores: Sequence[Scores], goals: Goals, out: Path, title: str, chosen: int | None = None) -> None:
    """Recall, leakage and retention loss in per cent over steps, goals dashed, the chosen step marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = [row.step for row in scores]
    known = [row for row in scores if row.retention_loss is not None]
    figure, (upper, lower) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 6), dpi=110)
    upper.plot(steps, [100 * row.recall for row in scores], "o-", color="#1f4e8c", label="identity recall")
    upper.plot(steps, [100 * row.leakage for row in scores], "s-", color="#c0392b", label="leakage")
    upper.axhline(100 * goals.recall, color="#1f4e8c", linestyle="--", linewidth=0.8)
    upper.axhline(100 * goals.leakage, color="#c0392b", linestyle="--", linewidth=0.8)
    upper.set(ylabel="share of questions, %", ylim=(-3, 103), title=title)
    loss = [100 * (row.retention_loss or 0.0) for row in known]
    lower.plot([row.step for row in known], loss, "^-", color="#7d5a29", label="retention loss")
    bounds = [row.retention_interval or (0.0, 0.0) for row in known]
    low, high = ([100 * pair[i] for pair in bounds] for i in (0, 1))
    lower.fill_between([row.step for row in known], low, high, color="#7d5a29", alpha=0.15, linewidth=0)
    lower.axhline(100 * goals.retention_loss, color="#7d5a29", linestyle="--", linewidth=0.8)
    lower.set(xlabel="step", ylabel="loss of likelihood a token, %")
    for axes in (upper, lower):
        if chosen is not None:
            axes.axvline(chosen, color="#27ae60", linewidth=1.2, label=f"chosen: step {chosen:,}")
        axes.grid(alpha=0.3)
        axes.legend(loc="best")
    figure.tight_layout()
    figure.savefig(out)
    pyplot.close(figure)
