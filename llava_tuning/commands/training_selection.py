"""Subcommand of `llava-tuning`: select."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from llava_tuning.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from llava_tuning.runs.scores import Goals, Scores
    from llava_tuning.training.selection.select import Selection


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    app.command()(select)


def select(
    run: Annotated[Path, typer.Argument(help="The work directory of a run that trained the language model.")],
    held_out: Annotated[
        Path | None,
        typer.Option(help="Folder that `data identity` wrote; that of the run's data by default."),
    ] = None,
    general: Annotated[
        Path | None, typer.Option(help="Held-out general conversations; the project's own by default.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="What the run trained on, where it has moved since.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Ask so many questions of each kind; all by default.")
    ] = None,
    min_recall: Annotated[
        float, typer.Option(min=0, max=1, help="Goal: share of identity questions answered rightly.")
    ] = 0.95,
    max_leakage: Annotated[
        float, typer.Option(min=0, max=1, help="Goal: share of other answers that hold the name.")
    ] = 0.02,
    max_retention_loss: Annotated[
        float, typer.Option(min=0, max=1, help="Goal: loss of likelihood of general answers.")
    ] = 0.05,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Questions at a time; 32, on a GPU 256 by default.")
    ] = None,
) -> None:
    """Score a run's checkpoints on name, leakage and what is forgotten, and choose one.

    Among checkpoints that reach all three goals the one with the lowest retention loss is chosen; where none
    does, the one with the highest recall × (1 − leakage) × (1 − retention loss). Interrupted? The same
    command continues.
    """
    from rich.console import Console
    from rich.progress import Progress

    if not run.is_dir():
        raise UserError(f"{run}: no such directory; name a run's work directory")

    from llava_tuning.training import compat, quiet

    compat.apply()
    quiet.apply()
    from llava_tuning.runs.files import SELECTION_FILE
    from llava_tuning.runs.scores import Goals
    from llava_tuning.training.selection.select import select as choose

    goals = Goals(min_recall, max_leakage, max_retention_loss)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("asking", total=None)
        found = choose(
            run,
            held_out,
            general,
            data,
            sample,
            goals,
            batch_size,
            lambda what, done, total: progress.update(
                task, description=f"asking {what}", completed=done, total=total
            ),
        )
    Console().print(_table(run, found, goals))
    for line in _sentences(run, found):
        typer.echo(line)
    typer.echo(f"{run / SELECTION_FILE}: scores and choice; selection.png beside it draws them")


def _table(run: Path, found: Selection, goals: Goals) -> Table:
    from rich.markup import escape
    from rich.table import Table

    first = found.scores[0]
    table = Table(
        title=f"{escape(run.resolve().name)}: share with 95 % interval, count below", caption="* chosen"
    )
    table.add_column("step", justify="right")
    for name, goal in (
        ("identity recall", f"≥ {goals.recall:.0%}"),
        ("leakage", f"≤ {goals.leakage:.0%}"),
        ("retention loss", f"≤ {goals.retention_loss:.0%}"),
    ):
        table.add_column(f"{name}\n[dim]goal {goal}[/]", justify="right")
    for row in found.scores:
        label = f"{row.step:,}" if row.step else "base"
        table.add_row(
            f"{label} *" if row is found.chosen else label,
            _share(row.recalled, row.identity),
            _share(row.leaked, row.contrast + row.general),
            _retention(row),
            style="bold" if row is found.chosen else None,
        )
        if row is first:
            table.add_section()
    return table


def _share(count: int, total: int) -> str:
    from llava_tuning.evaluation.scoring import Score

    low, high = Score(count, total).interval
    return f"{count / total:.1%} [dim]({100 * low:.1f}–{100 * high:.1f})\n{count} of {total}[/]"


def _retention(row: Scores) -> str:
    if row.retention_loss is None or row.retention_interval is None:
        return "–"
    low, high = (100 * bound for bound in row.retention_interval)
    return f"{row.retention_loss:.1%} [dim]({low:.1f}–{high:.1f})\n{row.tokens:,} tokens[/]"


def _sentences(run: Path, found: Selection) -> list[str]:
    lines = []
    if found.early_stop is not None:
        lines.append(f"The run itself {found.early_stop['reason'].partition('. ')[0]}.")
    if found.meets_goals:
        lines.append(
            f"Chosen: {found.checkpoint}, the least forgetful of the checkpoints that reach all goals."
        )
    else:
        lines.append(
            f"No checkpoint reaches all goals. The best balanced one is {found.checkpoint} (recall × "
            f"(1 − leakage) × (1 − retention loss) = {found.chosen.balance:.2f}). Train on other data before "
            "you use it."
        )
    words = ("export", run, "--checkpoint", found.checkpoint, "--out", f"models/{run.resolve().name}")
    lines.append(f"next: llava-tuning {' '.join(quote(str(word)) for word in words)}")
    if found.adapter:
        lines.append(
            "      (with --adapter the adapter alone, which `llava-tuning merge` puts into its base)"
        )
    return lines
